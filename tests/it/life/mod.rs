//! A subscription's life: what time is billed, whatever people do. Each test is named as its rule.

mod asked;
mod book;
mod calendar;
mod oracle;
mod order;
mod random;
mod service;
mod time;
mod version;
mod writes;
