//! Why a statement did not succeed, and what that says about the next try.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use crate::domain::standstill::Standstill;

/// Why a statement did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database can't be reached, went away, or won't serve us now: the same call may succeed
    /// later, whatever it says.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The same, said of a first connection.
    #[error("the database at {place} is not available")]
    Unreachable {
        /// Where it was looked for.
        place: String,
        /// What came of it.
        source: sqlx::Error,
    },
    /// The role that billd connects as lacks a right. It may be given, so an outcome waits for that.
    #[error(
        "the database user lacks a right that billd needs; `billd check` says what else is missing"
    )]
    Denied(#[source] sqlx::Error),
    /// A row is locked by somebody else for too long, or the server is too slow: the same call may
    /// succeed later, and a smaller one sooner.
    #[error("the database is busy")]
    Busy(#[source] sqlx::Error),
    /// No answer within the time limit. The statement may have been carried out.
    #[error("the database did not answer within {0:?}")]
    TooSlow(Duration),
    /// The database refused what the statement says: repeating it can't help.
    #[error("the database refused the statement")]
    Refused(#[source] sqlx::Error),
    /// The book doesn't charge at present: nothing was begun.
    #[error("nothing was begun: {0}")]
    OnHold(Standstill),
    /// It would pass a ceiling: nothing was begun.
    #[error("{0}")]
    Ceiling(String),
    /// A row breaks a promise that the schema makes.
    #[error("a row breaks a promise of the schema: {0}")]
    Corrupt(String),
    /// Migrations could not be read or applied.
    #[error("the migrations can't be applied")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// The database URL can't be understood.
    #[error("the database URL can't be understood")]
    Url(#[source] sqlx::Error),
    /// What is asked for can't go through what stands between us and the database.
    #[error("{0}")]
    Pooler(&'static str),
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable(_)
            | Self::Unreachable { .. }
            | Self::Denied(_)
            | Self::Busy(_)
            | Self::TooSlow(_)
            | Self::OnHold(_) => true,
            Self::Refused(_)
            | Self::Ceiling(_)
            | Self::Corrupt(_)
            | Self::Migration(_)
            | Self::Url(_)
            | Self::Pooler(_) => false,
        }
    }

    /// Whether the statement speaks of something that the schema does not have.
    pub fn is_of_another_schema(&self) -> bool {
        let (Self::Unavailable(error) | Self::Refused(error)) = self else {
            return false;
        };
        code_of(error).is_some_and(|code| code.starts_with("42"))
    }

    /// Whether one row may be what holds up a batch of them.
    pub fn is_about_rows(&self) -> bool {
        match self {
            Self::Busy(_) | Self::TooSlow(_) | Self::Refused(_) | Self::Corrupt(_) => true,
            Self::Unavailable(_)
            | Self::Unreachable { .. }
            | Self::Denied(_)
            | Self::OnHold(_)
            | Self::Ceiling(_)
            | Self::Migration(_)
            | Self::Url(_)
            | Self::Pooler(_) => false,
        }
    }

    /// Whether the database is away and may be back soon: not if it does not know this user or this database.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Unavailable(error) | Self::Unreachable { source: error, .. } => {
                !code_of(error).is_some_and(|code| code.starts_with("28") || code.starts_with("3D"))
            }
            Self::Busy(_) | Self::TooSlow(_) => true,
            Self::Denied(_)
            | Self::Refused(_)
            | Self::OnHold(_)
            | Self::Ceiling(_)
            | Self::Corrupt(_)
            | Self::Migration(_)
            | Self::Url(_)
            | Self::Pooler(_) => false,
        }
    }
}

/// What the library says of a connection in its own terms, in plain words.
fn in_plain_words(error: sqlx::Error) -> sqlx::Error {
    let said = if let sqlx::Error::Protocol(said) = &error {
        said.as_str()
    } else if matches!(&error, sqlx::Error::Io(error) if is_closed(error.kind())) {
        CLOSED_AT_ONCE
    } else if matches!(error, sqlx::Error::PoolTimedOut) {
        NO_CONNECTION
    } else {
        ""
    };
    let words = match said {
        CLOSED_AT_ONCE | NO_CONNECTION => said,
        // It was closed before the answer.
        _ if said.contains("SSLRequest: 0x00") => CLOSED_AT_ONCE,
        _ if said.contains("SSLRequest") => OTHER_PROTOCOL,
        _ => return error,
    };
    sqlx::Error::Io(io::Error::other(words.to_owned()))
}

const NO_CONNECTION: &str = "no connection was free in time: either all of database.connections_max \
     are in use, or the server gives no more (a connection limit of the user or the database, \
     max_connections)";

const OTHER_PROTOCOL: &str =
    "what answers there does not speak PostgreSQL's protocol; is the port right?";

fn is_closed(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

const CLOSED_AT_ONCE: &str = "the connection was closed without an answer: a proxy that has no server \
     behind it (no leader?), or a server that is going down";

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let error = in_plain_words(error);
        let code = code_of(&error);
        let is_refused = match code.as_deref() {
            // The lock or the statement took too long.
            Some("55P03" | "57014") => return Self::Busy(error),
            Some(CEILING) => {
                let message = error.as_database_error().map(|it| it.message().to_owned());
                return Self::Ceiling(message.unwrap_or_default());
            }
            Some("42501") => return Self::Denied(error),
            Some(code) => speaks_of_the_row(code),
            None => is_our_own(&error),
        };
        if is_refused {
            Self::Refused(error)
        } else {
            Self::Unavailable(error)
        }
    }
}

/// The SQLSTATE that the server gave, if it is the server's error.
fn code_of(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
}

/// `billd_internal.count_asked` would pass a ceiling.
const CEILING: &str = "BL001";

/// SQLSTATE classes that speak of the rows: cardinality, data, constraints, views with check, and
/// `raise` of a trigger. All others (a server that is read-only, a password that was changed, a
/// deadlock) speak of the server's condition, and an outcome must outlast that.
fn speaks_of_the_row(code: &str) -> bool {
    ["21", "22", "23", "44", "P0"]
        .iter()
        .any(|class| code.starts_with(class))
}

/// Whether a value could not be computed with, and nothing else is wrong.
pub(super) fn is_data_exception(error: &sqlx::Error) -> bool {
    code_of(error).is_some_and(|code| code.starts_with("22"))
}

/// Errors of the client's own that speak of the statement; all others speak of the connection.
fn is_our_own(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::RowNotFound
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Encode(_)
            | sqlx::Error::Decode(_)
    )
}
