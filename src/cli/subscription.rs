//! `billd subscription`: the verbs of a subscription's life, for scripts. Each is the SQL function of the same name
//! (`\df+ billd.*` says what it does to the money), and serialises to its arguments.

use clap::{ArgAction, Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use serde::Serialize;

/// Examples of `billd subscription`.
pub(super) const HELP: &str = "\
ID is the subscription's id, or your own external_id. Each verb prints what will follow: what is
open, what will be charged when, and what is passed over. --dry-run shows that and changes nothing.
Times need an offset: 2026-12-10T10:00+09:00. The same verbs can be called from psql:
select * from billd.pause('…'); \\df+ billd.* is their manual.

Examples:
  billd subscription forecast order-1042
  billd subscription pause order-1042 --until 2027-01-10T10:00+09:00 --note '고객 요청' --dry-run
  billd subscription change-card order-1042 cust_1042_b
  billd subscription change-plan order-1042 --amount 19900 --at now
  billd subscription give-discount order-1042 --share 0.2 --periods 3
  billd subscription cancel order-1042 --at end --json";

/// `billd subscription`
#[derive(Debug, Args)]
pub struct Subscription {
    /// What is wanted of it.
    #[command(subcommand)]
    pub verb: Verb,
    /// Why; it is kept in billd.history
    #[arg(long, global = true, value_name = "TEXT")]
    pub note: Option<String>,
    /// Show what would follow, and change nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

/// What may be wanted of a subscription.
#[derive(Debug, Subcommand, Serialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Verb {
    /// Show what will follow, and change nothing
    Forecast {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// How many rows
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=100))]
        rows: i32,
    },
    /// Stop charging, until it is resumed or until a time
    Pause {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// When it goes on by itself
        #[arg(long, value_name = "TIME")]
        until: Option<Timestamp>,
    },
    /// Back into service, after a pause or a cancellation
    Resume {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// `old_day`: nothing is charged before its billing day; now: a period begins now
        #[arg(long, value_parser = ["old_day", "now"])]
        begin: Option<String>,
    },
    /// End it: at the end of what is paid, now, or at a time
    Cancel {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// end, now, or a time
        #[arg(long, value_name = "end|now|TIME", default_value = "end")]
        at: String,
    },
    /// Undo a planned end
    Keep {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// The days up to the billing day, if the last period was cut short
        #[arg(long, value_parser = ["free", "by_day"], default_value = "free")]
        short: String,
    },
    /// End it after so many more periods
    EndAfter {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// How many
        periods: i32,
    },
    /// Ask later for the debt that is open, or for the next one
    PutOff {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// When; before the period ends
        #[arg(value_name = "TIME")]
        ask_at: Timestamp,
    },
    /// Pass the next periods over: no charge, no service
    Skip {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// How many
        #[arg(default_value_t = 1)]
        periods: i32,
    },
    /// Ask for the next period now
    RenewEarly {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// Its name, so that a second call can't renew once more
        #[arg(long, value_name = "DATE")]
        period: Option<Date>,
    },
    /// Ask for the open debt now, from the first try
    RetryNow {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
    },
    /// Lift what is held, once its reason is gone
    Release {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
    },
    /// Close the open debt without a charge
    Forgive {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// Its name
        #[arg(long, value_name = "DATE")]
        period: Option<Date>,
    },
    /// Give time away: free until then
    Extend {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// Until when
        #[arg(value_name = "TIME")]
        until: Timestamp,
    },
    /// Set or move a free trial
    SetTrial {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// Until when
        #[arg(value_name = "TIME")]
        until: Timestamp,
    },
    /// Another card; an open debt is asked for with it at once
    ChangeCard {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// The name of its billing key
        customer_uid: String,
        /// Leave the open debt to its next try
        #[arg(long = "no-retry", action = ArgAction::SetFalse)]
        retry: bool,
    },
    /// Another price, interval or name
    ChangePlan {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// The price, in minor units
        #[arg(long)]
        amount: Option<i64>,
        /// The interval
        #[arg(long, value_parser = ["day", "week", "month", "year"])]
        unit: Option<String>,
        /// How many of them
        #[arg(long)]
        count: Option<i32>,
        /// What the payer reads
        #[arg(long)]
        name: Option<String>,
        /// end, now, or a time
        #[arg(long, value_name = "end|now|TIME", default_value = "end")]
        at: String,
        /// With `--at now`: what is unused of the old plan is not credited
        #[arg(long = "no-credit", action = ArgAction::SetFalse)]
        credit: bool,
        /// The payer asked for it, which is consent
        #[arg(long)]
        by_payer: bool,
    },
    /// Another billing day or hour
    MoveDay {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// Day of the month
        #[arg(long)]
        day: Option<i32>,
        /// Day of the week; 1 is Monday
        #[arg(long)]
        weekday: Option<i32>,
        /// Time of the day
        #[arg(long, value_name = "HH:MM")]
        hour: Option<Time>,
        /// The days up to the new billing day
        #[arg(long, value_parser = ["free", "by_day"], default_value = "free")]
        short: String,
    },
    /// Take a sum or a share off the next periods, or off all
    GiveDiscount {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// A sum, in minor units
        #[arg(long, conflicts_with = "share")]
        sum: Option<i64>,
        /// A share; 0.2 is 20 per cent
        #[arg(long)]
        share: Option<f64>,
        /// For how many periods [default: for ever]
        #[arg(long)]
        periods: Option<i32>,
    },
    /// Add a sum to the next period, once
    AddItem {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// What the payer reads
        name: String,
        /// In minor units
        amount: i64,
        /// Its tax-free part
        #[arg(long)]
        tax_free: Option<i64>,
        /// The value-added tax in it
        #[arg(long)]
        vat_amount: Option<i64>,
    },
    /// Take a sum off what follows, until it is used up
    GiveCredit {
        /// Its id, or your own `external_id`
        #[arg(value_name = "ID")]
        subscription: String,
        /// In minor units
        amount: i64,
    },
    /// Take a planned change back
    TakeBack {
        /// Its number in `billd.planned_change`
        change: i64,
    },
}
