//! What one watcher was sent, over all its connections.

use std::collections::BTreeSet;

use super::{Case, Rule, event_of};
use crate::faults::record::{Block, Connection, End};

/// What a watcher knows.
#[derive(Default)]
struct Knowledge {
    /// Every event up to here has been sent to it, or need not be.
    position: Option<u64>,
    /// Up to here it was told that events are missing.
    gap: u64,
    events: BTreeSet<u64>,
    /// The seq of the terminal status, once it has come.
    end: Option<u64>,
}

impl Case<'_> {
    pub(super) fn check_watcher(&mut self, watcher: usize, connections: &[&Connection]) {
        let mut knowledge = Knowledge::default();
        for connection in connections {
            self.check_connection(watcher, connection, &mut knowledge);
        }
        if knowledge.end.is_none() {
            let ends: Vec<_> = connections.iter().map(|it| it.end).collect();
            let ends = &ends[ends.len().saturating_sub(5)..];
            let what =
                format!("watcher {watcher} never got the end; its last connections: {ends:?}");
            self.broken(Rule::EndReaches, what);
        }
    }

    fn check_connection(&mut self, watcher: usize, connection: &Connection, knows: &mut Knowledge) {
        if connection.end == End::NothingMore {
            // Whoever is told so must have been told everything.
            if knows.end.is_none() || connection.cursor < knows.end || !connection.blocks.is_empty()
            {
                let what = format!("204 for watcher {watcher} at {:?}", connection.cursor);
                self.broken(Rule::NothingMore, what);
            }
            return;
        }
        // The present status comes again, though its id be that of the cursor; an event does not.
        let mut last_id = connection.cursor.map(|cursor| cursor.saturating_sub(1));
        let mut last_status = 0;
        let mut is_over = false;
        if connection.cursor == Some(0) {
            // From the start, whatever there was before.
            knows.position = Some(0);
        } else if connection.cursor.is_none() {
            // Without a cursor the present status is where it begins.
            knows.position = None;
        }
        if self.is_epilogue(connection) {
            // A finished job's only status, which tells of a gap, comes after the events that are left.
            let last = connection.blocks.last();
            let last = last.and_then(|block| self.shown(&block.data));
            let gap = last.filter(|shown| shown.has_gap);
            knows.gap = gap.map_or(knows.gap, |shown| shown.seq);
        }
        for (place, block) in connection.blocks.iter().enumerate() {
            if is_over {
                let what = format!("watcher {watcher}: {} {}", block.event, block.data);
                self.broken(Rule::NothingAfterTheEnd, what);
            }
            if let Some(id) = block.id {
                if last_id.is_some_and(|last| id <= last) {
                    let what = format!("watcher {watcher}: {id} after {last_id:?}");
                    self.broken(Rule::IdsRise, what);
                }
                last_id = Some(id);
            }
            match &*block.event {
                "status" => {
                    let Some(shown) = self.shown(&block.data) else {
                        continue;
                    };
                    if block.id.is_some_and(|id| id != shown.seq) || shown.seq < last_status {
                        let what = format!("id {:?} of seq {}", block.id, shown.seq);
                        self.broken(
                            Rule::IdIsSeq,
                            format!("watcher {watcher}: {what}, after {last_status}"),
                        );
                    }
                    last_status = shown.seq;
                    if shown.has_gap {
                        self.check_gap(watcher, shown.seq);
                        knows.gap = knows.gap.max(shown.seq);
                    }
                    if knows.position.is_none() {
                        knows.position = Some(shown.seq);
                    }
                    if let Some(id) = block.id {
                        self.passes(watcher, knows, id);
                    }
                    if shown.is_terminal() {
                        if connection.cursor == Some(shown.seq) {
                            let what = format!("watcher {watcher} has the end and gets it again");
                            self.broken(Rule::NothingMore, what);
                        }
                        self.passes(watcher, knows, shown.seq);
                        knows.end = Some(shown.seq);
                        is_over = true;
                    }
                }
                _ => {
                    if place == 0 && block.id.is_some() && !self.is_epilogue(connection) {
                        let what = format!("watcher {watcher}: first {}", block.event);
                        self.broken(Rule::StatusFirst, what);
                    }
                    self.check_event(watcher, block, knows);
                }
            }
        }
    }

    /// Whether a stream may be that of a finished job, which begins with what its watcher missed.
    fn is_epilogue(&self, connection: &Connection) -> bool {
        let mut statuses = connection
            .blocks
            .iter()
            .filter_map(|block| self.shown(&block.data));
        self.end().is_some() && statuses.all(|shown| shown.is_terminal())
    }

    fn check_event(&mut self, watcher: usize, block: &Block, knows: &mut Knowledge) {
        let Some((number, seq)) = event_of(block) else {
            return;
        };
        let own = format!(r#""job":"{}""#, self.job);
        if !block.data.contains(&own) {
            let what = format!("watcher {watcher}: {}", block.data);
            self.broken(Rule::OwnJob, what);
        }
        if !knows.events.insert(number) {
            let what = format!("watcher {watcher}: event {number} at {seq}");
            self.broken(Rule::EventTwice, what);
        }
        // Itself it does not miss.
        self.passes(watcher, knows, seq - 1);
        knows.position = knows.position.max(Some(seq));
    }

    /// The watcher's position moves to `seq`: every event up to there must have come.
    fn passes(&mut self, watcher: usize, knows: &mut Knowledge, seq: u64) {
        let Some(position) = knows.position else {
            return;
        };
        if seq <= position {
            return;
        }
        let missing: Vec<u64> = self
            .events
            .range(position + 1..=seq)
            .filter(|(seq, number)| **seq > knows.gap && !knows.events.contains(number))
            .map(|(_, number)| *number)
            .collect();
        if !missing.is_empty() {
            let what = format!("watcher {watcher} passes {seq} without events {missing:?}");
            self.broken(Rule::EventLost, what);
        }
        knows.position = Some(seq);
    }

    /// A gap may be told only when there were more events than are kept.
    fn check_gap(&mut self, watcher: usize, seq: u64) {
        let told = self.reports.iter();
        let told = told.filter(|report| matches!(report.deed, super::Deed::Event(_)));
        if told.count() <= self.promises.kept_events {
            let what = format!("watcher {watcher} is told of a gap at {seq}");
            self.broken(Rule::Gap, what);
        }
    }
}
