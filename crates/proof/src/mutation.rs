//! Bugs that a run can be given, to see that the judge finds them.
//!
//! The program holds none of them. Each is put in from outside, so that the daemons do what they
//! would do with the bug: a setting, a trigger in the book under test, a gateway whose answers are
//! twisted, or a statement that is altered on its way to the server.

use crate::arena::{Alteration, Twist};

/// A bug, named after what a program then does.
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
    /// A one-off charge of which the gateway knows nothing is written off as declined.
    OneOffWrittenOff,
    /// A refund that was made is written down as refused.
    RefundForgotten,
    /// Who comes back is billed for the time that he was away.
    GapForgotten,
    /// The next period begins a day before the last one's end.
    PeriodsOverlap,
    /// Of some payments nobody is told.
    EventForgotten,
    /// Some payments are told twice.
    EventDoubled,
}

/// How a bug is put in.
#[derive(Debug, Clone, Copy)]
enum Means {
    Settings(&'static [(&'static str, &'static str)]),
    Trigger(&'static str),
    Gateway(Twist),
    Database(Alteration),
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 17] = [
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
        Self::OneOffWrittenOff,
        Self::RefundForgotten,
        Self::GapForgotten,
        Self::PeriodsOverlap,
        Self::EventForgotten,
        Self::EventDoubled,
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
            Self::OneOffWrittenOff => "one_off_written_off",
            Self::RefundForgotten => "refund_forgotten",
            Self::GapForgotten => "gap_forgotten",
            Self::PeriodsOverlap => "periods_overlap",
            Self::EventForgotten => "event_forgotten",
            Self::EventDoubled => "event_doubled",
        }
    }

    /// What the program's own statements must hold for this bug to be put in: the statement's name,
    /// and a piece of its text that is found once.
    pub const fn needs(self) -> Option<(&'static str, &'static str)> {
        match self.alteration() {
            Some(Alteration::Text {
                statement, find, ..
            }) => Some((statement, find)),
            Some(Alteration::LateCommit { statement }) => Some((statement, statement)),
            None => None,
        }
    }

    /// What the daemons are told and the judge is not.
    pub(crate) const fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self.means() {
            Means::Settings(settings) => settings,
            Means::Trigger(_) | Means::Gateway(_) | Means::Database(_) => &[],
        }
    }

    /// SQL for the book under test.
    pub(crate) const fn trigger(self) -> &'static str {
        match self.means() {
            Means::Trigger(sql) => sql,
            Means::Settings(_) | Means::Gateway(_) | Means::Database(_) => "",
        }
    }

    /// What is twisted between the daemons and the gateway.
    pub(crate) const fn twist(self) -> Option<Twist> {
        match self.means() {
            Means::Gateway(twist) => Some(twist),
            Means::Settings(_) | Means::Trigger(_) | Means::Database(_) => None,
        }
    }

    /// What is altered between the daemons and the database.
    pub(crate) const fn alteration(self) -> Option<Alteration> {
        match self.means() {
            Means::Database(alteration) => Some(alteration),
            Means::Settings(_) | Means::Trigger(_) | Means::Gateway(_) => None,
        }
    }

    const fn means(self) -> Means {
        match self {
            Self::SendBeforeBegin => Means::Database(Alteration::LateCommit {
                statement: "store::claim_due",
            }),
            Self::TimeoutIsDecline => Means::Gateway(Twist::LostAnswerIsDecline),
            Self::RescueBySending => Means::Gateway(Twist::NothingFound),
            // Each answer is given the fence that its attempt has by now.
            Self::RecordWithoutFence => Means::Database(Alteration::Text {
                statement: "store::record",
                find: "$4::bigint[]",
                replace: "coalesce(nullif($4::bigint[], $4::bigint[]), array(
                    select coalesce(a.fence, 0)
                    from unnest($1::text[]) with ordinality n (merchant_uid, position)
                    left join billd.charge_attempt a using (merchant_uid)
                    order by n.position))",
            }),
            Self::ShortLease => Means::Trigger(include_str!("mutation/short_lease.sql")),
            Self::NewestRecordWins => Means::Gateway(Twist::NewestRecordOnly),
            Self::DuplicateIsDecline => Means::Gateway(Twist::DuplicateIsDecline),
            Self::DeclineCountsTwice => {
                Means::Trigger(include_str!("mutation/decline_counts_twice.sql"))
            }
            Self::PeriodSkipped => Means::Trigger(include_str!("mutation/period_skipped.sql")),
            Self::RateNotShared => Means::Settings(&[("BILLD__GATEWAY__RATE_PER_SECOND", "0")]),
            Self::NotFoundBelieved => Means::Settings(&[
                ("BILLD__RECONCILE__SETTLE", "0s"),
                ("BILLD__RECONCILE__NOT_FOUND_MIN", "1"),
            ]),
            Self::OneOffWrittenOff => {
                Means::Trigger(include_str!("mutation/one_off_written_off.sql"))
            }
            Self::RefundForgotten => Means::Trigger(include_str!("mutation/refund_forgotten.sql")),
            Self::GapForgotten => Means::Trigger(include_str!("mutation/gap_forgotten.sql")),
            Self::PeriodsOverlap => Means::Trigger(include_str!("mutation/periods_overlap.sql")),
            Self::EventForgotten => Means::Trigger(include_str!("mutation/event_forgotten.sql")),
            Self::EventDoubled => Means::Trigger(include_str!("mutation/event_doubled.sql")),
        }
    }
}
