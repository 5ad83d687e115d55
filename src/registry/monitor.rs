//! Whether the store answers: in a metric, and in the log when that changes.

use std::{sync::Arc, time::Duration};

use super::Inner;

/// How often the store is asked for a sign of life.
const INTERVAL: Duration = Duration::from_secs(1);

/// Asks for ever.
pub(super) async fn watch_the_store(inner: Arc<Inner>) {
    let mut was_up = true;
    loop {
        let answer = inner.store.ping().await;
        inner.metrics.store_answers(answer.is_ok());
        if answer.is_err() {
            inner.is_unreachable();
        }
        match &answer {
            Err(error) if was_up => tracing::error!(%error, "the store does not answer"),
            Ok(()) if !was_up => tracing::info!("the store answers again"),
            _ => {}
        }
        was_up = answer.is_ok();
        tokio::time::sleep(INTERVAL).await;
    }
}
