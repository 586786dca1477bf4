//! Laws 14 and 15: what is asked is what is owed, and nothing is asked for again unseen.

use portone_sandbox::{FaultKind, Route};

use super::book::Life;
use crate::words::{claim_one, declined, record};
use billd::gateway::Gateway as _;

const ROW: &str =
    "select concat_ws(' ', state, split_part(state_reason, ';', 1)) from billd.subscription";

/// A trigger of the merchant's own, before billd's rows are inserted.
async fn trigger(life: &Life, table: &str, change: &str) {
    life.run(&format!(
        "create function meddle() returns trigger language plpgsql as $$ begin {change}; return new; end $$;
         create trigger meddle before insert on billd.{table} for each row execute function meddle()"
    ))
    .await;
}

#[tokio::test]
async fn nothing_is_sent_for_a_sum_or_a_card_that_was_written_otherwise_and_the_row_says_why() {
    for (table, change) in [
        ("billing_cycle", "new.amount := new.amount / 2"),
        ("billing_cycle", "new.currency := 'USD'"),
        ("charge_attempt", "new.amount := new.amount * 2"),
        ("charge_attempt", "new.customer_uid := 'card-2'"),
    ] {
        let life = Life::begun("2026-03-10", "", "").await;
        trigger(&life, table, change).await;
        life.sweep().await;
        assert_eq!(life.house.requests(Route::Again), 0, "{change}");
        assert_eq!(
            life.house.book.text(ROW).await,
            "past_due bad_row",
            "{change}"
        );
        let said = "select last_message from billd.subscription";
        let said = life.house.book.text(said).await;
        assert!(said.contains("written with another sum or card"), "{said}");
    }
}

#[tokio::test]
async fn what_a_trigger_leaves_as_it_is_is_charged() {
    let life = Life::begun("2026-03-10", "", "").await;
    trigger(&life, "billing_cycle", "new.reason := 'noted'").await;
    life.sweep().await;
    assert_eq!(life.taken(), [9900]);
}

#[tokio::test]
async fn a_debt_whose_refusal_turns_out_to_be_a_payment_is_closed_and_not_asked_for_again() {
    let life = Life::begun("2026-03-10", "", "").await;
    let claimed = claim_one(&life.house.book).await;
    let gateway = life.house.engine.gateway();
    drop(gateway.charge(&claimed.request).await);
    record(&life.house.book, declined(&claimed)).await;
    life.day("2026-03-12").await;
    assert_eq!(life.taken(), [9900]);
    assert_eq!(life.paid_for().await, "2026-03-10 2026-04-10 9900");
    assert_eq!(life.next().await, "active 2026-04-10 2026-05-10");
    life.house.attempts("1 paid, 2 not_sent paid_before").await;
}

#[tokio::test]
async fn nothing_is_asked_for_again_while_what_was_asked_before_can_not_be_looked_up() {
    let life = Life::begun("2026-03-10", "", "").await;
    life.run("update billd.subscription set customer_uid = 'decline-balance-once-1'")
        .await;
    life.sweep().await;
    life.house.fault(FaultKind::Error500Before, Route::FindAll);
    life.at("2026-03-11 10:01").await;
    life.sweep().await;
    assert_eq!(life.house.requests(Route::Again), 1);
    life.house
        .attempts("1 declined soft_funds 1254, 2 not_sent not_looked_up")
        .await;
}

#[tokio::test]
async fn the_first_attempt_of_a_debt_looks_nothing_up_and_a_retry_each_of_its_refusals() {
    let life = Life::begun("2026-03-10", "", "").await;
    life.run("update billd.subscription set customer_uid = 'decline-balance-1'")
        .await;
    life.sweep().await;
    assert_eq!(life.house.requests(Route::FindAll), 0);
    life.at("2026-03-11 10:01").await;
    life.sweep().await;
    assert_eq!(life.house.requests(Route::FindAll), 1);
    life.at("2026-03-14 10:02").await;
    life.sweep().await;
    assert_eq!(life.house.requests(Route::FindAll), 3);
}

#[tokio::test]
async fn what_the_auditor_has_found_paid_elsewhere_is_held_while_the_finding_is_open() {
    for (kind, sum, is_held) in [
        ("foreign_payment", 9900, true),
        ("foreign_payment", 3300, false),
        ("foreign_schedule", 3300, true),
        ("paid_there_not_here", 9900, true),
        ("cancelled_there", 9900, false),
    ] {
        let life = Life::begun("2026-03-10", "", "").await;
        life.run(&format!(
            "insert into billd.finding (kind, merchant_uid, subscription_id, amount_theirs)
             select '{kind}', 'order-1', id, {sum} from billd.subscription"
        ))
        .await;
        life.sweep().await;
        assert_eq!(life.taken().is_empty(), is_held, "{kind} {sum}");
        if is_held {
            let shown = "select string_agg(kind || ' ' || reason, ', ') from billd.attention";
            assert_eq!(life.house.book.text(shown).await, "held finding", "{kind}");
            let released = life.call_refused("2026-03-10 10:05", "release", "").await;
            assert!(released.contains("a finding is open"), "{released}");
            life.run("update billd.finding set state = 'explained'")
                .await;
            life.sweep().await;
            assert_eq!(life.taken(), [9900], "{kind}");
        }
    }
}

#[tokio::test]
async fn a_finding_about_a_card_holds_every_debt_that_is_asked_for_in_dunning_too() {
    let life = Life::begun("2026-03-10", "", "").await;
    life.run("update billd.subscription set customer_uid = 'decline-balance-once-1'")
        .await;
    life.sweep().await;
    life.run(
        "insert into billd.finding (kind, merchant_uid, subscription_id, amount_theirs)
         select 'foreign_payment', 'order-1', id, 9900 from billd.subscription",
    )
    .await;
    life.day("2026-03-12").await;
    assert_eq!(life.house.requests(Route::Again), 1);
    life.run("update billd.finding set state = 'mended'").await;
    life.day("2026-03-13").await;
    assert_eq!(life.taken(), [9900]);
    assert_eq!(life.next().await, "active 2026-04-10 2026-05-10");
}

/// Hazard: the answer was lost, the customer leaves or gives another card, and the gateway knows nothing of it.
#[tokio::test]
async fn what_is_not_found_is_never_sent_again_for_who_has_left_or_has_another_card() {
    for (change, sent) in [
        ("buyer_name = '점심'", 2),
        ("state = 'paused'", 1),
        ("state = 'cancelled'", 1),
        ("customer_uid = 'card-2'", 1),
    ] {
        let life = Life::begun("2026-03-10", "", "").await;
        life.run("update billd.subscription set customer_uid = 'drop-before-approval-once-1'")
            .await;
        life.sweep().await;
        life.run(&format!("update billd.subscription set {change}"))
            .await;
        life.day("2026-03-11").await;
        life.day("2026-03-13").await;
        assert_eq!(life.house.requests(Route::Again), sent, "{change}");
        let expected = if sent == 2 {
            "1 paid sent 2"
        } else {
            "1 unknown lost_connection parked"
        };
        let shown = life.house.book.text("select concat_ws(' ', attempt_no, state,
            case when sends > 1 then 'sent ' || sends end, case when parked_at is not null then 'parked' end)
            from billd.charge_attempt").await;
        assert_eq!(shown, expected.replace(" lost_connection", ""), "{change}");
    }
}
