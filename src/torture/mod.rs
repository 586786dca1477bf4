//! `billd torture`: real daemons are injured by a plan, and two ledgers compared afterwards.

pub mod arena;
