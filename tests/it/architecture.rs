//! The layers of the daemon, read off the sources: an arrow that runs back up fails here. What lies
//! beside `src` is a crate of its own and can't know the daemon: it doesn't depend on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use billd_proof::Failpoint;

/// Layers, innermost first. A module may name itself and those before it, but not its neighbours
/// on the same line.
const LAYERS: &[&[&str]] = &[
    &[
        "words",
        "causes",
        "duties",
        "failpoint",
        "terminal",
        "telemetry",
        "domain",
        "metrics",
    ],
    &["store", "gateway"],
    &["engine"],
    &["scheduler", "http", "auditor", "delivery", "webhook"],
    &["settings", "cli"],
    &["demo"],
    &["app"],
];

/// What a layer may use of its own line after all, with the reason.
const NEIGHBOURS: &[(&str, &str)] = &[
    // A filter that can't be parsed and a format that does not exist are faults of the settings.
    ("settings", "telemetry"),
];

/// Crates that the domain must not touch: it is pure.
const IO_CRATES: &[&str] = &[
    "sqlx",
    "reqwest",
    "tokio",
    "tracing",
    "config",
    "serde",
    "serde_json",
    "axum",
    "anyhow",
    "std::env",
    "std::fs",
];

/// Who alone may name a crate or a thing.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("sqlx::", &["store", "demo"]),
    ("reqwest::", &["delivery", "gateway"]),
    ("config::", &["settings"]),
    ("tokio_cron_scheduler", &["scheduler"]),
    ("anyhow::", &["app", "demo", "main"]),
    ("std::env", &["settings", "demo", "failpoint"]),
];

fn sources() -> Vec<(String, PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path
                    .strip_prefix(env!("CARGO_MANIFEST_DIR"))
                    .unwrap()
                    .to_owned();
                let module = inside
                    .components()
                    .nth(1)
                    .unwrap()
                    .as_os_str()
                    .to_string_lossy();
                let module = module.trim_end_matches(".rs").to_owned();
                let is_test = inside.to_string_lossy().contains("test");
                if !is_test {
                    let text = fs::read_to_string(&path).unwrap();
                    let code: String = text
                        .lines()
                        .take_while(|line| !line.starts_with("#[cfg(test)]"))
                        .filter(|line| !line.trim_start().starts_with("//"))
                        .flat_map(|line| [line, "\n"])
                        .collect();
                    found.push((module, inside, code));
                }
            }
        }
    }
    found
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|line| line.contains(&module))
}

/// The modules of this crate that a source names. A list in braces is not taken apart: it is
/// refused, so that nothing hides in one.
fn named(code: &str) -> Vec<String> {
    code.split("crate::")
        .skip(1)
        .map(|rest| {
            assert!(
                !rest.starts_with('{'),
                "write one `use crate::…` per module"
            );
            rest.chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
}

#[test]
fn a_layer_names_only_those_beneath_it() {
    let mut faults = Vec::new();
    for (module, path, code) in sources() {
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let Some(own) = layer_of(&module) else {
            faults.push(format!("{}: module {module} has no layer", path.display()));
            continue;
        };
        for other in named(&code) {
            let excused = NEIGHBOURS.contains(&(module.as_str(), other.as_str()));
            if other == module || excused || (own == 0 && other == "domain" && module == "metrics")
            {
                continue;
            }
            match layer_of(&other) {
                Some(layer) if layer < own => {}
                Some(_) => faults.push(format!("{} names {other}", path.display())),
                None => {}
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_domain_is_pure() {
    for (module, path, code) in sources() {
        if module == "domain" {
            for name in IO_CRATES {
                let uses =
                    code.contains(&format!("use {name}")) || code.contains(&format!("{name}::"));
                assert!(!uses, "{} uses {name}", path.display());
            }
        }
    }
}

#[test]
fn each_thing_is_known_only_where_it_belongs() {
    for (module, path, code) in sources() {
        for (thing, modules) in ONLY_IN {
            let uses = code.lines().any(|line| {
                line.match_indices(thing).any(|(at, _)| {
                    !line[..at]
                        .ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':')
                })
            });
            assert!(
                !uses || modules.contains(&module.as_str()),
                "{} names {thing}",
                path.display()
            );
        }
    }
}

/// A second gateway is a folder beside the first and one line in one file.
#[test]
fn one_file_outside_the_gateways_names_one_of_them() {
    let naming: Vec<_> = sources()
        .into_iter()
        .filter(|(module, _, code)| module != "gateway" && code.contains("portone_v1"))
        .map(|(_, path, _)| path.display().to_string())
        .collect();
    assert_eq!(naming, ["src/app/gateway.rs"]);
}

#[test]
fn the_proof_knows_every_point_at_which_the_program_can_die() {
    // Hazard: a point that is spelled otherwise is never reached, and a death is never tried.
    let sources = sources();
    let mut points: Vec<&str> = sources
        .iter()
        .flat_map(|(_, _, code)| {
            ["crash_at(\"", "crash_soon(\""].map(|call| code.split(call).skip(1))
        })
        .flatten()
        .filter_map(|rest| rest.split('"').next())
        .collect();
    points.sort_unstable();
    let mut known = Failpoint::ALL.map(Failpoint::name);
    known.sort_unstable();
    assert_eq!(points, known);
}

#[test]
fn a_file_can_be_read_in_one_sitting() {
    for (_, path, code) in sources() {
        let lines = code.lines().count();
        assert!(lines <= 450, "{} has {lines} lines of code", path.display());
    }
}

/// The paths from the root of the crate that a source names, with lists in braces taken apart, and its own files.
fn paths(module: &str, code: &str) -> Vec<String> {
    let own_files = code.lines().filter_map(|line| {
        let file = line.strip_prefix("mod ")?.strip_suffix(';')?;
        // One that it only shows to the outside is not used by it.
        let is_used = code.lines().any(|line| {
            !line.starts_with("pub")
                && line.match_indices(&format!("{file}::")).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || "_:".contains(c))
                })
        });
        is_used.then(|| format!("{module}::{file}"))
    });
    code.split("crate::")
        .skip(1)
        .flat_map(|rest| {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            let (path, rest) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
            let parts = match rest.strip_prefix('{').and_then(|list| list.split_once('}')) {
                Some((list, _)) => list.split(',').map(str::trim).collect(),
                None => vec![""],
            };
            parts.into_iter().map(move |part| format!("{path}{part}"))
        })
        .chain(own_files)
        .collect()
}

/// The file that a path leads to: that of its longest beginning which is one.
fn file_of<'a>(path: &str, files: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let mut parts: Vec<&str> = path.split("::").collect();
    while !parts.is_empty() {
        if let Some((file, _)) = files.get_key_value(&parts.join("::")) {
            return Some(file);
        }
        parts.pop();
    }
    None
}

/// Hazard: two files that import each other can only be understood, and changed, as one.
/// A `mod.rs` that shows its files to the outside (`pub use file::Name`) doesn't import them by that.
#[test]
fn no_files_import_each_other_directly_or_in_a_ring() {
    let files: BTreeMap<String, String> = sources()
        .into_iter()
        .map(|(_, path, code)| {
            let path = path.with_extension("").display().to_string();
            let module = path.trim_start_matches("src/").trim_end_matches("/mod");
            (module.replace('/', "::"), code)
        })
        .collect();
    let mut imports: BTreeMap<&str, BTreeSet<&str>> = files
        .iter()
        .map(|(file, code)| {
            assert!(!code.contains("super::"), "{file}: write `use crate::…`");
            let named = paths(file, code);
            let named = named.iter().filter_map(|path| file_of(path, &files));
            (file.as_str(), named.filter(|other| other != file).collect())
        })
        .collect();
    assert!(
        imports["engine"].contains("engine::charge"),
        "it reads imports"
    );
    // Who imports nothing that is left is in no ring, and neither is who is imported by nothing.
    loop {
        let imported: BTreeSet<&str> = imports.values().flatten().copied().collect();
        let left = imports.len();
        imports.retain(|file, others| !others.is_empty() && imported.contains(file));
        let files: BTreeSet<&str> = imports.keys().copied().collect();
        for others in imports.values_mut() {
            others.retain(|other| files.contains(other));
        }
        if imports.len() == left {
            break;
        }
    }
    assert!(imports.is_empty(), "{imports:#?}");
}
