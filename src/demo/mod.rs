//! `billd demo`: the life of a small book in half a minute, on a machine that has nothing but this
//! program.
//!
//! The demo plays the merchant, the operator, the calendar and the gateway. The daemon is not
//! played: it is `billd run`, a process of its own, and it is killed for real. The comparison at
//! the end is computed from both sides, and the demo fails if it doesn't hold.

mod acts;
mod audit;
mod book;
mod crash;
mod daemon;
mod log_view;
mod page;
mod stage;
mod verdict;

use anyhow::bail;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::demo::page::{BOLD, DIM, gap, paint, text};
use crate::demo::stage::Stage;
use crate::terminal;

/// Plays all acts. Fails if anything goes otherwise than the story says, and if `stop` comes before
/// the end; whatever was started is gone then.
pub async fn play(serve: bool, stop: &CancellationToken) -> anyhow::Result<()> {
    let mut stage = tokio::select! {
        played = story(Instant::now()) => played?,
        () = stop.cancelled() => {
            terminal::progress_done();
            bail!("stopped before the end; everything was removed")
        }
    };
    if serve {
        verdict::invite(&stage)?;
        tokio::select! {
            () = stop.cancelled() => {}
            ended = stage.wait_for_ever() => ended?,
        }
        gap();
    }
    stage.clear().await?;
    text(&paint(
        DIM,
        "The daemon, the sandbox and PostgreSQL are stopped, and their data is removed.",
    ));
    if !serve {
        text("`billd demo --serve` leaves them running, for you to look around.");
    }
    Ok(())
}

async fn story(started: Instant) -> anyhow::Result<Stage> {
    gap();
    text(&paint(
        BOLD,
        "billd demo: two months in the life of a small book of subscriptions",
    ));
    let mut stage = Stage::set().await?;
    acts::the_book(&mut stage).await?;
    acts::due(&mut stage).await?;
    acts::the_lost_answer(&mut stage).await?;
    acts::the_calendar(&mut stage).await?;
    crash::the_crash(&mut stage).await?;
    verdict::judge(&mut stage, started).await?;
    Ok(stage)
}
