//! The words that tests are written in: what is given, what is done, and what the rows say then.
//!
//! ```text
//! let it = given().due("decline-balance-1").swept().await;
//! it.row("active declined soft_funds 1 1").await;
//! ```

use std::fmt::Display;
use std::ops::Deref;
use std::panic::Location;
use std::pin::Pin;
use std::time::{Duration, Instant};

use billd::domain::attempt::{ChargeOutcome, Decline, NotSent, Payment};
use billd::domain::claim::{Answer, BadRow, Claim, OpenAttempt, Recorded};
use billd::domain::decline::DeclineClass;
use billd::domain::dunning::{Decision, Policy};
use billd::domain::ids::ImpUid;
use billd::engine::{Limits, Swept};
use billd::store::{ClaimLimits, StoreError};
use portone_sandbox::{Fault, FaultKind, Latency, Route, Running};
use sqlx::{Acquire, AssertSqlSafe, Postgres, Transaction};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Book, House, limits, policy};

pub(crate) const LEASE: Duration = Duration::from_secs(90);
pub(crate) const PACE: Duration = Duration::from_hours(1);

/// As long as anything is waited for.
const LIMIT: Duration = Duration::from_mins(1);

/// A book, a gateway and an engine, with what stands in the book once it is awaited.
#[must_use]
pub(crate) struct Given {
    policy: Policy,
    limits: Limits,
    steps: Vec<Step>,
}

enum Step {
    Due(String),
    DueMany(u32, &'static str),
    Swept,
    Begun,
    Later(&'static str),
}

pub(crate) fn given() -> Given {
    Given {
        policy: policy(),
        limits: limits(),
        steps: Vec::new(),
    }
}

impl Given {
    pub(crate) fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    pub(crate) fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// A subscription of this card, whose name tells the gateway what to do.
    pub(crate) fn due(self, card: &str) -> Self {
        self.then(Step::Due(card.to_owned()))
    }

    /// Subscriptions of `cust_1`, `cust_2` and so on, whose cards pay.
    pub(crate) fn due_many(self, count: u32) -> Self {
        self.then(Step::DueMany(count, "cust_"))
    }

    /// Subscriptions of cards whose names begin like this.
    pub(crate) fn due_many_of(self, count: u32, prefix: &'static str) -> Self {
        self.then(Step::DueMany(count, prefix))
    }

    /// What is due was charged, once.
    pub(crate) fn swept(self) -> Self {
        self.then(Step::Swept)
    }

    /// What is due was claimed by a daemon that is gone.
    pub(crate) fn begun(self) -> Self {
        self.then(Step::Begun)
    }

    pub(crate) fn later(self, interval: &'static str) -> Self {
        self.then(Step::Later(interval))
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl IntoFuture for Given {
    type Output = House;
    type IntoFuture = Pin<Box<dyn Future<Output = House>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let it = House::with(self.policy, self.limits).await;
            for step in self.steps {
                match step {
                    Step::Due(card) => it.subscribe(&card).await,
                    Step::DueMany(count, prefix) => it.subscribe_many(count, prefix).await,
                    Step::Swept => drop(it.sweep().await),
                    Step::Begun => assert!(!claim(&it).await.is_empty()),
                    Step::Later(interval) => it.advance(interval).await,
                }
            }
            it
        })
    }
}

impl Deref for House {
    type Target = Book;

    fn deref(&self) -> &Book {
        &self.book
    }
}

/// What the rows say.
impl Book {
    /// Fails unless the only value of a query is this one.
    #[track_caller]
    pub(crate) fn shows<'a>(
        &'a self,
        query: &'a str,
        expected: impl Display,
    ) -> impl Future<Output = ()> {
        let (expected, at) = (expected.to_string(), Location::caller());
        async move { assert_eq!(self.text(query).await, expected, "{query}, at {at}") }
    }

    /// Each subscription, by card: state, last result and its reason, attempts, declines; `open` and
    /// `recheck` where they are set.
    #[track_caller]
    pub(crate) fn row(&self, expected: &str) -> impl Future<Output = ()> {
        self.shows(
            "select string_agg(concat_ws(' ', state, last_result, last_reason, attempts, declines,
                 case when open_attempt is not null then 'open' end,
                 case when recheck then 'recheck' end), ', ' order by customer_uid)
             from billd.subscription",
            expected,
        )
    }

    /// Each attempt, by number: number, state, reason and code; how often it was sent if more than once,
    /// and `parked`.
    #[track_caller]
    pub(crate) fn attempts(&self, expected: &str) -> impl Future<Output = ()> {
        self.shows(
            "select string_agg(concat_ws(' ', attempt_no, state, reason, code,
                 case when sends > 1 then 'sent ' || sends end,
                 case when parked_at is not null then 'parked' end), ', '
                 order by attempt_no, state, merchant_uid)
             from billd.charge_attempt",
            expected,
        )
    }

    /// How many attempts are in which state.
    #[track_caller]
    pub(crate) fn tally(&self, expected: &str) -> impl Future<Output = ()> {
        self.shows(
            "select string_agg(n || ' ' || state, ', ' order by state)
             from (select state, count(*) as n from billd.charge_attempt group by state) x",
            expected,
        )
    }

    /// How many debts are in which state.
    #[track_caller]
    pub(crate) fn debts(&self, expected: &str) -> impl Future<Output = ()> {
        self.shows(
            "select string_agg(n || ' ' || state, ', ' order by state)
             from (select state, count(*) as n from billd.billing_cycle group by state) x",
            expected,
        )
    }

    /// Fails unless a statement is refused with these words.
    #[track_caller]
    pub(crate) fn refuses<'a>(
        &'a self,
        statement: &'a str,
        words: &'a str,
    ) -> impl Future<Output = ()> {
        let at = Location::caller();
        async move {
            let error = self.try_run(statement).await.unwrap_err();
            assert!(error.contains(words), "{statement}, at {at}: {error}");
        }
    }

    /// Returns when the only value of a query is this one.
    #[track_caller]
    pub(crate) fn comes_to<'a>(
        &'a self,
        query: &'a str,
        expected: &'a str,
    ) -> impl Future<Output = ()> {
        let (started, at) = (Instant::now(), Location::caller());
        async move {
            while self.text(query).await != expected {
                assert!(
                    started.elapsed() < LIMIT,
                    "{query}, at {at}: not {expected}"
                );
                tokio::task::yield_now().await;
            }
        }
    }
}

/// What is done at the gateway, and what it has seen.
impl House {
    pub(crate) fn fault(&self, kind: FaultKind, route: Route) {
        self.sandbox.fault(Fault::new(kind, route));
    }

    /// Each answer on a route takes this long.
    pub(crate) fn slow(&self, route: Route, latency_ms: u64) {
        self.sandbox.fault(Fault {
            latency_ms: Some(Latency::Fixed(latency_ms)),
            ..Fault::new(FaultKind::LatencyMs, route)
        });
    }

    pub(crate) fn approvals(&self) -> u64 {
        self.sandbox.summary().approvals
    }

    pub(crate) fn requests(&self, route: Route) -> u64 {
        let requests = self.sandbox.summary().requests;
        requests.get(&route).copied().unwrap_or(0)
    }

    /// Fails unless so many charges were approved, none of them twice.
    #[track_caller]
    pub(crate) fn approved(&self, count: u64) {
        approved(&self.sandbox, count);
    }

    /// A sweep that goes on beside the test.
    pub(crate) fn sweeping(&self) -> JoinHandle<Result<Swept, StoreError>> {
        let engine = self.engine.clone();
        tokio::spawn(async move { engine.sweep(CancellationToken::new()).await })
    }
}

/// Fails unless so many charges were approved, none of them twice.
#[track_caller]
pub(crate) fn approved(sandbox: &Running, count: u64) {
    let summary = sandbox.summary();
    let found = (summary.approvals, summary.merchant_uids_approved_twice);
    assert_eq!(found, (count, 0), "{summary:?}");
}

/// Begins whatever is due, as a daemon does.
pub(crate) async fn claim(book: &Book) -> Vec<Claim> {
    claim_at_most(book, 500).await
}

pub(crate) async fn claim_at_most(book: &Book, rows_max: u32) -> Vec<Claim> {
    let lease = LEASE;
    let claimed = book.store.claim_due(ClaimLimits { rows_max, lease }).await;
    let claims = claimed.unwrap().claims.into_iter();
    claims.map(Result::unwrap).collect()
}

/// Begins the only one that is due.
pub(crate) async fn claim_one(book: &Book) -> Claim {
    let mut claims = claim(book).await;
    assert_eq!(claims.len(), 1, "due");
    claims.remove(0)
}

/// Takes over what nobody has answered for within the lease, to ask about it.
pub(crate) async fn take_over(book: &Book) -> Vec<OpenAttempt> {
    let open = book.claim_open(10, LEASE).await.into_iter();
    open.map(Result::<_, BadRow>::unwrap).collect()
}

/// Writes down what became of one attempt.
pub(crate) async fn record(book: &Book, answer: Answer) -> Recorded {
    let recorded = record_all(book, &[answer]).await;
    *recorded.first().unwrap()
}

pub(crate) async fn record_all(book: &Book, answers: &[Answer]) -> Vec<Recorded> {
    book.store.record(answers, PACE, LEASE).await.unwrap()
}

pub(crate) fn answer(claim: &Claim, outcome: Option<ChargeOutcome>, decision: Decision) -> Answer {
    Answer {
        key: claim.key.clone(),
        outcome,
        decision,
        not_found: 0,
    }
}

pub(crate) fn paid(claim: &Claim) -> Answer {
    let payment = Payment {
        imp_uid: ImpUid::parse("imp_1").unwrap(),
        pg_provider: None,
        pg_tid: None,
        receipt_url: None,
        cancelled_amount: 0,
    };
    answer(claim, Some(ChargeOutcome::Paid(payment)), Decision::Advance)
}

pub(crate) fn no_balance() -> ChargeOutcome {
    ChargeOutcome::Declined(Decline {
        class: DeclineClass::SoftFunds,
        pg_provider: None,
        code: None,
        message: "잔액부족".to_owned(),
        imp_uid: None,
    })
}

/// Declined for want of money, to be tried again after a minute.
pub(crate) fn declined(claim: &Claim) -> Answer {
    let wait = Duration::from_mins(1);
    let took_rung = true;
    answer(
        claim,
        Some(no_balance()),
        Decision::Retry { wait, took_rung },
    )
}

/// It found no connection; the same name is tried again after half a minute.
pub(crate) fn not_sent(claim: &Claim) -> Answer {
    let outcome = ChargeOutcome::NotSent(NotSent::NoConnection("refused".to_owned()));
    let decision = billd::domain::dunning::decide(&policy(), &outcome, claim.history);
    answer(claim, Some(outcome), decision)
}

/// The gateway knows nothing of it, so it is sent again.
pub(crate) fn send_again(claim: &Claim) -> Answer {
    answer(claim, None, Decision::SendAgain)
}

/// A transaction of a person at psql, left open.
pub(crate) async fn psql(book: &Book, statement: &str) -> Transaction<'static, Postgres> {
    let mut person = book.sql.begin().await.unwrap();
    type_on(&mut person, statement).await.unwrap();
    person
}

/// The person at psql types on.
pub(crate) async fn type_on(
    person: &mut Transaction<'static, Postgres>,
    statement: &str,
) -> Result<(), String> {
    let connection = person.acquire().await.unwrap();
    let statement = AssertSqlSafe(statement.to_owned());
    let done = sqlx::raw_sql(statement).execute(connection).await;
    done.map(drop).map_err(|error| error.to_string())
}

/// The next charge of each subscription is written down as a debt, as its claim would.
pub(crate) const WRITE_DEBTS: &str =
    "insert into billd.billing_cycle (subscription_id, period, amount, currency, due_at)
     select id, period, amount, currency, due_at from billd.subscription";

/// Opens an attempt of each subscription's period, as nobody should by hand.
pub(crate) fn open_attempt(attempt_no: u8, ask_at: &str) -> String {
    format!(
        "insert into billd.charge_attempt
             (merchant_uid, subscription_id, period, attempt_no, amount, currency, customer_uid, ask_at)
         select billd.merchant_uid(id, period, {attempt_no}), id, period, {attempt_no}, amount,
             currency, customer_uid, {ask_at}
         from billd.subscription"
    )
}
