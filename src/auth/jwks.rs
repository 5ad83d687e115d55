//! Keys of an issuer that come and go: a JWK Set (RFC 7517) in a file or behind https.
//!
//! One task reads the set, and requests look at what it has read last. A token whose `kid` is unknown asks the task to
//! read again, once a minute at most, and waits for that reading and no other: so a flood of invented ones costs the
//! issuer one request a minute, and us nothing. Whatever goes wrong, the keys that were read last stay: an issuer that
//! is down stops nobody whom it let in.

mod fetch;
mod key_set;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use self::fetch::FetchError;
use crate::config::{JwksLocation, JwtAlgorithm};

pub(super) use self::key_set::KeySet;

/// How often the set is read although nobody asks, so that keys leave which the issuer has withdrawn.
const INTERVAL: Duration = Duration::from_secs(3_600);

/// How often unknown `kid`s may have the set read.
const UNKNOWN_INTERVAL: Duration = Duration::from_secs(60);

/// The longest that one reading takes, from the connection to the last byte.
const PATIENCE: Duration = Duration::from_secs(5);

/// How soon the first reading is tried again when it failed; doubled with each failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// How soon a later reading is tried again, and the longest wait before the first success.
const RETRY: Duration = Duration::from_secs(60);

/// The keys of one issuer. Dropping it ends its task.
pub(super) struct Jwks {
    state: watch::Receiver<State>,
    wishes: Arc<Wishes>,
    _task: AbortOnDropHandle<()>,
}

/// Reads the bytes of the set.
type Fetch =
    Box<dyn Fn() -> BoxFuture<'static, Result<Vec<u8>, FetchError>> + Send + Sync + 'static>;

/// What requests look at.
#[derive(Clone)]
struct State {
    keys: Arc<KeySet>,
    is_reading: bool,
    /// How many readings have ended.
    readings: u64,
    /// From when on an unknown `kid` may have the set read; `None` until the first reading has succeeded, which is
    /// tried again and again anyway.
    asks_from: Option<Instant>,
}

/// What the task is asked for. A wish that comes while it reads is kept.
#[derive(Default)]
struct Wishes {
    /// An unknown `kid` came.
    unknown: Notify,
    /// The operator wants the set read now.
    reread: Notify,
}

struct Reader {
    fetch: Fetch,
    /// For the log.
    place: String,
    algorithm: JwtAlgorithm,
    state: watch::Sender<State>,
    wishes: Arc<Wishes>,
}

impl Jwks {
    /// Begins to read; returns at once, without a key.
    pub(super) fn start(location: JwksLocation, algorithm: JwtAlgorithm) -> Self {
        let place = fetch::shown(&location);
        let fetch = move || -> BoxFuture<'static, _> { Box::pin(fetch::fetch(location.clone())) };
        Self::start_with(Box::new(fetch), place, algorithm)
    }

    fn start_with(fetch: Fetch, place: String, algorithm: JwtAlgorithm) -> Self {
        let (state, receiver) = watch::channel(State {
            keys: Arc::default(),
            is_reading: true,
            readings: 0,
            asks_from: None,
        });
        let wishes = Arc::<Wishes>::default();
        let reader = Reader {
            fetch,
            place,
            algorithm,
            state,
            wishes: Arc::clone(&wishes),
        };
        Self {
            state: receiver,
            wishes,
            _task: AbortOnDropHandle::new(tokio::spawn(reader.run())),
        }
    }

    /// The keys as they were read last.
    pub(super) fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.state.borrow().keys)
    }

    /// Waits for a reading that may bring a key which is not known yet: the one under way, or a new one when it is
    /// time for it. Returns at once when neither is the case. Cancel-safe.
    pub(super) async fn look_again(&self) {
        let mut state = self.state.clone();
        let seen = state.borrow_and_update().clone();
        if !seen.is_reading {
            if seen.asks_from.is_none_or(|from| Instant::now() < from) {
                return;
            }
            self.wishes.unknown.notify_one();
        }
        // An error means that the task has ended, and then nothing comes any more.
        let _ = state.wait_for(|state| state.readings > seen.readings).await;
    }

    /// Has the set read now.
    pub(super) fn reread(&self) {
        self.wishes.reread.notify_one();
    }
}

impl Reader {
    async fn run(self) {
        let mut retry = FIRST_RETRY;
        loop {
            self.state.send_modify(|state| state.is_reading = true);
            let read = self.read().await;
            let next = match &read {
                Ok(keys) => {
                    retry = RETRY;
                    tracing::info!(
                        jwks = self.place,
                        keys = keys.len(),
                        "read the keys of an issuer"
                    );
                    if keys.len() == 0 {
                        tracing::warn!(
                            jwks = self.place,
                            "no key of the issuer fits `{}`",
                            self.algorithm
                        );
                    }
                    INTERVAL
                }
                Err(error) => {
                    tracing::warn!(jwks = self.place, %error, "the keys of an issuer could not be read");
                    let next = retry;
                    retry = (retry * 2).min(RETRY);
                    next
                }
            };
            self.state.send_modify(|state| {
                state.is_reading = false;
                state.readings += 1;
                let now = Instant::now();
                match read {
                    Ok(keys) => {
                        state.keys = Arc::new(keys);
                        state.asks_from.get_or_insert(now);
                    }
                    // It is tried again in a minute anyway: until then nobody has it tried.
                    Err(_) => {
                        let again = now + UNKNOWN_INTERVAL;
                        state.asks_from = state.asks_from.map(|from| from.max(again));
                    }
                }
            });
            tokio::select! {
                () = tokio::time::sleep(next) => {}
                () = self.wishes.reread.notified() => {}
                () = self.unknown_kid() => {}
            }
        }
    }

    async fn read(&self) -> Result<KeySet, FetchError> {
        let bytes = timeout(PATIENCE, (self.fetch)())
            .await
            .map_err(|_| FetchError::Late)??;
        KeySet::parse(&bytes, self.algorithm).map_err(FetchError::Malformed)
    }

    /// Ready when an unknown `kid` may have the set read. A wish that is left over from the last reading is not one.
    async fn unknown_kid(&self) {
        loop {
            self.wishes.unknown.notified().await;
            let now = Instant::now();
            let is_time = self
                .state
                .borrow()
                .asks_from
                .is_some_and(|from| from <= now);
            if is_time {
                let again = now + UNKNOWN_INTERVAL;
                // In one step: who looks in between would be told that nothing is read and that it is too early.
                self.state.send_modify(|state| {
                    state.is_reading = true;
                    state.asks_from = Some(again);
                });
                return;
            }
        }
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Jwks")
            .field("keys", &self.keys().len())
            .finish_non_exhaustive()
    }
}
