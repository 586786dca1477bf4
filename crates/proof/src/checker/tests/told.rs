//! Two stories in which all is well.

use portone_sandbox::{Decided, Route};

use super::super::Death;
use super::story::{DECLINED, PAID, RESCUED, SECOND, Story, at, uid};

impl Story {
    /// The second attempt of a debt can't leave at first, and is paid when it is opened again.
    pub(super) fn told_of_an_outage() -> Self {
        let mut story = Self::new();
        story.subscribe(PAID);
        story.commit();
        let declined = story.claim("daemon_1", PAID);
        story.decline(&declined);
        story.record_declined("daemon_1", PAID, &declined, false);
        story.pass(60 * SECOND);
        let held_up = story.claim("daemon_1", PAID);
        for _ in 0..2 {
            story.record_not_sent("daemon_1", PAID, &held_up);
            story.pass(SECOND);
            story.open_again("daemon_1", PAID, &held_up);
        }
        story.ask(Route::FindAll, &declined, Decided::Failed, 200);
        story.approve(&held_up);
        story.record_paid("daemon_1", PAID, &held_up);
        story.book.now = at(story.now_us);
        story
    }

    /// One is paid, one is declined until its ladder ends, one loses its daemon, is not found, and is
    /// sent again. The heir comes after this many seconds.
    pub(super) fn told(heir_after: i64) -> Self {
        let mut story = Self::new();
        for nth in [PAID, DECLINED, RESCUED] {
            story.subscribe(nth);
        }
        story.commit();

        let paid = story.claim("daemon_1", PAID);
        story.approve(&paid);
        story.record_paid("daemon_1", PAID, &paid);

        let declined = story.claim("daemon_1", DECLINED);
        story.decline(&declined);
        story.record_declined("daemon_1", DECLINED, &declined, false);

        let lost = story.claim("daemon_2", RESCUED);
        story.ask(Route::Again, &lost, Decided::NotProcessed, 500);
        story.terms.deaths.push(Death {
            role: "daemon_2".to_owned(),
            at_us: story.now_us,
        });
        story.pass(heir_after * SECOND);
        for _ in 0..2 {
            story.take_over("daemon_1", RESCUED, &lost);
            story.ask(Route::FindAll, &lost, Decided::NotFound, 404);
            story.attempt("daemon_1", &lost, |row| {
                row.not_found += 1;
                row.ask_at = row.asked_at;
            });
            story.commit();
        }
        let now = at(story.now_us);
        story.attempt("daemon_1", &lost, |row| {
            row.state = "started".to_owned();
            row.started_at = now;
            row.sends = 2;
        });
        story.commit();
        story.approve(&lost);
        story.record_paid("daemon_1", RESCUED, &lost);

        story.pass(60 * SECOND);
        let declined = story.claim("daemon_2", DECLINED);
        story.ask(Route::FindAll, &uid(DECLINED, 1), Decided::Failed, 200);
        story.decline(&declined);
        story.record_declined("daemon_2", DECLINED, &declined, true);
        story.book.now = at(story.now_us);
        story
    }
}
