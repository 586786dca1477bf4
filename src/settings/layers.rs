//! Where settings come from, and which layer wins.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

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
const URL_IN_A_FILE: &str = "DATABASE_URL_FILE";

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

/// The layers, one on top of the other.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) values: Values,
    /// Where each value above the defaults is from.
    pub(super) above: BTreeMap<&'static str, String>,
    /// The files of settings that were read.
    pub(super) files: Vec<PathBuf>,
}

const THE_DEFAULTS: &str = "the defaults";

/// What a variable ends in that names a file with the value of a secret.
const IN_A_FILE: &str = "_FILE";

/// Puts the layers on top of each other. Whatever can't be understood becomes a fault and is left
/// out, so that everything else can still be judged.
pub(super) fn read(source: &Source, faults: &mut Vec<Fault>) -> Layers {
    let mut layers = Layers::default();
    let variables = own_variables(source, faults);
    lay(
        Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml)),
        THE_DEFAULTS,
        &mut layers,
        faults,
    );
    if let Some((path, text)) = file_of(source, &variables, faults) {
        let file = File::from_str(&text, FileFormat::Toml);
        let name = path.display().to_string();
        lay(
            Config::builder().add_source(file),
            &name,
            &mut layers,
            faults,
        );
        layers.files.push(path);
    }
    // Never `try_parsing`: it would turn the key 0012345678901234 into a number.
    let environment = Environment::with_prefix("BILLD")
        .separator("__")
        .source(Some(variables));
    lay(
        Config::builder().add_source(environment),
        FROM_ENVIRONMENT,
        &mut layers,
        faults,
    );
    layers
}

/// Whether a value came from the environment.
pub(super) fn is_from_environment(value: &Value) -> bool {
    value.origin() == Some(FROM_ENVIRONMENT)
}

fn lay(
    layer: config::ConfigBuilder<config::builder::DefaultState>,
    name: &str,
    layers: &mut Layers,
    faults: &mut Vec<Fault>,
) {
    match layer.build() {
        Ok(layer) => collect("", layer.cache, name, layers, faults),
        Err(error) => faults.push(Fault::elsewhere(name, without_excerpt(&error))),
    }
}

/// Walks to the leaves; a leaf that is no setting is a fault.
fn collect(path: &str, value: Value, layer: &str, layers: &mut Layers, faults: &mut Vec<Fault>) {
    if let Some(row) = table::row(path) {
        layers.values.insert(&row.key, value);
        if layer != THE_DEFAULTS {
            layers.above.insert(&row.key, layer.to_owned());
        }
        return;
    }
    match value.kind {
        ValueKind::Table(entries) => {
            // Sorted, so that the same faults are always told in the same order.
            for (name, value) in entries.into_iter().collect::<BTreeMap<_, _>>() {
                let dot = if path.is_empty() { "" } else { "." };
                collect(&format!("{path}{dot}{name}"), value, layer, layers, faults);
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

/// The variables that are meant for us, `DATABASE_URL` among them under its long name, and those that stand in
/// files.
///
/// A name that is no setting stops here: `BILLD__GATEWAY` would hide the whole section.
fn own_variables(source: &Source, faults: &mut Vec<Fault>) -> HashMap<String, String> {
    let mut own = HashMap::new();
    for (name, value) in &source.variables {
        let Some(name) = name.to_str() else { continue };
        let is_billds = name.starts_with(VARIABLE_PREFIX);
        if !is_billds && ![ENVIRONMENT_VARIABLE, PLAIN_DATABASE_URL, URL_IN_A_FILE].contains(&name)
        {
            faults.extend(near_miss(name));
            continue;
        }
        let Some(value) = value.to_str() else {
            faults.push(Fault::elsewhere(name, "is not valid UTF-8"));
            continue;
        };
        let long = name.to_uppercase();
        let in_a_file = long
            .strip_suffix(IN_A_FILE)
            .filter(|secret| *secret == PLAIN_DATABASE_URL || is_secret(secret));
        let given = match in_a_file {
            Some(secret) => text_of_file(name, value, faults).map(|text| (secret.to_owned(), text)),
            None => Some((long, value.to_owned())),
        };
        let Some((long, value)) = given else { continue };
        let key = long.strip_prefix(VARIABLE_PREFIX).map(key_of);
        if let Some(key) = key.filter(|key| table::row(key).is_none()) {
            faults.push(unknown(&key, FROM_ENVIRONMENT));
        } else if own.insert(long.clone(), value).is_some() {
            // Which of two wins would be chance.
            let problem = format!("sets {long} a second time; unset one of them");
            faults.push(Fault::elsewhere(name, problem));
        }
    }
    let long = variable_of("database.url");
    let plain = own.remove(PLAIN_DATABASE_URL).filter(|url| !url.is_empty());
    match (plain, own.get(&long)) {
        (Some(_), Some(long_url)) if long_url.is_empty() => faults.push(Fault::elsewhere(
            long,
            format!("is set and empty, which hides {PLAIN_DATABASE_URL}; unset it"),
        )),
        (Some(url), None) => {
            own.insert(long, url);
        }
        (Some(_) | None, _) => {}
    }
    own
}

/// Whether a variable of ours is a secret.
fn is_secret(variable: &str) -> bool {
    let key = variable.strip_prefix(VARIABLE_PREFIX).map(key_of);
    key.is_some_and(|key| table::row(&key).is_some_and(table::Row::is_secret))
}

/// What stands in the file that a variable names, without the line break that editors put at its end.
fn text_of_file(name: &str, path: &str, faults: &mut Vec<Fault>) -> Option<String> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let text = text.strip_suffix('\n').unwrap_or(&text);
            Some(text.strip_suffix('\r').unwrap_or(text).to_owned())
        }
        Err(error) => {
            let problem = format!("names {}, which can't be read: {error}", shown(path));
            faults.push(Fault::elsewhere(name, problem));
            None
        }
    }
}

/// The key that a variable spells, without the prefix.
fn key_of(name: &str) -> String {
    name.to_lowercase().replace("__", ".")
}

/// `BILLD_GATEWAY_IMP_KEY` for `BILLD__GATEWAY__IMP_KEY`, or in small letters: it would be ignored without a word.
fn near_miss(name: &str) -> Option<Fault> {
    let capitals = name.to_uppercase();
    if capitals.starts_with(VARIABLE_PREFIX) {
        let problem = format!("is not read; write {capitals}, in capitals");
        return Some(Fault::elsewhere(name, problem));
    }
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

/// The file above the defaults, and what stands in it. One that nobody named need not exist; one that is there
/// must be readable, for the address of a sandbox may stand in it.
fn file_of(
    source: &Source,
    variables: &HashMap<String, String>,
    faults: &mut Vec<Fault>,
) -> Option<(PathBuf, String)> {
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
            "is not a folder that can be read; name the one that holds the settings files",
        ));
        return None;
    }
    let path = dir
        .unwrap_or(Path::new(DIR_DEFAULT))
        .join(format!("{environment}.toml"));
    let problem = match fs::read_to_string(&path) {
        Ok(text) => return Some((path, text)),
        // A link that leads nowhere is not the same as nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            "is a link to a file that does not exist".to_owned()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => match (named, dir) {
            (None, None) => return None,
            (Some(_), _) => {
                format!("does not exist; create it, or don't name the environment {environment}")
            }
            (None, Some(_)) => "does not exist; create it, or don't name the folder".to_owned(),
        },
        Err(error) => format!("can't be read: {error}"),
    };
    faults.push(Fault::elsewhere(path.display().to_string(), problem));
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
