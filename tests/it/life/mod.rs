//! A subscription's life: what time is billed, whatever people do. Each test is named as its rule.

mod book;
mod calendar;
mod oracle;
mod random;
mod service;
mod time;
