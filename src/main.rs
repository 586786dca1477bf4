//! The process: parse, hand over, exit code. Nothing else.

use std::process::ExitCode;

use billd::app::{Exit, execute};
use billd::cli::Cli;
use billd::terminal;
use clap::Parser;

/// The daemon makes and drops many small values a charge, on several threads.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal::note(&format!("billd: couldn't start: {error}"));
            return ExitCode::from(Exit::Failed.code());
        }
    };
    match runtime.block_on(execute(cli)) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            terminal::note(&format!("billd: {}", failure.in_words()));
            ExitCode::from(failure.exit.code())
        }
    }
}
