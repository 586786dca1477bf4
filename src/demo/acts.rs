//! The first four acts: the book, the first charges, the lost answer, the calendar.

use std::sync::Arc;

use anyhow::ensure;
use sqlx::Row;

use crate::demo::book::BOOK;
use crate::demo::page::{Ink, Side, Voice, gap, grouped, heading, paint, remark, say, table};
use crate::demo::stage::Stage;
use portone_sandbox::Running;

/// The card whose first approval stays unheard.
const LOST: &str = "drop-after-approval-once-junseo";

/// 1. The book.
pub(super) async fn the_book(stage: &mut Stage) -> anyhow::Result<()> {
    heading("1 · The book");
    stage
        .set_clock(
            "2027-01-31 10:00",
            "31 January 2027, 10:00 in Seoul. The demo moves billd's clock, so months take seconds.",
        )
        .await?;
    stage.book.run(BOOK).await?;
    say(
        Voice::You,
        "insert into billd.subscription (buyer_name, name, amount, customer_uid) values …",
    );
    gap();
    let rows = stage.book.overview().await?;
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let text = |column: usize| row.try_get::<String, _>(column);
            let amount: i64 = text(3)?.parse()?;
            Ok(vec![
                text(0)?,
                text(1)?,
                format!("{} KRW / {}", grouped(amount), text(5)?),
                text(4)?,
                text(2)?,
            ])
        })
        .collect::<anyhow::Result<_>>()?;
    let columns = [
        ("who", Side::Left),
        ("what", Side::Left),
        ("how much", Side::Right),
        ("first charge", Side::Left),
        ("card (customer_uid)", Side::Left),
    ];
    table(&columns, &rows);
    remark(
        "The sandbox takes its cue from a card's name: decline-stolen-… is refused as stolen, and\n\
         of drop-after-approval-once-… it takes the money once without being able to say so.",
    );
    Ok(())
}

/// 2. The first charges.
pub(super) async fn due(stage: &mut Stage) -> anyhow::Result<()> {
    heading("2 · Due");
    say(Voice::You, "billd run");
    stage.start_daemon().await?;
    stage.wait_until_quiet().await?;
    remark(
        "An empty account or a limit is tried again over days, an outage within hours, a stolen card\n\
         never: it waits for a person.",
    );
    Ok(())
}

/// 3. The lost answer.
pub(super) async fn the_lost_answer(stage: &mut Stage) -> anyhow::Result<()> {
    heading("3 · The lost answer");
    stage.book.set_clock("2027-01-31 10:10:01").await?;
    say(Voice::Clock, "31 January 2027, 10:10");
    let log = Arc::clone(&stage.log);
    stage
        .wait_for("the answer to get lost", async || Ok(log.has_doubted()))
        .await?;
    say(
        Voice::Gateway,
        &format!(
            "has taken the money all the same: {} approval in its ledger",
            approvals_of_lost(&stage.gateway)
        ),
    );
    stage.wait_until_quiet().await?;
    let approvals = approvals_of_lost(&stage.gateway);
    ensure!(
        approvals == 1,
        "임준서's card was charged {approvals} times for one month"
    );
    say(Voice::Gateway, &format!("still {approvals} approval"));
    remark("A script that takes a broken connection for a failure charges 임준서 twice.");
    Ok(())
}

fn approvals_of_lost(gateway: &Running) -> usize {
    let ledger = gateway.ledger();
    ledger.iter().filter(|one| one.customer_uid == LOST).count()
}

/// 4. The calendar, the ladders and a new card.
pub(super) async fn the_calendar(stage: &mut Stage) -> anyhow::Result<()> {
    heading("4 · Two months, day by day");
    stage
        .set_clock(
            "2027-01-31 11:30",
            "31 January, 11:30: the card company's outage is over",
        )
        .await?;
    stage
        .set_clock(
            "2027-02-01 12:00",
            "1 February: one card has balance again, the other is at its limit",
        )
        .await?;
    stage.set_clock("2027-02-04 13:00", "4 February").await?;
    say(
        Voice::You,
        "update billd.subscription set customer_uid = 'card-jiho-new', state = 'active' where …",
    );
    stage
        .book
        .run(
            "update billd.subscription set customer_uid = 'card-jiho-new', state = 'active'
             where customer_uid = 'decline-stolen-jiho'",
        )
        .await?;
    stage.wait_until_quiet().await?;
    stage.set_clock("2027-02-09 14:00", "9 February").await?;
    stage
        .set_clock(
            "2027-02-16 15:00",
            "16 February: the ladder ends, and a person is asked",
        )
        .await?;
    stage
        .set_clock(
            "2027-02-28 10:15",
            "28 February: there is no 31st, so the month's last day it is",
        )
        .await?;
    let words = "28 March: who began on the 28th stays on the 28th";
    in_brief(stage, "2027-03-28 10:15", words).await?;
    let words = "31 March: who began on the 31st is back on it";
    in_brief(stage, "2027-03-31 10:15", words).await?;
    the_31st(stage).await
}

/// Moves the clock, and tells of the payments in one line.
async fn in_brief(stage: &mut Stage, clock: &str, words: &str) -> anyhow::Result<()> {
    stage.log.be_brief();
    stage.set_clock(clock, words).await?;
    let (count, sum) = stage.log.be_long();
    let words = format!("{count} paid, {} KRW in all", grouped(sum));
    say(Voice::Daemon, &paint(Ink::Green, &words));
    Ok(())
}

/// Shows the periods of a subscription that began on the 31st.
async fn the_31st(stage: &Stage) -> anyhow::Result<()> {
    let days = stage
        .book
        .words(
            "select to_char(day, 'FMDD FMMonth') from (
                 select c.period as day from billd.billing_cycle c
                 join billd.subscription s on s.id = c.subscription_id
                 where s.customer_uid = 'card-minji'
                 union
                 select (next_charge_at at time zone time_zone)::date from billd.subscription
                 where customer_uid = 'card-minji'
             ) days order by day",
        )
        .await?;
    say(
        Voice::Tables,
        &format!("김민지 pays on {}", days.join(" → ")),
    );
    let expected = ["31 January", "28 February", "31 March", "30 April"];
    ensure!(
        days == expected,
        "the calendar of the 31st is wrong: {days:?}"
    );
    Ok(())
}
