//! What can go wrong with the file.

use thiserror::Error;

use crate::store::StoreError;

/// Why the file did not do what it was asked.
#[derive(Debug, Error)]
pub(super) enum Fault {
    /// It could not be read or written. What was under way has to be begun anew.
    #[error("{0}")]
    File(redb::Error),
    /// Something in it makes no sense. Everything else may be well.
    #[error("the file is damaged: {0} makes no sense")]
    Damaged(String),
    /// There is no room for it.
    #[error("no room is left for {0}")]
    Full(&'static str),
}

impl Fault {
    pub(super) fn damaged(what: &str) -> Self {
        Self::Damaged(what.to_owned())
    }

    /// Whether the transaction in which it came up cannot go on.
    pub(super) fn is_fatal(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

/// The many errors of redb are one here: whatever it could not do, the file is at fault.
macro_rules! from_redb {
    ($($error:ty),+) => {
        $(impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self::File(error.into())
            }
        })+
    };
}

from_redb!(
    redb::Error,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError,
    redb::CompactionError
);

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        Self::Unavailable(fault.to_string())
    }
}
