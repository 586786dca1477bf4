//! How a command ends.

use crate::causes::chain;
use crate::domain::standstill::Reason;
use crate::gateway::{CallError, GatewayError};
use crate::settings::SettingsError;
use crate::store::StoreError;

/// How a command ended, for whoever called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Something unexpected failed.
    Failed = 1,
    /// Options that contradict each other.
    Usage = 2,
    /// Settings are missing or wrong.
    Settings = 3,
    /// The database can't be reached.
    Database = 4,
    /// The schema is not this program's.
    Schema = 5,
    /// The gateway can't be reached, or refuses the key.
    Gateway = 6,
    /// Something is still due or unknown, or a stop cut calls short.
    WorkLeft = 7,
    /// Declined or refused: no money moved.
    Declined = 8,
    /// Something stands against it, or a person did not say yes.
    NotDone = 9,
    /// The gateway's books and ours differ, and a person must look.
    Findings = 10,
    /// A part of the daemon ended by itself, which is a bug; the rest stopped in order.
    PartDied = 11,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Settings => 3,
            Self::Database => 4,
            Self::Schema => 5,
            Self::Gateway => 6,
            Self::WorkLeft => 7,
            Self::Declined => 8,
            Self::NotDone => 9,
            Self::Findings => 10,
            Self::PartDied => 11,
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub struct Failure {
    /// Which class of trouble.
    pub exit: Exit,
    /// What happened; its chain is printed.
    pub error: anyhow::Error,
}

impl Failure {
    /// What happened and what lay behind it, in one line.
    pub fn in_words(&self) -> String {
        chain(&*self.error)
    }

    /// Whether the database is away, and may be back soon.
    pub(super) fn may_pass(&self) -> bool {
        let error = self.error.downcast_ref::<StoreError>();
        error.is_some_and(StoreError::is_away)
    }

    pub(super) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: error.into(),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::new(Exit::Settings, error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::Unavailable(_)
            | StoreError::Unreachable { .. }
            | StoreError::Busy(_)
            | StoreError::TooSlow(_) => Exit::Database,
            StoreError::OnHold(standstill) => match standstill.reason {
                Reason::FailoverHold => Exit::Database,
                Reason::Stopped | Reason::Elsewhere | Reason::Clock | Reason::OtherAccount => {
                    Exit::NotDone
                }
            },
            StoreError::Ceiling(_) => Exit::NotDone,
            StoreError::Url(_) | StoreError::Pooler(_) => Exit::Settings,
            StoreError::Migration(_) | StoreError::Denied(_) => Exit::Schema,
            StoreError::Refused(_) | StoreError::Corrupt(_) => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        Self::new(Exit::Gateway, error)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let exit = match &error {
            CallError::Gateway(_) => Exit::Gateway,
            CallError::Refused { .. } => Exit::Declined,
        };
        Self::new(exit, error)
    }
}

/// Parts of a sum that is named beside them must fit into it.
pub(super) fn parts_fit(
    amount: i64,
    tax_free: Option<i64>,
    vat_amount: Option<i64>,
) -> Result<(), Failure> {
    let (tax_free, vat) = (tax_free.unwrap_or_default(), vat_amount.unwrap_or_default());
    if tax_free.saturating_add(vat) <= amount {
        return Ok(());
    }
    let complaint = format!(
        "--tax-free {tax_free} and --vat-amount {vat} are parts of the sum, and together more than --amount {amount}"
    );
    Err(Failure::new(Exit::Usage, anyhow::Error::msg(complaint)))
}

/// Something stands against it.
pub(super) fn not_done(complaint: impl Into<String>) -> Failure {
    Failure::new(Exit::NotDone, anyhow::Error::msg(complaint.into()))
}
