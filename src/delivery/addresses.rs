//! Which addresses may be reached: judged when a connection is made, so that a name can't lead elsewhere in between.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;
use url::{Host, Url};

use crate::domain::networks::{Networks, is_public};

/// What may be reached.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    /// What the settings allow beside public addresses.
    allowed: Arc<Networks>,
    /// Whether public addresses may be: with TLS only.
    public: bool,
}

/// Why an address is not reached.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is no address of the internet.
    #[error(
        "{0} is not a public address; webhooks.allowed_networks says which others may be reached"
    )]
    NotPublic(String),
    /// What is sent could be read and changed on its way.
    #[error(
        "{0} would be reached without TLS; use https, or name the address in webhooks.allowed_networks"
    )]
    NotEncrypted(String),
    /// It can't be understood.
    #[error("it is no address such as https://shop.example/webhooks")]
    NoUrl,
}

impl Reach {
    pub(super) fn new(allowed: Arc<Networks>, public: bool) -> Self {
        Self { allowed, public }
    }

    fn admits(&self, address: IpAddr) -> bool {
        self.allowed.contains(address) || self.public && is_public(address)
    }

    fn refused(&self, what: String) -> Refused {
        if self.public {
            Refused::NotPublic(what)
        } else {
            Refused::NotEncrypted(what)
        }
    }

    /// Judges an address that stands in a URL itself: no name is looked up for it. The URL's parser has made one
    /// of all ways to write it, octal and the like.
    pub(super) fn judge(&self, url: &Url) -> Result<(), Refused> {
        let address: IpAddr = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(Refused::NoUrl),
        };
        if self.admits(address) {
            Ok(())
        } else {
            Err(self.refused(address.to_string()))
        }
    }

    async fn addresses(
        self,
        name: String,
    ) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
        let found: Vec<SocketAddr> = lookup_host((name.as_str(), 0)).await?.collect();
        let admitted: Vec<SocketAddr> = found
            .iter()
            .copied()
            .filter(|address| self.admits(address.ip()))
            .collect();
        if admitted.is_empty() {
            let found: Vec<String> = found.iter().map(|one| one.ip().to_string()).collect();
            return Err(self
                .refused(format!("{name} ({})", found.join(", ")))
                .into());
        }
        Ok(Box::new(admitted.into_iter()))
    }
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(self.clone().addresses(name.as_str().to_owned()))
    }
}
