//! Which replies are to be swallowed, over all connections of a proxy.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A statement, how often its reply is still to be swallowed, and how often it was.
#[derive(Debug)]
pub(super) struct Swallow {
    wanted: Mutex<Wanted>,
    done: AtomicU32,
}

#[derive(Debug, Default)]
struct Wanted {
    of: String,
    times: u32,
}

impl Swallow {
    pub(super) fn new() -> Self {
        Self {
            wanted: Mutex::default(),
            done: AtomicU32::new(0),
        }
    }

    pub(super) fn want(&self, of: &str, times: u32) {
        *self.wanted() = Wanted {
            of: of.to_owned(),
            times,
        };
    }

    /// Claims one reply. It is [`done`](Self::done), or given back if it was no success.
    pub(super) fn take(&self, name: &str) -> bool {
        let mut wanted = self.wanted();
        if wanted.of != name {
            return false;
        }
        let left = wanted.times.checked_sub(1);
        wanted.times = left.unwrap_or_default();
        left.is_some()
    }

    pub(super) fn give_back(&self) {
        let mut wanted = self.wanted();
        wanted.times = wanted.times.saturating_add(1);
    }

    pub(super) fn done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u32 {
        self.done.load(Ordering::Relaxed)
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
