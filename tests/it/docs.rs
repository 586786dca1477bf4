//! What the documents claim is what there is.

use std::fs;
use std::path::{Path, PathBuf};

use billd::settings::table;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn all_sources() -> String {
    let mut text = String::new();
    let mut folders: Vec<PathBuf> = ["src", "tests"]
        .map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    text
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
        "the recorder has ended",
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
