//! `billd sandbox`: a PortOne V1 server that moves no money.

use anyhow::Context;
use portone_sandbox::{Arguments, IMP_KEY, IMP_SECRET, start};

use crate::app::exit::{Exit, Failure};
use crate::app::signals::stop_signals;
use crate::terminal;

pub(super) async fn sandbox(arguments: Arguments) -> Result<Exit, Failure> {
    let (stop, _hurry) = stop_signals().context("couldn't listen for signals")?;
    let listen = arguments.listen;
    let running = start(arguments.into())
        .await
        .with_context(|| format!("couldn't start the sandbox on {listen}"))?;
    let port = running.addr().port();
    terminal::line(&format!("# the sandbox listens on {}", running.addr()));
    terminal::line(&format!(
        "export BILLD__GATEWAY__BASE_URL=http://127.0.0.1:{port}"
    ));
    terminal::line(&format!("export BILLD__GATEWAY__IMP_KEY={IMP_KEY}"));
    terminal::line(&format!("export BILLD__GATEWAY__IMP_SECRET={IMP_SECRET}"));
    stop.cancelled().await;
    running.stop().await;
    Ok(Exit::Done)
}
