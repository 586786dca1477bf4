//! The judge of the proof on a real database: what its triggers keep, and what it sees in it.

use std::time::Duration;

use billd_proof::checker::{Property, Terms, check};
use billd_proof::ledger::{self, JOURNAL};
use portone_sandbox::{self as sandbox, Decided, Ended, Route};

use crate::support::{Book, TIMEOUT, engine, limits, policy};
use tokio_util::sync::CancellationToken;

fn terms(daemon: String) -> Terms {
    let policy = policy();
    Terms {
        lease: limits().lease,
        call_timeout: TIMEOUT,
        call_margin: limits().call.saturating_sub(TIMEOUT),
        settle: policy.settle,
        not_found_min: policy.not_found_min,
        rate_per_second: 0,
        rungs: [
            ("soft_funds", 4),
            ("issuer_call", 1),
            ("unclear", 1),
            ("unspecified", 1),
        ]
        .map(|(class, rungs)| (class.to_owned(), rungs))
        .into(),
        daemons: vec![daemon, "daemon_2".to_owned()],
        deaths: Vec::new(),
        froze: false,
        lost_tail: false,
        looks_lie: false,
        repriced: false,
    }
}

/// A book whose subscriptions were charged once, and the gateway's ledger of it.
async fn swept() -> (Book, sandbox::Running, Terms) {
    let book = Book::new().await;
    book.run(JOURNAL).await;
    let options = sandbox::Options {
        request_log: true,
        ..sandbox::Options::default()
    };
    let sandbox = sandbox::start(options).await.unwrap();
    // People type as themselves, so that the judge can tell them from the daemon.
    book.run(
        "do $$ begin create role operator_of_tests superuser; exception when duplicate_object or unique_violation then null; end $$;
         do $$ begin create role daemon_2 superuser; exception when duplicate_object or unique_violation then null; end $$;
         set session authorization operator_of_tests;
         insert into billd.subscription (customer_uid, name, amount)
         select case n % 4 when 0 then 'decline-balance-' when 1 then 'drop-after-approval-' else 'ok-' end || n, '프리미엄 월간', 9900
         from generate_series(1, 12) n;
         reset session authorization",
    )
    .await;
    let engine = engine(&book, &sandbox.base_url(), policy(), limits());
    for _ in 0..6 {
        engine.sweep(CancellationToken::new()).await.unwrap();
        book.advance("7 days").await;
    }
    engine.sweep(CancellationToken::new()).await.unwrap();
    let daemon = book.text("select session_user").await;
    (book, sandbox, terms(daemon))
}

#[tokio::test]
async fn a_sweep_leaves_a_sound_journal() {
    let (book, sandbox, terms) = swept().await;
    let kept = ledger::Book::read(&book.sql).await.unwrap();
    let requests = sandbox.requests();
    assert!(requests.len() >= 24, "{requests:?}");
    assert!(kept.journal.len() > requests.len());
    assert_eq!(check(&terms, &requests, &kept), []);
}

#[tokio::test]
async fn a_write_under_a_stale_fence_is_noticed_by_its_role() {
    // A zombie that had lost its claim wrote what it believed: only the role that raised the fence
    // tells such a write from a good one.
    let (book, sandbox, terms) = swept().await;
    book.run(
        "set session authorization daemon_2;
         select set_config('billd.writer', 'record', true);
         update billd.subscription set last_reason = 'forged', next_charge_at = next_charge_at + interval '1 day'
         where id = (select id from billd.subscription where state = 'active' order by id limit 1);
         reset session authorization",
    )
    .await;
    let kept = ledger::Book::read(&book.sql).await.unwrap();
    let violations = check(&terms, &sandbox.requests(), &kept);
    let properties: Vec<Property> = violations.iter().map(|one| one.property).collect();
    assert_eq!(properties, [Property::FencedWrites], "{violations:#?}");
    assert!(
        violations[0].text.starts_with("daemon_2 moved"),
        "{violations:#?}"
    );
}

#[tokio::test]
async fn the_request_log_tells_what_was_done_apart_from_what_was_answered() {
    let options = sandbox::Options {
        request_log: true,
        ..sandbox::Options::default()
    };
    let sandbox = sandbox::start(options).await.unwrap();
    let book = Book::new().await;
    book.subscribe("drop-after-approval-1").await;
    book.subscribe("silent-after-approval-1").await;
    let engine = engine(&book, &sandbox.base_url(), policy(), limits());
    engine.sweep(CancellationToken::new()).await.unwrap();

    let requests = sandbox.requests();
    let of = |card: &str| {
        let mut charges = requests.iter().filter(|r| r.route == Route::Again);
        charges
            .find(|r| r.customer_uid.as_deref() == Some(card))
            .unwrap()
    };
    let dropped = of("drop-after-approval-1");
    assert!(
        matches!(dropped.decided, Some(Decided::Approved { .. })),
        "{dropped:?}"
    );
    assert_eq!(dropped.ended, Some(Ended::Dropped));
    assert_eq!(
        (dropped.amount, dropped.currency.as_deref()),
        (Some(9900), Some("KRW"))
    );
    let silent = of("silent-after-approval-1");
    assert_eq!(silent.ended, Some(Ended::Silent), "{silent:?}");
    let waited = silent
        .ended_at_us
        .unwrap()
        .saturating_sub(silent.arrived_at_us);
    assert!(waited >= i64::try_from(Duration::from_secs(1).as_micros()).unwrap());
}
