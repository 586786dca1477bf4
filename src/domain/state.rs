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

/// Where a standing agreement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubscriptionState {
    /// Charged when due. Entered at birth, and by hand.
    Active,
    /// The last debt was finally declined; nothing is charged. Left by hand, when the card was
    /// mended, or by billd when the debt turns out to be paid after all.
    PastDue,
    /// Not charged. Entered and left by hand; periods that fall due in between are passed over.
    Paused,
    /// Not charged any more. Entered by hand.
    Cancelled,
}

impl SubscriptionState {
    /// Reads the word of the schema.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "active" => Some(Self::Active),
            "past_due" => Some(Self::PastDue),
            "paused" => Some(Self::Paused),
            "cancelled" => Some(Self::Cancelled),
            _ => None,
        }
    }

    /// The word of the schema.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Where the debt of one period stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CycleState {
    /// Owed. The only state in which an attempt may begin. A crash leaves it with an attempt
    /// `started`, which reconciliation picks up when the lease has ended.
    Due,
    /// The last attempt's fate is unknown; the gateway is being asked.
    Unresolved,
    /// Money moved.
    Paid,
    /// Nothing was to be charged: a trial, or a sum below what the gateway charges.
    Free,
    /// Finally declined.
    Uncollectible,
    /// Closed without a charge: forgiven, cancelled, or passed over during a pause.
    Void,
}

impl CycleState {
    /// Reads the word of the schema.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "due" => Some(Self::Due),
            "unresolved" => Some(Self::Unresolved),
            "paid" => Some(Self::Paid),
            "free" => Some(Self::Free),
            "uncollectible" => Some(Self::Uncollectible),
            "void" => Some(Self::Void),
            _ => None,
        }
    }
}
