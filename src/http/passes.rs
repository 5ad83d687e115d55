//! The server's own signatures: the secret behind them, and the tickets that are used up.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use aws_lc_rs::rand;
use uuid::Uuid;

use crate::{
    auth::{PassMint, TICKET_SECONDS},
    job::Timestamp,
    registry::Registry,
    store::{Store, StoreError},
};

/// The name of the secret in the store, where all nodes find the same one.
const SECRET_KEY: &str = "secret";

/// As long as the hash of the signatures.
const SECRET_BYTES: usize = 32;

/// For how long a used ticket is remembered: beyond its time, since nodes' clocks differ.
const SPENT_FOR: Duration = Duration::from_secs(2 * TICKET_SECONDS);

/// How soon the store is asked again for the secret.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Signs watch tokens, tickets and cookies, and sees to it that a ticket is used once.
pub struct Passes {
    store: Arc<dyn Store>,
    /// Made when it is first needed: the store may not answer when the server starts.
    known: ArcSwapOption<Known>,
}

/// The secret as it is in the store, and what was made of it.
struct Known {
    secret: Arc<[u8]>,
    mint: Arc<PassMint>,
}

impl Passes {
    /// Over the store that all nodes share.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            known: ArcSwapOption::empty(),
        }
    }

    /// What signs and reads.
    ///
    /// # Errors
    /// The secret is not known yet, and the store does not answer.
    pub(super) async fn mint(&self, now: Timestamp) -> Result<Arc<PassMint>, StoreError> {
        if let Some(known) = &*self.known.load() {
            return Ok(Arc::clone(&known.mint));
        }
        let mut secret = [0; SECRET_BYTES];
        rand::fill(&mut secret).map_err(|_| {
            StoreError::Unavailable("the operating system gives no random bytes".to_owned())
        })?;
        self.agree_on(&secret, now).await
    }

    /// Gives the secret to a store that came back empty, where the nodes have to find it: what was
    /// signed with it stays good. Tries until the store answers.
    pub async fn put_back(&self, registry: &Registry) {
        let known = self.known.load_full();
        let Some(known) = known else {
            return;
        };
        while let Err(error) = self.agree_on(&known.secret, registry.now()).await {
            tracing::debug!(%error, "the secret of watch tokens and tickets is not put back yet");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// What is in the store is the secret; `wanted`, when there is none.
    async fn agree_on(&self, wanted: &[u8], now: Timestamp) -> Result<Arc<PassMint>, StoreError> {
        let put = self.store.put_if_absent(SECRET_KEY, wanted, None, now);
        let secret = put.await?;
        let known = Known {
            mint: Arc::new(PassMint::new(&secret)),
            secret,
        };
        let mint = Arc::clone(&known.mint);
        self.known.store(Some(Arc::new(known)));
        Ok(mint)
    }

    /// Uses a ticket up; says whether this was its first use, on any node.
    ///
    /// # Errors
    /// The store does not answer: the ticket may be used up or not.
    pub(super) async fn spend(&self, ticket: Uuid, now: Timestamp) -> Result<bool, StoreError> {
        let key = format!("ticket:{ticket}");
        // Whose value is found there was the first.
        let mine = Uuid::now_v7();
        let found = self
            .store
            .put_if_absent(&key, mine.as_bytes(), Some(SPENT_FOR), now)
            .await?;
        Ok(*found == *mine.as_bytes())
    }
}

impl fmt::Debug for Passes {
    /// Without the secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Passes").finish_non_exhaustive()
    }
}
