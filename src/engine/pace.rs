//! Under a rate cap: a request leaves at its place in the one row of all daemons, or books another.
//!
//! Places are instants of the database's clock, handed out by `claim_due.sql` and `store::book_place`,
//! and so far apart that a request at its place, or up to [`LATE_MAX`] behind it, keeps the cap. Who
//! comes later than that would stand beside the next one, perhaps of another daemon: the place is lost.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::causes::chain;
use crate::domain::attempt::{ChargeOutcome, ChargeRequest, NotSent};
use crate::domain::rate::{LATE_MAX, spacing};
use crate::engine::Inner;
use crate::engine::charge::InFlight;
use crate::engine::lease::Lease;
use crate::gateway::Gateway;
use crate::store::StoreError;

/// A reading of the database's clock that is quicker than this is good enough, see [`Inner::on_our_clock`].
const READING_GOOD: Duration = Duration::from_millis(5);
/// Readings before the best of them has to do.
const READINGS_MAX: u8 = 3;

/// When a request may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// At once: there is no cap.
    Now,
    /// At its place, an instant of this machine.
    At(Instant),
    /// Under a cap, and without a place yet.
    Unbooked,
}

impl Turn {
    /// The turn of the next request of the same claim.
    pub(super) fn next(self, rate_per_second: u32) -> Self {
        match self {
            Self::At(place) => place
                .checked_add(spacing(rate_per_second))
                .map_or(Self::Unbooked, Self::At),
            Self::Now | Self::Unbooked => self,
        }
    }

    fn wait(self) -> Duration {
        match self {
            Self::At(place) => place.saturating_duration_since(Instant::now()),
            Self::Now | Self::Unbooked => Duration::ZERO,
        }
    }
}

/// Waits until a request may leave, booking one place after the other as long as each is missed. `Err`
/// means that it must not leave: its lease is too short by then, or there is no place to be had.
///
/// Only a place that can be used is booked. Requests without a chance would otherwise take all places of
/// the row, and whoever came behind them found it longer still.
///
/// Each missed place doubles how late the next may be: a machine that is too busy to keep to
/// [`LATE_MAX`] would book for ever and charge nobody. It keeps the cap as exactly as it can.
async fn leave_in_turn<F: Future<Output = Result<Option<Instant>, StoreError>>>(
    mut turn: Turn,
    lease: Lease,
    call: Duration,
    book: impl Fn(Duration) -> F,
) -> Result<(), NotSent> {
    let mut late_max = LATE_MAX;
    loop {
        let wait = turn.wait();
        if !lease.outlives(call.saturating_add(wait)) {
            return Err(NotSent::LeaseTooShort);
        }
        match turn {
            Turn::Now => return Ok(()),
            Turn::At(place) if !wait.is_zero() => sleep_until(place).await,
            Turn::At(place) if place.elapsed() <= late_max => return Ok(()),
            Turn::At(_) | Turn::Unbooked => {
                if matches!(turn, Turn::At(_)) {
                    late_max = late_max.saturating_mul(2);
                }
                turn = match book(lease.left().saturating_sub(call)).await {
                    Ok(Some(place)) => Turn::At(place),
                    Ok(None) => return Err(NotSent::LeaseTooShort),
                    Err(error) => return Err(NotSent::NoPlace(chain(&error))),
                };
            }
        }
    }
}

impl<G> Inner<G> {
    /// See [`leave_in_turn`].
    pub(super) async fn leave(&self, turn: Turn, lease: Lease) -> Result<(), NotSent> {
        leave_in_turn(turn, lease, self.limits.call, |within| self.book(within)).await
    }

    /// The turn of the first request of a claim.
    pub(super) async fn first_turn(&self, first_place: Option<Timestamp>) -> Turn {
        let Some(place) = first_place else {
            return Turn::Now;
        };
        // The claim is made: each of its requests will try to book, or not leave.
        self.on_our_clock(place)
            .await
            .map_or(Turn::Unbooked, Turn::At)
    }

    /// One request for money that may leave now. It leaves once more, at a turn of its own, if the gateway
    /// did not take the access token: such a request was not read, and the token is renewed by then.
    /// Returns how long the last one was under way, too.
    pub(super) async fn send(
        &self,
        request: &ChargeRequest,
        lease: Lease,
    ) -> (ChargeOutcome, Duration)
    where
        G: Gateway,
    {
        let sent = self.call(request).await;
        let is_refused = sent.0 == ChargeOutcome::NotSent(NotSent::Unauthorized);
        // Who is stopping begins nothing new, and this one is proved not to have been read.
        if !is_refused || self.stopping.is_cancelled() {
            return sent;
        }
        match self.leave(self.unbooked(), lease).await {
            Ok(()) => self.call(request).await,
            Err(why) => (ChargeOutcome::NotSent(why), sent.1),
        }
    }

    async fn call(&self, request: &ChargeRequest) -> (ChargeOutcome, Duration)
    where
        G: Gateway,
    {
        let started = Instant::now();
        let _in_flight = InFlight::count(&self.metrics.in_flight);
        let outcome = self.gateway.charge(request).await;
        (outcome, started.elapsed())
    }

    fn unbooked(&self) -> Turn {
        if self.limits.rate_per_second == 0 {
            Turn::Now
        } else {
            Turn::Unbooked
        }
    }

    /// The turn of a request that will have a lease of its own. `None` if there is no place in the first
    /// half of it that a call leaves free: then it is not to be begun.
    pub(super) async fn single_turn(&self) -> Result<Option<Turn>, StoreError> {
        if self.unbooked() == Turn::Now {
            return Ok(Some(Turn::Now));
        }
        let room = self.limits.lease.saturating_sub(self.limits.call);
        let place = self.book(room.checked_div(2).unwrap_or_default()).await?;
        if place.is_none() {
            debug!("no place under the rate cap is free soon enough; the gateway is asked again");
        }
        Ok(place.map(Turn::At))
    }

    async fn book(&self, within: Duration) -> Result<Option<Instant>, StoreError> {
        let rate = self.limits.rate_per_second;
        let Some(place) = self.store.book_place(rate, within).await? else {
            return Ok(None);
        };
        debug!("a place under the rate cap was missed or not yet booked; there is one now");
        self.on_our_clock(place).await.map(Some)
    }

    /// An instant of the database's clock on this machine's.
    ///
    /// Counted from when the answer came in, though the clock was read before: so a request is late by
    /// the way of that answer and never early. All daemons are late alike, but for the difference
    /// of their ways, and [`READING_GOOD`] bounds that by what the spacing has room for. The claim's own
    /// reading would not do: it is as old as the claim's work and its commit.
    async fn on_our_clock(&self, place: Timestamp) -> Result<Instant, StoreError> {
        let mut best: Option<(Duration, Instant)> = None;
        for _ in 0..READINGS_MAX {
            let asked = Instant::now();
            let wait = self.store.until(place).await?;
            let now = Instant::now();
            let took = now.saturating_duration_since(asked);
            let at = if wait.is_negative() {
                now.checked_sub(wait.unsigned_abs())
            } else {
                now.checked_add(wait.unsigned_abs())
            };
            if best.is_none_or(|(quickest, _)| took < quickest) {
                best = Some((took, at.unwrap_or(now)));
            }
            if took <= READING_GOOD {
                break;
            }
        }
        Ok(best.map_or_else(Instant::now, |(_, at)| at))
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

    async fn never(_: Duration) -> Result<Option<Instant>, StoreError> {
        panic!("a place was booked")
    }

    async fn away(_: Duration) -> Result<Option<Instant>, StoreError> {
        Err(StoreError::TooSlow(CALL))
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_cap_nothing_is_waited_for() {
        let begun = Instant::now();
        let left = leave_in_turn(Turn::Now, lease(), CALL, never).await;
        assert_eq!((left, begun.elapsed()), (Ok(()), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_leaves_at_its_place() {
        let begun = Instant::now();
        let turn = Turn::At(later(MS * 150));
        let left = leave_in_turn(turn, lease(), CALL, never).await;
        assert_eq!((left, begun.elapsed()), (Ok(()), MS * 150));
    }

    /// Hazard: a daemon that was held up uses its old places beside the new ones of others.
    #[tokio::test(start_paused = true)]
    async fn who_is_late_books_another_place_again_and_again() {
        let turn = Turn::At(Instant::now());
        advance(LATE_MAX).await;
        assert_eq!(leave_in_turn(turn, lease(), CALL, never).await, Ok(()));
        advance(MS).await;
        let booked = Cell::new(0);
        let begun = Instant::now();
        let left = leave_in_turn(turn, lease(), CALL, async |_| {
            booked.set(booked.get() + 1);
            let place = later(MS * 40);
            // The first two answers come too late for their places.
            let took = match booked.get() {
                1 => 61,
                2 => 81,
                _ => 40,
            };
            advance(MS * took).await;
            Ok(Some(place))
        });
        assert_eq!(left.await, Ok(()));
        assert_eq!((booked.get(), begun.elapsed()), (3, MS * 182));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_behind_the_lease_is_not_waited_for() {
        let begun = Instant::now();
        let turn = Turn::At(later(Duration::from_secs(25)));
        let left = leave_in_turn(turn, lease(), CALL, never).await;
        assert_eq!(
            (left, begun.elapsed()),
            (Err(NotSent::LeaseTooShort), Duration::ZERO)
        );
    }

    /// Hazard: requests that can't leave in time book all places, and those behind them do the same.
    #[tokio::test(start_paused = true)]
    async fn only_a_place_within_the_lease_is_booked() {
        let begun = Instant::now();
        let left = leave_in_turn(Turn::Unbooked, lease(), CALL, async |within| {
            assert_eq!(within, Duration::from_secs(25));
            Ok(None)
        });
        let left = left.await;
        assert_eq!(
            (left, begun.elapsed()),
            (Err(NotSent::LeaseTooShort), Duration::ZERO)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn places_that_are_always_missed_end_with_the_lease() {
        let left = leave_in_turn(Turn::Unbooked, lease(), CALL, async |_| {
            let place = Instant::now();
            advance(Duration::from_secs(30)).await;
            Ok(Some(place))
        });
        assert_eq!(left.await, Err(NotSent::LeaseTooShort));
    }

    /// Hazard: a machine that is always a little late books one place after the other, and nobody is
    /// charged.
    #[tokio::test(start_paused = true)]
    async fn a_machine_that_is_always_late_charges_all_the_same() {
        let begun = Instant::now();
        let left = leave_in_turn(Turn::Unbooked, lease(), CALL, async |_| {
            let place = Instant::now();
            advance(MS * 100).await;
            Ok(Some(place))
        });
        assert_eq!(left.await, Ok(()));
        assert!(begun.elapsed() <= MS * 500, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_database_there_is_no_place_and_nothing_leaves() {
        let left = leave_in_turn(Turn::Unbooked, lease(), CALL, away).await;
        assert!(matches!(left, Err(NotSent::NoPlace(_))), "{left:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_requests_of_a_claim_stand_one_behind_the_other() {
        let first = Instant::now();
        let third = Turn::At(first).next(50).next(50);
        assert_eq!(third, Turn::At(first.checked_add(spacing(50) * 2).unwrap()));
        assert_eq!(Turn::Now.next(50), Turn::Now);
    }
}
