//! The commands, one file each: from the command line to a call of the engine, the auditor or the
//! store, and from what that returns to text, JSON and an exit code.

mod audit;
mod billing_key;
mod card_input;
mod charge;
mod charge_request;
mod charged;
mod check;
mod confirm;
mod day;
#[cfg(feature = "demo")]
mod demo;
mod event;
mod exit;
mod figures;
mod gateway;
mod healthcheck;
mod key_change;
mod listen;
mod migrate;
mod payment;
mod refund;
mod run;
#[cfg(feature = "sandbox")]
mod sandbox;
mod services;
mod signals;
mod subscribe;
mod subscription;
mod sweep;
mod switch;
mod webhook;

use crate::cli::{Cli, Command};
use crate::settings::Source;

pub use exit::{Exit, Failure};

/// Does what the command line asks for.
pub async fn execute(cli: Cli) -> Result<Exit, Failure> {
    let source = Source::of_process(cli.config_dir, cli.environment);
    match cli.command {
        Command::Run => run::run(&source).await,
        Command::Sweep(output) => sweep::sweep(&source, output).await,
        Command::Reconcile(output) => sweep::reconcile(&source, output).await,
        Command::Stop(stop) => switch::stop(&source, stop).await,
        Command::Start(start) => switch::start(&source, start).await,
        Command::Adopt(adopt) => switch::adopt(&source, adopt).await,
        Command::Audit(options) => audit::audit(&source, options).await,
        Command::Migrate(output) => migrate::migrate(&source, output).await,
        Command::Check(output) => check::check(&source, output).await,
        Command::Healthcheck { ready } => healthcheck::healthcheck(&source, ready).await,
        Command::Charge(charge) => charge::charge(&source, charge).await,
        Command::BillingKey(key) => billing_key::billing_key(&source, key).await,
        Command::Payment(payment) => payment::payment(&source, payment).await,
        Command::Event(command) => event::event(&source, command).await,
        Command::Refund(refund) => refund::refund(&source, refund).await,
        Command::Subscription(command) => subscription::subscription(&source, command).await,
        Command::Webhook(command) => webhook::webhook(&source, command).await,
        Command::Listen(options) => listen::listen(&source, options).await,
        Command::Trigger(options) => listen::trigger(&source, options).await,
        #[cfg(feature = "demo")]
        Command::Demo(options) => demo::demo(options).await,
        #[cfg(feature = "sandbox")]
        Command::Sandbox(options) => sandbox::sandbox(options).await,
    }
}
