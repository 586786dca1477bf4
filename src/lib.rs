//! billd: a recurring-billing daemon for merchants who charge through PortOne V1.

pub mod domain;
pub mod gateway;
pub mod sandbox;
