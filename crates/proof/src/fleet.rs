//! The daemons of a seed, under a service manager that starts again whatever ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::sync::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::arena::{COMMAND, Daemon, Ended, Guard, Spec, Watched};
use crate::checker::Death;
use crate::failpoint;
use crate::plan::Which;
use crate::wall_clock_us;

/// How often the service manager looks.
const MIND_EVERY: Duration = Duration::from_millis(20);
/// Wrong usage, wrong settings, wrong schema: starting again does not help.
const HOPELESS: [i32; 3] = [2, 3, 5];
/// It stopped in order, with something under way.
const WORK_LEFT: i32 = 7;
const SIGTERM: i32 = 15;
/// How long a stopping daemon may take before it is killed, and the seed has failed.
const STOP_MAX: Duration = Duration::from_secs(30);

/// All daemons of a seed.
#[derive(Debug, Clone)]
pub(super) struct Fleet {
    slots: Arc<Vec<Mutex<Slot>>>,
    record: Arc<Mutex<Record>>,
    guard: Arc<Guard>,
}

/// What became of the processes.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Those that were killed or died, for the judge.
    pub(super) deaths: Vec<Death>,
    /// How each died.
    pub(super) ways: Vec<String>,
    /// How many processes were started.
    pub(super) started: u64,
}

#[derive(Debug)]
struct Slot {
    spec: Spec,
    /// Dies at this point; only the first process does.
    crash: Option<(String, u32)>,
    /// `None` while it is away on purpose.
    process: Option<Daemon>,
}

impl Fleet {
    /// Prepares daemons; none runs yet.
    pub(super) fn new(specs: Vec<Spec>, guard: Arc<Guard>) -> Self {
        let slot = |spec| {
            Mutex::new(Slot {
                spec,
                crash: None,
                process: None,
            })
        };
        Self {
            slots: Arc::new(specs.into_iter().map(slot).collect()),
            record: Arc::default(),
            guard,
        }
    }

    /// Makes the first process of a slot die at a point.
    pub(super) async fn set_failpoint(&self, which: Which, point: &str, visit: u32) {
        if let Some(slot) = self.slots.get(usize::from(which)) {
            slot.lock().await.crash = Some((point.to_owned(), visit));
        }
    }

    /// Starts all.
    pub(super) async fn start(&self) -> anyhow::Result<()> {
        for slot in self.slots.iter() {
            self.start_one(&mut *slot.lock().await).await?;
        }
        Ok(())
    }

    async fn start_one(&self, slot: &mut Slot) -> anyhow::Result<()> {
        let mut spec = slot.spec.clone();
        if let Some((point, visit)) = &slot.crash {
            spec.envs
                .push((failpoint::VARIABLE.to_owned(), format!("{point}:{visit}")));
        }
        slot.process = Some(Daemon::start(&spec, &self.guard)?);
        let mut record = self.record.lock().await;
        record.started = record.started.saturating_add(1);
        Ok(())
    }

    /// Starts again whatever ends, until `stop`.
    pub(super) async fn mind(self, stop: CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            for slot in self.slots.iter() {
                // Whoever has it does something to its process.
                let Ok(mut slot) = slot.try_lock() else {
                    continue;
                };
                let Some(process) = slot.process.as_mut() else {
                    continue;
                };
                let Some(ended) = process.has_ended()? else {
                    continue;
                };
                if matches!(ended, Ended::Code(code) if HOPELESS.contains(&code)) {
                    bail!("a daemon can't run at all; it said: {}", process.said());
                }
                self.note(&mut slot, ended).await;
                self.start_one(&mut slot).await?;
            }
            sleep(MIND_EVERY).await;
        }
        Ok(())
    }

    /// Writes down how a process ended. One that was told to crash crashes once.
    async fn note(&self, slot: &mut Slot, ended: Ended) {
        let mut record = self.record.lock().await;
        let way = match ended {
            Ended::Signal(_) => slot.crash.take().map_or_else(
                || format!("by {ended:?}"),
                |(point, _)| format!("at {point}"),
            ),
            Ended::Code(0) => return,
            Ended::Code(_) => format!("by {ended:?}"),
        };
        record.ways.push(way);
        record.deaths.push(Death {
            role: slot.spec.name.clone(),
            at_us: wall_clock_us(),
        });
    }

    /// Ends a process with the harness, as all daemons do.
    pub(super) fn watch(&self, process: u32) -> anyhow::Result<Watched> {
        self.guard.watch(process)
    }

    /// Writes down that a command died.
    pub(super) async fn note_command(&self, way: String) {
        let mut record = self.record.lock().await;
        record.ways.push(way);
        record.deaths.push(Death {
            role: COMMAND.to_owned(),
            at_us: wall_clock_us(),
        });
    }

    /// `kill -9`, and a new process after a while.
    pub(super) async fn kill(&self, which: Which, away: Duration) -> anyhow::Result<()> {
        let Some(slot) = self.slots.get(usize::from(which)) else {
            return Ok(());
        };
        {
            let mut slot = slot.lock().await;
            if let Some(mut process) = slot.process.take() {
                let ended = process.kill().await?;
                slot.crash = None;
                self.note(&mut slot, ended).await;
            }
        }
        sleep(away).await;
        self.start_one(&mut *slot.lock().await).await
    }

    /// SIGSTOP, and SIGCONT after a while.
    pub(super) async fn freeze(&self, which: Which, pause: Duration) -> anyhow::Result<()> {
        let Some(slot) = self.slots.get(usize::from(which)) else {
            return Ok(());
        };
        // The slot stays locked: nobody else touches a process that can't answer.
        let mut slot = slot.lock().await;
        if let Some(process) = slot.process.as_mut() {
            process.freeze()?;
            sleep(pause).await;
            process.thaw()?;
        }
        Ok(())
    }

    /// SIGTERM; the service manager starts another when it has ended.
    pub(super) async fn terminate(&self, which: Which) -> anyhow::Result<()> {
        if let Some(slot) = self.slots.get(usize::from(which))
            && let Some(process) = slot.lock().await.process.as_mut()
        {
            process.terminate()?;
        }
        Ok(())
    }

    /// Stops all in order. `Err` within: one that did not stop, or not well.
    pub(super) async fn stop(&self) -> anyhow::Result<Result<Record, String>> {
        let mut trouble = None;
        for slot in self.slots.iter() {
            let mut slot = slot.lock().await;
            let Some(mut process) = slot.process.take() else {
                continue;
            };
            process.terminate()?;
            match process.wait(STOP_MAX).await? {
                // What is under way where nothing is open is an answer that others had asked for.
                Some(Ended::Code(0 | WORK_LEFT)) => {}
                Some(Ended::Signal(SIGTERM)) if !process.has_spoken() => {}
                // It was to die on this way.
                Some(ended @ Ended::Signal(_)) if slot.crash.is_some() => {
                    self.note(&mut slot, ended).await;
                }
                Some(other) => {
                    trouble = Some(format!(
                        "a daemon at rest was told to stop and ended by {other:?}"
                    ));
                }
                None => trouble = Some(format!("a daemon at rest did not stop in {STOP_MAX:?}")),
            }
        }
        let record = std::mem::take(&mut *self.record.lock().await);
        Ok(trouble.map_or(Ok(record), Err))
    }
}
