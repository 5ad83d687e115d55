//! What lets somebody in: an entry of the configuration, for as long as it stays there.
//!
//! A server that reads its configuration anew keeps the admissions of entries that stand there unchanged, and
//! revokes the others; whoever was let in by one of those is told wherever they wait.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use aws_lc_rs::digest::{self, SHA256};
use tokio::sync::{Notify, futures::OwnedNotified};

use crate::config::{ApiKeyConfig, JwtConfig};

/// An entry of the configuration. Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    shared: Arc<Shared>,
}

/// Ready once the entry has left the configuration.
///
/// Thousands of streams wait for the same entry and are polled with every change of their jobs: so a poll takes the
/// lock of the entry's waiting list only when there is something new to put there.
pub struct Revoked {
    shared: Arc<Shared>,
    notified: Pin<Box<OwnedNotified>>,
    registered: Option<Waker>,
}

struct Shared {
    digest: [u8; 32],
    is_revoked: AtomicBool,
    /// Told after the flag was set.
    revocation: Arc<Notify>,
}

impl Admission {
    /// That of everybody, on a server that runs open.
    pub fn of_everybody() -> Self {
        Self::new(&[b"everybody"])
    }

    /// That of an API key: its name, hash, scopes and owner.
    pub fn of_api_key(config: &ApiKeyConfig) -> Self {
        let ApiKeyConfig {
            name,
            sha256,
            scopes,
            owner,
        } = config;
        Self::new(&[
            b"api-key",
            name.as_bytes(),
            sha256.to_string().as_bytes(),
            scopes.to_string().as_bytes(),
            &optional(owner.as_deref().map(str::as_bytes)),
        ])
    }

    /// That of a key for tokens: every setting of its entry.
    pub fn of_jwt(config: &JwtConfig) -> Self {
        let JwtConfig {
            algorithm,
            secret,
            public_key,
            jwks,
            jwks_ca,
            issuer,
            audience,
            default_scope,
            owner_claim,
            scope_claim,
            jobs_claim,
            leeway_seconds,
        } = config;
        let text = |text: &Option<String>| optional(text.as_deref().map(str::as_bytes));
        let ca = jwks_ca.as_ref().map(|path| path.as_os_str());
        Self::new(&[
            b"jwt",
            algorithm.to_string().as_bytes(),
            &optional(secret.as_ref().map(|secret| secret.expose().as_bytes())),
            &optional(public_key.as_ref().map(|key| key.expose().as_bytes())),
            &text(jwks),
            &optional(ca.map(|path| path.as_encoded_bytes())),
            &text(issuer),
            &text(audience),
            default_scope.to_string().as_bytes(),
            owner_claim.as_bytes(),
            scope_claim.as_bytes(),
            jobs_claim.as_bytes(),
            &leeway_seconds.to_be_bytes(),
        ])
    }

    fn new(parts: &[&[u8]]) -> Self {
        let mut hash = digest::Context::new(&SHA256);
        for part in parts {
            // The length keeps neighbours apart.
            hash.update(&part.len().to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finish();
        Self {
            shared: Arc::new(Shared {
                digest: digest.as_ref().try_into().expect("SHA-256 gives 32 bytes"),
                is_revoked: AtomicBool::new(false),
                revocation: Arc::new(Notify::new()),
            }),
        }
    }

    /// SHA-256 over the whole entry: two entries with the same one are the same. For this process alone: where it
    /// leaves, it is hashed with a key.
    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.shared.digest
    }

    /// Whether the entry has left the configuration.
    pub fn is_revoked(&self) -> bool {
        self.shared.is_revoked.load(Ordering::Acquire)
    }

    /// Ready once it has.
    pub fn revoked(&self) -> Revoked {
        Revoked {
            shared: Arc::clone(&self.shared),
            notified: Box::pin(Arc::clone(&self.shared.revocation).notified_owned()),
            registered: None,
        }
    }

    pub(super) fn revoke(&self) {
        self.shared.is_revoked.store(true, Ordering::Release);
        self.shared.revocation.notify_waiters();
    }
}

impl Future for Revoked {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // The flag is set before the list is told, and told is whoever came to be before: so one of the two is seen.
        if self.shared.is_revoked.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        let waker = context.waker();
        if self
            .registered
            .as_ref()
            .is_some_and(|registered| registered.will_wake(waker))
        {
            return Poll::Pending;
        }
        self.registered = Some(waker.clone());
        self.notified.as_mut().poll(context)
    }
}

impl PartialEq for Admission {
    fn eq(&self, other: &Self) -> bool {
        self.shared.digest == other.shared.digest
    }
}

impl Eq for Admission {}

impl fmt::Debug for Admission {
    /// Nothing of the entry, whose secret the digest would let others try.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Admission")
            .field("is_revoked", &self.is_revoked())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Revoked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Revoked").finish_non_exhaustive()
    }
}

/// Tells nothing from something empty.
fn optional(part: Option<&[u8]>) -> Vec<u8> {
    match part {
        None => Vec::new(),
        Some(part) => [b"=", part].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(owner: Option<&str>) -> ApiKeyConfig {
        ApiKeyConfig {
            name: "ci".to_owned(),
            sha256: crate::auth::KeyHash::of(b"key"),
            scopes: "jobs:read".parse().expect("a scope"),
            owner: owner.map(str::to_owned),
        }
    }

    #[test]
    fn an_admission_is_its_entry_and_no_other() {
        let admission = Admission::of_api_key(&key(None));
        assert_eq!(admission, Admission::of_api_key(&key(None)));
        assert_ne!(admission, Admission::of_api_key(&key(Some(""))));
        assert_ne!(
            Admission::of_api_key(&key(Some("ann"))),
            Admission::of_api_key(&key(Some("bob")))
        );
        let other_name = ApiKeyConfig {
            name: "cd".to_owned(),
            ..key(None)
        };
        assert_ne!(admission, Admission::of_api_key(&other_name));
        assert_ne!(admission, Admission::of_everybody());
    }

    #[tokio::test]
    async fn everybody_who_waits_is_told_and_so_is_who_comes_later() {
        let admission = Admission::of_everybody();
        let waiting: Vec<_> = (0..3).map(|_| tokio::spawn(admission.revoked())).collect();
        let not_polled_yet = admission.revoked();
        tokio::task::yield_now().await;
        assert!(!admission.is_revoked());
        admission.revoke();
        for waiting in waiting {
            waiting.await.expect("a task that ends");
        }
        not_polled_yet.await;
        admission.revoked().await;
        assert!(admission.is_revoked());
    }

    #[test]
    fn the_debug_output_shows_no_digest() {
        let admission = Admission::of_api_key(&key(None));
        let shown = format!("{admission:?} {:?}", admission.revoked());
        assert_eq!(shown, "Admission { is_revoked: false, .. } Revoked { .. }");
    }
}
