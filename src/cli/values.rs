//! Values of the command line, judged.

use crate::domain::calendar::{IntervalUnit, Zone};
use crate::domain::ids::{CustomerUid, MerchantUid};
use crate::domain::money::Currency;

pub(super) fn customer_uid(text: &str) -> Result<CustomerUid, String> {
    CustomerUid::parse(text).map_err(|error| error.to_string())
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
