//! Rows in no legal state: seen, and set right by the sweep.

use super::book::Life;
use crate::words::PACE;

/// Each planted past the triggers: what is written, what the view says of it, and what is paid in the end.
const PLANTED: [(&str, &str, &str); 6] = [
    (
        "update billd.subscription set open_attempt = 'of-another', next_charge_at = null",
        "open_attempt names no open attempt of it",
        "2026-03-10 2026-04-10 9900, 2026-04-10 2026-05-10 9900",
    ),
    (
        "update billd.subscription s set open_attempt = a.merchant_uid from billd.charge_attempt a",
        "open_attempt names no open attempt of it",
        "2026-03-10 2026-04-10 9900, 2026-04-10 2026-05-10 9900",
    ),
    (
        "update billd.subscription set next_charge_at = null",
        "active, but nothing is planned",
        "2026-03-10 2026-04-10 9900, 2026-04-10 2026-05-10 9900",
    ),
    (
        "update billd.subscription set next_charge_at = null, attempts = 3, declines = 2",
        "active, but nothing is planned",
        "2026-03-10 2026-04-10 9900, 2026-04-10 2026-05-10 9900",
    ),
    (
        "update billd.subscription set due_at = '2026-03-20 10:00+09', period = '2026-03-20'",
        "all before its cursor is settled, and the next period begins before it",
        "2026-03-10 2026-04-10 9900, 2026-04-10 2026-05-10 9900",
    ),
    (
        "insert into billd.billing_cycle (subscription_id, period, amount, currency, due_at, until_at)
         select id, period, 9900, 'KRW', due_at, until_at from billd.subscription;
         update billd.subscription set period = '2026-05-10', due_at = until_at,
             until_at = until_at + interval '1 month', next_charge_at = until_at",
        "the debt of 2026-04-10 is open, and is asked for by nobody",
        "2026-03-10 2026-04-10 9900, 2026-04-10 2026-05-10 9900",
    ),
];

#[tokio::test]
async fn a_row_out_of_order_is_seen_and_set_right_by_the_sweep_and_billed_rightly_again() {
    for (planted, why, expected) in PLANTED {
        let life = Life::paid("2026-03-10").await;
        life.at("2026-03-20").await;
        life.run(&format!(
            "set session_replication_role = replica; {planted}; reset session_replication_role"
        ))
        .await;
        let shown = "select why from billd.row_out_of_order";
        assert_eq!(life.house.book.text(shown).await, why, "{planted}");
        life.at("2026-04-10 10:01").await;
        // Debts, too, are looked for by a daemon that starts.
        let store = &life.house.book.store;
        store.find_out_of_order(PACE, true).await.unwrap();
        life.sweep().await;
        life.sweep().await;
        assert_eq!(life.paid_for().await, expected, "{planted}");
        let left = "select count(*) from billd.row_out_of_order";
        assert_eq!(life.house.book.text(left).await, "0", "{planted}");
        assert_eq!(
            life.next().await,
            "active 2026-05-10 2026-06-10",
            "{planted}"
        );
    }
}

#[tokio::test]
async fn a_row_that_is_in_order_is_never_listed() {
    for card in [
        "card-1",
        "decline-balance-1",
        "decline-stolen-1",
        "drop-after-approval-1",
        "drop-before-approval-1",
    ] {
        let life = Life::begun("2026-03-10", "", "").await;
        life.run(&format!(
            "update billd.subscription set customer_uid = '{card}'"
        ))
        .await;
        for change in [
            "name = 'n'",
            "state = 'paused'",
            "state = 'active'",
            "state = 'cancelled'",
        ] {
            life.sweep().await;
            life.house
                .book
                .try_run(&format!("update billd.subscription set {change}"))
                .await
                .ok();
            let shown = "select string_agg(why, ', ') from billd.row_out_of_order";
            assert_eq!(
                life.house.book.text(shown).await,
                "null",
                "{card}, {change}"
            );
        }
    }
}

#[tokio::test]
async fn what_only_grows_is_never_lowered_whoever_writes() {
    let life = Life::paid("2026-03-10").await;
    for change in [
        "fence = fence - 1",
        "row_version = row_version - 1",
        "settled_until = settled_until - interval '1 day'",
    ] {
        let write = format!(
            "select set_config('billd.writer', 'record', true);
             update billd.subscription set {change}"
        );
        let refused = life.house.book.try_run(&write).await.unwrap_err();
        assert!(refused.contains("never lowered"), "{change}: {refused}");
    }
}

/// Hazard: an upgrade takes a zone's name away. Whoever was charged under it has paid, and nobody writes it down.
#[tokio::test]
async fn a_payment_is_written_down_though_the_server_knows_its_zone_no_longer() {
    let life = Life::paid("2026-03-10").await;
    life.run(
        "set session_replication_role = replica; update billd.subscription set time_zone = 'Mars/Olympus';
         reset session_replication_role",
    )
    .await;
    life.at("2026-04-10 10:01").await;
    life.sweep().await;
    assert_eq!(
        life.paid_for().await,
        "2026-03-10 2026-04-10 9900, 2026-04-10 2026-05-10 9900"
    );
    life.sweep().await;
    let row =
        "select concat_ws(' | ', state, next_charge_at, state_reason) from billd.subscription";
    let said = life.house.book.text(row).await;
    assert!(said.contains("the calendar can't be read"), "{said}");
}
