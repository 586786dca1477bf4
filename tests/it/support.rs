//! What tests share: one PostgreSQL per run with a fresh database per test, a sandbox per test, and
//! an engine between them.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use billd::domain::claim::{BadRow, OpenAttempt};
use billd::domain::dunning::{Backoff, Ladder, NotFoundPolicy, Policy};
use billd::engine::{Doorbell, Engine, Limits, Swept};
use billd::gateway::portone_v1::{Endpoint, PortOne};
use billd::metrics::Metrics;
use billd::store::{Connection, Pooler, Store};
use embedded_postgres::{Embedded, Options};
use portone_sandbox::{self as sandbox, Running};
use secrecy::SecretString;
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::bouncer::PgBouncer;

static SERVER: OnceCell<Embedded> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// With this variable set, every book's store goes through a PgBouncer of its own.
const POOLED: &str = "BILLD_TEST_POOLED";

const TEMPLATE: &str = "migrated";

/// The one server of this test run; it dies with the process.
pub(crate) async fn server() -> &'static Embedded {
    SERVER
        .get_or_init(|| async {
            let server = Embedded::start(Options::default_for_user()).await.unwrap();
            server.create_database(TEMPLATE).await.unwrap();
            let store = Store::new(&connection(&server.url(TEMPLATE))).unwrap();
            store.migrate().await.unwrap();
            store.close().await;
            server
        })
        .await
}

pub(crate) fn connection(url: &str) -> Connection {
    Connection {
        url: SecretString::from(url.to_owned()),
        pooler: Pooler::None,
        account: Some("sandbox".to_owned()),
        connections_max: 8,
        timeout: Duration::from_secs(30),
    }
}

/// The only value of a query, as text; null is "null".
pub(crate) async fn text(sql: &PgPool, query: &str) -> String {
    let query = AssertSqlSafe(format!("select ({query})::text"));
    let row = sqlx::raw_sql(query).fetch_one(sql).await.unwrap();
    row.get::<Option<String>, _>(0)
        .unwrap_or_else(|| "null".to_owned())
}

/// A migrated database of one test's own.
pub(crate) struct Book {
    /// Its address.
    pub(crate) url: String,
    /// For the test's own eyes and hands: what an operator would type.
    pub(crate) sql: PgPool,
    /// What the product uses.
    pub(crate) store: Store,
    /// What stands before the store in this run, see [`POOLED`].
    _pooler: Option<PgBouncer>,
}

impl Book {
    pub(crate) async fn new() -> Self {
        let server = server().await;
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        server.create_database_from(&name, TEMPLATE).await.unwrap();
        Self::on(server.url(&name))
    }

    /// The book in a database of the caller's.
    pub(crate) fn on(url: String) -> Self {
        let pooler = env::var_os(POOLED).map(|_| PgBouncer::before(&url));
        let connection = match &pooler {
            Some(pooler) => pooler.connection(&url),
            None => connection(&url),
        };
        Self {
            sql: PgPool::connect_lazy(&url).unwrap(),
            store: Store::new(&connection).unwrap(),
            url,
            _pooler: pooler,
        }
    }

    /// Runs one statement.
    pub(crate) async fn run(&self, statement: &str) -> u64 {
        self.try_run(statement).await.unwrap()
    }

    /// Runs one statement that may be refused.
    pub(crate) async fn try_run(&self, statement: &str) -> Result<u64, String> {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&self.sql)
            .await
            .map(|done| done.rows_affected())
            .map_err(|error| error.to_string())
    }

    /// The only value of a query, as text; null is "null".
    pub(crate) async fn text(&self, query: &str) -> String {
        text(&self.sql, query).await
    }

    /// Adds one monthly subscription of 9,900 KRW for a card, due now.
    pub(crate) async fn subscribe(&self, customer_uid: &str) {
        self.run(&format!(
            "insert into billd.subscription (customer_uid, name, amount)
             values ('{customer_uid}', '프리미엄 월간', 9900)"
        ))
        .await;
    }

    /// Adds many, due now.
    pub(crate) async fn subscribe_many(&self, count: u32, prefix: &str) {
        self.run(&format!(
            "insert into billd.subscription (customer_uid, name, amount)
             select '{prefix}' || n, '프리미엄 월간', 9900 from generate_series(1, {count}) n"
        ))
        .await;
    }

    /// What must hold whenever nothing is under way, whatever happened before.
    pub(crate) async fn assert_sound(&self) {
        let faults = self
            .text(
                "select string_agg(fault, '; ') from (
                    select 'open_attempt names a closed attempt: ' || s.id as fault
                    from billd.subscription s
                    join billd.charge_attempt a on a.merchant_uid = s.open_attempt
                    where a.finished_at is not null and not s.recheck
                    union all
                    select 'an unknown attempt that its subscription does not know: ' || a.merchant_uid
                    from billd.charge_attempt a
                    join billd.subscription s on s.id = a.subscription_id
                    where a.state = 'unknown' and s.open_attempt is distinct from a.merchant_uid
                    union all
                    select 'a started attempt that nobody would ask about: ' || a.merchant_uid
                    from billd.charge_attempt a
                    where a.state = 'started' and a.ask_at is null
                      and a.merchant_uid not in (select u.merchant_uid from billd.under_way u)
                    union all
                    select 'unresolved without an open attempt: ' || c.subscription_id
                    from billd.billing_cycle c
                    where c.state = 'unresolved' and not exists (
                        select from billd.charge_attempt a
                        where a.subscription_id = c.subscription_id and a.period = c.period
                          and a.state in ('started', 'unknown'))
                    union all
                    select 'paid, but its cycle is ' || c.state || ': ' || a.merchant_uid
                    from billd.charge_attempt a
                    join billd.billing_cycle c using (subscription_id, period)
                    join billd.subscription s on s.id = a.subscription_id
                    where a.state = 'paid' and c.state <> 'paid' and not s.recheck
                    union all
                    select 'active, but nothing is planned: ' || s.id
                    from billd.subscription s
                    where s.state = 'active' and s.next_charge_at is null
                      and s.open_attempt is null and not s.recheck and s.held is null
                    union all
                    select 'billed twice: ' || t.subscription_id || ' ' || t.period from billd.time_billed_twice t
                ) found",
            )
            .await;
        assert_eq!(faults, "null");
    }

    /// Takes over what is to be asked about, and first of all what was abandoned.
    pub(crate) async fn claim_open(
        &self,
        rows_max: u32,
        lease: Duration,
    ) -> Vec<Result<OpenAttempt, BadRow>> {
        self.store.notice_abandoned(1_000).await.unwrap();
        self.store.claim_open(rows_max, lease).await.unwrap()
    }

    /// Moves billd's clock ahead.
    pub(crate) async fn advance(&self, interval: &str) {
        self.run(&format!(
            "update billd.control set clock_shift = clock_shift + interval '{interval}'"
        ))
        .await;
    }
}

/// A policy with waits that a test can step over with [`Book::advance`].
pub(crate) fn policy() -> Policy {
    let ladder = |text: &str| Ladder::parse(text).unwrap();
    Policy {
        soft_funds: ladder("1d,3d,5d,7d"),
        soft_temp: ladder("1h,3h"),
        issuer_call: ladder("1d"),
        unclear: ladder("1d"),
        unspecified: ladder("1d"),
        hard: ladder(""),
        hold: Duration::from_hours(1),
        not_sent: Backoff {
            first: Duration::from_secs(30),
            max: Duration::from_hours(1),
        },
        asks: ladder("5s,30s,5m,1h,1d"),
        settle: Duration::from_mins(15),
        not_found_min: 3,
        on_not_found: NotFoundPolicy::SendAgain,
        sends_max: 3,
    }
}

pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) fn limits() -> Limits {
    Limits {
        charges_max: 64,
        questions_max: 16,
        batch: 500,
        lease: Duration::from_secs(90),
        call: TIMEOUT.saturating_add(Duration::from_secs(1)),
        rate_per_second: 0,
        catch_up_pace: Duration::from_hours(1),
        drain: Duration::from_secs(30),
    }
}

/// A book, a gateway and an engine between them.
pub(crate) struct House {
    pub(crate) book: Book,
    pub(crate) sandbox: Running,
    pub(crate) engine: Engine<PortOne>,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(policy(), limits()).await
    }

    pub(crate) async fn with(policy: Policy, limits: Limits) -> Self {
        let book = Book::new().await;
        let sandbox = sandbox::start(sandbox::Options::default()).await.unwrap();
        let engine = engine(&book, &sandbox.base_url(), policy, limits);
        Self {
            book,
            sandbox,
            engine,
        }
    }

    /// An engine that reaches the same book in its own way.
    pub(crate) fn engine_on(&self, store: Store, limits: Limits) -> Engine<PortOne> {
        let portone = portone(&self.sandbox.base_url(), limits.charges_max);
        Engine::new(
            store,
            portone,
            policy(),
            limits,
            Metrics::new(),
            Arc::new(Doorbell::default()),
        )
    }

    /// Another daemon on the same book and gateway.
    pub(crate) fn another_engine(&self, limits: Limits) -> Engine<PortOne> {
        engine(&self.book, &self.sandbox.base_url(), policy(), limits)
    }

    pub(crate) async fn sweep(&self) -> Swept {
        let swept = self.engine.sweep(CancellationToken::new()).await.unwrap();
        self.book.assert_sound().await;
        swept
    }

    /// Charges what is due and asks what is open, as time goes by in steps, until nothing is open.
    pub(crate) async fn sweep_until_nothing_is_open(&self, step: &str, steps_max: u32) {
        for _ in 0..steps_max {
            let swept = self.sweep().await;
            if swept.unknown_left == 0 && swept.due_left == 0 {
                return;
            }
            self.book.advance(step).await;
        }
        panic!("something is still open after {steps_max} steps of {step}");
    }
}

pub(crate) fn engine(
    book: &Book,
    base_url: &str,
    policy: Policy,
    limits: Limits,
) -> Engine<PortOne> {
    let portone = portone(base_url, limits.charges_max);
    Engine::new(
        book.store.clone(),
        portone,
        policy,
        limits,
        Metrics::new(),
        Arc::new(Doorbell::default()),
    )
}

pub(crate) fn portone(base_url: &str, connections_max: usize) -> PortOne {
    PortOne::new(Endpoint {
        base_url: base_url.to_owned(),
        imp_key: SecretString::from(sandbox::IMP_KEY),
        imp_secret: SecretString::from(sandbox::IMP_SECRET),
        timeout: TIMEOUT,
        connect_timeout: Duration::from_secs(1),
        connections_max,
        proxy: None,
    })
    .unwrap()
}
