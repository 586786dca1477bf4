//! Turns the daemon's log, one JSON object a line, into the story's lines.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::demo::book::Book;
use crate::demo::page::{DAEMON, GREEN, RED, YELLOW, grouped, left, paint, right, say};

/// So many of the daemon's last lines are shown when the demo breaks off.
const TAIL_LINES: usize = 12;

/// Listens to the daemon, and tells what it hears.
#[derive(Debug)]
pub(super) struct LogView {
    book: Book,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    process: u32,
    is_running: bool,
    /// Where the daemon serves its probes and metrics.
    address: Option<String>,
    /// Attempts whose outcome was told.
    told: HashSet<String>,
    /// Whether an outcome was told that nobody knows.
    has_doubted: bool,
    /// Paid attempts are only counted, not told one by one.
    brief: Option<(i64, i64)>,
    tail: VecDeque<String>,
}

impl LogView {
    pub(super) fn new(book: Book) -> Self {
        Self {
            book,
            heard: Mutex::default(),
        }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another daemon will be heard from now on.
    pub(super) fn new_daemon(&self, process: u32) {
        let mut heard = self.heard();
        heard.process = process;
        heard.is_running = false;
        heard.address = None;
    }

    /// Whether the daemon has said that it runs.
    pub(super) fn is_running(&self) -> bool {
        self.heard().is_running
    }

    /// Where the daemon serves its metrics.
    pub(super) fn address(&self) -> Option<String> {
        self.heard().address.clone()
    }

    /// Whether an outcome was told that nobody knows.
    pub(super) fn has_doubted(&self) -> bool {
        self.heard().has_doubted
    }

    /// Whether the outcomes of all these attempts have been told.
    pub(super) fn has_told(&self, merchant_uids: &[String]) -> bool {
        let heard = self.heard();
        merchant_uids.iter().all(|one| heard.told.contains(one))
    }

    /// A killed daemon may have written outcomes that it had no time to speak of.
    pub(super) fn count_as_told(&self, merchant_uids: Vec<String>) {
        self.heard().told.extend(merchant_uids);
    }

    /// From now on payments are counted, not told.
    pub(super) fn be_brief(&self) {
        self.heard().brief = Some((0, 0));
    }

    /// How many payments were counted, and their sum. They are told one by one again.
    pub(super) fn be_long(&self) -> (i64, i64) {
        self.heard().brief.take().unwrap_or_default()
    }

    /// The last lines of the log, for an error.
    pub(super) fn tail(&self) -> String {
        Vec::from(self.heard().tail.clone()).join("\n")
    }

    /// Hears one line.
    pub(super) async fn hear(&self, line: &str) {
        {
            let mut heard = self.heard();
            if heard.tail.len() == TAIL_LINES {
                heard.tail.pop_front();
            }
            heard.tail.push_back(line.to_owned());
        }
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            return say(DAEMON, &paint(RED, line));
        };
        let field = |name: &str| event.get(name).and_then(Value::as_str);
        if let Some(address) = field("address") {
            self.heard().address = Some(address.to_owned());
        }
        let message = field("message").unwrap_or_default();
        match (field("merchant_uid"), field("level").unwrap_or_default()) {
            // Some of these are warnings, too.
            (Some(merchant_uid), _) if matches!(field("event"), Some("charge" | "question")) => {
                self.tell(merchant_uid, &event).await;
            }
            (_, "ERROR") => say(DAEMON, &paint(RED, message)),
            (_, "WARN") => say(DAEMON, &paint(YELLOW, message)),
            (None, _) if message == "billd is running" => {
                let mut heard = self.heard();
                heard.is_running = true;
                say(DAEMON, &format!("is running, process {}", heard.process));
            }
            (_, _) => {}
        }
    }

    /// Tells the outcome of a charge, or the answer to a question.
    async fn tell(&self, merchant_uid: &str, event: &Value) {
        let field = |name: &str| event.get(name).and_then(Value::as_str);
        let decision = field("decision").unwrap_or_default();
        if let Ok(charge) = Charge::read(&self.book, merchant_uid).await {
            self.tell_charge(&charge, field("found"), field("outcome"), decision);
        }
        // Only now: whoever waits for it goes on with the story.
        if matches!(decision, "advance" | "retry" | "give_up") {
            self.heard().told.insert(merchant_uid.to_owned());
        }
    }

    fn tell_charge(
        &self,
        charge: &Charge,
        found: Option<&str>,
        outcome: Option<&str>,
        decision: &str,
    ) {
        let (word, ink) = match (found, outcome) {
            (Some("paid"), _) => ("asked: paid", GREEN),
            (Some("not found"), _) => ("asked: nothing", YELLOW),
            (Some(_), _) => ("asked: unclear", YELLOW),
            (None, Some("paid")) => ("paid", GREEN),
            (None, Some("declined")) => ("declined", RED),
            (None, Some("not_sent")) => ("not sent", YELLOW),
            (None, _) => ("unknown", YELLOW),
        };
        let mut heard = self.heard();
        heard.has_doubted |= word == "unknown";
        if let Some((count, sum)) = heard.brief.as_mut().filter(|_| word.ends_with("paid")) {
            *count = count.saturating_add(1);
            *sum = sum.saturating_add(charge.amount);
            return;
        }
        let line = format!(
            "{} {} KRW   {} {}",
            left(&charge.name, 8),
            right(&grouped(charge.amount), 8),
            paint(ink, &left(word, 15)),
            charge.follows(decision),
        );
        say(DAEMON, line.trim_end());
    }
}

/// An attempt and what follows from it, in words.
#[derive(Debug)]
struct Charge {
    name: String,
    amount: i64,
    reason: String,
    /// The gateway's own words, or ours for a doubt.
    why: String,
    next_day: String,
    next_time: String,
}

impl Charge {
    /// Reads one attempt. A number of billd's holds letters and digits only.
    async fn read(book: &Book, merchant_uid: &str) -> anyhow::Result<Self> {
        ensure!(merchant_uid.chars().all(|one| one.is_ascii_alphanumeric()));
        let query = format!(
            "select coalesce(s.buyer_name, s.name), a.amount, a.reason,
                    case when strpos(a.message, '|') > 0
                         -- `[1254][실시간빌링실패|잔액부족]` without its middle
                         then concat_ws(' ', '[' || a.code || ']',
                                  rtrim(substring(a.message from '[^|]*$'), ']'))
                         else replace(a.reason, '_', ' ') end,
                    to_char(s.next_charge_at at time zone s.time_zone, 'FMDD FMMonth YYYY'),
                    to_char(s.next_charge_at at time zone s.time_zone, 'FMDD FMMonth, HH24:MI')
             from billd.charge_attempt a
             join billd.subscription s on s.id = a.subscription_id
             where a.merchant_uid = '{merchant_uid}'"
        );
        let row = book.rows(&query).await?.into_iter().next();
        let row: Option<[String; 6]> = row.and_then(|row| row.try_into().ok());
        let [name, amount, reason, why, next_day, next_time] = row.context("no attempt")?;
        let amount = amount.parse()?;
        Ok(Self {
            name,
            amount,
            reason,
            why,
            next_day,
            next_time,
        })
    }

    /// Why, and what comes next.
    fn follows(&self, decision: &str) -> String {
        let why = &self.why;
        match decision {
            "advance" => format!("→ next {}", self.next_day),
            "retry" => format!("{why} → again {}", self.next_time),
            "give_up" => format!("{why} → past due, waits for a person"),
            "ask" if self.reason == "abandoned" => "→ ask once more, to be sure".to_owned(),
            "ask" => format!("{why} → not repeated: the gateway is asked first"),
            "send_again" => "→ the same merchant_uid is sent once more".to_owned(),
            "park" => "→ waits for a person".to_owned(),
            other => other.to_owned(),
        }
    }
}
