//! The options of a sandbox as a command line has them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::options::Options;
use super::rng::Latency;

/// For `portone-sandbox`, and for a program that offers a sandbox as one of its commands.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:18081")]
    pub listen: SocketAddr,
    /// How long every answer takes, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub latency_ms: u64,
    /// Remember payments, keys and reservations in this file [default: forget them at the end]
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Where webhooks go if a charge names no address of its own [default: nowhere]
    #[arg(long, value_name = "URL")]
    pub notice_url: Option<String>,
    /// Send webhooks as forms instead of JSON
    #[arg(long)]
    pub webhooks_as_form: bool,
}

impl From<Arguments> for Options {
    fn from(arguments: Arguments) -> Self {
        Self {
            listen: arguments.listen,
            latency: match arguments.latency_ms {
                0 => Latency::None,
                ms => Latency::Fixed(ms),
            },
            data: arguments.data,
            notice_url: arguments.notice_url,
            webhooks_as_form: arguments.webhooks_as_form,
            ..Self::default()
        }
    }
}
