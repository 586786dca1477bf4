//! A warning when the card behind a billing key was replaced: the gateway does it without a word.

use crate::app::exit::Failure;
use crate::app::services::Services;
use crate::domain::ids::CustomerUid;
use crate::gateway::{BillingKey, Gateway, KeyChange};

/// The key that a card is about to be stored over.
pub(super) async fn key_before(
    services: &Services<impl Gateway>,
    customer_uid: Option<&CustomerUid>,
) -> Result<Option<BillingKey>, Failure> {
    match customer_uid {
        Some(customer_uid) => Ok(services.engine.gateway().key(customer_uid).await?),
        None => Ok(None),
    }
}

/// The warning if the key has changed since.
pub(super) async fn warn_if_changed(
    services: &Services<impl Gateway>,
    before: Option<&BillingKey>,
    customer_uid: Option<&CustomerUid>,
) -> Option<String> {
    let (customer_uid, before) = (customer_uid?, before?);
    let after = services.engine.gateway().key(customer_uid).await.ok()??;
    warning(before, &after)
}

/// What a person must know of the change; `None` if there was none.
pub(super) fn warning(before: &BillingKey, after: &BillingKey) -> Option<String> {
    let number = |key: &BillingKey| key.card_number.clone().unwrap_or_else(|| "?".to_owned());
    let uid = &after.customer_uid;
    match after.change_since(before) {
        KeyChange::Same => None,
        KeyChange::RegisteredAgain => Some(format!(
            "{uid} had card {} before; it was registered again",
            number(before)
        )),
        KeyChange::Replaced => Some(format!(
            "WARNING: {uid} had card {}; that one was replaced by {}. The old key is not revoked at \
             the provider",
            number(before),
            number(after)
        )),
    }
}
