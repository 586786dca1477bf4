//! How statements find their rows, by PostgreSQL's own counters.

use billd::domain::attempt::{ChargeOutcome, Payment};
use billd::domain::dunning::Decision;
use billd::domain::ids::ImpUid;
use billd::store::{ClaimLimits, Store};
use sqlx::{AssertSqlSafe, Row};
use tokio_util::sync::CancellationToken;

use crate::support::{Book, connection, limits, text};
use crate::words::{LEASE, answer, claim, given, psql, record_all};

const SEQUENTIAL: &str = "select string_agg(relname || ' ' || seq_scan, ', ' order by relname)
    from pg_stat_user_tables
    where relname in ('subscription', 'billing_cycle', 'charge_attempt')";

/// Hazard: the planner can't know how few rows a claim lets through, or plans with the statistics of
/// an empty table, and reads ten million rows for each batch.
#[tokio::test]
async fn no_statement_of_a_sweep_reads_a_whole_table() {
    let it = given()
        .due_many(3_000)
        .due_many_of(2, "drop-after-approval-")
        .due_many_of(20, "decline-balance-")
        .await;
    let store = Store::new(&connection(&it.url)).unwrap();
    let engine = it.engine_on(store.clone(), limits());
    // What was counted so far is told when its session ends.
    it.sql.close().await;
    it.store.close().await;
    let reader = sqlx::PgPool::connect(&it.url).await.unwrap();
    let before = text(&reader, SEQUENTIAL).await;
    for _ in 0..2 {
        engine.sweep(CancellationToken::new()).await.unwrap();
        let advance =
            "update billd.control set clock_shift = clock_shift + interval '6 seconds' returning 1";
        sqlx::raw_sql(advance).execute(&reader).await.unwrap();
    }
    store.close().await;
    it.approved(3_002);
    assert_eq!(text(&reader, SEQUENTIAL).await, before);
}

/// Hazard: the benchmark writes its book without triggers. When these derive one column more, it fails, or
/// measures a book that no merchant has.
#[tokio::test]
async fn the_book_of_the_benchmark_is_what_plain_inserts_would_have_made() {
    let book = Book::new().await;
    let filled = include_str!("../../benches/throughput/book.sql")
        .replace("{id}", "billd_internal.new_id()")
        .replace("{due_at}", "date_trunc('second', now())")
        .replace("{due}", "2")
        .replace("{rows}", "3");
    let script = format!(
        "set session_replication_role = replica; {filled}; set session_replication_role = origin;
         insert into billd.subscription
             (customer_uid, name, amount, next_charge_at, buyer_name, buyer_email, buyer_tel)
         select customer_uid, name, amount, next_charge_at, buyer_name, buyer_email, buyer_tel
         from billd.subscription"
    );
    sqlx::raw_sql(AssertSqlSafe(script))
        .execute(&book.sql)
        .await
        .unwrap();
    let differ =
        "select count(distinct to_jsonb(s) - 'id' - 'created_at')::text || ' of ' || count(*)
                  from billd.subscription s";
    assert_eq!(text(&book.sql, differ).await, "3 of 6");
}

/// Hazard: an outcome that finds no room on its page is written to another one, with a new entry in every
/// index; and each vacuum goes through indexes that grow for ever, to take the old entries out.
#[tokio::test]
async fn an_outcome_stays_on_the_page_of_its_attempt() {
    let book = Book::new().await;
    book.subscribe_many(500, "customer_0123456789abcdef0123_")
        .await;
    let pages = "select string_agg((ctid::text::point)[0]::text, ' ' order by merchant_uid)
                 from billd.charge_attempt";
    let tid = "INIAPICARDINIBillTst20261123184512123456";
    let receipt = ChargeOutcome::Paid(Payment {
        imp_uid: ImpUid::parse("imp_448280090638").unwrap(),
        pg_provider: Some("html5_inicis".to_owned()),
        pg_tid: Some(tid.to_owned()),
        receipt_url: Some(format!(
            "https://iniweb.inicis.com/mall/cr/cm/mCmReceipt_head.jsp?noTid={tid}&noMethod=1"
        )),
        cancelled_amount: 0,
    });
    let claims = claim(&book).await;
    let before = book.text(pages).await;
    let paid = |claim| answer(claim, Some(receipt.clone()), Decision::Advance);
    record_all(&book, &claims.iter().map(paid).collect::<Vec<_>>()).await;
    book.tally("500 paid").await;
    book.shows(pages, before).await;
}

const CLAIM: &str = include_str!("../../src/store/claim_due.sql");
const OPEN: &str = include_str!("../../src/store/claim_open.sql");
const ABANDONED: &str = include_str!("../../src/store/notice_abandoned.sql");
const RECORD: &str = include_str!("../../src/store/record.sql");

/// A book of which a tenth is due and a tenth in doubt, with a history, filled past the triggers that a person's insert meets.
const MANY: &str = "
    alter table billd.subscription disable trigger user;
    alter table billd.billing_cycle disable trigger user;
    alter table billd.charge_attempt disable trigger user;
    insert into billd.subscription
        (customer_uid, name, amount, anchor_at, next_charge_at, due_at, period, until_at, settled_until, catch_up)
    select 'cust_' || n, 'n', 9900, at, at, at, '2026-12-01', at + interval '1 month', at, 'all'
    from (select n, now() + case when n % 10 = 0 then -1 else 1 end * n * interval '1 second' as at
          from generate_series(1, 1000000) n) x;
    insert into billd.billing_cycle (subscription_id, period, amount, currency, due_at, until_at, state, closed_at)
    select id, '2026-11-01', amount, currency, due_at - interval '1 month', due_at, 'paid', now() from billd.subscription;
    insert into billd.charge_attempt (merchant_uid, subscription_id, period, attempt_no, amount,
        currency, customer_uid, state, finished_at, imp_uid)
    select billd.merchant_uid(id, '2026-11-01', 1), id, '2026-11-01', 1, amount, currency,
        customer_uid, 'paid', now(), 'imp' from billd.subscription;
    insert into billd.charge_attempt (merchant_uid, subscription_id, period, attempt_no, amount,
        currency, customer_uid, state, ask_at)
    select billd.merchant_uid(id, '2026-12-01', 1), id, '2026-12-01', 1, amount, currency,
        customer_uid, 'unknown', next_charge_at
    from billd.subscription where customer_uid like '%7';
    alter table billd.subscription enable trigger user;
    alter table billd.billing_cycle enable trigger user;
    alter table billd.charge_attempt enable trigger user;
    analyze billd.subscription, billd.billing_cycle, billd.charge_attempt;";

/// The plan that PostgreSQL chooses of its own accord, without the settings of our connections.
async fn plan(book: &Book, types: &str, statement: &str, values: &str) -> String {
    let mut connection = book.sql.acquire().await.unwrap();
    let prepare = format!("deallocate all; prepare ours ({types}) as {statement}");
    sqlx::raw_sql(AssertSqlSafe(prepare))
        .execute(&mut *connection)
        .await
        .unwrap();
    let explain = AssertSqlSafe(format!("explain execute ours ({values})"));
    let lines = sqlx::raw_sql(explain).fetch_all(&mut *connection).await;
    let lines = lines.unwrap();
    let lines: Vec<String> = lines.iter().map(|line| line.get(0)).collect();
    lines.join("\n")
}

fn assert_by_index(plan: &str, indexes: &[&str]) {
    for index in indexes {
        assert!(plan.contains(index), "{index} is not used:\n{plan}");
    }
    for table in ["subscription", "billing_cycle", "charge_attempt"] {
        let whole = format!("Seq Scan on {table}");
        assert!(!plan.contains(&whole), "{whole}:\n{plan}");
    }
    // A primary key that is read from end to end is the whole table, too.
    let lines: Vec<&str> = plan.lines().collect();
    for (n, line) in lines.iter().enumerate() {
        let is_scan = line.contains("_pkey");
        let of_node = lines.iter().skip(n + 1).take_while(|it| !it.contains("->"));
        let is_narrowed = of_node.into_iter().any(|it| it.contains("Index Cond"));
        assert!(!is_scan || is_narrowed, "{line}:\n{plan}");
    }
    // Two batches that are joined by comparing each row with each.
    let mut compared = plan.lines().filter(|line| line.contains("Join Filter:"));
    assert!(
        compared.all(|line| !line.contains("merchant_uid =") && !line.contains(" id =")),
        "{plan}"
    );
}

/// Hazard: a change of a statement or an index makes PostgreSQL sort a backlog of a million for each
/// batch, or look at what was taken before. It shows only at night, in production.
#[tokio::test]
async fn each_statement_of_a_charge_finds_its_rows_by_index_and_sorts_no_backlog() {
    let book = Book::new().await;
    book.run(MANY).await;

    let types = "int, float8, timestamptz, uuid, text[]";
    for after in [
        "null, null, null",
        "null, null, '{stopped}'",
        "now() - interval '1 hour', gen_random_uuid(), null",
    ] {
        let plan = plan(&book, types, CLAIM, &format!("500, 90, {after}")).await;
        let indexes = [
            "Index Scan using subscription_due",
            "ROW(next_charge_at, id) >",
            "billing_cycle_pkey",
            "charge_attempt_pkey",
        ];
        assert_by_index(&plan, &indexes);
        assert!(!plan.contains("Sort"), "{plan}");
    }

    let types =
        "text[], uuid[], date[], int8[], text[], text[], text[], text[], text[], int8[], text[],
        text[], text[], text[], float8[], bool[], text[], int2[], float8, float8, bool";
    let names = "select array_agg(merchant_uid) from (select merchant_uid from billd.charge_attempt limit 500) x";
    let ids = "select array_agg(subscription_id) from (select subscription_id from billd.charge_attempt limit 500) x";
    let values = format!(
        "'{}', '{}', {}",
        book.text(names).await,
        book.text(ids).await,
        "null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
         3600, 90, true"
    );
    let record = plan(&book, types, RECORD, &values).await;
    let indexes = [
        "charge_attempt_pkey",
        "subscription_pkey",
        "billing_cycle_pkey",
    ];
    assert_by_index(&record, &indexes);
    // The batch itself may be put in order, and nothing else.
    let sorts = record.lines().filter(|line| line.contains("Sort Key:"));
    assert!(
        sorts.into_iter().all(|line| line.contains("Key: x_")),
        "{record}"
    );
    let abandoned = plan(&book, "int", ABANDONED, "5000").await;
    let indexes = ["Index Scan using subscription_due", "charge_attempt_pkey"];
    assert_by_index(&abandoned, &indexes);
    assert!(!abandoned.contains("Sort"), "{abandoned}");

    let open = plan(&book, "int, float8", OPEN, "500, 90").await;
    let indexes = ["Index Scan using charge_attempt_to_ask"];
    assert_by_index(&open, &indexes);
    // The answer of at most one batch is put in order, and nothing else.
    assert_eq!(open.matches("Sort Key").count(), 1, "{open}");
    assert!(open.starts_with("Sort"), "{open}");
}

/// Hazard: a claim that goes on where the last one ended passes over rows that fell due together
/// with it, or never finds what was put behind it.
#[tokio::test]
async fn a_claim_that_goes_on_misses_nothing_of_one_midnight_and_a_full_look_finds_the_rest() {
    let book = Book::new().await;
    book.subscribe_many(10, "cust_").await;
    book.advance("1 minute").await;
    let lease = LEASE;
    let limits = |rows_max| ClaimLimits { rows_max, lease };
    let first = book.store.claim_due(limits(4)).await.unwrap();
    assert_eq!(first.claims.len(), 4);
    let second = book
        .store
        .claim_due_after(first.reached, limits(3), &[])
        .await;
    let second = second.unwrap();
    assert_eq!(second.claims.len(), 3);
    assert!(second.reached > first.reached);
    book.run(
        "insert into billd.subscription (customer_uid, name, amount, next_charge_at)
         values ('put_off_before', 'n', 9900, billd.now() - interval '1 day')",
    )
    .await;
    let third = book
        .store
        .claim_due_after(second.reached, limits(10), &[])
        .await;
    assert_eq!(third.unwrap().claims.len(), 3);
    let full = book.store.claim_due(limits(10)).await.unwrap();
    assert_eq!(full.claims.len(), 1);
    book.assert_sound().await;
}

/// Hazard: whoever has inserted a row that is due, and commits a moment later, is passed over.
#[tokio::test]
async fn a_claim_never_goes_on_so_close_to_the_present_that_a_late_commit_is_missed() {
    let book = Book::new().await;
    book.subscribe("cust_1").await;
    let insert =
        "insert into billd.subscription (customer_uid, name, amount) values ('cust_2', 'n', 100)";
    let late = psql(&book, insert).await;
    book.subscribe("cust_3").await;
    let limits = ClaimLimits {
        rows_max: 10,
        lease: LEASE,
    };
    let first = book.store.claim_due(limits).await.unwrap();
    assert_eq!(first.claims.len(), 2);
    late.commit().await.unwrap();
    let second = book.store.claim_due_after(first.reached, limits, &[]).await;
    assert_eq!(second.unwrap().claims.len(), 1);
}

/// Hazard: an index that names what an outcome changes. Every charge would then be written into all
/// indexes of the attempts once more.
#[tokio::test]
async fn no_index_of_the_attempts_names_what_an_ordinary_outcome_changes() {
    let it = given().due("cust_1").swept().await;
    let changed = "
        select string_agg(distinct a.attname, ' ')
        from billd.charge_attempt c
        cross join lateral jsonb_each_text(to_jsonb(c)) v
        join pg_attribute a on a.attrelid = 'billd.charge_attempt'::regclass and a.attname = v.key
        join pg_depend d on d.refobjid = a.attrelid and d.refobjsubid = a.attnum
        join pg_index i on i.indexrelid = d.objid and i.indrelid = a.attrelid
        where d.classid = 'pg_class'::regclass and v.value is not null
          and a.attname in ('state', 'finished_at', 'imp_uid', 'pg_provider', 'pg_tid', 'receipt_url')";
    it.shows(changed, "null").await;
    // What reconciliation goes by is not written at all.
    let asked = "select count(*) from billd.charge_attempt where ask_at is not null";
    it.shows(asked, 0).await;
}
