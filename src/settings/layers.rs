//! Where settings come from, and which layer wins.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, Environment, File, FileFormat, Value, ValueKind};

use crate::settings::fault::{Fault, nearest, shown};
use crate::settings::removed;
use crate::settings::table::{self, DEFAULTS, VARIABLE_PREFIX, variable_of};

/// What the `config` crate calls the environment as the origin of a value.
const FROM_ENVIRONMENT: &str = "the environment";

const DIR_DEFAULT: &str = "config";
const ENVIRONMENT_DEFAULT: &str = "production";
const ENVIRONMENT_VARIABLE: &str = "BILLD_ENVIRONMENT";
const PLAIN_DATABASE_URL: &str = "DATABASE_URL";

/// Everything that settings are read from. It may hold secrets, so it has no `Debug`.
#[derive(Clone, Default)]
pub struct Source {
    /// The folder of the files; `None` is `config` in the working directory, if it is there.
    pub config_dir: Option<PathBuf>,
    /// Which file; `None` leaves it to `BILLD_ENVIRONMENT`, else it is `production`.
    pub environment: Option<String>,
    /// The environment variables.
    pub variables: BTreeMap<OsString, OsString>,
}

impl Source {
    /// The environment of this process, with what its command line says.
    pub fn of_process(config_dir: Option<PathBuf>, environment: Option<String>) -> Self {
        Self {
            config_dir,
            environment,
            variables: std::env::vars_os().collect(),
        }
    }
}

/// The winning value of each known key.
pub(super) type Values = BTreeMap<&'static str, Value>;

/// Puts the layers on top of each other. Whatever can't be understood becomes a fault and is left
/// out, so that everything else can still be judged.
pub(super) fn read(source: &Source, faults: &mut Vec<Fault>) -> Values {
    let mut values = Values::new();
    let variables = own_variables(source, faults);
    lay(
        Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml)),
        "the defaults",
        &mut values,
        faults,
    );
    if let Some(path) = file_of(source, &variables, faults) {
        let file = File::from(path.as_path()).format(FileFormat::Toml);
        let name = path.display().to_string();
        lay(
            Config::builder().add_source(file),
            &name,
            &mut values,
            faults,
        );
    }
    // Never `try_parsing`: it would turn the key 0012345678901234 into a number.
    let environment = Environment::with_prefix("BILLD")
        .separator("__")
        .source(Some(variables));
    lay(
        Config::builder().add_source(environment),
        FROM_ENVIRONMENT,
        &mut values,
        faults,
    );
    values
}

/// Whether a value came from the environment.
pub(super) fn is_from_environment(value: &Value) -> bool {
    value.origin() == Some(FROM_ENVIRONMENT)
}

fn lay(
    layer: config::ConfigBuilder<config::builder::DefaultState>,
    name: &str,
    values: &mut Values,
    faults: &mut Vec<Fault>,
) {
    match layer.build() {
        Ok(layer) => collect("", layer.cache, name, values, faults),
        Err(error) => faults.push(Fault::elsewhere(name, without_excerpt(&error))),
    }
}

/// Walks to the leaves; a leaf that is no setting is a fault.
fn collect(path: &str, value: Value, layer: &str, values: &mut Values, faults: &mut Vec<Fault>) {
    if let Some(row) = table::row(path) {
        values.insert(&row.key, value);
        return;
    }
    match value.kind {
        ValueKind::Table(entries) => {
            // Sorted, so that the same faults are always told in the same order.
            for (name, value) in entries.into_iter().collect::<BTreeMap<_, _>>() {
                let dot = if path.is_empty() { "" } else { "." };
                collect(&format!("{path}{dot}{name}"), value, layer, values, faults);
            }
        }
        ValueKind::Nil
        | ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_)
        | ValueKind::String(_)
        | ValueKind::Array(_) => faults.push(unknown(path, layer)),
    }
}

/// A key that does not exist. Its value is not shown: it may be a secret under a misspelt name.
fn unknown(path: &str, layer: &str) -> Fault {
    let section = format!("{path}.");
    if table::table()
        .iter()
        .any(|row| row.key.starts_with(&section))
    {
        return Fault::of_key(path, format!("is a section, not a setting (in {layer})"));
    }
    if let Some(advice) = removed::advice(path, layer == FROM_ENVIRONMENT) {
        return Fault::of_key(
            path,
            format!("is no setting any more (in {layer}); {advice}"),
        );
    }
    let keys = table::table().iter().map(|row| row.key.as_str());
    let advice = match nearest(path, keys) {
        Some(key) if layer == FROM_ENVIRONMENT => format!("did you mean {}?", variable_of(key)),
        Some(key) => format!("did you mean {key}?"),
        None => "remove it, or see `config/default.toml` for what there is".to_owned(),
    };
    Fault::of_key(path, format!("is no setting (in {layer}); {advice}"))
}

/// The variables that are meant for us, `DATABASE_URL` among them under its long name.
///
/// A name that is no setting stops here: `BILLD__GATEWAY` would hide the whole section.
fn own_variables(source: &Source, faults: &mut Vec<Fault>) -> HashMap<String, String> {
    let mut own = HashMap::new();
    for (name, value) in &source.variables {
        let Some(name) = name.to_str() else { continue };
        let key = name.strip_prefix(VARIABLE_PREFIX).map(key_of);
        let is_ours = [ENVIRONMENT_VARIABLE, PLAIN_DATABASE_URL].contains(&name);
        if let Some(key) = key.filter(|key| table::row(key).is_none()) {
            faults.push(unknown(&key, FROM_ENVIRONMENT));
        } else if name.starts_with(VARIABLE_PREFIX) || is_ours {
            match value.to_str() {
                // Keys have no case in the environment, so two spellings of one would win by chance.
                Some(value) => {
                    if own.insert(name.to_uppercase(), value.to_owned()).is_some() {
                        faults.push(Fault::elsewhere(name, "is set twice, in capitals and not"));
                    }
                }
                None => faults.push(Fault::elsewhere(name, "is not valid UTF-8")),
            }
        } else {
            faults.extend(near_miss(name));
        }
    }
    if let Some(url) = own.remove(PLAIN_DATABASE_URL).filter(|url| !url.is_empty()) {
        own.entry(variable_of("database.url")).or_insert(url);
    }
    own
}

/// The key that a variable spells, without the prefix.
fn key_of(name: &str) -> String {
    name.to_lowercase().replace("__", ".")
}

/// `BILLD_GATEWAY_IMP_KEY` for `BILLD__GATEWAY__IMP_KEY`: it would be ignored without a word.
fn near_miss(name: &str) -> Option<Fault> {
    let rest = name.strip_prefix("BILLD_")?;
    let row = table::table().iter().find(|row| {
        row.key
            .replace('.', "_")
            .eq_ignore_ascii_case(&rest.replace("__", "_"))
    })?;
    let problem = format!(
        "is not read; write {} with two underscores between levels",
        row.variable
    );
    Some(Fault::elsewhere(name, problem))
}

/// The file above the defaults. One that nobody named need not exist.
fn file_of(
    source: &Source,
    variables: &HashMap<String, String>,
    faults: &mut Vec<Fault>,
) -> Option<PathBuf> {
    let named = source
        .environment
        .as_ref()
        .or_else(|| variables.get(ENVIRONMENT_VARIABLE))
        .filter(|name| !name.is_empty());
    let environment = named.map_or(ENVIRONMENT_DEFAULT, String::as_str);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !environment.chars().all(is_plain) {
        faults.push(Fault::elsewhere(
            ENVIRONMENT_VARIABLE,
            format!(
                "{} is not a name of letters, digits, - and _, such as production",
                shown(environment)
            ),
        ));
        return None;
    }
    let dir = source.config_dir.as_deref();
    if let Some(dir) = dir.filter(|dir| !dir.is_dir()) {
        faults.push(Fault::elsewhere(
            dir.display().to_string(),
            "is not a folder; name the one that holds the settings files",
        ));
        return None;
    }
    let path = dir
        .unwrap_or(Path::new(DIR_DEFAULT))
        .join(format!("{environment}.toml"));
    if path.exists() {
        return Some(path);
    }
    if named.is_some() {
        faults.push(Fault::elsewhere(
            path.display().to_string(),
            format!("does not exist; create it, or don't name the environment {environment}"),
        ));
    }
    None
}

/// A parser's complaint in one line: where and why, without the line itself, which may hold a secret.
fn without_excerpt(error: &ConfigError) -> String {
    let text = if let ConfigError::FileParse { cause, .. } = error {
        cause.to_string()
    } else {
        error.to_string()
    };
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("can't be read").to_owned();
    match lines.next_back() {
        Some(last) => format!("{first}: {last}"),
        None => first,
    }
}
