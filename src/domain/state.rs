//! The states of a subscription and of a billing cycle.
//!
//! ```text
//! cycle
//! due ──claim──▶ (attempt started) ──paid───────────────▶ paid           closed
//!  ▲                    │ ├─declined, a rung is left────▶ due (later)
//!  │                    │ ├─declined, none is left──────▶ uncollectible  closed, subscription past_due
//!  │                    │ ├─not sent────────────────────▶ due (backoff)
//!  │                    │ └─unknown─────────────────────▶ unresolved
//!  └────────────────────┴──── reconcile ────────────────────┘
//! due, uncollectible ──forgiven or cancelled by a person──▶ void          closed
//! uncollectible ──subscription set to active by a person──▶ due
//!
//! subscription
//! active ──ladder ends──▶ past_due ──by hand──▶ active
//! active ◀──by hand──▶ paused, cancelled
//! ```

words! {
    /// Where a standing agreement stands.
    pub enum SubscriptionState {
        /// Charged when due. Entered at birth, and by hand.
        Active = "active",
        /// The last debt was finally declined; nothing is charged. Left by hand, when the card was
        /// mended, or by billd when the debt turns out to be paid after all.
        PastDue = "past_due",
        /// Not charged. Entered and left by hand; periods that fall due in between are passed over.
        Paused = "paused",
        /// Not charged any more. Entered by hand.
        Cancelled = "cancelled",
    }
}

words! {
    /// Where the debt of one period stands.
    pub enum CycleState {
        /// Owed. The only state in which an attempt may begin. A crash leaves it with an attempt
        /// `started`, which reconciliation picks up when the lease has ended.
        Due = "due",
        /// The last attempt's fate is unknown; the gateway is being asked.
        Unresolved = "unresolved",
        /// Money moved.
        Paid = "paid",
        /// Nothing was to be charged: a trial, or a sum below what the gateway charges.
        Free = "free",
        /// Finally declined.
        Uncollectible = "uncollectible",
        /// Closed without a charge: forgiven, cancelled, or passed over during a pause.
        Void = "void",
    }
}
