//! What is due first fails, and healthy customers stand behind it: they are charged.

use billd::engine::Limits;
use portone_sandbox::{Fault, FaultKind, Route};

use crate::support::limits;
use crate::words::given;

/// As many as a daemon of this size may have under way fail at once.
fn narrow() -> Limits {
    Limits {
        charges_max: 8,
        ..limits()
    }
}

/// Hazard: one channel's contract ends, its 400 subscriptions are due first, and each probe of the circuit
/// breaker is one of them: nobody else is charged for hours.
#[tokio::test]
async fn a_bad_channel_that_is_due_first_holds_up_no_other_channel() {
    let it = given()
        .limits(narrow())
        .due_many_of(400, "decline-config-")
        .await;
    it.run("update billd.subscription set channel_key = 'channel-bad'")
        .await;
    it.subscribe_many(50, "cust_").await;
    it.subscribe("other_1").await;
    it.run(
        "update billd.subscription set channel_key = 'channel-good' where customer_uid = 'other_1'",
    )
    .await;
    let swept = it.sweep().await;
    assert_eq!(swept.counts.paid, 51, "{swept:?}");
    // What was under way when it showed, and probes.
    assert!(swept.counts.declined < 20, "{swept:?}");
    assert!(
        it.engine
            .charging_stopped()
            .unwrap()
            .contains("channel-bad")
    );

    // The contract is there again: a probe finds out, and the channel is charged.
    it.run("update billd.subscription set customer_uid = 'mended_' || id where channel_key = 'channel-bad'").await;
    it.advance("2 hours").await;
    while it.engine.charging_stopped().is_some() {
        it.sweep().await;
    }
    it.sweep().await;
    it.debts("451 paid").await;
}

/// Hazard: cards that nobody answers for are due first. Each probe is one of them and takes a time-out.
#[tokio::test]
async fn silent_cards_that_are_due_first_hold_up_nobody_behind_them_for_long() {
    let it = given().limits(narrow()).due_many_of(12, "silent_").await;
    it.subscribe_many(20, "cust_").await;
    let silent = Fault::new(FaultKind::SilenceBefore, Route::Again);
    it.sandbox.fault(silent.for_customer("silent_*"));
    let swept = it.sweep().await;
    assert_eq!(
        (swept.counts.paid, swept.counts.unknown),
        (20, 12),
        "{swept:?}"
    );
}
