//! The request log: who asked for money, who asked what became of it, and how each exchange ended.
//!
//! The ledger says which money moved. This says what was asked and when, for a judge who compares
//! it with a book afterwards. Off by default. Instants are the wall clock of this machine and not
//! the sandbox's own clock, so that they can be held against a database on the same machine.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::amount::Amount;
use super::answer::{Ending, Reply};
use super::call::Call;
use super::clock::micros;
use super::lock;
use super::route::Route;

/// One exchange that is about one payment: a charge, a look-up or a cancellation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// From 1, without gaps, in the order of arrival.
    pub sequence: u64,
    /// What was asked for.
    pub route: Route,
    /// The merchant's number; empty if the request named none.
    pub merchant_uid: String,
    /// The card, if the request named it.
    pub customer_uid: Option<String>,
    /// In whole units of the currency, as in the ledger.
    pub amount: Option<i64>,
    /// KRW unless the request said otherwise; `None` for a look-up.
    pub currency: Option<String>,
    /// When its head had arrived.
    pub arrived_at_us: i64,
    /// What the gateway made of it; `None` while it is at work.
    pub decided: Option<Decided>,
    /// When it did.
    pub decided_at_us: Option<i64>,
    /// How the exchange ended for the client; `None` while it goes on.
    pub ended: Option<Ended>,
    /// When it did. For an answer: when its bytes were handed to the connection.
    pub ended_at_us: Option<i64>,
}

/// What the gateway made of a request, whatever it then told the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// Money moved.
    Approved {
        /// The record of it.
        imp_uid: String,
    },
    /// The card or the gateway refused; no money moved.
    Declined {
        /// The record of it, if it left one that names itself in the answer.
        imp_uid: Option<String>,
    },
    /// Refused, because the number has taken money or is being charged at this moment.
    RefusedDuplicate,
    /// Nothing was done: a fault came first, the token was refused, or the request was malformed.
    NotProcessed,
    /// Neither approved nor refused.
    Pending,
    /// A look-up showed a payment that was made, or that was made and given back.
    Paid,
    /// A look-up showed nothing but failures.
    Failed,
    /// A look-up showed nothing at all.
    NotFound,
    /// A look-up was not answered with records.
    Error,
    /// Money was given back.
    Cancelled {
        /// Of which payment.
        imp_uid: String,
        /// What the merchant still has of it, in whole units.
        kept: i64,
    },
}

/// How an exchange ended for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// With an answer, a spoilt one too.
    Answered {
        /// Its HTTP status.
        status: u16,
    },
    /// The connection was broken without a byte of answer.
    Dropped,
    /// The connection was broken in the middle of the answer.
    Cut,
    /// No byte was ever sent; the client or the sandbox gave up.
    Silent,
    /// The client went away before it had its answer.
    ClientLeft,
}

/// Everything that was asked so far, unless nobody wants to know. All clones are one log.
#[derive(Debug, Clone)]
pub(super) struct RequestLog(Option<Arc<Mutex<Vec<Request>>>>);

impl RequestLog {
    pub(super) fn new(is_kept: bool) -> Self {
        Self(is_kept.then(Arc::default))
    }

    pub(super) fn all(&self) -> Vec<Request> {
        let log = self.0.as_deref();
        log.map(|log| lock(log).clone()).unwrap_or_default()
    }

    pub(super) fn clear(&self) {
        if let Some(log) = &self.0 {
            lock(log).clear();
        }
    }

    /// Writes a request down, if it is of a kind that is logged.
    pub(super) fn open(&self, route: Route, call: &Call) -> Exchange {
        let is_logged =
            route.is_charge() || matches!(route, Route::Find | Route::FindAll | Route::Cancel);
        let log = self.0.as_ref().filter(|_| is_logged);
        let place = log.map(|log| {
            let mut requests = lock(log);
            let nth = requests.len();
            requests.push(request(route, call, nth));
            Place {
                log: Arc::clone(log),
                route,
                nth,
            }
        });
        Exchange {
            note: Note(place),
            ended: Ended::ClientLeft,
        }
    }
}

fn request(route: Route, call: &Call, nth: usize) -> Request {
    let fields = &call.fields;
    let in_path = call.part("merchant_uid").map(str::to_owned);
    let merchant_uid = in_path.or_else(|| fields.text("merchant_uid").map(Into::into));
    let currency = fields.text("currency").map(Into::into);
    Request {
        sequence: u64::try_from(nth).unwrap_or(u64::MAX).saturating_add(1),
        route,
        merchant_uid: merchant_uid.unwrap_or_default(),
        customer_uid: fields.text("customer_uid").map(Into::into),
        amount: fields.amount("amount").map(Amount::whole),
        currency: currency.or_else(|| route.is_charge().then(|| "KRW".to_owned())),
        arrived_at_us: call.arrived_on_wall_us,
        decided: None,
        decided_at_us: None,
        ended: None,
        ended_at_us: None,
    }
}

#[derive(Debug, Clone)]
struct Place {
    log: Arc<Mutex<Vec<Request>>>,
    route: Route,
    nth: usize,
}

/// Where one request stands in the log, for whoever does its work.
#[derive(Debug, Clone)]
pub(super) struct Note(Option<Place>);

impl Note {
    fn with(&self, change: impl FnOnce(&mut Request)) {
        // Its place is gone when the sandbox was reset meanwhile.
        if let Some(place) = &self.0
            && let Some(request) = lock(&place.log).get_mut(place.nth)
        {
            change(request);
        }
    }

    fn decided(&self, decided: Decided) {
        let at_us = wall_us();
        self.with(|request| {
            request.decided = Some(decided);
            request.decided_at_us = Some(at_us);
        });
    }

    /// Reads what was done off the answer, before anything spoils it.
    pub(super) fn done(&self, reply: Reply) -> Reply {
        if let Some(place) = &self.0 {
            self.decided(decided(place.route, &reply));
        }
        reply
    }

    /// Its number has taken money, or is being charged.
    pub(super) fn refused_duplicate(&self, reply: Reply) -> Reply {
        self.decided(Decided::RefusedDuplicate);
        reply
    }
}

/// One exchange while it lasts; its end is when this is dropped.
#[derive(Debug)]
pub(super) struct Exchange {
    note: Note,
    ended: Ended,
}

impl Exchange {
    pub(super) fn note(&self) -> Note {
        self.note.clone()
    }

    /// How it is about to end.
    pub(super) fn will_end(&mut self, reply: &Reply) {
        self.ended = match reply.ending {
            Ending::Answer | Ending::WrongAmount | Ending::WrongMerchantUid => Ended::Answered {
                status: reply.answer.status.as_u16(),
            },
            Ending::Cut => Ended::Dropped,
            Ending::CutBody => Ended::Cut,
            Ending::Error500 => Ended::Answered { status: 500 },
            Ending::Garbage | Ending::Html | Ending::Empty => Ended::Answered { status: 200 },
            Ending::Silence => Ended::Silent,
        };
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let at_us = wall_us();
        self.note.with(|request| {
            request.ended = Some(self.ended);
            request.ended_at_us = Some(at_us);
        });
    }
}

/// What an endpoint's own answer says that it did.
fn decided(route: Route, reply: &Reply) -> Decided {
    let body: Value = serde_json::from_slice(&reply.answer.body).unwrap_or_default();
    let is_ok = body.get("code").and_then(Value::as_i64) == Some(0);
    let Some(response) = body.get("response").filter(|_| is_ok) else {
        return refusal(route, reply);
    };
    let imp_uid = response.get("imp_uid").and_then(Value::as_str);
    let imp_uid = imp_uid.unwrap_or_default().to_owned();
    if route == Route::Cancel {
        let sum = |name| response.get(name).and_then(Value::as_i64).unwrap_or(0);
        let kept = sum("amount").saturating_sub(sum("cancel_amount"));
        return Decided::Cancelled { imp_uid, kept };
    }
    let records = response.get("list").and_then(Value::as_array);
    let records = records.map_or(std::slice::from_ref(response), Vec::as_slice);
    let status = |word: &str| {
        let is = |record: &Value| record.get("status").and_then(Value::as_str) == Some(word);
        records.iter().any(is)
    };
    let took_money = status("paid") || status("cancelled");
    match (route.is_charge(), took_money, status("failed")) {
        (true, true, _) => Decided::Approved { imp_uid },
        (true, false, true) => Decided::Declined {
            imp_uid: Some(imp_uid),
        },
        (true, false, false) => Decided::Pending,
        (false, true, _) => Decided::Paid,
        (false, false, true) => Decided::Failed,
        (false, false, false) => Decided::NotFound,
    }
}

fn refusal(route: Route, reply: &Reply) -> Decided {
    match (route.is_charge(), reply.answer.status.as_u16()) {
        (true, 200) => Decided::Declined { imp_uid: None },
        (true, _) => Decided::NotProcessed,
        (false, 404) => Decided::NotFound,
        (false, _) => Decided::Error,
    }
}

/// The wall clock of this machine, in unix microseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "the log is held against a database's clock on the same machine"
)]
pub(super) fn wall_us() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    micros(since_epoch.unwrap_or_default())
}
