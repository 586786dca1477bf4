//! The parameters of the database's address, judged before a library sees them: it would log the value of one
//! that it does not know, and a password may stand there.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::settings::fault::nearest;

/// Those that are heeded.
const KNOWN: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Those of other clients that change nothing here: they are left out.
const HARMLESS: [&str; 14] = [
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "connection_limit",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "pgbouncer",
    "pool_timeout",
    "schema",
    "sslcompression",
];

/// The address with what is heeded, or what is wrong with it, which shows no value.
pub(super) fn judged(address: &SecretString) -> Result<SecretString, String> {
    let url = Url::parse(address.expose_secret());
    let mut url = url
        .ok()
        .filter(|url| matches!(url.scheme(), "postgres" | "postgresql"))
        .ok_or(
            "is not an address such as postgres://user:password@host/database; a special \
             character in the password must be percent-encoded",
        )?;
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let unknown = pairs
        .iter()
        .map(|(name, _)| name)
        .find(|name| !is_known(name) && !is_harmless(name));
    if let Some(name) = unknown {
        return Err(complaint(name));
    }
    if pairs.iter().any(|(name, _)| is_harmless(name)) {
        let heeded = pairs.iter().filter(|(name, _)| is_known(name));
        url.query_pairs_mut().clear().extend_pairs(heeded);
    }
    Ok(SecretString::from(url.to_string()))
}

fn is_known(name: &str) -> bool {
    KNOWN.contains(&name) || (name.starts_with("options[") && name.ends_with(']'))
}

fn is_harmless(name: &str) -> bool {
    HARMLESS.contains(&name)
}

fn complaint(name: &str) -> String {
    let name: String = name.chars().take(40).collect();
    match name.as_str() {
        "target_session_attrs" => {
            "has target_session_attrs, which billd does not heed: give an address that is always \
             the primary's"
                .to_owned()
        }
        "sslpassword" => {
            "has sslpassword, which billd does not heed: give a key without a password".to_owned()
        }
        _ => match nearest(&name, KNOWN.into_iter()) {
            Some(known) => {
                format!("has a parameter {name:?} that nobody knows; did you mean {known}?")
            }
            None => format!("has a parameter {name:?} that nobody knows; leave it out"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str) -> Result<String, String> {
        let address = format!("postgres://billd:s%40c@db:6432/billd{query}");
        let judged = judged(&SecretString::from(address))?;
        let url = Url::parse(judged.expose_secret()).unwrap();
        assert_eq!((url.password(), url.port()), (Some("s%40c"), Some(6432)));
        Ok(url.query().unwrap_or_default().to_owned())
    }

    /// Hazard: a library logs the value of a parameter that it does not know, and it was a password.
    #[test]
    fn a_parameter_is_known_harmless_or_a_fault_by_its_name_alone() {
        assert_eq!(check(""), Ok(String::new()));
        let heeded = "?sslmode=require&host=%2Frun%2Fpg&options[geqo]=off";
        assert_eq!(check(heeded), Ok(heeded[1..].to_owned()));
        let pasted = "?sslmode=require&channel_binding=require&pgbouncer=true&schema=public";
        assert_eq!(check(pasted), Ok("sslmode=require".to_owned()));
        for (name, says) in [
            ("sslpassword", "without a password"),
            ("target_session_attrs", "the primary's"),
            ("pasword", "did you mean password?"),
            ("whatever", "leave it out"),
        ] {
            let fault = check(&format!("?{name}=hunter2")).unwrap_err();
            assert!(fault.contains(name) && fault.contains(says), "{fault}");
            assert!(!fault.contains("hunter2"), "{fault}");
        }
    }
}
