//! The two ledgers: what the gateway was asked, and what was written in the book.
//!
//! Both can be kept in a folder as JSON lines, so that they can be judged again later, by another
//! judge or by a person with `jq`.

use std::fs;
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Row};

use portone_sandbox::Request;

/// The triggers that keep the journal; to be run as a superuser in a migrated database, in one go.
pub const JOURNAL: &str = include_str!("journal.sql");

const REQUESTS: &str = "requests.jsonl";
const JOURNAL_FILE: &str = "journal.jsonl";
const SUBSCRIPTIONS: &str = "subscriptions.jsonl";
const CYCLES: &str = "cycles.jsonl";
const ATTEMPTS: &str = "attempts.jsonl";
const REFUNDS: &str = "refunds.jsonl";
const PAID_TWICE: &str = "paid_twice.jsonl";
const FINDINGS: &str = "findings.jsonl";
const EVENTS: &str = "events.jsonl";
const REST: &str = "rest.jsonl";

/// A subscription's row, as far as it is judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the columns of billd.subscription, which explains them"
)]
pub struct Subscription {
    pub id: String,
    pub state: String,
    pub next_charge_at: Option<Timestamp>,
    pub customer_uid: String,
    pub amount: i64,
    pub currency: String,
    pub interval_unit: String,
    pub interval_count: i64,
    pub time_zone: String,
    pub anchor_at: Timestamp,
    pub billing_day: Option<i64>,
    pub ends_at: Option<Timestamp>,
    pub next_change_at: Option<Timestamp>,
    pub period: Date,
    pub due_at: Timestamp,
    pub state_reason: Option<String>,
    pub last_result: Option<String>,
    pub last_result_at: Option<Timestamp>,
    pub attempts: i64,
    pub declines: i64,
    pub open_attempt: Option<String>,
    pub fence: i64,
    pub recheck: bool,
    pub until_at: Option<Timestamp>,
}

/// A debt's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the columns of billd.billing_cycle, which explains them"
)]
pub struct Cycle {
    pub subscription_id: String,
    pub period: Date,
    pub state: String,
    pub amount: i64,
    pub currency: String,
    pub due_at: Timestamp,
    pub until_at: Option<Timestamp>,
    pub opened_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    pub reason: Option<String>,
}

/// The row of a request for money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    clippy::struct_field_names,
    reason = "the columns of billd.charge_attempt, which explains them"
)]
pub struct Attempt {
    pub merchant_uid: String,
    pub subscription_id: Option<String>,
    pub period: Option<Date>,
    pub attempt_no: Option<i64>,
    pub state: String,
    pub amount: i64,
    pub currency: String,
    pub customer_uid: Option<String>,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub imp_uid: Option<String>,
    pub reason: Option<String>,
    pub code: Option<String>,
    pub message: Option<String>,
    pub ask_at: Option<Timestamp>,
    pub asks: i64,
    pub not_found: i64,
    pub sends: i64,
    pub parked_at: Option<Timestamp>,
    pub fence: i64,
    pub cancelled_amount: i64,
    pub asked_at: Option<Timestamp>,
}

impl Subscription {
    /// Whether it has ended as agreed, by then: what lies after that is not in service.
    pub(crate) fn has_ended_by(&self, at: Timestamp) -> bool {
        self.state == "cancelled" && self.ends_at.is_some_and(|end| end <= at)
    }
}

impl Attempt {
    /// Whether its fate is not proved yet.
    pub fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "started" | "unknown")
    }

    /// Whether it is of no subscription: a person asked for it.
    pub fn is_one_off(&self) -> bool {
        self.subscription_id.is_none()
    }

    /// Whether it is about this debt.
    pub fn is_of(&self, subscription_id: &str, period: Date) -> bool {
        self.subscription_id.as_deref() == Some(subscription_id) && self.period == Some(period)
    }
}

/// The row of a request to give money back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the columns of billd.refund, which explains them"
)]
pub struct Refund {
    pub id: String,
    pub merchant_uid: String,
    pub imp_uid: String,
    pub key: String,
    pub state: String,
    pub amount: i64,
    pub currency: String,
    pub payment_amount: i64,
    pub checksum: i64,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub reason: Option<String>,
    pub ask_at: Option<Timestamp>,
    pub asks: i64,
    pub unchanged: i64,
    pub parked_at: Option<Timestamp>,
    pub fence: i64,
}

impl Refund {
    /// Whether its fate is not proved yet.
    pub fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "started" | "unknown")
    }
}

/// How far billd's clock runs ahead of PostgreSQL's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// In microseconds.
    pub shift_us: i64,
}

/// One row before and after a write; one of them is missing where it was inserted or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "table", rename_all = "snake_case")]
#[expect(missing_docs, reason = "before and after, of the table of that name")]
pub enum Change {
    Subscription {
        old: Option<Subscription>,
        new: Option<Subscription>,
    },
    BillingCycle {
        old: Option<Cycle>,
        new: Option<Cycle>,
    },
    ChargeAttempt {
        old: Option<Attempt>,
        new: Option<Attempt>,
    },
    Refund {
        old: Option<Refund>,
        new: Option<Refund>,
    },
    ClockShift {
        old: Option<Shift>,
        new: Option<Shift>,
    },
}

/// One row that was written, inserted or deleted.
///
/// The entries of one row stand in the order in which its writes were committed, because a writer
/// holds the row from before the entry's number is drawn until its commit. Entries of different
/// rows don't: whoever compares two has to do so by their instants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Grows in the order in which the triggers ran.
    pub id: i64,
    /// When the trigger ran, on PostgreSQL's real clock in unix microseconds: before the commit.
    pub at_us: i64,
    /// When the statement of whoever wrote it began: billd's time stands still within one.
    pub began_us: i64,
    /// When the commit was written, just before it took effect. `None` where PostgreSQL does not
    /// keep it (`track_commit_timestamp` is off).
    pub committed_at_us: Option<i64>,
    /// The transaction.
    pub txid: i64,
    /// The role that logged in, whoever it acted for afterwards.
    pub who: String,
    /// What was written.
    #[serde(flatten)]
    pub change: Change,
}

impl Entry {
    /// The earliest instant at which others can have seen the write.
    pub fn seen_at_us(&self) -> i64 {
        self.committed_at_us.unwrap_or(self.at_us)
    }
}

/// A debt for which the book itself says that money moved twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the columns of billd.paid_twice, which explains them"
)]
pub struct PaidTwice {
    pub subscription_id: String,
    pub period: Date,
    pub merchant_uids: Vec<String>,
}

/// What the auditor found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the columns of billd.finding, which explains them"
)]
pub struct Finding {
    pub kind: String,
    pub state: String,
    pub merchant_uid: String,
    pub imp_uid: Option<String>,
    pub note: Option<String>,
}

/// What the merchant's program is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the columns of billd.event, which explains them"
)]
pub struct Event {
    pub id: i64,
    pub kind: String,
    pub subscription_id: Option<String>,
    pub period: Option<Date>,
    pub merchant_uid: Option<String>,
    pub data: EventData,
}

/// What an event says, as far as it is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/EVENTS.md explains them")]
pub struct EventData {
    pub amount: Option<i64>,
    pub refund_id: Option<String>,
}

/// The book at rest, and the way there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// billd's own time when the book was read.
    pub now: Timestamp,
    /// Every write, in the order of the triggers.
    pub journal: Vec<Entry>,
    /// The subscriptions at rest.
    pub subscriptions: Vec<Subscription>,
    /// The debts at rest.
    pub cycles: Vec<Cycle>,
    /// The requests for money at rest.
    pub attempts: Vec<Attempt>,
    /// The requests to give money back at rest.
    pub refunds: Vec<Refund>,
    /// What the book itself knows of doubles.
    pub paid_twice: Vec<PaidTwice>,
    /// What the auditor knows.
    pub findings: Vec<Finding>,
    /// What was told.
    pub events: Vec<Event>,
}

/// When the book was read.
#[derive(Serialize, Deserialize)]
struct Rest {
    now: Timestamp,
}

const SELECT_JOURNAL: &str = "
    select jsonb_build_object(
        'id', j.id,
        'at_us', (extract(epoch from j.at) * 1000000)::bigint,
        'began_us', (extract(epoch from j.began) * 1000000)::bigint,
        'committed_at_us', case when current_setting('track_commit_timestamp')::bool then
            (extract(epoch from pg_xact_commit_timestamp(j.xid)) * 1000000)::bigint end,
        'txid', j.xid::text::bigint,
        'who', j.who,
        'table', j.table_name,
        'old', j.old,
        'new', j.new)::text
    from proof.journal j order by j.id";

impl Book {
    /// Reads the book and its journal. Nobody may be writing to it any more.
    pub async fn read(database: &PgPool) -> anyhow::Result<Self> {
        let all = |table| format!("select to_jsonb(t)::text from billd.{table} t");
        let rest: Vec<Rest> = rows(
            database,
            "select jsonb_build_object('now', billd.now())::text",
        )
        .await?;
        let rest = rest.first().context("the database has no time")?;
        Ok(Self {
            now: rest.now,
            journal: rows(database, SELECT_JOURNAL).await?,
            subscriptions: rows(database, &format!("{} order by id", all("subscription"))).await?,
            cycles: rows(
                database,
                &format!("{} order by subscription_id, period", all("billing_cycle")),
            )
            .await?,
            attempts: rows(
                database,
                &format!("{} order by merchant_uid", all("charge_attempt")),
            )
            .await?,
            refunds: rows(database, &format!("{} order by id", all("refund"))).await?,
            paid_twice: rows(database, &all("paid_twice")).await?,
            findings: rows(database, &format!("{} order by id", all("finding"))).await?,
            events: rows(database, &format!("{} order by id", all("event"))).await?,
        })
    }

    /// Writes it into a folder that exists, one file per table.
    pub fn save(&self, folder: &Path) -> anyhow::Result<()> {
        save(folder, REST, &[Rest { now: self.now }])?;
        save(folder, JOURNAL_FILE, &self.journal)?;
        save(folder, SUBSCRIPTIONS, &self.subscriptions)?;
        save(folder, CYCLES, &self.cycles)?;
        save(folder, ATTEMPTS, &self.attempts)?;
        save(folder, REFUNDS, &self.refunds)?;
        save(folder, PAID_TWICE, &self.paid_twice)?;
        save(folder, FINDINGS, &self.findings)?;
        save(folder, EVENTS, &self.events)
    }

    /// Reads what [`Book::save`] wrote.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        let rest: Vec<Rest> = load(folder, REST)?;
        let rest = rest.first().with_context(|| format!("{REST} is empty"))?;
        Ok(Self {
            now: rest.now,
            journal: load(folder, JOURNAL_FILE)?,
            subscriptions: load(folder, SUBSCRIPTIONS)?,
            cycles: load(folder, CYCLES)?,
            attempts: load(folder, ATTEMPTS)?,
            refunds: load(folder, REFUNDS)?,
            paid_twice: load(folder, PAID_TWICE)?,
            findings: load(folder, FINDINGS)?,
            events: load(folder, EVENTS)?,
        })
    }
}

/// Writes the gateway's ledger into a folder.
pub fn save_requests(requests: &[Request], folder: &Path) -> anyhow::Result<()> {
    save(folder, REQUESTS, requests)
}

/// Reads what [`save_requests`] wrote.
pub fn load_requests(folder: &Path) -> anyhow::Result<Vec<Request>> {
    load(folder, REQUESTS)
}

/// The rows of a query whose only column is a JSON object as text.
async fn rows<T: DeserializeOwned>(database: &PgPool, query: &str) -> anyhow::Result<Vec<T>> {
    let found = sqlx::raw_sql(AssertSqlSafe(query.to_owned()))
        .fetch_all(database)
        .await
        .with_context(|| format!("couldn't run {query}"))?;
    let read = |row: &sqlx::postgres::PgRow| {
        let text: &str = row.try_get(0)?;
        serde_json::from_str(text).with_context(|| format!("couldn't read {text}"))
    };
    found.iter().map(read).collect()
}

fn save<T: Serialize>(folder: &Path, name: &str, rows: &[T]) -> anyhow::Result<()> {
    let mut lines = String::new();
    for row in rows {
        lines.push_str(&serde_json::to_string(row)?);
        lines.push('\n');
    }
    let path = folder.join(name);
    fs::write(&path, lines).with_context(|| format!("couldn't write {}", path.display()))
}

fn load<T: DeserializeOwned>(folder: &Path, name: &str) -> anyhow::Result<Vec<T>> {
    let path = folder.join(name);
    let text =
        fs::read_to_string(&path).with_context(|| format!("couldn't read {}", path.display()))?;
    let read = |(nth, line): (usize, &str)| {
        serde_json::from_str(line)
            .with_context(|| format!("{}, line {}", path.display(), nth.saturating_add(1)))
    };
    text.lines().enumerate().map(read).collect()
}
