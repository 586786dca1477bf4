//! Slows down for a gateway that says "too many", and comes back by itself.
//!
//! PortOne publishes no limit, so the pace is found: halved, once a second at most, when a request that left at
//! the present pace is answered with "too many", and raised a little each second in which it was kept and none was.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
/// Slow enough for any gateway that takes charges at all, and quick enough to notice that it does again.
const SPACING_MAX: Duration = Duration::from_secs(4);

/// The pace of one process.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    second: Option<Instant>,
    sent: u32,
    sent_before: u32,
    slowed: Option<Slowed>,
}

#[derive(Debug)]
struct Slowed {
    spacing: Duration,
    /// As it was before: back there, the slow-down ends.
    at_first: Duration,
    next: Instant,
    since: Instant,
    changed_at: Instant,
    /// Whether requests have waited since: a pace that holds up nobody proves nothing.
    was_kept: bool,
}

/// What an answer did to the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    /// Requests leave this far apart from now on.
    Slower(Duration),
    /// As fast as before.
    Ended,
}

/// Places of one process. Those that were not taken are free again when this is dropped, if none was given behind
/// them: who only looks whether anything is due would otherwise take each one before somebody who needs it.
#[derive(Debug)]
pub(super) struct Places {
    throttle: Arc<Throttle>,
    next: Instant,
    end: Instant,
    spacing: Duration,
}

impl Places {
    pub(super) fn take(&mut self) -> Instant {
        let place = self.next;
        self.next = place.checked_add(self.spacing).unwrap_or(place);
        place
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.throttle.give_back(self.next, self.end);
    }
}

impl Throttle {
    /// Up to so many requests may leave, at these places if there are any, else at once. No place is further ahead than
    /// `within`; `None` if there is none.
    pub(super) fn reserve(
        self: &Arc<Self>,
        most: u32,
        within: Duration,
    ) -> Option<(u32, Option<Places>)> {
        let mut state = self.lock();
        let Some(slowed) = &mut state.slowed else {
            return Some((most, None));
        };
        let now = Instant::now();
        let first = slowed.next.max(now);
        let room = within.checked_sub(first.saturating_duration_since(now));
        let fit = |room: Duration| room.as_micros().checked_div(slowed.spacing.as_micros());
        let count = room
            .and_then(fit)
            .map_or(0, |more| {
                u32::try_from(more).unwrap_or(u32::MAX).saturating_add(1)
            })
            .min(most);
        slowed.was_kept |= count < most;
        let taken = slowed.spacing.saturating_mul(count);
        slowed.next = first.checked_add(taken).unwrap_or(first);
        let places = Places {
            throttle: Arc::clone(self),
            next: first,
            end: slowed.next,
            spacing: slowed.spacing,
        };
        drop(state);
        (count > 0).then_some((count, Some(places)))
    }

    fn give_back(&self, next: Instant, end: Instant) {
        let mut state = self.lock();
        if let Some(slowed) = state.slowed.as_mut().filter(|slowed| slowed.next == end) {
            slowed.next = next;
        }
    }

    /// A request leaves now.
    pub(super) fn sent(&self) {
        let mut state = self.lock();
        let now = Instant::now();
        if state
            .second
            .is_none_or(|began| now.duration_since(began) >= SECOND)
        {
            state.sent_before = std::mem::take(&mut state.sent);
            state.second = Some(now);
        }
        state.sent = state.sent.saturating_add(1);
    }

    /// A request that left then was answered, with "too many" or otherwise.
    pub(super) fn answered(&self, sent_at: Instant, is_too_many: bool) -> Option<Changed> {
        let mut state = self.lock();
        let now = Instant::now();
        match &mut state.slowed {
            // It left at the pace of before, or the gateway still counts what did.
            Some(slowed) if sent_at.duration_since(slowed.since) < SECOND => None,
            None if !is_too_many => None,
            Some(slowed) if !is_too_many => {
                if !slowed.was_kept || now.duration_since(slowed.changed_at) < SECOND {
                    return None;
                }
                slowed.spacing = slowed.spacing.saturating_mul(15).checked_div(16)?;
                (slowed.changed_at, slowed.was_kept) = (now, false);
                if slowed.spacing > slowed.at_first {
                    return None;
                }
                state.slowed = None;
                Some(Changed::Ended)
            }
            _ => Some(state.slow_down(now)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn slow_down(&mut self, now: Instant) -> Changed {
        let rate = self.sent.max(self.sent_before).max(1);
        let measured = SECOND.checked_div(rate).unwrap_or(SECOND);
        let (spacing, at_first) = match &self.slowed {
            None => (measured, measured),
            Some(slowed) => (slowed.spacing, slowed.at_first),
        };
        let spacing = spacing.saturating_mul(2).min(SPACING_MAX);
        self.slowed = Some(Slowed {
            spacing,
            at_first,
            next: now.checked_add(spacing).unwrap_or(now),
            since: now,
            changed_at: now,
            was_kept: false,
        });
        Changed::Slower(spacing)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const AHEAD: Duration = Duration::from_millis(200);
    const TWO_SECONDS: Duration = Duration::from_secs(2);

    /// So many requests a second for so long, of which those above the limit are refused. How many were.
    async fn play(throttle: &Arc<Throttle>, seconds: u32, limit: u32) -> (u32, u32) {
        let (mut sent, mut refused) = (0, 0);
        for _ in 0..seconds {
            let mut in_this_second = 0;
            for _ in 0..5 {
                if let Some((count, mut places)) = throttle.reserve(20, AHEAD) {
                    for _ in 0..count {
                        places.as_mut().map(Places::take);
                        let is_too_many = in_this_second >= limit;
                        throttle.sent();
                        throttle.answered(Instant::now(), is_too_many);
                        sent = u32::saturating_add(sent, 1);
                        in_this_second = u32::saturating_add(in_this_second, 1);
                        refused = u32::saturating_add(refused, is_too_many.into());
                    }
                }
                advance(AHEAD).await;
            }
        }
        (sent, refused)
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_refusal_nobody_waits() {
        assert_eq!(play(&Arc::default(), 10, 100).await, (1_000, 0));
    }

    /// Hazard: two thirds of a batch are refused, and each has to be asked about.
    #[tokio::test(start_paused = true)]
    async fn the_pace_finds_the_limit_and_comes_back_when_it_is_gone() {
        let throttle = Arc::default();
        let (sent, refused) = play(&throttle, 120, 30).await;
        assert!(sent > 120 * 20, "{sent} of {}", 120 * 30);
        assert!(refused * 15 < sent, "{refused} of {sent}");
        play(&throttle, 60, 1_000).await;
        let (count, places) = throttle.reserve(500, AHEAD).unwrap();
        assert!(count == 500 && places.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_left_before_the_slow_down_slows_down_no_further() {
        let (throttle, left) = slowed().await;
        assert_eq!(throttle.answered(left, true), None);
        assert!(throttle.reserve(5, AHEAD).is_none());
        advance(TWO_SECONDS).await;
        let (count, places) = throttle.reserve(5, AHEAD).unwrap();
        assert_eq!((count, places.unwrap().take()), (1, Instant::now()));
    }

    /// A pace of one request in two seconds, and when the request left that was refused.
    async fn slowed() -> (Arc<Throttle>, Instant) {
        let throttle: Arc<Throttle> = Arc::default();
        let left = Instant::now();
        throttle.sent();
        advance(AHEAD).await;
        let slower = Some(Changed::Slower(TWO_SECONDS));
        assert_eq!(throttle.answered(left, true), slower);
        (throttle, left)
    }

    /// Hazard: each look whether anything is due takes the next place and has no use for it; what is to be sent again
    /// never finds one, and its question is asked for ever.
    #[tokio::test(start_paused = true)]
    async fn a_look_that_finds_nothing_due_takes_no_place_from_who_needs_one() {
        let (throttle, _) = slowed().await;
        advance(TWO_SECONDS).await;
        drop(throttle.reserve(20, AHEAD).unwrap());
        advance(AHEAD).await;
        let (_, places) = throttle.reserve(1, AHEAD).unwrap();
        assert_eq!(places.unwrap().take(), Instant::now());
        assert!(throttle.reserve(1, AHEAD).is_none(), "it was taken");
    }
}
