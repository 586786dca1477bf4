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

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DeliveryLabels {
    /// `delivered`, `retried`, `dead`, `gone`, `stale`.
    pub result: &'static str,
}

/// Which endpoint of webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndpointLabels {
    /// Its name.
    pub endpoint: String,
}

type Seconds = Gauge<f64, AtomicU64>;

/// The figures of this process: field, type, value at the start, and its help text. The registry puts a unit behind a
/// name.
macro_rules! figures {
    ($($field:ident $(as $name:ident in $unit:ident)?: $kind:ty = $start:expr, $help:literal;)*) => {
        /// Every figure of this process.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: $kind,)*
        }

        impl Metrics {
            /// All figures at zero.
            pub fn new() -> Arc<Self> {
                let mut registry = Registry::with_prefix("billd");
                $(let $field: $kind = $start;
                figures!(@register registry, $field, $help $(, $name, $unit)?);)*
                Arc::new(Self { registry, $($field,)* })
            }
        }
    };
    (@register $registry:ident, $field:ident, $help:literal) => {
        $registry.register(stringify!($field), $help, $field.clone());
    };
    (@register $registry:ident, $field:ident, $help:literal, $name:ident, $unit:ident) => {
        $registry.register_with_unit(stringify!($name), $help, Unit::$unit, $field.clone());
    };
}

figures! {
    outcomes: Family<OutcomeLabels, Counter> = Family::default(), "Outcomes of charges and look-ups";
    gateway_seconds as gateway in Seconds: Family<CallLabels, Histogram> =
        Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.005, 2.0, 15))),
        "Time the gateway took";
    in_flight: Gauge = Gauge::default(), "Requests to the gateway under way";
    due: Gauge = Gauge::default(), "Subscriptions due and in nobody's hands";
    due_age as due_age in Seconds: Seconds = Seconds::default(), "How long the longest of them has waited";
    lag as lag in Seconds: Histogram = Histogram::new(exponential_buckets(0.01, 2.5, 15)),
        "How long after falling due the first attempt began";
    unknown: Gauge = Gauge::default(), "Attempts whose fate is unknown";
    unknown_age as unknown_age in Seconds: Seconds = Seconds::default(), "Age of the oldest of them";
    parked: Gauge = Gauge::default(), "Attempts that wait for a person";
    claim_rows: Histogram = Histogram::new(exponential_buckets(1.0, 2.0, 11)), "Rows per claim that brought any";
    record_rows: Histogram = Histogram::new(exponential_buckets(1.0, 2.0, 11)), "Rows per recorded batch";
    record_seconds as record in Seconds: Histogram = Histogram::new(exponential_buckets(0.001, 2.0, 14)),
        "Time that recording a batch took";
    stale_fences: Counter = Counter::default(), "Answers whose claim was lost";
    late_payments: Counter = Counter::default(), "Payments reported after their cycle had moved on";
    locked_rows: Gauge = Gauge::default(), "Rows that wait, and are locked by a session that was left open";
    bad_rows: Counter = Counter::default(), "Rows that can't be worked with";
    circuit_open: Gauge = Gauge::default(), "1 while charging is stopped";
    standstill: Gauge = Gauge::default(),
        "1 while the book says that nothing may be charged: switch, home, clock, fail-over";
    log_lines_lost: Counter = Counter::default(), "Lines of the log that could not be written";
    token_refreshes: Gauge<u64, AtomicU64> = Gauge::default(), "Access tokens asked for";
    database_up: Gauge = Gauge::default(), "1 if the database answers";
    webhooks: Family<WebhookLabels, Counter> = Family::default(), "Webhooks that came in";
    findings_open: Family<FindingLabels, Gauge> = Family::default(),
        "Differences between the gateway's books and ours that wait for a person";
    deliveries: Family<DeliveryLabels, Counter> = Family::default(),
        "Attempts to deliver an event to an endpoint, and what became of it";
    delivery_lag as delivery_lag in Seconds: Family<EndpointLabels, Seconds> = Family::default(),
        "How long the oldest event has waited for an endpoint";
    dead_letters: Family<EndpointLabels, Gauge> = Family::default(),
        "Events that could not be delivered in three days";
    endpoint_up: Family<EndpointLabels, Gauge> = Family::default(),
        "1 if the last event that was sent to an endpoint was taken, and it is not stopped";
    audit_finished_at: Gauge = Gauge::default(),
        "When an audit last came to its end, in Unix seconds; 0 if none did";
}

impl Metrics {
    /// Shows nothing more of an endpoint that is gone.
    pub fn forget_endpoint(&self, labels: &EndpointLabels) {
        self.delivery_lag.remove(labels);
        self.dead_letters.remove(labels);
        self.endpoint_up.remove(labels);
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
        self.read(|count| count.swap(0, Ordering::Relaxed))
    }

    /// Reads the counts without a change.
    pub fn look(&self) -> Counts {
        self.read(|count| count.load(Ordering::Relaxed))
    }

    fn read(&self, read: impl Fn(&AtomicU64) -> u64) -> Counts {
        Counts {
            paid: read(&self.paid),
            declined: read(&self.declined),
            not_sent: read(&self.not_sent),
            unknown: read(&self.unknown),
            unrecorded: read(&self.unrecorded),
        }
    }
}
