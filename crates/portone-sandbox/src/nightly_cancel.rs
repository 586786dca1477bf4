//! The night of a test channel: KG Inicis gives the day's test charges back before midnight.
//!
//! Whether PortOne's records show it is not known, so it happens only where a switch says so.

use super::Sandbox;
use super::clock::{SECOND_US, seconds};
use super::payment::Status;

/// Korea has been nine hours ahead of UTC since 1988, without summer time.
const KOREA_S: i64 = 9 * 60 * 60;
const DAY_S: i64 = 24 * 60 * 60;
/// Half past eleven: the middle of the time that KG Inicis names.
const GIVES_BACK_S: i64 = 23 * 60 * 60 + 30 * 60;

const REASON: &str = "테스트 결제 자동취소";

/// The last half past eleven in the evening before this instant, in unix microseconds.
pub(super) fn last_us(now_us: i64) -> i64 {
    let korean_s = seconds(now_us).saturating_add(KOREA_S);
    let since_s = korean_s.saturating_sub(GIVES_BACK_S).rem_euclid(DAY_S);
    seconds(now_us)
        .saturating_sub(since_s)
        .saturating_mul(SECOND_US)
}

/// Cancels what was paid before the last evening, once for every evening that has passed.
pub(super) fn run(sandbox: &Sandbox) {
    let now_us = sandbox.clock.now_us();
    let evening_us = last_us(now_us);
    let mut book = sandbox.book();
    if evening_us <= book.evening_us {
        return;
    }
    book.evening_us = evening_us;
    if !sandbox.switches().nightly_cancel {
        return;
    }
    let due = book
        .all()
        .filter(|payment| payment.status == Status::Paid && payment.paid_at_us < evening_us);
    let due: Vec<_> = due
        .map(|payment| {
            (
                payment.number,
                payment.order.amount.minus(payment.cancelled()),
            )
        })
        .collect();
    for (number, balance) in due {
        book.cancel(number, balance, REASON.into(), evening_us, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_evening_is_korean() {
        // 2026-11-23 14:30:00 UTC is half past eleven in Seoul.
        let evening_s = 1_795_444_200;
        let last_s = |now_s: i64| seconds(last_us(now_s * SECOND_US));
        assert_eq!(last_s(evening_s), evening_s);
        assert_eq!(last_s(evening_s + 7), evening_s);
        assert_eq!(last_s(evening_s - 1), evening_s - DAY_S);
    }
}
