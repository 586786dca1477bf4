//! The composition root: the only place that names every concrete type.

mod audit;
mod by_hand;
mod check;
#[cfg(feature = "demo")]
mod demo;
mod figures;
mod healthcheck;
mod migrate;
mod run;
#[cfg(feature = "sandbox")]
mod sandbox;
mod sweep;

use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command};
use crate::engine::{Doorbell, Engine, Limits};
use crate::gateway::portone::PortOne;
use crate::metrics::Metrics;
use crate::settings::{Needs, Settings, SettingsError, Source};
use crate::store::{SchemaState, Store, StoreError};

/// How a command ended, for whoever called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Something unexpected failed.
    Failed = 1,
    /// Settings are missing or wrong.
    Settings = 3,
    /// The database can't be reached.
    Database = 4,
    /// The schema is not this program's.
    Schema = 5,
    /// The gateway can't be reached, or refuses the key.
    Gateway = 6,
    /// Something is still due or unknown, or a stop cut calls short.
    WorkLeft = 7,
    /// Declined or refused: no money moved.
    Declined = 8,
    /// Something stands against it, or a person did not say yes.
    NotDone = 9,
    /// The gateway's books and ours differ, and a person must look.
    Findings = 10,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Settings => 3,
            Self::Database => 4,
            Self::Schema => 5,
            Self::Gateway => 6,
            Self::WorkLeft => 7,
            Self::Declined => 8,
            Self::NotDone => 9,
            Self::Findings => 10,
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub struct Failure {
    /// Which class of trouble.
    pub exit: Exit,
    /// What happened; its chain is printed.
    pub error: anyhow::Error,
}

impl Failure {
    fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: error.into(),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self {
            exit: Exit::Failed,
            error,
        }
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::new(Exit::Settings, error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::Unavailable(_)
            | StoreError::Busy(_)
            | StoreError::TooSlow(_)
            | StoreError::Resting(_) => Exit::Database,
            StoreError::Url(_) | StoreError::Pooler(_) => Exit::Settings,
            StoreError::Migration(_) => Exit::Schema,
            StoreError::Refused(_) | StoreError::Corrupt(_) => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

/// Does what the command line asks for.
pub async fn execute(cli: Cli) -> Result<Exit, Failure> {
    let source = Source::of_process(cli.config_dir, cli.environment);
    match cli.command {
        Command::Run => run::run(&source).await,
        Command::Sweep(output) => sweep::sweep(&source, output).await,
        Command::Reconcile(output) => sweep::reconcile(&source, output).await,
        Command::Audit(options) => audit::audit(&source, options).await,
        Command::Migrate(output) => migrate::migrate(&source, output).await,
        Command::Check(output) => check::check(&source, output).await,
        Command::Healthcheck { ready } => healthcheck::healthcheck(&source, ready).await,
        Command::Charge(charge) => by_hand::charge(&source, charge).await,
        Command::BillingKey(key) => by_hand::billing_key(&source, key).await,
        Command::Payment(payment) => by_hand::payment(&source, payment).await,
        Command::Refund(refund) => by_hand::refund(&source, refund).await,
        #[cfg(feature = "demo")]
        Command::Demo(options) => demo::demo(options).await,
        #[cfg(feature = "sandbox")]
        Command::Sandbox(options) => sandbox::sandbox(options).await,
    }
}

/// Everything a command that charges or asks needs.
struct House {
    store: Store,
    engine: Engine<PortOne>,
    metrics: Arc<Metrics>,
    doorbell: Arc<Doorbell>,
}

/// Puts the house together, once the database answers and has our schema.
async fn open_house(settings: &Settings) -> Result<House, Failure> {
    let store = open_store(settings).await?;
    require_schema(&store).await?;
    let gateway =
        PortOne::new(settings.endpoint()?).map_err(|error| Failure::new(Exit::Failed, error))?;
    let metrics = Metrics::new();
    let doorbell = Arc::new(Doorbell::default());
    let engine = Engine::new(
        store.clone(),
        gateway,
        settings.policy(),
        limits(settings),
        Arc::clone(&metrics),
        Arc::clone(&doorbell),
    );
    Ok(House {
        store,
        engine,
        metrics,
        doorbell,
    })
}

/// Connects once for real, so that a wrong address or password is named as such.
async fn open_store(settings: &Settings) -> Result<Store, Failure> {
    let store = Store::new(&settings.connection()?)?;
    store.server_version().await?;
    Ok(store)
}

async fn require_schema(store: &Store) -> Result<(), Failure> {
    let complaint = match store.schema_state().await? {
        SchemaState::Current => return Ok(()),
        SchemaState::Older { missing } => format!(
            "the database lacks {missing} migration(s) of this billd; run `billd migrate`, then start again"
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
    Err(Failure {
        exit: Exit::Schema,
        error: anyhow::Error::msg(complaint),
    })
}

/// Loads the settings for a command that charges or asks, and starts the log.
fn settings_for_work(source: &Source) -> Result<Settings, Failure> {
    let settings = Settings::load(
        source,
        Needs {
            database: true,
            gateway: true,
        },
    )?;
    crate::telemetry::init(settings.log.format, &settings.log.filter)
        .context("couldn't start the log")?;
    Ok(settings)
}

fn limits(settings: &Settings) -> Limits {
    let count = |number: u32| usize::try_from(number).unwrap_or(1);
    Limits {
        charges_max: count(settings.engine.concurrency),
        questions_max: count(settings.reconcile.concurrency),
        batch: settings.engine.batch,
        lease: settings.engine.lease,
        call: settings
            .gateway
            .timeout
            .saturating_add(settings.engine.lease_margin),
        rate_per_second: settings.gateway.rate_per_second,
        catch_up_pace: settings.engine.catch_up_pace,
        drain: settings.engine.drain,
    }
}

/// Two tokens: the first is cancelled by the first SIGTERM or SIGINT, the second by the second.
fn stop_signals() -> Result<(CancellationToken, CancellationToken), anyhow::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    let tokens = [stop.clone(), hurry.clone()];
    tokio::spawn(async move {
        for token in tokens {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            token.cancel();
        }
    });
    Ok((stop, hurry))
}
