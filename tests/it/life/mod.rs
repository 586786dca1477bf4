//! A subscription's life: what time is billed, whatever people do. Each test is named as its rule.

mod asked;
mod book;
mod calendar;
mod consent;
mod golden;
mod oracle;
mod oracle_walk;
mod order;
mod random;
mod service;
mod sums;
mod time;
mod verbs;
mod version;
mod walk;
mod writes;
