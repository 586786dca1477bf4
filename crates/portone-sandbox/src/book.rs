//! The records: every payment, billing key and reservation, and the ledger of approvals.
//!
//! Plain data behind one short-held lock; nothing here waits. A payment is never removed, and the
//! ledger only grows, so that a test can ask at the end whether money moved twice.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use super::amount::Amount;
use super::answer::Ending;
use super::behaviour::{self, Behaviour, Verdict};
use super::card;
use super::journal::{Event, Journal};
use super::key::{Key, Keys};
use super::ledger::LedgerEntry;
use super::nightly_cancel;
use super::payment::{Cancel, Order, Payment, Status, Usage};
use super::schedule::{Schedule, Schedules};

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

/// What a card makes of a charge.
#[derive(Debug, Clone)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    pub(super) ending: Ending,
    /// False when the fault comes before the charge.
    pub(super) charges: bool,
    /// Masked, if a card was registered.
    pub(super) card_number: Option<Box<str>>,
}

impl Decision {
    fn by(behaviour: Option<&Behaviour>, card_number: Option<Box<str>>) -> Self {
        let behaviour = behaviour.map(|b| (b.verdict, b.ending, b.charges));
        let (verdict, ending, charges) =
            behaviour.unwrap_or((Verdict::Approve, Ending::Answer, true));
        Self {
            verdict,
            ending,
            charges,
            card_number,
        }
    }
}

/// One charge that the card has decided.
#[derive(Debug)]
pub(super) struct Charge {
    pub(super) order: Order,
    pub(super) usage: Option<Usage>,
    pub(super) verdict: Verdict,
    pub(super) card_number: Option<Box<str>>,
    pub(super) requested_at_us: i64,
    pub(super) now_us: i64,
}

/// What the sandbox remembers.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// The digits of the first payment's `imp_uid`; the others follow without gaps.
    first_number: u64,
    payments: Vec<Payment>,
    by_merchant_uid: HashMap<Box<str>, Vec<usize>>,
    by_customer_uid: HashMap<Box<str>, Vec<usize>>,
    /// In the order in which money moved.
    approvals: Vec<usize>,
    keys: Keys,
    schedules: Schedules,
    running: HashSet<Box<str>>,
    /// Charges of the cards that change their mind.
    charges: HashMap<Box<str>, u32>,
    pub(super) tally: Tally,
    /// The last evening whose test charges were looked at.
    pub(super) evening_us: i64,
    journal: Option<Journal>,
}

impl Book {
    /// An empty book. Numbers follow the clock, so that a sandbox that starts again does not give a
    /// merchant's database an `imp_uid` that it knows already.
    pub(super) fn new(now_us: i64) -> Self {
        Self {
            first_number: u64::try_from(now_us.div_euclid(10)).unwrap_or_default(),
            evening_us: nightly_cancel::last_us(now_us),
            ..Self::default()
        }
    }

    /// The book that a data file remembers, and how far its clock was moved.
    pub(super) fn open(path: &Path, now_us: i64) -> io::Result<(Self, i64)> {
        let (journal, events) = Journal::open(path)?;
        let mut book = Self::new(now_us);
        let is_fresh = events.is_empty();
        let mut clock_moved_us = 0;
        for event in events {
            if let Event::Clock { moved_us } = event {
                clock_moved_us = moved_us;
            }
            book.apply(event);
        }
        book.journal = Some(journal);
        if is_fresh {
            book.note_opening();
        }
        Ok((book, clock_moved_us))
    }

    /// Forgets everything, in the data file too.
    pub(super) fn reset(&mut self, now_us: i64) {
        let journal = self.journal.take();
        *self = Self::new(now_us);
        if let Some(mut journal) = journal {
            if let Err(error) = journal.clear() {
                tracing::error!(%error, "the sandbox couldn't empty its data file");
            }
            self.journal = Some(journal);
            self.note_opening();
        }
    }

    /// Lets go of the data file, for the next sandbox.
    pub(super) fn close(&mut self) {
        self.journal = None;
    }

    fn note_opening(&mut self) {
        let first_number = self.first_number;
        self.note(&Event::Opened { first_number });
    }

    /// Writes a change to the data file, if there is one.
    pub(super) fn note(&mut self, event: &Event<'_>) {
        if let Some(journal) = &mut self.journal
            && let Err(error) = journal.write(event)
        {
            tracing::error!(%error, "the sandbox couldn't write to its data file");
        }
    }

    fn apply(&mut self, event: Event<'_>) {
        match event {
            Event::Opened { first_number } => self.first_number = first_number,
            Event::Payment(payment) => {
                let payment = payment.into_owned();
                if let Some(known) = self.position(payment.number) {
                    *known = payment;
                } else {
                    self.insert(payment);
                }
            }
            Event::Key(key) => self.keys.put(key.into_owned()),
            Event::Schedule(schedule) => self.schedules.put(schedule.into_owned()),
            Event::Charged { customer_uid } => {
                let charges = self.charges.entry((&*customer_uid).into()).or_default();
                *charges = charges.saturating_add(1);
            }
            Event::Clock { .. } => {}
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

    /// Whether a request holds the turn of this `merchant_uid`.
    pub(super) fn is_running(&self, merchant_uid: &str) -> bool {
        self.running.contains(merchant_uid)
    }

    /// What this charge of the card shall do: the word in its `customer_uid` first, then its key.
    pub(super) fn decide(&mut self, customer_uid: &str, key_required: bool) -> Decision {
        let key = self.keys.ever(customer_uid);
        let is_unknown = key.map_or(key_required, |key| key.is_deleted);
        let card_number = key.map(|key| key.card_number.clone());
        let by_card = card_number.as_deref().and_then(card::behaviour);
        let verdict = match behaviour::of(customer_uid) {
            Some((behaviour, None)) => Some(behaviour),
            Some((behaviour, Some(first))) => {
                let charges = self.charges.get(customer_uid).copied().unwrap_or_default();
                let event = Event::Charged {
                    customer_uid: Cow::Borrowed(customer_uid),
                };
                self.note(&event);
                self.apply(event);
                (charges < first).then_some(behaviour)
            }
            None => by_card,
        };
        let mut decision = Decision::by(verdict, card_number);
        if is_unknown {
            decision.verdict = Verdict::Unknown;
        }
        decision
    }

    /// What a charge of this card does when no `customer_uid` is known.
    pub(super) fn decide_by_card(masked: Box<str>) -> Decision {
        Decision::by(card::behaviour(&masked), Some(masked))
    }

    /// Writes a payment down, as its card decided.
    pub(super) fn charge(&mut self, charge: Charge) -> &Payment {
        let now_us = charge.now_us;
        let (status, fail_reason) = match charge.verdict {
            Verdict::Approve => (Status::Paid, None),
            Verdict::Decline(reason) | Verdict::DeclineNull(reason) => {
                (Status::Failed, Some(reason.into()))
            }
            Verdict::Pending | Verdict::Unknown => (Status::Ready, None),
        };
        let at_if = |happened| if happened { now_us } else { 0 };
        let nth = u64::try_from(self.payments.len()).unwrap_or(u64::MAX);
        let payment = Payment {
            number: self.first_number.saturating_add(nth),
            order: charge.order,
            status,
            usage: charge.usage,
            card_number: charge.card_number,
            started_at_us: charge.requested_at_us,
            paid_at_us: at_if(status == Status::Paid),
            failed_at_us: at_if(status == Status::Failed),
            cancelled_at_us: 0,
            updated_at_us: now_us,
            fail_reason,
            cancels: Vec::new(),
        };
        self.note(&Event::Payment(Cow::Borrowed(&payment)));
        self.insert(payment)
    }

    fn insert(&mut self, payment: Payment) -> &Payment {
        let nth = self.payments.len();
        if payment.status.took_money() {
            let before = self
                .of_merchant_uid(&payment.order.merchant_uid)
                .filter(|payment| payment.status.took_money())
                .count();
            // The second approval makes it a number that was approved more than once; a third one
            // does not make it another.
            if before == 1 {
                let twice = &mut self.tally.merchant_uids_approved_twice;
                *twice = twice.saturating_add(1);
            }
            self.tally.approvals = self.tally.approvals.saturating_add(1);
            self.approvals.push(nth);
        } else if payment.status == Status::Failed {
            self.tally.declines = self.tally.declines.saturating_add(1);
        }
        let merchant_uid = payment.order.merchant_uid.clone();
        self.by_merchant_uid
            .entry(merchant_uid)
            .or_default()
            .push(nth);
        if let Some(customer_uid) = payment.order.customer_uid.clone() {
            self.by_customer_uid
                .entry(customer_uid)
                .or_default()
                .push(nth);
        }
        self.payments.push_mut(payment)
    }

    /// Gives a part of a payment back, or all that is left of it. The caller has checked the sum.
    pub(super) fn cancel(
        &mut self,
        number: u64,
        amount: Amount,
        reason: Box<str>,
        now_us: i64,
        part_shows_cancelled: bool,
    ) -> Option<&Payment> {
        let payment = self.position(number)?;
        payment.cancels.push(Cancel {
            amount,
            at_us: now_us,
            reason,
        });
        if part_shows_cancelled || payment.cancelled() >= payment.order.amount {
            payment.status = Status::Cancelled;
        }
        payment.cancelled_at_us = now_us;
        payment.updated_at_us = now_us;
        let payment = payment.clone();
        self.note(&Event::Payment(Cow::Borrowed(&payment)));
        self.by_number(number)
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn put_key(&mut self, key: Key) {
        self.note(&Event::Key(Cow::Borrowed(&key)));
        self.keys.put(key);
    }

    pub(super) fn schedules(&self) -> &Schedules {
        &self.schedules
    }

    pub(super) fn put_schedule(&mut self, schedule: Schedule) {
        self.note(&Event::Schedule(Cow::Borrowed(&schedule)));
        self.schedules.put(schedule);
    }

    /// All records of one `merchant_uid`, oldest first.
    pub(super) fn of_merchant_uid(&self, merchant_uid: &str) -> impl Iterator<Item = &Payment> {
        self.at(self.by_merchant_uid.get(merchant_uid))
    }

    /// All records of one card, oldest first.
    pub(super) fn of_customer_uid(&self, customer_uid: &str) -> impl Iterator<Item = &Payment> {
        self.at(self.by_customer_uid.get(customer_uid))
    }

    fn at<'a>(&'a self, positions: Option<&'a Vec<usize>>) -> impl Iterator<Item = &'a Payment> {
        let positions = positions.into_iter().flatten();
        positions.filter_map(|nth| self.payments.get(*nth))
    }

    pub(super) fn by_imp_uid(&self, imp_uid: &str) -> Option<&Payment> {
        self.by_number(imp_uid.strip_prefix("imp_")?.parse().ok()?)
    }

    pub(super) fn by_number(&self, number: u64) -> Option<&Payment> {
        let nth = number.checked_sub(self.first_number)?;
        self.payments.get(usize::try_from(nth).ok()?)
    }

    fn position(&mut self, number: u64) -> Option<&mut Payment> {
        let nth = number.checked_sub(self.first_number)?;
        self.payments.get_mut(usize::try_from(nth).ok()?)
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
        let entries = entries.filter_map(|(sequence, nth)| {
            let payment = self.payments.get(*nth)?;
            Some(LedgerEntry::new(sequence, payment))
        });
        entries.collect()
    }
}
