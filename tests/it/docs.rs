//! What the documents claim is what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use billd::settings::table;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn all_sources() -> String {
    let sources = ["src", "tests"].into_iter().flat_map(sources_in);
    sources.map(|(_, text)| text).collect()
}

/// Every source below a folder, by its path.
fn sources_in(folder: &str) -> Vec<(String, String)> {
    let mut sources = Vec::new();
    let mut folders: Vec<PathBuf> = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push((path.display().to_string(), text));
            }
        }
    }
    sources
}

#[test]
fn every_law_is_pinned_by_a_test_that_exists() {
    let sources = all_sources();
    let architecture = read("docs/ARCHITECTURE.md");
    let laws: Vec<&str> = architecture
        .lines()
        .filter(|line| {
            line.starts_with("| ") && line.chars().nth(2).is_some_and(|c| c.is_ascii_digit())
        })
        .collect();
    assert_eq!(laws.len(), 16, "{laws:#?}");
    for law in laws {
        let pinned = law.split('|').nth(4).unwrap();
        let tests: Vec<&str> = pinned
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| !name.contains('.'))
            .collect();
        assert!(!tests.is_empty(), "not pinned: {law}");
        for test in tests {
            assert!(
                sources.contains(&format!("fn {test}(")),
                "no test is called {test}: {law}"
            );
        }
    }
}

#[test]
fn every_alarm_of_the_engine_is_explained_to_the_operator() {
    let operations = read("docs/OPERATIONS.md");
    let sources = all_sources();
    for alarm in [
        "parked:",
        "mismatch:",
        "paid late:",
        "charging is stopped:",
        "bad row:",
        "an outcome could not be recorded",
        "claiming failed",
        "asking failed",
        "a part has ended:",
        "a bug: panicked at",
        "books differ, ",
        "the audit was cut short",
        "ceiling:",
        "webhook dead:",
        "webhook stopped:",
    ] {
        assert!(
            sources.contains(&format!("\"{alarm}")),
            "no line begins with {alarm}"
        );
        assert!(
            operations.contains(&format!("`{alarm}`")),
            "{alarm} is not explained"
        );
    }
}

/// An event of the log: its levels, and its fields.
type Event = (BTreeSet<String>, BTreeSet<String>);

/// What stands before the message of a macro's arguments: the names of its fields.
fn fields(arguments: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut depth = 0;
    let mut field = String::new();
    for c in arguments.chars() {
        match c {
            // The message; or a text that is a value, which its name stands before.
            '"' if field.trim().is_empty() => break,
            ',' if depth == 0 => fields.push(std::mem::take(&mut field)),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            break;
        }
        if c != ',' || depth > 0 {
            field.push(c);
        }
    }
    let name = |field: String| {
        let name = field.trim().trim_start_matches(['%', '?']);
        name.split([' ', '=']).next().unwrap().to_owned()
    };
    fields.into_iter().map(name).collect()
}

/// The events of a source. What a macro says twice, it says at the levels with which it is called.
fn events_of(source: &str, events: &mut BTreeMap<String, Event>) {
    let source = source.split("#[cfg(test)]\nmod").next().unwrap();
    let said_twice: Vec<&str> = source
        .split("line!(")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|level| ["info", "warn", "error"].contains(level))
        .collect();
    let mut before = "";
    for part in source.split("event = \"") {
        let level = before.trim_end().trim_end_matches("!(");
        let level = level
            .rsplit(|c: char| !c.is_alphanumeric() && c != '$')
            .next()
            .unwrap();
        if let Some((name, rest)) = part.split_once("\",").filter(|_| !before.is_empty()) {
            let levels = if level == "$level" {
                said_twice.clone()
            } else {
                vec![level]
            };
            let event = events.entry(name.to_owned()).or_default();
            event
                .0
                .extend(levels.iter().map(|level| level.to_uppercase()));
            event.1.extend(fields(rest));
        }
        before = part;
    }
}

/// Hazard: a query goes by a name that nothing has any more, and nobody is told that it finds nothing.
#[test]
fn every_event_of_the_log_stands_in_the_manual_with_its_levels_and_fields() {
    let mut events = BTreeMap::new();
    for (path, source) in sources_in("src") {
        if !path.contains("/demo/") {
            events_of(&source, &mut events);
            for macro_name in ["info!(", "warn!(", "error!("] {
                let code = source.split("#[cfg(test)]\nmod").next().unwrap();
                for call in code.split(macro_name).skip(1) {
                    assert!(
                        call.trim_start().starts_with("event = "),
                        "{path}: {macro_name} {}",
                        &call[..60.min(call.len())]
                    );
                }
            }
        }
    }
    let manual = read("docs/OPERATIONS.md");
    let listed = manual
        .split("<!-- events -->")
        .nth(1)
        .unwrap()
        .split("<!-- /events -->")
        .next()
        .unwrap();
    let cells = |cell: &str| {
        cell.split(',')
            .map(|it| it.trim().trim_matches('`').to_owned())
            .filter(|it| it != "–")
            .collect()
    };
    let listed: BTreeMap<String, Event> = listed
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let row: Vec<&str> = line.split('|').map(str::trim).collect();
            (
                row[1].trim_matches('`').to_owned(),
                (cells(row[2]), cells(row[3])),
            )
        })
        .collect();
    assert!(events.len() > 50, "{events:?}");
    assert_eq!(listed, events);
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let readme = read("README.md");
    let rows: Vec<String> = table()
        .iter()
        .map(|row| {
            let default = row
                .default
                .as_deref()
                .map_or("(secret)".to_owned(), |text| format!("`{text}`"));
            format!("| `{}` | {default} |", row.variable)
        })
        .collect();
    let wanted = format!("| Variable | Default |\n|---|---|\n{}\n", rows.join("\n"));
    let listed = readme
        .split("<!-- settings -->\n")
        .nth(1)
        .and_then(|rest| rest.split("<!-- /settings -->").next());
    assert!(
        listed == Some(wanted.as_str()),
        "the README should list:\n{wanted}"
    );
}
