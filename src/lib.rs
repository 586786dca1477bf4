//! billd: a recurring-billing daemon for merchants who charge through PortOne V1.

pub mod domain;
#[cfg(feature = "demo")]
pub mod embedded;
pub mod gateway;
pub mod settings;
pub mod store;
pub mod telemetry;
