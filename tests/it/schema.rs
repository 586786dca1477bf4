//! The laws that the database holds, whoever writes the SQL.

use billd::domain::ids::{AttemptNo, MerchantUid, SubscriptionId};
use billd::store::{ClaimLimits, SchemaState};

use crate::process::{billd, run, stdout};
use crate::support::{Book, connection, server};
use crate::words::{LEASE, WRITE_DEBTS, given, open_attempt};

#[tokio::test]
async fn the_shortest_insert_is_9900_won_monthly_in_seoul_first_charge_now() {
    let book = Book::new().await;
    book.run("insert into billd.subscription (customer_uid, name, amount) values ('cust_1', '프리미엄 월간', 9900)").await;
    let row = "select concat_ws(' ', state, amount, currency, interval_count, interval_unit,
        time_zone, next_charge_at <= billd.now(), anchor_at = next_charge_at, due_at = next_charge_at,
        period = (now() at time zone 'Asia/Seoul')::date) from billd.subscription";
    book.shows(row, "active 9900 KRW 1 month Asia/Seoul t t t t")
        .await;
}

#[tokio::test]
async fn an_anchor_in_the_past_does_not_bill_the_past_by_accident() {
    let book = Book::new().await;
    let insert = "insert into billd.subscription (customer_uid, name, amount, anchor_at";
    let anchored = format!("{insert}) values ('c', 'n', 100, '2020-01-31 09:00+09')");
    book.refuses(&anchored, "next_charge_at").await;
    book.run(&format!("{insert}, next_charge_at) values ('c', 'n', 100, '2020-01-31 09:00+09', '2026-12-31 09:00+09')")).await;
    book.shows("select period from billd.subscription", "2026-12-31")
        .await;
}

/// Law: one open question. A second request for money while the first one's fate is open is how
/// every cron script has charged somebody twice.
#[tokio::test]
async fn no_second_attempt_can_be_opened_while_one_is_open() {
    let it = given().due("cust_1").begun().await;
    let second = open_attempt(2, "now()");
    it.refuses(&second, "is open, so no other may begin").await;
    it.run("update billd.charge_attempt set state = 'unknown', ask_at = now()")
        .await;
    it.refuses(&second, "is open, so no other may begin").await;
}

/// Hazard: what nobody began by a claim is not found among what is due, and would never be asked about.
#[tokio::test]
async fn an_attempt_that_somebody_else_opens_says_when_to_ask_about_it() {
    let it = given().due("cust_1").await;
    it.run(WRITE_DEBTS).await;
    it.refuses(&open_attempt(1, "null"), "ask_at must say")
        .await;
    it.run(&open_attempt(1, "now()")).await;
}

#[tokio::test]
async fn no_attempt_can_be_opened_for_a_debt_that_is_not_due() {
    let it = given().due("cust_1").begun().await;
    it.run(
        "update billd.charge_attempt set state = 'declined', finished_at = now(), ask_at = null",
    )
    .await;
    for (state, closed_at) in [
        ("unresolved", "null"),
        ("paid", "now()"),
        ("uncollectible", "now()"),
        ("void", "now()"),
    ] {
        let close =
            format!("update billd.billing_cycle set state = '{state}', closed_at = {closed_at}");
        it.run(&close).await;
        let second = open_attempt(2, "now()");
        it.refuses(&second, "no attempt may begin").await;
    }
}

#[tokio::test]
async fn the_terms_of_an_attempt_never_change_and_no_merchant_uid_is_reused() {
    let it = given().due("cust_1").begun().await;
    for change in [
        "amount = 100",
        "customer_uid = 'cust_2'",
        "currency = 'USD'",
        "merchant_uid = billd.merchant_uid(subscription_id, period, 7), attempt_no = 7",
    ] {
        let update = format!("update billd.charge_attempt set {change}");
        it.refuses(&update, "never change").await;
    }
    let misnamed =
        open_attempt(2, "now()").replace("billd.merchant_uid(id, period, 2)", "'anything'");
    for (statement, words) in [
        ("delete from billd.charge_attempt", "kept for ever"),
        (
            "update billd.billing_cycle set amount = 100",
            "an attempt of this cycle is open",
        ),
        ("delete from billd.subscription", "has debts"),
        (
            "insert into billd.charge_attempt select * from billd.charge_attempt",
            "charge_attempt_pkey",
        ),
        (misnamed.as_str(), "is named"),
    ] {
        it.refuses(statement, words).await;
    }
}

#[tokio::test]
async fn debts_and_attempts_belong_together_and_stay() {
    let it = given().due("cust_1").begun().await;
    for (statement, words) in [
        (
            "insert into billd.billing_cycle (subscription_id, period, amount, currency, due_at)
             values (gen_random_uuid(), '2026-01-01', 100, 'KRW', now())",
            "there is no subscription",
        ),
        (
            "insert into billd.charge_attempt
                (merchant_uid, subscription_id, period, attempt_no, amount, currency, customer_uid,
                 state, finished_at)
             select billd.merchant_uid(id, '2020-01-01', 1), id, '2020-01-01', 1, amount, currency,
                customer_uid, 'declined', now()
             from billd.subscription",
            "has no cycle of 2020-01-01",
        ),
        ("delete from billd.billing_cycle", "debts are kept"),
        (
            "update billd.billing_cycle set period = period - 1",
            "stays with its subscription",
        ),
        (
            "update billd.subscription set id = gen_random_uuid()",
            "has debts",
        ),
        ("truncate billd.charge_attempt", "kept for ever"),
        ("truncate billd.billing_cycle", "debts are kept"),
        ("truncate billd.subscription", "subscriptions are kept"),
    ] {
        it.refuses(statement, words).await;
    }
    it.subscribe("typed_wrongly").await;
    let wrong = "delete from billd.subscription where customer_uid = 'typed_wrongly'";
    assert_eq!(it.run(wrong).await, 1);
}

/// Hazard: history that is cleared away takes along what is still open, or lets a `merchant_uid` be made
/// a second time.
#[tokio::test]
async fn old_history_can_be_forgotten_and_nothing_else() {
    let it = given().due("cust_1").due("decline-stolen-1").swept().await;
    it.advance("14 months").await;
    let cut = "(billd.now() - interval '1 year')::date";
    let too_young = format!("call billd.forget_before({cut} + 1)");
    it.refuses(&too_young, "younger than a year").await;
    it.run(&format!("call billd.forget_before({cut})")).await;
    // The current period of a subscription stays.
    it.debts("1 uncollectible").await;
    it.attempts("1 declined hard_card 1226").await;
    it.refuses("delete from billd.charge_attempt", "kept for ever")
        .await;
    it.sweep().await;
    let paid = "select count(distinct period) from billd.charge_attempt where state = 'paid'";
    it.shows(paid, 1).await;
}

#[tokio::test]
async fn what_is_proved_is_never_opened_again() {
    let it = given().due("cust_1").swept().await;
    for change in [
        "state = 'declined'",
        "state = 'unknown', finished_at = null, ask_at = now()",
        "state = 'started', finished_at = null, ask_at = now()",
    ] {
        let update = format!("update billd.charge_attempt set {change}");
        it.refuses(&update, "never opened again").await;
    }
}

/// Law: facts are not constrained. If money moved twice the tables must be able to say so.
#[tokio::test]
async fn money_that_moved_twice_can_be_written_down_and_is_shown() {
    let it = given().due("decline-balance-once-1").swept().await;
    it.advance("1 day").await;
    it.sweep().await;
    it.shows("select count(*) from billd.paid_twice", 0).await;
    it.run(
        "update billd.charge_attempt set state = 'paid', imp_uid = 'imp_late'
         where state = 'declined'",
    )
    .await;
    let twice = "select payments || ' ' || kept from billd.paid_twice";
    it.shows(twice, "2 19800").await;
    let told = "select string_agg(kind, ',') from billd.attention";
    it.shows(told, "paid_twice").await;
}

#[tokio::test]
async fn a_row_that_breaks_a_limit_of_the_gateway_is_refused_with_a_name_that_says_why() {
    let book = given().due("cust_1").await;
    for (change, constraint) in [
        ("name = repeat('x', 41)", "name_has_1_to_40_characters"),
        ("name = ''", "name_has_1_to_40_characters"),
        (
            "customer_uid = repeat('x', 82)",
            "customer_uid_has_1_to_80_characters",
        ),
        ("amount = -1", "amount_is_between_0_and_1000000000"),
        ("amount = 1000000001", "amount_is_between_0_and_1000000000"),
        ("currency = 'won'", "currency_is_three_capital_letters"),
        ("card_quota = 3", "card_quota_needs_an_amount_of_50000_krw"),
        ("tax_free = 9901", "tax_free_is_within_amount"),
        (
            "tax_free = 9000, vat_amount = 1000",
            "vat_amount_is_within_amount",
        ),
        (
            "buyer_name = 'a very long buyer name'",
            "buyer_name_has_at_most_16_characters",
        ),
        (
            "product_type = 'virtual'",
            "product_type_is_real_or_digital",
        ),
        ("notice_url = 'ftp://x'", "notice_url_is_http"),
        ("gateway_options = '[]'", "gateway_options_is_an_object"),
        (
            "gateway_options = '{\"amount\": 1}'",
            "gateway_options_has_only_fields_of_again",
        ),
        ("time_zone = 'KST-9'", "time_zone_is_an_iana_name"),
        (
            "interval_unit = 'fortnight'",
            "interval_unit_is_day_week_month_or_year",
        ),
        ("interval_count = 0", "interval_count_is_between_1_and_366"),
        (
            "state = 'deleted'",
            "state_is_active_past_due_paused_or_cancelled",
        ),
    ] {
        let update = format!("update billd.subscription set {change}");
        book.refuses(&update, constraint).await;
    }
}

#[tokio::test]
async fn the_schema_and_the_program_name_attempts_alike() {
    let book = Book::new().await;
    for (date, attempt) in [("2026-11-30", 1), ("2000-01-01", 99), ("2099-12-31", 7)] {
        let id = "0190f3c8-d2b8-4e6f-8a1b-2c3d4e5f6a7b";
        let ours = MerchantUid::derive(
            SubscriptionId(id.parse().unwrap()),
            date.parse().unwrap(),
            AttemptNo::new(attempt).unwrap(),
        );
        let theirs = format!("select billd.merchant_uid('{id}', '{date}', {attempt})");
        book.shows(&theirs, ours.as_str()).await;
    }
}

#[tokio::test]
async fn every_table_column_constraint_and_index_of_ours_is_named_and_tables_are_described() {
    let book = Book::new().await;
    let undescribed = "select string_agg(relname, ', ') from pg_class c join pg_namespace n on n.oid = relnamespace
        where nspname = 'billd' and relkind in ('r', 'v') and relname <> 'schema_migration'
          and obj_description(c.oid, 'pg_class') is null";
    book.shows(undescribed, "null").await;
    let undescribed_indexes = "select string_agg(i.relname, ', ') from pg_index x join pg_class i on i.oid = indexrelid
        join pg_namespace n on n.oid = i.relnamespace
        where nspname = 'billd' and not indisprimary and obj_description(i.oid, 'pg_class') is null";
    book.shows(undescribed_indexes, "null").await;
}

/// The numbered migrations of this tree, oldest first.
fn versions() -> Vec<i64> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let mut versions: Vec<_> = files
        .filter_map(|file| {
            let name = file.file_name().into_string().unwrap();
            name.split_once('_')?.0.parse().ok()
        })
        .collect();
    versions.sort_unstable();
    versions
}

/// Hazard: an old program on a newer schema writes rows that the new one misreads.
#[tokio::test]
async fn a_newer_or_altered_schema_is_told_apart() {
    let book = Book::new().await;
    book.run("insert into billd.schema_migration (version, description, success, checksum, execution_time) values (9999, 'tomorrow', true, '', 0)").await;
    assert_eq!(book.store.schema_state().await.unwrap(), SchemaState::Newer);
    book.run("delete from billd.schema_migration where version = 9999")
        .await;
    book.run("update billd.schema_migration set checksum = 'other'")
        .await;
    let state = book.store.schema_state().await.unwrap();
    assert_eq!(state, SchemaState::Broken);
}

/// Hazard: the one row that all daemons go by is deleted, and nothing is due, or no cap holds any more.
#[tokio::test]
async fn rows_that_everything_goes_by_are_kept() {
    let it = Book::new().await;
    it.run("select billd.stop_charging('a test')").await;
    for table in ["control", "rate_limit", "charging_stop", "history"] {
        it.run("insert into billd.history (subscription_id, verb) values (gen_random_uuid(), 'x')")
            .await;
        it.refuses(
            &format!("delete from billd.{table}"),
            "kept|only added"
                .split('|')
                .find(|word| (table == "history") == (*word == "only added"))
                .unwrap(),
        )
        .await;
        let truncated = it.try_run(&format!("truncate billd.{table}")).await;
        assert!(truncated.is_err(), "{table}");
    }
    it.run("truncate billd.ceiling").await;
    it.shows("select has_ceilings from billd.control", false)
        .await;
}

/// Hazard: triggers are switched off for an import, and stay off; or a row is lost past them.
#[tokio::test]
async fn a_schema_that_is_not_whole_says_what_is_missing_and_is_mended_by_migrate() {
    let it = Book::new().await;
    assert_eq!(it.store.schema_state().await.unwrap(), SchemaState::Current);
    it.run(
        "alter table billd.charge_attempt disable trigger user;
         drop trigger subscription_fill on billd.subscription;
         begin; set local session_replication_role = replica; delete from billd.rate_limit; commit",
    )
    .await;
    let SchemaState::Incomplete { missing } = it.store.schema_state().await.unwrap() else {
        panic!("it is taken for whole");
    };
    for part in [
        "charge_attempt.charge_attempt_guard does not fire",
        "subscription.subscription_fill does not fire",
        "the row of billd.rate_limit",
    ] {
        assert!(missing.iter().any(|one| one == part), "{part}: {missing:?}");
    }
    let checked = run(billd(&it.url, "http://127.0.0.1:9").arg("check"));
    assert!(
        stdout(&checked).contains("the schema is not whole"),
        "{}",
        stdout(&checked)
    );
    assert!(
        it.store.reserve_slots(10, 1, LEASE).await.is_err(),
        "a cap that nobody keeps"
    );
    it.run("insert into billd.rate_limit default values").await;
    assert!(it.store.migrate().await.unwrap().routines);
    assert_eq!(it.store.schema_state().await.unwrap(), SchemaState::Current);
}

#[tokio::test]
async fn every_constraint_is_valid_after_migrate_and_one_that_old_rows_break_stops_nothing() {
    let it = given().due("cust_1").await;
    it.shows(
        "select count(*) from pg_constraint where not convalidated",
        0,
    )
    .await;
    it.run("alter table billd.subscription add constraint broken check (amount = 1) not valid")
        .await;
    let migrated = it.store.migrate().await.unwrap();
    assert_eq!(migrated.not_kept.len(), 1, "{migrated:?}");
}

/// Hazard: a migration that needs a superuser can't be run where the database is rented.
#[tokio::test]
async fn an_ordinary_role_can_migrate_and_bill() {
    let server = server().await;
    server.create_database("ordinary").await.unwrap();
    let url = server.url("ordinary");
    let admin = sqlx::PgPool::connect(&url).await.unwrap();
    sqlx::raw_sql("create role merchant login; grant create on database ordinary to merchant")
        .execute(&admin)
        .await
        .unwrap();
    let store =
        billd::store::Store::new(&connection(&url.replace("postgres@", "merchant@"))).unwrap();
    assert_eq!(store.migrate().await.unwrap().versions, versions());
    let limits = ClaimLimits {
        rows_max: 10,
        lease: LEASE,
    };
    assert!(store.claim_due(limits).await.unwrap().claims.is_empty());
    store.close().await;
    admin.close().await;
}
