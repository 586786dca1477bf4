//! The laws that the database holds, whoever writes the SQL.

use billd::domain::ids::{AttemptNo, MerchantUid, SubscriptionId};
use billd::store::{ClaimLimits, SchemaState};
use std::time::Duration;

use crate::support::{Book, House, connection, server};

/// One subscription with its cycle open and its first attempt begun, as a crashed daemon leaves it.
async fn with_open_attempt() -> Book {
    let book = Book::new().await;
    book.subscribe("cust_1").await;
    let limits = ClaimLimits {
        rows_max: 10,
        lease: Duration::from_secs(90),
    };
    let claimed = book.store.claim_due(limits).await.unwrap();
    assert_eq!(claimed.claims.len(), 1);
    book
}

async fn refused(book: &Book, statement: &str, constraint: &str) {
    let error = book.try_run(statement).await.unwrap_err();
    assert!(error.contains(constraint), "{statement}: {error}");
}

#[tokio::test]
async fn the_shortest_insert_is_9900_won_monthly_in_seoul_first_charge_now() {
    let book = Book::new().await;
    book.run("insert into billd.subscription (customer_uid, name, amount) values ('cust_1', '프리미엄 월간', 9900)").await;
    let row =
        "select concat_ws(' ', state, amount, currency, interval_count, interval_unit, time_zone,
        next_charge_at <= billd.now(), anchor_at = next_charge_at, due_at = next_charge_at,
        period = (now() at time zone 'Asia/Seoul')::date) from billd.subscription";
    assert_eq!(
        book.text(row).await,
        "active 9900 KRW 1 month Asia/Seoul t t t t"
    );
}

#[tokio::test]
async fn an_anchor_in_the_past_does_not_bill_the_past_by_accident() {
    let book = Book::new().await;
    let insert = "insert into billd.subscription (customer_uid, name, amount, anchor_at";
    refused(
        &book,
        &format!("{insert}) values ('c', 'n', 100, '2020-01-31 09:00+09')"),
        "next_charge_at",
    )
    .await;
    book.run(&format!("{insert}, next_charge_at) values ('c', 'n', 100, '2020-01-31 09:00+09', '2026-12-31 09:00+09')")).await;
    assert_eq!(
        book.text("select period from billd.subscription").await,
        "2026-12-31"
    );
}

/// Law: one open question. A second request for money while the first one's fate is open is how
/// every cron script has charged somebody twice.
#[tokio::test]
async fn no_second_attempt_can_be_opened_while_one_is_open() {
    let book = with_open_attempt().await;
    let second = "insert into billd.charge_attempt
            (merchant_uid, subscription_id, period, attempt_no, amount, currency, customer_uid, ask_at)
        select billd.merchant_uid(id, period, 2), id, period, 2, amount, currency, customer_uid, now()
        from billd.subscription";
    refused(&book, second, "is open, so no other may begin").await;
    book.run("update billd.charge_attempt set state = 'unknown', ask_at = now()")
        .await;
    refused(&book, second, "is open, so no other may begin").await;
}

/// Hazard: what nobody began by a claim is not found among what is due, and would never be asked about.
#[tokio::test]
async fn an_attempt_that_somebody_else_opens_says_when_to_ask_about_it() {
    let book = Book::new().await;
    book.subscribe("cust_1").await;
    book.run("insert into billd.billing_cycle (subscription_id, period, amount, currency, due_at) select id, period, amount, currency, due_at from billd.subscription").await;
    let open = |ask_at| {
        format!(
            "insert into billd.charge_attempt
                (merchant_uid, subscription_id, period, attempt_no, amount, currency, customer_uid, ask_at)
             select billd.merchant_uid(id, period, 1), id, period, 1, amount, currency, customer_uid, {ask_at}
             from billd.subscription"
        )
    };
    refused(&book, &open("null"), "ask_at must say").await;
    book.run(&open("now()")).await;
}

#[tokio::test]
async fn no_attempt_can_be_opened_for_a_debt_that_is_not_due() {
    let house = House::new().await;
    house.book.subscribe("cust_1").await;
    house.sweep().await;
    for state in ["unresolved", "paid", "uncollectible", "void"] {
        let closed = if state == "unresolved" {
            "null"
        } else {
            "now()"
        };
        house
            .book
            .run(&format!(
                "update billd.billing_cycle set state = '{state}', closed_at = {closed}"
            ))
            .await;
        refused(
            &house.book,
            "insert into billd.charge_attempt
                (merchant_uid, subscription_id, period, attempt_no, amount, currency, customer_uid, ask_at)
             select billd.merchant_uid(subscription_id, period, 2), subscription_id, period, 2, amount, currency, 'cust_1', now()
             from billd.billing_cycle",
            "no attempt may begin",
        )
        .await;
    }
}

#[tokio::test]
async fn the_terms_of_an_attempt_never_change_and_no_merchant_uid_is_reused() {
    let book = with_open_attempt().await;
    for change in [
        "amount = 100",
        "customer_uid = 'cust_2'",
        "currency = 'USD'",
        "merchant_uid = billd.merchant_uid(subscription_id, period, 7), attempt_no = 7",
    ] {
        refused(
            &book,
            &format!("update billd.charge_attempt set {change}"),
            "never change",
        )
        .await;
    }
    refused(&book, "delete from billd.charge_attempt", "kept for ever").await;
    refused(
        &book,
        "update billd.billing_cycle set amount = 100",
        "an attempt of this cycle is open",
    )
    .await;
    refused(&book, "delete from billd.subscription", "has debts").await;
    refused(
        &book,
        "insert into billd.charge_attempt select * from billd.charge_attempt",
        "charge_attempt_pkey",
    )
    .await;
    refused(
        &book,
        "insert into billd.charge_attempt
            (merchant_uid, subscription_id, period, attempt_no, amount, currency, customer_uid, ask_at)
         select 'anything', id, period, 2, amount, currency, customer_uid, now() from billd.subscription",
        "is named",
    )
    .await;
}

#[tokio::test]
async fn debts_and_attempts_belong_together_and_stay() {
    let book = with_open_attempt().await;
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
        refused(&book, statement, words).await;
    }
    book.subscribe("typed_wrongly").await;
    let wrong = "delete from billd.subscription where customer_uid = 'typed_wrongly'";
    assert_eq!(book.run(wrong).await, 1);
}

/// Hazard: history that is cleared away takes along what is still open, or lets a `merchant_uid` be made
/// a second time.
#[tokio::test]
async fn old_history_can_be_forgotten_and_nothing_else() {
    let house = House::new().await;
    house.book.subscribe("cust_1").await;
    house.book.subscribe("decline-stolen-1").await;
    house.sweep().await;
    house.book.advance("14 months").await;
    let cut = "(billd.now() - interval '1 year')::date";
    let too_young = format!("call billd.forget_before({cut} + 1)");
    refused(&house.book, &too_young, "younger than a year").await;
    let left = "select string_agg(s.customer_uid || ' ' || c.state || ' ' || a.state, ', ')
        from billd.subscription s
        join billd.billing_cycle c on c.subscription_id = s.id
        join billd.charge_attempt a on a.subscription_id = s.id";
    house
        .book
        .run(&format!("call billd.forget_before({cut})"))
        .await;
    assert_eq!(
        house.book.text(left).await,
        "decline-stolen-1 uncollectible declined",
        "the current period of a subscription stays"
    );
    refused(
        &house.book,
        "delete from billd.charge_attempt",
        "kept for ever",
    )
    .await;
    house.sweep().await;
    let paid = "select count(distinct period) from billd.charge_attempt where state = 'paid'";
    assert_eq!(house.book.text(paid).await, "1");
}

#[tokio::test]
async fn what_is_proved_is_never_opened_again() {
    let house = House::new().await;
    house.book.subscribe("cust_1").await;
    house.sweep().await;
    for change in [
        "state = 'declined'",
        "state = 'unknown', finished_at = null, ask_at = now()",
        "state = 'started', finished_at = null, ask_at = now()",
    ] {
        refused(
            &house.book,
            &format!("update billd.charge_attempt set {change}"),
            "never opened again",
        )
        .await;
    }
}

/// Law: facts are not constrained. If money moved twice the tables must be able to say so.
#[tokio::test]
async fn money_that_moved_twice_can_be_written_down_and_is_shown() {
    let house = House::new().await;
    house.book.subscribe("decline-balance-once-1").await;
    house.sweep().await;
    house.book.advance("1 day").await;
    house.sweep().await;
    assert_eq!(
        house
            .book
            .text("select count(*) from billd.paid_twice")
            .await,
        "0"
    );
    house.book.run("update billd.charge_attempt set state = 'paid', imp_uid = 'imp_late' where state = 'declined'").await;
    assert_eq!(
        house
            .book
            .text("select payments || ' ' || kept from billd.paid_twice")
            .await,
        "2 19800"
    );
    assert_eq!(
        house
            .book
            .text("select string_agg(kind, ',') from billd.attention")
            .await,
        "paid_twice"
    );
}

#[tokio::test]
async fn a_row_that_breaks_a_limit_of_the_gateway_is_refused_with_a_name_that_says_why() {
    let book = Book::new().await;
    let long = "x".repeat(41);
    let cases = [
        (format!("name = '{long}'"), "name_has_1_to_40_characters"),
        ("name = ''".to_owned(), "name_has_1_to_40_characters"),
        (
            format!("customer_uid = '{long}{long}'"),
            "customer_uid_has_1_to_80_characters",
        ),
        (
            "amount = -1".to_owned(),
            "amount_is_between_0_and_1000000000",
        ),
        (
            "amount = 1000000001".to_owned(),
            "amount_is_between_0_and_1000000000",
        ),
        (
            "currency = 'won'".to_owned(),
            "currency_is_three_capital_letters",
        ),
        (
            "card_quota = 3".to_owned(),
            "card_quota_needs_an_amount_of_50000_krw",
        ),
        ("tax_free = 9901".to_owned(), "tax_free_is_within_amount"),
        (
            "tax_free = 9000, vat_amount = 1000".to_owned(),
            "vat_amount_is_within_amount",
        ),
        (
            "buyer_name = 'a very long buyer name'".to_owned(),
            "buyer_name_has_at_most_16_characters",
        ),
        (
            "product_type = 'virtual'".to_owned(),
            "product_type_is_real_or_digital",
        ),
        ("notice_url = 'ftp://x'".to_owned(), "notice_url_is_http"),
        (
            "gateway_options = '[]'".to_owned(),
            "gateway_options_is_an_object",
        ),
        (
            "gateway_options = '{\"amount\": 1}'".to_owned(),
            "gateway_options_has_only_fields_of_again",
        ),
        (
            "time_zone = 'KST-9'".to_owned(),
            "time_zone_is_an_iana_name",
        ),
        (
            "interval_unit = 'fortnight'".to_owned(),
            "interval_unit_is_day_week_month_or_year",
        ),
        (
            "interval_count = 0".to_owned(),
            "interval_count_is_between_1_and_366",
        ),
        (
            "state = 'deleted'".to_owned(),
            "state_is_active_past_due_paused_or_cancelled",
        ),
    ];
    book.subscribe("cust_1").await;
    for (change, constraint) in cases {
        refused(
            &book,
            &format!("update billd.subscription set {change}"),
            constraint,
        )
        .await;
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
        let theirs = book
            .text(&format!(
                "select billd.merchant_uid('{id}', '{date}', {attempt})"
            ))
            .await;
        assert_eq!(ours.as_str(), theirs);
    }
}

#[tokio::test]
async fn every_table_column_constraint_and_index_of_ours_is_named_and_tables_are_described() {
    let book = Book::new().await;
    let undescribed = "select string_agg(relname, ', ') from pg_class c join pg_namespace n on n.oid = relnamespace
        where nspname = 'billd' and relkind in ('r', 'v') and relname <> 'schema_migration'
          and obj_description(c.oid, 'pg_class') is null";
    assert_eq!(book.text(undescribed).await, "null");
    let undescribed_indexes = "select string_agg(i.relname, ', ') from pg_index x join pg_class i on i.oid = indexrelid
        join pg_namespace n on n.oid = i.relnamespace
        where nspname = 'billd' and not indisprimary and obj_description(i.oid, 'pg_class') is null";
    assert_eq!(book.text(undescribed_indexes).await, "null");
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
    assert_eq!(
        book.store.schema_state().await.unwrap(),
        SchemaState::Broken
    );
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
        lease: Duration::from_secs(90),
    };
    assert!(store.claim_due(limits).await.unwrap().claims.is_empty());
    store.close().await;
    admin.close().await;
}
