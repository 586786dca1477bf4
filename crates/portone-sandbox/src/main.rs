//! `portone-sandbox`: a PortOne V1 server that moves no money, as a program of its own.

use std::io::{self, Write, stderr, stdout};
use std::process::ExitCode;

use clap::Parser;
use portone_sandbox::{Arguments, HELP, IMP_KEY, IMP_SECRET, start};
use tokio::signal::unix::{SignalKind, signal};

/// Run a stateful PortOne V1 server that moves no money
#[derive(Debug, Parser)]
#[command(
    version,
    long_about = HELP,
    after_help = "\
Examples:
  portone-sandbox
  portone-sandbox --listen 0.0.0.0:18081 --latency-ms 200 --data sandbox.jsonl"
)]
struct Cli {
    #[command(flatten)]
    arguments: Arguments,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(stderr).init();
    match serve(Cli::parse().arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(stderr(), "portone-sandbox: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

/// Serves until SIGTERM or SIGINT.
async fn serve(arguments: Arguments) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listen = arguments.listen;
    let running = start(arguments.into()).await.map_err(|error| {
        io::Error::new(error.kind(), format!("couldn't start on {listen}: {error}"))
    })?;
    let address = running.addr();
    writeln!(
        stdout(),
        "# the sandbox listens on {address}\n\
         BASE_URL=http://127.0.0.1:{port}\n\
         IMP_KEY={IMP_KEY}\n\
         IMP_SECRET={IMP_SECRET}",
        port = address.port(),
    )
    .ok();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.stop().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
