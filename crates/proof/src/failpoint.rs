//! The named points at which a daemon or a command can be told to die.
//!
//! The program has them if it was built with the feature `failpoints`. Its sources are searched for
//! these names by `tests/it/architecture.rs`, so neither list can fall behind the other.

/// At which point to die, and at which visit of it: `flush_next:3`.
pub const VARIABLE: &str = "BILLD_FAILPOINT";

/// The points, each with how the program spells it.
macro_rules! failpoints {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)+) => {
        /// A place on the way of a charge. A name says what was done last.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Failpoint {
            $($(#[$doc])* $point,)+
        }

        impl Failpoint {
            /// All of them.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$point),+];

            /// How the program spells it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

failpoints! {
    /// Slots are taken, the claim is about to be sent.
    ClaimNext = "claim_next",
    /// The claim is committed; nothing of it is known to the daemon yet.
    ClaimCommitted = "claim_committed",
    /// The lease was found long enough; the request is about to leave.
    SendNext = "send_next",
    /// The request has left and its answer is awaited.
    Sent = "sent",
    /// The answer was read.
    AnswerRead = "answer_read",
    /// What follows was decided.
    Decided = "decided",
    /// The answer is in the recorder's hands, not in the database.
    RecordQueued = "record_queued",
    /// A batch is about to be written.
    FlushNext = "flush_next",
    /// A batch is committed; nobody was told.
    FlushCommitted = "flush_committed",
    /// The charge knows that it is recorded.
    Recorded = "recorded",
    /// The stop was heard; calls are under way.
    DrainBegun = "drain_begun",
    /// Calls have ended; the last answers are being written.
    DrainFlushing = "drain_flushing",
    /// Open attempts were taken over to be asked about.
    AskClaimed = "ask_claimed",
    /// The gateway has said what became of an attempt.
    LookUpRead = "look_up_read",
    /// What the look-up said is recorded, and that the attempt will leave again, if so.
    LookUpRecorded = "look_up_recorded",
    /// The same `merchant_uid` is about to leave again.
    SendAgainNext = "send_again_next",
    /// The answer to the repeated request was read.
    SendAgainRead = "send_again_read",
    /// A row that is looked at again is locked, its next step not yet written.
    RecheckLocked = "recheck_locked",
    /// Migrations are about to be applied.
    MigrateNext = "migrate_next",
    /// Migrations are applied; nobody was told.
    MigrateDone = "migrate_done",
    /// A slot is taken; a one-off charge is about to be written down.
    OneOffNext = "one_off_next",
    /// A one-off charge is written down and has not left.
    OneOffBegun = "one_off_begun",
    /// A refund is about to be written down.
    RefundNext = "refund_next",
    /// A refund is written down and has not left.
    RefundBegun = "refund_begun",
    /// The answer to a refund was read.
    RefundRead = "refund_read",
    /// What became of a refund was decided, with a look at the payment if it was refused.
    RefundDecided = "refund_decided",
    /// What became of a refund is recorded; nobody was told.
    RefundRecorded = "refund_recorded",
    /// Open refunds were taken over, their payments are about to be looked at.
    RefundAskClaimed = "refund_ask_claimed",
}

impl Failpoint {
    /// Those on the way of a one-off charge: it is begun by a command, and goes on as all charges do.
    pub const OF_ONE_OFFS: [Self; 10] = [
        Self::OneOffNext,
        Self::OneOffBegun,
        Self::SendNext,
        Self::Sent,
        Self::AnswerRead,
        Self::Decided,
        Self::RecordQueued,
        Self::FlushNext,
        Self::FlushCommitted,
        Self::Recorded,
    ];

    /// Those on the way of a refund, in the command that asks for it.
    pub const OF_REFUNDS: [Self; 5] = [
        Self::RefundNext,
        Self::RefundBegun,
        Self::RefundRead,
        Self::RefundDecided,
        Self::RefundRecorded,
    ];
}
