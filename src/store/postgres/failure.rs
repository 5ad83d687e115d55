//! What a failure of the database means.

use std::io::ErrorKind;

use sqlx::{
    Error,
    postgres::{PgDatabaseError, PgSeverity},
};

use crate::store::StoreError;

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The connection is of no use any more; another may be.
    ConnectionLost,
    /// The same once more: it met another transaction.
    Collision,
    /// Nothing was done: somebody's transaction holds a row.
    Held,
    /// It failed.
    Final,
}

/// What it means, by the SQLSTATE ("PostgreSQL Error Codes" in its manual).
pub(super) fn verdict(error: &Error) -> Verdict {
    let Some(database_error) = of_database(error) else {
        return match error {
            Error::Io(_) | Error::Tls(_) | Error::Protocol(_) => Verdict::ConnectionLost,
            _ => Verdict::Final,
        };
    };
    match database_error.code() {
        // A serialization failure, a deadlock.
        "40001" | "40P01" => Verdict::Collision,
        "55P03" => Verdict::Held,
        // Shutdowns, crashes, and what poolers say when their connection is lost.
        code if code.starts_with("57P") || code.starts_with("08") => Verdict::ConnectionLost,
        _ if is_fatal(database_error) => Verdict::ConnectionLost,
        _ => Verdict::Final,
    }
}

/// Whether a server may be there later that let nobody in: it is not there, or it starts, or it ends.
pub(super) fn may_pass(error: &Error, is_by_socket: bool) -> bool {
    match error {
        // Of a file that the URL names; or of the socket, which is there once the server is.
        Error::Io(error) if error.kind() == ErrorKind::NotFound => is_by_socket,
        Error::Io(error) => error.kind() != ErrorKind::PermissionDenied,
        error => code(error).is_some_and(|code| matches!(code, "57P01" | "57P02" | "57P03")),
    }
}

/// For the log: neither the statement nor a password is in it.
pub(super) fn describe(error: &Error) -> String {
    match of_database(error) {
        Some(error) => {
            let hint = match error.code() {
                "25006" => " (is it a standby?)",
                "55P03" => " (a transaction of somebody else's holds the job)",
                _ => "",
            };
            format!(
                "PostgreSQL says {}{hint} ({})",
                error.message(),
                error.code()
            )
        }
        None => match error {
            Error::Io(error) => format!("connection to PostgreSQL: {error}"),
            Error::Tls(error) => format!("TLS to PostgreSQL: {error}"),
            Error::PoolTimedOut => "PostgreSQL: no connection was free in time".to_owned(),
            error => format!("PostgreSQL: {error}"),
        },
    }
}

pub(super) fn unavailable(error: &Error) -> StoreError {
    StoreError::Unavailable(describe(error))
}

/// The SQLSTATE, when it was the database that refused.
pub(super) fn code(error: &Error) -> Option<&str> {
    of_database(error).map(PgDatabaseError::code)
}

fn of_database(error: &Error) -> Option<&PgDatabaseError> {
    match error {
        Error::Database(error) => error.try_downcast_ref(),
        _ => None,
    }
}

fn is_fatal(error: &PgDatabaseError) -> bool {
    matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
}
