//! What is wrong with the settings: everything at once, each in a line that says what to do.

use std::fmt;

use crate::settings::table::variable_of;

/// Longest part of an offending value that is shown, in characters.
const VALUE_CHARACTERS_MAX: usize = 80;

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key, `gateway.timeout` for instance, or the file that can't be read.
    pub name: String,
    /// How the environment spells the key; `None` if the fault is not one key's.
    pub variable: Option<String>,
    /// What is wrong and what to do. Never shows a secret.
    pub problem: String,
}

impl Fault {
    /// A fault of one key.
    pub(super) fn of_key(key: &str, problem: impl Into<String>) -> Self {
        let mut variable = variable_of(key);
        if key == "database.url" {
            variable.push_str(" or DATABASE_URL");
        }
        Self {
            name: key.to_owned(),
            variable: Some(variable),
            problem: problem.into(),
        }
    }

    /// A fault of a file, a folder or the environment's name.
    pub(super) fn elsewhere(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            variable: None,
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variable {
            Some(variable) => write!(f, "{} ({variable}): {}", self.name, self.problem),
            None => write!(f, "{}: {}", self.name, self.problem),
        }
    }
}

/// Settings that can't be used. One line per fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// All faults, at least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// A value as a fault shows it: quoted, in one line, bounded.
pub(super) fn shown(value: &str) -> String {
    let mut characters = value.chars();
    let start: String = characters.by_ref().take(VALUE_CHARACTERS_MAX).collect();
    let more = if characters.next().is_some() {
        "…"
    } else {
        ""
    };
    format!("{start:?}{more}")
}

/// The known word that `word` is probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= 2 || distance.saturating_mul(4) <= candidate.len()
        })
        .min()
        .map(|(_, candidate)| candidate)
}
