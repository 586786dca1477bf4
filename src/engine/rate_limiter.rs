//! Under a rate cap a request leaves in its slot, reserved in the one row of all daemons, or reserves another.
//! A gateway that says "too many" is a cap, too: this process's own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::causes::chain;
use crate::domain::attempt::{ChargeOutcome, NotSent, UnknownReason};
use crate::domain::rate_limit::{LATE_MAX, spacing};
use crate::engine::lease::Lease;
use crate::engine::throttle::{Changed, Places, Throttle};
use crate::store::{Store, StoreError};

/// How far ahead a claim reserves: as long as it takes until the next claim, so that one daemon can't
/// crowd the others out.
const AHEAD: Duration = Duration::from_millis(200);

/// When a request may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// At once: there is no cap.
    Now,
    /// At this instant of this machine, or up to [`LATE_MAX`] later.
    At(Instant),
}

/// The slots of one claim, in their order. What is not taken of this process's own is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    /// How many requests may leave.
    pub(super) count: u32,
    /// Under the cap of all daemons: the next one, and how far they are apart.
    capped: Option<(Instant, Duration)>,
    own: Option<Places>,
}

impl Reservation {
    /// The slot of the next request of the claim.
    pub(super) fn take(&mut self) -> Slot {
        let own = self.own.as_mut().map(Places::take);
        match &mut self.capped {
            Some((next, spacing)) => {
                let at = *next;
                *next = at.checked_add(*spacing).unwrap_or(at);
                Slot::At(at)
            }
            None => own.map_or(Slot::Now, Slot::At),
        }
    }
}

/// The rate cap, as one daemon knows it.
#[derive(Debug, Clone)]
pub(super) struct RateLimiter {
    store: Store,
    /// What this daemon was given.
    own: u32,
    /// The book's, and when it was looked at.
    agreed: Arc<Mutex<Option<(Instant, u32)>>>,
    throttle: Arc<Throttle>,
}

/// How often the book's cap is looked at: it may be another daemon's, which has just started.
const AGREE_EVERY: Duration = Duration::from_secs(5);

impl RateLimiter {
    /// Under a cap of so many requests per second over all daemons; 0 for no cap.
    pub(super) fn new(store: Store, rate_per_second: u32) -> Self {
        Self {
            store,
            own: rate_per_second,
            agreed: Arc::default(),
            throttle: Arc::default(),
        }
    }

    /// A request leaves now.
    pub(super) fn sent(&self) {
        self.throttle.sent();
    }

    /// What an answer to a request that left then says of the pace.
    pub(super) fn answered(&self, sent_at: Instant, outcome: &ChargeOutcome) -> Option<Changed> {
        let is_too_many = matches!(outcome, ChargeOutcome::Unknown(doubt)
            if doubt.reason == UnknownReason::TooManyRequests);
        self.throttle.answered(sent_at, is_too_many)
    }

    /// Slots for a claim of up to `most`. `None` if none is free soon; the claim then waits.
    pub(super) async fn reserve(&self, most: u32) -> Result<Option<Reservation>, StoreError> {
        self.reserve_within(most, AHEAD).await
    }

    /// A slot for one request that goes out under a lease of its own. `None` if none is free within this
    /// time: then it is not to be begun.
    pub(super) async fn reserve_one(&self, within: Duration) -> Result<Option<Slot>, StoreError> {
        let reserved = self.reserve_within(1, within).await?;
        Ok(reserved.map(|mut one| one.take()))
    }

    async fn reserve_within(
        &self,
        most: u32,
        within: Duration,
    ) -> Result<Option<Reservation>, StoreError> {
        let Some((most, own)) = self.throttle.reserve(most, within) else {
            return Ok(None);
        };
        let rate = self.agreed().await?;
        if rate == 0 {
            return Ok(Some(Reservation {
                count: most,
                capped: None,
                own,
            }));
        }
        let slots = self.store.reserve_slots(rate, most, within).await?;
        // Counted from when the answer came in: a request is late by the way of that answer, never early.
        let answered = Instant::now();
        Ok(slots.map(|slots| Reservation {
            count: slots.count,
            capped: Some((
                answered.checked_add(slots.wait).unwrap_or(answered),
                spacing(rate),
            )),
            own,
        }))
    }

    /// The cap of the book. One that is not our own is said once.
    async fn agreed(&self) -> Result<u32, StoreError> {
        let before = *self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, rate)) = before
            && at.elapsed() < AGREE_EVERY
        {
            return Ok(rate);
        }
        let rate = self.store.agree_on_rate(self.own).await?;
        if rate != self.own && before.is_none_or(|(_, before)| before != rate) {
            warn!(
                event = "rate_of_the_book",
                rate,
                own = self.own,
                "the cap of this book is {rate} charges a second, from another daemon's gateway.rate_per_second, and is \
                 kept here too; `update billd.rate_limit set per_second = …` changes it"
            );
        }
        *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), rate));
        Ok(rate)
    }

    /// Waits until a request of this length may leave, reserving one slot after the other as long as each
    /// is missed. `Err` means that it must not leave.
    pub(super) async fn wait(
        &self,
        slot: Slot,
        lease: Lease,
        call: Duration,
    ) -> Result<(), NotSent> {
        wait_for_slot(slot, lease, call, |within| self.reserve_one(within)).await
    }
}

/// Only a slot that can be used is reserved: requests without a chance would otherwise take all slots, and
/// whoever came behind them found them further ahead still. Each missed slot doubles how late the next may be:
/// a machine that is too busy for [`LATE_MAX`] would reserve for ever and charge nobody.
async fn wait_for_slot<F: Future<Output = Result<Option<Slot>, StoreError>>>(
    mut slot: Slot,
    lease: Lease,
    call: Duration,
    reserve: impl Fn(Duration) -> F,
) -> Result<(), NotSent> {
    let mut late_max = LATE_MAX;
    while let Slot::At(at) = slot {
        let wait = at.saturating_duration_since(Instant::now());
        if !lease.outlives(call.saturating_add(wait)) {
            return Err(NotSent::LeaseTooShort);
        }
        sleep_until(at).await;
        if at.elapsed() <= late_max {
            break;
        }
        debug!("a slot under the rate cap was missed; another is reserved");
        late_max = late_max.saturating_mul(2);
        slot = match reserve(lease.left().saturating_sub(call)).await {
            Ok(Some(slot)) => slot,
            Ok(None) => return Err(NotSent::LeaseTooShort),
            Err(error) => return Err(NotSent::NoSlot(chain(&error))),
        };
    }
    if lease.outlives(call) {
        Ok(())
    } else {
        Err(NotSent::LeaseTooShort)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::advance;

    use super::*;

    const CALL: Duration = Duration::from_secs(65);
    const MS: Duration = Duration::from_millis(1);

    fn lease() -> Lease {
        Lease::start(Duration::from_secs(90))
    }

    fn later(wait: Duration) -> Instant {
        Instant::now().checked_add(wait).unwrap()
    }

    async fn never(_: Duration) -> Result<Option<Slot>, StoreError> {
        panic!("a slot was reserved")
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_cap_nothing_is_waited_for() {
        let begun = Instant::now();
        let left = wait_for_slot(Slot::Now, lease(), CALL, never).await;
        assert_eq!((left, begun.elapsed()), (Ok(()), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_leaves_in_its_slot() {
        let begun = Instant::now();
        let slot = Slot::At(later(MS * 150));
        let left = wait_for_slot(slot, lease(), CALL, never).await;
        assert_eq!((left, begun.elapsed()), (Ok(()), MS * 150));
    }

    /// Hazard: a daemon that was held up uses its old slots beside the new ones of others, or, if it is
    /// always a little late, reserves one slot after the other and charges nobody.
    #[tokio::test(start_paused = true)]
    async fn who_is_late_reserves_another_slot_and_may_be_later_each_time() {
        let slot = Slot::At(Instant::now());
        advance(LATE_MAX).await;
        assert_eq!(wait_for_slot(slot, lease(), CALL, never).await, Ok(()));
        advance(MS).await;
        let reserved = Cell::new(0);
        let left = wait_for_slot(slot, lease(), CALL, async |_| {
            reserved.set(reserved.get() + 1);
            let at = Instant::now();
            advance(LATE_MAX * 3).await;
            Ok(Some(Slot::At(at)))
        });
        assert_eq!((left.await, reserved.get()), (Ok(()), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_behind_the_lease_is_not_waited_for() {
        let begun = Instant::now();
        let slot = Slot::At(later(Duration::from_secs(25)));
        let left = wait_for_slot(slot, lease(), CALL, never).await;
        let nothing = (Err(NotSent::LeaseTooShort), Duration::ZERO);
        assert_eq!((left, begun.elapsed()), nothing);
    }

    /// Hazard: requests that can't leave in time reserve all slots, and those behind them do the same.
    #[tokio::test(start_paused = true)]
    async fn only_a_slot_within_the_lease_is_reserved() {
        let missed = Slot::At(Instant::now());
        advance(LATE_MAX + MS).await;
        let lease = lease();
        let left = wait_for_slot(missed, lease, CALL, async |within| {
            assert_eq!(within, Duration::from_secs(25));
            Ok(None)
        });
        assert_eq!(left.await, Err(NotSent::LeaseTooShort));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_database_there_is_no_slot_and_nothing_leaves() {
        let missed = Slot::At(Instant::now());
        advance(LATE_MAX + MS).await;
        let away = async |_| Err(StoreError::TooSlow(CALL));
        let left = wait_for_slot(missed, lease(), CALL, away).await;
        assert!(matches!(left, Err(NotSent::NoSlot(_))), "{left:?}");
    }
}
