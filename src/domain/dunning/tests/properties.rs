use proptest::prelude::*;

use super::*;

fn any_class() -> impl Strategy<Value = DeclineClass> {
    prop::sample::select(DeclineClass::ALL.to_vec())
}

fn any_unknown() -> impl Strategy<Value = Unknown> {
    prop::sample::select(UnknownReason::ALL.to_vec()).prop_map(unknown)
}

fn any_lookup() -> impl Strategy<Value = Result<Lookup, ()>> {
    prop_oneof![
        Just(Ok(Lookup::Paid(payment()))),
        (any_class(), 1_u16..4).prop_map(|(class, records)| Ok(Lookup::Failed {
            decline: decline(class),
            records,
        })),
        Just(Ok(Lookup::NotFound)),
        any_unknown().prop_map(|unknown| Ok(Lookup::Unclear(unknown))),
        Just(Err(())),
    ]
}

fn any_history() -> impl Strategy<Value = History> {
    (1_u8..=99, any::<u8>(), any::<u16>()).prop_map(|(attempt_no, declines, not_sent)| History {
        not_sent,
        ..history(attempt_no, declines)
    })
}

fn any_question() -> impl Strategy<Value = Question> {
    (0_u64..20_000, any::<u16>(), any::<u16>(), any::<u8>()).prop_map(
        |(seconds, asks, not_found, sends)| Question {
            age: Duration::from_secs(seconds),
            asks,
            not_found,
            sends,
        },
    )
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let any_ladder = || {
        let wait = (1_u64..=7_776_000).prop_map(Duration::from_secs);
        prop::collection::vec(wait, 0..5).prop_map(|waits| Ladder::new(waits).unwrap())
    };
    (
        prop::array::uniform6(any_ladder()),
        any_ladder(),
        any::<bool>(),
    )
        .prop_map(
            |(
                [
                    soft_funds,
                    soft_temp,
                    issuer_call,
                    unclear,
                    unspecified,
                    hard,
                ],
                asks,
                sends_again,
            )| {
                let on_not_found = if sends_again {
                    NotFoundPolicy::SendAgain
                } else {
                    NotFoundPolicy::Park
                };
                Policy {
                    soft_funds,
                    soft_temp,
                    issuer_call,
                    unclear,
                    unspecified,
                    hard,
                    asks,
                    on_not_found,
                    ..policy()
                }
            },
        )
}

proptest! {
    /// Hazard: an unknown outcome taken for a refusal is charged under a new `merchant_uid`, and
    /// the buyer pays twice.
    #[test]
    fn no_unknown_outcome_leads_to_a_new_attempt(
        policy in any_policy(),
        unknown in any_unknown(),
        history in any_history(),
    ) {
        let decision = decide(&policy, &ChargeOutcome::Unknown(unknown), history);
        let stays_open = matches!(decision, Decision::Ask { .. } | Decision::Park { .. });
        prop_assert!(stays_open);
    }

    #[test]
    fn only_a_proof_ends_the_questions(
        policy in any_policy(),
        lookup in any_lookup(),
        question in any_question(),
        history in any_history(),
    ) {
        let answer = lookup.as_ref().map_err(|&()| ());
        let (proved, decision) = decide_lookup(&policy, answer, &question, history);
        match (&lookup, proved) {
            (Ok(Lookup::Paid(_)), Some(ChargeOutcome::Paid(_))) => {
                prop_assert_eq!(decision, Decision::Advance);
            }
            (Ok(found @ Lookup::Failed { .. }), Some(outcome @ ChargeOutcome::Declined(_))) => {
                prop_assert!(question.age >= policy.settle);
                prop_assert!(!found.misses_one_of(question.sends));
                prop_assert_eq!(decision, decide(&policy, &outcome, history));
            }
            (Ok(Lookup::Failed { .. } | Lookup::NotFound | Lookup::Unclear(_)) | Err(()), None) => {
                let stays_open = matches!(
                    decision,
                    Decision::Ask { .. } | Decision::Park { .. } | Decision::SendAgain
                );
                prop_assert!(stays_open);
                let misses = lookup.as_ref().is_ok_and(|found| found.misses_one_of(question.sends));
                let may_send = misses
                    && question.age >= policy.settle
                    && question.not_found >= policy.not_found_min
                    && question.sends < policy.sends_max;
                prop_assert!(may_send || decision != Decision::SendAgain);
            }
            (lookup, proved) => prop_assert!(false, "{lookup:?} proved {proved:?}"),
        }
    }

    #[test]
    fn every_wait_is_at_least_a_second_and_the_last_attempt_is_never_followed_by_another(
        policy in any_policy(),
        class in any_class(),
        history in any_history(),
    ) {
        for outcome in [declined(class), ChargeOutcome::NotSent(NotSent::Unauthorized)] {
            if let Decision::Retry { wait, .. } = decide(&policy, &outcome, history) {
                prop_assert!(wait >= Ladder::WAIT_MIN);
                prop_assert!(history.attempt_no.get() < AttemptNo::MAX);
            }
        }
    }

    #[test]
    fn a_longer_history_never_leads_to_an_earlier_rung(
        mut waits in prop::collection::vec(1_u64..=7_776_000, 0..=30),
        class in any_class(),
        (declines, more_declines) in (0_u8..=48, 0_u8..=48),
        (others, more_others) in (0_u8..=48, 0_u8..=48),
    ) {
        // With growing waits, a later rung is a longer wait.
        waits.sort_unstable();
        let ladder = Ladder::new(waits.into_iter().map(Duration::from_secs).collect()).unwrap();
        let policy = Policy {
            soft_funds: ladder.clone(),
            soft_temp: ladder.clone(),
            issuer_call: ladder.clone(),
            unclear: ladder.clone(),
            unspecified: ladder.clone(),
            hard: ladder,
            ..policy()
        };
        let wait = |declines: u8, others: u8| {
            let attempt_no = declines.saturating_add(others).saturating_add(1);
            let history = history(attempt_no.min(AttemptNo::MAX), declines);
            match decide(&policy, &declined(class), history) {
                Decision::Retry { wait, .. } => wait,
                Decision::GiveUp(_) => Duration::MAX,
                decision @ (Decision::Advance
                | Decision::Ask { .. }
                | Decision::SendAgain
                | Decision::Park { .. }) => panic!("{decision:?}"),
            }
        };
        let earlier = wait(declines, others);
        let later = wait(
            declines.saturating_add(more_declines),
            others.saturating_add(more_others),
        );
        prop_assert!(earlier <= later);
    }
}
