//! The first four acts: the book, the first charges, the lost answer, the calendar.

use std::sync::Arc;

use anyhow::ensure;

use crate::demo::book::BOOK;
use crate::demo::page::{
    CLOCK, DAEMON, GATEWAY, GREEN, TABLES, YOU, gap, grouped, heading, paint, remark, say, table,
};
use crate::demo::stage::Stage;

/// The card whose first approval stays unheard.
const LOST: &str = "drop-after-approval-once-junseo";

/// The book as people see it.
const OVERVIEW: &str = "
    select coalesce(buyer_name, name), name,
           to_char(amount, 'FM999,999,999') || ' KRW / ' || interval_unit,
           to_char(next_charge_at at time zone time_zone, 'FMDD FMMonth, HH24:MI'), customer_uid
    from billd.subscription order by buyer_name";

/// The periods of the subscription that began on the 31st.
const THE_31ST: &str = "
    select to_char(day, 'FMDD FMMonth') from (
        select c.period as day from billd.billing_cycle c
        join billd.subscription s on s.id = c.subscription_id
        where s.customer_uid = 'card-minji'
        union
        select (next_charge_at at time zone time_zone)::date from billd.subscription
        where customer_uid = 'card-minji'
    ) days order by day";

/// 1. The book.
pub(super) async fn the_book(stage: &mut Stage) -> anyhow::Result<()> {
    heading("1 · The book");
    let words =
        "31 January 2027, 10:00 in Seoul. The demo moves billd's clock, so months take seconds.";
    stage.set_clock("2027-01-31 10:00", words).await?;
    stage.book.rows(BOOK).await?;
    say(
        YOU,
        "insert into billd.subscription (buyer_name, name, amount, customer_uid) values …",
    );
    gap();
    table(
        &[
            "who",
            "what",
            ">how much",
            "first charge",
            "card (customer_uid)",
        ],
        &stage.book.rows(OVERVIEW).await?,
    );
    remark(
        "The sandbox takes its cue from a card's name: decline-stolen-… is refused as stolen, and\n\
         of drop-after-approval-once-… it takes the money once without being able to say so.",
    );
    Ok(())
}

/// 2. The first charges.
pub(super) async fn due(stage: &mut Stage) -> anyhow::Result<()> {
    heading("2 · Due");
    say(YOU, "billd run");
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
    say(CLOCK, "31 January 2027, 10:10");
    let (log, gateway) = (Arc::clone(&stage.log), Arc::clone(&stage.gateway));
    stage
        .wait_for("the answer to get lost", async || Ok(log.has_doubted()))
        .await?;
    let approvals = || {
        let ledger = gateway.ledger().into_iter();
        ledger.filter(|one| one.customer_uid == LOST).count()
    };
    let words = "has taken the money all the same:";
    say(
        GATEWAY,
        &format!("{words} {} approval in its ledger", approvals()),
    );
    stage.wait_until_quiet().await?;
    let times = approvals();
    ensure!(
        times == 1,
        "임준서's card was charged {times} times for one month"
    );
    say(GATEWAY, &format!("still {times} approval"));
    remark("A script that takes a broken connection for a failure charges 임준서 twice.");
    Ok(())
}

/// 4. The calendar, the ladders and a new card.
pub(super) async fn the_calendar(stage: &mut Stage) -> anyhow::Result<()> {
    heading("4 · Two months, day by day");
    for (clock, words) in [
        (
            "2027-01-31 11:30",
            "31 January, 11:30: the card company's outage is over",
        ),
        (
            "2027-02-01 12:00",
            "1 February: one card has balance again, the other is at its limit",
        ),
        ("2027-02-04 13:00", "4 February"),
    ] {
        stage.set_clock(clock, words).await?;
    }
    let new_card =
        "update billd.subscription set customer_uid = 'card-jiho-new', state = 'active' where";
    say(YOU, &format!("{new_card} …"));
    let of = "customer_uid = 'decline-stolen-jiho'";
    stage.book.rows(&format!("{new_card} {of}")).await?;
    stage.wait_until_quiet().await?;
    for (clock, words) in [
        ("2027-02-09 14:00", "9 February"),
        (
            "2027-02-16 15:00",
            "16 February: the ladder ends, and a person is asked",
        ),
        (
            "2027-02-28 10:15",
            "28 February: there is no 31st, so the month's last day it is",
        ),
    ] {
        stage.set_clock(clock, words).await?;
    }
    for (clock, words) in [
        (
            "2027-03-28 10:15",
            "28 March: who began on the 28th stays on the 28th",
        ),
        (
            "2027-03-31 10:15",
            "31 March: who began on the 31st is back on it",
        ),
    ] {
        stage.log.be_brief();
        stage.set_clock(clock, words).await?;
        let (count, sum) = stage.log.be_long();
        let words = format!("{count} paid, {} KRW in all", grouped(sum));
        say(DAEMON, &paint(GREEN, &words));
    }
    let days = stage.book.words(THE_31ST).await?;
    say(TABLES, &format!("김민지 pays on {}", days.join(" → ")));
    let expected = ["31 January", "28 February", "31 March", "30 April"];
    ensure!(
        days == expected,
        "the calendar of the 31st is wrong: {days:?}"
    );
    Ok(())
}
