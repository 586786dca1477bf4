use std::path::Path;

use super::*;

const NEEDS_ALL: Needs = Needs {
    database: true,
    gateway: true,
};

const SECRETS: [(&str, &str); 3] = [
    ("BILLD__DATABASE__URL", "postgres://billd:hunter2@db/billd"),
    ("BILLD__GATEWAY__IMP_KEY", "0012345678901234"),
    ("BILLD__GATEWAY__IMP_SECRET", "s3cret"),
];

/// An environment of these variables, and no file but the compiled-in one.
fn source(variables: &[(&str, &str)]) -> Source {
    let empty = concat!(env!("CARGO_MANIFEST_DIR"), "/src/settings");
    Source {
        config_dir: Some(empty.into()),
        environment: None,
        variables: variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
    }
}

fn load(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::load(&source(&[&SECRETS[..], variables].concat()), NEEDS_ALL)
}

/// The faults as lines.
fn faults(variables: &[(&str, &str)]) -> Vec<String> {
    let error = load(variables).expect_err("a fault");
    error.to_string().lines().map(str::to_owned).collect()
}

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
        Settings::load(&source, NEEDS_ALL)
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
        let settings = Settings::load(&source, NEEDS_ALL);
        assert!(settings.is_ok(), "{}: {settings:?}", path.display());
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn the_defaults_are_what_the_documents_say() {
    let settings = load(&[]).unwrap();
    assert_eq!(settings.database.connections_max, 8);
    assert_eq!(settings.gateway.base_url, "https://api.iamport.kr");
    assert_eq!(settings.gateway.timeout, Duration::from_mins(1));
    assert_eq!(settings.engine.lease, Duration::from_secs(90));
    assert_eq!(settings.reconcile.asks.to_string(), "5s,30s,5m,1h,1d");
    assert_eq!(settings.reconcile.on_not_found, NotFoundPolicy::SendAgain);
    assert!(settings.dunning.hard.is_empty());
    assert_eq!(settings.scheduler.sweep_cron, "* * * * * *");
    assert_eq!(settings.http.listen, Some(([127, 0, 0, 1], 8080).into()));
    assert_eq!(settings.log.format, Format::Pretty);
    assert_eq!(settings.policy().not_sent.first, Duration::from_secs(30));
    assert_eq!(settings.endpoint().unwrap().connections_max, 64 + 16);
}

#[test]
fn the_production_file_is_read_if_nobody_names_another() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let source = Source {
        config_dir: Some(dir),
        ..source(&SECRETS)
    };
    let settings = Settings::load(&source, NEEDS_ALL).unwrap();
    assert_eq!(settings.log.format, Format::Json);
}

/// A number by its looks: sources that guess types would cut the zeros off.
#[test]
fn a_key_of_digits_keeps_its_zeros() {
    let settings = load(&[]).unwrap();
    let endpoint = settings.endpoint().unwrap();
    assert_eq!(endpoint.imp_key.expose_secret(), "0012345678901234");
}

#[test]
fn no_secret_is_ever_printed() {
    let settings = load(&[]).unwrap();
    let printed = format!(
        "{settings:?} {:#?} {:?}",
        settings.database,
        settings.endpoint()
    );
    for secret in ["hunter2", "0012345678901234", "s3cret"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    assert!(printed.contains("postgres://billd:[REDACTED]@db/billd"));

    let broken = faults(&[
        ("BILLD__DATABASE__URL", "mysql://billd:hunter2@db"),
        ("BILLD__GATEWAY__IMP_SECRT", "s3cret"),
        (
            "BILLD__GATEWAY__BASE_URL",
            "https://key:hunter2@api.iamport.kr",
        ),
    ])
    .join("\n");
    assert_eq!(broken.lines().count(), 3, "{broken}");
    assert!(
        !broken.contains("hunter2") && !broken.contains("s3cret"),
        "{broken}"
    );
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
    let error = Settings::load(&source, Needs::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("BILLD__GATEWAY__IMP_KEY"), "{error}");
    assert!(!error.contains("topsecret"), "{error}");
}

#[test]
fn each_missing_secret_is_named_if_it_is_needed_and_not_otherwise() {
    let error = Settings::load(&source(&[]), NEEDS_ALL).unwrap_err();
    let names: Vec<_> = error
        .faults
        .iter()
        .map(|fault| fault.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["database.url", "gateway.imp_key", "gateway.imp_secret"]
    );

    let settings = Settings::load(&source(&[]), Needs::default()).unwrap();
    assert!(settings.endpoint().is_err());
    assert!(settings.connection().is_err());
}

#[test]
fn the_plain_database_url_is_taken_unless_the_long_one_is_there() {
    let plain = ("DATABASE_URL", "postgres://plain/billd");
    let url = |variables: &[(&str, &str)]| {
        let settings = Settings::load(&source(variables), Needs::default()).unwrap();
        settings
            .connection()
            .unwrap()
            .url
            .expose_secret()
            .to_owned()
    };
    assert_eq!(url(&[plain]), "postgres://plain/billd");
    let long = ("BILLD__DATABASE__URL", "postgres://long/billd");
    assert_eq!(url(&[plain, long]), "postgres://long/billd");
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let folder = Folder::with(
        "order",
        "staging.toml",
        "[engine]\nconcurrency = 10\nbatch = 20\n",
    );
    let source = Source {
        config_dir: Some(folder.0.clone()),
        ..source(&[
            ("BILLD__ENGINE__CONCURRENCY", "11"),
            ("BILLD_ENVIRONMENT", "staging"),
        ])
    };
    let engine = Settings::load(&source, Needs::default()).unwrap().engine;
    assert_eq!(engine.concurrency, 11);
    assert_eq!(engine.batch, 20);
    assert_eq!(engine.drain, Duration::from_secs(75));
}

#[test]
fn each_impossible_relation_is_named() {
    let table: [(&str, &[(&str, &str)]); 7] = [
        (
            "gateway.connect_timeout",
            &[("BILLD__GATEWAY__CONNECT_TIMEOUT", "60s")],
        ),
        ("engine.lease", &[("BILLD__ENGINE__LEASE", "65s")]),
        ("engine.drain", &[("BILLD__ENGINE__DRAIN", "60s")]),
        ("database.timeout", &[("BILLD__DATABASE__TIMEOUT", "90s")]),
        ("reconcile.settle", &[("BILLD__RECONCILE__SETTLE", "59s")]),
        (
            "dunning.not_sent_first",
            &[("BILLD__DUNNING__NOT_SENT_FIRST", "2h")],
        ),
        ("reconcile.asks", &[("BILLD__RECONCILE__ASKS", "")]),
    ];
    for (name, variables) in table {
        let lines = faults(variables);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(name), "{lines:?}");
    }
}

#[test]
fn each_value_out_of_bounds_or_of_another_kind_is_named_and_shown() {
    for (variable, value) in [
        ("BILLD__DATABASE__CONNECTIONS_MAX", "1"),
        ("BILLD__DATABASE__CONNECTIONS_MAX", "201"),
        ("BILLD__GATEWAY__RATE_PER_SECOND", "-1"),
        ("BILLD__ENGINE__CONCURRENCY", "0"),
        ("BILLD__ENGINE__CONCURRENCY", "true"),
        ("BILLD__ENGINE__BATCH", "1001"),
        ("BILLD__RECONCILE__SENDS_MAX", "300"),
        ("BILLD__RECONCILE__ON_NOT_FOUND", "resend"),
        ("BILLD__GATEWAY__TIMEOUT", "60"),
        ("BILLD__GATEWAY__TIMEOUT", "0s"),
        ("BILLD__GATEWAY__TIMEOUT", "6m"),
        ("BILLD__GATEWAY__TIMEOUT", "1s,2s"),
        ("BILLD__DUNNING__SOFT_FUNDS", "1d;3d"),
        ("BILLD__DUNNING__SOFT_TEMP", "1h,91d"),
        ("BILLD__GATEWAY__BASE_URL", "http://api.iamport.kr"),
        ("BILLD__GATEWAY__BASE_URL", "https://api.iamport.kr?a=b"),
        ("BILLD__GATEWAY__BASE_URL", "api.iamport.kr"),
        ("BILLD__SCHEDULER__SWEEP_CRON", "* * * * *"),
        ("BILLD__SCHEDULER__SWEEP_CRON", "* * * * * * 2030"),
        ("BILLD__SCHEDULER__SWEEP_CRON", "61 * * * * *"),
        ("BILLD__SCHEDULER__SWEEP_CRON", "@hourly"),
        ("BILLD__HTTP__LISTEN", "8080"),
        ("BILLD__LOG__FORMAT", "xml"),
        ("BILLD__LOG__FILTER", "billd=loud"),
        ("BILLD__LOG__FILTER", "inof"),
    ] {
        let lines = faults(&[(variable, value)]);
        assert_eq!(lines.len(), 1, "{variable}={value}: {lines:?}");
        assert!(lines[0].contains(variable), "{lines:?}");
        assert!(lines[0].contains(value), "{lines:?}");
    }
}

#[test]
fn the_ends_of_the_bounds_are_accepted() {
    for (variable, value) in [
        ("BILLD__DATABASE__CONNECTIONS_MAX", "200"),
        ("BILLD__GATEWAY__RATE_PER_SECOND", "10000"),
        ("BILLD__GATEWAY__BASE_URL", "http://127.0.0.1:8081/"),
        ("BILLD__GATEWAY__BASE_URL", "http://[::1]:8081"),
        ("BILLD__GATEWAY__BASE_URL", "http://localhost:8081"),
        ("BILLD__HTTP__LISTEN", ""),
        ("BILLD__DUNNING__HARD", ""),
        ("BILLD__LOG__FILTER", "warn,billd::engine=trace"),
        ("BILLD__SCHEDULER__SWEEP_CRON", "*/5 0-30 8 * JAN MON-FRI"),
    ] {
        let settings = load(&[(variable, value)]);
        assert!(settings.is_ok(), "{variable}={value}: {settings:?}");
        assert!(!settings.unwrap().gateway.base_url.ends_with('/'));
    }
}

#[test]
fn all_faults_come_at_once_a_line_each() {
    let lines = faults(&[
        ("BILLD__GATEWAY__TIMEOUT", "sixty"),
        ("BILLD__ENGINE__BATCH", "many"),
        ("BILLD__LOG__FORMAT", "xml"),
    ]);
    assert_eq!(lines.len(), 3, "{lines:?}");
}

#[test]
fn a_misspelt_variable_is_named_with_what_was_meant() {
    let [line] = &faults(&[("BILLD__GATEWAY__TIMEOOUT", "5s")])[..] else {
        panic!("one line");
    };
    assert!(
        line.contains("gateway.timeoout (BILLD__GATEWAY__TIMEOOUT)"),
        "{line}"
    );
    assert!(
        line.contains("did you mean BILLD__GATEWAY__TIMEOUT?"),
        "{line}"
    );

    let [line] = &faults(&[("BILLD_GATEWAY_TIMEOUT", "5s")])[..] else {
        panic!("one line");
    };
    assert!(line.contains("write BILLD__GATEWAY__TIMEOUT"), "{line}");

    assert!(load(&[("BILLD_VERSION", "1"), ("BILLD_PORT", "tcp://10.0.0.1:80")]).is_ok());
}

#[test]
fn a_misspelt_key_in_a_file_is_named_with_what_was_meant() {
    let folder = Folder::with(
        "misspelt",
        "production.toml",
        "[gatewy]\ntimeout = \"5s\"\n",
    );
    let error = folder.load(None).unwrap_err().to_string();
    assert!(error.contains("gatewy.timeout"), "{error}");
    assert!(error.contains("did you mean gateway.timeout?"), "{error}");
    assert!(error.contains("production.toml"), "{error}");
}

#[test]
fn a_section_that_is_given_a_value_is_named() {
    let folder = Folder::with("section", "production.toml", "gateway = 5\n");
    let error = folder.load(None).unwrap_err();
    assert_eq!(error.faults.len(), 1, "{error}");
    assert!(error.to_string().contains("is a section"), "{error}");
}

#[test]
fn a_file_that_is_no_toml_is_one_line_without_its_text() {
    let folder = Folder::with(
        "broken",
        "production.toml",
        "[gateway]\nimp_secret = topsecret\n",
    );
    let error = folder.load(None).unwrap_err();
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    assert!(error.to_string().contains("line 2"), "{error}");
    assert!(!error.to_string().contains("topsecret"), "{error}");
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
    let error = Settings::load(&nowhere, NEEDS_ALL).unwrap_err().to_string();
    assert!(error.contains("is not a folder"), "{error}");
}

#[test]
fn every_setting_is_explained_and_read() {
    let mut faults = Vec::new();
    let values = layers::read(&source(&[]), &mut faults);
    assert_eq!(faults, []);
    for row in table() {
        assert!(row.about.ends_with('.'), "{}: {}", row.key, row.about);
        assert_eq!(row.is_secret(), !values.contains_key(row.key.as_str()));
        // Key and secret are read as they are; the others notice a value that no kind takes.
        if row.key.starts_with("gateway.imp_") {
            continue;
        }
        let error = load(&[(&row.variable, "\u{7f}=,")]).map(drop).unwrap_err();
        assert_eq!(error.faults[0].name, row.key);
    }
}
