//! The auditor: planted errors are named, each once, in one pass, with flat memory.
//!
//! `BILLD_TEST_PAYMENTS=10000` makes the worlds larger than a quick test needs.

pub(crate) mod world;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use portone_sandbox::Route;
use serde_json::json;

use self::world::{
    Daemon, Stranger, attempt, audit, audited, findings, lines_about_differences, name_of,
    payments, plant, report, resumed, set_imp_uid, sound_payments, tomorrow,
};
use crate::support::House;
use crate::words::given;

const RUNS: &str = "select string_agg(state, ',' order by id) from billd.audit_run";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_names_exactly_the_planted_errors_and_each_of_them_once() {
    let it = given().await;
    sound_payments(&it, payments()).await;
    let expected = plant(&it).await;
    it.advance("2 hours").await;

    let output = audited(&it, &["--json"]).await;
    let first = report(&output);
    assert_eq!(findings(&first), expected);
    assert_eq!(output.status.code(), Some(10));
    assert_eq!(lines_about_differences(&output), expected.len());
    assert_eq!(
        first["open"].as_object().unwrap().len(),
        7,
        "a refund needs nobody"
    );
    assert_eq!(first["schedules"], 2);
    // Sound ones are met in the list, so only what is missing there is asked about by name.
    assert_eq!(first["asked_about"], 1);

    let before = it.requests(Route::Status);
    let output = audited(&it, &["--json"]).await;
    assert_eq!(lines_about_differences(&output), 0, "nothing is told twice");
    assert_eq!(output.status.code(), Some(10));
    let again = report(&output);
    assert_eq!(again["open"], first["open"]);
    let read = it.requests(Route::Status).checked_sub(before).unwrap();
    assert!(
        read <= u64::from(payments()).div_ceil(1000) + 5,
        "one pass: {read} pages"
    );

    it.run("update billd.finding set state = 'explained' where state = 'open'")
        .await;
    let output = audited(&it, &[]).await;
    assert_eq!(
        output.status.code(),
        Some(0),
        "what a person has explained is closed"
    );
    assert_eq!(lines_about_differences(&output), 0);
}

/// Hazard: money moved for an attempt that our books call declined. If a person only reads about
/// it, the next rung of the ladder charges the same debt again in the meantime.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_debt_that_the_gateways_books_prove_paid_is_never_charged_again() {
    let it = given().await;
    plant(&it).await;
    audited(&it, &[]).await;
    let of = |customer_uid: &str| {
        format!(
            "select concat_ws(' ', s.state, s.recheck, c.state, a.state, a.imp_uid is not null, a.cancelled_amount)
            from billd.subscription s
            join billd.billing_cycle c on c.subscription_id = s.id
            join billd.charge_attempt a on a.subscription_id = s.id
            where s.customer_uid = '{customer_uid}'"
        )
    };
    // Planned anew at once, because a reservation holds its card.
    it.shows(&of("late"), "active f paid paid t 0").await;
    it.shows(&of("returned"), "past_due f paid paid t 900")
        .await;
    let asked_now =
        "select ask_at <= billd.now() from billd.charge_attempt where customer_uid = 'open'";
    it.shows(asked_now, true).await;
    let approvals = it.sandbox.summary().approvals;
    it.sweep().await;
    assert_eq!(it.sandbox.summary().approvals, approvals);
    it.shows(&of("late"), "active f paid paid t 0").await;
    let next = "select period > (select max(period) from billd.billing_cycle c where c.subscription_id = s.id)
        from billd.subscription s where customer_uid = 'late'";
    it.shows(next, "true").await;
}

/// Hazard: an audit of a large book is killed in its middle. Begun anew each time it would never
/// reach the end, and started in the middle it would forget what it has seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_that_was_killed_goes_on_where_it_stood_and_finds_the_same() {
    let it = given().await;
    sound_payments(&it, 2500).await;
    let expected = plant(&it).await;
    it.advance("2 hours").await;
    let to = tomorrow(&it).await;
    it.slow(Route::Status, 400);
    let mut child = audit(&it, &["audit", "--to", &to]).spawn().unwrap();
    let reads = "select coalesce(max(page), 0) > 1 from billd.audit_run where state = 'running'";
    it.comes_to(reads, "true").await;
    child.kill().unwrap();
    child.wait().unwrap();
    it.shows(RUNS, "running").await;
    it.sandbox.clear_faults();

    let output = resumed(&it, &["--json"]);
    let told = report(&output);
    assert_eq!(findings(&told), expected);
    assert_eq!(
        told["asked_about"], 1,
        "what was seen before the kill is remembered"
    );
    it.shows(RUNS, "done").await;
    it.shows("select count(*) from billd.audit_seen", 0).await;

    let output = resumed(&it, &[]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("nothing to do"), "{said}");
}

/// The most memory that a process ever had, in kilobytes, as far as it could be watched.
fn peak_kb(child: &mut Child) -> u64 {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = kb.unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(2));
    }
    peak
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_of_ten_times_the_payments_takes_no_more_memory() {
    let mut peaks = Vec::new();
    for count in [2_000, 20_000] {
        let it = given().await;
        sound_payments(&it, count).await;
        let to = tomorrow(&it).await;
        let mut child = audit(&it, &["audit", "--to", &to])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        peaks.push(peak_kb(&mut child));
        assert!(child.wait().unwrap().success());
        it.shows("select payments from billd.audit_run", count)
            .await;
    }
    let (small, large) = (peaks[0], peaks[1]);
    assert!(small > 0, "the process ended before it could be watched");
    assert!(
        large < small.checked_add(8 * 1024).unwrap(),
        "peaks in kB: {peaks:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_audits_at_its_hour_and_shows_each_kind_as_a_figure() {
    let it = given().await;
    attempt(&it, "late", "declined", "uncollectible").await;
    let stranger = Stranger::at(&it.sandbox).await;
    stranger.charge("late", "order7", 500).await;
    let daemon = Daemon::start(&it, &[("BILLD__AUDIT__CRON", "* * * * * *")]).await;
    let metrics = format!("http://{}/metrics", daemon.address);
    let started = Instant::now();
    loop {
        let figures = reqwest::get(&metrics).await.unwrap();
        let figures = figures.text().await.unwrap();
        let is_shown = figures.contains(r#"billd_findings_open{kind="foreign_payment"} 1"#)
            && figures.contains(r#"billd_findings_open{kind="paid_twice"} 0"#)
            && !figures.contains("billd_audit_finished_at 0");
        if is_shown {
            break;
        }
        assert!(started.elapsed() < Duration::from_mins(1), "{figures}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let runs = "select count(*) = 1 from billd.audit_run where by_cron";
    // One run an hour, not one a second.
    it.shows(runs, true).await;
}

async fn states(it: &House, kind: &str) -> String {
    let states = format!(
        "select string_agg(state || ' ' || (told_at is not null), ',' order by id)
        from billd.finding where kind = '{kind}'"
    );
    it.text(&states).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_put_right_is_mended_and_told_again_if_it_comes_back() {
    let it = given().await;
    let stranger = Stranger::at(&it.sandbox).await;
    plant(&it).await;
    it.advance("2 hours").await;
    audited(&it, &[]).await;
    let kinds = [
        "foreign_payment",
        "foreign_schedule",
        "paid_twice",
        "paid_here_not_there",
    ];
    for kind in kinds {
        assert_eq!(states(&it, kind).await, "open true", "{kind}");
    }

    let surplus = "select merchant_uid from billd.finding where kind = 'paid_twice'";
    stranger.cancel("order7", 500).await;
    stranger.cancel(&it.text(surplus).await, 9900).await;
    let unschedule = json!({"customer_uid": "late", "merchant_uid": ["reserved1"]});
    stranger
        .post("/subscribe/payments/unschedule", unschedule)
        .await;
    let lost = name_of(&it, "lost").await;
    set_imp_uid(&it, &lost, &stranger.charge("lost", &lost, 9900).await).await;
    audited(&it, &[]).await;
    for kind in kinds {
        assert_eq!(states(&it, kind).await, "mended true", "{kind}");
    }

    let at = it.sandbox.now_us().div_euclid(1_000_000);
    let schedule = json!({"customer_uid": "late", "schedules": [{"merchant_uid": "reserved3",
        "schedule_at": at.checked_add(86_400).unwrap(), "amount": 9900, "name": "월간"}]});
    stranger
        .post("/subscribe/payments/schedule", schedule)
        .await;
    it.run("update billd.finding set merchant_uid = 'reserved3' where kind = 'foreign_schedule'")
        .await;
    let output = audited(&it, &[]).await;
    assert_eq!(states(&it, "foreign_schedule").await, "open true");
    assert_eq!(lines_about_differences(&output), 1);
}

/// Hazard: a stand-by that took over without the last commits knows nothing of the money that they
/// had asked for. Only the name of the payment says that it was ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_under_a_name_of_ours_that_our_tables_lost_is_found() {
    let it = given().await;
    it.subscribe("forgotten").await;
    let name = "select billd.merchant_uid(id, period, 1) from billd.subscription";
    let name = it.text(name).await;
    let stranger = Stranger::at(&it.sandbox).await;
    stranger.charge("forgotten", &name, 9900).await;
    let output = audited(&it, &["--json"]).await;
    let expected = [("paid_there_not_here".to_owned(), name)];
    assert_eq!(findings(&report(&output)), expected.into());
    // Whoever charges that period arrives at the same name, so the gateway refuses the repeat.
    it.sweep_until_nothing_is_open("10 minutes", 10).await;
    assert_eq!(it.sandbox.summary().approvals, 1);
}

/// Hazard: a charge made by hand counts as somebody else's, or one whose answer was closed wrongly as
/// unpaid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_off_charges_are_ours_and_follow_the_gateways_books() {
    let house = House::new().await;
    house.book.subscribe("card-1").await;
    house.sweep().await;
    let stranger = Stranger::at(&house.sandbox).await;
    stranger.charge("card-1", "hand1", 500).await;
    stranger.charge("card-1", "hand2", 700).await;
    house
        .book
        .run(
            "insert into billd.charge_attempt
                (merchant_uid, customer_uid, name, amount, currency, state, finished_at, imp_uid)
             values ('hand1', 'card-1', '쿠폰', 500, 'KRW', 'paid', billd.now(), 'imp_x'),
                    ('hand2', 'card-1', '쿠폰', 700, 'KRW', 'not_sent', billd.now(), null)",
        )
        .await;
    let first = house
        .sandbox
        .ledger()
        .into_iter()
        .find(|one| one.merchant_uid == "hand1")
        .unwrap();
    house
        .book
        .run(&format!(
            "update billd.charge_attempt set imp_uid = '{}' where merchant_uid = 'hand1'",
            first.imp_uid
        ))
        .await;
    stranger.cancel("hand1", 200).await;
    let to = tomorrow(&house.book).await;
    let output = audit(&house, &["audit", "--json", "--to", &to])
        .output()
        .unwrap();
    let expected = [
        ("cancelled_there".to_owned(), "hand1".to_owned()),
        ("paid_there_not_here".to_owned(), "hand2".to_owned()),
    ];
    assert_eq!(findings(&report(&output)), expected.into());
    assert_eq!(
        house.book.text("select string_agg(concat_ws(' ', merchant_uid, state, cancelled_amount), ', ' order by merchant_uid) from billd.charge_attempt where subscription_id is null").await,
        "hand1 paid 200, hand2 paid 0"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_younger_than_an_hour_is_not_missed_yet() {
    let it = given().await;
    attempt(&it, "lost", "paid", "paid").await;
    let output = audited(&it, &[]).await;
    assert_eq!(output.status.code(), Some(0));
    it.advance("61 minutes").await;
    let output = audited(&it, &[]).await;
    assert_eq!(output.status.code(), Some(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_refuses_the_key_cuts_the_audit_short_and_it_can_go_on() {
    let it = given().await;
    let to = tomorrow(&it).await;
    let mut refused = audit(&it, &["audit", "--to", &to]);
    let output = refused
        .env("BILLD__GATEWAY__IMP_SECRET", "wrong")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--resume"), "{said}");
    let output = resumed(&it, &[]);
    assert_eq!(output.status.code(), Some(0));
    it.shows(RUNS, "done").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_daemons_one_audits_and_one_that_died_is_succeeded() {
    let it = given().await;
    let store = &it.store;
    let to = store.now().await.unwrap();
    let from = to.checked_sub(Duration::from_hours(1)).unwrap();
    let run = store.begin_audit(from, to, true).await.unwrap().unwrap();
    assert_eq!(store.begin_audit(from, to, true).await.unwrap(), None);
    assert_eq!(store.take_audit(true).await.unwrap(), None, "it lives");
    it.run("update billd.audit_run set touched_at = now() - interval '11 minutes'")
        .await;
    let taken = store.take_audit(true).await.unwrap().unwrap();
    assert_eq!(taken.id, run.id);
    assert!(
        !store.move_audit(&run).await.unwrap(),
        "the first one has lost it"
    );
    assert!(store.finish_audit(&taken).await.unwrap());
}

/// Hazard: a page that can't be compared is taken up again each night, fails again, and no later day
/// is ever compared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_fails_again_when_it_is_taken_up_is_given_up_for_todays() {
    let it = given().await;
    let store = &it.store;
    let to = store.now().await.unwrap();
    let from = to.checked_sub(Duration::from_hours(1)).unwrap();
    let poisoned = store.begin_audit(from, to, true).await.unwrap().unwrap();
    for statement in [
        "update billd.audit_run
        set started_at = billd.now() - interval '1 day', touched_at = '-infinity'",
        "create function billd.poison() returns trigger language plpgsql as
        $$ begin raise exception 'poison'; end $$",
        &format!(
            "create trigger poison before update of page on billd.audit_run
            for each row when (old.id = {}) execute function billd.poison()",
            poisoned.id
        ),
    ] {
        it.run(statement).await;
    }
    let _daemon = Daemon::start(&it, &[("BILLD__AUDIT__CRON", "* * * * * *")]).await;
    it.comes_to(RUNS, "failed,done").await;
}

/// Hazard: a first payment or a charge by hand whose row a fail-over lost: no subscription is left
/// that its name or card could lead to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_of_which_our_tables_lost_everything_is_found_by_the_shape_of_its_name() {
    let it = given().await;
    let stranger = Stranger::at(&it.sandbox).await;
    let first = "0123456789abcdef0123456789abcdef26113001";
    let by_hand = "hand0123456789abcdef0123456789abcdef";
    for name in [first, by_hand, "order7"] {
        stranger.charge("nobody_of_ours", name, 9900).await;
    }
    let output = audited(&it, &["--json"]).await;
    let told = [first, by_hand].map(|name| ("paid_there_not_here".to_owned(), name.to_owned()));
    assert_eq!(findings(&report(&output)), told.into());
}

/// Hazard: a refund of ours whose answer was lost is told as somebody else's, and followed before its
/// own question has asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_of_ours_whose_answer_was_lost_is_not_told_as_given_back_at_the_console() {
    let house = House::new().await;
    let stranger = Stranger::at(&house.sandbox).await;
    let listed = attempt(&house.book, "listed", "paid", "paid").await;
    let imp_uid = stranger.charge("listed", &listed, 9900).await;
    set_imp_uid(&house.book, &listed, &imp_uid).await;
    house
        .book
        .run(&format!(
            "insert into billd.refund
                (merchant_uid, imp_uid, key, state, amount, currency, payment_amount, checksum, ask_at)
             values ('{listed}', '{imp_uid}', '900', 'unknown', 900, 'KRW', 9900, 9900,
                billd.now() + interval '1 day')"
        ))
        .await;
    stranger.cancel(&listed, 900).await;
    let followed = "select cancelled_amount from billd.charge_attempt";
    let to = tomorrow(&house.book).await;
    let output = audit(&house, &["audit", "--json", "--to", &to])
        .output()
        .unwrap();
    assert_eq!(findings(&report(&output)), [].into());
    assert_eq!(house.book.text(followed).await, "0");

    // Once its fate is known, what was given back beside it is the console's again.
    house
        .book
        .run(
            "update billd.refund
            set state = 'not_sent', finished_at = billd.now(), ask_at = null, reason = 'planted'",
        )
        .await;
    let output = audit(&house, &["audit", "--json", "--to", &to])
        .output()
        .unwrap();
    let told = [("cancelled_there".to_owned(), listed)];
    assert_eq!(findings(&report(&output)), told.into());
    assert_eq!(house.book.text(followed).await, "900");
}
