//! How to start a sandbox, and what it takes for granted of PortOne.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::rng::Latency;

/// The API key of a sandbox that was not told another.
pub const IMP_KEY: &str = "sandbox_key";
/// The API secret of a sandbox that was not told another.
pub const IMP_SECRET: &str = "sandbox_secret";

/// How to start a sandbox.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The only API key it accepts.
    pub imp_key: String,
    /// The secret that belongs to it.
    pub imp_secret: String,
    /// How long every request takes.
    pub latency: Latency,
    /// What is not known of PortOne V1.
    pub switches: Switches,
    /// Where the chance behind `latency` begins.
    pub seed: u64,
    /// Where webhooks go whose request names no `notice_url`.
    pub notice_url: Option<String>,
    /// Whether webhooks are forms instead of JSON.
    pub webhooks_as_form: bool,
    /// The file that remembers payments, keys and reservations; `None` forgets them at the end.
    pub data: Option<PathBuf>,
    /// Whether every charge, look-up and cancellation is remembered, for a judge to read afterwards.
    pub request_log: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            imp_key: IMP_KEY.to_owned(),
            imp_secret: IMP_SECRET.to_owned(),
            latency: Latency::None,
            switches: Switches::default(),
            seed: 0,
            notice_url: None,
            webhooks_as_form: false,
            data: None,
            request_log: false,
        }
    }
}

/// What nobody outside PortOne knows for certain; the defaults are the careful reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a question of its own, answered by yes or no"
)]
pub struct Switches {
    /// Whether a `merchant_uid` that only failed may be charged again.
    pub failed_reusable: bool,
    /// Whether two requests that run at once under one `merchant_uid` both charge.
    pub concurrent_charges: bool,
    /// Which HTTP status carries the refusal of a taken `merchant_uid`.
    pub duplicate_http_status: u16,
    /// How many `again` within a second are served before the next gets HTTP 429; `None` is all.
    pub again_per_second_limit: Option<usize>,
    /// Whether a refusal with `response` null leaves a record that look-ups find.
    pub null_declines_recorded: bool,
    /// Whether the refusal of a paid `merchant_uid` leaves a failed record beside the paid one, which
    /// look-ups then show first.
    pub refusals_recorded: bool,
    /// Whether a `customer_uid` needs a billing key that was issued here.
    pub key_required: bool,
    /// Whether `onetime` stores the key when the payment fails.
    pub failed_onetime_keeps_key: bool,
    /// Whether the records of test charges turn `cancelled` at 23:30 in Korea, as the money does.
    pub nightly_cancel: bool,
    /// Whether a partly cancelled payment shows as `cancelled` instead of `paid`.
    pub partial_cancel_shows_cancelled: bool,
    /// Whether lists of reservations come as pages, as PortOne's own clients read them, or as the
    /// bare array that the schema names.
    pub schedule_lists_paged: bool,
    /// Whether `GET /payments/{imp_uid}` hides test payments from who does not ask for them, as it
    /// does since 2026. Older clients can't ask.
    pub test_payments_hidden: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            failed_reusable: true,
            concurrent_charges: false,
            duplicate_http_status: 200,
            again_per_second_limit: None,
            null_declines_recorded: true,
            refusals_recorded: false,
            key_required: false,
            failed_onetime_keeps_key: false,
            nightly_cancel: false,
            partial_cancel_shows_cancelled: false,
            schedule_lists_paged: true,
            test_payments_hidden: true,
        }
    }
}
