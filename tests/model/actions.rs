//! The steps, by name, and the code that each stands for.

use crate::state::Name;

/// What the gateway makes of a request in process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Approved,
    Declined,
    /// Refused, and no record of it is kept.
    DeclinedUnrecorded,
}

/// What the asker hears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum View {
    /// Asked after the settle time: what is so.
    Settled,
    /// Asked before: a payment that is visible already.
    PaidAlready,
    /// No answer, or one before the settle time that says less than everything.
    Nothing,
    /// After the settle time, and not true. Only in worlds that lie.
    Lie,
}

/// What a person does in SQL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    Pause,
    Activate,
    Cancel,
    Reprice,
}

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// `Store::claim_due`: intent, fence and lease in one commit. That its reply is lost, or that the
    /// daemon dies here, is this step and then `Crash`.
    Claim,
    /// `Engine::charge`, `send_again`: the lease outlives the call, and the request leaves.
    Send(usize),
    /// The request can't leave: no connection, or too little of the lease is left.
    NotSent(usize),
    /// The gateway decides; the answer reaches this worker, or nobody.
    Decide(Name, Verdict, Option<usize>),
    /// The call ends without an answer: time-out, lost connection, 500, cut body.
    TimeOut(usize),
    /// The lease ends. A worker whose call is under way was paused: a zombie.
    LeaseEnds(usize),
    /// `Store::claim_open`: an attempt without a live claim is taken over, to ask about it.
    TakeOver,
    /// `Engine::ask`: the look-up, and what is decided from it.
    LookUp(usize, View),
    /// `Store::record`, and its reply.
    Record(usize),
    /// `Store::record`; the reply is lost, so the recorder will write again.
    RecordUnheard(usize),
    /// `kill -9` at this very point.
    Crash(usize),
    /// `Store::recheck`.
    Recheck,
    /// `auditor`: the gateway's books show a payment of an attempt that was written off.
    Audit,
    /// From here on the stand-by gets no more commits.
    FallBehind,
    /// The primary is gone; the stand-by takes its place, without the tail.
    FailOver,
    /// A person.
    Person(Deed),
}
