//! Domains that standards set aside, so that no public mail ever reaches them.

/// How a reserved domain is to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reserved {
    /// Takes no mail anywhere; DNS is not asked.
    Always,
    /// For documentation and tests. RFC 6761 (6.2, 6.5) asks applications to treat these as any
    /// other name, so DNS decides while it may be asked (a test network may well serve them), and
    /// this table only without it.
    WithoutDns,
}

/// Whether the domain (A-label form, lower case) is reserved, and how.
pub(super) fn reserved(domain: &str) -> Option<Reserved> {
    let under = |name: &&str| {
        domain
            .strip_suffix(*name)
            .is_some_and(|front| front.is_empty() || front.ends_with('.'))
    };
    if ALWAYS.iter().any(under) {
        Some(Reserved::Always)
    } else if WITHOUT_DNS.iter().any(under) {
        Some(Reserved::WithoutDns)
    } else {
        None
    }
}

/// RFC 6761 (`invalid`, `localhost`), 6762 (`local`: multicast DNS, never mail), 7686 (`onion`),
/// 8375 (`home.arpa`), 9476 (`alt`).
const ALWAYS: &[&str] = &["invalid", "localhost", "local", "onion", "home.arpa", "alt"];

/// RFC 2606 (2, 3).
const WITHOUT_DNS: &[&str] = &[
    "test",
    "example",
    "example.com",
    "example.net",
    "example.org",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_labels_are_reserved() {
        assert_eq!(reserved("mail.example.com"), Some(Reserved::WithoutDns));
        assert_eq!(reserved("a.b.invalid"), Some(Reserved::Always));
        assert_eq!(reserved("router.home.arpa"), Some(Reserved::Always));
        assert_eq!(reserved("myexample.com"), None);
        assert_eq!(reserved("contest"), None);
        assert_eq!(reserved("example.co"), None);
    }
}
