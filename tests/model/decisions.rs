//! The program's own rules, called with the model's words: what is decided is not modelled.

use std::sync::LazyLock;
use std::time::Duration;

use billd::domain::attempt::{ChargeOutcome, Decline, NotSent, Payment, Unknown, UnknownReason};
use billd::domain::decline::DeclineClass;
use billd::domain::dunning::{Backoff, Decision, History, Ladder, NotFoundPolicy, Policy};
use billd::domain::ids::{AttemptNo, ImpUid};

use crate::state::{Outcome, Step, Worker};

/// "Not found" is believed after this many in a row; three in production.
pub(crate) const NOT_FOUND_MIN: u16 = 2;
const HOUR: Duration = Duration::from_hours(1);

/// One rung, so that a ladder ends within the model; two sends, so that parking is reached.
pub(crate) static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let ladder = Ladder::parse("1d").unwrap();
    Policy {
        soft_funds: ladder.clone(),
        soft_temp: ladder.clone(),
        issuer_call: ladder.clone(),
        unclear: ladder.clone(),
        unspecified: ladder,
        hard: Ladder::default(),
        hold: HOUR,
        not_sent: Backoff {
            first: HOUR,
            max: HOUR,
        },
        asks: Ladder::parse("1m").unwrap(),
        settle: Duration::from_mins(15),
        not_found_min: NOT_FOUND_MIN,
        on_not_found: NotFoundPolicy::SendAgain,
        sends_max: 2,
    }
});

/// The worker's attempt in its cycle; the model's last number is the program's last.
pub(crate) fn history(worker: &Worker, attempts: u8) -> History {
    let no = if worker.name.no == attempts {
        AttemptNo::MAX
    } else {
        worker.name.no
    };
    History {
        attempt_no: AttemptNo::new(no).unwrap(),
        declines: worker.declines,
        not_sent: 0,
    }
}

/// A whole outcome for a word.
pub(crate) fn outcome(word: Outcome) -> ChargeOutcome {
    let doubt = |reason| {
        ChargeOutcome::Unknown(Unknown {
            reason,
            detail: String::new(),
        })
    };
    match word {
        Outcome::Paid => ChargeOutcome::Paid(payment()),
        Outcome::Declined => ChargeOutcome::Declined(decline()),
        Outcome::NotSent => ChargeOutcome::NotSent(NotSent::LeaseTooShort),
        Outcome::Unknown => doubt(UnknownReason::Timeout),
        Outcome::Duplicate => doubt(UnknownReason::DuplicateMerchantUid),
    }
}

fn payment() -> Payment {
    Payment {
        imp_uid: ImpUid::parse("imp_1").unwrap(),
        pg_provider: None,
        pg_tid: None,
        receipt_url: None,
        cancelled_amount: 0,
    }
}

fn decline() -> Decline {
    Decline {
        class: DeclineClass::SoftFunds,
        pg_provider: None,
        code: None,
        message: String::new(),
        imp_uid: None,
    }
}

/// The decision's word.
pub(crate) fn step(decision: Decision) -> Step {
    match decision {
        Decision::Advance => Step::Advance,
        Decision::Retry { took_rung, .. } => Step::Retry { took_rung },
        Decision::GiveUp(_) => Step::GiveUp,
        Decision::Ask { .. } => Step::Ask,
        Decision::SendAgain => Step::SendAgain,
        Decision::Park { .. } => Step::Park,
    }
}

/// What a look-up can say.
pub(crate) mod lookup {
    use billd::domain::attempt::{ChargeOutcome, Lookup};

    use crate::state::Outcome;

    pub(crate) const PAID: Outcome = Outcome::Paid;
    pub(crate) const FAILED: Outcome = Outcome::Declined;
    pub(crate) const NOT_FOUND: Outcome = Outcome::Unknown;

    /// A whole answer for a word.
    pub(crate) fn of(word: Outcome) -> Lookup {
        match word {
            Outcome::Paid => Lookup::Paid(super::payment()),
            // The model's gateway keeps no count: a program that believes sooner does worse, if anything.
            Outcome::Declined => Lookup::Failed {
                decline: super::decline(),
                records: u16::MAX,
            },
            Outcome::NotSent | Outcome::Unknown | Outcome::Duplicate => Lookup::NotFound,
        }
    }

    /// The word of what a look-up has proved.
    pub(crate) fn word(proved: &ChargeOutcome) -> Outcome {
        match proved {
            ChargeOutcome::Paid(_) => Outcome::Paid,
            ChargeOutcome::Declined(_) => Outcome::Declined,
            ChargeOutcome::NotSent(_) => Outcome::NotSent,
            ChargeOutcome::Unknown(_) => Outcome::Unknown,
        }
    }
}
