//! Values of the command line, judged.

use icu_normalizer::ComposingNormalizerBorrowed;

use crate::domain::calendar::{IntervalUnit, Zone};
use crate::domain::ids::{CustomerUid, MerchantUid};
use crate::domain::money::Currency;

/// One that is registered already, whatever it looks like.
pub(super) fn known_customer_uid(text: &str) -> Result<CustomerUid, String> {
    CustomerUid::parse(text).map_err(|error| error.to_string())
}

pub(super) fn customer_uid(text: &str) -> Result<CustomerUid, String> {
    if text.trim() != text {
        return Err("begins or ends with a blank".to_owned());
    }
    CustomerUid::parse(seen(text)?).map_err(|error| error.to_string())
}

pub(super) fn merchant_uid(text: &str) -> Result<MerchantUid, String> {
    MerchantUid::parse(text).map_err(|error| error.to_string())
}

pub(super) fn currency(text: &str) -> Result<Currency, String> {
    Currency::parse(text).map_err(|error| error.to_string())
}

pub(super) fn unit(text: &str) -> Result<IntervalUnit, String> {
    IntervalUnit::parse(text).ok_or_else(|| format!("{text:?} is not day, week, month or year"))
}

pub(super) fn zone(text: &str) -> Result<Zone, String> {
    Zone::parse(text).map_err(|error| error.to_string())
}

pub(super) fn bounded(text: &str, characters_max: usize) -> Result<String, String> {
    match text.chars().count() {
        0 => Err("is empty".to_owned()),
        count if count > characters_max => {
            Err(format!("is longer than {characters_max} characters"))
        }
        _ => Ok(text.to_owned()),
    }
}

/// What a buyer or a statement is called: composed, so that one syllable is one character.
pub(super) fn name(text: &str, characters_max: usize) -> Result<String, String> {
    let composed = ComposingNormalizerBorrowed::new_nfc().normalize(text);
    if composed.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    bounded(&seen(&composed)?, characters_max)
}

/// As `billd_internal.text_fault` in the schema has it.
fn seen(text: &str) -> Result<String, String> {
    let is_unseen = |c: char| {
        matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffc}')
    };
    if text.chars().any(char::is_control) {
        Err("has a control character, a line break for instance".to_owned())
    } else if text.chars().any(is_unseen) {
        Err("has a character that can't be seen".to_owned())
    } else {
        Ok(text.to_owned())
    }
}
