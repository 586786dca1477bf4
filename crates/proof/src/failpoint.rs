//! The named points at which a daemon or a command can be told to die.
//!
//! The program has them if it was built with the feature `failpoints`. Its sources are searched for
//! these names by `tests/it/architecture.rs`, so neither list can fall behind the other.

/// At which point to die, and at which visit of it: `flush_next:3`.
pub const VARIABLE: &str = "BILLD_FAILPOINT";

/// A place on the way of a charge. A name says what was done last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failpoint {
    /// Slots are taken, the claim is about to be sent.
    ClaimNext,
    /// The claim is committed; nothing of it is known to the daemon yet.
    ClaimCommitted,
    /// The lease was found long enough; the request is about to leave.
    SendNext,
    /// The request has left and its answer is awaited.
    Sent,
    /// The answer was read.
    AnswerRead,
    /// What follows was decided.
    Decided,
    /// The answer is in the recorder's hands, not in the database.
    RecordQueued,
    /// A batch is about to be written.
    FlushNext,
    /// A batch is committed; nobody was told.
    FlushCommitted,
    /// The charge knows that it is recorded.
    Recorded,
    /// The stop was heard; calls are under way.
    DrainBegun,
    /// Calls have ended; the last answers are being written.
    DrainFlushing,
    /// Open attempts were taken over to be asked about.
    AskClaimed,
    /// The gateway has said what became of an attempt.
    LookUpRead,
    /// What the look-up said is recorded, and that the attempt will leave again, if so.
    LookUpRecorded,
    /// The same `merchant_uid` is about to leave again.
    SendAgainNext,
    /// The answer to the repeated request was read.
    SendAgainRead,
    /// A row that is looked at again is locked, its next step not yet written.
    RecheckLocked,
    /// Migrations are about to be applied.
    MigrateNext,
    /// Migrations are applied; nobody was told.
    MigrateDone,
    /// A slot is taken; a one-off charge is about to be written down.
    OneOffNext,
    /// A one-off charge is written down and has not left.
    OneOffBegun,
    /// A refund is about to be written down.
    RefundNext,
    /// A refund is written down and has not left.
    RefundBegun,
    /// The answer to a refund was read.
    RefundRead,
    /// What became of a refund was decided, with a look at the payment if it was refused.
    RefundDecided,
    /// What became of a refund is recorded; nobody was told.
    RefundRecorded,
    /// Open refunds were taken over, their payments are about to be looked at.
    RefundAskClaimed,
}

impl Failpoint {
    /// All of them.
    pub const ALL: [Self; 28] = [
        Self::ClaimNext,
        Self::ClaimCommitted,
        Self::SendNext,
        Self::Sent,
        Self::AnswerRead,
        Self::Decided,
        Self::RecordQueued,
        Self::FlushNext,
        Self::FlushCommitted,
        Self::Recorded,
        Self::DrainBegun,
        Self::DrainFlushing,
        Self::AskClaimed,
        Self::LookUpRead,
        Self::LookUpRecorded,
        Self::SendAgainNext,
        Self::SendAgainRead,
        Self::RecheckLocked,
        Self::MigrateNext,
        Self::MigrateDone,
        Self::OneOffNext,
        Self::OneOffBegun,
        Self::RefundNext,
        Self::RefundBegun,
        Self::RefundRead,
        Self::RefundDecided,
        Self::RefundRecorded,
        Self::RefundAskClaimed,
    ];

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

    /// How the program spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClaimNext => "claim_next",
            Self::ClaimCommitted => "claim_committed",
            Self::SendNext => "send_next",
            Self::Sent => "sent",
            Self::AnswerRead => "answer_read",
            Self::Decided => "decided",
            Self::RecordQueued => "record_queued",
            Self::FlushNext => "flush_next",
            Self::FlushCommitted => "flush_committed",
            Self::Recorded => "recorded",
            Self::DrainBegun => "drain_begun",
            Self::DrainFlushing => "drain_flushing",
            Self::AskClaimed => "ask_claimed",
            Self::LookUpRead => "look_up_read",
            Self::LookUpRecorded => "look_up_recorded",
            Self::SendAgainNext => "send_again_next",
            Self::SendAgainRead => "send_again_read",
            Self::RecheckLocked => "recheck_locked",
            Self::MigrateNext => "migrate_next",
            Self::MigrateDone => "migrate_done",
            Self::OneOffNext => "one_off_next",
            Self::OneOffBegun => "one_off_begun",
            Self::RefundNext => "refund_next",
            Self::RefundBegun => "refund_begun",
            Self::RefundRead => "refund_read",
            Self::RefundDecided => "refund_decided",
            Self::RefundRecorded => "refund_recorded",
            Self::RefundAskClaimed => "refund_ask_claimed",
        }
    }
}
