//! Named points at which the process dies if it was told to, for the proof in `docs/PROOF.md`.
//!
//! Without the feature `failpoints` every function here is empty, and nothing of it is left in the
//! program.

pub(crate) use points::{crash_at, crash_soon, panic_at};

#[cfg(not(feature = "failpoints"))]
mod points {
    /// Does nothing.
    #[inline]
    pub(crate) const fn crash_at(_: &str) {}

    /// Does nothing.
    #[inline]
    pub(crate) const fn crash_soon(_: &str) {}

    /// Does nothing.
    #[inline]
    pub(crate) const fn panic_at(_: &str) {}
}

#[cfg(feature = "failpoints")]
mod points {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;
    use std::{env, process, thread};

    /// Long enough for a request to be on its way, shorter than the answer takes.
    const SOON: Duration = Duration::from_millis(3);

    /// The point and how often it is still passed, as in `BILLD_FAILPOINT=flush_next:3`: the third
    /// visit is the last.
    static TOLD: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let told = env::var_os("BILLD_FAILPOINT")?.into_string().ok()?;
        let (point, visit) = told.split_once(':')?;
        Some((point.to_owned(), AtomicU32::new(visit.parse().ok()?)))
    });

    fn is_told(point: &str) -> bool {
        TOLD.as_ref().is_some_and(|(told, visits_left)| {
            told == point && visits_left.fetch_sub(1, Ordering::SeqCst) == 1
        })
    }

    /// Dies here without another instruction, if it was told to: no destructor, no farewell.
    pub(crate) fn crash_at(point: &str) {
        if is_told(point) {
            process::abort();
        }
    }

    /// Panics here, if it was told to: a bug, as a task meets it.
    pub(crate) fn panic_at(point: &str) {
        assert!(!is_told(point), "a failpoint");
    }

    /// Dies a moment later, while whatever comes next is under way, if it was told to.
    pub(crate) fn crash_soon(point: &str) {
        if is_told(point) {
            thread::spawn(|| {
                thread::sleep(SOON);
                process::abort();
            });
        }
    }
}
