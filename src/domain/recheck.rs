//! The next step of a subscription, derived from what its rows say.
//!
//! The ordinary way moves a subscription when an outcome is recorded. This is the way for
//! everything else: money that was reported late, a debt that a person forgave, a pause that ended,
//! a row that could not begin. It looks at facts only, so it may run at any time and repeatedly.

use jiff::Timestamp;
use jiff::civil::Date;

use crate::domain::calendar::{CalendarError, Period, Schedule};
use crate::domain::state::{CycleState, SubscriptionState};

/// What the rows say about the current period of one subscription, none of whose attempts is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Situation {
    /// The subscription's state.
    pub state: SubscriptionState,
    /// The current period.
    pub period: Date,
    /// When it fell due.
    pub due_at: Timestamp,
    /// The state of its debt; `None` if it was never opened.
    pub cycle: Option<CycleState>,
    /// Whether an attempt of this period moved money.
    pub paid: bool,
    /// When it last stopped being active.
    pub paused_at: Option<Timestamp>,
    /// When it last became active again.
    pub resumed_at: Option<Timestamp>,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Money moved: close the debt as paid, go to the next period. A past-due subscription is
    /// active again.
    Paid(Period),
    /// The debt is closed without a charge: go to the next period.
    MoveOn(Period),
    /// These periods fell due while nothing was to be charged: void them, go to the next one.
    PassOver {
        /// The current period and those after it, oldest first.
        missed: Vec<Period>,
        /// The first one after the pause.
        next: Period,
    },
    /// The debt was finally declined: past due.
    GiveUp,
    /// Nothing stands against charging it as planned.
    Keep,
}

/// Most periods passed over in one step; a longer pause takes several.
const MISSED_MAX: usize = 1000;

/// Derives the next step.
pub fn recheck(situation: &Situation, schedule: &Schedule) -> Result<Resolution, CalendarError> {
    if situation.paid || situation.cycle == Some(CycleState::Paid) {
        return Ok(Resolution::Paid(schedule.next_after(situation.period)?));
    }
    match situation.state {
        SubscriptionState::Active => {}
        SubscriptionState::PastDue | SubscriptionState::Paused | SubscriptionState::Cancelled => {
            return Ok(Resolution::Keep);
        }
    }
    match situation.cycle {
        Some(CycleState::Void) => Ok(Resolution::MoveOn(schedule.next_after(situation.period)?)),
        Some(CycleState::Uncollectible) => Ok(Resolution::GiveUp),
        Some(CycleState::Due | CycleState::Unresolved | CycleState::Paid) => Ok(Resolution::Keep),
        None => pass_over(situation, schedule),
    }
}

/// A debt that fell due before a pause is still owed after it; one that fell due during it is not.
fn pass_over(situation: &Situation, schedule: &Schedule) -> Result<Resolution, CalendarError> {
    let (Some(paused_at), Some(resumed_at)) = (situation.paused_at, situation.resumed_at) else {
        return Ok(Resolution::Keep);
    };
    if situation.due_at < paused_at || situation.due_at >= resumed_at {
        return Ok(Resolution::Keep);
    }
    let mut missed = vec![Period {
        date: situation.period,
        due_at: situation.due_at,
    }];
    let mut next = schedule.next_after(situation.period)?;
    while next.due_at < resumed_at && missed.len() < MISSED_MAX {
        missed.push(next);
        next = schedule.next_after(next.date)?;
    }
    Ok(Resolution::PassOver { missed, next })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::domain::calendar::{Interval, IntervalUnit, Zone};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn monthly() -> Schedule {
        let interval = Interval::new(1, IntervalUnit::Month).unwrap();
        Schedule::new(
            at("2026-01-31T00:00:00Z"),
            interval,
            Zone::parse("Asia/Seoul").unwrap(),
        )
        .unwrap()
    }

    fn situation(state: SubscriptionState, cycle: Option<CycleState>) -> Situation {
        Situation {
            state,
            period: date(2026, 3, 31),
            due_at: at("2026-03-31T00:00:00Z"),
            cycle,
            paid: false,
            paused_at: None,
            resumed_at: None,
        }
    }

    fn paused(from: &str, to: &str, cycle: Option<CycleState>) -> Situation {
        Situation {
            paused_at: Some(at(from)),
            resumed_at: Some(at(to)),
            ..situation(SubscriptionState::Active, cycle)
        }
    }

    #[test]
    fn money_that_moved_closes_the_debt_in_every_state() {
        for state in [
            SubscriptionState::Active,
            SubscriptionState::PastDue,
            SubscriptionState::Paused,
            SubscriptionState::Cancelled,
        ] {
            for cycle in [CycleState::Due, CycleState::Uncollectible, CycleState::Void] {
                let late = Situation {
                    paid: true,
                    ..situation(state, Some(cycle))
                };
                let next = monthly().next_after(late.period).unwrap();
                assert_eq!(recheck(&late, &monthly()), Ok(Resolution::Paid(next)));
            }
        }
    }

    #[test]
    fn a_forgiven_debt_is_left_behind() {
        let forgiven = situation(SubscriptionState::Active, Some(CycleState::Void));
        let next = monthly().next_after(forgiven.period).unwrap();
        assert_eq!(next.date, date(2026, 4, 30));
        assert_eq!(recheck(&forgiven, &monthly()), Ok(Resolution::MoveOn(next)));
    }

    #[test]
    fn periods_of_a_pause_are_passed_over() {
        let resumed = paused("2026-03-15T00:00:00Z", "2026-06-15T00:00:00Z", None);
        let Ok(Resolution::PassOver { missed, next }) = recheck(&resumed, &monthly()) else {
            panic!("not passed over");
        };
        let dates: Vec<_> = missed.iter().map(|period| period.date).collect();
        assert_eq!(
            dates,
            [date(2026, 3, 31), date(2026, 4, 30), date(2026, 5, 31)]
        );
        assert_eq!(next.date, date(2026, 6, 30));
    }

    #[test]
    fn a_debt_opened_before_a_pause_is_still_owed_after_it() {
        let opened = Some(CycleState::Due);
        let resumed = paused("2026-03-15T00:00:00Z", "2026-06-15T00:00:00Z", opened);
        assert_eq!(recheck(&resumed, &monthly()), Ok(Resolution::Keep));
    }

    #[test]
    fn a_debt_that_fell_due_before_a_pause_is_still_owed_after_it() {
        let resumed = paused("2026-03-31T01:00:00Z", "2026-03-31T01:01:00Z", None);
        assert_eq!(recheck(&resumed, &monthly()), Ok(Resolution::Keep));
    }

    #[test]
    fn downtime_without_a_pause_passes_nothing_over() {
        let late = situation(SubscriptionState::Active, None);
        assert_eq!(recheck(&late, &monthly()), Ok(Resolution::Keep));
    }
}
