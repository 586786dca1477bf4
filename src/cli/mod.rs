//! The command line.

mod billing_key;
mod charge;
mod event;
mod output;
mod payment;
mod refund;
mod subscription;
mod switch;
mod values;
mod webhook;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use jiff::civil::Date;

pub use billing_key::BillingKey;
pub use charge::{Again, Charge, Onetime, Terms};
pub use event::Event;
pub use output::Output;
pub use payment::Payment;
pub use refund::Refund;
pub use subscription::{Subscription, Verb};
pub use switch::{Adopt, Start, Stop};
pub use webhook::{AddEndpoint, ChangeEndpoint, Endpoint, Listen, ReplayEvents, Trigger, Webhook};

/// Recurring billing for merchants who charge through PortOne V1: never twice, never lost.
#[derive(Debug, Parser)]
#[command(name = "billd", version, about, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Folder of the settings files [default: ./config, if it exists]
    #[arg(long, global = true, value_name = "DIR", env = "BILLD_CONFIG_DIR")]
    pub config_dir: Option<PathBuf>,
    /// Which settings file of that folder: NAME.toml [default: production]
    #[arg(long, global = true, value_name = "NAME", env = "BILLD_ENVIRONMENT")]
    pub environment: Option<String>,
}

/// Documented once, shown by `--help`, tested against [`crate::app::Exit`].
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  something unexpected failed
  2  wrong usage
  3  settings are missing or wrong; every fault is named
  4  the database can't be reached
  5  the schema is not this program's: run `billd migrate`, or a newer billd
  6  the gateway can't be reached, or refuses the key
  7  work is left: something is still due or unknown, or a stop cut calls short
  8  declined or refused: no money moved
  9  not done: the book or the gateway stands against it, or a question was not answered with yes
 10  findings are open: the gateway's books and ours differ, see `select * from billd.finding`

Settings come from config/default.toml (compiled in), config/NAME.toml and the environment, for
instance BILLD__GATEWAY__IMP_KEY. `billd check` shows whether they work.

Examples:
  DATABASE_URL=postgres://… billd migrate        prepare a database
  billd check                                    try settings, database and gateway
  billd run                                      charge what is due, from now on
  psql -c \"insert into billd.subscription (customer_uid, name, amount)
           values ('cust_1', '프리미엄 월간', 9900)\"";

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: charge what is due, ask about what is open, until it is told to stop
    #[command(after_help = "\
SIGTERM or SIGINT stops it in order: no new claims, calls under way end, outcomes are recorded.
A second signal no longer waits for calls; what was answered is still recorded.

Examples:
  billd run
  BILLD__LOG__FORMAT=json BILLD__HTTP__LISTEN=0.0.0.0:8080 billd run")]
    Run,
    /// Charge all that is due now and ask what is due to be asked, then exit
    #[command(after_help = "\
For scripts and an external cron; safe beside a running daemon and beside itself.

Examples:
  billd sweep
  billd sweep --json | jq .paid")]
    Sweep(Output),
    /// Ask the gateway about every attempt whose fate is unknown, now, then exit
    #[command(after_help = "\
Examples:
  billd reconcile
  billd reconcile --json | jq .unknown_left")]
    Reconcile(Output),
    /// Switch charging off, for all daemons of the book: what is due waits
    #[command(after_help = switch::STOP_HELP)]
    Stop(Stop),
    /// Switch charging on again
    #[command(after_help = switch::START_HELP)]
    Start(Start),
    /// Say that this database and this merchant account are the book's home now
    #[command(after_help = switch::ADOPT_HELP)]
    Adopt(Adopt),
    /// Compare the gateway's books with ours; nothing is charged and nothing given back
    #[command(after_help = "\
Each difference is one row of billd.finding and is told once; payments that we had counted as
unpaid, and what was given back at the console, are written down. A run that was cut short goes on
with --resume.

Examples:
  billd audit --from 2026-11-01 --to 2026-11-30
  billd audit --json | jq .findings
  billd audit --resume")]
    Audit(Audit),
    /// Create or update the tables of billd in the database
    #[command(after_help = "\
Safe to repeat, and to run by several at once. Needs no superuser: a role that may create a
schema, or that owns the schema billd, is enough.

Examples:
  DATABASE_URL=postgres://billd@localhost/shop billd migrate")]
    Migrate(Output),
    /// Try settings, database, schema, clock and gateway; one line each
    #[command(after_help = "\
Charges nothing and changes nothing.

Examples:
  billd check
  billd check --json | jq -e .ok")]
    Check(Output),
    /// Ask the daemon of this machine whether it lives; for containers
    #[command(after_help = "\
Examples:
  billd healthcheck            lives
  billd healthcheck --ready    can charge right now")]
    Healthcheck {
        /// Ask whether it can charge right now, not only whether it lives
        #[arg(long)]
        ready: bool,
    },
    /// Charge once, outside a subscription: a card that is typed in, or a billing key
    #[command(subcommand, after_help = charge::HELP)]
    Charge(Charge),
    /// Issue, show, list and delete billing keys
    #[command(subcommand, after_help = billing_key::HELP)]
    BillingKey(BillingKey),
    /// Look a payment up, in the gateway's books and in ours
    #[command(subcommand, after_help = payment::HELP)]
    Payment(Payment),
    /// Show what was told to your programs, and how far they have read
    #[command(subcommand, after_help = event::HELP)]
    Event(Event),
    /// Give money back, all or a part, once
    #[command(after_help = refund::HELP)]
    Refund(Refund),
    /// Change a subscription, or show what will follow: pause, cancel, change its card or plan, discounts
    #[command(after_help = subscription::HELP)]
    Subscription(Subscription),
    /// Send events to programs of yours: endpoints, attempts, dead letters
    #[command(subcommand, after_help = webhook::HELP)]
    Webhook(Webhook),
    /// Send events to a receiver on your own machine, for whoever writes one
    #[command(after_help = webhook::LISTEN_HELP)]
    Listen(Listen),
    /// Write an example event, in a book whose gateway is a sandbox
    #[command(after_help = webhook::TRIGGER_HELP)]
    Trigger(Trigger),
    /// See it work, in half a minute: a database, a gateway and a book of its own, and a crash
    #[cfg(feature = "demo")]
    #[command(after_help = "\
Needs nothing: PostgreSQL is started from the installed programs, or downloaded once. No card is
charged, and everything is removed at the end. Exits with 1 if the gateway's ledger and billd's
tables should disagree.

Examples:
  billd demo
  billd demo --serve           then look around with psql, until Ctrl-C")]
    Demo(Demo),
    /// Run a stateful PortOne V1 server that moves no money
    #[cfg(feature = "sandbox")]
    #[command(long_about = portone_sandbox::HELP, after_help = "\
Examples:
  billd sandbox --listen 127.0.0.1:18081
  billd sandbox --latency-ms 200 --data sandbox.jsonl
  BILLD__GATEWAY__BASE_URL=http://127.0.0.1:18081 BILLD__GATEWAY__IMP_KEY=sandbox_key \\
    BILLD__GATEWAY__IMP_SECRET=sandbox_secret billd run")]
    Sandbox(portone_sandbox::Arguments),
}

/// Options of the audit. Days are counted in Korea, as PortOne's console counts them.
#[derive(Debug, Clone, Args)]
pub struct Audit {
    /// The first day [default: as many days ago as audit.days says]
    #[arg(long, value_name = "DATE", conflicts_with = "resume")]
    pub from: Option<Date>,
    /// The last day [default: today]
    #[arg(long, value_name = "DATE", conflicts_with = "resume")]
    pub to: Option<Date>,
    /// Go on with the run that was cut short
    #[arg(long)]
    pub resume: bool,
    /// How results are printed
    #[command(flatten)]
    pub output: Output,
}

/// Options of the demo.
#[cfg(feature = "demo")]
#[derive(Debug, Clone, Copy, Args)]
pub struct Demo {
    /// Stay up at the end, to be looked at with psql
    #[arg(long)]
    pub serve: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.contains("Examples:"), "{}", command.get_name());
        }
    }
}
