//! Webhooks as V1 sends them: unsigned, once, and only for what is worth one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::payment::Status;

/// PortOne's patience with a merchant's server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Enough to keep up with a fast merchant, and a bound on the sockets of a slow one.
const CONCURRENT_MAX: usize = 64;

/// What a webhook says.
#[derive(Debug, Serialize)]
pub(super) struct Notice {
    pub(super) imp_uid: String,
    pub(super) merchant_uid: String,
    pub(super) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cancellation_id: Option<String>,
}

/// The sender.
#[derive(Debug)]
pub(super) struct Webhooks {
    runtime: Handle,
    /// Where webhooks go whose request names no address.
    notice_url: Option<String>,
    as_form: bool,
    client: OnceLock<reqwest::Client>,
    permits: Arc<Semaphore>,
    delivered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Webhooks {
    pub(super) fn new(runtime: Handle, notice_url: Option<String>, as_form: bool) -> Self {
        Self {
            runtime,
            notice_url,
            as_form,
            client: OnceLock::new(),
            permits: Arc::new(Semaphore::new(CONCURRENT_MAX)),
            delivered: Arc::default(),
            failed: Arc::default(),
        }
    }

    /// Sends a notice in the background, if there is an address for it.
    pub(super) fn send(&self, notice_url: Option<&str>, notice: &Notice) {
        let Some(url) = notice_url.or(self.notice_url.as_deref()) else {
            return;
        };
        let request = self.client.get_or_init(client).post(url);
        let request = if self.as_form {
            request.form(notice)
        } else {
            request.json(notice)
        };
        let permits = Arc::clone(&self.permits);
        let delivered = Arc::clone(&self.delivered);
        let failed = Arc::clone(&self.failed);
        self.runtime.spawn(async move {
            let permit = permits.acquire_owned().await;
            let answer = request.send().await;
            let is_delivered = answer.is_ok_and(|answer| answer.status().is_success());
            let counter = if is_delivered { delivered } else { failed };
            counter.fetch_add(1, Ordering::Relaxed);
            drop(permit);
        });
    }

    /// Counts from 0 again.
    pub(super) fn reset(&self) {
        self.delivered.store(0, Ordering::Relaxed);
        self.failed.store(0, Ordering::Relaxed);
    }

    /// How many were taken, and how many were not.
    pub(super) fn counts(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.delivered), read(&self.failed))
    }
}

/// Built for the first webhook, as most sandboxes never send one.
fn client() -> reqwest::Client {
    // Fails when the process has chosen its TLS already, which is as good.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    client.build().unwrap_or_default()
}
