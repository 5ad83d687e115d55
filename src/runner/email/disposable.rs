//! Disposable domains: providers of throw-away mailboxes.
//!
//! The list is that of the `mailchecker` crate (over 50,000 domains, renewed with its releases).
//! Its own `is_valid` walks the whole list for every address and brings a second syntax check with
//! it, so only the data is used, hashed once for the process.

use std::{collections::HashSet, sync::LazyLock};

use super::typo;

/// Whether the domain (A-label form, lower case), or one that it is a subdomain of, is disposable.
pub(super) fn is_disposable(domain: &str) -> bool {
    if FORWARDERS.contains(&domain) || typo::is_provider(domain) {
        return false;
    }
    let mut rest = domain;
    // A top-level domain alone is never asked for, since the loop ends at the last dot.
    while let Some((_, parent)) = rest.split_once('.') {
        if DISPOSABLE.contains(rest) {
            return true;
        }
        rest = parent;
    }
    false
}

static DISPOSABLE: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| mailchecker::blacklist().into_iter().collect());

/// Relays that the list has too, but whose addresses belong to one person for good: mail to them
/// arrives.
const FORWARDERS: &[&str] = &[
    "addy.io",
    "anonaddy.com",
    "anonaddy.me",
    "duck.com",
    "mozmail.com",
    "passmail.net",
    "privaterelay.appleid.com",
    "relay.firefox.com",
    "simplelogin.com",
    "simplelogin.io",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disposable_domains_are_told_from_providers_and_relays() {
        for domain in [
            "mailinator.com",
            "yopmail.com",
            "inbox.guerrillamail.com",
            "sharklasers.com",
        ] {
            assert!(is_disposable(domain), "{domain}");
        }
        for domain in [
            "gmail.com",
            "duck.com",
            "proton.me",
            "com",
            "mail.ru",
            "",
            "notmailinator.org",
        ] {
            assert!(!is_disposable(domain), "{domain}");
        }
    }
}
