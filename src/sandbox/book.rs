//! The records: every payment, who has which `merchant_uid`, and the ledger of approvals.
//!
//! Plain data behind one short-held lock; nothing here waits. A payment is never removed, and the
//! ledger only grows, so that a test can ask at the end whether money moved twice.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::amount::Amount;
use super::behaviour::{self, Behaviour, Verdict};
use super::payment::{Order, Payment, Status};

/// One approval: money moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// From 1, without gaps, in the order in which the money moved.
    pub sequence: u64,
    /// The merchant's number.
    pub merchant_uid: String,
    /// The card.
    pub customer_uid: String,
    /// In whole units of the currency; cents are left out.
    pub amount: i64,
    /// Its currency.
    pub currency: String,
    /// The sandbox's number.
    pub imp_uid: String,
    /// When the request came, in unix microseconds of the sandbox's clock.
    pub requested_at_us: i64,
    /// When the money moved, in unix microseconds of the sandbox's clock.
    pub approved_at_us: i64,
}

/// How often what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) approvals: u64,
    pub(super) declines: u64,
    pub(super) refused_duplicates: u64,
    pub(super) refused_concurrent: u64,
    pub(super) merchant_uids_approved_twice: u64,
}

/// Why a charge isn't even tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its `merchant_uid` is paid or cancelled, or failed where that is final.
    Taken,
    /// Another request with its `merchant_uid` is running.
    Running,
}

/// What the sandbox remembers.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// The `imp_uid` before the first payment's.
    first_number: u64,
    payments: Vec<Payment>,
    by_merchant_uid: HashMap<Box<str>, Vec<usize>>,
    approvals: Vec<Approval>,
    running: HashSet<Box<str>>,
    charges: HashMap<Box<str>, u32>,
    pub(super) tally: Tally,
}

#[derive(Debug, Clone, Copy)]
struct Approval {
    payment: usize,
    requested_at_us: i64,
}

impl Book {
    /// An empty book. Numbers follow the clock, so that a sandbox that starts again does not give a
    /// merchant's database an `imp_uid` that it knows already.
    pub(super) fn new(now_us: i64) -> Self {
        Self {
            first_number: u64::try_from(now_us.div_euclid(10)).unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Takes the turn of this `merchant_uid`; [`Book::leave`] gives it back.
    pub(super) fn enter(
        &mut self,
        merchant_uid: &str,
        failed_is_final: bool,
        concurrent: bool,
    ) -> Result<(), Refusal> {
        let taken = self
            .of_merchant_uid(merchant_uid)
            .any(|payment| payment.status.took_money() || failed_is_final);
        if taken {
            self.tally.refused_duplicates = self.tally.refused_duplicates.saturating_add(1);
            return Err(Refusal::Taken);
        }
        if !self.running.insert(merchant_uid.into()) && !concurrent {
            self.tally.refused_concurrent = self.tally.refused_concurrent.saturating_add(1);
            return Err(Refusal::Running);
        }
        Ok(())
    }

    pub(super) fn leave(&mut self, merchant_uid: &str) {
        self.running.remove(merchant_uid);
    }

    /// What this charge of the card shall do, counting the charges of cards that change their mind.
    pub(super) fn behaviour(&mut self, customer_uid: &str) -> Option<&'static Behaviour> {
        let (behaviour, first) = behaviour::of(customer_uid)?;
        let Some(first) = first else {
            return Some(behaviour);
        };
        let charges = self.charges.entry(customer_uid.into()).or_default();
        *charges = charges.saturating_add(1);
        (*charges <= first).then_some(behaviour)
    }

    /// Writes a payment down, as its card decided.
    pub(super) fn charge(
        &mut self,
        order: Order,
        usage: &'static str,
        verdict: Verdict,
        requested_at_us: i64,
        now_us: i64,
    ) -> &Payment {
        let nth = self.payments.len();
        let (status, fail_reason) = match verdict {
            Verdict::Approve => (Status::Paid, None),
            Verdict::Decline(reason) | Verdict::DeclineNull(reason) => {
                (Status::Failed, Some(reason.into()))
            }
            Verdict::Pending | Verdict::Unknown => (Status::Ready, None),
        };
        match status {
            Status::Paid => self.approve(nth, &order.merchant_uid, requested_at_us),
            Status::Failed => self.tally.declines = self.tally.declines.saturating_add(1),
            Status::Ready | Status::Cancelled => {}
        }
        self.by_merchant_uid
            .entry(order.merchant_uid.clone())
            .or_default()
            .push(nth);
        let at_if = |happened| if happened { now_us } else { 0 };
        self.payments.push_mut(Payment {
            number: self
                .first_number
                .saturating_add(u64::try_from(nth).unwrap_or(u64::MAX)),
            order,
            status,
            usage: Some(usage),
            cancelled: Amount::ZERO,
            started_at_us: requested_at_us,
            paid_at_us: at_if(status == Status::Paid),
            failed_at_us: at_if(status == Status::Failed),
            cancelled_at_us: 0,
            updated_at_us: now_us,
            fail_reason,
            cancel_reason: None,
        })
    }

    fn approve(&mut self, payment: usize, merchant_uid: &str, requested_at_us: i64) {
        let before = self
            .of_merchant_uid(merchant_uid)
            .filter(|payment| payment.status.took_money())
            .count();
        // The second approval makes it a number that was approved more than once; a third one does
        // not make it another.
        if before == 1 {
            let twice = &mut self.tally.merchant_uids_approved_twice;
            *twice = twice.saturating_add(1);
        }
        self.tally.approvals = self.tally.approvals.saturating_add(1);
        self.approvals.push(Approval {
            payment,
            requested_at_us,
        });
    }

    /// All records of one `merchant_uid`, oldest first.
    pub(super) fn of_merchant_uid(&self, merchant_uid: &str) -> impl Iterator<Item = &Payment> {
        let records = self.by_merchant_uid.get(merchant_uid);
        records
            .into_iter()
            .flatten()
            .filter_map(|nth| self.payments.get(*nth))
    }

    pub(super) fn by_imp_uid(&self, imp_uid: &str) -> Option<&Payment> {
        let number: u64 = imp_uid.strip_prefix("imp_")?.parse().ok()?;
        let nth = number.checked_sub(self.first_number)?;
        self.payments.get(usize::try_from(nth).ok()?)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Payment> {
        self.payments.iter()
    }

    pub(super) fn merchant_uids(&self) -> usize {
        self.by_merchant_uid.len()
    }

    /// The approvals after a sequence number, at most `limit`.
    pub(super) fn ledger(&self, after: u64, limit: usize) -> Vec<LedgerEntry> {
        let skip = usize::try_from(after).unwrap_or(usize::MAX);
        let entries = (1..).zip(&self.approvals).skip(skip).take(limit);
        entries
            .filter_map(|(sequence, approval)| {
                let payment = self.payments.get(approval.payment)?;
                let customer_uid = payment.order.customer_uid.as_deref();
                Some(LedgerEntry {
                    sequence,
                    merchant_uid: payment.order.merchant_uid.to_string(),
                    customer_uid: customer_uid.unwrap_or_default().to_owned(),
                    amount: payment.order.amount.whole(),
                    currency: payment.currency().to_owned(),
                    imp_uid: payment.imp_uid(),
                    requested_at_us: approval.requested_at_us,
                    approved_at_us: payment.paid_at_us,
                })
            })
            .collect()
    }
}
