//! Redis among the stores under test: plain, behind TLS and a password, and as a cluster.

use std::sync::Arc;

use async_trait::async_trait;
use progressd::store::{Redis, RedisSettings, Store};
use tokio::sync::OnceCell;

use super::{Backend, EventBounds};
use crate::support::redis_server::{Options, RedisServer, own_prefix};

/// A prefix of a server, and a node that uses it.
struct InRedis {
    store: Arc<dyn Store>,
    settings: RedisSettings,
}

#[async_trait]
impl Backend for InRedis {
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn goes_by_callers_clock(&self) -> bool {
        true
    }

    async fn another_node(&self) -> Option<Arc<dyn Store>> {
        Some(open(&self.settings).await)
    }
}

async fn open(settings: &RedisSettings) -> Arc<dyn Store> {
    Arc::new(Redis::open(settings.clone()).await.expect("Redis"))
}

async fn fresh_on(server: &RedisServer, bounds: EventBounds) -> Box<dyn Backend> {
    let settings = RedisSettings {
        events_per_job: bounds.count,
        event_bytes_per_job: bounds.bytes,
        ..server.settings(&own_prefix())
    };
    Box::new(InRedis {
        store: open(&settings).await,
        settings,
    })
}

/// An empty one.
pub(super) async fn fresh(bounds: EventBounds) -> Box<dyn Backend> {
    fresh_on(RedisServer::shared().await, bounds).await
}

/// An empty one behind TLS and a password.
pub(super) async fn fresh_secured(bounds: EventBounds) -> Box<dyn Backend> {
    static SERVER: OnceCell<RedisServer> = OnceCell::const_new();
    let options = Options {
        password: Some("a-password-of-redis"),
        tls: true,
        ..Options::default()
    };
    let server = SERVER.get_or_init(|| RedisServer::with(options)).await;
    fresh_on(server, bounds).await
}

/// An empty one in a cluster, which refuses what spans places that may be on different servers.
pub(super) async fn fresh_cluster(bounds: EventBounds) -> Box<dyn Backend> {
    static SERVER: OnceCell<RedisServer> = OnceCell::const_new();
    let options = Options {
        cluster: true,
        ..Options::default()
    };
    let server = SERVER.get_or_init(|| RedisServer::with(options)).await;
    fresh_on(server, bounds).await
}
