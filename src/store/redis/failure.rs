//! What went wrong between this node and Redis, as a sentence for operators. No password is in any.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::StoreError;

/// Why there is no connection.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// It may be there later.
    Away(String),
    /// It will not be, as things are configured.
    Wrong(String),
}

impl Failure {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Away(reason) | Self::Wrong(reason) => reason,
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let reason = sentence(&error);
        let is_wrong = match error.kind() {
            ErrorKind::AuthenticationFailed
            | ErrorKind::InvalidClientConfig
            | ErrorKind::RESP3NotSupported
            | ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::ResponseError) => true,
            _ => matches!(error.code(), Some("NOAUTH" | "WRONGPASS")),
        };
        match is_wrong {
            true => Self::Wrong(reason),
            false => Self::Away(reason),
        }
    }
}

/// Whether what answers like this is not the Redis to talk to any more, and another connection may
/// find the one that is.
pub(super) fn is_misplaced(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
    ) || error.code() == Some("NOAUTH")
}

/// Whether a script is not known there: Redis has restarted, or was told to forget all.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// What an operator is told.
pub(super) fn sentence(error: &RedisError) -> String {
    let told = match error.kind() {
        ErrorKind::AuthenticationFailed => "it refuses the user or the password",
        ErrorKind::Server(ServerErrorKind::ReadOnly) => "it is a replica, which takes no changes",
        ErrorKind::Server(ServerErrorKind::MasterDown) => "it is a replica without its master",
        ErrorKind::Server(ServerErrorKind::BusyLoading) => "it is still loading its data",
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => {
            "it is part of a cluster that keeps this job on another server"
        }
        ErrorKind::Server(ServerErrorKind::ClusterDown) => "its cluster is down",
        ErrorKind::Server(ServerErrorKind::NoPerm) => "its user may not do what progressd needs",
        // The answer itself would be told, and that is somebody's data.
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => "it answered something unexpected",
        _ => match error.code() {
            Some("OOM") => "its memory is full",
            Some("NOAUTH") => "it wants a password",
            Some("WRONGPASS") => "it refuses the user or the password",
            Some("BUSY") => "it is busy with somebody's script",
            Some("MISCONF") => "it cannot write its data to disk, and takes no changes",
            Some("NOREPLICAS") => "it has too few replicas to take changes",
            _ if error.is_timeout() => "it did not answer in time",
            _ if error.is_connection_dropped() => "the connection broke",
            _ => return format!("Redis: {error}"),
        },
    };
    format!("Redis: {told}")
}

/// An error that the store's callers see.
pub(super) fn unavailable(error: &RedisError) -> StoreError {
    StoreError::Unavailable(sentence(error))
}

/// Something in Redis is not what this version writes.
pub(super) fn unreadable(what: &str, error: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("Redis: {what} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use redis::make_extension_error;

    use super::*;

    #[test]
    fn what_only_the_operator_can_mend_is_told_from_what_passes() {
        let of_code = |code: &str| Failure::from(make_extension_error(code.to_owned(), None));
        assert!(matches!(of_code("WRONGPASS"), Failure::Wrong(_)));
        assert!(matches!(of_code("NOAUTH"), Failure::Wrong(_)));
        let full = of_code("OOM");
        assert!(matches!(full, Failure::Away(_)));
        assert_eq!(full.reason(), "Redis: its memory is full");
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert!(matches!(
            Failure::from(RedisError::from(refused)),
            Failure::Away(_)
        ));
    }
}
