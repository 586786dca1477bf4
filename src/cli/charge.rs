//! `billd charge`. There is no option for a card, on purpose: arguments stand in the shell's history
//! and in every list of processes.

use clap::{Args, Subcommand};

use crate::cli::output::Output;
use crate::cli::values::{bounded, currency, customer_uid, merchant_uid, name, unit, zone};
use crate::domain::calendar::{IntervalUnit, Zone};
use crate::domain::ids::{CustomerUid, MerchantUid};
use crate::domain::money::Currency;

/// Examples of `billd charge`.
pub(super) const HELP: &str = "\
The card is asked for on the terminal, without echo. Without a terminal it is read from standard
input, as a JSON object or as lines of key=value:
  card_number, expiry (YYYY-MM or MM/YY), birth (YYMMDD or business number), pwd_2digit, cvc
It is never taken from arguments, files or the environment, and never stored or logged.
`again` asks first, unless --yes says not to. The same sum for the same card and name within a day is
refused: to charge it once more, give it a --merchant-uid of its own.

Examples:
  billd charge onetime --amount 3000 --name 쿠폰
  billd charge onetime --amount 9900 --name 프리미엄 --customer-uid cust_1 --subscribe
  billd charge again cust_1 --amount 3000 --name '추가 좌석' --merchant-uid seat20260331 --yes
  vault read -format=json card/1 | billd charge onetime --amount 3000 --name 쿠폰 --json";

/// `billd charge …`
#[derive(Debug, Subcommand)]
pub enum Charge {
    /// Charge a card that is typed in; store it only with --customer-uid
    #[command(after_help = HELP)]
    Onetime(Box<Onetime>),
    /// Charge a billing key once, outside any subscription
    #[command(after_help = HELP)]
    Again(Box<Again>),
}

/// `billd charge onetime`
#[derive(Debug, Args)]
pub struct Onetime {
    /// Store the card under this name, as a billing key
    #[arg(long, value_name = "UID", value_parser = customer_uid)]
    pub customer_uid: Option<CustomerUid>,
    /// Start a subscription with this payment as its first; if it fails, there is none
    #[arg(long, requires = "customer_uid", conflicts_with = "merchant_uid")]
    pub subscribe: bool,
    /// How often the subscription is charged
    #[arg(long, value_name = "day|week|month|year", default_value = "month", requires = "subscribe", value_parser = unit)]
    pub interval: IntervalUnit,
    /// Every so many of them
    #[arg(long, value_name = "N", default_value_t = 1, requires = "subscribe", value_parser = clap::value_parser!(u16).range(1..=366))]
    pub every: u16,
    /// Where its months and days are counted
    #[arg(long, value_name = "ZONE", default_value = "Asia/Seoul", requires = "subscribe", value_parser = zone)]
    pub time_zone: Zone,
    /// Start it even if the card has a subscription that has not ended
    #[arg(long, requires = "subscribe")]
    pub another: bool,
    /// Provider, or provider.MID, for a merchant with several
    #[arg(long, value_name = "PG")]
    pub pg: Option<String>,
    /// What is charged.
    #[command(flatten)]
    pub terms: Terms,
    /// How it is printed.
    #[command(flatten)]
    pub output: Output,
}

/// `billd charge again`
#[derive(Debug, Args)]
pub struct Again {
    /// The billing key
    #[arg(value_name = "CUSTOMER_UID", value_parser = customer_uid)]
    pub customer_uid: CustomerUid,
    /// Channel of a billing key that spans several
    #[arg(long, value_name = "KEY")]
    pub channel_key: Option<String>,
    /// Don't ask; needed where there is no terminal
    #[arg(long)]
    pub yes: bool,
    /// What is charged.
    #[command(flatten)]
    pub terms: Terms,
    /// How it is printed.
    #[command(flatten)]
    pub output: Output,
}

/// What is charged.
#[derive(Debug, Clone, Args)]
pub struct Terms {
    /// The sum, in the currency's minor unit (KRW has none)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=1_000_000_000))]
    pub amount: i64,
    /// What the buyer's statement says; at most 40 characters
    #[arg(long, value_name = "TEXT", value_parser = |text: &str| name(text, 40))]
    pub name: String,
    /// Three capital letters
    #[arg(long, value_name = "CODE", default_value = "KRW", value_parser = currency)]
    pub currency: Currency,
    /// Your own number for this charge, letters and digits: running it twice charges once
    #[arg(long, value_name = "UID", value_parser = merchant_uid)]
    pub merchant_uid: Option<MerchantUid>,
    /// Tax-free part of the sum; always give it for a mixed-tax (복합과세) contract
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub tax_free: Option<i64>,
    /// Value-added tax within the sum
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub vat_amount: Option<i64>,
    /// Months to pay in, from 50,000 KRW
    #[arg(long, value_name = "MONTHS", value_parser = clap::value_parser!(i16).range(0..=36))]
    pub card_quota: Option<i16>,
    /// The buyer's name; KG Inicis wants name, mail and telephone
    #[arg(long, value_name = "TEXT", value_parser = |text: &str| name(text, 16))]
    pub buyer_name: Option<String>,
    /// The buyer's mail
    #[arg(long, value_name = "TEXT", value_parser = |text: &str| bounded(text, 64))]
    pub buyer_email: Option<String>,
    /// The buyer's telephone
    #[arg(long, value_name = "TEXT", value_parser = |text: &str| bounded(text, 16))]
    pub buyer_tel: Option<String>,
    /// Text that comes back with every answer
    #[arg(long, value_name = "TEXT", value_parser = |text: &str| bounded(text, 10_000))]
    pub custom_data: Option<String>,
    /// Where PortOne reports this payment
    #[arg(long, value_name = "URL", value_parser = |text: &str| bounded(text, 2_000))]
    pub notice_url: Option<String>,
}
