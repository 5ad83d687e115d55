//! Tokens that have been verified: a worker that reports a thousand times a second has its signature checked once.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;

use super::{KeyHash, Principal};

/// How many tokens are remembered for each set of keys. Each has one place, which it shares with others: the one
/// that was verified last stands there. With more workers than that at a time some signatures are checked again.
const PLACES: usize = 1_024;

/// The longest token that is remembered, in bytes, and the most jobs that one may name. What is kept of it is then
/// less than 16 KiB: its texts, and up to 100 bytes more for each job and each text. So all places of a set of keys
/// together take 16 MiB at most, and a few hundred KiB with tokens that name an owner alone.
const MOST_TOKEN_BYTES: usize = 2_048;
const MOST_PATTERNS: usize = 64;

/// The tokens that a set of keys has verified. They go with the keys: whoever has other keys has other tokens too.
pub(super) struct VerifiedTokens(Box<[ArcSwapOption<Verified>]>);

struct Verified {
    /// All that is kept of the token itself.
    hash: KeyHash,
    principal: Principal,
    /// Unix time in seconds at which its signature and its times were found right.
    at: u64,
    /// Of the configuration, in which no earlier entry could have accepted it.
    generation: u64,
}

impl VerifiedTokens {
    /// Whom the token of that hash lets in, when it has been verified in that generation of the configuration and is
    /// sure to hold still.
    pub(super) fn recall(&self, hash: &KeyHash, generation: u64) -> Option<Principal> {
        self.recall_at(hash, generation, unix_seconds())
    }

    /// Remembers whom a token lets in, if there is a generation for which that is sure.
    pub(super) fn remember(
        &self,
        token: &[u8],
        hash: KeyHash,
        principal: &Principal,
        generation: Option<u64>,
    ) {
        let is_small = token.len() <= MOST_TOKEN_BYTES && principal.patterns() <= MOST_PATTERNS;
        if let Some(generation) = generation.filter(|_| is_small) {
            self.remember_at(hash, principal, generation, unix_seconds());
        }
    }

    fn recall_at(&self, hash: &KeyHash, generation: u64, now: u64) -> Option<Principal> {
        let verified = self.place(hash).load();
        let verified = verified.as_ref()?;
        // Before its end, leeway aside, and not before it was found valid: a clock may have been set back. In all
        // other cases the token is verified anew, which alone decides.
        let end = verified.principal.expires_at()?;
        let is_sure = (verified.at..end).contains(&now);
        let is_sure = is_sure && verified.generation == generation;
        (is_sure && verified.hash.is_same(hash)).then(|| verified.principal.clone())
    }

    fn remember_at(&self, hash: KeyHash, principal: &Principal, generation: u64, at: u64) {
        let verified = Verified {
            hash,
            principal: principal.clone(),
            at,
            generation,
        };
        self.place(&hash).store(Some(Arc::new(verified)));
    }

    /// Where the token of that hash stands. Who wants another's place has to be able to sign tokens, and gains nothing
    /// but that the other is verified again.
    fn place(&self, hash: &KeyHash) -> &ArcSwapOption<Verified> {
        &self.0[hash.index_below(self.0.len())]
    }
}

impl Default for VerifiedTokens {
    fn default() -> Self {
        Self((0..PLACES).map(|_| ArcSwapOption::empty()).collect())
    }
}

impl fmt::Debug for VerifiedTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("VerifiedTokens")
            .finish_non_exhaustive()
    }
}

fn unix_seconds() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Admission, JobPattern, Scope};

    fn principal(expires_at: u64) -> Principal {
        principal_with(expires_at, 0)
    }

    fn principal_with(expires_at: u64, patterns: usize) -> Principal {
        let owner = Some("ann".to_owned());
        let scopes = Scope::JobsWrite.into();
        let jobs = vec![JobPattern::new("a*"); patterns];
        let admission = Admission::of_everybody();
        Principal::of_token(owner, scopes, jobs, expires_at, admission)
    }

    #[test]
    fn a_token_is_remembered_from_its_verification_to_its_end() {
        let tokens = VerifiedTokens::default();
        let (hash, principal) = (KeyHash::of(b"token"), principal(200));
        assert_eq!(tokens.recall_at(&hash, 1, 100), None);
        tokens.remember_at(hash, &principal, 1, 100);
        for (now, is_known) in [(100, true), (199, true), (200, false), (99, false)] {
            let known = tokens.recall_at(&hash, 1, now);
            assert_eq!(known.as_ref(), is_known.then_some(&principal), "{now}");
        }
        assert_eq!(tokens.recall_at(&hash, 2, 100), None);
        assert_eq!(tokens.recall_at(&KeyHash::of(b"other"), 1, 100), None);
    }

    #[test]
    fn many_tokens_spread_over_the_places() {
        let tokens = VerifiedTokens::default();
        let hashes: Vec<_> = (0..10 * PLACES)
            .map(|number| KeyHash::of(number.to_string().as_bytes()))
            .collect();
        let is_known = |hash: &&KeyHash| tokens.recall_at(hash, 1, 100).is_some();
        for hash in &hashes {
            tokens.remember_at(*hash, &principal(200), 1, 100);
            assert!(is_known(&hash), "the newest is known");
        }
        let known = hashes.iter().filter(is_known).count();
        assert!(known > PLACES / 2, "{known}");
    }

    #[test]
    fn a_long_token_and_one_for_many_jobs_are_not_remembered() {
        let tokens = VerifiedTokens::default();
        for (length, patterns, is_known) in [
            (MOST_TOKEN_BYTES, MOST_PATTERNS, true),
            (MOST_TOKEN_BYTES + 1, 0, false),
            (100, MOST_PATTERNS + 1, false),
        ] {
            let token = vec![b'a'; length];
            let hash = KeyHash::of(&token);
            tokens.remember(&token, hash, &principal_with(u64::MAX, patterns), Some(1));
            let known = tokens.recall(&hash, 1);
            assert_eq!(known.is_some(), is_known, "{length}, {patterns}");
        }
    }
}
