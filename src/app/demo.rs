//! `billd demo`: see it work.

use anyhow::Context;

use crate::app::exit::{Exit, Failure};
use crate::app::signals::stop_signals;
use crate::cli;
use crate::demo::play;

pub(super) async fn demo(options: cli::Demo) -> Result<Exit, Failure> {
    let (stop, _hurry) = stop_signals().context("couldn't listen for signals")?;
    play(options.serve, &stop).await?;
    Ok(Exit::Done)
}
