//! The address of the database, judged before a library sees it: the library would log the value of a parameter
//! that it does not know, and a password may stand there; and it takes what `psql` takes in fewer ways.

use std::collections::BTreeMap;
use std::ffi::OsString;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::settings::fault::{Fault, nearest};

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

/// Those of other clients that are left out, and what to know of that, where there is something.
const HARMLESS: [(&str, &str); 15] = [
    (
        "channel_binding",
        "billd's client has none; sslmode=verify-full proves whose server it is",
    ),
    ("client_encoding", ""),
    ("connect_timeout", ""),
    (
        "connection_limit",
        "it is Prisma's; database.connections_max is billd's",
    ),
    ("fallback_application_name", ""),
    ("gssencmode", ""),
    ("gsslib", ""),
    ("keepalives", ""),
    ("keepalives_count", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    (
        "pgbouncer",
        "it is Prisma's; if a pooler stands there, set database.pooler to \"transaction\"",
    ),
    (
        "pool_timeout",
        "it is Prisma's; database.timeout is billd's",
    ),
    (
        "schema",
        "it is Prisma's; billd's tables are in the schema billd",
    ),
    ("sslcompression", ""),
];

/// How a connection is protected, as libpq spells it. `allow` is not there: nothing is won by it.
const SSL_MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

const SEVERAL: &str = "names several hosts, and billd takes one: give an address that is always the \
     primary's, a proxy's or a name that follows it";

const MALFORMED: &str = "is not an address such as postgres://user:password@host/database; a \
     special character in the password must be percent-encoded";

/// The variables of the process, as far as libpq's are among them.
type Variables = BTreeMap<OsString, OsString>;

fn variable<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
    let value = variables.get(&OsString::from(name));
    value.and_then(|value| value.to_str())
}

/// The address as the library takes it, with what is heeded, or what is wrong with it, which shows no value.
pub(super) fn judged(
    address: &SecretString,
    variables: &Variables,
) -> Result<(SecretString, Vec<String>), String> {
    let mut url = parsed(address.expose_secret())?;
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let unknown = pairs
        .iter()
        .map(|(name, _)| name)
        .find(|name| !is_known(name) && !is_harmless(name));
    if let Some(name) = unknown {
        return Err(complaint(name));
    }
    let several = |(name, value): &(String, String)| {
        ["host", "hostaddr", "port"].contains(&name.as_str()) && value.contains(',')
    };
    if pairs.iter().any(several) {
        return Err(SEVERAL.to_owned());
    }
    let last = |is_it: fn(&str) -> bool| {
        let pair = pairs.iter().rev().find(|(name, _)| is_it(name));
        pair.map(|(_, value)| value.as_str())
    };
    let mode = last(is_mode).or_else(|| variable(variables, "PGSSLMODE"));
    let root = last(is_root).or_else(|| variable(variables, "PGSSLROOTCERT"));
    let mode = protection(mode, root)?;
    let mut heeded: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| is_known(name) && !is_mode(name))
        .filter(|(name, value)| !(is_root(name) && *value == "system"))
        .collect();
    heeded.extend(mode.map(|mode| ("sslmode", mode)));
    url.set_query(None);
    if !heeded.is_empty() {
        url.query_pairs_mut().extend_pairs(heeded);
    }
    let left_out = HARMLESS.iter().filter(|(name, advice)| {
        !advice.is_empty() && pairs.iter().any(|(given, _)| given == name)
    });
    let left_out =
        left_out.map(|(name, advice)| format!("{name} of the address is left out: {advice}"));
    Ok((SecretString::from(url.to_string()), left_out.collect()))
}

/// How the connection is to be protected, as libpq reads it: a root certificate makes `require` look at the
/// server's, and `system` stands for the roots of this machine.
fn protection<'a>(mode: Option<&'a str>, root: Option<&str>) -> Result<Option<&'a str>, String> {
    match mode {
        Some("allow") => Err("has sslmode allow; write prefer or require".to_owned()),
        Some(mode) if !SSL_MODES.contains(&mode) => Err(format!(
            "has an sslmode that does not exist; it is one of {}",
            SSL_MODES.join(", ")
        )),
        None | Some("verify-full") if root == Some("system") => Ok(Some("verify-full")),
        _ if root == Some("system") => {
            Err("has sslrootcert system, which goes with sslmode verify-full only".to_owned())
        }
        Some("require") if root.is_some() => Ok(Some("verify-ca")),
        Some("verify-ca") if root.is_none() => Err(
            "has sslmode verify-ca without sslrootcert: name the file, or write verify-full"
                .to_owned(),
        ),
        mode => Ok(mode),
    }
}

/// The parts of an address. Without a host it is the one of `PGHOST` or the local socket; the library has no
/// place for a user before that, nor for an IPv6 address in brackets.
fn parsed(address: &str) -> Result<Url, String> {
    let (scheme, rest) = address.split_once("://").ok_or(MALFORMED)?;
    if !matches!(scheme, "postgres" | "postgresql") {
        return Err(MALFORMED.to_owned());
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.contains(',') {
        return Err(SEVERAL.to_owned());
    }
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut parameters: Vec<String> = Vec::new();
    let (host, port) = match host.strip_prefix('[').and_then(|it| it.split_once(']')) {
        Some((ip, port)) => {
            parameters.push(format!("hostaddr={ip}"));
            ("localhost", port.strip_prefix(':').unwrap_or_default())
        }
        None => host.split_once(':').unwrap_or((host, "")),
    };
    let mut add = |name: &str, encoded: &str| {
        if !encoded.is_empty() {
            let encoded = encoded.replace('+', "%2B").replace('&', "%26");
            parameters.push(format!("{name}={encoded}"));
        }
    };
    let authority = if host.is_empty() {
        add("user", user);
        add("password", password);
        add("port", port);
        String::new()
    } else {
        joined(user, password, host, port)
    };
    // What is written as a parameter wins, as it does for psql.
    parameters.extend(Some(query.to_owned()).filter(|query| !query.is_empty()));
    let path = if path.is_empty() { "/" } else { path };
    let query = if parameters.is_empty() {
        String::new()
    } else {
        format!("?{}", parameters.join("&"))
    };
    Url::parse(&format!("{scheme}://{authority}{path}{query}"))
        .map_err(|_of_a_part| MALFORMED.to_owned())
}

/// `user:password@host:port`, without what is empty.
fn joined(user: &str, password: &str, host: &str, port: &str) -> String {
    let after_colon = |value: &str| match value {
        "" => String::new(),
        value => format!(":{value}"),
    };
    let (password, port) = (after_colon(password), after_colon(port));
    let at = if user.is_empty() && password.is_empty() {
        ""
    } else {
        "@"
    };
    format!("{user}{password}{at}{host}{port}")
}

/// Variables of libpq that the library heeds, or ignores without a word.
pub(super) fn judge_variables(variables: &Variables, faults: &mut Vec<Fault>) {
    let of = |name| variable(variables, name).filter(|value| !value.is_empty());
    if let Some(problem) = of("PGSSLMODE").and_then(|mode| protection(Some(mode), Some("")).err()) {
        faults.push(Fault::elsewhere("PGSSLMODE", problem));
    }
    if of("PGPORT").is_some_and(|port| port.parse::<u16>().is_err()) {
        faults.push(Fault::elsewhere("PGPORT", "is not one port"));
    }
    if of("PGHOST").is_some_and(|host| host.contains(',')) {
        faults.push(Fault::elsewhere("PGHOST", SEVERAL));
    }
    if of("PGSSLROOTCERT") == Some("system") {
        let problem = "is system; unset it, and write sslrootcert=system into the address";
        faults.push(Fault::elsewhere("PGSSLROOTCERT", problem));
    }
    if of("PGTARGETSESSIONATTRS").is_some_and(|attrs| attrs != "any") {
        let problem = complaint("target_session_attrs");
        faults.push(Fault::elsewhere("PGTARGETSESSIONATTRS", problem));
    }
}

fn is_mode(name: &str) -> bool {
    ["sslmode", "ssl-mode"].contains(&name)
}

fn is_root(name: &str) -> bool {
    ["sslrootcert", "ssl-root-cert", "ssl-ca"].contains(&name)
}

fn is_known(name: &str) -> bool {
    KNOWN.contains(&name) || (name.starts_with("options[") && name.ends_with(']'))
}

fn is_harmless(name: &str) -> bool {
    HARMLESS.iter().any(|(known, _)| *known == name)
}

fn complaint(name: &str) -> String {
    let name: String = name.chars().take(40).collect();
    match name.as_str() {
        "sslnegotiation"
        | "require_auth"
        | "passfile"
        | "service"
        | "sslcrl"
        | "sslcrldir"
        | "ssl_min_protocol_version"
        | "ssl_max_protocol_version"
        | "gssdelegation"
        | "load_balance_hosts"
        | "requirepeer"
        | "krbsrvname" => {
            format!("has {name}, which billd does not heed: leave it out if you can do without")
        }
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
        let (judged, _) = judged(&SecretString::from(address), &Variables::new())?;
        let url = Url::parse(judged.expose_secret()).unwrap();
        assert_eq!((url.password(), url.port()), (Some("s%40c"), Some(6432)));
        Ok(url.query().unwrap_or_default().to_owned())
    }

    fn rewritten(address: &str, variables: &[(&str, &str)]) -> Result<String, String> {
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect();
        let (judged, _) = judged(&SecretString::from(address.to_owned()), &variables)?;
        Ok(judged.expose_secret().to_owned())
    }

    /// Hazard: a library logs the value of a parameter that it does not know, and it was a password.
    #[test]
    fn a_parameter_is_known_harmless_or_a_fault_by_its_name_alone() {
        assert_eq!(check(""), Ok(String::new()));
        let heeded = "?host=%2Frun%2Fpg&options%5Bgeqo%5D=off&sslmode=require";
        assert_eq!(check(heeded), Ok(heeded[1..].to_owned()));
        // Pasted from Neon, Supabase, Prisma.
        let pasted = "?sslmode=require&channel_binding=require&pgbouncer=true&schema=public&connection_limit=1";
        assert_eq!(check(pasted), Ok("sslmode=require".to_owned()));
        for (name, says) in [
            ("sslpassword", "without a password"),
            ("target_session_attrs", "the primary's"),
            ("require_auth", "does not heed"),
            ("pasword", "did you mean password?"),
            ("whatever", "leave it out"),
        ] {
            let fault = check(&format!("?{name}=hunter2")).unwrap_err();
            assert!(fault.contains(name) && fault.contains(says), "{fault}");
            assert!(!fault.contains("hunter2"), "{fault}");
        }
    }

    #[test]
    fn an_address_that_psql_takes_is_taken_or_refused_with_a_reason() {
        for (address, taken) in [
            (
                "postgres://u:p@[::1]:5432/db",
                "postgres://u:p@localhost:5432/db?hostaddr=%3A%3A1",
            ),
            (
                "postgres://u@/db?host=/run/postgresql",
                "postgres:///db?user=u&host=%2Frun%2Fpostgresql",
            ),
            (
                "postgres://u:a%26b+c@:5433/db",
                "postgres:///db?user=u&password=a%26b%2Bc&port=5433",
            ),
            ("postgresql:///db", "postgresql:///db"),
            ("postgres://u@%2Frun%2Fpg/db", "postgres://u@%2Frun%2Fpg/db"),
            ("postgres://db", "postgres://db/"),
        ] {
            assert_eq!(rewritten(address, &[]).as_deref(), Ok(taken));
        }
        for address in [
            "postgres://u:p@h1:1,h2:2/db",
            "postgres://u:p@/db?host=h1,h2",
        ] {
            assert!(
                rewritten(address, &[])
                    .unwrap_err()
                    .contains("several hosts")
            );
        }
        for address in ["mysql://u@h/db", "host=h user=u", "postgres://u:p#w@h/db"] {
            assert!(
                rewritten(address, &[])
                    .unwrap_err()
                    .contains("percent-encoded")
            );
        }
    }

    /// Hazard: `require` with a root certificate is taken for a checked connection, and anybody's certificate will do.
    #[test]
    fn a_connection_is_protected_as_libpq_would_or_refused() {
        let with = |query: &str, variables: &[(&str, &str)]| {
            let url = rewritten(&format!("postgres://u@h/db{query}"), variables)?;
            Ok::<_, String>(url.split('?').nth(1).unwrap_or_default().to_owned())
        };
        for (query, variables, says) in [
            (
                "?sslmode=require&sslrootcert=ca.pem",
                &[][..],
                "sslrootcert=ca.pem&sslmode=verify-ca",
            ),
            (
                "?sslmode=require",
                &[("PGSSLROOTCERT", "ca.pem")],
                "sslmode=verify-ca",
            ),
            (
                "?sslrootcert=ca.pem",
                &[("PGSSLMODE", "require")],
                "sslrootcert=ca.pem&sslmode=verify-ca",
            ),
            ("?sslrootcert=system", &[], "sslmode=verify-full"),
            ("?sslmode=verify-full", &[], "sslmode=verify-full"),
            ("?sslmode=require", &[], "sslmode=require"),
            ("", &[("PGSSLMODE", "disable")], "sslmode=disable"),
        ] {
            assert_eq!(with(query, variables).as_deref(), Ok(says));
        }
        for (query, variables) in [
            ("?sslmode=bogus", &[][..]),
            ("", &[("PGSSLMODE", "bogus")]),
            ("?sslmode=allow", &[]),
            ("?sslmode=verify-ca", &[]),
            ("?sslmode=require&sslrootcert=system", &[]),
        ] {
            assert!(
                with(query, variables).unwrap_err().contains("ssl"),
                "{query}"
            );
        }
        let mut faults = Vec::new();
        let variables = [("PGSSLMODE", "bogus"), ("PGHOST", "a,b"), ("PGPORT", "1,2")]
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        judge_variables(&variables.into(), &mut faults);
        assert_eq!(faults.len(), 3, "{faults:?}");
    }
}
