//! Access tokens: one at a time, the same one for everybody who asks.

use super::clock::{SECOND_US, seconds};

/// What a new token lives.
const LIFE_US: i64 = 30 * 60 * SECOND_US;
/// Whoever asks within the last minute gets more time.
const LAST_MINUTE_US: i64 = 60 * SECOND_US;
/// How much more.
const EXTENSION_US: i64 = 5 * 60 * SECOND_US;

/// The token that is valid now, if one is.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    current: Option<Token>,
    issued: u64,
}

#[derive(Debug, Clone)]
struct Token {
    value: String,
    expires_at_us: i64,
}

impl Tokens {
    /// The token and its expiry in unix seconds.
    ///
    /// A live token is handed out again with its old expiry; in its last minute the same token gets
    /// five minutes more.
    pub(super) fn get(&mut self, now_us: i64) -> (String, i64) {
        let live = self.current.take().filter(|t| now_us < t.expires_at_us);
        let token = if let Some(mut token) = live {
            if token.expires_at_us.saturating_sub(now_us) < LAST_MINUTE_US {
                token.expires_at_us = token.expires_at_us.saturating_add(EXTENSION_US);
            }
            token
        } else {
            self.issued = self.issued.saturating_add(1);
            Token {
                // Forty hexadecimal digits, as the real ones.
                value: format!("{now_us:024x}{:016x}", self.issued),
                expires_at_us: now_us.saturating_add(LIFE_US),
            }
        };
        let answer = (token.value.clone(), seconds(token.expires_at_us));
        self.current = Some(token);
        answer
    }

    /// Whether an `Authorization` header opens the door, with `Bearer` before the token or without.
    pub(super) fn admit(&self, authorization: Option<&str>, now_us: i64) -> bool {
        let (Some(header), Some(token)) = (authorization, &self.current) else {
            return false;
        };
        let value = header.strip_prefix("Bearer ").unwrap_or(header).trim();
        value == token.value && now_us < token.expires_at_us
    }

    /// Ends the life of the token.
    pub(super) fn expire(&mut self) {
        self.current = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_token_is_handed_out_again_and_grows_in_its_last_minute() {
        let mut tokens = Tokens::default();
        let (first, expiry) = tokens.get(0);
        assert_eq!(expiry, 1_800);
        assert_eq!(tokens.get(1_740 * SECOND_US), (first.clone(), 1_800));
        assert_eq!(tokens.get(1_741 * SECOND_US), (first.clone(), 2_100));
        assert!(tokens.admit(Some(&first), 2_099 * SECOND_US));
        assert!(tokens.admit(Some(&format!("Bearer {first}")), 0));
        assert!(!tokens.admit(Some(&first), 2_100 * SECOND_US));
        assert_ne!(tokens.get(2_100 * SECOND_US).0, first);
        assert!(!tokens.admit(Some(&first), 0));
    }
}
