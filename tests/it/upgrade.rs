//! A book of billd 0.1, in mid-run, comes through the migrations, also while a daemon of that version runs on.

use std::borrow::Cow;
use std::time::Duration;

use billd::domain::purpose::Purpose;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::support::{Book, server, text};
use crate::words::claim;

const LEASE: Duration = Duration::from_secs(90);

/// The statements of billd 0.1, as its daemon sends them.
const CLAIM_OF_0_1: &str = include_str!("../fixtures/billd-0.1/claim_due.sql");
const RECORD_OF_0_1: &str = include_str!("../fixtures/billd-0.1/record.sql");

const BEGIN_HAND_OF_0_1: &str = include_str!("../fixtures/billd-0.1/begin_hand.sql");
const CLAIM_OPEN_HAND_OF_0_1: &str = include_str!("../fixtures/billd-0.1/claim_open_hand.sql");
const RECORD_HAND_OF_0_1: &str = include_str!("../fixtures/billd-0.1/record_hand.sql");

/// Migrations up to this one made the schema of billd 0.1.
const LAST_OF_0_1: i64 = 3;

/// Everything that a schema says: columns, constraints, indexes, routines, triggers, views, comments.
const DEFINITIONS: &str = "
    select string_agg(line, E'\\n' order by line) from (
        select format('%s.%s %s %s %s %s', a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod),
            a.attnotnull, pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum)) as line
        from pg_attribute a
        join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'v')
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where c.relnamespace::regnamespace::text in ('billd', 'billd_internal') and a.attnum > 0
          and not a.attisdropped and c.relname <> 'schema_migration'
        union all
        select format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) from pg_constraint
        where connamespace::regnamespace::text in ('billd', 'billd_internal')
        union all
        select indexdef from pg_indexes where schemaname in ('billd', 'billd_internal')
        union all
        select pg_get_functiondef(oid) || coalesce(obj_description(oid, 'pg_proc'), '') from pg_proc
        where pronamespace::regnamespace::text in ('billd', 'billd_internal')
        union all
        select pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c on c.oid = t.tgrelid
        where c.relnamespace::regnamespace::text = 'billd' and not t.tgisinternal
        union all
        select c.relname || coalesce(pg_get_viewdef(c.oid), '') || coalesce(obj_description(c.oid, 'pg_class'), '')
        from pg_class c
        where c.relnamespace::regnamespace::text in ('billd', 'billd_internal') and c.relkind in ('r', 'v', 'i')
    ) definitions";

/// A book as billd 0.1 made it.
async fn book_of_0_1(name: &str) -> Book {
    let server = server().await;
    server.create_database(name).await.unwrap();
    let all = sqlx::migrate!();
    let old = Migrator {
        migrations: Cow::Owned(
            all.iter()
                .filter(|one| one.version <= LAST_OF_0_1)
                .cloned()
                .collect(),
        ),
        ..all
    };
    let mut connection = PgConnection::connect(&server.url(name)).await.unwrap();
    old.run(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    Book::on(server.url(name))
}

/// A session of a daemon of billd 0.1.
async fn daemon_of_0_1(book: &Book) -> PgConnection {
    let mut session = PgConnection::connect(&book.url).await.unwrap();
    sqlx::raw_sql("set application_name = 'billd'")
        .execute(&mut session)
        .await
        .unwrap();
    session
}

/// Runs a statement of billd 0.1 and returns the first column of its rows.
async fn run(daemon: &mut PgConnection, types: &str, statement: &str, values: &str) -> Vec<String> {
    let prepare = AssertSqlSafe(format!(
        "deallocate all; prepare old ({types}) as {statement}"
    ));
    sqlx::raw_sql(prepare).execute(&mut *daemon).await.unwrap();
    let execute = AssertSqlSafe(format!("execute old ({values})"));
    let rows = sqlx::raw_sql(execute).fetch_all(&mut *daemon).await;
    rows.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn claim_one(daemon: &mut PgConnection) -> String {
    let types = "int, float8, float8, timestamptz, uuid";
    run(daemon, types, CLAIM_OF_0_1, "1, 90, 0, null, null")
        .await
        .remove(0)
}

/// The old daemon's answer comes in: paid, and the next period lies a month ahead.
async fn record_paid(daemon: &mut PgConnection, book: &Book, merchant_uid: &str) {
    let types = "text[], uuid[], date[], int8[], text[], text[], text[], text[], text[], int8[], text[],
        text[], text[], text[], float8[], bool[], date[], timestamptz[], text[], int2[], float8, float8";
    let key = format!(
        "select concat_ws(''', ''', array[merchant_uid], array[subscription_id], array[period], array[fence])
         from billd.charge_attempt where merchant_uid = '{merchant_uid}'"
    );
    let values = format!(
        "'{}', '{{paid}}', '{{imp_{merchant_uid}}}', '{{null}}', '{{null}}', '{{null}}', '{{0}}', '{{null}}', '{{null}}',
         '{{null}}', '{{advance}}', '{{0}}', '{{f}}', array[(billd.now() + interval '1 month')::date],
         array[billd.now() + interval '1 month'], '{{null}}', '{{0}}', 3600, 90",
        book.text(&key).await
    );
    run(daemon, types, RECORD_OF_0_1, &values).await;
}

/// Hazard: the old daemon has requests under way while the tables change beneath it, and goes on claiming
/// while the new one does. One of them charges what the other is charging.
#[tokio::test]
async fn a_daemon_of_the_version_before_and_a_new_one_share_a_book_that_was_migrated_in_mid_run() {
    let book = book_of_0_1("upgrade_in_mid_run").await;
    let mut daemon = daemon_of_0_1(&book).await;
    book.subscribe_many(4, "cust_").await;
    let before = claim_one(&mut daemon).await;

    let migrated = book.store.migrate().await.unwrap();
    assert_eq!(migrated.sessions_before.len(), 1, "{migrated:?}");
    let mark = format!("select count(*) from billd.subscription where open_attempt = '{before}'");
    assert_eq!(book.text(&mark).await, "1", "what was under way is noted");
    let during = claim_one(&mut daemon).await;

    assert_eq!(claim(&book).await.len(), 2, "what the old one left");
    record_paid(&mut daemon, &book, &before).await;
    record_paid(&mut daemon, &book, &during).await;
    let states =
        "select string_agg(state, ' ' order by state) || ' ' || count(distinct subscription_id)
         from billd.charge_attempt";
    assert_eq!(book.text(states).await, "paid paid started started 4");
    let moved = "select count(*) from billd.subscription
         where open_attempt is null and not recheck and next_charge_at > billd.now()";
    assert_eq!(book.text(moved).await, "2");
    let timed = "select count(*) from billd.subscription s
         join billd.billing_cycle c on c.subscription_id = s.id and c.state = 'paid'
         where s.settled_until = c.until_at and s.paid_until = c.until_at and s.until_at > s.due_at
           and s.due_at >= s.settled_until and c.due_at < c.until_at";
    assert_eq!(
        book.text(timed).await,
        "2",
        "what the old one records has its time"
    );
    book.assert_sound().await;
}

/// A book of billd 0.1 with a past: six months paid by a 31st, one in dunning, one past due, one in doubt, one paused,
/// a yearly one that was off its grid, and one that is new.
const LIVING: &str = "
    insert into billd.subscription (customer_uid, name, amount, interval_unit, anchor_at, next_charge_at, state)
    select who, 'n', 9900, unit, at, at + make_interval(months => done * months), state
    from (values
        ('paid', 'month', timestamptz '2026-05-31 10:00+09', 6, 1, 'active'),
        ('dunned', 'month', '2026-05-31 10:00+09', 5, 1, 'active'),
        ('past_due', 'month', '2026-05-15 10:00+09', 5, 1, 'past_due'),
        ('doubt', 'month', '2026-05-20 10:00+09', 6, 1, 'active'),
        ('paused', 'month', '2026-05-10 10:00+09', 3, 1, 'paused'),
        ('yearly', 'year', '2024-02-29 10:00+09', 3, 12, 'active'),
        ('new', 'day', '2026-11-27 10:00+09', 0, 0, 'active')
    ) x (who, unit, at, done, months, state);
    insert into billd.billing_cycle (subscription_id, period, amount, currency, due_at, state, closed_at)
    select s.id, at::date, 9900, 'KRW', at at time zone 'Asia/Seoul', 'paid', now()
    from billd.subscription s, generate_series(0, 5) n,
        lateral (select (s.anchor_at at time zone 'Asia/Seoul')
            + make_interval(months => n * case s.interval_unit when 'year' then 12 else 1 end)) d (at)
    where s.interval_unit <> 'day' and at at time zone 'Asia/Seoul' < s.due_at;
    insert into billd.billing_cycle (subscription_id, period, amount, currency, due_at, state, closed_at)
    select id, period, 9900, 'KRW', due_at, d.state, case d.state when 'uncollectible' then now() end
    from billd.subscription s
    join (values ('dunned', 'due'), ('past_due', 'uncollectible'), ('doubt', 'due')) d (who, state) on who = customer_uid;
    insert into billd.charge_attempt
        (merchant_uid, subscription_id, period, attempt_no, amount, currency, customer_uid, state, ask_at)
    select billd.merchant_uid(id, period, 1), id, period, 1, 9900, 'KRW', customer_uid, 'unknown', now()
    from billd.subscription where customer_uid = 'doubt';
    update billd.billing_cycle c set state = 'unresolved' from billd.subscription s
    where s.id = c.subscription_id and s.period = c.period and customer_uid = 'doubt';
    update billd.subscription set recheck = false, attempts = 1, next_charge_at = null,
        open_attempt = billd.merchant_uid(id, period, 1) where customer_uid = 'doubt'";

/// All that a merchant knows of a book: dates, debts and what is in doubt.
const KNOWN: &str = "
    select string_agg(line, E'\n' order by line) from (
        select concat_ws(' ', customer_uid, state, period, due_at, next_charge_at, anchor_at, open_attempt, attempts) as line
        from billd.subscription
        union all
        select concat_ws(' ', customer_uid, c.period, c.state, c.amount, c.due_at)
        from billd.billing_cycle c join billd.subscription s on s.id = c.subscription_id
        union all select concat_ws(' ', merchant_uid, state, amount, ask_at) from billd.charge_attempt) x";

#[tokio::test]
async fn a_living_book_keeps_its_dates_debts_and_doubts_and_gets_its_times() {
    let book = book_of_0_1("upgrade_living").await;
    book.run(LIVING).await;
    let before = book.text(KNOWN).await;
    book.store.migrate().await.unwrap();
    assert_eq!(
        book.text(KNOWN).await,
        before,
        "no date moves, no debt changes"
    );
    let times = "select string_agg(concat_ws(' ', customer_uid, (settled_until at time zone time_zone)::date,
            (paid_until at time zone time_zone)::date, (until_at at time zone time_zone)::date), ', ' order by customer_uid)
        from billd.subscription";
    assert_eq!(
        book.text(times).await,
        "doubt 2026-11-20 2026-11-20 2026-12-20, dunned 2026-10-31 2026-10-31 2026-11-30, \
         new 2026-11-27 2026-11-28, paid 2026-11-30 2026-11-30 2026-12-31, \
         past_due 2026-10-15 2026-10-15 2026-11-15, paused 2026-08-10 2026-08-10 2026-09-10, \
         yearly 2027-02-28 2027-02-28 2028-02-29"
    );
    let gaps = "select count(*) from (
            select c.until_at, lead(c.due_at) over (partition by subscription_id order by period) as next
            from billd.billing_cycle c) x where until_at <> next";
    assert_eq!(
        book.text(gaps).await,
        "0",
        "a debt ends where the next one begins"
    );
    assert_eq!(
        book.text("select count(*) from billd.time_billed_twice")
            .await,
        "0"
    );
}

/// Hazard: an attempt that the old daemon left behind bears no mark, and nobody would ask what became of it.
#[tokio::test]
async fn whatever_was_open_in_an_old_book_is_asked_about_in_the_new_one() {
    let book = book_of_0_1("upgrade_open").await;
    let mut daemon = daemon_of_0_1(&book).await;
    book.subscribe_many(3, "cust_").await;
    let paused = claim_one(&mut daemon).await;
    let unknown = claim_one(&mut daemon).await;
    claim_one(&mut daemon).await;
    book.run(&format!(
        "update billd.subscription set state = 'paused'
         where id = (select subscription_id from billd.charge_attempt where merchant_uid = '{paused}');
         update billd.subscription s set open_attempt = a.merchant_uid, fence = a.fence, next_charge_at = null,
             attempts = 1, last_result = 'unknown'
         from billd.charge_attempt a where a.merchant_uid = '{unknown}' and s.id = a.subscription_id;
         update billd.charge_attempt set state = 'unknown', ask_at = billd.now() where merchant_uid = '{unknown}'"
    ))
    .await;
    daemon.close().await.unwrap();

    book.store.migrate().await.unwrap();
    book.advance("91 seconds").await;
    assert_eq!(book.claim_open(10, LEASE).await.len(), 3);
}

/// The old command line charges a card of its own.
async fn begin_by_hand(daemon: &mut PgConnection, name: &str) -> bool {
    let values = format!("'{name}', 'again', 'card_{name}', 'n', 500, 'KRW', null, null, 90");
    let types = "text, text, text, text, int8, text, int8, int8, float8";
    // A fence is no text.
    let statement = format!("with begun as ({BEGIN_HAND_OF_0_1}) select fence::text from begun");
    run(daemon, types, &statement, &values).await.len() == 1
}

/// What the old daemon takes over to ask about; it then records each as paid.
async fn ask_by_hand(daemon: &mut PgConnection, book: &Book) -> Vec<String> {
    let asked = run(daemon, "int, float8", CLAIM_OPEN_HAND_OF_0_1, "10, 90").await;
    for name in &asked {
        let fence = format!("select fence from billd.charge_attempt where merchant_uid = '{name}'");
        let values = format!(
            "'{name}', {}, 'paid', 0, false, 0, 'imp_{name}', null, null, null, 0, null, null, null",
            book.text(&fence).await
        );
        let types =
            "text, int8, text, float8, bool, int2, text, text, text, text, int8, text, text, text";
        run(daemon, types, RECORD_HAND_OF_0_1, &values).await;
    }
    asked
}

/// Hazard: a charge of the old command line is open while its table moves; it is forgotten, or the old
/// daemon can no longer write down that it was paid.
#[tokio::test]
async fn charges_by_hand_become_one_off_charges_while_the_version_before_goes_on_with_them() {
    let book = book_of_0_1("upgrade_by_hand").await;
    let mut daemon = daemon_of_0_1(&book).await;
    for name in ["before1", "before2"] {
        assert!(begin_by_hand(&mut daemon, name).await);
    }
    book.store.migrate().await.unwrap();

    assert!(begin_by_hand(&mut daemon, "during").await);
    assert!(!begin_by_hand(&mut daemon, "during").await, "once");
    book.advance("91 seconds").await;
    let asked = book.claim_open(1, LEASE).await.remove(0).unwrap();
    assert_eq!(asked.claim.purpose, Purpose::OneOff);
    assert_eq!(ask_by_hand(&mut daemon, &book).await.len(), 2);
    let states =
        "select string_agg(state || ' ' || name, ', ' order by state) from billd.charge_attempt";
    assert_eq!(book.text(states).await, "paid n, paid n, unknown n");
}

#[tokio::test]
async fn a_migrated_book_and_a_fresh_one_have_equal_definitions() {
    let migrated = book_of_0_1("upgrade_definitions").await;
    let daemon = daemon_of_0_1(&migrated).await;
    migrated.store.migrate().await.unwrap();
    assert_eq!(
        migrated
            .text("select to_regprocedure('billd.at_rest(interval)') is not null")
            .await,
        "true",
        "the old daemon still calls it"
    );
    daemon.close().await.unwrap();
    // A session that was closed is listed for a moment longer.
    while !migrated
        .store
        .migrate()
        .await
        .unwrap()
        .sessions_before
        .is_empty()
    {
        tokio::task::yield_now().await;
    }
    let fresh = Book::new().await;
    let (migrated, fresh) = (
        text(&migrated.sql, DEFINITIONS).await,
        text(&fresh.sql, DEFINITIONS).await,
    );
    let differ = |a: &str, b: &str| {
        let known: std::collections::HashSet<&str> = b.lines().collect();
        let lines = a.lines().filter(|line| !known.contains(line));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(differ(&migrated, &fresh), "", "only in the migrated one");
    assert_eq!(differ(&fresh, &migrated), "", "only in the fresh one");
}

/// Hazard: functions change without a numbered migration, and the daemon runs with those of another version.
#[tokio::test]
async fn other_routines_are_told_apart_and_replaced() {
    use billd::store::SchemaState;
    let book = Book::new().await;
    book.run("update billd_internal.routines set hash = 'other'")
        .await;
    let state = book.store.schema_state().await.unwrap();
    assert_eq!(state, SchemaState::OtherRoutines);
    let migrated = book.store.migrate().await.unwrap();
    assert!(migrated.routines && migrated.versions.is_empty());
    assert!(!book.store.migrate().await.unwrap().routines, "once");
    let state = book.store.schema_state().await.unwrap();
    assert_eq!(state, SchemaState::Current);
}

/// Hazard: somebody deletes the row of control, or its old tables' rows; nothing is due any more.
#[tokio::test]
async fn the_row_of_control_is_kept() {
    let book = Book::new().await;
    for statement in ["delete from billd.control", "truncate billd.control"] {
        let refused = book.try_run(statement).await.unwrap_err();
        assert!(refused.contains("is kept"), "{refused}");
    }
}

#[tokio::test]
async fn the_operators_schema_holds_what_people_call_and_no_helper() {
    let book = Book::new().await;
    let called = "select string_agg(proname, ' ' order by proname) from pg_proc
        where pronamespace = 'billd'::regnamespace";
    assert_eq!(
        book.text(called).await,
        "add_consumer add_item add_webhook adopt attempts_of cancel change_card change_plan change_webhook close_attempt drop_consumer \
         drop_webhook end_after extend forecast forget_before forgive give_credit give_discount keep may_use merchant_uid \
         move_day now pause put_off read_events record_consent release renew_early replay_webhook resume retry_now \
         rotate_webhook set_trial skip start_charging start_webhook stop_charging stop_webhook take_back withdraw_consent"
    );
}
