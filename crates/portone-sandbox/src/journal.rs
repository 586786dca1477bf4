//! The memory of a sandbox that is started with a data file: one line of JSON for every change.
//!
//! A line is written before the answer leaves, so that a sandbox that was killed knows after its
//! restart what it had approved. It does not wait for the disk: it survives its own death, not the
//! machine's. A last line that was cut in half by the end of the process is dropped.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::key::Key;
use super::payment::Payment;
use super::schedule::Schedule;

/// One change, holding the whole thing as it is after it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event<'a> {
    /// A fresh book, and where its numbers begin.
    Opened {
        first_number: u64,
    },
    Payment(Cow<'a, Payment>),
    Key(Cow<'a, Key>),
    Schedule(Cow<'a, Schedule>),
    /// A card that changes its mind was charged once more.
    Charged {
        customer_uid: Cow<'a, str>,
    },
    /// The clock was moved, this far in all.
    Clock {
        moved_us: i64,
    },
}

/// The file, open for appending and locked against a second sandbox.
#[derive(Debug)]
pub(super) struct Journal(File);

impl Journal {
    /// Opens or makes the file and reads what it remembers.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Event<'static>>)> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        file.try_lock()
            .map_err(|_taken| io::Error::other("another sandbox uses the data file"))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |last| last.saturating_add(1));
        text.truncate(whole);
        file.set_len(u64::try_from(whole).map_err(io::Error::other)?)?;
        let lines = text.split(|byte| *byte == b'\n');
        let events = (1..).zip(lines).filter(|(_, line)| !line.is_empty());
        let events = events.map(|(nth, line)| {
            serde_json::from_slice(line).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("line {nth}: {error}"))
            })
        });
        let events = events.collect::<io::Result<Vec<_>>>()?;
        Ok((Self(file), events))
    }

    pub(super) fn write(&mut self, event: &Event<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.0.set_len(0)
    }
}
