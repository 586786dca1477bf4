//! The companies' code tables.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::domain::decline::DeclineClass;

words! {
    /// Whose codes they are. Several of PortOne's providers speak one company's codes.
    pub(super) enum Family {
        Inicis = "inicis",
        Kcp = "kcp",
        Toss = "toss",
        /// The four digits of the networks behind the companies.
        Van = "van",
        Nice = "nice",
        Ksnet = "ksnet",
        Kicc = "kicc",
        Kakao = "kakao",
        Naver = "naver",
        Welcome = "welcome",
    }
}

impl Family {
    /// The family of one of PortOne's `pg_provider` names; `None` if no table is known.
    pub(super) fn of(pg_provider: &str) -> Option<Self> {
        // A channel is named `provider.merchant` in some places; the provider comes first.
        let provider = pg_provider.split('.').next().unwrap_or_default().trim();
        match provider.to_ascii_lowercase().as_str() {
            "html5_inicis" | "inicis" | "inicis_v2" => Some(Self::Inicis),
            "kcp" | "kcp_billing" | "kcp_v2" => Some(Self::Kcp),
            "tosspayments" | "uplus" => Some(Self::Toss),
            "nice" | "nice_v2" => Some(Self::Nice),
            "ksnet" => Some(Self::Ksnet),
            "kicc" => Some(Self::Kicc),
            "kakaopay" | "kakao" => Some(Self::Kakao),
            "naverpay" => Some(Self::Naver),
            "welcome" => Some(Self::Welcome),
            _ => None,
        }
    }
}

/// One row of `codes.tsv`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) family: Family,
    pub(super) class: DeclineClass,
    /// One `*` in it stands for any characters.
    pub(super) code: &'static str,
    /// The company's message word for word; empty where only its meaning is known.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the keyword rules are measured by it")
    )]
    pub(super) message: &'static str,
}

/// The rows of the table. A faulty row is left out, and a test finds it.
pub(super) fn rows() -> impl Iterator<Item = Row> {
    lines().filter_map(row)
}

pub(super) fn lines() -> impl Iterator<Item = &'static str> {
    include_str!("codes.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
}

fn row(line: &'static str) -> Option<Row> {
    let mut columns = line.split('\t');
    Some(Row {
        family: Family::parse(columns.next()?)?,
        class: DeclineClass::parse(columns.next()?)?,
        code: columns.next().filter(|code| !code.is_empty())?,
        message: columns.next().unwrap_or_default(),
    })
}

struct Table {
    exact: HashMap<(Family, &'static str), DeclineClass>,
    /// The rows with a `*`: few, so they are tried one by one.
    patterns: Vec<Row>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let (patterns, exact): (Vec<_>, Vec<_>) = rows().partition(|row| row.code.contains('*'));
    let exact = exact
        .into_iter()
        .map(|row| ((row.family, row.code), row.class))
        .collect();
    Table { exact, patterns }
});

/// What a company means by a code; `None` if its tables don't say.
pub(super) fn class_of(family: Family, code: &str) -> Option<DeclineClass> {
    listed(family, code).or_else(|| {
        let (family, code) = other_spelling(family, code)?;
        listed(family, &code)
    })
}

fn listed(family: Family, code: &str) -> Option<DeclineClass> {
    let exact = TABLE.exact.get(&(family, code)).copied();
    exact.or_else(|| {
        TABLE
            .patterns
            .iter()
            .find(|row| row.family == family && matches_pattern(row.code, code))
            .map(|row| row.class)
    })
}

fn matches_pattern(pattern: &str, code: &str) -> bool {
    pattern.split_once('*').is_some_and(|(start, end)| {
        code.strip_prefix(start)
            .is_some_and(|rest| rest.ends_with(end))
    })
}

/// Finds the code under which the tables hold the same answer.
fn other_spelling(family: Family, code: &str) -> Option<(Family, String)> {
    match family {
        // An issuer's answer has a short and a long form, the ordinary card engine repeats the list
        // of the billing engine, and a network's four digits come with two in front.
        Family::Inicis if code.len() == 6 => {
            if let Some(rest) = code.strip_prefix("1200") {
                Some((family, format!("12{rest}")))
            } else if let Some(rest) = code.strip_prefix("500") {
                Some((family, format!("550{rest}")))
            } else {
                Some((Family::Van, code.strip_prefix("06")?.to_owned()))
            }
        }
        Family::Kakao => Some((Family::Van, code.to_owned())),
        Family::Inicis
        | Family::Kcp
        | Family::Toss
        | Family::Van
        | Family::Nice
        | Family::Ksnet
        | Family::Kicc
        | Family::Naver
        | Family::Welcome => None,
    }
}
