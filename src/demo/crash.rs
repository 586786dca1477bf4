//! The fifth act: the daemon dies in mid-charge, and another one finds out what became of it all.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::ensure;
use tokio::time::Instant;

use crate::demo::book::RUSH;
use crate::demo::page::{
    GATEWAY, GREEN, RED, TABLES, YOU, gap, heading, paint, remark, say, seconds,
};
use crate::demo::stage::Stage;
use portone_sandbox::{Fault, FaultKind, Latency, Route, Running};

/// Subscriptions of [`RUSH`].
const RUSH_COUNT: usize = 12;
/// Those among them whose request is lost on the way.
const LOST_COUNT: usize = 3;
/// Long enough for all of them to be under way at once.
const SLOW_MS: u64 = 1200;

const STARTED: &str = "select count(*) from billd.charge_attempt
    where customer_uid like 'rush-%' and state = 'started'";
const PAID: &str = "select count(*) from billd.charge_attempt
    where customer_uid like 'rush-%' and state = 'paid'";

/// 5. The crash.
pub(super) async fn the_crash(stage: &mut Stage) -> anyhow::Result<()> {
    heading("5 · The crash");
    let died_at = kill_in_mid_charge(stage).await?;
    show_what_is_left(stage).await?;

    say(YOU, "billd run");
    stage.start_daemon().await?;
    stage.wait_until_quiet().await?;
    let took = died_at.elapsed();
    let rush: Vec<String> = rush_charges(&stage.gateway);
    let cards: HashSet<&String> = rush.iter().collect();
    let paid = stage.book.number(PAID).await?;
    ensure!(
        rush.len() == RUSH_COUNT && cards.len() == RUSH_COUNT && paid == i64::try_from(RUSH_COUNT)?,
        "of {RUSH_COUNT} charges {paid} are paid, and the gateway has {} for {} cards",
        rush.len(),
        cards.len(),
    );
    let words = format!(
        "{paid} of {RUSH_COUNT} are paid, each exactly once, {} after the crash",
        seconds(took)
    );
    say(TABLES, &paint(GREEN, &words));
    remark(
        "Nobody had to act. Waits are short here: a dead daemon's lease ends after 5 s (90 s by default),\n\
         and what the gateway doesn't know is sent again after 3 s (15 minutes by default).",
    );
    Ok(())
}

/// Kills the daemon while all charges are under way, and returns when that was.
async fn kill_in_mid_charge(stage: &mut Stage) -> anyhow::Result<Instant> {
    let slow = Some(Latency::Fixed(SLOW_MS));
    stage.gateway.fault(Fault {
        latency_ms: slow,
        ..Fault::new(FaultKind::LatencyMs, Route::Again)
    });
    let lost = Fault::new(FaultKind::SilenceBefore, Route::Again);
    stage.gateway.fault(lost.for_customer("rush-lost-*"));

    let gateway = Arc::clone(&stage.gateway);
    let wanted = requests(&gateway).saturating_add(u64::try_from(RUSH_COUNT)?);
    stage.book.rows(RUSH).await?;
    let words = format!("insert {RUSH_COUNT} more, due at once, while the gateway is slow");
    say(YOU, &words);
    stage
        .wait_for("the charges to be under way", async || {
            Ok(requests(&gateway) >= wanted)
        })
        .await?;
    let answered = rush_charges(&gateway).len();
    let died_at = Instant::now();
    let process = stage.kill_daemon().await?;
    let words = format!("{RUSH_COUNT} requests are under way, {answered} are answered");
    say(GATEWAY, &words);
    let words = format!("kill -9 {process}: the daemon dies in mid-charge");
    say(YOU, &paint(RED, &words));
    Ok(died_at)
}

/// Shows what each side knows before anybody comes to the rescue.
async fn show_what_is_left(stage: &mut Stage) -> anyhow::Result<()> {
    let started = stage.book.number(STARTED).await?;
    let words = "attempts are `started`: written down before they left, outcome unknown";
    say(TABLES, &format!("{started} {words}"));
    let gateway = Arc::clone(&stage.gateway);
    let moved = RUSH_COUNT.saturating_sub(LOST_COUNT);
    stage
        .wait_for("the gateway to charge what had reached it", async || {
            Ok(rush_charges(&gateway).len() >= moved)
        })
        .await?;
    let words = "of them after all, with nobody there to hear;";
    say(
        GATEWAY,
        &format!("charges {moved} {words} {LOST_COUNT} got lost on the way"),
    );
    remark(&format!(
        "The rows can't tell the {moved} from the {LOST_COUNT}. To charge all again would charge {moved} customers\n\
         twice, to write all off would lose {moved} payments. So the next daemon asks first."
    ));
    gap();
    stage.gateway.clear_faults();
    Ok(())
}

/// The cards of this act's approvals.
fn rush_charges(gateway: &Running) -> Vec<String> {
    let cards = gateway.ledger().into_iter().map(|one| one.customer_uid);
    cards.filter(|card| card.starts_with("rush-")).collect()
}

/// Charges that the gateway was asked for.
fn requests(gateway: &Running) -> u64 {
    let summary = gateway.summary();
    summary.requests.get(&Route::Again).copied().unwrap_or(0)
}
