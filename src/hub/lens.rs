//! The views that a job's watchers look through: a change is encoded once for each, and for none that nobody uses.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;

use crate::{
    frame::{Frame, FrameKind},
    job::{Event, Job, Seq},
    view::View,
};

use super::ring::Weigh;

/// The views in use at one job.
#[derive(Default)]
pub(super) struct Lenses(Vec<Lens>);

/// A view that somebody looks through.
struct Lens {
    view: Arc<View>,
    readers: usize,
    /// The last id that went out in its words.
    last_id: Seq,
    /// What a status says in its words, made when it is first needed.
    data: Option<Bytes>,
}

/// One frame in every vocabulary that is in use.
pub(super) struct Edition {
    /// The frame as it is without a view; without bytes when nobody reads it so.
    pub(super) native: Frame,
    /// The same in the words of each view that is in use.
    blocks: Option<Arc<[ViewBlock]>>,
}

/// A block in a view's words; empty where it says nothing.
type ViewBlock = (Arc<View>, Bytes);

impl Lenses {
    /// How many watch through views.
    pub(super) fn readers(&self) -> usize {
        self.0.iter().map(|lens| lens.readers).sum()
    }

    /// Counts somebody in.
    pub(super) fn join(&mut self, view: &Arc<View>) {
        match self.find(view) {
            Some(lens) => lens.readers += 1,
            None => self.0.push(Lens {
                view: Arc::clone(view),
                readers: 1,
                last_id: Seq::ZERO,
                data: None,
            }),
        }
    }

    /// Counts somebody out.
    pub(super) fn leave(&mut self, view: &Arc<View>) {
        if let Some(lens) = self.find(view) {
            lens.readers -= 1;
        }
        self.0.retain(|lens| lens.readers > 0);
    }

    /// The job has changed: what was said of it is old.
    pub(super) fn forget_data(&mut self) {
        for lens in &mut self.0 {
            lens.data = None;
        }
    }

    /// What a status says in the words of a view that is in use.
    pub(super) fn data(&mut self, view: &Arc<View>, job: &Job, json: &str) -> Option<Bytes> {
        let lens = self.find(view)?;
        lens.view.has_status().then(|| lens.data(job, json))
    }

    /// The newest status in each view's words. One that an event has overtaken carries no id.
    pub(super) fn status(&mut self, native: Frame, job: &Job, json: &str) -> Edition {
        self.encode(native, |lens| {
            if !lens.view.has_status() {
                return None;
            }
            let id = (job.seq > lens.last_id).then_some(job.seq);
            lens.last_id = lens.last_id.max(job.seq);
            let data = lens.data(job, json);
            Some(lens.view.status_block(super::as_text(&data), None, id))
        })
    }

    /// An event in each view's words.
    pub(super) fn event(&mut self, native: Frame, event: &Event) -> Edition {
        self.encode(native, |lens| {
            let block = lens.view.event_block(event)?;
            lens.last_id = lens.last_id.max(event.seq);
            Some(block)
        })
    }

    /// The end in each view's words.
    pub(super) fn terminal(&mut self, native: Frame, job: &Job, json: &str) -> Edition {
        self.encode(native, |lens| lens.view.last_block(job, json, false))
    }

    fn encode(
        &mut self,
        native: Frame,
        mut block: impl FnMut(&mut Lens) -> Option<String>,
    ) -> Edition {
        if self.0.is_empty() {
            return Edition::native(native);
        }
        let blocks = self.0.iter_mut().map(|lens| {
            let block = block(lens).map(Bytes::from).unwrap_or_default();
            (Arc::clone(&lens.view), block)
        });
        Edition {
            native,
            blocks: Some(blocks.collect()),
        }
    }

    fn find(&mut self, view: &Arc<View>) -> Option<&mut Lens> {
        self.0.iter_mut().find(|lens| Arc::ptr_eq(&lens.view, view))
    }
}

impl Lens {
    fn data(&mut self, job: &Job, json: &str) -> Bytes {
        let Self { view, data, .. } = self;
        data.get_or_insert_with(|| view.data(job, json, false).into())
            .clone()
    }
}

impl Edition {
    /// A frame that nobody reads through a view, or that has no block in any vocabulary.
    pub(super) fn native(native: Frame) -> Self {
        Self {
            native,
            blocks: None,
        }
    }

    /// Whether anybody gets a block of it.
    pub(super) fn says_anything(&self) -> bool {
        let mut blocks = self.blocks.iter().flat_map(|blocks| blocks.iter());
        !self.native.bytes.is_empty() || blocks.any(|(_, block)| !block.is_empty())
    }

    /// The frame for whoever looks through `view`; without bytes when it has nothing to say there.
    pub(super) fn seen_through(&self, view: Option<&Arc<View>>) -> Frame {
        let Some(view) = view else {
            return self.native.clone();
        };
        let mut blocks = self.blocks.iter().flat_map(|blocks| blocks.iter());
        let block = blocks.find(|(known, _)| Arc::ptr_eq(known, view));
        Frame {
            bytes: block.map(|(_, block)| block.clone()).unwrap_or_default(),
            ..self.native
        }
    }
}

impl Weigh for Edition {
    fn weight(&self) -> usize {
        let blocks = self.blocks.iter().flat_map(|blocks| blocks.iter());
        self.native.bytes.len() + blocks.map(|(_, block)| block.len()).sum::<usize>()
    }
}

/// A frame of a kind, without a block yet.
pub(super) fn frame(seq: Seq, kind: FrameKind, made_at: Instant) -> Frame {
    Frame {
        seq,
        kind,
        bytes: Bytes::new(),
        made_at,
    }
}
