//! Faults: what an operator or a test makes go wrong, where, how often and for whom.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::Ending;
use super::clock::SECOND_US;
use super::rng::{Latency, Rng};
use super::route::Route;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The gateway thinks for `latency_ms` first. Goes together with any other fault.
    LatencyMs,
    /// The connection breaks before anything is done.
    DropBefore,
    /// It is done, then the connection breaks without a byte of answer.
    DropAfter,
    /// HTTP 500, nothing is done.
    #[serde(rename = "error_500_before")]
    Error500Before,
    /// It is done, then HTTP 500.
    #[serde(rename = "error_500_after")]
    Error500After,
    /// Nothing is done and nothing is answered.
    SilenceBefore,
    /// It is done and nothing is answered.
    SilenceAfter,
    /// It is done; the connection breaks in the middle of the answer.
    CutBody,
    /// It is done; HTTP 200 with bytes that are no JSON.
    Garbage,
    /// It is done; HTTP 200 with a page of HTML.
    Html,
    /// It is done; HTTP 200 without a body.
    Empty,
    /// HTTP 429, nothing is done.
    #[serde(rename = "status_429")]
    Status429,
    /// HTTP 401, nothing is done, though the token is good.
    #[serde(rename = "status_401")]
    Status401,
    /// HTTP 503 with a maintenance notice, nothing is done.
    Maintenance,
    /// Look-ups don't see a record until `lag_s` seconds after it was decided.
    LookupLag,
    /// Look-ups find nothing.
    LookupNotFound,
    /// Look-ups show paid records as failed.
    LookupFailed,
}

/// One fault, as `POST /sandbox/fault` takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// On which route; `None` is every route it fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// How often, then never again; `None` is without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// For which share of the requests, from 0 to 1; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Where the chance behind `share` begins: the same seed hits the same requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// For whom: a `customer_uid`, or the beginning of one followed by `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_uid: Option<String>,
    /// For how many seconds of the sandbox's clock; `None` is until it is cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<u32>,
    /// How long [`FaultKind::LatencyMs`] takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Latency>,
    /// How long [`FaultKind::LookupLag`] hides a record, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_s: Option<u32>,
}

impl Fault {
    /// A fault of this kind on this route, always and for everybody.
    pub fn new(kind: FaultKind, route: Route) -> Self {
        Self {
            kind,
            route: Some(route),
            count: None,
            share: None,
            seed: None,
            customer_uid: None,
            for_s: None,
            latency_ms: None,
            lag_s: None,
        }
    }

    /// Only this often.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Only for this share of the requests, by this seed.
    #[must_use]
    pub fn for_share(mut self, share: f64, seed: u64) -> Self {
        self.share = Some(share);
        self.seed = Some(seed);
        self
    }

    /// Only for so many seconds of the sandbox's clock from now on.
    #[must_use]
    pub fn for_seconds(mut self, seconds: u32) -> Self {
        self.for_s = Some(seconds);
        self
    }

    /// Only for this `customer_uid`, or all that begin so when it ends in `*`.
    #[must_use]
    pub fn for_customer(mut self, customer_uid: &str) -> Self {
        self.customer_uid = Some(customer_uid.to_owned());
        self
    }
}

/// A fault that was set, and how often it has struck.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetFault {
    /// What was asked for; `count` is what is left of it.
    #[serde(flatten)]
    pub fault: Fault,
    /// How often it has struck.
    pub fired: u64,
}

/// What the look-ups of one request pretend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lie {
    pub(super) lag_us: i64,
    pub(super) nothing: bool,
    pub(super) failed: bool,
}

/// What goes wrong before anything is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Drop,
    Error500,
    Silence,
    Status429,
    Status401,
    Maintenance,
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) delay: Duration,
    pub(super) before: Option<Before>,
    pub(super) after: Option<Ending>,
    pub(super) lie: Lie,
}

/// All faults that are set.
#[derive(Debug, Default)]
pub(super) struct Faults {
    set: Vec<Armed>,
}

#[derive(Debug)]
struct Armed {
    set: SetFault,
    set_at_us: i64,
    rng: Rng,
}

impl Faults {
    pub(super) fn set(&mut self, fault: Fault, now_us: i64) {
        self.set.push(Armed {
            rng: Rng::new(fault.seed.unwrap_or_default()),
            set: SetFault { fault, fired: 0 },
            set_at_us: now_us,
        });
    }

    pub(super) fn clear(&mut self) {
        self.set.clear();
    }

    pub(super) fn list(&self) -> Vec<SetFault> {
        self.set.iter().map(|armed| armed.set.clone()).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Strikes: of the faults that break an answer only the first that fits, of latencies and lies
    /// all of them.
    pub(super) fn plan(&mut self, route: Route, customer_uid: Option<&str>, now_us: i64) -> Plan {
        let mut plan = Plan::default();
        for armed in &mut self.set {
            let is_broken = plan.before.is_some() || plan.after.is_some();
            let fits = match Strike::of(armed.set.fault.kind) {
                Strike::Delay => true,
                Strike::Before(_) | Strike::After(_) => !is_broken,
                Strike::Lie => route.is_look_up(),
            };
            if fits && armed.strikes(route, customer_uid, now_us) {
                armed.strike(&mut plan);
            }
        }
        plan
    }
}

impl Armed {
    /// Whether it hits this request, chance included.
    fn strikes(&mut self, route: Route, customer_uid: Option<&str>, now_us: i64) -> bool {
        let fault = &self.set.fault;
        let is_over = fault.for_s.is_some_and(|for_s| {
            let lasts_us = i64::from(for_s).saturating_mul(SECOND_US);
            self.set_at_us.saturating_add(lasts_us) <= now_us
        });
        let applies = !is_over
            && fault.count != Some(0)
            && fault.route.is_none_or(|wanted| wanted == route)
            && is_for(fault, customer_uid);
        applies && fault.share.is_none_or(|share| self.rng.hits(share))
    }

    fn strike(&mut self, plan: &mut Plan) {
        let SetFault { fault, fired } = &mut self.set;
        fault.count = fault.count.map(|left| left.saturating_sub(1));
        *fired = fired.saturating_add(1);
        match Strike::of(fault.kind) {
            Strike::Delay => {
                let latency = fault.latency_ms.unwrap_or_default();
                plan.delay = plan.delay.saturating_add(latency.draw(&mut self.rng));
            }
            Strike::Before(before) => plan.before = Some(before),
            Strike::After(ending) => plan.after = Some(ending),
            Strike::Lie => {
                let lag_us = i64::from(fault.lag_s.unwrap_or_default()).saturating_mul(SECOND_US);
                plan.lie.lag_us = plan.lie.lag_us.max(lag_us);
                plan.lie.nothing |= fault.kind == FaultKind::LookupNotFound;
                plan.lie.failed |= fault.kind == FaultKind::LookupFailed;
            }
        }
    }
}

enum Strike {
    Delay,
    Before(Before),
    After(Ending),
    Lie,
}

impl Strike {
    fn of(kind: FaultKind) -> Self {
        match kind {
            FaultKind::LatencyMs => Self::Delay,
            FaultKind::DropBefore => Self::Before(Before::Drop),
            FaultKind::Error500Before => Self::Before(Before::Error500),
            FaultKind::SilenceBefore => Self::Before(Before::Silence),
            FaultKind::Status429 => Self::Before(Before::Status429),
            FaultKind::Status401 => Self::Before(Before::Status401),
            FaultKind::Maintenance => Self::Before(Before::Maintenance),
            FaultKind::DropAfter => Self::After(Ending::Cut),
            FaultKind::Error500After => Self::After(Ending::Error500),
            FaultKind::SilenceAfter => Self::After(Ending::Silence),
            FaultKind::CutBody => Self::After(Ending::CutBody),
            FaultKind::Garbage => Self::After(Ending::Garbage),
            FaultKind::Html => Self::After(Ending::Html),
            FaultKind::Empty => Self::After(Ending::Empty),
            FaultKind::LookupLag | FaultKind::LookupNotFound | FaultKind::LookupFailed => Self::Lie,
        }
    }
}

fn is_for(fault: &Fault, customer_uid: Option<&str>) -> bool {
    match (fault.customer_uid.as_deref(), customer_uid) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wanted), Some(customer_uid)) => match wanted.strip_suffix('*') {
            Some(beginning) => customer_uid.starts_with(beginning),
            None => customer_uid == wanted,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_where_it_was_told_and_as_often() {
        let mut faults = Faults::default();
        let fault = Fault::new(FaultKind::DropAfter, Route::Again);
        faults.set(fault.times(2).for_customer("vip*").for_seconds(60), 0);
        assert_eq!(
            faults.plan(Route::Again, Some("vip_1"), 60 * SECOND_US),
            Plan::default()
        );
        let mut again = |customer| faults.plan(Route::Again, Some(customer), 0).after;
        assert_eq!(again("other"), None);
        assert_eq!(again("vip_1"), Some(Ending::Cut));
        assert_eq!(again("vip_2"), Some(Ending::Cut));
        assert_eq!(again("vip_3"), None);
        assert_eq!(
            faults.plan(Route::FindAll, Some("vip_1"), 0),
            Plan::default()
        );
        assert_eq!(faults.list()[0].fired, 2);
    }

    #[test]
    fn the_words_on_the_wire_are_the_documented_ones() {
        let json = r#"{"route":"again","kind":"error_500_after","share":0.5,"seed":3}"#;
        let fault: Fault = serde_json::from_str(json).unwrap();
        let same = Fault::new(FaultKind::Error500After, Route::Again).for_share(0.5, 3);
        assert_eq!(fault, same);
        let json = r#"{"kind":"latency_ms","latency_ms":{"median":100,"p99":900}}"#;
        assert!(serde_json::from_str::<Fault>(json).is_ok());
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"drop_afer"}"#).is_err());
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"garbage","rout":"again"}"#).is_err());
    }
}
