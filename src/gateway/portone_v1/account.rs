//! Which merchant account a key is of, without a word of the key.

use ring::hmac;
use secrecy::{ExposeSecret, SecretString};

/// Keeps this hash apart from every other one of the same key.
const HASH_KEY: &[u8] = b"billd: the merchant account of a book";

/// So many bytes tell merchants apart, and many keys have the same: none can be found from it.
const BYTES: usize = 6;

/// A sandbox's keys begin like this. PortOne's are digits, so it takes none of them.
const SANDBOX: &str = "sandbox";

/// The account's name in the book: the beginning of a keyed hash, or `sandbox`.
pub fn account(imp_key: &SecretString) -> String {
    let imp_key = imp_key.expose_secret();
    if imp_key.starts_with(SANDBOX) {
        return SANDBOX.to_owned();
    }
    let hash = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, HASH_KEY),
        imp_key.as_bytes(),
    );
    let start = hash.as_ref().iter().take(BYTES);
    start.fold(String::new(), |name, byte| format!("{name}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_tells_keys_apart_and_nothing_of_them() {
        let of = |key: &str| account(&SecretString::from(key));
        assert_eq!(of("sandbox_key"), "sandbox");
        let one = of("1234567890123456");
        assert_eq!(one, of("1234567890123456"));
        assert_ne!(one, of("1234567890123457"));
        assert_eq!(one.len(), 12);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
    }
}
