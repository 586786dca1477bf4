//! billd: a recurring-billing daemon for merchants who charge through PortOne V1.

pub mod causes;
pub mod domain;
#[cfg(feature = "demo")]
pub mod embedded;
pub mod engine;
pub mod gateway;
pub mod metrics;
pub mod sandbox;
pub mod settings;
pub mod store;
pub mod telemetry;
