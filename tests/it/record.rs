//! What the record of one answer does: decision × fence × state, each case on a book of its own.
//!
//! Held is the fence of whoever asks last; lost is the fence of the daemon that had begun the attempt, and from
//! which it was taken over after the lease.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use billd::domain::attempt::{ChargeOutcome, Unknown, UnknownReason};
use billd::domain::claim::{Answer, Claim, Recorded};
use billd::domain::dunning::{Decision, GiveUpReason};

use crate::support::Book;
use crate::words::{
    answer, claim_one, declined, no_balance, not_sent, paid, record, send_again, take_over,
};

const STATES: [&str; 5] = ["started", "unknown", "paid", "declined", "not_sent"];
const FENCES: [&str; 2] = ["held", "lost"];
const ANSWERS: [&str; 8] = [
    "advance",
    "retry",
    "give_up",
    "not_sent",
    "ask",
    "nothing",
    "park",
    "send_again",
];

/// State and fence: answers | what is said of them | the attempt | the subscription | the debt.
const TABLE: &str = "
started held: retry | moved | declined | active 1 1 planned | due
started held: give_up | moved | declined | past_due 1 0 | uncollectible
started held: not_sent | moved | not_sent | active 1 0 planned | due
started held: advance | moved | paid | active 0 0 planned | paid
started held: send_again | moved | started | active 1 0 open | unresolved
started held: park | moved | unknown parked | active 1 0 open | unresolved
started held: ask nothing | moved | unknown | active 1 0 open | unresolved
started lost: all else | stale | started sent 2 | active 1 0 open | unresolved
started lost: advance | stale, paid | paid sent 2 | active 1 0 open recheck | unresolved
unknown held: retry | moved | declined | active 1 1 planned | due
unknown held: give_up | moved | declined | past_due 1 0 | uncollectible
unknown held: not_sent | moved | not_sent | active 1 0 planned | due
unknown held: advance | moved | paid | active 0 0 planned | paid
unknown held: send_again | moved | started sent 2 | active 1 0 open | unresolved
unknown held: park | moved | unknown parked | active 1 0 open | unresolved
unknown held: ask nothing | moved | unknown | active 1 0 open | unresolved
unknown lost: ask nothing park send_again | already | unknown | active 1 0 open | unresolved
unknown lost: retry give_up not_sent | stale | unknown | active 1 0 open | unresolved
unknown lost: advance | stale, paid | paid | active 1 0 open recheck | unresolved
paid held: advance | already | paid | active 0 0 planned | paid
paid held: all else | stale | paid | active 0 0 planned | paid
paid lost: advance | already | paid | active 0 0 planned | paid
paid lost: all else | stale | paid | active 0 0 planned | paid
declined held: retry give_up | already | declined | active 1 1 planned | due
declined held: advance | moved | paid | active 0 0 planned | paid
declined held: all else | stale | declined | active 1 1 planned | due
declined lost: retry give_up | already | declined | active 1 1 planned | due
declined lost: all else | stale | declined | active 1 1 planned | due
declined lost: advance | stale, paid | paid | active 1 1 recheck planned | due
not_sent held: not_sent | already | not_sent | active 1 0 planned | due
not_sent held: advance | moved | paid | active 0 0 planned | paid
not_sent held: all else | stale | not_sent | active 1 0 planned | due
not_sent lost: not_sent | already | not_sent | active 1 0 planned | due
not_sent lost: all else | stale | not_sent | active 1 0 planned | due
not_sent lost: advance | stale, paid | paid | active 1 0 recheck planned | due
";

/// The book empty again, with one subscription that is due. As a replica, because the book lets nobody take
/// anything away.
const EMPTY: &str = "
    set session_replication_role = replica;
    truncate billd.subscription, billd.billing_cycle, billd.charge_attempt;
    reset session_replication_role;
    insert into billd.subscription (customer_uid, name, amount) values ('cust_1', 'x', 9900)";

/// The answer that a daemon comes with.
fn answer_of(claim: &Claim, word: &str) -> Answer {
    let doubt = ChargeOutcome::Unknown(Unknown {
        reason: UnknownReason::Timeout,
        detail: "no answer".to_owned(),
    });
    let wait = Duration::from_mins(1);
    match word {
        "advance" => paid(claim),
        "retry" => declined(claim),
        "give_up" => {
            let reason = GiveUpReason::LadderEnded;
            answer(claim, Some(no_balance()), Decision::GiveUp(reason))
        }
        "not_sent" => not_sent(claim),
        "ask" => answer(claim, Some(doubt), Decision::Ask { wait }),
        "nothing" => answer(claim, None, Decision::Ask { wait }),
        "park" => answer(claim, Some(doubt), Decision::Park { wait }),
        "send_again" => send_again(claim),
        other => panic!("{other}"),
    }
}

/// Brings the attempt into a state, and returns what the daemon holds that is about to answer.
async fn bring(book: &Book, state: &str, fence: &str) -> Claim {
    book.run(EMPTY).await;
    let first = claim_one(book).await;
    let mut last = first.clone();
    if fence == "lost" || state == "unknown" {
        book.advance("91 seconds").await;
        last = take_over(book).await.remove(0).claim;
    }
    match state {
        "started" if fence == "lost" => {
            record(book, send_again(&last)).await;
        }
        "started" | "unknown" => {}
        "paid" => {
            record(book, paid(&last)).await;
        }
        "declined" => {
            record(book, declined(&last)).await;
        }
        "not_sent" => {
            record(book, not_sent(&last)).await;
        }
        other => panic!("{other}"),
    }
    let is_at_hand = format!("select state = '{state}' from billd.charge_attempt");
    book.shows(&is_at_hand, true).await;
    if fence == "lost" { first } else { last }
}

const ROWS: &str = "
    select concat_ws(' | ',
        concat_ws(' ', a.state, case when sends > 1 then 'sent ' || sends end,
            case when parked_at is not null then 'parked' end),
        concat_ws(' ', s.state, attempts, declines, case when open_attempt is not null then 'open' end,
            case when recheck then 'recheck' end, case when s.next_charge_at > billd.now() then 'planned' end),
        c.state)
    from billd.subscription s, billd.billing_cycle c, billd.charge_attempt a";

/// Everything that stands in the book.
const ALL: &str = "select concat(s::text, c::text, a::text)
    from billd.subscription s, billd.billing_cycle c, billd.charge_attempt a";

/// Hazard: one case of seventy goes another way, and money is asked for twice, or a paid debt once more.
#[tokio::test]
async fn each_answer_is_recorded_as_the_table_says_whatever_the_fence_and_the_state() {
    let book = Book::new().await;
    let mut found = String::from("\n");
    for state in STATES {
        for fence in FENCES {
            let mut same: BTreeMap<_, Vec<_>> = BTreeMap::new();
            for word in ANSWERS {
                let held = bring(&book, state, fence).await;
                let before = book.text(ALL).await;
                let recorded = record(&book, answer_of(&held, word)).await;
                let said = match recorded {
                    Recorded::Moved => "moved",
                    Recorded::Already => "already",
                    Recorded::Stale { paid_written: true } => "stale, paid",
                    Recorded::Stale { .. } => "stale",
                };
                let rows = book.text(ROWS).await;
                let case = format!("{state} {fence} {word} | {said} | {rows}");
                // Whoever is told that he came too late has changed nothing but that money moved.
                if matches!(said, "already" | "stale") {
                    assert_eq!(book.text(ALL).await, before, "{case}");
                }
                // That money moved is never lost, whatever the fence says.
                assert!(word != "advance" || rows.starts_with("paid"), "{case}");
                same.entry(format!("{said} | {rows}"))
                    .or_default()
                    .push(word);
            }
            for (result, words) in same {
                let words = match words.len() {
                    0..=4 => words.join(" "),
                    _ => "all else".to_owned(),
                };
                writeln!(found, "{state} {fence}: {words} | {result}").unwrap();
            }
        }
    }
    assert!(found == TABLE, "the table would be:{found}");
}
