//! Integration tests, one binary: a real PostgreSQL, the real engine, the sandbox over real HTTP.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helper fails by panicking; clippy's own exception reaches test functions only"
)]
#![expect(
    clippy::arithmetic_side_effects,
    reason = "a sum that overflows fails its test"
)]

mod architecture;
mod audit;
mod bouncer;
mod by_hand;
mod ceilings;
mod charge;
mod crash;
mod delivery;
mod demo;
mod docs;
mod events;
mod floods;
mod given_back;
mod guide;
mod guide_faults;
mod home;
mod journal;
mod life;
mod locks;
mod logged;
mod people;
mod places;
mod plans;
mod pooler;
mod process;
#[path = "../programs/mod.rs"]
mod programs;
mod proof;
mod proof_arena;
mod rate;
mod record;
mod roles;
mod says;
mod schema;
mod servers;
mod starved;
mod support;
mod switch;
mod tail;
mod upgrade;
mod values;
mod verbs_cli;
mod ways;
mod webhook;
mod words;
