//! One webhook: signed, sent once, its answer read within bounds.
//!
//! Standard Webhooks says how: `webhook-id`, `webhook-timestamp` and `webhook-signature`, and in that one signature
//! for each secret. 2xx is success. A redirect is a failure: it could lead anywhere, and the signature is not for there.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use secrecy::ExposeSecret;
use standardwebhooks::{
    HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook,
};
use tokio::time::{Instant, timeout};
use url::Url;

use crate::causes::chain;
use crate::delivery::addresses::{Reach, Refused};
use crate::domain::attempt::bounded_message;
use crate::domain::card::redacted;
use crate::domain::networks::Networks;
use crate::gateway::body::read_up_to;
use crate::store::Letter;

/// So much of an answer is read.
const ANSWER_BYTES_MAX: usize = 4 << 10;
/// So much of it is kept.
const EXCERPT_CHARACTERS_MAX: usize = 300;
/// Nothing has been sent before there is a connection.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);
/// A connection that is not needed for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Sends webhooks. A clone shares its connections.
#[derive(Debug, Clone)]
pub struct Sender {
    encrypted: (reqwest::Client, Reach),
    plain: (reqwest::Client, Reach),
    timeout: Duration,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// Why it failed; `None` if it did not.
    pub error: Option<String>,
    /// How the answer begins that said no.
    pub excerpt: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Sender {
    /// Prepares connections, and makes none. `allowed` may be reached beside public addresses, and without TLS.
    pub fn new(allowed: Networks, timeout: Duration) -> Result<Self, reqwest::Error> {
        // A second installation is refused, and then the first one serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let allowed = Arc::new(allowed);
        let client = |reach: Reach, is_encrypted| {
            let client = reqwest::Client::builder()
                .connect_timeout(timeout.min(CONNECT_TIMEOUT_MAX))
                .timeout(timeout)
                .pool_idle_timeout(IDLE_MAX)
                .redirect(Policy::none())
                .retry(reqwest::retry::never())
                .no_proxy()
                .https_only(is_encrypted)
                .dns_resolver(reach.clone())
                .user_agent(concat!("billd/", env!("CARGO_PKG_VERSION")))
                .build()?;
            Ok((client, reach))
        };
        Ok(Self {
            encrypted: client(Reach::new(Arc::clone(&allowed), true), true)?,
            plain: client(Reach::new(allowed, false), false)?,
            timeout,
        })
    }

    /// Judges an address as far as that is possible before a connection is made.
    pub fn judge(&self, url: &str) -> Result<(), Refused> {
        self.client(url).map(drop)
    }

    fn client(&self, url: &str) -> Result<(&reqwest::Client, Url), Refused> {
        let url = Url::parse(url).map_err(|_not_one| Refused::NoUrl)?;
        let (client, reach) = match url.scheme() {
            "https" => &self.encrypted,
            "http" => &self.plain,
            _ => return Err(Refused::NoUrl),
        };
        reach.judge(&url)?;
        Ok((client, url))
    }

    /// Sends it once.
    pub async fn send(&self, letter: &Letter) -> Sent {
        let started = Instant::now();
        let answer = timeout(self.timeout, self.post(letter)).await;
        let (status, error, excerpt) = match answer {
            Ok(Ok((status, excerpt))) => (Some(status), fault(status), excerpt),
            Ok(Err(error)) => (None, Some(bounded_message(&error)), None),
            Err(_elapsed) => (None, Some(self.too_late()), None),
        };
        Sent {
            status,
            excerpt: excerpt.filter(|_| error.is_some()),
            error,
            took: started.elapsed(),
        }
    }

    /// How long one request may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    fn too_late(&self) -> String {
        format!("no answer within {:?}", self.timeout)
    }

    async fn post(&self, letter: &Letter) -> Result<(u16, Option<String>), String> {
        let (client, url) = self.client(&letter.url).map_err(|error| chain(&error))?;
        let mut signature = HeaderValue::try_from(signatures(letter)?)
            .map_err(|_not_ascii| "the signature is no header".to_owned())?;
        signature.set_sensitive(true);
        let request = client
            .post(url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(HEADER_WEBHOOK_ID, &letter.id)
            .header(HEADER_WEBHOOK_TIMESTAMP, letter.sent_at)
            .header(HEADER_WEBHOOK_SIGNATURE, signature)
            .body(letter.body.clone());
        // The URL may hold what is nobody's business.
        let answer = request.send().await.map_err(|error| {
            if error.is_timeout() {
                self.too_late()
            } else {
                chain(&error.without_url())
            }
        })?;
        let status = answer.status().as_u16();
        // The status says all; a body that ends early changes nothing.
        let body = read_up_to(answer, ANSWER_BYTES_MAX)
            .await
            .unwrap_or_default();
        Ok((status, excerpt(&body)))
    }
}

fn signatures(letter: &Letter) -> Result<String, String> {
    let signed: Result<Vec<String>, _> = letter
        .secrets
        .iter()
        .map(|secret| {
            Webhook::new(secret.expose_secret())?.sign(
                &letter.id,
                letter.sent_at,
                letter.body.as_bytes(),
            )
        })
        .collect();
    match signed {
        Ok(signed) if !signed.is_empty() => Ok(signed.join(" ")),
        Ok(_none) => Err("the endpoint has no secret; billd webhook rotate makes one".to_owned()),
        Err(_unreadable) => {
            Err("its secret can't be read; billd webhook rotate makes one".to_owned())
        }
    }
}

fn fault(status: u16) -> Option<String> {
    match status {
        200..=299 => None,
        300..=399 => Some(format!("HTTP {status}: redirects are not followed")),
        _ => Some(format!("HTTP {status}")),
    }
}

/// The beginning of an answer, without what must not be kept.
fn excerpt(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let text: Vec<&str> = text
        .split("whsec_")
        .enumerate()
        .map(|(part, text)| match part {
            0 => text,
            _ => text.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "+/=".contains(c)),
        })
        .collect();
    let text = bounded_message(&redacted(&text.join("…")));
    let text: String = text.chars().take(EXCERPT_CHARACTERS_MAX).collect();
    Some(text).filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    fn letter(url: &str) -> Letter {
        Letter {
            id: "evt_1".to_owned(),
            url: url.to_owned(),
            secrets: vec![SecretString::from("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")],
            sent_at: 1_649_367_553,
            body: "{}".to_owned(),
        }
    }

    #[test]
    fn each_secret_signs() {
        let mut letter = letter("https://shop.example");
        let alone = signatures(&letter).unwrap();
        assert!(alone.starts_with("v1,"), "{alone}");
        letter
            .secrets
            .push(SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        let both = signatures(&letter).unwrap();
        assert_eq!(both.split(' ').count(), 2);
        assert!(both.starts_with(&alone), "{both}");
        letter.secrets.clear();
        signatures(&letter).unwrap_err();
    }

    /// Hazard: an answer that echoes what it should not is kept in a table and shown to people.
    #[test]
    fn what_is_kept_of_an_answer_holds_no_secret() {
        let said = excerpt(b"bad signature for whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD= of 4111-1111-1111-1111\n\x07");
        assert_eq!(said.unwrap(), "bad signature for … of … ");
        assert_eq!(excerpt(b" \n"), None);
        let long = excerpt(&vec![b'x'; 9999]).unwrap();
        assert_eq!(long.len(), EXCERPT_CHARACTERS_MAX);
    }

    /// Hazard: an address that is written in an unusual way passes for another one.
    #[tokio::test]
    async fn addresses_that_are_not_public_are_refused_however_they_are_written() {
        let sender = Sender::new(Networks::default(), Duration::from_secs(5)).unwrap();
        for url in [
            "https://127.0.0.1/",
            "https://0177.0.0.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://10.0.0.1/",
            "https://169.254.169.254/latest/meta-data/",
            "https://[fd00:ec2::254]/",
            "https://localhost/",
            "http://1.1.1.1/",
            "http://localhost/",
            "ftp://shop.example/",
            "shop.example",
        ] {
            let sent = sender.send(&letter(url)).await;
            let error = sent.error.unwrap();
            assert!(
                ["not a public address", "without TLS", "it is no address"]
                    .iter()
                    .any(|words| error.contains(words)),
                "{url}: {error}"
            );
        }
    }
}
