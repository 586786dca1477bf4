//! The process: parse, hand over, exit code. Nothing else.

use std::io;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;

use billd::app::{Exit, execute};
use billd::cli::Cli;
use billd::{telemetry, terminal};
use clap::Parser;

/// The daemon makes and drops many small values a charge, on several threads.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match has_threads().and_then(|()| builder.enable_all().build()) {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal::note(&format!(
                "billd: the system gives too few threads to start (`ulimit -u`, the pids limit of a container): {error}"
            ));
            return ExitCode::from(Exit::Failed.code());
        }
    };
    let ended = runtime.block_on(execute(cli));
    telemetry::finish();
    // A name that is still being looked up holds up nobody.
    runtime.shutdown_background();
    match ended {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            terminal::note(&format!("billd: {}", failure.in_words()));
            ExitCode::from(failure.exit.code())
        }
    }
}

/// Whether the system gives as many threads as there will be at least: the runtime panics without.
fn has_threads() -> io::Result<()> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let together = Mutex::new(());
    thread::scope(|scope| {
        let _all_wait = together.lock().unwrap_or_else(PoisonError::into_inner);
        // And one each for the log and for looking names up.
        (0..workers.saturating_add(2)).try_for_each(|_| {
            let wait = || drop(together.lock());
            thread::Builder::new().spawn_scoped(scope, wait).map(drop)
        })
    })
}
