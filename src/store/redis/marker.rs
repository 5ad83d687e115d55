//! What tells an empty Redis from the one that was there before: a key that the first node sets.
//!
//! It holds what nobody else would put there. Where it is missing, exactly one node sets it anew,
//! and all of them see that it is another than before.

use std::sync::{Arc, Mutex};

use redis::{RedisResult, cmd};
use uuid::Uuid;

use super::{address::Line, signals::Signals};

/// The key, and what was found there last.
pub(super) struct Marker {
    key: String,
    /// Held for single looks.
    known: Mutex<Option<String>>,
    signals: Arc<Signals>,
}

impl Marker {
    pub(super) fn new(key: String, signals: Arc<Signals>) -> Self {
        Self {
            key,
            known: Mutex::default(),
            signals,
        }
    }

    /// Looks whether it is there; what was read before, and not found, was then not there either.
    pub(super) async fn check(&self, line: &Line) -> RedisResult<()> {
        let mut connection = line.connection();
        let found: Option<String> = cmd("GET")
            .arg(&self.key)
            .query_async(&mut connection)
            .await?;
        let is_known = {
            let known = self.known.lock().expect("no section under it panics");
            known.is_some() && *known == found
        };
        match is_known {
            true => Ok(()),
            false => self.set(line).await,
        }
    }

    /// Sets it where it is missing, and says so when it is another than before. One that is there is
    /// only read: a Redis whose memory is full can still be asked.
    pub(super) async fn set(&self, line: &Line) -> RedisResult<()> {
        let mut connection = line.connection();
        let mut get = cmd("GET");
        let get = get.arg(&self.key);
        let found: Option<String> = get.query_async(&mut connection).await?;
        let found = match found {
            Some(found) => found,
            None => self.put(line).await?,
        };
        let seen = {
            let mut known = self.known.lock().expect("no section under it panics");
            known.replace(found.clone())
        };
        if seen.is_some_and(|seen| seen != found) {
            tracing::error!("Redis has lost what it held");
            self.signals.emptied();
        }
        Ok(())
    }

    /// Puts one where there is none; the one that is there then.
    async fn put(&self, line: &Line) -> RedisResult<String> {
        let mut connection = line.connection();
        let fresh = Uuid::now_v7().to_string();
        let found: Option<String> = cmd("SET")
            .arg(&self.key)
            .arg(&fresh)
            .arg("NX")
            .arg("GET")
            .query_async(&mut connection)
            .await?;
        Ok(found.unwrap_or(fresh))
    }
}
