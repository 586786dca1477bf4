//! What a torture build can be made to do wrong: to die at a named point, and to have a planted bug.
//!
//! Both exist so that the proof in `docs/PROOF.md` can be repeated. Without the feature `failpoints`
//! every function here is empty or constant, and nothing of it is left in the program.

/// A place on the way of a charge at which the process may die. A name says what was done last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// Slots are taken, the claim is about to be sent.
    ClaimNext,
    /// The claim is committed; nothing of it is known here yet.
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
}

/// A bug that can be planted, to see that the harness finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
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
    /// Requests leave without a place in the row that all daemons share under a rate cap.
    RateNotShared,
    /// A first "not found" is believed at once.
    NotFoundBelieved,
}

#[cfg(not(feature = "failpoints"))]
mod harmless {
    use super::{Bug, CrashPoint};

    /// Does nothing.
    #[inline]
    pub(crate) const fn crash_at(_: CrashPoint) {}

    /// Does nothing.
    #[inline]
    pub(crate) const fn crash_soon(_: CrashPoint) {}

    /// Never.
    #[inline]
    pub(crate) const fn planted(_: Bug) -> bool {
        false
    }
}
#[cfg(not(feature = "failpoints"))]
pub(crate) use harmless::{crash_at, crash_soon, planted};

#[cfg(feature = "failpoints")]
mod harmful {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;
    use std::{env, process, thread};

    use super::{Bug, CrashPoint};

    /// At which point to die, and the how-manieth time it is reached: `flush_next:3`.
    pub const CRASH_VARIABLE: &str = "BILLD_FAILPOINT";
    /// Which bug to have: `rescue_by_sending`.
    pub const BUG_VARIABLE: &str = "BILLD_MUTATION";
    /// Long enough for a request to be on its way, shorter than the answer takes.
    const SOON: Duration = Duration::from_millis(3);

    impl CrashPoint {
        /// All of them.
        pub const ALL: [Self; 20] = [
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
        ];

        /// How the environment spells it.
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
            }
        }
    }

    impl Bug {
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

        /// How the environment and the command line spell it.
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

    struct Crash {
        point: CrashPoint,
        visits_left: AtomicU32,
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "no setting of the product: it exists in a torture build only"
    )]
    fn variable(name: &str) -> Option<String> {
        env::var(name).ok()
    }

    fn crash() -> Option<&'static Crash> {
        static CRASH: OnceLock<Option<Crash>> = OnceLock::new();
        let read = || {
            let text = variable(CRASH_VARIABLE)?;
            let (name, visit) = text.split_once(':').unwrap_or((&text, "1"));
            Some(Crash {
                point: CrashPoint::ALL.into_iter().find(|one| one.name() == name)?,
                visits_left: AtomicU32::new(visit.parse().ok()?),
            })
        };
        CRASH.get_or_init(read).as_ref()
    }

    fn is_the_visit(point: CrashPoint) -> bool {
        crash().is_some_and(|crash| {
            crash.point == point && crash.visits_left.fetch_sub(1, Ordering::SeqCst) == 1
        })
    }

    /// Dies here without another instruction, if it was told to: no destructor, no farewell.
    pub(crate) fn crash_at(point: CrashPoint) {
        if is_the_visit(point) {
            process::abort();
        }
    }

    /// Dies a moment later, while whatever comes next is under way, if it was told to.
    pub(crate) fn crash_soon(point: CrashPoint) {
        if is_the_visit(point) {
            thread::spawn(|| {
                thread::sleep(SOON);
                process::abort();
            });
        }
    }

    /// Whether this process is to have this bug.
    pub(crate) fn planted(bug: Bug) -> bool {
        static BUG: OnceLock<Option<Bug>> = OnceLock::new();
        let read = || {
            let name = variable(BUG_VARIABLE)?;
            Bug::ALL.into_iter().find(|one| one.name() == name)
        };
        *BUG.get_or_init(read) == Some(bug)
    }
}
#[cfg(feature = "failpoints")]
pub use harmful::{BUG_VARIABLE, CRASH_VARIABLE};
#[cfg(feature = "failpoints")]
pub(crate) use harmful::{crash_at, crash_soon, planted};
