//! What a refusal means for the same card.
//!
//! A gateway reads its providers' codes and words into one of these classes; rules know no others.

words! {
    /// What a refusal means for the same card.
    pub enum DeclineClass {
        /// Limit or balance: the same card may work on another day.
        SoftFunds = "soft_funds",
        /// Maintenance or outage, but a definite "not approved": hours.
        SoftTemp = "soft_temp",
        /// Does not exclude a charge: time-out behind the gateway, duplicate, "already processed".
        Unclear = "unclear",
        /// Expired, lost, stopped, unknown key: a new card is needed.
        HardCard = "hard_card",
        /// Identity, password or certificate: the card must be registered again.
        HardAuth = "hard_auth",
        /// "Call the card company", or refused without a reason.
        IssuerCall = "issuer_call",
        /// Our contract, terminal, keys or merchant limit: no customer's fault, stops everything.
        Config = "config",
        /// Our data: amount, instalments, a missing field.
        Request = "request",
        /// A text of our row, the product's name for instance: our fault, and no card's.
        RowText = "row_text",
        /// None of the rules knows it.
        Unspecified = "unspecified",
    }
}
