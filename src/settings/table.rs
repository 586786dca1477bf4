//! The list of all settings, read from the one place where they are described:
//! `config/default.toml`.

use std::sync::LazyLock;

/// The lowest layer. Compiled in, so that a binary without any file works.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// What every variable starts with. The double underscore keeps unrelated variables, such as
/// `BILLD_VERSION`, out.
pub(super) const VARIABLE_PREFIX: &str = "BILLD__";

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `section.name`.
    pub key: String,
    /// How the environment spells it.
    pub variable: String,
    /// The default as it would be written in the environment; `None` for a secret, which has none.
    pub default: Option<String>,
    /// What it is, in which unit and bounds, and why this default.
    pub about: String,
}

impl Row {
    /// Whether the value must never be shown, and is taken from the environment only.
    pub fn is_secret(&self) -> bool {
        self.default.is_none()
    }
}

/// All settings, in the order of `config/default.toml`.
pub fn table() -> &'static [Row] {
    static TABLE: LazyLock<Vec<Row>> = LazyLock::new(|| read(DEFAULTS));
    &TABLE
}

/// The row of a key.
pub(super) fn row(key: &str) -> Option<&'static Row> {
    table().iter().find(|row| row.key == key)
}

/// How the environment spells a key.
pub(super) fn variable_of(key: &str) -> String {
    let name = key.to_uppercase().replace('.', "__");
    format!("{VARIABLE_PREFIX}{name}")
}

/// Reads our own file, comments included, which a TOML parser would drop. `#key = secret`, without a
/// space, stands for a key that has no default.
fn read(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut section = "";
    let mut about: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            about.clear();
        } else if let Some(comment) = line.strip_prefix("# ") {
            about.push(comment);
        } else if let Some((name, value)) = line.split_once(" = ") {
            let default = match name.strip_prefix('#') {
                Some(_) => None,
                None => Some(value.trim_matches('"').to_owned()),
            };
            let key = format!("{section}.{}", name.trim_start_matches('#'));
            rows.push(Row {
                variable: variable_of(&key),
                key,
                default,
                about: about.join(" "),
            });
            about.clear();
        } else {
            about.clear();
        }
    }
    rows
}
