//! billd: a recurring-billing daemon for merchants who charge through PortOne V1.

pub mod app;
pub mod auditor;
pub mod causes;
pub mod cli;
pub mod domain;
#[cfg(feature = "demo")]
pub mod embedded;
pub mod engine;
pub mod gateway;
pub mod http;
pub mod metrics;
pub mod sandbox;
pub mod scheduler;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod terminal;
pub mod webhook;
