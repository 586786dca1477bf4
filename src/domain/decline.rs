//! Refusals and their classes.

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
    /// None of the rules knows it.
    Unspecified,
}
