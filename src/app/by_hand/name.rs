//! Which of its two numbers names a payment.

use crate::domain::ids::{ImpUid, MerchantUid, NameError};

/// PortOne's number or ours.
pub(super) enum PaymentName {
    Imp(ImpUid),
    Merchant(MerchantUid),
}

impl PaymentName {
    /// PortOne's numbers begin with `imp_`, which no number of ours can.
    pub(super) fn parse(text: &str) -> Result<Self, NameError> {
        if text.starts_with("imp_") {
            ImpUid::parse(text).map(Self::Imp)
        } else {
            MerchantUid::parse(text).map(Self::Merchant)
        }
    }
}
