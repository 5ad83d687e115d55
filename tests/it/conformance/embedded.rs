//! The embedded store among the stores under test.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use progressd::{
    job::Timestamp,
    store::{Embedded, EmbeddedLimits, EmbeddedSettings, Store},
};
use tempfile::TempDir;

use super::{Backend, EventBounds};

struct InFile {
    store: Arc<dyn Store>,
    settings: EmbeddedSettings,
    folder: TempDir,
}

#[async_trait]
impl Backend for InFile {
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn goes_by_callers_clock(&self) -> bool {
        true
    }

    fn renews_at_a_restart(&self) -> bool {
        true
    }

    async fn reopened(self: Box<Self>) -> Option<Box<dyn Backend>> {
        let Self {
            store,
            settings,
            folder,
        } = *self;
        assert_eq!(Arc::strong_count(&store), 1, "the file has to be closed");
        drop(store);
        Some(Box::new(Self {
            store: open(&settings),
            settings,
            folder,
        }))
    }
}

/// Opens the file at the beginning of time: no clock of its own comes between what callers say.
fn open(settings: &EmbeddedSettings) -> Arc<dyn Store> {
    let opened = Embedded::open(settings.clone(), Timestamp::from_micros(0));
    Arc::new(opened.expect("a file of its own"))
}

/// A file of its own.
pub(super) async fn fresh(bounds: EventBounds) -> Box<dyn Backend> {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = EmbeddedSettings {
        path: folder.path().join("jobs.redb"),
        flush: Duration::from_millis(20),
        is_all_durable: false,
        cache_bytes: 16 << 20,
        limits: EmbeddedLimits {
            max_bytes: 1 << 30,
            events_per_job: bounds.count as u64,
            event_bytes_per_job: bounds.bytes as u64,
            event_bytes: 256 << 20,
            names: 1_000_000,
        },
    };
    Box::new(InFile {
        store: open(&settings),
        settings,
        folder,
    })
}
