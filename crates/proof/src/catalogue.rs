//! Everything that can go wrong, and in which turn.

use crate::failpoint::Failpoint;
use crate::plan::Deed;
use portone_sandbox::FaultKind;

/// A kind of thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// A daemon dies there.
    Crash(Failpoint),
    Kill,
    Freeze,
    Terminate,
    Gateway(FaultKind),
    Cut,
    TerminateBackends,
    Restart,
    Swallow(&'static str),
    HalfOpen,
    Refuse,
    Exhaust,
    LockRows,
    PinSnapshot,
    PoisonRow,
    FailOver,
    ClockAhead,
    ClockBehind,
    ClockSteps,
    Person(Deed),
    /// A person charges cards outside subscriptions.
    OneOffs,
    /// The command of a one-off charge dies there.
    OneOffDies(Failpoint),
    /// A person gives money back.
    Refunds,
    /// The command of a refund dies there.
    RefundDies(Failpoint),
}

/// How a gateway can misbehave.
pub(super) const GATEWAY: [FaultKind; 17] = [
    FaultKind::DropAfter,
    FaultKind::Error500After,
    FaultKind::SilenceAfter,
    FaultKind::SilenceBefore,
    FaultKind::DropBefore,
    FaultKind::Error500Before,
    FaultKind::CutBody,
    FaultKind::Garbage,
    FaultKind::Html,
    FaultKind::Empty,
    FaultKind::Status429,
    FaultKind::Status401,
    FaultKind::Maintenance,
    FaultKind::LookupLag,
    FaultKind::LookupNotFound,
    FaultKind::LatencyMs,
    FaultKind::LookupFailed,
];

const STATEMENTS: [&str; 4] = [
    "store::claim_due",
    "store::record",
    "store::claim_open",
    "store::recheck",
];

/// Those of commands, and the look at what they leave.
const STATEMENTS_OF_COMMANDS: [&str; 4] = [
    "store::begin_one_off",
    "store::begin_refund",
    "store::record_refund",
    "store::claim_open_refund",
];

const DEEDS: [Deed; 8] = [
    Deed::Pause,
    Deed::Cancel,
    Deed::Reprice,
    Deed::Delete,
    Deed::Edit,
    Deed::Sweep,
    Deed::Reconcile,
    Deed::Migrate,
];

/// Everything that can go wrong. Seeds take it in turn, so that each is met equally often.
pub(super) fn all() -> Vec<Kind> {
    let crashes = Failpoint::ALL
        .into_iter()
        .filter(|point| !is_of_what_commands_do(*point))
        .map(Kind::Crash);
    let gateway = GATEWAY.into_iter().map(Kind::Gateway);
    let statements = STATEMENTS.into_iter().map(Kind::Swallow);
    let deeds = DEEDS.into_iter().map(Kind::Person);
    let others = [
        Kind::Kill,
        Kind::Freeze,
        Kind::Terminate,
        Kind::Cut,
        Kind::TerminateBackends,
        Kind::Restart,
        Kind::HalfOpen,
        Kind::Refuse,
        Kind::Exhaust,
        Kind::LockRows,
        Kind::PinSnapshot,
        Kind::PoisonRow,
        Kind::FailOver,
        Kind::ClockAhead,
        Kind::ClockBehind,
        Kind::ClockSteps,
        // The commonest accidents come more often.
        Kind::Kill,
        Kind::Freeze,
        Kind::Restart,
    ];
    let one_offs = Failpoint::OF_ONE_OFFS.into_iter().map(Kind::OneOffDies);
    let refunds = Failpoint::OF_REFUNDS.into_iter().map(Kind::RefundDies);
    crashes
        .chain(gateway)
        .chain(statements)
        .chain(deeds)
        .chain(others)
        .chain([
            Kind::OneOffs,
            Kind::Refunds,
            Kind::Crash(Failpoint::RefundAskClaimed),
        ])
        .chain(one_offs)
        .chain(refunds)
        .chain(STATEMENTS_OF_COMMANDS.into_iter().map(Kind::Swallow))
        .collect()
}

/// Whether only a command, or who looks after what it left, comes to a point.
const fn is_of_what_commands_do(point: Failpoint) -> bool {
    matches!(
        point,
        Failpoint::OneOffNext
            | Failpoint::OneOffBegun
            | Failpoint::RefundNext
            | Failpoint::RefundBegun
            | Failpoint::RefundRead
            | Failpoint::RefundDecided
            | Failpoint::RefundRecorded
            | Failpoint::RefundAskClaimed
    )
}

/// How many kinds a row of seeds goes through before it begins anew.
pub(super) fn round() -> u64 {
    u64::try_from(all().len()).unwrap_or(u64::MAX)
}
