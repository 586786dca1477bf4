//! What a proxy alters in the statements of its clients, to give a program a bug that it hasn't.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::frames::{Parse, Reply};

/// Time enough for a request to arrive at the gateway, and for a process to die.
const LATE: Duration = Duration::from_millis(150);

/// `begin` and `commit` as a client sends them, and the reply that no transaction is open.
const BEGIN: &[u8] = b"Q\0\0\0\x0abegin\0";
const COMMIT: &[u8] = b"Q\0\0\0\x0bcommit\0";
const IDLE: &[u8] = b"Z\0\0\0\x05I";

/// A change to what one statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alteration {
    /// A piece of its text is another.
    Text {
        /// Which, by the name in its first line.
        statement: &'static str,
        /// What is found in it once.
        find: &'static str,
        /// What stands there instead.
        replace: &'static str,
    },
    /// Its result is handed out before it is committed. One inside a transaction of the client's
    /// own is left alone.
    LateCommit {
        /// Which, by the name in its first line.
        statement: &'static str,
    },
}

impl Alteration {
    /// A message of a client, as the server is to see it. `Err` if the statement is not what it was
    /// when the alteration was written: a bug that is not put in must not pass for one that slipped.
    pub(super) fn text_of(&self, frame: Bytes) -> io::Result<Bytes> {
        let Self::Text {
            statement,
            find,
            replace,
        } = self
        else {
            return Ok(frame);
        };
        let Some(mut parse) = Parse::read(&frame).filter(|parse| parse.statement == *statement)
        else {
            return Ok(frame);
        };
        let altered = parse.text.replacen(find, replace, 1);
        if altered == parse.text {
            let text = format!("{statement} does not hold {find}");
            return Err(io::Error::other(text));
        }
        parse.text = altered;
        Ok(parse.write())
    }

    pub(super) fn delays(&self, name: &str) -> bool {
        matches!(self, Self::LateCommit { statement } if *statement == name)
    }
}

/// Where a statement is whose commit is delayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// None is.
    Idle,
    /// The transaction that is put around it begins.
    Beginning,
    /// It runs.
    Running,
    /// Its result is handed out, and the commit under way.
    Committing,
}

/// The transaction that is put around a statement, on one connection.
#[derive(Debug)]
pub(super) struct LateCommit {
    step: Mutex<Step>,
    moved: Notify,
}

impl LateCommit {
    pub(super) fn new() -> Self {
        Self {
            step: Mutex::new(Step::Idle),
            moved: Notify::new(),
        }
    }

    fn step(&self) -> Step {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go(&self, step: Step) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
        self.moved.notify_one();
    }

    /// What is sent before the statement.
    pub(super) fn begin(&self) -> &'static [u8] {
        self.go(Step::Beginning);
        BEGIN
    }

    /// Whether the statement is on its way.
    pub(super) fn is_under_way(&self) -> bool {
        self.step() != Step::Idle
    }

    /// Waits until its result was handed out and a while has passed; gives what is sent then.
    pub(super) async fn commit(&self) -> &'static [u8] {
        while self.step() != Step::Committing {
            self.moved.notified().await;
        }
        tokio::time::sleep(LATE).await;
        COMMIT
    }

    /// Waits for the end of the commit.
    pub(super) async fn committed(&self) {
        while self.step() != Step::Idle {
            self.moved.notified().await;
        }
    }

    /// What the client is to see of a reply.
    pub(super) fn seen(&self, reply: &Reply, frame: Bytes) -> Option<Bytes> {
        let is_ready = matches!(reply, Reply::Ready { .. });
        match self.step() {
            Step::Running if is_ready => {
                self.go(Step::Committing);
                Some(Bytes::from_static(IDLE))
            }
            Step::Idle | Step::Running => Some(frame),
            Step::Beginning if is_ready => {
                self.go(Step::Running);
                None
            }
            Step::Committing if is_ready => {
                self.go(Step::Idle);
                None
            }
            Step::Beginning | Step::Committing => None,
        }
    }
}
