use super::*;
use crate::domain::attempt::UnknownReason;

/// A second refund of 1,000 of a payment of 9,900, of which 1,000 had been given back.
fn request() -> RefundRequest {
    RefundRequest {
        merchant_uid: MerchantUid::parse("a1").unwrap(),
        imp_uid: ImpUid::parse("imp_1").unwrap(),
        amount: 1_000,
        checksum: 8_900,
        payment_amount: 9_900,
        currency: Currency::KRW,
        tax_free: None,
        vat_amount: None,
        note: None,
    }
}

const NO_DOUBT: RefundDoubt = RefundDoubt {
    booked: 1_000,
    is_contradicted: false,
};

fn look(imp_uid: &str, cancelled: i64) -> Lookup {
    Lookup::Paid(Payment::example(imp_uid, cancelled))
}

fn question(age: Duration, unchanged: u16) -> Question {
    Question {
        age,
        asks: 1,
        not_found: unchanged,
        sends: 1,
    }
}

fn doubted(look: &Lookup, age: Duration, doubt: RefundDoubt) -> RefundFound {
    decide_refund(
        &Policy::example(),
        &request(),
        Ok(look),
        &question(age, 9),
        doubt,
    )
}

fn found(cancelled: i64, age: Duration, unchanged: u16) -> RefundFound {
    let question = question(age, unchanged);
    let look = look("imp_1", cancelled);
    decide_refund(
        &Policy::example(),
        &request(),
        Ok(&look),
        &question,
        NO_DOUBT,
    )
}

/// Hazard: PortOne refuses because another refund of the same sum came first; the balance that
/// the other one left is taken for the proof of ours.
#[test]
fn a_balance_after_a_plain_refusal_never_proves_the_refund() {
    let seen = look("imp_1", 2_000);
    let judged = judge_refusal(&request(), RefusalMeaning::AnotherBalance, Ok(&seen));
    assert_eq!(judged, Refusal::Contradicted);
    let doubt = RefundDoubt {
        is_contradicted: true,
        ..NO_DOUBT
    };
    let early = doubted(&look("imp_1", 2_000), Duration::ZERO, doubt);
    assert!(matches!(early, RefundFound::Ask { .. }), "{early:?}");
    let late = doubted(&look("imp_1", 2_000), Duration::from_hours(1), doubt);
    assert!(matches!(late, RefundFound::Park { .. }), "{late:?}");
}

/// Hazard: a look-up that is behind shows the balance of before a refund which the book knows
/// of, and the refund is taken for not made.
#[test]
fn a_look_that_shows_less_than_the_book_proves_nothing() {
    let doubt = RefundDoubt {
        booked: 2_000,
        ..NO_DOUBT
    };
    let early = doubted(&look("imp_1", 1_000), Duration::ZERO, doubt);
    assert!(matches!(early, RefundFound::Ask { .. }), "{early:?}");
    let late = doubted(&look("imp_1", 1_000), Duration::from_hours(1), doubt);
    assert!(matches!(late, RefundFound::Park { .. }), "{late:?}");
}

/// Hazard: "no answer from the card company" is taken for a refusal, and the money was given
/// back.
#[test]
fn a_refusal_is_believed_at_once_only_by_its_words_and_the_balance() {
    use RefusalMeaning::{AnotherBalance, Doubtful, NothingLeft, Unchanged};
    for (meaning, cancelled, expected) in [
        (Doubtful, 1_000, Refusal::Unproved),
        (Unchanged, 1_000, Refusal::Proved),
        (Unchanged, 1_500, Refusal::Unproved),
        (AnotherBalance, 3_000, Refusal::Proved),
        (AnotherBalance, 1_000, Refusal::Unproved),
        (NothingLeft, 9_900, Refusal::Proved),
        (NothingLeft, 3_000, Refusal::Unproved),
    ] {
        let judged = judge_refusal(&request(), meaning, Ok(&look("imp_1", cancelled)));
        assert_eq!(judged, expected, "{meaning:?} {cancelled}");
    }
    let silent = judge_refusal(&request(), Unchanged, Err(()));
    assert_eq!(silent, Refusal::Unproved);
}

/// Hazard: three quick looks at a look-up that is minutes behind prove that nothing was given
/// back, as soon as the settle time ends.
#[test]
fn an_unchanged_balance_counts_only_after_the_settle_time() {
    let count = |imp_uid: &str, age| {
        let look = look(imp_uid, 1_000);
        count_unchanged(&Policy::example(), &request(), Ok(&look), &question(age, 2))
    };
    assert_eq!(count("imp_1", Duration::from_mins(14)), 0);
    assert_eq!(count("imp_1", Duration::from_mins(15)), 3);
    assert_eq!(count("imp_2", Duration::from_mins(15)), 0);
}

/// Hazard: the balance of another payment, or one that can't be read, decides over this refund.
#[test]
fn another_payment_and_an_unreadable_balance_prove_nothing() {
    let hour = Duration::from_hours(1);
    for look in [
        look("imp_2", 1_000),
        look("imp_2", 2_000),
        look("imp_1", Payment::CANCELLED_UNREADABLE),
    ] {
        let found = doubted(&look, hour, NO_DOUBT);
        assert!(matches!(found, RefundFound::Ask { .. }), "{found:?}");
    }
}

#[test]
fn the_balance_of_the_payment_says_whether_it_was_given_back() {
    assert_eq!(found(2_000, Duration::ZERO, 0), RefundFound::Refunded);
    let settled = Duration::from_hours(1);
    assert_eq!(found(1_000, settled, 3), RefundFound::NotRefunded);
}

/// Hazard: a refund that the look-up does not show yet is taken for failed and asked for again.
#[test]
fn an_unchanged_balance_proves_nothing_before_the_settle_time() {
    for (age, unchanged) in [(Duration::ZERO, 9), (Duration::from_hours(1), 2)] {
        let found = found(1_000, age, unchanged);
        assert!(matches!(found, RefundFound::Ask { .. }), "{found:?}");
    }
}

#[test]
fn what_this_refund_does_not_explain_waits_for_a_person() {
    for cancelled in [0, 1_500, 9_900] {
        let found = found(cancelled, Duration::from_hours(1), 9);
        assert!(matches!(found, RefundFound::Park { .. }), "{found:?}");
    }
    let doubt = Lookup::Unclear(Unknown {
        reason: UnknownReason::Mismatch,
        detail: "more than one paid record".to_owned(),
    });
    let question = question(Duration::ZERO, 0);
    let found = decide_refund(
        &Policy::example(),
        &request(),
        Ok(&doubt),
        &question,
        NO_DOUBT,
    );
    assert!(matches!(found, RefundFound::Park { .. }), "{found:?}");
}
