//! Typed reading of single settings. A setting that can't be read becomes a fault and some
//! placeholder, so that all the others are still judged; settings with faults never leave this
//! module.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use config::ValueKind;
use croner::parser::{CronParser, Seconds, Year};
use secrecy::{ExposeSecret, SecretString};
use tracing_subscriber::EnvFilter;
use url::Url;

use crate::domain::dunning::{Ladder, NotFoundPolicy};
use crate::domain::networks::Networks;
use crate::settings::database_address;
use crate::settings::fault::{Fault, nearest, shown};
use crate::settings::layers::{Values, is_from_environment};
use crate::settings::table;
use crate::store::Pooler;
use crate::telemetry::Format;

/// Reads settings and gathers faults.
pub(super) struct Reader {
    values: Values,
    pub(super) faults: Vec<Fault>,
    /// What to know, though it is no fault.
    pub(super) notes: Vec<String>,
}

impl Reader {
    pub(super) fn new(values: Values, faults: Vec<Fault>) -> Self {
        Self {
            values,
            faults,
            notes: Vec::new(),
        }
    }

    /// Reports `problem` with the first of `keys` unless it `holds`. Says nothing about settings that
    /// could not be read.
    pub(super) fn require(&mut self, holds: bool, keys: &[&str], problem: &str) {
        let Some(first) = keys.first() else { return };
        if holds || keys.iter().any(|key| self.has_fault(key)) {
            return;
        }
        let given: Vec<String> = keys
            .iter()
            .map(|key| format!("{key} is {}", self.text_shown(key)))
            .collect();
        self.fault(first, format!("{problem}; {}", given.join(", ")));
    }

    /// A secret. Missing and empty are the same; whether that is a fault depends on the command.
    pub(super) fn secret(&mut self, key: &str, is_needed: bool) -> Option<SecretString> {
        let given = self.values.get(key);
        if given.is_some_and(|value| !is_from_environment(value)) {
            self.fault(
                key,
                "is a secret and has no place in a file; set the variable",
            );
            return None;
        }
        let secret = given
            .and_then(|value| value.clone().into_string().ok())
            .filter(|text| !text.is_empty());
        match &secret {
            None if is_needed => self.fault(
                key,
                "is not set; set the variable, or the one that ends in _FILE to the name of a file that holds it",
            ),
            Some(text) if text.trim() != text => self.fault(
                key,
                "begins or ends with a blank or a line break, which would be sent along; take it off",
            ),
            None | Some(_) => {}
        }
        secret.map(SecretString::from)
    }

    /// An HTTP proxy, or none.
    pub(super) fn proxy(&mut self, key: &str) -> Option<SecretString> {
        let secret = self.secret(key, false)?;
        let url = Url::parse(secret.expose_secret()).ok();
        let is_proxy = url.is_some_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.path() == "/"
        });
        if !is_proxy {
            self.fault(
                key,
                "is not an address such as http://user:password@proxy:3128",
            );
        }
        Some(secret)
    }

    pub(super) fn text(&mut self, key: &str) -> String {
        match self.values.get(key).map(|value| &value.kind) {
            Some(ValueKind::String(text)) => text.trim().to_owned(),
            Some(_) => {
                let problem = format!("{} is not text; put it in quotes", self.text_shown(key));
                self.fault(key, problem);
                String::new()
            }
            None => {
                self.fault(key, "is not set");
                String::new()
            }
        }
    }

    pub(super) fn number<N>(&mut self, key: &str, bounds: RangeInclusive<N>) -> N
    where
        N: TryFrom<i64> + PartialOrd + fmt::Display + Default,
    {
        let number = match self.values.get(key).map(|value| &value.kind) {
            Some(ValueKind::I64(number)) => Some(*number),
            Some(ValueKind::String(text)) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.and_then(|number| N::try_from(number).ok());
        if let Some(number) = number.filter(|number| bounds.contains(number)) {
            return number;
        }
        let problem = format!(
            "{} is not a whole number between {} and {}",
            self.text_shown(key),
            bounds.start(),
            bounds.end()
        );
        self.fault(key, problem);
        N::default()
    }

    /// A wait between two others, both written as in the settings.
    pub(super) fn duration(&mut self, key: &str, min: &str, max: &str) -> Duration {
        let Some(value) = self.scalar(key) else {
            return Duration::ZERO;
        };
        let bounds = wait(min)..=wait(max);
        let given = wait(&value);
        if given.is_some() && bounds.contains(&given) {
            return given.unwrap_or_default();
        }
        let problem = if given.is_some() || value.trim().starts_with('0') {
            format!("{} is not between {min} and {max}", shown(&value))
        } else {
            format!(
                "{} is not a wait with a unit, such as 30s, 5m, 1h or 1d",
                shown(&value)
            )
        };
        self.fault(key, problem);
        Duration::ZERO
    }

    pub(super) fn ladder(&mut self, key: &str) -> Ladder {
        let Some(value) = self.scalar(key) else {
            return Ladder::default();
        };
        Ladder::parse(&value).unwrap_or_else(|error| {
            let problem = format!(
                "{} is not a list of waits such as 1d,3d,5d: {error}",
                shown(&value)
            );
            self.fault(key, problem);
            Ladder::default()
        })
    }

    pub(super) fn on_not_found(&mut self, key: &str) -> NotFoundPolicy {
        self.choice(key, &NotFoundPolicy::ALL, NotFoundPolicy::as_str)
            .unwrap_or(NotFoundPolicy::Park)
    }

    pub(super) fn pooler(&mut self, key: &str) -> Pooler {
        self.choice(key, &Pooler::ALL, Pooler::as_str)
            .unwrap_or(Pooler::None)
    }

    pub(super) fn format(&mut self, key: &str) -> Format {
        self.choice(key, &Format::ALL, Format::as_str)
            .unwrap_or(Format::Pretty)
    }

    fn choice<T: Copy>(
        &mut self,
        key: &str,
        choices: &[T],
        word: fn(T) -> &'static str,
    ) -> Option<T> {
        let text = self.text(key);
        let chosen = choices.iter().find(|choice| word(**choice) == text);
        if chosen.is_none() && !self.has_fault(key) {
            let words: Vec<_> = choices.iter().map(|choice| word(*choice)).collect();
            let problem = format!("{} is not one of {}", shown(&text), words.join(", "));
            self.fault(key, problem);
        }
        chosen.copied()
    }

    /// An address that takes the key and the secret, so: HTTPS, or nearby.
    pub(super) fn base_url(&mut self, key: &str) -> String {
        let text = self.text(key);
        if self.has_fault(key) {
            return text;
        }
        let problem = match Url::parse(&text) {
            // It may be a password, so it is not shown.
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                "holds a user or password; PortOne takes neither".to_owned()
            }
            Ok(url) if url.query().is_some() || url.fragment().is_some() => {
                format!("{} has a part after the path; leave it out", shown(&text))
            }
            Ok(url) if url.scheme() == "https" && url.has_host() => String::new(),
            Ok(url) if url.scheme() == "http" && is_close(&url) => String::new(),
            Ok(url) if url.scheme() == "http" => format!(
                "{} would send the API secret in the clear; use https; http is for a sandbox on this machine or in its container network",
                shown(&text)
            ),
            Ok(_) | Err(_) => format!(
                "{} is not an address such as https://api.iamport.kr",
                shown(&text)
            ),
        };
        if !problem.is_empty() {
            self.fault(key, problem);
        }
        text.trim_end_matches('/').to_owned()
    }

    /// An address to listen on, or nothing.
    pub(super) fn listen(&mut self, key: &str) -> Option<SocketAddr> {
        let text = self.text(key);
        if text.is_empty() {
            return None;
        }
        let address = text.parse().ok();
        if address.is_none() {
            let problem = format!(
                "{} is not an address and port such as 127.0.0.1:8080, or empty",
                shown(&text)
            );
            self.fault(key, problem);
        }
        address
    }

    /// Six fields exactly: five would be read as minutes, and seven would name years.
    pub(super) fn cron(&mut self, key: &str) -> String {
        let text = self.text(key);
        if self.has_fault(key) {
            return text;
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .build();
        let fields = text.split_whitespace().count();
        let problem = match parser.parse(&text) {
            _ if fields != 6 => format!("{fields} fields"),
            Ok(_) => return text,
            Err(error) => error.to_string(),
        };
        let problem = format!(
            "{} is not a cron expression of six fields, seconds first, such as */5 * * * * *: {problem}",
            shown(&text)
        );
        self.fault(key, problem);
        text
    }

    /// A cron expression, or nothing.
    pub(super) fn cron_or_off(&mut self, key: &str) -> Option<String> {
        if self.text_of(key).trim().is_empty() && !self.has_fault(key) {
            return None;
        }
        Some(self.cron(key))
    }

    /// Addresses and networks between commas.
    pub(super) fn networks(&mut self, key: &str) -> Networks {
        let text = self.text(key);
        Networks::parse(&text).unwrap_or_else(|error| {
            self.fault(
                key,
                format!("{error}; write addresses between commas, or nothing"),
            );
            Networks::default()
        })
    }

    pub(super) fn filter(&mut self, key: &str) -> String {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let text = self.text(key);
        if self.has_fault(key) {
            return text;
        }
        if let Err(error) = EnvFilter::builder().parse(&text) {
            let problem = format!("{} is not a log filter: {error}", shown(&text));
            self.fault(key, problem);
        }
        // A word that is no level is taken for a module of which everything is to be logged, and a
        // misspelt level would so silence the rest.
        for word in text.split(',').map(|word| word.trim().to_lowercase()) {
            if LEVELS.contains(&word.as_str()) || word.is_empty() {
                continue;
            }
            if let Some(level) = nearest(&word, LEVELS.into_iter()) {
                let problem = format!("{} is no level; did you mean {level}?", shown(&word));
                self.fault(key, problem);
            }
        }
        text
    }

    /// The database's URL, as far as it can be judged without connecting.
    pub(super) fn database_url(
        &mut self,
        key: &str,
        variables: &BTreeMap<OsString, OsString>,
        is_needed: bool,
    ) -> Option<SecretString> {
        let secret = self.secret(key, is_needed)?;
        match database_address::judged(&secret, variables) {
            Ok((address, left_out)) => {
                self.notes.extend(left_out);
                Some(address)
            }
            Err(problem) => {
                self.fault(key, problem);
                None
            }
        }
    }

    pub(super) fn fault(&mut self, key: &str, problem: impl Into<String>) {
        self.faults.push(Fault::of_key(key, problem));
    }

    fn has_fault(&self, key: &str) -> bool {
        self.faults.iter().any(|fault| fault.name == key)
    }

    /// A single value as text. A list or a section must not pass for the empty text, which is a valid
    /// ladder.
    fn scalar(&mut self, key: &str) -> Option<String> {
        let text = self
            .values
            .get(key)
            .map(|value| value.clone().into_string());
        match text {
            Some(Ok(text)) => return Some(text),
            Some(Err(_)) => self.fault(key, "is a list or a section; write one text, \"1d,3d,5d\""),
            None => self.fault(key, "is not set"),
        }
        None
    }

    /// The value as a fault shows it; empty if it is none or not a single one.
    fn text_of(&self, key: &str) -> String {
        let value = self.values.get(key).cloned();
        value
            .and_then(|value| value.into_string().ok())
            .unwrap_or_default()
    }

    fn text_shown(&self, key: &str) -> String {
        if table::row(key).is_none_or(table::Row::is_secret) {
            return "the value".to_owned();
        }
        shown(&self.text_of(key))
    }
}

/// A time limit may be shorter than a rung of a ladder: `500ms`, or nothing at all, `0s`.
fn wait(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text == "0s" {
        return Some(Duration::ZERO);
    }
    let millis = text
        .strip_suffix("ms")
        .filter(|number| !number.starts_with('+'));
    if let Some(millis) = millis {
        return millis.parse().ok().map(Duration::from_millis);
    }
    if text.contains(',') {
        return None;
    }
    Ladder::parse(text).ok()?.rung(0)
}

/// This machine, or a service of the same container network, which goes by a name without a dot.
/// PortOne's own address is neither.
fn is_close(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => !host.is_empty() && !host.contains('.'),
    }
}
