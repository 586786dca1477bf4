//! `billd sandbox`: a PortOne V1 server that moves no money.

use anyhow::Context;

use crate::app::exit::{Exit, Failure};
use crate::app::signals::stop_signals;
use crate::cli;
use crate::sandbox::{self, Latency, Options};
use crate::terminal;

pub(super) async fn sandbox(options: cli::Sandbox) -> Result<Exit, Failure> {
    let (stop, _hurry) = stop_signals().context("couldn't listen for signals")?;
    let latency = match options.latency_ms {
        0 => Latency::None,
        ms => Latency::Fixed(ms),
    };
    let running = sandbox::start(Options {
        listen: options.listen,
        latency,
        data: options.data,
        notice_url: options.notice_url,
        webhooks_as_form: options.webhooks_as_form,
        ..Options::default()
    })
    .await
    .with_context(|| format!("couldn't start the sandbox on {}", options.listen))?;
    let port = running.addr().port();
    terminal::line(&format!("the sandbox listens on {}", running.addr()));
    terminal::line(&format!(
        "  BILLD__GATEWAY__BASE_URL=http://127.0.0.1:{port}"
    ));
    terminal::line(&format!("  BILLD__GATEWAY__IMP_KEY={}", sandbox::IMP_KEY));
    terminal::line(&format!(
        "  BILLD__GATEWAY__IMP_SECRET={}",
        sandbox::IMP_SECRET
    ));
    stop.cancelled().await;
    running.stop().await;
    Ok(Exit::Done)
}
