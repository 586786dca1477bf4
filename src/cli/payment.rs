//! `billd payment`.

use clap::Subcommand;

use crate::cli::output::Output;

/// Examples of `billd payment`.
pub(super) const HELP: &str = "\
Examples:
  billd payment show imp_123456789012
  billd payment show 0190f3c8d2b84e6f8a1b2c3d4e5f6a7b26113001 --json | jq .gateway";

/// `billd payment …`
#[derive(Debug, Subcommand)]
pub enum Payment {
    /// Show every record of a payment, and what our book says of it
    #[command(after_help = HELP)]
    Show {
        /// PortOne's number (imp_…) or ours
        #[arg(value_name = "IMP_UID|MERCHANT_UID")]
        payment: String,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
}
