//! What the judge can say.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Property {
    /// 1: at most one approved charge per subscription and period, and per one-off charge, at the gateway.
    ChargedOnce,
    /// 2: each request for money, and each to give it back, has a row that was committed before it arrived.
    IntentFirst,
    /// 3: no due period vanishes, and who is given up was declined as often as the ladder says.
    NothingVanishes,
    /// 4: paid here if and only if approved there, for the same sum; and as much given back here as there.
    BooksAgree,
    /// 5: one `merchant_uid` is one sum, one currency and one card.
    OneNameOneSum,
    /// 6: no request after its attempt was final, no attempt beside an open one or after a paid one.
    NoRequestAfterTheEnd,
    /// 7: no row changed under a stale fence.
    FencedWrites,
    /// 8: no second in which more requests arrive than the cap allows.
    RateCap,
    /// 9: a subscription moves forward, by one period at a time, on its calendar.
    OnePeriodAtATime,
    /// 10: nothing is open at rest.
    NothingOpenAtRest,
    /// 11: the same number is sent again only after the gateway was asked; that of a one-off charge never.
    RescueMeansAsk,
    /// 12: nobody asks about a request that may still be under way.
    NoQuestionTooEarly,
    /// 13: what a dead daemon left is asked about in time.
    HeirsAskInTime,
    /// 14: under one key money is given back once.
    RefundedOnce,
    /// 15: no time belongs to two debts of one subscription.
    TimeBilledOnce,
    /// 16: no debt is opened for time in which its subscription was not active.
    NothingOutOfService,
    /// 17: the sum of an attempt that leaves is the sum of its debt.
    AskedIsOwed,
    /// 18: before a debt is asked for under another name, its refused attempts are looked up once more.
    LookBeforeAsking,
    /// 19: each payment and each refund is told once, for its sum.
    ToldOnce,
}

impl Property {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::ChargedOnce,
        Self::IntentFirst,
        Self::NothingVanishes,
        Self::BooksAgree,
        Self::OneNameOneSum,
        Self::NoRequestAfterTheEnd,
        Self::FencedWrites,
        Self::RateCap,
        Self::OnePeriodAtATime,
        Self::NothingOpenAtRest,
        Self::RescueMeansAsk,
        Self::NoQuestionTooEarly,
        Self::HeirsAskInTime,
        Self::RefundedOnce,
        Self::TimeBilledOnce,
        Self::NothingOutOfService,
        Self::AskedIsOwed,
        Self::LookBeforeAsking,
        Self::ToldOnce,
    ];

    /// The word for people and logs, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChargedOnce => "charged_once",
            Self::IntentFirst => "intent_first",
            Self::NothingVanishes => "nothing_vanishes",
            Self::BooksAgree => "books_agree",
            Self::OneNameOneSum => "one_name_one_sum",
            Self::NoRequestAfterTheEnd => "no_request_after_the_end",
            Self::FencedWrites => "fenced_writes",
            Self::RateCap => "rate_cap",
            Self::OnePeriodAtATime => "one_period_at_a_time",
            Self::NothingOpenAtRest => "nothing_open_at_rest",
            Self::RescueMeansAsk => "rescue_means_ask",
            Self::NoQuestionTooEarly => "no_question_too_early",
            Self::HeirsAskInTime => "heirs_ask_in_time",
            Self::RefundedOnce => "refunded_once",
            Self::TimeBilledOnce => "time_billed_once",
            Self::NothingOutOfService => "nothing_out_of_service",
            Self::AskedIsOwed => "asked_is_owed",
            Self::LookBeforeAsking => "look_before_asking",
            Self::ToldOnce => "told_once",
        }
    }
}

/// One thing that does not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// What does not hold.
    pub property: Property,
    /// Whose, if it is of one subscription.
    pub subscription: Option<String>,
    /// Which request for money, if it is one.
    pub merchant_uid: Option<String>,
    /// Both sides, with rows and times, for a person.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property.as_str(), self.text)
    }
}
