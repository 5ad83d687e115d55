//! The slots that this node holds, by the names of their jobs.

use std::sync::Arc;

use dashmap::DashMap;

use super::slot::Slot;
use crate::job::JobId;

/// Slots of unfinished jobs.
///
/// A map of many parts, each behind a lock of its own, so that reports on one job do not wait for those on
/// another, and for jobs that come and go only in its own part. A part is locked for single look-ups and
/// never across an await.
#[derive(Default)]
pub(super) struct Slots(DashMap<JobId, Arc<Slot>>);

impl Slots {
    /// The slot that is held under the name.
    pub(super) fn get(&self, job_id: &JobId) -> Option<Arc<Slot>> {
        self.0.get(job_id).map(|slot| Arc::clone(&slot))
    }

    /// Holds a slot, unless one is held under its name already; the one that is held now.
    pub(super) fn hold(&self, slot: Arc<Slot>) -> Arc<Slot> {
        let held = self.0.entry(slot.job_id().clone()).or_insert(slot);
        Arc::clone(&held)
    }

    /// Lets go of that very slot. A newer one of the same name stays.
    pub(super) fn let_go(&self, slot: &Arc<Slot>) {
        let is_it = |_: &JobId, held: &Arc<Slot>| Arc::ptr_eq(held, slot);
        self.0.remove_if(slot.job_id(), is_it);
    }

    /// Keeps those that `is_kept` says yes to. Nobody gets hold of a slot while it is asked about.
    pub(super) fn retain(&self, is_kept: impl Fn(&Arc<Slot>) -> bool) {
        self.0.retain(|_, slot| is_kept(slot));
    }

    /// The slots that `is_wanted` says yes to, and that were held all the time while it was asked.
    pub(super) fn filtered(&self, is_wanted: impl Fn(&Arc<Slot>) -> bool) -> Vec<Arc<Slot>> {
        let wanted = self.0.iter().filter(|slot| is_wanted(slot.value()));
        wanted.map(|slot| Arc::clone(&slot)).collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
