//! The sweep that removes jobs whose retention has ended.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::Inner;

/// How many finished jobs one sweep removes before it lets others at the store.
const EXPIRY_SLICE: usize = 1_000;

/// How often jobs whose retention has ended are swept; reads look at the time themselves.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// Sweeps until `stop` is cancelled.
pub(super) async fn expire_forever(inner: Arc<Inner>, stop: CancellationToken) {
    let mut interval = tokio::time::interval(EXPIRY_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        loop {
            let gone_seconds = inner.settings.load().gone_seconds;
            let now = inner.clock.now();
            match inner.store.expire(now, gone_seconds, EXPIRY_SLICE).await {
                Ok(removed) if removed < EXPIRY_SLICE => break,
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => {
                    tracing::warn!(%error, "removing expired jobs failed, trying again in a second");
                    break;
                }
            }
        }
    }
}
