//! The rules of a seed: what the daemons are told, what the judge must know, and the book.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::checker::{Death, Terms};
use crate::plan::{Card, Injury, Plan, Planned};
use portone_sandbox as sandbox;

/// How long a daemon waits for the gateway.
pub(super) const CALL: Duration = Duration::from_millis(600);
const LEASE: Duration = Duration::from_millis(1_500);
/// What a daemon keeps of its lease for writing the outcome down.
const MARGIN: Duration = Duration::from_millis(250);
const SETTLE: Duration = Duration::from_millis(1_500);
const NOT_FOUND_MIN: u16 = 2;
/// Rungs of the ladders that have any.
const RUNGS: u16 = 2;

/// Waits of moments in the place of minutes; what takes hours is stepped over by moving billd's clock.
pub(super) fn settings(plan: &Plan, through_pooler: bool) -> Vec<(String, String)> {
    let millis = |duration: Duration| format!("{}ms", duration.as_millis());
    let mut settings: Vec<(String, String)> = [
        ("DATABASE__CONNECTIONS_MAX", "4".to_owned()),
        ("DATABASE__TIMEOUT", "2s".to_owned()),
        ("GATEWAY__TIMEOUT", millis(CALL)),
        ("GATEWAY__IMP_KEY", sandbox::IMP_KEY.to_owned()),
        ("GATEWAY__IMP_SECRET", sandbox::IMP_SECRET.to_owned()),
        ("GATEWAY__RATE_PER_SECOND", plan.rate_per_second.to_string()),
        ("ENGINE__LEASE", millis(LEASE)),
        ("ENGINE__CATCH_UP_INTERVAL", "1s".to_owned()),
        ("ENGINE__DRAIN", "2s".to_owned()),
        ("RECONCILE__SETTLE", millis(SETTLE)),
        ("RECONCILE__NOT_FOUND_MIN", NOT_FOUND_MIN.to_string()),
        ("RECONCILE__ASKS", "1s".to_owned()),
        ("RECONCILE__SENDS_MAX", "10".to_owned()),
        ("DUNNING__SOFT_FUNDS", "1h,1h".to_owned()),
        ("DUNNING__SOFT_TEMP", "30m".to_owned()),
        ("DUNNING__ISSUER_CALL", "1h,1h".to_owned()),
        ("DUNNING__UNCLEAR", "1h,1h".to_owned()),
        ("DUNNING__UNSPECIFIED", "1h,1h".to_owned()),
        ("DUNNING__HARD", String::new()),
        ("DUNNING__HOLD", "30m".to_owned()),
        ("DUNNING__NOT_SENT", "1s".to_owned()),
        ("SCHEDULER__SWEEP_CRON", "*/2 * * * * *".to_owned()),
        ("AUDIT__CRON", String::new()),
        ("HTTP__LISTEN", String::new()),
        ("LOG__FORMAT", "json".to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (format!("BILLD__{key}"), value))
    .collect();
    if through_pooler {
        settings.push((
            "BILLD__DATABASE__POOLER".to_owned(),
            "transaction".to_owned(),
        ));
    }
    settings
}

/// What the judge must know.
pub(super) fn terms(plan: &Plan, daemons: Vec<String>, deaths: Vec<Death>) -> Terms {
    let ladders = ["soft_funds", "issuer_call", "unclear", "unspecified"];
    let rungs: BTreeMap<String, u16> = ladders
        .into_iter()
        .map(|class| (class.to_owned(), RUNGS))
        .collect();
    Terms {
        lease: LEASE,
        call_timeout: CALL,
        call_margin: MARGIN,
        settle: SETTLE,
        not_found_min: NOT_FOUND_MIN,
        rate_per_second: plan.rate_per_second,
        rungs,
        daemons,
        deaths: if leaves_able_heirs(plan) {
            deaths
        } else {
            Vec::new()
        },
        froze: plan
            .injuries
            .iter()
            .any(|planned| matches!(planned.injury, Injury::Freeze { .. })),
        lost_tail: plan.loses_commits(),
        looks_lie: plan.looks_lie(),
        repriced: plan.reprices_what_is_lost(),
    }
}

/// Whether nothing but processes is injured, and one is always there to take over.
fn leaves_able_heirs(plan: &Plan) -> bool {
    let dies_only = |planned: &Planned| {
        matches!(
            planned.injury,
            Injury::Crash { .. } | Injury::Kill { .. } | Injury::OneOff(_) | Injury::Refund(_)
        )
    };
    plan.daemons > 1 && plan.injuries.iter().all(dies_only)
}

/// The statement that writes a card into the book.
pub(super) fn insert(card: &Card) -> String {
    let Card {
        customer_uid,
        amount,
        interval_unit,
        periods_behind,
        due_in_ms,
        on_last_day,
    } = card;
    let columns = "insert into billd.subscription
        (customer_uid, name, amount, catch_up, interval_unit, anchor_at, next_charge_at)";
    if *on_last_day {
        return format!(
            "{columns} values ('{customer_uid}', '월말 정기', {amount}, 'all', 'month',
                timestamp '2026-01-31 09:00' at time zone 'Asia/Seoul',
                (date_trunc('month', now() at time zone 'Asia/Seoul') - interval '15 hours')
                    at time zone 'Asia/Seoul')"
        );
    }
    format!(
        "{columns}
         select '{customer_uid}', '정기 결제', {amount}, 'all', '{interval_unit}', due, due
         from (select now() + interval '{due_in_ms} milliseconds'
                   - {periods_behind} * interval '1 {interval_unit}' as due) d"
    )
}
