//! `billd webhook`, `billd listen`, `billd trigger`: events on their way to programs.

use clap::{Args, Subcommand};
use jiff::Timestamp;

use crate::cli::output::Output;
use crate::cli::values::bounded;

/// Examples of `billd webhook`.
pub(super) const HELP: &str = "\
Events (billd.event) are sent as POST requests that are signed by the rules of Standard Webhooks, in
order for each subscription. 2xx is success. What fails is tried ten times over three days and is
then a dead letter, which can be sent again. The daemon (`billd run`) sends them.

Examples:
  billd webhook add shop https://shop.example/webhooks --kinds paid,declined,ended
  billd webhook test shop
  billd webhook list
  billd webhook attempts shop
  billd webhook replay shop --since 2026-11-27T09:00+09:00";

/// Examples of `billd listen`.
pub(super) const LISTEN_HELP: &str = "\
For a receiver on your own machine: what happens from now on is sent there, signed with a secret that is
printed first, until Ctrl-C. What it does not take is shown and not sent again. The endpoints of
`billd webhook` are not touched by it.

Examples:
  billd listen --forward-to http://localhost:3000/webhooks
  billd listen --forward-to http://localhost:3000 --kinds paid,refunded
  billd trigger paid                             in another terminal";

/// Examples of `billd trigger`.
pub(super) const TRIGGER_HELP: &str = "\
Writes an example: an event of this kind that did not happen, with values made up and the merchant_uid
`example`. All readers and endpoints of the book get it. Refused where the gateway is not a sandbox.

Examples:
  billd trigger paid
  billd trigger declined --json";

/// `billd webhook …`
#[derive(Debug, Subcommand)]
pub enum Webhook {
    /// Add an endpoint, and print the secret that signs for it
    Add(AddEndpoint),
    /// Show how each endpoint is doing
    List(Output),
    /// Send an endpoint something that is no event, now and from here, and print what it answers
    Test(Endpoint),
    /// Show the last attempts, newest first
    Attempts {
        /// Which endpoint
        name: String,
        /// Of one event: its id
        #[arg(long, value_name = "ID")]
        event: Option<i64>,
        /// Most lines
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        rows: u16,
        /// How results are printed
        #[command(flatten)]
        output: Output,
    },
    /// Show what could not be delivered in three days
    Dead {
        /// Which endpoint
        name: String,
        /// Most lines
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        rows: u16,
        /// How results are printed
        #[command(flatten)]
        output: Output,
    },
    /// Send again: the dead letters, one event, or all since a time
    Replay(ReplayEvents),
    /// Make a new secret and print it; the one before goes on signing for a while
    Rotate {
        /// Of which endpoint
        name: String,
        /// For how long the secrets before go on signing; 0 if one is in the wrong hands
        #[arg(long, value_name = "TIME", default_value = "24 hours")]
        overlap: String,
        /// How results are printed
        #[command(flatten)]
        output: Output,
    },
    /// Change address, kinds or bound; its place among the events stays
    Change(ChangeEndpoint),
    /// Send nothing more for now; what happens waits
    Stop {
        /// Which endpoint
        name: String,
        /// Why
        #[arg(long, value_parser = |text: &str| bounded(text, 1000))]
        why: Option<String>,
        /// How results are printed
        #[command(flatten)]
        output: Output,
    },
    /// Send what waits, at once: after a stop, after 410 Gone, or from a copy of the book that is to send
    Start(Endpoint),
    /// Forget an endpoint, and what was and was not delivered to it
    Remove(Endpoint),
}

/// A new endpoint.
#[derive(Debug, Args)]
pub struct AddEndpoint {
    /// What to call it
    pub name: String,
    /// Where to
    pub url: String,
    /// Which events [default: all]
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    pub kinds: Option<Vec<String>>,
    /// From which event on: now, start (all that are kept), or the id of the last one that it knows
    #[arg(long, value_name = "WHERE", default_value = "now")]
    pub from: String,
    /// How results are printed
    #[command(flatten)]
    pub output: Output,
}

/// What is sent again.
#[derive(Debug, Args)]
pub struct ReplayEvents {
    /// To which endpoint
    pub name: String,
    /// One event: its id
    #[arg(long, value_name = "ID", conflicts_with = "since")]
    pub event: Option<i64>,
    /// All of its kinds since a time
    #[arg(long, value_name = "TIME")]
    pub since: Option<Timestamp>,
    /// How results are printed
    #[command(flatten)]
    pub output: Output,
}

/// What becomes another.
#[derive(Debug, Args)]
pub struct ChangeEndpoint {
    /// Which endpoint
    pub name: String,
    /// Another address
    #[arg(long)]
    pub url: Option<String>,
    /// Other events; "all" for all
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    pub kinds: Option<Vec<String>>,
    /// Most requests under way, 1 to 64
    #[arg(long, value_name = "NUMBER")]
    pub concurrency: Option<i32>,
    /// How results are printed
    #[command(flatten)]
    pub output: Output,
}

impl ChangeEndpoint {
    /// Kinds as the schema has them: none of them is all of them.
    pub fn kinds(&self) -> Option<Vec<String>> {
        let kinds = self.kinds.clone()?;
        Some(if kinds == ["all"] { Vec::new() } else { kinds })
    }
}

/// One endpoint.
#[derive(Debug, Args)]
pub struct Endpoint {
    /// Which endpoint
    pub name: String,
    /// How results are printed
    #[command(flatten)]
    pub output: Output,
}

/// `billd listen`
#[derive(Debug, Args)]
pub struct Listen {
    /// Where to
    #[arg(long, value_name = "URL")]
    pub forward_to: String,
    /// Which events [default: all]
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    pub kinds: Option<Vec<String>>,
    /// How results are printed: one object a line
    #[command(flatten)]
    pub output: Output,
}

/// `billd trigger`
#[derive(Debug, Args)]
pub struct Trigger {
    /// Which kind of event: paid, declined …
    pub kind: String,
    /// How results are printed
    #[command(flatten)]
    pub output: Output,
}
