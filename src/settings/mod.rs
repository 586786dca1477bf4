//! All settings, typed and judged.
//!
//! `config/default.toml`, which is compiled in, lists and explains every one; see
//! [`Source`] for the layers above it. Nothing else in this program reads files of settings or the
//! environment. Faults are told all at once: an operator mends a configuration in one go.

mod database_address;
mod fault;
mod layers;
mod reader;
mod removed;
mod table;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::domain::dunning::{Backoff, Policy};
use crate::domain::networks::Networks;
use crate::settings::layers::Layers;
use crate::settings::reader::Reader;
use crate::store::{CONNECTIONS_MIN, Connection, Pooler};
use crate::telemetry::Format;

pub use fault::{Fault, SettingsError};
pub use layers::Source;
pub use table::{Row, table};

/// Nothing has been sent before there is a connection, so giving up early costs nothing. Half of
/// `gateway.timeout` if that is less.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// An outcome is written down in milliseconds; a second outlasts a busy disk.
const RECORD_MARGIN_MAX: Duration = Duration::from_secs(1);

/// Past an hour nothing is won by waiting longer after a request that never left.
const NOT_SENT_WAIT_MAX: Duration = Duration::from_hours(1);

/// Which secrets a command can't do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// None.
    Nothing,
    /// `database.url`.
    Database,
    /// That, and `gateway.imp_key` and `gateway.imp_secret`.
    All,
}

/// The settings. `config/default.toml` says what each means.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How to reach the database.
    pub database: Database,
    /// How to reach PortOne.
    pub gateway: Gateway,
    /// How much is charged at once, and for how long a claim holds.
    pub engine: Engine,
    /// `reconcile.concurrency`: most questions in flight.
    pub questions_max: u32,
    /// The merchant's rules for what follows an outcome: `dunning.*`, and the rest of `reconcile.*`.
    pub policy: Policy,
    /// When to look for what is due.
    pub scheduler: Scheduler,
    /// When the books are compared.
    pub audit: Audit,
    /// Probes, metrics and the webhook.
    pub http: Http,
    /// Where events are sent, and how long that may take.
    pub webhooks: Webhooks,
    /// What is logged, and how.
    pub log: Log,
    /// What is not the default.
    pub given: Vec<Given>,
    /// The files of settings that were read.
    pub files: Vec<PathBuf>,
    /// What to know of them, though it is no fault.
    pub notes: Vec<String>,
}

/// A value that stands above the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// `section.name`.
    pub key: &'static str,
    /// As it may be shown: no secret.
    pub value: String,
    /// The file, or the environment.
    pub from: String,
}

/// `database.*`
#[derive(Clone)]
pub struct Database {
    /// `None` if it is not set and not needed.
    pub url: Option<SecretString>,
    /// What stands before the database.
    pub pooler: Pooler,
    /// Most connections.
    pub connections_max: u32,
    /// Of one statement, and of waiting for a connection.
    pub timeout: Duration,
}

/// `gateway.*`
#[derive(Debug, Clone)]
pub struct Gateway {
    /// No slash at the end.
    pub base_url: String,
    /// `None` if it is not set and not needed.
    pub imp_key: Option<SecretString>,
    /// `None` if it is not set and not needed.
    pub imp_secret: Option<SecretString>,
    /// Of one call in all.
    pub timeout: Duration,
    /// Charges a second over all daemons; 0 for no cap.
    pub rate_per_second: u32,
    /// The way out, if it is not direct.
    pub proxy: Option<SecretString>,
    /// A variable that names a proxy for other programs, and none is set for us.
    pub proxy_unheeded: Option<&'static str>,
}

impl Gateway {
    /// Said where the gateway may be out of reach for that reason.
    pub fn proxy_hint(&self) -> Option<String> {
        let name = self.proxy_unheeded.filter(|_| self.proxy.is_none())?;
        let variable = table::variable_of("gateway.proxy");
        Some(format!(
            "{name} is set and not heeded: the gateway is reached directly; set {variable} if it must not be"
        ))
    }
}

/// `engine.*`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Engine {
    /// Most charges in flight.
    pub concurrency: u32,
    /// How long a claim holds.
    pub lease: Duration,
    /// Shortest wait between two charges of one subscription that catches up.
    pub catch_up_interval: Duration,
    /// How long a stopping daemon waits for charges in flight.
    pub drain: Duration,
}

/// `scheduler.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduler {
    /// Six fields, in UTC.
    pub sweep_cron: String,
}

/// `audit.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Six fields, in UTC; `None` is off.
    pub cron: Option<String>,
    /// How many days back.
    pub days: u16,
}

/// `http.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// `None` is off.
    pub listen: Option<SocketAddr>,
    /// From where webhooks are taken.
    pub webhook_sources: Networks,
}

/// `webhooks.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhooks {
    /// Of one request in all.
    pub timeout: Duration,
    /// What may be reached beside public addresses, and without TLS.
    pub allowed_networks: Networks,
}

/// `log.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// For people or for machines.
    pub format: Format,
    /// In the syntax of `tracing`'s filters.
    pub filter: String,
    /// Six fields, in UTC.
    pub day_cron: String,
    /// Whether a terminal is written in colour: not if `NO_COLOR` is set.
    pub may_color: bool,
}

impl Settings {
    /// Reads all layers and judges the result. Either all is well, or all faults come back.
    pub fn load(source: &Source, needs: Needs) -> Result<Self, SettingsError> {
        let mut faults = Vec::new();
        let layers = layers::read(source, &mut faults);
        if needs != Needs::Nothing {
            database_address::judge_variables(&source.variables, &mut faults);
        }
        let given = given(&layers);
        let mut reader = Reader::new(layers.values, faults);
        let is_set = |name: &&str| {
            let value = source.variables.get(OsStr::new(name));
            value.is_some_and(|value| !value.is_empty())
        };
        let mut settings = Self {
            database: database(&mut reader, source, needs),
            gateway: Gateway {
                proxy_unheeded: PROXIES.into_iter().find(is_set),
                ..gateway(&mut reader, needs)
            },
            engine: engine(&mut reader),
            questions_max: reader.number("reconcile.concurrency", 1..=1000),
            policy: policy(&mut reader),
            scheduler: Scheduler {
                sweep_cron: reader.cron("scheduler.sweep_cron"),
            },
            audit: Audit {
                cron: reader.cron_or_off("audit.cron"),
                days: reader.number("audit.days", 1..=90),
            },
            http: Http {
                listen: reader.listen("http.listen"),
                webhook_sources: reader.networks("http.webhook_sources"),
            },
            webhooks: Webhooks {
                timeout: reader.duration("webhooks.timeout", "1s", "1m"),
                allowed_networks: reader.networks("webhooks.allowed_networks"),
            },
            log: Log {
                format: reader.format("log.format"),
                filter: reader.filter("log.filter"),
                day_cron: reader.cron("log.day_cron"),
                may_color: !is_set(&"NO_COLOR"),
            },
            given,
            files: layers.files,
            notes: Vec::new(),
        };
        settings.validate(&mut reader);
        settings.notes = std::mem::take(&mut reader.notes);
        settings.notes.extend(settings.gateway.proxy_hint());
        if reader.faults.is_empty() {
            Ok(settings)
        } else {
            Err(SettingsError {
                faults: reader.faults,
            })
        }
    }

    /// What can't be true at once.
    fn validate(&self, reader: &mut Reader) {
        let Self {
            gateway,
            engine,
            policy,
            ..
        } = self;
        reader.require(
            self.call() < engine.lease,
            &["engine.lease", "gateway.timeout"],
            "must be longer than gateway.timeout and the time to write the outcome down (a sixth \
             of the lease, at most 1s), or no charge could ever start",
        );
        reader.require(
            gateway.timeout < engine.drain,
            &["engine.drain", "gateway.timeout"],
            "must be longer than gateway.timeout, or stopping would cut off charges in flight",
        );
        reader.require(
            gateway.proxy.is_none() || gateway.base_url.starts_with("https:"),
            &["gateway.proxy"],
            "goes with an https address of the gateway only: the API secret would be in the proxy's hands",
        );
        reader.require(
            !policy.asks.is_empty(),
            &["reconcile.asks"],
            "must name at least one wait, for asking never ends",
        );
    }

    /// How much of a lease one call of the gateway may need: its time limit, and then the outcome
    /// has to be written down.
    pub fn call(&self) -> Duration {
        let lease = self.engine.lease;
        let margin = lease.checked_div(6).unwrap_or_default();
        let margin = margin.min(RECORD_MARGIN_MAX);
        self.gateway.timeout.saturating_add(margin)
    }

    /// How the store reaches the database; the missing URL if there is none.
    pub fn connection(&self) -> Result<Connection, SettingsError> {
        Ok(Connection {
            url: present("database.url", self.database.url.as_ref())?,
            pooler: self.database.pooler,
            account: None,
            connections_max: self.database.connections_max,
            timeout: self.database.timeout,
        })
    }

    /// The gateway's key and secret, in this order; the missing one if there is none.
    pub fn credentials(&self) -> Result<(SecretString, SecretString), SettingsError> {
        Ok((
            present("gateway.imp_key", self.gateway.imp_key.as_ref())?,
            present("gateway.imp_secret", self.gateway.imp_secret.as_ref())?,
        ))
    }

    /// Most calls to the gateway at once. Charges and questions share the connections.
    pub fn calls_max(&self) -> usize {
        let calls_max = self.engine.concurrency.saturating_add(self.questions_max);
        usize::try_from(calls_max).unwrap_or(usize::MAX)
    }

    /// Which files of settings were read, as a part of a sentence.
    pub fn files_read(&self) -> String {
        let files: Vec<_> = self
            .files
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        if files.is_empty() {
            return "no file of settings was read, so all but the environment is the default"
                .to_owned();
        }
        format!("settings read from {}", files.join(", "))
    }

    /// How long a connection to the gateway may take.
    pub fn connect_timeout(&self) -> Duration {
        let half = self.gateway.timeout.checked_div(2).unwrap_or_default();
        half.min(CONNECT_TIMEOUT_MAX)
    }
}

fn present(key: &str, secret: Option<&SecretString>) -> Result<SecretString, SettingsError> {
    secret.cloned().ok_or_else(|| SettingsError {
        faults: vec![Fault::of_key(key, "is not set; set the variable")],
    })
}

/// What other programs take for the way out.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// What is not the default, as it may be shown.
fn given(layers: &Layers) -> Vec<Given> {
    let given = layers.above.iter().filter_map(|(key, from)| {
        let is_secret = table::row(key).is_none_or(Row::is_secret);
        let value = layers.values.get(key)?.clone().into_string();
        let value = if is_secret {
            "(secret)".to_owned()
        } else {
            value.ok()?
        };
        Some(Given {
            key,
            value,
            from: from.clone(),
        })
    });
    given.collect()
}

fn database(reader: &mut Reader, source: &Source, needs: Needs) -> Database {
    let is_needed = needs != Needs::Nothing;
    Database {
        url: reader.database_url("database.url", &source.variables, is_needed),
        pooler: reader.pooler("database.pooler"),
        connections_max: reader.number("database.connections_max", CONNECTIONS_MIN..=200),
        timeout: reader.duration("database.timeout", "1s", "5m"),
    }
}

fn gateway(reader: &mut Reader, needs: Needs) -> Gateway {
    Gateway {
        base_url: reader.base_url("gateway.base_url"),
        imp_key: reader.secret("gateway.imp_key", needs == Needs::All),
        imp_secret: reader.secret("gateway.imp_secret", needs == Needs::All),
        timeout: reader.duration("gateway.timeout", "100ms", "5m"),
        rate_per_second: reader.number("gateway.rate_per_second", 0..=10_000),
        proxy: reader.proxy("gateway.proxy"),
        proxy_unheeded: None,
    }
}

fn engine(reader: &mut Reader) -> Engine {
    Engine {
        concurrency: reader.number("engine.concurrency", 1..=4096),
        lease: reader.duration("engine.lease", "1s", "1h"),
        catch_up_interval: reader.duration("engine.catch_up_interval", "1s", "90d"),
        drain: reader.duration("engine.drain", "1s", "1h"),
    }
}

fn policy(reader: &mut Reader) -> Policy {
    Policy {
        soft_funds: reader.ladder("dunning.soft_funds"),
        soft_temp: reader.ladder("dunning.soft_temp"),
        issuer_call: reader.ladder("dunning.issuer_call"),
        unclear: reader.ladder("dunning.unclear"),
        unspecified: reader.ladder("dunning.unspecified"),
        hard: reader.ladder("dunning.hard"),
        hold: reader.duration("dunning.hold", "1s", "90d"),
        not_sent: Backoff {
            first: reader.duration("dunning.not_sent", "1s", "1h"),
            max: NOT_SENT_WAIT_MAX,
        },
        asks: reader.ladder("reconcile.asks"),
        settle: reader.duration("reconcile.settle", "0s", "30d"),
        not_found_min: reader.number("reconcile.not_found_min", 1..=100),
        on_not_found: reader.on_not_found("reconcile.on_not_found"),
        sends_max: reader.number("reconcile.sends_max", 1..=10),
    }
}

/// Says which database it is, but neither the password nor the parameters, which may hold one.
impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.as_ref().map(|url| redacted(url.expose_secret()));
        f.debug_struct("Database")
            .field("url", &url)
            .field("pooler", &self.pooler)
            .field("connections_max", &self.connections_max)
            .field("timeout", &self.timeout)
            .finish()
    }
}

fn redacted(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => {
            let host = url.host_str().unwrap_or_default();
            let port = url
                .port()
                .map(|port| format!(":{port}"))
                .unwrap_or_default();
            let user = url.username();
            let path = url.path();
            format!("{}://{user}:[REDACTED]@{host}{port}{path}", url.scheme())
        }
        Err(_) => "[REDACTED]".to_owned(),
    }
}
