//! The server's own signatures: the secret behind them, and the tickets that are used up.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::rand;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    auth::{PassMint, TICKET_SECONDS},
    job::Timestamp,
    store::{Store, StoreError},
};

/// The name of the secret in the store, where all nodes find the same one.
const SECRET_KEY: &str = "secret";

/// As long as the hash of the signatures.
const SECRET_BYTES: usize = 32;

/// For how long a used ticket is remembered: beyond its time, since nodes' clocks differ.
const SPENT_FOR: Duration = Duration::from_secs(2 * TICKET_SECONDS);

/// Signs watch tokens, tickets and cookies, and sees to it that a ticket is used once.
#[derive(Debug)]
pub struct Passes {
    store: Arc<dyn Store>,
    /// Made when it is first needed: the store may not answer when the server starts.
    mint: OnceCell<PassMint>,
}

impl Passes {
    /// Over the store that all nodes share.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            mint: OnceCell::new(),
        }
    }

    /// What signs and reads.
    ///
    /// # Errors
    /// The secret is not known yet, and the store does not answer.
    pub(super) async fn mint(&self, now: Timestamp) -> Result<&PassMint, StoreError> {
        let find_secret = async || {
            let mut secret = [0; SECRET_BYTES];
            rand::fill(&mut secret).map_err(|_| {
                StoreError::Unavailable("the operating system gives no random bytes".to_owned())
            })?;
            let secret = self
                .store
                .put_if_absent(SECRET_KEY, &secret, None, now)
                .await?;
            Ok(PassMint::new(&secret))
        };
        self.mint.get_or_try_init(find_secret).await
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
