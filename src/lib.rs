#![doc = include_str!("../docs/ARCHITECTURE.md")]

#[macro_use]
mod words;

pub mod app;
pub mod auditor;
pub mod causes;
pub mod cli;
pub mod delivery;
#[cfg(feature = "demo")]
pub mod demo;
pub mod domain;
pub mod duties;
pub mod engine;
pub mod failpoint;
pub mod gateway;
pub mod http;
pub mod metrics;
pub mod scheduler;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod terminal;
pub mod webhook;
