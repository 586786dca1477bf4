//! What travels: requests and answers of PortOne V1, field names as on the wire.
//!
//! Answers are read with tolerance (fields may be added at any time, enum values too), but what
//! a decision rests on must be there and of its type, or the answer counts as unreadable.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value};

use crate::domain::attempt::ChargeRequest;
use crate::domain::ids::CustomerUid;
use crate::domain::money::{Currency, Money};

/// The envelope of every answer.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<T> {
    /// 0 is normal; otherwise read the message.
    pub(super) code: i64,
    /// PortOne's or the provider's words.
    #[serde(default)]
    pub(super) message: Option<String>,
    /// The thing itself, or null.
    #[serde(default = "Option::default")]
    pub(super) response: Option<T>,
}

/// An envelope of which only the outside matters.
pub(super) type Outside = Envelope<IgnoredAny>;

/// `POST /users/getToken`.
#[derive(Serialize)]
pub(super) struct TokenRequest<'a> {
    pub(super) imp_key: &'a str,
    pub(super) imp_secret: &'a str,
}

/// The answer to it. Both instants are PortOne's, in Unix seconds.
#[derive(Deserialize)]
pub(super) struct TokenResponse {
    pub(super) access_token: String,
    pub(super) expired_at: i64,
    pub(super) now: i64,
}

/// One payment, as `again` and the look-ups return it.
#[derive(Debug, Deserialize)]
pub(super) struct PaymentAnnotation {
    pub(super) imp_uid: String,
    pub(super) merchant_uid: String,
    pub(super) status: String,
    pub(super) amount: Number,
    pub(super) currency: String,
    #[serde(default)]
    pub(super) cancel_amount: Option<Number>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub(super) customer_uid: Option<String>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub(super) fail_reason: Option<String>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub(super) pg_provider: Option<String>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub(super) pg_tid: Option<String>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub(super) receipt_url: Option<String>,
}

/// A page of payments.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) list: Vec<PaymentAnnotation>,
    /// 0 on the last page.
    #[serde(default)]
    pub(super) next: i64,
}

/// Empty texts, and anything that is not text, count as absent: no decision rests on them.
pub(super) fn text_or_nothing<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) if !text.is_empty() => Some(text),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => None,
    })
}

/// The body of `POST /subscribe/payments/again`, or what is wrong with the row it comes from.
pub(super) fn again(
    request: &ChargeRequest,
    customer_uid: &CustomerUid,
) -> Result<Vec<u8>, String> {
    let mut body = order(request)?;
    body.insert(
        "customer_uid".to_owned(),
        Value::from(customer_uid.as_str()),
    );
    serde_json::to_vec(&body).map_err(|error| error.to_string())
}

/// What all requests for money have in common.
pub(super) fn order(request: &ChargeRequest) -> Result<Map<String, Value>, String> {
    let terms = &request.terms;
    let currency = request.money.currency();
    // The rare fields come first, so that none of them can replace one that a decision rests on.
    let mut body: Map<String, Value> = serde_json::from_str(&terms.extra)
        .map_err(|error| format!("gateway_options is not a JSON object: {error}"))?;
    let texts = [
        ("buyer_name", &terms.buyer_name),
        ("buyer_email", &terms.buyer_email),
        ("buyer_tel", &terms.buyer_tel),
        ("buyer_addr", &terms.buyer_addr),
        ("buyer_postcode", &terms.buyer_postcode),
        ("custom_data", &terms.custom_data),
        ("notice_url", &terms.notice_url),
        ("channel_key", &terms.channel_key),
        ("product_type", &terms.product_type),
    ];
    for (field, text) in texts {
        if let Some(text) = text {
            body.insert(field.to_owned(), Value::from(text.as_str()));
        }
    }
    for (field, minor) in [
        ("tax_free", terms.tax_free),
        ("vat_amount", terms.vat_amount),
    ] {
        if let Some(minor) = minor {
            body.insert(field.to_owned(), Value::Number(major(minor, currency)?));
        }
    }
    if let Some(months) = terms.card_quota {
        body.insert("card_quota".to_owned(), Value::from(months));
    }
    body.insert(
        "merchant_uid".to_owned(),
        Value::from(request.merchant_uid.as_str()),
    );
    body.insert("name".to_owned(), Value::from(request.name.as_str()));
    body.insert("currency".to_owned(), Value::from(currency.as_str()));
    body.insert(
        "amount".to_owned(),
        Value::Number(major(request.money.amount(), currency)?),
    );
    Ok(body)
}

/// Minor units as the number that PortOne takes: won as they are, cents as a decimal.
pub(super) fn major(minor: i64, currency: Currency) -> Result<Number, String> {
    let digits = usize::try_from(currency.minor_digits()).map_err(|error| error.to_string())?;
    if digits == 0 {
        return Ok(Number::from(minor));
    }
    let text = format!("{minor:0>width$}", width = digits.saturating_add(1));
    let (whole, part) = text.split_at(text.len().saturating_sub(digits));
    serde_json::from_str(&format!("{whole}.{part}")).map_err(|error| error.to_string())
}

/// A number of PortOne's as minor units; `None` if it is no whole number of them.
pub(super) fn minor(number: &Number, currency: Currency) -> Option<i64> {
    let text = number.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let digits = usize::try_from(currency.minor_digits()).ok()?;
    let part = part.trim_end_matches('0');
    if part.len() > digits {
        return None;
    }
    format!("{whole}{part:0<digits$}").parse().ok()
}

/// Whether PortOne's number and currency are this sum.
pub(super) fn is_sum(number: &Number, currency: &str, money: Money) -> bool {
    currency == money.currency().as_str() && minor(number, money.currency()) == Some(money.amount())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn won_are_whole_and_cents_are_decimals() {
        let usd = Currency::parse("USD").unwrap();
        assert_eq!(major(9900, Currency::KRW).unwrap().to_string(), "9900");
        assert_eq!(major(999, usd).unwrap().to_string(), "9.99");
        assert_eq!(major(5, usd).unwrap().to_string(), "0.05");
        let sums = [
            ("KWD", "1.234"),
            ("CLP", "1234"),
            ("CLF", "0.1234"),
            ("JPY", "1234"),
        ];
        for (code, sum) in sums {
            let currency = Currency::parse(code).unwrap();
            assert_eq!(major(1234, currency).unwrap().to_string(), sum);
            assert_eq!(minor(&number(sum), currency), Some(1234));
        }
    }

    #[test]
    fn an_amount_is_read_exactly_or_not_at_all() {
        let usd = Currency::parse("USD").unwrap();
        assert_eq!(minor(&number("9900"), Currency::KRW), Some(9900));
        assert_eq!(minor(&number("9900.0"), Currency::KRW), Some(9900));
        assert_eq!(minor(&number("9900.5"), Currency::KRW), None);
        assert_eq!(minor(&number("9.99"), usd), Some(999));
        assert_eq!(minor(&number("9.9"), usd), Some(990));
        assert_eq!(minor(&number("9.999"), usd), None);
        assert_eq!(minor(&number("1e30"), Currency::KRW), None);
    }
}
