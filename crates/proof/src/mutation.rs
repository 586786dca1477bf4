//! Bugs that a run can be given, to see that the judge finds them.

/// Which bug to have: `rescue_by_sending`.
pub(crate) const VARIABLE: &str = "BILLD_MUTATION";

/// A bug, named after what the program then does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The request leaves before the commit of its attempt.
    SendBeforeBegin,
    /// A request without an answer is taken for a decline.
    TimeoutIsDecline,
    /// An expired attempt is sent again without asking.
    RescueBySending,
    /// An answer is written whatever claim it comes from.
    RecordWithoutFence,
    /// The lease ends while the call may still be under way.
    ShortLease,
    /// Of several records of a look-up the newest one counts.
    NewestRecordWins,
    /// The refusal of a paid `merchant_uid` is taken for a decline.
    DuplicateIsDecline,
    /// One decline takes two rungs of the ladder.
    DeclineCountsTwice,
    /// A paid period is followed by the next but one.
    PeriodSkipped,
    /// Requests leave without a slot of the rate cap that all daemons share.
    RateNotShared,
    /// A first "not found" is believed at once.
    NotFoundBelieved,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::SendBeforeBegin,
        Self::TimeoutIsDecline,
        Self::RescueBySending,
        Self::RecordWithoutFence,
        Self::ShortLease,
        Self::NewestRecordWins,
        Self::DuplicateIsDecline,
        Self::DeclineCountsTwice,
        Self::PeriodSkipped,
        Self::RateNotShared,
        Self::NotFoundBelieved,
    ];

    /// How the command line spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendBeforeBegin => "send_before_begin",
            Self::TimeoutIsDecline => "timeout_is_decline",
            Self::RescueBySending => "rescue_by_sending",
            Self::RecordWithoutFence => "record_without_fence",
            Self::ShortLease => "short_lease",
            Self::NewestRecordWins => "newest_record_wins",
            Self::DuplicateIsDecline => "duplicate_is_decline",
            Self::DeclineCountsTwice => "decline_counts_twice",
            Self::PeriodSkipped => "period_skipped",
            Self::RateNotShared => "rate_not_shared",
            Self::NotFoundBelieved => "not_found_believed",
        }
    }
}
