//! The access token: asked for once, shared by all calls, renewed shortly before it ends.
//!
//! Its life is counted on the local monotonic clock from PortOne's own two instants, so a wrong
//! wall clock on this machine can't shorten or stretch it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::gateway::GatewayError;
use crate::gateway::body::read_up_to;
use crate::gateway::portone_v1::wire::{Envelope, Outside, TokenRequest, TokenResponse};

/// Renewed this long before it ends: a call that starts with a token must not outlive it on its way.
const MARGIN: Duration = Duration::from_secs(30);

/// A token takes some hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A token and until when it may be used.
pub(super) struct Token {
    /// `Bearer …`, marked as sensitive; a clone of it copies nothing.
    pub(super) bearer: HeaderValue,
    good_until: Instant,
}

/// The one token of this process.
pub(super) struct Tokens {
    url: Url,
    imp_key: SecretString,
    imp_secret: SecretString,
    current: RwLock<Option<Arc<Token>>>,
    /// Held while asking, so that a hundred calls that need a token ask once.
    asking: Mutex<()>,
    refreshes: AtomicU64,
}

impl Tokens {
    pub(super) fn new(url: Url, imp_key: SecretString, imp_secret: SecretString) -> Self {
        Self {
            url,
            imp_key,
            imp_secret,
            current: RwLock::new(None),
            asking: Mutex::new(()),
            refreshes: AtomicU64::new(0),
        }
    }

    /// How often a token was asked for.
    pub(super) fn refreshes(&self) -> u64 {
        self.refreshes.load(Ordering::Relaxed)
    }

    /// The current token, or a new one.
    pub(super) async fn get(
        &self,
        http: &reqwest::Client,
        limit: Duration,
    ) -> Result<Arc<Token>, GatewayError> {
        if let Some(token) = self.usable() {
            return Ok(token);
        }
        let asking = async {
            let _one_at_a_time = self.asking.lock().await;
            match self.usable() {
                Some(token) => Ok(token),
                None => self.ask(http, limit).await,
            }
        };
        // The wait for whoever asks already counts too.
        tokio::time::timeout(limit, asking)
            .await
            .unwrap_or_else(|elapsed| Err(GatewayError::Unreachable(Box::new(elapsed))))
    }

    /// A token other than `refused`, which PortOne no longer takes.
    pub(super) async fn renew(
        &self,
        http: &reqwest::Client,
        limit: Duration,
        refused: &Arc<Token>,
    ) -> Result<Arc<Token>, GatewayError> {
        {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            if current
                .as_ref()
                .is_some_and(|token| Arc::ptr_eq(token, refused))
            {
                *current = None;
            }
        }
        self.get(http, limit).await
    }

    fn usable(&self) -> Option<Arc<Token>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current
            .as_ref()
            .filter(|token| Instant::now() < token.good_until)
            .cloned()
    }

    async fn ask(
        &self,
        http: &reqwest::Client,
        limit: Duration,
    ) -> Result<Arc<Token>, GatewayError> {
        let asked_at = Instant::now();
        self.refreshes.fetch_add(1, Ordering::Relaxed);
        let request = TokenRequest {
            imp_key: self.imp_key.expose_secret(),
            imp_secret: self.imp_secret.expose_secret(),
        };
        let answer = http
            .post(self.url.clone())
            .timeout(limit)
            .json(&request)
            .send()
            .await
            .map_err(unreachable)?;
        let status = answer.status().as_u16();
        let body = read_up_to(answer, ANSWER_BYTES_MAX)
            .await
            .map_err(unreachable)?;
        let (bearer, life) = granted(status, &body)?;
        let token = Arc::new(Token {
            bearer,
            good_until: asked_at
                .checked_add(life.saturating_sub(MARGIN))
                .unwrap_or(asked_at),
        });
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&token));
        Ok(token)
    }
}

/// The token in an answer, as a header, and how long it lives.
pub(super) fn granted(status: u16, body: &[u8]) -> Result<(HeaderValue, Duration), GatewayError> {
    let outside: Outside = serde_json::from_slice(body).map_err(|_not_json| {
        GatewayError::Unreadable(format!("HTTP {status} to a request for a token"))
    })?;
    if status == 401 || (status == 200 && outside.code != 0) {
        return Err(GatewayError::Refused(outside.message.unwrap_or_default()));
    }
    let response = serde_json::from_slice::<Envelope<TokenResponse>>(body)
        .ok()
        .filter(|_| status == 200)
        .and_then(|envelope| envelope.response)
        .ok_or_else(|| {
            GatewayError::Unreadable(format!("HTTP {status} to a request for a token"))
        })?;
    let life = response.expired_at.saturating_sub(response.now);
    let life = Duration::from_secs(u64::try_from(life).unwrap_or_default());
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", response.access_token)).map_err(
        |_unprintable| GatewayError::Unreadable("an access token that no header takes".to_owned()),
    )?;
    bearer.set_sensitive(true);
    Ok((bearer, life))
}

fn unreachable(error: reqwest::Error) -> GatewayError {
    GatewayError::Unreachable(Box::new(error.without_url()))
}
