//! What follows when the gateway's books are held against ours. Pure.
//!
//! The gateway's record is evidence, not an order: it can make an attempt due to be asked about,
//! prove that money moved, and notify a person. It never makes anything unpaid.

mod finding;

use crate::domain::attempt::Payment;
use crate::domain::ids::{ImpUid, SubscriptionId, is_id, period_and_number};

pub use finding::{Finding, FindingKind, FindingState};

/// What a record of the gateway's books says of the money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookStatus {
    /// Money moved.
    Paid,
    /// Money moved and was given back, in whole or in part.
    Cancelled,
    /// No money moved, or not yet.
    NoMoney,
}

/// One record of the gateway's books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookEntry {
    /// Whose number the merchant gave it. Any text: it need not be ours.
    pub merchant_uid: String,
    /// The gateway's receipt.
    pub payment: Payment,
    /// What became of the money.
    pub status: BookStatus,
    /// The sum in minor units; `None` if it is no whole number of them.
    pub amount: Option<i64>,
    /// Its currency, as written there.
    pub currency: String,
    /// The card, if the record names one.
    pub customer_uid: Option<String>,
}

impl BookEntry {
    /// Whether the merchant still has any of it. A sum that can't be read counts as kept.
    pub fn is_kept(&self) -> bool {
        match self.status {
            BookStatus::NoMoney => false,
            BookStatus::Paid | BookStatus::Cancelled => self
                .amount
                .is_none_or(|amount| amount > self.payment.cancelled_amount),
        }
    }
}

/// How far our own request had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnState {
    /// Its fate is open: the gateway is being asked anyhow.
    Open,
    /// Money moved.
    Paid,
    /// Declined or not sent: no money moved, as far as we know.
    Final,
}

/// What our books say under the same `merchant_uid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnEntry {
    /// Whose debt it was, if it was one of a subscription.
    pub subscription: Option<SubscriptionId>,
    /// How far it had come.
    pub state: OwnState,
    /// What was asked for, in minor units.
    pub amount: i64,
    /// In which currency.
    pub currency: String,
    /// From which card.
    pub customer_uid: Option<String>,
    /// The receipt, once paid.
    pub imp_uid: Option<ImpUid>,
    /// What our books have as given back.
    pub cancelled_amount: i64,
    /// Whether a refund of ours is under way, or its fate is open.
    pub is_being_refunded: bool,
}

impl OwnEntry {
    /// Whether somebody else gave some of it back. While a refund of ours is open it may well have
    /// been that one, and its own look at the payment will show.
    pub fn is_cancelled_there(&self, given_back: i64) -> bool {
        given_back > self.cancelled_amount && !self.is_being_refunded
    }
}

/// What ties a record that matches no row of ours to our subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartialMatch {
    /// A subscription that charges this card.
    pub by_card: Option<SubscriptionId>,
    /// The subscription that its `merchant_uid` is derived from.
    pub by_name: Option<SubscriptionId>,
    /// Whether its `merchant_uid` has the shape of those that billd makes.
    pub is_named_like_ours: bool,
}

/// Whether billd could have made this `merchant_uid`: 32 digits of a subscription, YYMMDD and the
/// attempt, or `hand` and 32 digits. Of rows that a fail-over lost only the name is left.
pub fn is_named_like_ours(merchant_uid: &str) -> bool {
    if let Some(rest) = merchant_uid.strip_prefix("hand") {
        return is_id(rest);
    }
    let Some(digits) = period_and_number(merchant_uid) else {
        return false;
    };
    let part = |from: usize| digits.get(from..).and_then(|text| text.get(..2));
    part(2).is_some_and(|month| ("01"..="12").contains(&month))
        && part(4).is_some_and(|day| ("01"..="31").contains(&day))
        && part(6).is_some_and(|attempt| attempt != "00")
}

/// What is to be done about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Nothing,
    /// Our attempt is open: ask what became of it now.
    AskNow,
    /// Our attempt counts as unpaid: write down that money moved.
    WritePaid,
    /// Write down how much was given back.
    FollowCancel,
}

/// What one record means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// It is ours and moved money, so our payment has its counterpart.
    pub is_seen: bool,
    /// Everything was given back, so whatever was found about it before no longer holds.
    pub is_refunded: bool,
    /// What is to be done.
    pub act: Act,
    /// What a person must be notified of.
    pub found: Option<FindingKind>,
}

/// Judges one record of the gateway's books.
pub fn judge(entry: &BookEntry, own: Option<&OwnEntry>, partial: PartialMatch) -> Verdict {
    let mut verdict = Verdict {
        is_seen: false,
        is_refunded: false,
        act: Act::Nothing,
        found: None,
    };
    if entry.status == BookStatus::NoMoney {
        return verdict;
    }
    verdict.is_refunded = !entry.is_kept();
    let Some(own) = own else {
        verdict.found = unmatched(entry, partial);
        return verdict;
    };
    verdict.is_seen = true;
    if let Some(mismatch) = mismatch(entry, own) {
        // Money under our name that is not what we asked for is an alarm, not a payment.
        verdict.found = entry.is_kept().then_some(mismatch);
        return verdict;
    }
    match own.state {
        OwnState::Open => verdict.act = Act::AskNow,
        OwnState::Final => {
            verdict.act = Act::WritePaid;
            verdict.found = Some(FindingKind::PaidThereNotHere);
        }
        OwnState::Paid if own.imp_uid.as_ref() != Some(&entry.payment.imp_uid) => {
            verdict.found = entry.is_kept().then_some(FindingKind::PaidTwice);
        }
        OwnState::Paid if own.is_cancelled_there(entry.payment.cancelled_amount) => {
            verdict.act = Act::FollowCancel;
            verdict.found = Some(FindingKind::CancelledThere);
        }
        OwnState::Paid => {}
    }
    verdict
}

/// Money that none of our requests asked for. Other sales of the same merchant are none of ours.
fn unmatched(entry: &BookEntry, partial: PartialMatch) -> Option<FindingKind> {
    if !entry.is_kept() {
        return None;
    }
    if partial.by_name.is_some() || partial.is_named_like_ours {
        return Some(FindingKind::PaidThereNotHere);
    }
    partial.by_card.map(|_| FindingKind::ForeignPayment)
}

fn mismatch(entry: &BookEntry, own: &OwnEntry) -> Option<FindingKind> {
    if entry.amount != Some(own.amount) || entry.currency != own.currency {
        return Some(FindingKind::AmountMismatch);
    }
    match &entry.customer_uid {
        Some(card) if own.customer_uid.as_ref().is_some_and(|ours| ours != card) => {
            Some(FindingKind::CustomerMismatch)
        }
        Some(_) | None => None,
    }
}

/// What a page of the gateway's books comes to: everything to be written, for one commit.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Requests of ours that the books hold.
    pub seen: Vec<String>,
    /// Payments, by `merchant_uid` and `imp_uid`, of which everything was given back.
    pub refunded: Vec<(String, String)>,
    /// Requests of ours to ask about now.
    pub ask_now: Vec<String>,
    /// Payments to write down for requests that count as unpaid.
    pub paid: Vec<(String, Payment)>,
    /// How much was given back in all, by `merchant_uid`.
    pub cancelled: Vec<(String, i64)>,
    /// What a person must be notified of.
    pub findings: Vec<Finding>,
}

impl Comparison {
    /// Adds what one record of the books means.
    pub fn add(&mut self, entry: &BookEntry, own: Option<&OwnEntry>, partial: PartialMatch) {
        let verdict = judge(entry, own, partial);
        let name = &entry.merchant_uid;
        if verdict.is_seen {
            self.seen.push(name.clone());
        }
        if verdict.is_refunded {
            let imp_uid = entry.payment.imp_uid.as_str().to_owned();
            self.refunded.push((name.clone(), imp_uid));
        }
        match verdict.act {
            Act::Nothing => {}
            Act::AskNow => self.ask_now.push(name.clone()),
            Act::WritePaid => self.paid.push((name.clone(), entry.payment.clone())),
            Act::FollowCancel => {
                let amount = entry.payment.cancelled_amount;
                self.cancelled.push((name.clone(), amount));
            }
        }
        if let Some(kind) = verdict.found {
            self.findings.push(finding(kind, entry, own, partial));
        }
    }
}

fn finding(
    kind: FindingKind,
    entry: &BookEntry,
    own: Option<&OwnEntry>,
    partial: PartialMatch,
) -> Finding {
    let (ours, theirs) = if kind == FindingKind::CancelledThere {
        let given_back = entry.payment.cancelled_amount;
        (own.map(|own| own.cancelled_amount), Some(given_back))
    } else {
        (own.map(|own| own.amount), entry.amount)
    };
    Finding {
        kind,
        merchant_uid: entry.merchant_uid.clone(),
        imp_uid: Some(entry.payment.imp_uid.as_str().to_owned()),
        subscription: own
            .and_then(|own| own.subscription)
            .or(partial.by_name)
            .or(partial.by_card),
        amount_ours: ours,
        amount_theirs: theirs,
        currency: Some(entry.currency.clone()),
        note: note(kind, own, partial).map(str::to_owned),
    }
}

/// What a person should know beside the figures. Cards are not named: the subscription is.
fn note(kind: FindingKind, own: Option<&OwnEntry>, partial: PartialMatch) -> Option<&'static str> {
    match (kind, own) {
        (FindingKind::PaidThereNotHere, Some(_)) => {
            Some("counted as unpaid here; now written down as paid, so it is not charged again")
        }
        (FindingKind::PaidThereNotHere, None) if partial.by_name.is_none() => Some(
            "bears a name such as billd makes, but the tables know nothing of it: lost by a \
             fail-over, or another billd's on this merchant account",
        ),
        (FindingKind::PaidThereNotHere, None) => {
            Some("bears a name of this subscription, but the attempt is not in the tables")
        }
        (FindingKind::PaidTwice, _) => Some("a second receipt under the same merchant_uid"),
        (FindingKind::CustomerMismatch, _) => Some("charged to another card than was asked"),
        (FindingKind::ForeignPayment, _) => {
            Some("not asked for by billd: another program or person charges this card")
        }
        (FindingKind::CancelledThere, _) => Some("written down here; nothing to do"),
        (
            FindingKind::AmountMismatch
            | FindingKind::PaidHereNotThere
            | FindingKind::ForeignSchedule,
            _,
        ) => None,
    }
}

#[cfg(test)]
mod tests;
