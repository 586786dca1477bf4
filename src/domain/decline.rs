//! What a refusal means for the same card.
//!
//! A gateway reads its providers' codes and words into one of these classes; rules know no others.

/// What a refusal means for the same card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeclineClass {
    /// Limit or balance: the same card may work on another day.
    SoftFunds,
    /// Maintenance or outage, but a definite "not approved": hours.
    SoftTemp,
    /// Does not exclude a charge: time-out behind the gateway, duplicate, "already processed".
    Unclear,
    /// Expired, lost, stopped, unknown key: a new card is needed.
    HardCard,
    /// Identity, password or certificate: the card must be registered again.
    HardAuth,
    /// "Call the card company", or refused without a reason.
    IssuerCall,
    /// Our contract, terminal, keys or merchant limit: no customer's fault, stops everything.
    Config,
    /// Our data: amount, instalments, a missing field.
    Request,
    /// A text of our row, the product's name for instance: our fault, and no card's.
    RowText,
    /// None of the rules knows it.
    Unspecified,
}

impl DeclineClass {
    /// Every class.
    pub const ALL: [Self; 10] = [
        Self::SoftFunds,
        Self::SoftTemp,
        Self::Unclear,
        Self::HardCard,
        Self::HardAuth,
        Self::IssuerCall,
        Self::Config,
        Self::Request,
        Self::RowText,
        Self::Unspecified,
    ];

    /// The word for rows, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SoftFunds => "soft_funds",
            Self::SoftTemp => "soft_temp",
            Self::Unclear => "unclear",
            Self::HardCard => "hard_card",
            Self::HardAuth => "hard_auth",
            Self::IssuerCall => "issuer_call",
            Self::Config => "config",
            Self::Request => "request",
            Self::RowText => "row_text",
            Self::Unspecified => "unspecified",
        }
    }

    /// Reads the word that [`DeclineClass::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_reads_back_from_its_word() {
        for class in DeclineClass::ALL {
            assert_eq!(DeclineClass::parse(class.as_str()), Some(class));
        }
        assert_eq!(DeclineClass::parse("SoftFunds"), None);
    }
}
