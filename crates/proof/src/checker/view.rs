//! Both ledgers, sorted for the questions that the properties ask.

use std::collections::BTreeMap;
use std::ops::Bound;

use jiff::Timestamp;
use jiff::civil::Date;

use super::name::Debt;
use super::{Property, Terms, Violation};
use crate::ledger::{Attempt, Book, Change, Cycle, Entry, Refund, Shift, Subscription};
use portone_sandbox::{Decided, Ended, Request, Route};

/// One write of one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write<'a, T> {
    pub(super) entry: &'a Entry,
    pub(super) old: Option<&'a T>,
    pub(super) new: Option<&'a T>,
}

pub(super) struct View<'a> {
    pub(super) terms: &'a Terms,
    pub(super) book: &'a Book,
    /// Requests for money, in the order of arrival.
    pub(super) charges: BTreeMap<&'a str, Vec<&'a Request>>,
    /// Look-ups, in the order of arrival.
    pub(super) looks: BTreeMap<&'a str, Vec<&'a Request>>,
    /// Requests to give money back, in the order of arrival.
    pub(super) cancels: BTreeMap<&'a str, Vec<&'a Request>>,
    pub(super) attempts: BTreeMap<&'a str, &'a Attempt>,
    pub(super) cycles: BTreeMap<(&'a str, Date), &'a Cycle>,
    pub(super) attempt_writes: BTreeMap<&'a str, Vec<Write<'a, Attempt>>>,
    pub(super) cycle_writes: BTreeMap<(&'a str, Date), Vec<Write<'a, Cycle>>>,
    pub(super) subscription_writes: BTreeMap<&'a str, Vec<Write<'a, Subscription>>>,
    /// By the payment that is given back.
    pub(super) refund_writes: BTreeMap<&'a str, Vec<Write<'a, Refund>>>,
    /// From when on, and how far the clock has ever been ahead by then.
    shifts: Vec<(i64, i64)>,
}

impl<'a> View<'a> {
    pub(super) fn new(terms: &'a Terms, gateway: &'a [Request], book: &'a Book) -> Self {
        let mut view = Self {
            terms,
            book,
            charges: BTreeMap::new(),
            looks: BTreeMap::new(),
            cancels: BTreeMap::new(),
            attempts: BTreeMap::new(),
            cycles: BTreeMap::new(),
            attempt_writes: BTreeMap::new(),
            cycle_writes: BTreeMap::new(),
            subscription_writes: BTreeMap::new(),
            refund_writes: BTreeMap::new(),
            shifts: Vec::new(),
        };
        for request in gateway {
            view.take_request(request);
        }
        let (charges, looks) = (view.charges.values_mut(), view.looks.values_mut());
        for list in charges.chain(looks).chain(view.cancels.values_mut()) {
            list.sort_by_key(|request| (request.arrived_at_us, request.sequence));
        }
        let attempts = book.attempts.iter();
        view.attempts = attempts.map(|a| (a.merchant_uid.as_str(), a)).collect();
        let cycles = book.cycles.iter();
        view.cycles = cycles
            .map(|c| ((c.subscription_id.as_str(), c.period), c))
            .collect();
        for entry in &book.journal {
            view.take_entry(entry);
        }
        view
    }

    fn take_request(&mut self, request: &'a Request) {
        let list = match request.route {
            Route::Again | Route::Onetime | Route::Retry => &mut self.charges,
            Route::Find | Route::FindAll => &mut self.looks,
            Route::Cancel => &mut self.cancels,
            Route::GetToken
            | Route::Payment
            | Route::Payments
            | Route::Status
            | Route::Customers
            | Route::CustomerPayments
            | Route::Schedule
            | Route::Unschedule => return,
        };
        list.entry(&request.merchant_uid).or_default().push(request);
    }

    fn take_entry(&mut self, entry: &'a Entry) {
        match &entry.change {
            Change::Subscription { old, new } => {
                let (old, new) = (old.as_ref(), new.as_ref());
                if let Some(row) = new.or(old) {
                    let writes = self.subscription_writes.entry(&row.id).or_default();
                    writes.push(Write { entry, old, new });
                }
            }
            Change::BillingCycle { old, new } => {
                let (old, new) = (old.as_ref(), new.as_ref());
                if let Some(row) = new.or(old) {
                    let key = (row.subscription_id.as_str(), row.period);
                    let writes = self.cycle_writes.entry(key).or_default();
                    writes.push(Write { entry, old, new });
                }
            }
            Change::ChargeAttempt { old, new } => {
                let (old, new) = (old.as_ref(), new.as_ref());
                if let Some(row) = new.or(old) {
                    let writes = self.attempt_writes.entry(&row.merchant_uid).or_default();
                    writes.push(Write { entry, old, new });
                }
            }
            Change::Refund { old, new } => {
                let (old, new) = (old.as_ref(), new.as_ref());
                if let Some(row) = new.or(old) {
                    let writes = self.refund_writes.entry(&row.merchant_uid).or_default();
                    writes.push(Write { entry, old, new });
                }
            }
            Change::ClockShift { old, new } => {
                let us = |shift: &Option<Shift>| shift.as_ref().map_or(0, |shift| shift.shift_us);
                if self.shifts.is_empty() {
                    self.shifts.push((i64::MIN, us(old)));
                }
                let before = self.shifts.last().map_or(0, |(_, shift)| *shift);
                self.shifts.push((entry.at_us, us(new).max(before)));
            }
        }
    }

    pub(super) fn is_daemon(&self, role: &str) -> bool {
        self.terms.daemons.iter().any(|daemon| daemon == role)
    }

    /// Whether a person has ever changed a subscription.
    pub(super) fn is_changed_by_person(&self, subscription_id: &str) -> bool {
        let writes = self.subscription_writes.get(subscription_id);
        let mut writes = writes.into_iter().flatten();
        writes.any(|write| write.old.is_some() && !self.is_daemon(&write.entry.who))
    }

    /// A debt as it was when something was written: what the same transaction makes of it counts.
    pub(super) fn cycle_at(&self, key: (&'a str, Date), entry: &Entry) -> Option<&'a Cycle> {
        let writes = self.cycle_writes.get(&key)?.iter();
        let mut before = writes.filter(|w| w.entry.id < entry.id || w.entry.txid == entry.txid);
        before.next_back()?.new
    }

    pub(super) fn cycles_of(&self, subscription_id: &str) -> impl Iterator<Item = &'a Cycle> {
        let cycles = self.cycles.values().copied();
        cycles.filter(move |cycle| cycle.subscription_id == subscription_id)
    }

    pub(super) fn charges_of(&self, merchant_uid: &str) -> &[&'a Request] {
        self.charges.get(merchant_uid).map_or(&[], Vec::as_slice)
    }

    pub(super) fn looks_of(&self, merchant_uid: &str) -> &[&'a Request] {
        self.looks.get(merchant_uid).map_or(&[], Vec::as_slice)
    }

    pub(super) fn writes_of(&self, merchant_uid: &str) -> &[Write<'a, Attempt>] {
        let writes = self.attempt_writes.get(merchant_uid);
        writes.map_or(&[], Vec::as_slice)
    }

    /// billd's time at an instant of the real clock; never earlier than it was then.
    pub(super) fn billd_us(&self, at_us: i64) -> i64 {
        at_us.saturating_add(self.shift_us(at_us))
    }

    pub(super) fn shift_us(&self, at_us: i64) -> i64 {
        let mut latest_first = self.shifts.iter().rev();
        let last = latest_first.find(|(from_us, _)| *from_us <= at_us);
        last.map_or(0, |(_, shift)| *shift)
    }

    /// Whether the auditor has named this attempt as one that took money behind the book's back.
    pub(super) fn is_found(&self, merchant_uid: &str) -> bool {
        self.book.findings.iter().any(|finding| {
            finding.merchant_uid == merchant_uid
                && matches!(finding.kind.as_str(), "paid_there_not_here" | "paid_twice")
        })
    }

    /// Whether the gateway refused this attempt, as far as anybody outside could see.
    pub(super) fn is_declined_there(&self, merchant_uid: &str) -> bool {
        let declined =
            |request: &&Request| matches!(request.decided, Some(Decided::Declined { .. }));
        let lied = |request: &&Request| request.decided == Some(Decided::Failed);
        self.charges_of(merchant_uid).iter().any(declined)
            || (self.terms.looks_lie && self.looks_of(merchant_uid).iter().any(lied))
    }

    /// How many attempts of a debt the gateway refused.
    pub(super) fn declines_there(&self, subscription: &str, period: Date) -> usize {
        let prefix = format!(
            "{}{}",
            subscription.replace('-', ""),
            period.strftime("%y%m%d")
        );
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let names = self.charges.range::<str, _>(from).map(|(name, _)| *name);
        let of_debt = names.take_while(|name| name.starts_with(&prefix));
        of_debt.filter(|name| self.is_declined_there(name)).count()
    }
}

/// The record of an approved charge.
pub(super) fn approval(request: &Request) -> Option<&str> {
    match &request.decided {
        Some(Decided::Approved { imp_uid }) => Some(imp_uid),
        _ => None,
    }
}

/// Whether a charge was refused before it was read, so that the client repeats it at once.
pub(super) fn is_unauthorized(request: &Request) -> bool {
    request.decided == Some(Decided::NotProcessed)
        && request.ended == Some(Ended::Answered { status: 401 })
}

/// An instant for people.
pub(super) fn at(us: i64) -> String {
    Timestamp::from_microsecond(us).map_or_else(|_| format!("{us} µs"), |at| at.to_string())
}

/// A violation that is about one attempt.
pub(super) fn of_attempt(property: Property, merchant_uid: &str, text: String) -> Violation {
    Violation {
        property,
        subscription: Debt::of(merchant_uid).map(|debt| debt.subscription),
        merchant_uid: Some(merchant_uid.to_owned()),
        text,
    }
}

/// A violation that is about a subscription.
pub(super) fn of_subscription(property: Property, subscription: &str, text: String) -> Violation {
    Violation {
        property,
        subscription: Some(subscription.to_owned()),
        merchant_uid: None,
        text,
    }
}
