//! What a watcher is told when it joins, in its own vocabulary.

use std::borrow::Cow;

use crate::{
    frame::{event_block, status_block},
    hub::{Snapshot, as_text, last_block},
    job::{Event, Seq, Status},
    view::View,
};

/// A job as one watcher joins it.
pub(super) struct Script<'s> {
    /// The view that it looks through.
    pub(super) view: Option<&'s View>,
    pub(super) snapshot: &'s Snapshot,
    /// Whether it has missed events that are not kept any more.
    pub(super) has_gap: bool,
}

impl Script<'_> {
    /// Whether it is told of the state.
    pub(super) fn has_status(&self) -> bool {
        self.view.is_none_or(View::has_status)
    }

    /// The present status.
    pub(super) fn status_block(&self, retry_ms: Option<u64>, id: Option<Seq>) -> String {
        let Some(view) = self.view else {
            return status_block(&self.json(), retry_ms, id);
        };
        match &self.snapshot.data {
            Some(data) if !(self.has_gap && view.tells_gaps()) => {
                view.status_block(as_text(data), retry_ms, id)
            }
            _ => {
                let (job, json) = (&self.snapshot.job, as_text(&self.snapshot.json));
                view.status_block(&view.data(job, json, self.has_gap), retry_ms, id)
            }
        }
    }

    /// An event, when it is passed on.
    pub(super) fn event_block(&self, event: &Event) -> Option<String> {
        match self.view {
            Some(view) => view.event_block(event),
            None => Some(event_block(event)),
        }
    }

    /// The end of a finished job, when it is told.
    pub(super) fn last_block(&self) -> Option<String> {
        let job = &self.snapshot.job;
        match self.view {
            Some(view) => view.last_block(job, as_text(&self.snapshot.json), self.has_gap),
            None => Some(last_block(job, &self.json())),
        }
    }

    /// The status as it is without a view; `"gap": true` tells this watcher that it has missed events.
    fn json(&self) -> Cow<'_, str> {
        let json = as_text(&self.snapshot.json);
        match self.has_gap {
            true => Status::json_with(json, "\"gap\":true").into(),
            false => json.into(),
        }
    }
}
