//! `billd billing-key`.

use clap::Subcommand;

use crate::cli::output::Output;
use crate::cli::values::{customer_uid, known_customer_uid};
use crate::domain::ids::CustomerUid;

/// Examples of `billd billing-key`.
pub(super) const HELP: &str = "\
The card is read as by `billd charge`: by prompt or from standard input.

Examples:
  billd billing-key issue cust_1 --buyer-name 김민지
  billd billing-key show cust_1
  billd billing-key delete cust_1 --yes";

/// `billd billing-key …`
#[derive(Debug, Subcommand)]
pub enum BillingKey {
    /// Register a card under a name; says so if another card stood there
    #[command(after_help = HELP)]
    Issue {
        /// The name of customer and card
        #[arg(value_name = "CUSTOMER_UID", value_parser = customer_uid)]
        customer_uid: CustomerUid,
        /// The channel; PortOne has begun to require it
        #[arg(long, value_name = "KEY")]
        channel_key: Option<String>,
        /// Provider, or provider.MID
        #[arg(long, value_name = "PG")]
        pg: Option<String>,
        /// The cardholder
        #[arg(long, value_name = "TEXT")]
        buyer_name: Option<String>,
        /// The cardholder's telephone
        #[arg(long, value_name = "TEXT")]
        buyer_tel: Option<String>,
        /// The cardholder's mail
        #[arg(long, value_name = "TEXT")]
        buyer_email: Option<String>,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Show the card behind a name, and who is charged to it
    #[command(after_help = HELP)]
    Show {
        /// The name
        #[arg(value_name = "CUSTOMER_UID", value_parser = known_customer_uid)]
        customer_uid: CustomerUid,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Removed: says what to do instead
    #[command(hide = true)]
    List {
        /// Whatever was given to it
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Delete a billing key for good; asks first if subscriptions or reservations hang on it
    #[command(after_help = HELP)]
    Delete {
        /// The name
        #[arg(value_name = "CUSTOMER_UID", value_parser = known_customer_uid)]
        customer_uid: CustomerUid,
        /// Delete it whatever hangs on it
        #[arg(long)]
        yes: bool,
        /// What the gateway is told as the reason
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
}
