//! The auditor's tables: its runs, what a page comes to, and what was found.
//!
//! What a page means and how far the run has come are written in one commit, so a run that is cut
//! short anywhere goes on at a page whose writes are either all there or not at all. Every write is
//! safe to repeat.

mod findings;
mod page;
mod runs;
mod write;

pub use findings::{FindingRow, OpenFindings};
pub use page::MissingPayment;
pub use runs::{Run, Stage};
