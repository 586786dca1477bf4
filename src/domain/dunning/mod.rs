//! What follows from an outcome: policy and history in, a decision out.
//!
//! Nothing here reads a clock: a decision carries a wait, and the store adds it to the database's
//! time. No path leads from an unknown outcome to a new attempt; only a proof does, and
//! [`decide_lookup`] says what is one.

mod ladder;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::domain::attempt::{ChargeOutcome, Lookup, NotSent, Unknown, UnknownReason};
use crate::domain::decline::DeclineClass;
use crate::domain::ids::AttemptNo;

pub use ladder::{Backoff, Ladder, LadderError};

/// Before asking about a used `merchant_uid` that the gateway refuses: it has the payment at hand.
const ASK_WAIT_DUPLICATE: Duration = Ladder::WAIT_MIN;

/// Between questions if the policy names no wait: asking never ends.
const ASK_WAIT_DEFAULT: Duration = Duration::from_hours(24);

/// The merchant's rules for what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// After "limit or balance".
    pub soft_funds: Ladder,
    /// After "outage, try later"; takes no rung, and the last wait repeats.
    pub soft_temp: Ladder,
    /// After "call the card company".
    pub issuer_call: Ladder,
    /// After a refusal that did not exclude a charge, once it is settled that there was none.
    pub unclear: Ladder,
    /// After a refusal that no rule knows.
    pub unspecified: Ladder,
    /// After a refusal that needs a new card or other data; normally empty.
    pub hard: Ladder,
    /// After a refusal that is the merchant's own contract or limit; takes no rung.
    pub hold: Duration,
    /// After a request that never left; takes no rung and no number.
    pub not_sent: Backoff,
    /// Between questions about an unknown outcome; the last one repeats for ever.
    pub asks: Ladder,
    /// How long after sending a charge may still turn up in the gateway's books.
    pub settle: Duration,
    /// How many "not found" in a row are needed after that.
    pub not_found_min: u16,
    /// What follows then.
    pub on_not_found: NotFoundPolicy,
    /// How often one `merchant_uid` may be sent, the first time included.
    pub sends_max: u8,
}

#[cfg(test)]
impl Policy {
    /// Rules for the tests of what stands on them.
    pub(in crate::domain) fn example() -> Self {
        let ladder = |text: &str| Ladder::parse(text).unwrap();
        Self {
            soft_funds: ladder("1d"),
            soft_temp: ladder("1h"),
            issuer_call: ladder("1d"),
            unclear: ladder("1d"),
            unspecified: ladder("1d"),
            hard: ladder(""),
            hold: Duration::from_hours(1),
            not_sent: Backoff {
                first: Duration::from_secs(30),
                max: Duration::from_hours(1),
            },
            asks: ladder("5s,1d"),
            settle: Duration::from_mins(15),
            not_found_min: 3,
            on_not_found: NotFoundPolicy::SendAgain,
            sends_max: 3,
        }
    }
}

words! {
    /// What follows when the gateway still knows nothing of an attempt after the settle time.
    pub enum NotFoundPolicy {
        /// The same `merchant_uid` is sent again: the gateway refuses it if it has been paid after all.
        SendAgain = "send_again",
        /// A person decides.
        Park = "park",
    }
}

/// What has been tried in this billing cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// The attempt whose outcome is being decided.
    pub attempt_no: AttemptNo,
    /// How many earlier attempts of the cycle took a rung.
    pub declines: u8,
    /// How often in a row this attempt could not leave before.
    pub not_sent: u16,
}

impl History {
    /// Of a first attempt.
    pub const FIRST: Self = Self {
        attempt_no: AttemptNo::FIRST,
        declines: 0,
        not_sent: 0,
    };

    /// How many earlier attempts of the cycle took no rung.
    fn without_rung(self) -> u8 {
        self.attempt_no
            .get()
            .saturating_sub(1)
            .saturating_sub(self.declines)
    }
}

/// How far the questions about one attempt have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Since the attempt was last sent.
    pub age: Duration,
    /// How often it has been asked, this time included.
    pub asks: u16,
    /// How many "not found" in a row, this one included.
    pub not_found: u16,
    /// How often the attempt has been sent, the first time included.
    pub sends: u8,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Paid: the cycle is closed, and the next period is on.
    Advance,
    /// This request moved no money, which is proved: the debt is asked for again after `wait`, as a new
    /// attempt, or as the same one if it did not leave.
    Retry {
        /// From the time at which the outcome is recorded.
        wait: Duration,
        /// Whether this counts in [`History::declines`] from now on.
        took_rung: bool,
    },
    /// The cycle is given up, and the subscription is past due.
    GiveUp(GiveUpReason),
    /// Nobody can tell: ask the gateway after `wait`.
    Ask {
        /// From the time at which the outcome or the answer is recorded.
        wait: Duration,
    },
    /// The gateway knows nothing of the attempt: send the same `merchant_uid` again.
    SendAgain,
    /// A person must look; asking goes on.
    Park {
        /// Until the next question.
        wait: Duration,
    },
}

impl Decision {
    /// How long until what follows, if that is a matter of time.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Retry { wait, .. } | Self::Ask { wait } | Self::Park { wait } => Some(*wait),
            Self::Advance | Self::GiveUp(_) | Self::SendAgain => None,
        }
    }

    /// The word for rows and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Advance => "advance",
            Self::Retry { .. } => "retry",
            Self::GiveUp(_) => "give_up",
            Self::Ask { .. } => "ask",
            Self::SendAgain => "send_again",
            Self::Park { .. } => "park",
        }
    }
}

words! {
    /// Why a cycle is given up.
    pub enum GiveUpReason {
        /// Refused in a way that no wait mends.
        HardDecline = "hard_decline",
        /// The class of the refusal has no rung left.
        LadderEnded = "ladder_ended",
        /// [`AttemptNo::MAX`] is reached, so there is no further `merchant_uid`.
        AttemptsExhausted = "attempts_exhausted",
        /// The row says something that can't be asked for.
        BadRow = "bad_row",
        /// The payment that was to begin a subscription did not succeed, and the card is not kept.
        FirstPayment = "first_payment",
        /// A one-off charge was not made; there is no ladder.
        OneOff = "one_off",
    }
}

/// Decides what follows from the outcome of a charge.
///
/// A refusal of class [`DeclineClass::Unclear`] comes here as [`ChargeOutcome::Declined`] only when
/// a look-up has settled it; straight from a charge it is [`ChargeOutcome::Unknown`].
pub fn decide(policy: &Policy, outcome: &ChargeOutcome, history: History) -> Decision {
    match outcome {
        ChargeOutcome::Paid(_) => Decision::Advance,
        ChargeOutcome::Declined(decline) => decide_decline(policy, decline.class, history),
        ChargeOutcome::NotSent(NotSent::Unbuildable(_)) => Decision::GiveUp(GiveUpReason::BadRow),
        ChargeOutcome::NotSent(
            NotSent::LeaseTooShort
            | NotSent::NoSlot(_)
            | NotSent::PaidBefore(_)
            | NotSent::NotLookedUp(_)
            | NotSent::NoConnection(_)
            | NotSent::NoToken(_)
            | NotSent::Unauthorized,
        ) => {
            let wait = policy.not_sent.wait(u32::from(history.not_sent));
            retry(history, wait, false)
        }
        ChargeOutcome::Unknown(unknown) => match unknown.reason {
            UnknownReason::Mismatch => park(policy),
            UnknownReason::DuplicateMerchantUid => Decision::Ask {
                wait: ASK_WAIT_DUPLICATE,
            },
            UnknownReason::Timeout
            | UnknownReason::ConnectionLost
            | UnknownReason::TooManyRequests
            | UnknownReason::HttpStatus
            | UnknownReason::Unreadable
            | UnknownReason::UnclearDecline
            | UnknownReason::NotFinal
            | UnknownReason::Abandoned => Decision::Ask {
                wait: policy.asks.rung(0).unwrap_or(ASK_WAIT_DEFAULT),
            },
        },
    }
}

/// Decides what follows when the same `merchant_uid` has been sent again.
///
/// That this request never left proves nothing about the one before it, so such an outcome is not
/// recorded: the attempt stays unknown, and the gateway is asked again.
pub fn decide_sent_again(
    policy: &Policy,
    outcome: ChargeOutcome,
    history: History,
) -> (Option<ChargeOutcome>, Decision) {
    match outcome {
        ChargeOutcome::NotSent(_) => (
            None,
            Decision::Ask {
                wait: policy.asks.rung(0).unwrap_or(ASK_WAIT_DEFAULT),
            },
        ),
        ChargeOutcome::Paid(_) | ChargeOutcome::Declined(_) | ChargeOutcome::Unknown(_) => {
            let decision = decide(policy, &outcome, history);
            (Some(outcome), decision)
        }
    }
}

/// Decides what follows from an answer about an attempt whose outcome is unknown.
///
/// `Err` is a question without an answer. An outcome comes back only if it is proved; it is to be
/// recorded together with the decision.
pub fn decide_lookup(
    policy: &Policy,
    lookup: Result<&Lookup, ()>,
    question: &Question,
    history: History,
) -> (Option<ChargeOutcome>, Decision) {
    let is_settled = question.age >= policy.settle;
    let proved = match lookup {
        Ok(Lookup::Paid(payment)) => ChargeOutcome::Paid(payment.clone()),
        // A failed record may be of an earlier request under the same number, one that a fail-over
        // made us forget for instance, while ours is still on its way.
        Ok(found) if is_settled && found.misses_one_of(question.sends) => {
            let decision = if question.not_found >= policy.not_found_min {
                decide_not_found(policy, *question)
            } else {
                // A row of answers that counts is not drawn out over days.
                ask_again(policy, *question, question.not_found)
            };
            return (None, decision);
        }
        Ok(Lookup::Failed { decline, .. }) if is_settled => {
            ChargeOutcome::Declined(decline.clone())
        }
        Ok(Lookup::Unclear(Unknown {
            reason: UnknownReason::Mismatch,
            ..
        })) => return (None, park(policy)),
        Ok(Lookup::Failed { .. } | Lookup::NotFound | Lookup::Unclear(_)) | Err(()) => {
            return (None, ask_again(policy, *question, question.asks));
        }
    };
    let decision = decide(policy, &proved, history);
    (Some(proved), decision)
}

fn decide_decline(policy: &Policy, class: DeclineClass, history: History) -> Decision {
    let ladder = match class {
        DeclineClass::SoftFunds => &policy.soft_funds,
        DeclineClass::IssuerCall => &policy.issuer_call,
        DeclineClass::Unclear => &policy.unclear,
        DeclineClass::Unspecified => &policy.unspecified,
        DeclineClass::HardCard | DeclineClass::HardAuth | DeclineClass::Request => {
            if policy.hard.is_empty() {
                return Decision::GiveUp(GiveUpReason::HardDecline);
            }
            &policy.hard
        }
        DeclineClass::RowText => return Decision::GiveUp(GiveUpReason::BadRow),
        DeclineClass::Config => return retry(history, policy.hold, false),
        DeclineClass::SoftTemp => {
            let index = usize::from(history.without_rung());
            return match policy.soft_temp.rung_or_last(index) {
                Some(wait) => retry(history, wait, false),
                None => Decision::GiveUp(GiveUpReason::LadderEnded),
            };
        }
    };
    // One index for all ladders: refusals of different classes must not add up to more attempts
    // than the longest ladder allows.
    match ladder.rung(usize::from(history.declines)) {
        Some(wait) => retry(history, wait, true),
        None => Decision::GiveUp(GiveUpReason::LadderEnded),
    }
}

/// The only maker of [`Decision::Retry`], so that no path forgets the last number.
fn retry(history: History, wait: Duration, took_rung: bool) -> Decision {
    if history.attempt_no.get() >= AttemptNo::MAX {
        return Decision::GiveUp(GiveUpReason::AttemptsExhausted);
    }
    Decision::Retry {
        wait: wait.max(Ladder::WAIT_MIN),
        took_rung,
    }
}

fn decide_not_found(policy: &Policy, question: Question) -> Decision {
    match policy.on_not_found {
        NotFoundPolicy::SendAgain if question.sends < policy.sends_max => Decision::SendAgain,
        NotFoundPolicy::SendAgain | NotFoundPolicy::Park => park(policy),
    }
}

/// In the place of [`Decision::SendAgain`], while nothing may leave: the next answer decides anew.
pub fn send_later(policy: &Policy, question: Question) -> Decision {
    ask_again(policy, question, 0)
}

fn ask_again(policy: &Policy, question: Question, answers: u16) -> Decision {
    let wait = policy
        .asks
        .rung_or_last(usize::from(answers))
        .unwrap_or(ASK_WAIT_DEFAULT);
    // The answer that counts is the first one after the settle time, so that is not slept through.
    let unsettled = policy.settle.saturating_sub(question.age);
    let wait = if unsettled.is_zero() {
        wait
    } else {
        wait.min(unsettled)
    };
    Decision::Ask {
        wait: wait.max(Ladder::WAIT_MIN),
    }
}

/// A person must look. In the place of [`Decision::SendAgain`], too, if what is asked for is not owed so any more.
pub fn park(policy: &Policy) -> Decision {
    Decision::Park {
        wait: policy
            .asks
            .rung_or_last(usize::MAX)
            .unwrap_or(ASK_WAIT_DEFAULT),
    }
}
