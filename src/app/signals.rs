//! SIGTERM, SIGINT and SIGHUP: each stops in order. There is nothing to read again.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Two tokens: the first is cancelled by the first of these signals, the second by the second.
pub(super) fn stop_signals() -> Result<(CancellationToken, CancellationToken), anyhow::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // A terminal that is closed sends it; left alone it would end the process at once.
    let mut hang_up = signal(SignalKind::hangup())?;
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    let tokens = [stop.clone(), hurry.clone()];
    tokio::spawn(async move {
        for token in tokens {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hang_up.recv() => {}
            }
            token.cancel();
        }
    });
    Ok((stop, hurry))
}
