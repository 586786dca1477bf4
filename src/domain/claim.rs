//! What a claim gives to work on, and what goes back.

use std::time::Duration;

use jiff::civil::Date;

use crate::domain::attempt::{ChargeOutcome, ChargeRequest};
use crate::domain::dunning::{Decision, History, Question};
use crate::domain::ids::{MerchantUid, SubscriptionId};
use crate::domain::purpose::Purpose;

/// Which attempt, and under which claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptKey {
    /// The attempt.
    pub merchant_uid: MerchantUid,
    /// The debt that it asks for; `None` for a one-off charge.
    pub debt: Option<Debt>,
    /// The claim. A write that repeats an older one changes nothing but the fact that money moved.
    pub fence: i64,
}

/// What is owed for one period of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Debt {
    /// By which subscription.
    pub subscription: SubscriptionId,
    /// The first day of the period, which is the debt's name.
    pub period: Date,
}

/// An attempt that is written down as `started` and leased to us: it may be sent now, once.
///
/// Carries the buyer's details, so it has no `Debug`.
#[derive(Clone)]
pub struct Claim {
    /// Which attempt.
    pub key: AttemptKey,
    /// What is asked for.
    pub request: ChargeRequest,
    /// What it is for, so what may follow.
    pub purpose: Purpose,
    /// The attempts of this cycle before.
    pub history: History,
    /// How long after the debt fell due the claim was made.
    pub late: Duration,
}

/// An attempt whose fate is open and which is leased to us to ask about.
#[derive(Clone)]
pub struct OpenAttempt {
    /// Everything needed to send the same request again.
    pub claim: Claim,
    /// How long and how often it has been asked about.
    pub question: Question,
    /// Whether it already waits for a person.
    pub parked: bool,
    /// Whether it may be sent once more: its subscription is active and has the same card, and its debt the
    /// same sum.
    pub may_leave: bool,
}

/// A claimed row that says something billd can't work with. Nothing was sent for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Which attempt.
    pub key: AttemptKey,
    /// What is wrong, for a person.
    pub fault: String,
}

/// What to write down about one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which attempt, under which claim.
    pub key: AttemptKey,
    /// What was learnt; `None` if asking brought nothing new.
    pub outcome: Option<ChargeOutcome>,
    /// What follows.
    pub decision: Decision,
    /// How often in a row the gateway said that it knows nothing of it.
    pub not_found: u16,
}

/// What became of an [`Answer`] in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// Fact and move are durable.
    Moved,
    /// The same answer had been recorded before: a lost reply, met by writing again.
    Already,
    /// The claim was lost to somebody else. A payment was still written down as a fact.
    Stale {
        /// Whether this answer turned the attempt into a paid one after all.
        paid_written: bool,
    },
}
