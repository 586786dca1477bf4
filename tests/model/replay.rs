//! Random traces of the model, step by step against the real statements. Where the rows then differ from the
//! model's, model and program speak of two protocols, and one of them is wrong.
//!
//! The model's waiting is the real clock, moved ahead. Left out: the stand-by, which takes a second server
//! (`tests/it/tail.rs`), and the auditor, which has statements of its own.

use std::fmt::Write as _;
use std::time::Duration;

use billd::domain::claim::{Answer, AttemptKey};
use billd::domain::dunning::{Decision, GiveUpReason};
use billd::domain::state::{CycleState, SubscriptionState};
use billd::store::{ClaimLimits, Connection, Pooler, Store};
use embedded_postgres::{Embedded, Options};
use secrecy::SecretString;
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Row};

use crate::actions::{Action, Deed};
use crate::decisions::{POLICY, outcome};
use crate::protocol::{Bounds, Protocol};
use crate::state::{AttemptState, Database, Name, Phase, Standby, State, Step, WORKERS};
use crate::variants::Variant;

/// A world in which everything but a fail-over happens.
const WORLD: Bounds = Bounds {
    periods: 2,
    attempts: 2,
    workers: 2,
    tail: 0,
    people: 2,
};
const TRACES: u64 = 150;
const STEPS: usize = 40;
const LEASE: Duration = Duration::from_secs(90);

/// The book empty again, with one subscription whose two periods are due. As a replica, because the book
/// lets nobody take anything away.
const EMPTY: &str = "
    set session_replication_role = replica;
    truncate billd.subscription, billd.billing_cycle, billd.charge_attempt;
    reset session_replication_role;
    update billd.control set clock_shift = '0';
    insert into billd.subscription
        (customer_uid, name, amount, time_zone, anchor_at, next_charge_at, catch_up)
    select 'cust_1', 'x', 100, 'UTC', at, at, 'all' from (select now() - interval '40 days' as at) a";

/// Longer than any wait and any lease; and of all that a trace has, the third period is not due yet.
const WAIT: &str = "update billd.control set clock_shift = clock_shift + interval '4 hours'";

/// Which of the model's periods a day is. The first began forty days ago, each in a month of its own.
const NTH: &str = "
    create function nth(period date) returns int language sql as $$
        select ((extract(year from period) - extract(year from at)) * 12
            + extract(month from period) - extract(month from at))::int
        from (select anchor_at at time zone 'UTC' from billd.subscription) a (at)
    $$";

/// All that the model knows of the book, in its words.
const ROWS: &str = "
    select concat_ws(' | ',
        s.state, 'price ' || (s.amount - 100), 'period ' || nth(s.period),
        case when s.open_attempt is null then 'attempts ' || s.attempts end, 'declines ' || s.declines,
        'open ' || coalesce((select nth(a.period) || '/' || a.attempt_no from billd.charge_attempt a
            where a.merchant_uid = s.open_attempt), '-'), 'replan ' || s.recheck,
        (select string_agg(concat_ws(' ', nth(c.period), c.state, c.amount - 100), ', '
             order by c.period) from billd.billing_cycle c),
        (select string_agg(concat_ws(' ', nth(a.period) || '/' || a.attempt_no, a.state, a.sends, a.not_found,
             a.parked_at is not null), ', ' order by a.merchant_uid) from billd.charge_attempt a))
    from billd.subscription s";

struct Book {
    sql: PgPool,
    store: Store,
    _server: Embedded,
}

impl Book {
    async fn new() -> Self {
        let server = Embedded::start(Options::default_for_user()).await.unwrap();
        server.create_database("replay").await.unwrap();
        let url = server.url("replay");
        let store = Store::new(&Connection {
            url: SecretString::from(url.clone()),
            pooler: Pooler::None,
            account: Some("sandbox".to_owned()),
            connections_max: 2,
            timeout: Duration::from_secs(30),
        })
        .unwrap();
        store.migrate().await.unwrap();
        Self {
            sql: PgPool::connect_lazy(&url).unwrap(),
            store,
            _server: server,
        }
    }

    async fn run(&self, sql: &str) {
        let statement = AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(statement).execute(&self.sql).await.unwrap();
    }

    async fn rows(&self) -> String {
        let row = sqlx::raw_sql(ROWS).fetch_one(&self.sql).await.unwrap();
        row.get(0)
    }
}

/// Period and attempt.
fn tail(name: Name) -> String {
    format!("{}/{}", name.period, name.no)
}

/// The model's rows, as [`ROWS`] tells the real ones.
fn told(db: &Database) -> String {
    let mut text = format!(
        "{} | price {} | period {}",
        db.state.as_str(),
        db.price,
        db.period
    );
    if db.open.is_none() {
        write!(text, " | attempts {}", db.attempts).unwrap();
    }
    let open = db.open.map_or_else(|| "-".to_owned(), tail);
    write!(
        text,
        " | declines {} | open {open} | replan {}",
        db.declines, db.recheck
    )
    .unwrap();
    let cycles: Vec<String> = (0..)
        .zip(db.cycles)
        .filter_map(|(period, cycle): (u8, _)| {
            let cycle = cycle?;
            let state = match cycle.state {
                CycleState::Due => "due",
                CycleState::Unresolved => "unresolved",
                CycleState::Paid => "paid",
                CycleState::Free => "free",
                CycleState::Uncollectible => "uncollectible",
                CycleState::Void => "void",
            };
            Some(format!("{period} {state} {}", cycle.amount))
        })
        .collect();
    let attempts: Vec<String> = Name::all()
        .filter_map(|name| {
            let attempt = db.attempt[name];
            let state = match attempt.state {
                AttemptState::Absent => return None,
                AttemptState::Started => "started",
                AttemptState::Unknown => "unknown",
                AttemptState::Paid => "paid",
                AttemptState::Declined => "declined",
                AttemptState::NotSent => "not_sent",
            };
            Some(format!(
                "{} {state} {} {} {}",
                tail(name),
                attempt.sends,
                attempt.not_found,
                if attempt.parked { "t" } else { "f" }
            ))
        })
        .collect();
    for list in [cycles, attempts] {
        if !list.is_empty() {
            write!(text, " | {}", list.join(", ")).unwrap();
        }
    }
    text
}

/// What a worker of the model holds in the real world.
type Held = Option<AttemptKey>;

/// Takes one step of the model in the real world.
async fn replay(
    book: &Book,
    held: &mut [Held; WORKERS],
    before: &State,
    after: &State,
    action: Action,
) {
    let begun =
        (0..WORKERS).find(|at| before.workers[*at].is_none() && after.workers[*at].is_some());
    match action {
        Action::Claim => {
            book.run(WAIT).await;
            let limits = ClaimLimits {
                rows_max: 1,
                lease: LEASE,
            };
            let claims = book.store.claim_due(limits).await.unwrap().claims;
            let claim = claims.into_iter().next().map(Result::unwrap);
            assert_eq!(claim.is_some(), begun.is_some(), "claimed");
            if let (Some(at), Some(claim)) = (begun, claim) {
                held[at] = Some(claim.key);
            }
        }
        Action::TakeOver => {
            book.run(WAIT).await;
            book.store.notice_abandoned(10).await.unwrap();
            let mut open = book.store.claim_open(1, LEASE).await.unwrap();
            let claim = open.pop().unwrap().unwrap().claim;
            held[begun.unwrap()] = Some(claim.key);
        }
        Action::Record(at) | Action::RecordUnheard(at) => record(book, held, before, at).await,
        Action::Recheck => {
            let rechecked = book.store.recheck(10, Duration::ZERO).await.unwrap();
            assert_eq!(rechecked.len(), 1);
        }
        Action::Person(deed) => book.run(written_by(deed, before)).await,
        Action::Send(_)
        | Action::NotSent(_)
        | Action::Decide(..)
        | Action::TimeOut(_)
        | Action::LeaseEnds(_)
        | Action::LookUp(..)
        | Action::Crash(_)
        | Action::Audit
        | Action::FallBehind
        | Action::FailOver => {}
    }
    for (at, worker) in after.workers.iter().enumerate() {
        if worker.is_none() {
            held[at] = None;
        }
    }
}

fn written_by(person: Deed, before: &State) -> &'static str {
    match person {
        Deed::Pause => "update billd.subscription set state = 'paused'",
        // Who was cancelled says from when on it is billed again; nobody else has to.
        Deed::Activate if before.database.state == SubscriptionState::Cancelled => {
            "select count(*) from billd.subscription s, billd.resume(s.id, 'old_day')"
        }
        Deed::Activate => "update billd.subscription set state = 'active'",
        Deed::Cancel => "update billd.subscription set state = 'cancelled'",
        Deed::Reprice => "update billd.subscription set amount = 201 - amount",
    }
}

async fn record(book: &Book, held: &[Held; WORKERS], before: &State, at: usize) {
    let Some(Phase::Answer {
        outcome: word,
        step,
        not_found,
    }) = before.workers[at].map(|worker| worker.phase)
    else {
        panic!("no answer is at hand");
    };
    let key = held[at].clone().unwrap();
    let wait = Duration::from_hours(1);
    let answer = Answer {
        key,
        outcome: word.map(outcome),
        decision: match step {
            Step::Advance => Decision::Advance,
            Step::Retry { took_rung } => Decision::Retry { wait, took_rung },
            Step::GiveUp => Decision::GiveUp(GiveUpReason::LadderEnded),
            Step::Ask => Decision::Ask { wait },
            Step::SendAgain => Decision::SendAgain,
            Step::Park => Decision::Park { wait },
        },
        not_found: u16::from(not_found),
    };
    let recorded = book.store.record(&[answer], Duration::ZERO, LEASE).await;
    assert_eq!(recorded.unwrap().len(), 1);
}

/// Hazard: the model proves a protocol, and the statements carry out another one.
#[tokio::test]
async fn random_traces_of_the_model_are_what_the_real_statements_do() {
    let book = Book::new().await;
    book.run(NTH).await;
    let protocol = Protocol::new(WORLD, &[Variant::RetryAtOnce], Vec::new());
    for seed in 0..TRACES {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut state = State::new(WORLD.people, Standby::Absent);
        let mut held: [Held; WORKERS] = Default::default();
        let mut trace = Vec::new();
        book.run(EMPTY).await;
        for _ in 0..STEPS {
            let mut actions = Vec::new();
            Protocol::candidates(&state, &mut actions);
            actions.retain(|action| *action != Action::Audit);
            random.shuffle(&mut actions);
            let next = actions
                .into_iter()
                .find_map(|action| Some((action, protocol.step(&state, action)?)));
            let Some((action, after)) = next else { break };
            trace.push(action);
            replay(&book, &mut held, &state, &after, action).await;
            assert_eq!(
                book.rows().await,
                told(&after.database),
                "the real rows and the model's, seed {seed}, after {trace:?}"
            );
            state = after;
        }
    }
    assert_eq!(POLICY.sends_max, 2, "the model counts no further");
}
