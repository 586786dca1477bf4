//! Figures for Prometheus. Counting happens where a thing is decided; nothing here decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What became of an attempt, and of which kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// `paid`, `declined`, `not_sent`, `unknown`.
    pub outcome: &'static str,
    /// The class of the decline, why it was not sent, or the kind of doubt; empty for `paid`.
    pub class: &'static str,
}

/// Which call of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallLabels {
    /// `again` or `findAll`.
    pub call: &'static str,
}

/// What became of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WebhookLabels {
    /// `taken`, `ignored`, `dropped`, `refused`.
    pub verdict: &'static str,
}

/// In which way the gateway's books differ from ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FindingLabels {
    /// The finding's kind.
    pub kind: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// Every figure of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Outcomes, whether of a charge or of a look-up.
    pub outcomes: Family<OutcomeLabels, Counter>,
    /// How long the gateway took.
    pub gateway_seconds: Family<CallLabels, Histogram>,
    /// Requests to the gateway under way.
    pub in_flight: Gauge,
    /// Subscriptions that are due and in nobody's hands.
    pub due: Gauge,
    /// For how long the longest of them has waited.
    pub due_age: Seconds,
    /// How long after falling due a first attempt was begun.
    pub lag: Histogram,
    /// Attempts whose fate is unknown.
    pub unknown: Gauge,
    /// The age of the oldest of them.
    pub unknown_age: Seconds,
    /// Those that wait for a person.
    pub parked: Gauge,
    /// Rows per claim that brought any.
    pub claim_rows: Histogram,
    /// Rows per recorded batch.
    pub record_rows: Histogram,
    /// How long recording a batch took.
    pub record_seconds: Histogram,
    /// Answers whose claim had been lost to somebody else.
    pub stale_fences: Counter,
    /// Payments that were reported after their cycle had moved on. Each is an alarm.
    pub late_payments: Counter,
    /// Rows that billd can't work with.
    pub bad_rows: Counter,
    /// Whether charging is stopped because the gateway fails or refuses everything.
    pub circuit_open: Gauge,
    /// Whether the book says that nothing may be charged: the switch, its home, its clock, a fail-over.
    pub standstill: Gauge,
    /// Access tokens asked for.
    pub token_refreshes: Gauge<u64, AtomicU64>,
    /// Whether the database answered when the figures were taken.
    pub database_up: Gauge,
    /// Webhooks that came in.
    pub webhooks: Family<WebhookLabels, Counter>,
    /// Findings of the auditor that wait for a person.
    pub findings_open: Family<FindingLabels, Gauge>,
    /// When an audit last came to its end, in Unix seconds; 0 if none did.
    pub audit_finished_at: Gauge,
}

/// Registers fields of [`Metrics`], each with its help text. The registry puts a unit behind a name.
macro_rules! register {
    (@one $metrics:ident, $field:ident, $help:literal) => {
        $metrics.registry.register(stringify!($field), $help, $metrics.$field.clone());
    };
    (@one $metrics:ident, $field:ident, $help:literal, $name:ident, $unit:ident) => {
        let (name, field) = (stringify!($name), $metrics.$field.clone());
        $metrics.registry.register_with_unit(name, $help, Unit::$unit, field);
    };
    ($metrics:ident: $($field:ident $(as $name:ident in $unit:ident)?: $help:literal,)*) => {
        $(register!(@one $metrics, $field, $help $(, $name, $unit)?);)*
    };
}

impl Metrics {
    /// All figures at zero.
    pub fn new() -> Arc<Self> {
        let mut metrics = Self {
            registry: Registry::with_prefix("billd"),
            outcomes: Family::default(),
            gateway_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.005, 2.0, 15))
            }),
            in_flight: Gauge::default(),
            due: Gauge::default(),
            due_age: Seconds::default(),
            lag: Histogram::new(exponential_buckets(0.01, 2.5, 15)),
            unknown: Gauge::default(),
            unknown_age: Seconds::default(),
            parked: Gauge::default(),
            claim_rows: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            record_rows: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            record_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            stale_fences: Counter::default(),
            late_payments: Counter::default(),
            bad_rows: Counter::default(),
            circuit_open: Gauge::default(),
            standstill: Gauge::default(),
            token_refreshes: Gauge::default(),
            database_up: Gauge::default(),
            webhooks: Family::default(),
            findings_open: Family::default(),
            audit_finished_at: Gauge::default(),
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&mut self) {
        register!(self:
            outcomes: "Outcomes of charges and look-ups",
            gateway_seconds as gateway in Seconds: "Time the gateway took",
            in_flight: "Requests to the gateway under way",
            due: "Subscriptions due and in nobody's hands",
            due_age as due_age in Seconds: "How long the longest of them has waited",
            lag as lag in Seconds: "How long after falling due the first attempt began",
            unknown: "Attempts whose fate is unknown",
            unknown_age as unknown_age in Seconds: "Age of the oldest of them",
            parked: "Attempts that wait for a person",
            claim_rows: "Rows per claim that brought any",
            record_rows: "Rows per recorded batch",
            record_seconds as record in Seconds: "Time that recording a batch took",
            stale_fences: "Answers whose claim was lost",
            late_payments: "Payments reported after their cycle had moved on",
            bad_rows: "Rows that can't be worked with",
            circuit_open: "1 while charging is stopped",
            standstill: "1 while the book says that nothing may be charged: switch, home, clock, fail-over",
            token_refreshes: "Access tokens asked for",
            database_up: "1 if the database answers",
            webhooks: "Webhooks that came in",
            findings_open: "Differences between the gateway's books and ours that wait for a person",
            audit_finished_at: "When an audit last came to its end, in Unix seconds; 0 if none did",
        );
    }

    /// Counts one outcome.
    pub fn count_outcome(&self, outcome: &'static str, class: &'static str) {
        self.outcomes
            .get_or_create(&OutcomeLabels { outcome, class })
            .inc();
    }

    /// Notes how long a call of the gateway took.
    pub fn time_call(&self, call: &'static str, took: Duration) {
        self.gateway_seconds
            .get_or_create(&CallLabels { call })
            .observe(took.as_secs_f64());
    }

    /// The figures in the text format that Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }
}

/// Outcomes since the last look, for the one line per sweep.
#[derive(Debug, Default)]
pub struct Tally {
    paid: AtomicU64,
    declined: AtomicU64,
    not_sent: AtomicU64,
    unknown: AtomicU64,
    unrecorded: AtomicU64,
}

/// A [`Tally`] read off.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Money moved.
    pub paid: u64,
    /// Refused.
    pub declined: u64,
    /// Never left.
    pub not_sent: u64,
    /// Nobody can tell yet.
    pub unknown: u64,
    /// Of all these, those that could not be written down. They are in the log, and asked about.
    pub unrecorded: u64,
}

impl Tally {
    /// Counts one outcome by its word.
    pub fn count(&self, outcome: &'static str) {
        let counter = match outcome {
            "paid" => &self.paid,
            "declined" => &self.declined,
            "not_sent" => &self.not_sent,
            _ => &self.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one outcome that could not be written down.
    pub fn count_unrecorded(&self) {
        self.unrecorded.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads the counts off and starts again at zero.
    pub fn take(&self) -> Counts {
        Counts {
            paid: self.paid.swap(0, Ordering::Relaxed),
            declined: self.declined.swap(0, Ordering::Relaxed),
            not_sent: self.not_sent.swap(0, Ordering::Relaxed),
            unknown: self.unknown.swap(0, Ordering::Relaxed),
            unrecorded: self.unrecorded.swap(0, Ordering::Relaxed),
        }
    }

    /// Reads the counts without a change.
    pub fn look(&self) -> Counts {
        Counts {
            paid: self.paid.load(Ordering::Relaxed),
            declined: self.declined.load(Ordering::Relaxed),
            not_sent: self.not_sent.load(Ordering::Relaxed),
            unknown: self.unknown.load(Ordering::Relaxed),
            unrecorded: self.unrecorded.load(Ordering::Relaxed),
        }
    }
}
