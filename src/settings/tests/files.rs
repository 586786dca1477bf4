use std::path::Path;

use super::{SECRETS, source};
use crate::settings::*;

/// A folder with one file in it, gone at the end of the test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn with(name: &str, file: &str, text: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("billd-settings-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join(file), text).unwrap();
        Self(path)
    }

    fn load(&self, environment: Option<&str>) -> Result<Settings, SettingsError> {
        let source = Source {
            config_dir: Some(self.0.clone()),
            environment: environment.map(str::to_owned),
            ..source(&SECRETS)
        };
        Settings::load(&source, Needs::All)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn every_shipped_file_is_accepted_and_holds_no_secret() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut count = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let source = Source {
            config_dir: Some(dir.clone()),
            environment: Some(path.file_stem().unwrap().to_str().unwrap().to_owned()),
            ..source(&SECRETS)
        };
        let settings = Settings::load(&source, Needs::All);
        assert!(settings.is_ok(), "{}: {settings:?}", path.display());
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn the_production_file_is_read_if_nobody_names_another() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let source = Source {
        config_dir: Some(dir),
        ..source(&SECRETS)
    };
    let settings = Settings::load(&source, Needs::All).unwrap();
    assert_eq!(settings.log.format, Format::Json);
}

#[test]
fn a_secret_in_a_file_is_refused_without_showing_it() {
    let folder = Folder::with(
        "secret",
        "production.toml",
        "[gateway]\nimp_key = \"topsecret\"\n",
    );
    let error = folder.load(None).map(drop);
    // The variable wins over the file, so only without it the file is what counts.
    assert_eq!(error, Ok(()));
    let source = Source {
        config_dir: Some(folder.0.clone()),
        ..source(&[])
    };
    let error = Settings::load(&source, Needs::Nothing)
        .unwrap_err()
        .to_string();
    assert!(error.contains("BILLD__GATEWAY__IMP_KEY"), "{error}");
    assert!(!error.contains("topsecret"), "{error}");
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let folder = Folder::with(
        "order",
        "staging.toml",
        "[engine]\nconcurrency = 10\ncatch_up_interval = \"2h\"\n",
    );
    let source = Source {
        config_dir: Some(folder.0.clone()),
        ..source(&[
            ("BILLD__ENGINE__CONCURRENCY", "11"),
            ("BILLD_ENVIRONMENT", "staging"),
        ])
    };
    let engine = Settings::load(&source, Needs::Nothing).unwrap().engine;
    assert_eq!(engine.concurrency, 11);
    assert_eq!(engine.catch_up_interval, Duration::from_hours(2));
    assert_eq!(engine.drain, Duration::from_secs(75));
}

#[test]
fn each_fault_of_a_file_is_a_line_that_says_what_to_do() {
    let table: [(&str, &[&str]); 5] = [
        (
            "[gatewy]\ntimeout = \"5s\"\n",
            &[
                "gatewy.timeout",
                "did you mean gateway.timeout?",
                "production.toml",
            ],
        ),
        (
            "[engine]\ncatch_up_pace = \"1h\"\n",
            &["write engine.catch_up_interval instead"],
        ),
        (
            "[gateway]\nconnect_timeout = \"5s\"\n",
            &["remove it: it is half of gateway.timeout"],
        ),
        ("gateway = 5\n", &["is a section"]),
        ("[gateway]\nimp_secret = topsecret\n", &["line 2"]),
    ];
    for (text, says) in table {
        let folder = Folder::with("fault", "production.toml", text);
        let error = folder.load(None).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(says.iter().all(|words| error.contains(words)), "{error}");
        assert!(!error.contains("topsecret"), "{error}");
    }
}

/// An empty ladder means no further attempt, so nothing else may be taken for it.
#[test]
fn a_list_is_not_taken_for_an_empty_ladder() {
    for value in ["[\"1d\"]", "{ a = 1 }"] {
        let text = format!("[dunning]\nsoft_funds = {value}\n");
        let error = Folder::with("list", "production.toml", &text).load(None);
        let error = error.map(drop).unwrap_err();
        assert_eq!(error.faults.len(), 1, "{error}");
        assert!(
            error.faults[0].name.starts_with("dunning.soft_funds"),
            "{error}"
        );
    }
}

#[test]
fn a_named_file_or_folder_that_is_missing_is_a_fault() {
    let folder = Folder::with("missing", "production.toml", "");
    assert!(folder.load(None).is_ok());
    let error = folder.load(Some("staging")).unwrap_err().to_string();
    assert!(error.contains("staging.toml: does not exist"), "{error}");
    let error = folder.load(Some("../etc")).unwrap_err().to_string();
    assert!(error.contains("BILLD_ENVIRONMENT"), "{error}");

    let nowhere = Source {
        config_dir: Some(folder.0.join("nowhere")),
        ..source(&SECRETS)
    };
    let error = Settings::load(&nowhere, Needs::All)
        .unwrap_err()
        .to_string();
    assert!(error.contains("is not a folder"), "{error}");
}

/// Hazard: a file that is there and can't be read is passed over, and with it the address of the sandbox.
#[test]
fn a_file_that_is_there_must_be_readable() {
    let folder = Folder::with("unreadable", "other.toml", "");
    let path = folder.0.join("production.toml");
    let error = folder.load(None).unwrap_err().to_string();
    assert!(error.contains("does not exist; create it"), "{error}");
    std::fs::create_dir(&path).unwrap();
    let error = folder.load(None).unwrap_err().to_string();
    assert!(error.contains("can't be read"), "{error}");
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    let error = folder.load(None).unwrap_err().to_string();
    assert!(error.contains("a link to a file"), "{error}");
}

#[test]
fn a_secret_may_stand_in_a_file_that_its_variable_names() {
    let folder = Folder::with("secrets", "secret", "fr0m-a-file\n");
    let file = folder.0.join("secret").display().to_string();
    let with = |variables: &[(&str, &str)]| Settings::load(&source(variables), Needs::All);
    let [url, key, _] = SECRETS;
    let from_file = ("BILLD__GATEWAY__IMP_SECRET_FILE", file.as_str());
    let settings = with(&[url, key, from_file]).unwrap();
    assert_eq!(
        settings.credentials().unwrap().1.expose_secret(),
        "fr0m-a-file"
    );
    for (name, variables) in [
        (
            "names",
            [url, key, ("BILLD__GATEWAY__IMP_SECRET_FILE", "/nowhere")].as_slice(),
        ),
        ("a second time", &[url, key, SECRETS[2], from_file]),
        (
            "BILLD__ENGINE__LEASE_FILE",
            &[url, key, SECRETS[2], ("BILLD__ENGINE__LEASE_FILE", &file)],
        ),
    ] {
        let error = with(variables).unwrap_err().to_string();
        assert!(error.contains(name) && !error.contains("fr0m"), "{error}");
    }
    std::fs::write(folder.0.join("secret"), "postgres://file@db/billd\n").unwrap();
    let settings = with(&[key, SECRETS[2], ("DATABASE_URL_FILE", &file)]).unwrap();
    assert_eq!(
        settings.connection().unwrap().url.expose_secret(),
        "postgres://file@db/billd"
    );
}
