//! The way of a line to standard error. Whoever logs never waits and never fails: a thread of its own writes, and
//! what can't be written is lost and counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait while nobody reads: some ten megabytes, and more than a stop lets pass in a second.
const WAITING_MAX: usize = 32_768;
/// How long the end of the process waits for the lines before it.
const FINISH_MAX: Duration = Duration::from_secs(1);
/// Lost lines are told of so often at most: while a reader is slow, telling costs others their place.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The log of this process.
static LINES: OnceLock<Lines> = OnceLock::new();

enum Message {
    Line(Vec<u8>),
    /// All before it is written, or lost, when this is dropped.
    Finished(SyncSender<()>),
}

/// Where lines are put. Clones share everything.
#[derive(Clone)]
pub(super) struct Lines {
    waiting: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    /// Starts the thread that writes.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (waiting, lines) = sync_channel(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let pen = Pen {
            out,
            lost: Arc::clone(&lost),
            told: 0,
            told_at: None,
            is_torn: false,
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || pen.write_all(&lines))?;
        Ok(Self { waiting, lost })
    }

    /// Makes it the log of this process, unless there is one.
    pub(super) fn install(self) {
        LINES.set(self).ok();
    }
}

/// How many lines of this process's log were lost.
pub fn lost() -> u64 {
    LINES
        .get()
        .map_or(0, |lines| lines.lost.load(Ordering::Relaxed))
}

/// Waits until what was logged is written, a second at most. To be called before the process ends.
pub fn finish() {
    if let Some(lines) = LINES.get() {
        let (finished, all_written) = sync_channel(0);
        if lines.waiting.try_send(Message::Finished(finished)).is_ok() {
            all_written.recv_timeout(FINISH_MAX).ok();
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Lines {
    /// Takes a whole line, which is how they come.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let message = Message::Line(line.to_vec());
        if self.waiting.try_send(message).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Pen<W> {
    out: W,
    lost: Arc<AtomicU64>,
    /// How many of the lost lines have been told of.
    told: u64,
    told_at: Option<Instant>,
    /// A part of a line was written, and not its end.
    is_torn: bool,
}

impl<W: Write> Pen<W> {
    fn write_all(mut self, lines: &Receiver<Message>) {
        while let Ok(message) = lines.recv() {
            let line = match message {
                Message::Line(line) => line,
                Message::Finished(finished) => {
                    drop(finished);
                    continue;
                }
            };
            if self.write(&line).is_err() {
                self.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.tell();
        }
    }

    /// Says how many lines were lost, now that one was written again.
    fn tell(&mut self) {
        let lost = self.lost.load(Ordering::Relaxed);
        let more = lost.saturating_sub(self.told);
        let is_early = self.told_at.is_some_and(|at| at.elapsed() < TELL_EVERY);
        if more == 0 || is_early {
            return;
        }
        self.told = lost;
        self.told_at = Some(Instant::now());
        tracing::warn!(
            event = "log_lines_lost",
            lost = more,
            "{more} lines of this log were lost: they could not be written"
        );
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.out.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            let written = match self.out.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            rest = rest.get(written..).unwrap_or_default();
            self.is_torn = !rest.is_empty();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A disk with so much room left.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let fits = bytes.len().min(disk.1);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.1 = disk.1.saturating_sub(fits);
            disk.0.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A reader that stands still while somebody holds this.
    struct Stuck(Arc<Mutex<()>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            drop(self.0.lock());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn drained(lines: &Lines) {
        let (finished, all_written) = sync_channel(0);
        lines.waiting.send(Message::Finished(finished)).unwrap();
        assert!(all_written.recv().is_err());
    }

    /// Hazard: the disk of the log is full, and whoever logs fails with it; or half a line is taken for a whole one.
    #[test]
    fn what_a_full_disk_does_not_take_is_counted_and_the_next_line_stands_alone() {
        let disk = Disk::default();
        disk.0.lock().unwrap().1 = 8;
        let lines = Lines::start(disk.clone()).unwrap();
        for line in ["one\n", "second\n", "third\n"] {
            (&lines).write_all(line.as_bytes()).unwrap();
        }
        drained(&lines);
        assert_eq!(lines.lost.load(Ordering::Relaxed), 2);
        disk.0.lock().unwrap().1 = 100;
        (&lines).write_all(b"fourth\n").unwrap();
        drained(&lines);
        let written = String::from_utf8(disk.0.lock().unwrap().0.clone()).unwrap();
        assert_eq!(written, "one\nseco\nfourth\n");
    }

    /// Hazard: a reader that stands still stops whoever logs.
    #[test]
    fn nobody_waits_for_a_reader_that_stands_still() {
        let held = Arc::new(Mutex::new(()));
        let stands_still = held.lock().unwrap();
        let lines = Lines::start(Stuck(Arc::clone(&held))).unwrap();
        for _ in 0..WAITING_MAX + 11 {
            (&lines).write_all(b"line\n").unwrap();
        }
        let lost = lines.lost.load(Ordering::Relaxed);
        drop(stands_still);
        assert!((10..=11).contains(&lost), "{lost}");
    }
}
