//! `billd refund`.

use clap::Args;

use crate::cli::output::Output;
use crate::cli::values::bounded;

/// Examples of `billd refund`.
pub(super) const HELP: &str = "\
Only what billd charged is given back; other payments are given back in the PortOne console.
Running the same command again is harmless: without --key, one refund of a payment is told from
another by its sum. To give the same sum back once more, name it with --key.
It asks first, unless --yes says not to.

Examples:
  billd refund 0190f3c8d2b84e6f8a1b2c3d4e5f6a7b26113001 --reason '고객 요청'
  billd refund imp_123456789012 --amount 3000
  billd refund imp_123456789012 --amount 3000 --key second --yes";

/// `billd refund`
#[derive(Debug, Args)]
pub struct Refund {
    /// PortOne's number (imp_…) or ours
    #[arg(value_name = "MERCHANT_UID|IMP_UID")]
    pub payment: String,
    /// How much, in the currency's minor unit [default: all that is left]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=1_000_000_000))]
    pub amount: Option<i64>,
    /// What the gateway is told as the reason
    #[arg(long, value_name = "TEXT", value_parser = |text: &str| bounded(text, 200))]
    pub reason: Option<String>,
    /// Names this refund within its payment [default: the sum, or "full"]
    #[arg(long, value_name = "TEXT", value_parser = |text: &str| bounded(text, 64))]
    pub key: Option<String>,
    /// Don't ask; needed where there is no terminal
    #[arg(long)]
    pub yes: bool,
    /// Tax-free part of what is given back; needed if the payment had one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub tax_free: Option<i64>,
    /// Value-added tax within what is given back; needed if the payment named one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub vat_amount: Option<i64>,
    /// How it is printed.
    #[command(flatten)]
    pub output: Output,
}
