//! What the commands work with, put together: settings, store, gateway, engine.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::app::exit::{Exit, Failure};
use crate::app::gateway;
use crate::engine::{Doorbell, Engine, Limits};
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::settings::{Needs, Settings, Source};
use crate::store::{Connection, SchemaState, Store};

/// Everything a command that charges or asks needs.
pub(super) struct Services<G> {
    pub(super) store: Store,
    pub(super) engine: Engine<G>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) doorbell: Arc<Doorbell>,
}

/// As [`open`], but a database that is away is waited for: six times as long as it may take to answer, so a
/// minute. `None` if `stop` comes first.
pub(super) async fn wait_and_open(
    settings: &Settings,
    stop: &CancellationToken,
) -> Result<Option<Services<impl Gateway + use<>>>, Failure> {
    let wait = settings.database.timeout.saturating_mul(6);
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        match open(settings).await {
            Err(failure) if failure.may_pass() && begun.elapsed() < wait => {
                if !is_told {
                    warn!(
                        event = "database_awaited",
                        wait_s = wait.as_secs(),
                        "{}; waiting for it, {} s at most",
                        failure.in_words(),
                        wait.as_secs()
                    );
                    is_told = true;
                }
            }
            opened => return opened.map(Some),
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = stop.cancelled() => return Ok(None),
        }
    }
}

/// Between two looks for a database that is away.
const PAUSE: Duration = Duration::from_secs(1);

/// Puts them together, once the database answers and has our schema.
pub(super) async fn open(settings: &Settings) -> Result<Services<impl Gateway + use<>>, Failure> {
    let store = open_store(settings).await?;
    require_schema(&store).await?;
    require_grants(&store).await?;
    store.hold_recording().await?;
    let gateway = gateway::connect(settings)?;
    let metrics = Metrics::new();
    let doorbell = Arc::new(Doorbell::default());
    let engine = Engine::new(
        store.clone(),
        gateway,
        settings.policy.clone(),
        limits(settings),
        Arc::clone(&metrics),
        Arc::clone(&doorbell),
    );
    Ok(Services {
        store,
        engine,
        metrics,
        doorbell,
    })
}

/// Connects once for real, so that a wrong address or password is named as such.
pub(super) async fn open_store(settings: &Settings) -> Result<Store, Failure> {
    let mut connection = Connection {
        account: gateway::account(settings),
        ..settings.connection()?
    };
    let store = Store::new(&connection)?;
    match store.server().await {
        Ok(server) => {
            let given = server.connections_max;
            if given >= connection.connections_max {
                return Ok(store);
            }
            warn!(
                event = "few_connections",
                given,
                connections_max = connection.connections_max,
                "the database gives this user {given} connections, fewer than database.connections_max: so many are used"
            );
            connection.connections_max = given;
            Ok(Store::new(&connection)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Opens a database that has our schema.
pub(super) async fn open_book(source: &Source, needs: Needs) -> Result<Store, Failure> {
    let store = open_store(&Settings::load(source, needs)?).await?;
    require_schema(&store).await?;
    Ok(store)
}

pub(super) async fn require_schema(store: &Store) -> Result<(), Failure> {
    let complaint = match store.schema_state().await? {
        SchemaState::Current => return Ok(()),
        SchemaState::Older { missing } => format!(
            "the database lacks {missing} migration(s) of this billd; run `billd migrate`, then start again"
        ),
        SchemaState::OtherRoutines => {
            "the functions, triggers and views of the database are of another billd; run `billd migrate`, then \
             start again"
                .to_owned()
        }
        SchemaState::Incomplete { missing } => format!(
            "the schema is not whole: {}; `billd migrate` puts triggers back, and a row is put back by `insert into … \
             default values`",
            missing.join(", ")
        ),
        SchemaState::Newer => {
            "the database was migrated by a newer billd; run that version here too".to_owned()
        }
        SchemaState::Broken => {
            "a migration was changed after it had been applied, or was left half done; compare \
             billd.schema_migration with this version's migrations"
                .to_owned()
        }
    };
    Err(Failure::new(Exit::Schema, anyhow::Error::msg(complaint)))
}

/// Whoever can't tell which server this is can't tell whether the book is at home.
pub(super) async fn require_grants(store: &Store) -> Result<(), Failure> {
    match store.missing_grant().await? {
        None => Ok(()),
        Some(grant) => {
            let complaint =
                format!("a right is missing in the database; let a superuser run: {grant}");
            Err(Failure::new(Exit::Database, anyhow::Error::msg(complaint)))
        }
    }
}

/// Loads the settings for a command that charges or asks, and starts the log.
pub(super) fn settings_for_work(source: &Source) -> Result<Settings, Failure> {
    let settings = Settings::load(source, Needs::All)?;
    let log = &settings.log;
    crate::telemetry::init(log.format, &log.filter, log.may_color)
        .context("couldn't start the log")?;
    Ok(settings)
}

/// Most attempts in one claim. Larger batches make nothing faster, and a claim would hold its row locks
/// longer.
const BATCH: u32 = 500;

pub(super) fn limits(settings: &Settings) -> Limits {
    let count = |number: u32| usize::try_from(number).unwrap_or(1);
    Limits {
        charges_max: count(settings.engine.concurrency),
        questions_max: count(settings.questions_max),
        batch: BATCH,
        lease: settings.engine.lease,
        call: settings.call(),
        rate_per_second: settings.gateway.rate_per_second,
        catch_up_pace: settings.engine.catch_up_interval,
        drain: settings.engine.drain,
    }
}
