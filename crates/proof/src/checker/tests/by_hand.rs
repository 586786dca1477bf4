//! What a person does by commands: one-off charges and refunds.

use portone_sandbox::Ended;

use super::*;

const PAID: &str = "proof1";
const NEVER_LEFT: &str = "proof2";
const DECLINED: &str = "proof3";

impl Story {
    fn begin_one_off(&mut self, uid: &str) {
        let row = self.one_off_begun(uid, 1);
        self.book.attempts.push(row.clone());
        let (old, new) = (None, Some(row));
        self.note("daemon_2", Change::ChargeAttempt { old, new });
        self.commit();
    }

    fn charge_one_off(&mut self, uid: &str, decided: Decided) {
        self.ask_for(Route::Again, uid, Some("card_7"), decided, 200);
    }

    fn end_one_off(&mut self, uid: &str, state: &str) {
        let now = at(self.now_us);
        self.attempt("daemon_2", uid, |row| {
            row.state = state.to_owned();
            row.imp_uid = (state == "paid").then(|| format!("imp_{uid}"));
            row.finished_at = Some(now);
            row.ask_at = None;
        });
        self.commit();
    }

    /// A daemon finds nothing at the gateway and leaves it to a person.
    fn park(&mut self, uid: &str) {
        self.pass(3 * SECOND);
        let now = at(self.now_us);
        self.attempt("daemon_1", uid, |row| {
            row.state = "unknown".to_owned();
            row.fence += 1;
            row.asks += 1;
            row.asked_at = Some(now);
            row.ask_at = Some(now);
        });
        self.commit();
        self.ask_for(Route::FindAll, uid, None, Decided::NotFound, 404);
        self.attempt("daemon_1", uid, |row| row.parked_at = Some(now));
        self.commit();
    }

    fn refund(&mut self, who: &str, nth: usize, change: impl FnOnce(&mut Refund)) {
        let row = &mut self.book.refunds[nth];
        let old = Some(row.clone());
        change(row);
        let new = Some(row.clone());
        self.note(who, Change::Refund { old, new });
    }

    fn begin_refund(&mut self, uid: &str, key: &str, amount: i64, checksum: i64) -> usize {
        let nth = self.book.refunds.len();
        let row = Refund {
            id: id(nth),
            merchant_uid: uid.to_owned(),
            imp_uid: format!("imp_{uid}"),
            key: key.to_owned(),
            state: "started".to_owned(),
            amount,
            currency: "KRW".to_owned(),
            payment_amount: 9900,
            checksum,
            started_at: at(self.now_us),
            finished_at: None,
            reason: None,
            ask_at: Some(at(self.now_us + 2 * SECOND)),
            asks: 0,
            unchanged: 0,
            parked_at: None,
            fence: 1,
        };
        self.book.refunds.push(row.clone());
        let (old, new) = (None, Some(row));
        self.note("daemon_2", Change::Refund { old, new });
        self.commit();
        nth
    }

    fn give_back(&mut self, uid: &str, kept: i64) {
        let imp_uid = format!("imp_{uid}");
        self.ask_for(
            Route::Cancel,
            uid,
            None,
            Decided::Cancelled { imp_uid, kept },
            200,
        );
    }

    fn end_refund(&mut self, nth: usize) {
        let now = at(self.now_us);
        self.refund("daemon_2", nth, |row| {
            row.state = "refunded".to_owned();
            row.finished_at = Some(now);
            row.ask_at = None;
        });
        let (uid, amount) = {
            let row = &self.book.refunds[nth];
            (row.merchant_uid.clone(), row.amount)
        };
        self.attempt("daemon_2", &uid, |row| row.cancelled_amount += amount);
        self.commit();
    }

    /// One is paid and given back in two parts, one never arrives, one is declined.
    fn told_by_hand() -> Self {
        let mut story = Self::new();
        story.begin_one_off(PAID);
        let imp_uid = format!("imp_{PAID}");
        story.charge_one_off(PAID, Decided::Approved { imp_uid });
        story.end_one_off(PAID, "paid");
        story.begin_one_off(DECLINED);
        let imp_uid = Some(format!("imp_{DECLINED}"));
        story.charge_one_off(DECLINED, Decided::Declined { imp_uid });
        story.end_one_off(DECLINED, "declined");
        story.begin_one_off(NEVER_LEFT);
        story.park(NEVER_LEFT);

        let first = story.begin_refund(PAID, "3000", 3000, 9900);
        story.give_back(PAID, 6900);
        story.end_refund(first);
        let rest = story.begin_refund(PAID, "full", 6900, 6900);
        story.give_back(PAID, 0);
        story.end_refund(rest);
        story.book.now = at(story.now_us);
        story
    }

    /// Sent once more when all is over, as the same request was.
    fn repeat(&mut self, uid: &str, decided: Decided) {
        let now_us = self.request(uid).arrived_at_us + 1_000;
        let mut again = self.request(uid).clone();
        again.arrived_at_us = now_us;
        again.decided = Some(decided);
        again.sequence = u64::try_from(self.gateway.len()).unwrap() + 1;
        self.gateway.push(again);
    }

    fn cancel_of(&mut self, nth: usize) -> &mut Request {
        let cancels = self.gateway.iter_mut();
        cancels
            .filter(|r| r.route == Route::Cancel)
            .nth(nth)
            .unwrap()
    }
}

#[rustfmt::skip]
pub(super) const DAMAGES: &[(Property, &str, Damage)] = &[
    (Property::RescueMeansAsk, "a one-off charge leaves a second time, though it was not found", |story| {
        story.repeat(PAID, Decided::RefusedDuplicate);
    }),
    (Property::IntentFirst, "a one-off charge leaves before it is written down", |story| {
        let arrived = story.request(PAID).arrived_at_us;
        story.entry_of(PAID, "started").committed_at_us = Some(arrived + 1);
    }),
    (Property::IntentFirst, "a one-off charge has no row at all", |story| {
        story.charge_one_off("proof9", Decided::NotProcessed);
    }),
    (Property::BooksAgree, "a one-off charge is declined here and approved there", |story| {
        let imp_uid = format!("imp_{DECLINED}");
        story.request(DECLINED).decided = Some(Decided::Approved { imp_uid });
    }),
    (Property::NothingVanishes, "a one-off charge is declined here and by nobody there", |story| {
        story.request(DECLINED).decided = Some(Decided::NotProcessed);
    }),
    (Property::NothingOpenAtRest, "a one-off charge is unknown, and no person is told", |story| {
        story.row(NEVER_LEFT).parked_at = None;
    }),
    (Property::NothingOpenAtRest, "a one-off charge waits for a person, though the gateway refused it", |story| {
        let row = story.row(DECLINED);
        row.state = "unknown".to_owned();
        row.parked_at = row.finished_at.take();
    }),
    (Property::FencedWrites, "a command that lost its one-off charge parks it", |story| {
        let parked = story.entries_of(NEVER_LEFT, "unknown").pop().unwrap();
        parked.who = "daemon_2".to_owned();
    }),
    (Property::NoRequestAfterTheEnd, "a card is charged beside an open one-off charge of it", |story| {
        let begun = story.entry_of(NEVER_LEFT, "started").at_us;
        story.entry_of(DECLINED, "declined").at_us = begun + 1;
    }),
    (Property::IntentFirst, "money is given back before that is written down", |story| {
        let arrived = story.cancel_of(0).arrived_at_us;
        let begun = story.book.journal.iter_mut()
            .find(|entry| matches!(entry.change, Change::Refund { old: None, .. }));
        begun.unwrap().committed_at_us = Some(arrived + 1);
    }),
    (Property::IntentFirst, "a refund leaves twice", |story| {
        let mut again = story.cancel_of(1).clone();
        again.arrived_at_us += 1_000;
        story.gateway.push(again);
    }),
    (Property::BooksAgree, "more was given back there than here", |story| {
        story.book.refunds[1].amount = 6000;
        story.row(PAID).cancelled_amount = 9000;
    }),
    (Property::BooksAgree, "a refund of the book was never made", |story| {
        story.cancel_of(1).decided = Some(Decided::Error);
    }),
    (Property::BooksAgree, "the attempt knows of less than its refunds", |story| {
        story.row(PAID).cancelled_amount = 3000;
    }),
    (Property::NothingOpenAtRest, "a refund is still started", |story| {
        let row = &mut story.book.refunds[1];
        row.state = "started".to_owned();
        story.row(PAID).cancelled_amount = 3000;
    }),
    (Property::NothingOpenAtRest, "a refund is unknown, and no person is told", |story| {
        let row = &mut story.book.refunds[1];
        row.state = "unknown".to_owned();
        story.row(PAID).cancelled_amount = 3000;
    }),
    (Property::RefundedOnce, "the same refund is made twice", |story| {
        story.book.refunds[1].key = "3000".to_owned();
    }),
    (Property::RefundedOnce, "a refund begins beside an open one", |story| {
        let ended = story.book.journal.iter()
            .position(|entry| matches!(entry.change, Change::Refund { old: Some(_), .. }));
        story.book.journal.remove(ended.unwrap());
    }),
];

#[test]
fn two_good_ledgers_of_commands_agree() {
    assert_eq!(Story::told_by_hand().violated(), []);
}

#[test]
fn each_damage_to_what_commands_did_is_seen_as_what_it_is_and_as_nothing_else() {
    each_is_seen_alone(Story::told_by_hand, DAMAGES);
}

#[test]
fn a_one_off_charge_that_is_approved_twice_is_a_double() {
    let mut story = Story::told_by_hand();
    let imp_uid = "imp_second".to_owned();
    story.repeat(PAID, Decided::Approved { imp_uid });
    let seen: BTreeSet<Property> = story.violated().iter().map(|v| v.property).collect();
    let expected = [Property::ChargedOnce, Property::RescueMeansAsk];
    assert_eq!(seen, BTreeSet::from(expected));
}

/// Hazard: a request that met a refused access token leaves once more, and is taken for a second charge.
#[test]
fn what_was_refused_unread_may_leave_again() {
    let mut story = Story::told_by_hand();
    for uid_of_unread in [PAID, DECLINED] {
        let mut unread = story.request(uid_of_unread).clone();
        unread.arrived_at_us -= 1_000;
        unread.decided = Some(Decided::NotProcessed);
        unread.ended = Some(Ended::Answered { status: 401 });
        story.gateway.push(unread);
    }
    let mut unread = story.cancel_of(0).clone();
    unread.arrived_at_us -= 1_000;
    unread.decided = Some(Decided::Error);
    unread.ended = Some(Ended::Answered { status: 401 });
    story.gateway.push(unread);
    assert_eq!(story.violated(), []);
}

#[test]
fn a_refund_that_waits_for_a_person_may_have_been_made_or_not() {
    let mut story = Story::told_by_hand();
    let row = &mut story.book.refunds[1];
    row.state = "unknown".to_owned();
    row.parked_at = row.finished_at.take();
    story.row(PAID).cancelled_amount = 3000;
    assert_eq!(story.violated(), []);
    story.cancel_of(1).decided = Some(Decided::Error);
    assert_eq!(story.violated(), []);
}
