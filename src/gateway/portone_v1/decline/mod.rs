//! Reads a refusal: which class of decline a provider's code or words mean.
//!
//! PortOne passes on what the company behind it said, in that company's own codes and words, so a
//! code means nothing without the provider's name. What can't be told is
//! [`DeclineClass::Unspecified`]; what may hide a charge is [`DeclineClass::Unclear`] and must
//! never be taken for a refusal.

mod codes;
mod keywords;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use regex::Regex;

use crate::domain::decline::DeclineClass;

/// A refusal, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Classified {
    /// What kind of refusal.
    pub(super) class: DeclineClass,
    /// The provider's code, if the message held one.
    pub(super) code: Option<String>,
}

impl Classified {
    /// Whether it may be anything, a charge even: neither a provider's code nor a word that we know.
    pub(super) fn proves_nothing(&self) -> bool {
        match self.class {
            DeclineClass::Unclear => true,
            DeclineClass::Unspecified => self.code.is_none(),
            DeclineClass::SoftFunds
            | DeclineClass::SoftTemp
            | DeclineClass::HardCard
            | DeclineClass::HardAuth
            | DeclineClass::IssuerCall
            | DeclineClass::Config
            | DeclineClass::Request
            | DeclineClass::RowText => false,
        }
    }
}

/// Reads the message of a refusal: by the provider's code, else by PortOne's own sentence, else
/// by the provider's words.
pub(super) fn classify(pg_provider: Option<&str>, message: &str) -> Classified {
    let parts = Parts::of(message);
    let by_code = || {
        let family = codes::Family::of(pg_provider?)?;
        codes::class_of(family, parts.code?)
    };
    let class = by_code()
        // PortOne's sentence may quote a `customer_uid`, in which the keywords would find anything.
        .or_else(|| class_of_portone_sentence(parts.sentence))
        .or_else(|| keywords::class_of(parts.evidence))
        .unwrap_or(DeclineClass::Unspecified);
    Classified {
        class,
        code: parts.code.map(str::to_owned),
    }
}

/// Whether a refusal says that this `merchant_uid` has been used for a payment before.
///
/// PortOne has changed its sentences without notice, so each is known by its core only.
pub(super) fn names_duplicate(message: &str) -> bool {
    static DUPLICATE: LazyLock<Regex> = LazyLock::new(|| {
        keywords::pattern(r"이미 ?주문이 ?이루어진|(동일한|이미 ?등록된) ?merchant_uid")
    });
    DUPLICATE.is_match(message)
}

/// A message taken apart: PortOne's sentence, then the provider's code and words.
struct Parts<'a> {
    /// PortOne's own words, all of the message if there is no code in it.
    sentence: &'a str,
    code: Option<&'a str>,
    /// What the provider said, without the words around it: where the keyword rules look.
    evidence: &'a str,
}

impl<'a> Parts<'a> {
    fn of(message: &'a str) -> Self {
        // Issuers answer with short codes, wallets with negative numbers, Toss Payments with names,
        // and the library of Inicis with a code before a bar.
        static CODE: LazyLock<Regex> = LazyLock::new(|| {
            keywords::pattern(concat!(
                r"\[([0-9A-Za-z]{1,8}|-[0-9]{1,5}|[A-Za-z][0-9A-Za-z_]{1,60})\]",
                r"|(?:^|\s)([A-Z]{2}[0-9]{4})\|",
            ))
        });
        let found = CODE.captures(message).and_then(|captures| {
            let code = captures.get(1).or_else(|| captures.get(2))?;
            let (sentence, _) = message.split_at(captures.get(0)?.start());
            let (_, rest) = message.split_at(captures.get(0)?.end());
            Some((sentence, code, rest))
        });
        let Some((sentence, code, rest)) = found else {
            return Self {
                sentence: message,
                code: None,
                evidence: without_portone_failure(message),
            };
        };
        // A word in brackets may be the whole message: `[TIMEOUT]`.
        let is_word = !code.as_str().bytes().any(|byte| byte.is_ascii_digit());
        let (_, from_code) = message.split_at(code.start());
        Self {
            sentence,
            code: Some(code.as_str()),
            evidence: if is_word {
                from_code
            } else {
                without_inicis_heading(rest)
            },
        }
    }
}

/// Cuts off PortOne's "… has failed." sentences: their words (`인증`, `발급`) say which call failed,
/// not why.
fn without_portone_failure(message: &str) -> &str {
    let end = message.rmatch_indices("실패하였습니다").next();
    let rest = end.map_or(message, |(start, found)| {
        let (_, after) = message.split_at(start.saturating_add(found.len()));
        after
    });
    rest.trim_start_matches(['.', ' ', ':']).trim_end()
}

/// Reduces `[실시간빌링실패|잔액부족]` to what stands after the bar.
fn without_inicis_heading(text: &str) -> &str {
    let text = text.trim();
    match text
        .strip_prefix('[')
        .and_then(|inner| inner.split_once('|'))
    {
        Some((_, reason)) => reason.trim_end_matches(']').trim(),
        None => text,
    }
}

/// Knows PortOne's own refusals, which come without a code, and its doubts.
fn class_of_portone_sentence(sentence: &str) -> Option<DeclineClass> {
    static NO_BILLING_KEY: LazyLock<Regex> = LazyLock::new(|| {
        keywords::pattern(
            "등록되지 ?않은 ?(구매자|사용자)|등록된 ?(고객 ?정보|정보)|빌링키.*(없|않)",
        )
    });
    if names_duplicate(sentence) || sentence.contains("PG사 결제 장애") {
        Some(DeclineClass::Unclear)
    } else if NO_BILLING_KEY.is_match(sentence) {
        Some(DeclineClass::HardCard)
    } else {
        // "… 통신에 실패하였습니다." may hide a charge, whoever says it.
        keywords::class_of(sentence).filter(|class| *class == DeclineClass::Unclear)
    }
}
