//! What the gateway's records of an attempt prove, and when.

use super::*;

#[test]
fn a_payment_that_is_found_is_a_payment_at_any_age() {
    for age in [Duration::ZERO, Duration::from_hours(3), days(400)] {
        let question = Question { age, ..settled() };
        let found = decide_lookup(
            &policy(),
            Ok(&Lookup::Paid(payment())),
            &question,
            history(1, 0),
        );
        assert_eq!(
            found,
            (Some(ChargeOutcome::Paid(payment())), Decision::Advance)
        );
    }
}

/// Hazard: a failed record of an earlier request under the same number is taken for the answer to
/// ours, which is approved a moment later; the next attempt has a new number, and charges again.
#[test]
fn a_failed_record_is_a_refusal_only_after_the_settle_time() {
    for class in [
        DeclineClass::SoftFunds,
        DeclineClass::HardCard,
        DeclineClass::Unclear,
    ] {
        let lookup = Lookup::Failed {
            decline: decline(class),
            records: 1,
        };
        let early = Question {
            age: Duration::from_secs(7_199),
            not_found: 0,
            ..settled()
        };
        check_lookup(Ok(&lookup), early, Decision::Ask { wait: SECOND });
        let late = Question {
            age: Duration::from_hours(2),
            ..settled()
        };
        let (outcome, decision) = decide_lookup(&policy(), Ok(&lookup), &late, history(1, 0));
        assert_eq!(outcome, Some(declined(class)));
        assert_eq!(decision, decide(&policy(), &declined(class), history(1, 0)));
    }
}

#[test]
fn not_found_is_believed_only_late_and_only_twice() {
    let lookup = Ok(&Lookup::NotFound);
    check_lookup(lookup, settled(), Decision::SendAgain);
    let once = Question {
        not_found: 1,
        ..settled()
    };
    check_lookup(lookup, once, Decision::Ask { wait: MINUTE });
    let early = Question {
        age: HOUR,
        not_found: 9,
        asks: 9,
        ..settled()
    };
    check_lookup(lookup, early, Decision::Ask { wait: HOUR });
}

#[test]
fn a_question_never_sleeps_past_the_end_of_the_settle_time() {
    for (age, wait) in [
        (HOUR, HOUR),
        (Duration::from_mins(119), MINUTE),
        (Duration::from_millis(7_199_997), SECOND),
        (Duration::from_hours(2), MINUTE),
    ] {
        let question = Question {
            age,
            asks: 100,
            not_found: 1,
            sends: 1,
        };
        check_lookup(Ok(&Lookup::NotFound), question, Decision::Ask { wait });
    }
}

#[test]
fn an_attempt_that_is_not_found_is_sent_a_bounded_number_of_times() {
    let sent_out = Question {
        sends: 2,
        ..settled()
    };
    check_lookup(
        Ok(&Lookup::NotFound),
        sent_out,
        Decision::Park { wait: DAY },
    );
    let careful = Policy {
        on_not_found: NotFoundPolicy::Park,
        ..policy()
    };
    let answer = decide_lookup(&careful, Ok(&Lookup::NotFound), &settled(), history(1, 0));
    assert_eq!(answer, (None, Decision::Park { wait: DAY }));
}

#[test]
fn a_record_that_contradicts_the_request_waits_for_a_person() {
    let lookup = Lookup::Unclear(unknown(UnknownReason::Mismatch));
    check_lookup(Ok(&lookup), settled(), Decision::Park { wait: DAY });
    let lookup = Lookup::Unclear(unknown(UnknownReason::NotFinal));
    check_lookup(Ok(&lookup), settled(), Decision::Ask { wait: MINUTE });
}

/// Hazard: the first request was refused and the second one, under the same number, approved; the books
/// show only the refusal yet, and a new number charges again.
#[test]
fn an_attempt_that_left_twice_is_not_declined_by_one_record() {
    let failed = |records| Lookup::Failed {
        decline: decline(DeclineClass::SoftFunds),
        records,
    };
    let left_twice = Question {
        sends: 2,
        not_found: 3,
        ..settled()
    };
    // As if nothing had been found: here it has left as often as it may.
    let park = decide_lookup(&policy(), Ok(&Lookup::NotFound), &left_twice, history(1, 0));
    let answer = decide_lookup(&policy(), Ok(&failed(1)), &left_twice, history(1, 0));
    assert_eq!(answer, park);
    let at_first = Question {
        not_found: 1,
        ..left_twice
    };
    let (outcome, decision) = decide_lookup(&policy(), Ok(&failed(1)), &at_first, history(1, 0));
    assert_eq!(outcome, None);
    assert!(matches!(decision, Decision::Ask { .. }), "{decision:?}");
    let (outcome, _) = decide_lookup(&policy(), Ok(&failed(2)), &left_twice, history(1, 0));
    assert_eq!(outcome, Some(declined(DeclineClass::SoftFunds)));
}
