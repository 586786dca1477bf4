//! Ways to break it: programs with a flaw, and worlds that keep no promise.

/// One way in which program or world differs from the sound one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Variant {
    // Programs with a flaw.
    /// The request leaves before the attempt is committed.
    SendBeforeBegin,
    /// No answer is taken for a refusal.
    TimeOutIsDecline,
    /// An attempt that lost its daemon is written off and another one made, without asking.
    RescueByNewAttempt,
    /// `record.sql` without `fence` in its `where`.
    RecordWithoutFence,
    /// The lease may end before the call does, so a request leaves after somebody else took over.
    LeaseShorterThanCall,
    /// The newest record of a look-up is believed, a failed one over a paid one.
    NewestRecordWins,
    /// The refusal of a paid name is taken for a decline.
    DuplicateIsDecline,
    /// `record.sql` without `open_attempt` in the `where` of its move.
    DeclineCountedTwice,
    /// Names hold something random, so a repeat after a fail-over is not known again.
    RandomName,
    /// "Not found" counts before the settle time.
    NotFoundBelievedEarly,
    /// A fence is the last one plus one, so a lost tail makes the same number again.
    FenceCountsByOne,
    /// A request that does not leave ends its name, and the retry leaves under a new one.
    NotSentEndsName,
    /// After a fail-over work goes on at once, while requests of the lost tail are still in process.
    NoRestAfterFailOver,

    // Worlds that keep no promise.
    /// The wait before a retry is shorter than a request can be in process.
    RetryAtOnce,
    /// A stand-by lags by more than the wait before a retry.
    TailOutlastsRetry,
    /// The gateway decides a request after the settle time.
    ChargesAfterSettle,
    /// The gateway charges a name that is paid.
    ApprovesPaidName,
    /// The look-up says "failed" of an approved charge, after the settle time.
    FailedForApproved,
}
