//! PostgreSQL among the stores under test.

use std::sync::Arc;

use async_trait::async_trait;
use progressd::store::{Postgres, PostgresSettings, Store};

use super::{Backend, EventBounds};
use crate::support::{pgbouncer, postgres_server::database};

struct InPostgres {
    store: Arc<dyn Store>,
    settings: PostgresSettings,
}

#[async_trait]
impl Backend for InPostgres {
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn goes_by_callers_clock(&self) -> bool {
        true
    }

    async fn another_node(&self) -> Option<Arc<dyn Store>> {
        Some(open(&self.settings).await)
    }

    async fn reopened(self: Box<Self>) -> Option<Box<dyn Backend>> {
        let Self { store, settings } = *self;
        drop(store);
        let store = open(&settings).await;
        Some(Box::new(Self { store, settings }))
    }
}

async fn open(settings: &PostgresSettings) -> Arc<dyn Store> {
    let opened = Postgres::open(settings.clone()).await;
    Arc::new(opened.expect("a database"))
}

/// A database of its own.
pub(super) async fn fresh(bounds: EventBounds) -> Box<dyn Backend> {
    let settings = PostgresSettings {
        events_per_job: bounds.count,
        event_bytes_per_job: bounds.bytes,
        ..database().await.settings()
    };
    Box::new(InPostgres {
        store: open(&settings).await,
        settings,
    })
}

/// A database of its own, behind a pooler that lends sessions for single transactions.
pub(super) async fn fresh_behind_a_pooler(bounds: EventBounds) -> Box<dyn Backend> {
    let database = database().await;
    let pooler = tokio::task::spawn_blocking(pgbouncer::before_shared).await;
    let pooled = pooler.expect("a pooler").before(&database);
    let settings = PostgresSettings {
        url: pooled.url,
        listen_url: Some(database.url.clone()),
        events_per_job: bounds.count,
        event_bytes_per_job: bounds.bytes,
        ..database.settings()
    };
    Box::new(InPostgres {
        store: open(&settings).await,
        settings,
    })
}
