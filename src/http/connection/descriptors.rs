//! How many file descriptors the process may have, and how many connections that allows.

use std::io;

/// Descriptors kept back for everything that is not a client: the listener, a
/// resolver's sockets, standard streams, epoll.
const RESERVE: u64 = 256;

/// More connections than one node holds in any setting we have measured; containers
/// often have a limit of a billion, and no table should be sized for that.
const MOST_CONNECTIONS: u64 = 1_000_000;

/// Raises the soft limit of open file descriptors to the hard one and returns the limit
/// that holds from now on.
///
/// # Errors
/// What the operating system says against reading or setting `RLIMIT_NOFILE`.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// The connection cap for a limit of `descriptors`: what is left after a reserve of 256,
/// at least half of a limit that is itself small, at most a million.
pub fn default_max_connections(descriptors: u64) -> usize {
    let connections = descriptors - RESERVE.min(descriptors / 2);
    usize::try_from(connections.clamp(1, MOST_CONNECTIONS)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_cap_leaves_descriptors_for_everything_else() {
        assert_eq!(default_max_connections(20_000), 19_744);
        assert_eq!(default_max_connections(1024), 768);
        assert_eq!(default_max_connections(256), 128);
        assert_eq!(default_max_connections(0), 1);
        assert_eq!(default_max_connections(u64::MAX), 1_000_000);
    }

    #[test]
    fn raising_the_limit_reaches_the_hard_limit() {
        let raised = raise_descriptor_limit().expect("the soft limit may always be raised");
        let (soft, hard) = rlimit::Resource::NOFILE
            .get()
            .expect("the limit is readable");
        assert_eq!(raised, soft);
        assert_eq!(soft, hard);
    }
}
