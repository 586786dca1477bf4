mod files;

use super::*;
use crate::domain::dunning::NotFoundPolicy;

const SECRETS: [(&str, &str); 3] = [
    ("BILLD__DATABASE__URL", "postgres://billd:hunter2@db/billd"),
    ("BILLD__GATEWAY__IMP_KEY", "0012345678901234"),
    ("BILLD__GATEWAY__IMP_SECRET", "s3cret"),
];

/// An environment of these variables, and no file but the compiled-in one.
fn source(variables: &[(&str, &str)]) -> Source {
    let empty = std::env::temp_dir().join(format!("billd-settings-{}", std::process::id()));
    std::fs::create_dir_all(&empty).unwrap();
    std::fs::write(empty.join("production.toml"), "").unwrap();
    Source {
        config_dir: Some(empty),
        environment: None,
        variables: variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
    }
}

fn load(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::load(&source(&[&SECRETS[..], variables].concat()), Needs::All)
}

/// The faults as lines.
fn faults(variables: &[(&str, &str)]) -> Vec<String> {
    let error = load(variables).expect_err("a fault");
    error.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn the_defaults_are_what_the_documents_say() {
    let settings = load(&[]).unwrap();
    assert_eq!(settings.database.connections_max, 10);
    assert_eq!(settings.database.pooler, crate::store::Pooler::None);
    assert_eq!(settings.gateway.base_url, "https://api.iamport.kr");
    assert_eq!(settings.gateway.timeout, Duration::from_mins(1));
    assert_eq!(settings.engine.lease, Duration::from_secs(90));
    assert_eq!(settings.policy.asks.to_string(), "5s,30s,5m,1h,1d");
    assert_eq!(settings.policy.on_not_found, NotFoundPolicy::SendAgain);
    assert!(settings.policy.hard.is_empty());
    assert_eq!(settings.scheduler.sweep_cron, "* * * * * *");
    assert_eq!(settings.http.listen, Some(([127, 0, 0, 1], 8080).into()));
    assert_eq!(settings.audit.cron.as_deref(), Some("0 30 19 * * *"));
    assert_eq!(settings.audit.days, 3);
    assert_eq!(settings.log.format, Format::Pretty);
    assert_eq!(settings.policy.not_sent.first, Duration::from_secs(30));
    assert_eq!(settings.calls_max(), 64 + 16);
}

#[test]
fn an_audit_without_an_hour_is_off() {
    let settings = load(&[("BILLD__AUDIT__CRON", "")]).unwrap();
    assert_eq!(settings.audit.cron, None);
}

/// A number by its looks: sources that guess types would cut the zeros off.
#[test]
fn a_key_of_digits_keeps_its_zeros() {
    let settings = load(&[]).unwrap();
    let (imp_key, _) = settings.credentials().unwrap();
    assert_eq!(imp_key.expose_secret(), "0012345678901234");
}

#[test]
fn no_secret_is_ever_printed() {
    let settings = load(&[]).unwrap();
    let printed = format!(
        "{settings:?} {:#?} {:?}",
        settings.database,
        settings.credentials()
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
fn each_missing_secret_is_named_if_it_is_needed_and_not_otherwise() {
    let error = Settings::load(&source(&[]), Needs::All).unwrap_err();
    let names: Vec<_> = error
        .faults
        .iter()
        .map(|fault| fault.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["database.url", "gateway.imp_key", "gateway.imp_secret"]
    );

    let settings = Settings::load(&source(&[]), Needs::Nothing).unwrap();
    assert!(settings.credentials().is_err());
    assert!(settings.connection().is_err());
}

#[test]
fn the_plain_database_url_is_taken_unless_the_long_one_is_there() {
    let plain = ("DATABASE_URL", "postgres://plain/billd");
    let url = |variables: &[(&str, &str)]| {
        let settings = Settings::load(&source(variables), Needs::Nothing).unwrap();
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
fn each_impossible_relation_is_named() {
    let table: [(&str, &[(&str, &str)]); 3] = [
        ("engine.lease", &[("BILLD__ENGINE__LEASE", "61s")]),
        ("engine.drain", &[("BILLD__ENGINE__DRAIN", "60s")]),
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
        ("BILLD__DATABASE__CONNECTIONS_MAX", "2"),
        ("BILLD__DATABASE__CONNECTIONS_MAX", "201"),
        ("BILLD__GATEWAY__RATE_PER_SECOND", "-1"),
        ("BILLD__ENGINE__CONCURRENCY", "0"),
        ("BILLD__ENGINE__CONCURRENCY", "true"),
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
        ("BILLD__AUDIT__CRON", "30 19 * * *"),
        ("BILLD__AUDIT__DAYS", "0"),
        ("BILLD__HTTP__LISTEN", "8080"),
        ("BILLD__HTTP__WEBHOOK_SOURCES", "localhost"),
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
        ("BILLD__GATEWAY__BASE_URL", "http://sandbox:18081"),
        ("BILLD__GATEWAY__TIMEOUT", "6000ms"),
        ("BILLD__RECONCILE__SETTLE", "0s"),
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
        ("BILLD__ENGINE__CONCURRENCY", "many"),
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

/// Hazard: a setting that was turned in an earlier version does nothing any more, and nobody notices.
#[test]
fn a_removed_or_renamed_setting_is_refused_with_what_to_do_instead() {
    let lines = faults(&[
        ("BILLD__ENGINE__BATCH", "100"),
        ("BILLD__ENGINE__CATCH_UP_PACE", "1h"),
    ]);
    assert_eq!(
        lines,
        [
            "engine.batch (BILLD__ENGINE__BATCH): is no setting any more (in the environment); \
             remove it: 500 attempts are claimed at once, and more made nothing faster",
            "engine.catch_up_pace (BILLD__ENGINE__CATCH_UP_PACE): is no setting any more (in the \
             environment); write BILLD__ENGINE__CATCH_UP_INTERVAL instead",
        ]
    );
    let there_is = |key: &str| table().iter().any(|row| row.key == key);
    for (key, now) in removed::REMOVED {
        assert!(!there_is(key), "{key} is a setting");
        if let removed::Now::Called(name) = now {
            assert!(there_is(name), "{name} is no setting");
        }
    }
}

#[test]
fn a_short_lease_keeps_a_sixth_for_the_record_and_a_long_one_a_second() {
    let call = |lease| {
        let variables = [
            ("BILLD__ENGINE__LEASE", lease),
            ("BILLD__GATEWAY__TIMEOUT", "1s"),
        ];
        load(&variables).unwrap().call()
    };
    assert_eq!(call("90s"), Duration::from_secs(2));
    assert_eq!(call("1500ms"), Duration::from_millis(1_250));
}

#[test]
fn a_section_or_something_within_a_setting_is_no_variable() {
    for name in [
        "BILLD__GATEWAY",
        "BILLD__GATEWAY__",
        "BILLD__ENGINE__CONCURRENCY__X",
        "BILLD__ENGINE__CONCURRENCY[0]",
    ] {
        let lines = faults(&[(name, "5")]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(name), "{lines:?}");
    }
}

#[test]
fn every_setting_is_explained_and_read() {
    let mut faults = Vec::new();
    let layers = layers::read(&source(&[]), &mut faults);
    assert_eq!(faults, []);
    for row in table() {
        assert!(row.about.ends_with('.'), "{}: {}", row.key, row.about);
        assert_eq!(
            row.is_secret(),
            !layers.values.contains_key(row.key.as_str())
        );
        // Key and secret are read as they are; the others notice a value that no kind takes.
        if row.key.starts_with("gateway.imp_") {
            continue;
        }
        let error = load(&[(&row.variable, "\u{7f}=,")]).map(drop).unwrap_err();
        assert_eq!(error.faults[0].name, row.key);
    }
}

/// Hazard: a secret that was read from a file by a shell ends in a line break, is sent so, and is refused.
#[test]
fn what_would_be_overlooked_in_a_variable_is_said() {
    for (name, value, says) in [
        (
            "BILLD__GATEWAY__IMP_SECRET",
            "s3cret\n",
            "ends with a blank or a line break",
        ),
        (
            "billd__engine__lease",
            "60s",
            "write BILLD__ENGINE__LEASE, in capitals",
        ),
        (
            "BILLD__GATEWAY__PROXY",
            "proxy:3128",
            "http://user:password@proxy:3128",
        ),
        ("PGSSLMODE", "bogus", "an sslmode that does not exist"),
    ] {
        let variables: Vec<_> = SECRETS
            .into_iter()
            .filter(|(secret, _)| *secret != name)
            .collect();
        let error = Settings::load(
            &source(&[&variables[..], &[(name, value)]].concat()),
            Needs::All,
        );
        let error = error.unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("s3cret"), "{error}");
    }
    let empty = [
        ("DATABASE_URL", "postgres://a/b"),
        ("BILLD__DATABASE__URL", ""),
    ];
    let error = Settings::load(&source(&empty), Needs::Database)
        .unwrap_err()
        .to_string();
    assert!(error.contains("which hides DATABASE_URL"), "{error}");
    let plain = "http://127.0.0.1:1";
    let lines = faults(&[
        ("BILLD__GATEWAY__PROXY", "http://p:1"),
        ("BILLD__GATEWAY__BASE_URL", plain),
    ]);
    assert!(lines[0].contains("https address"), "{lines:?}");
    assert!(load(&[]).unwrap().log.may_color);
    assert!(!load(&[("NO_COLOR", "1")]).unwrap().log.may_color);
}
