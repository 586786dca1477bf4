//! What the command line says of a charge, as the request for it.

use uuid::Uuid;

use crate::app::exit::{Failure, not_done, parts_fit};
use crate::cli::Terms;
use crate::domain::attempt::{ChargeRequest, ChargeTerms, Instrument};
use crate::domain::ids::MerchantUid;
use crate::domain::money::Money;

pub(super) fn request(terms: &Terms, instrument: Instrument) -> Result<ChargeRequest, Failure> {
    parts_fit(terms.amount, terms.tax_free, terms.vat_amount)?;
    Ok(ChargeRequest {
        merchant_uid: number(terms)?,
        instrument,
        money: money(terms)?,
        name: terms.name.clone(),
        terms: optional(terms),
    })
}

/// The merchant's own number, or a new one.
fn number(terms: &Terms) -> Result<MerchantUid, Failure> {
    match &terms.merchant_uid {
        Some(merchant_uid) if merchant_uid.is_of_a_subscription() => Err(not_done(format!(
            "nothing was charged: {merchant_uid} has the form of a subscription's own numbers; take \
             another --merchant-uid"
        ))),
        Some(merchant_uid) => Ok(merchant_uid.clone()),
        None => MerchantUid::parse(format!("hand{}", Uuid::new_v4().as_simple()))
            .map_err(|error| not_done(error.to_string())),
    }
}

pub(super) fn money(terms: &Terms) -> Result<Money, Failure> {
    Money::new(terms.amount, terms.currency).map_err(|error| not_done(error.to_string()))
}

pub(super) fn optional(terms: &Terms) -> ChargeTerms {
    ChargeTerms {
        tax_free: terms.tax_free,
        vat_amount: terms.vat_amount,
        buyer_name: terms.buyer_name.clone(),
        buyer_email: terms.buyer_email.clone(),
        buyer_tel: terms.buyer_tel.clone(),
        card_quota: terms.card_quota,
        custom_data: terms.custom_data.clone(),
        notice_url: terms.notice_url.clone(),
        extra: "{}".to_owned(),
        ..ChargeTerms::default()
    }
}
