//! Reservations: charges that the gateway makes by itself at a given second.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::super::payment::Order;

/// What became of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ScheduleStatus {
    Scheduled,
    Executed,
    Revoked,
}

impl ScheduleStatus {
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "scheduled" => Some(Self::Scheduled),
            "executed" => Some(Self::Executed),
            "revoked" => Some(Self::Revoked),
            _ => None,
        }
    }
}

/// One reservation; one shot, whatever comes of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Schedule {
    pub(crate) order: Order,
    /// In unix seconds.
    pub(crate) at_s: i64,
    pub(crate) status: ScheduleStatus,
    pub(crate) executed_at_us: i64,
    pub(crate) revoked_at_us: i64,
    /// The number of the record it led to.
    pub(crate) payment: Option<u64>,
    /// Why it led to none.
    pub(crate) fail_reason: Option<Box<str>>,
}

/// All reservations.
#[derive(Debug, Default)]
pub(crate) struct Schedules {
    by_merchant_uid: HashMap<Box<str>, Schedule>,
    /// Those that wait, by their second.
    waiting: BTreeSet<(i64, Box<str>)>,
}

impl Schedules {
    pub(crate) fn get(&self, merchant_uid: &str) -> Option<&Schedule> {
        self.by_merchant_uid.get(merchant_uid)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Schedule> {
        self.by_merchant_uid.values()
    }

    /// Writes a reservation down in place of the one with its `merchant_uid`.
    pub(crate) fn put(&mut self, schedule: Schedule) {
        let merchant_uid = schedule.order.merchant_uid.clone();
        if schedule.status == ScheduleStatus::Scheduled {
            let waiting = (schedule.at_s, merchant_uid.clone());
            self.waiting.insert(waiting);
        }
        let (status, at_s) = (schedule.status, schedule.at_s);
        if let Some(old) = self.by_merchant_uid.insert(merchant_uid.clone(), schedule)
            && (status != ScheduleStatus::Scheduled || old.at_s != at_s)
        {
            self.waiting.remove(&(old.at_s, merchant_uid));
        }
    }

    /// Whose second has come, the earliest first.
    pub(crate) fn due(&self, now_s: i64) -> Vec<Box<str>> {
        let due = self.waiting.iter().take_while(|(at_s, _)| *at_s <= now_s);
        due.map(|(_, merchant_uid)| merchant_uid.clone()).collect()
    }
}
