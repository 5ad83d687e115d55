//! What a stream of many jobs has asked the store for, and what is asked again since it did not answer.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::time::Sleep;
use uuid::Uuid;

use super::{
    Selector,
    joining::{Joined, Joining, attach, join},
    start::{gone_of, names},
};
use crate::{
    job::{JobId, Seq},
    registry::{JobHandle, Registry, RegistryError, Since},
};

/// How long a store that failed is left alone.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Everything that is asked for.
pub(super) struct Inquiries {
    registry: Registry,
    joining: Joining,
    /// Under way since jobs may have come or gone without word.
    listing: Option<BoxFuture<'static, Result<Listed, RegistryError>>>,
    /// Jobs that could not be joined.
    failed: Vec<JobId>,
    /// Whether another list is needed.
    must_list: bool,
    /// When the store is asked again.
    pause: Option<Pin<Box<Sleep>>>,
}

/// An answer, or the time to ask again.
pub(super) enum Found {
    Joined(Joined),
    Listed(Listed),
    /// These jobs were not joined, and perhaps the list was not read.
    Nothing {
        job_ids: Vec<JobId>,
        must_list: bool,
    },
}

/// Which jobs there are.
pub(super) enum Listed {
    /// All that match, newest first.
    Matching(Vec<(JobId, Uuid)>),
    /// Those of the named ones that are not there any more.
    Gone(Vec<JobId>),
}

impl Inquiries {
    pub(super) fn new(registry: Registry) -> Self {
        Self {
            registry,
            joining: Joining::default(),
            listing: None,
            failed: Vec::new(),
            must_list: false,
            pause: None,
        }
    }

    /// Asks for a job that is new here; its changes are to be told from `from` on.
    pub(super) fn join(&mut self, job_id: JobId, from: Seq, since: Since) {
        let joined = join(self.registry.clone(), job_id, Some(since));
        self.joining.add(from, joined);
    }

    /// Asks for what was lost of a job of which everything up to `seen` was told.
    pub(super) fn catch_up(&mut self, job: JobHandle, seen: Seq) {
        self.joining.add(seen, attach(job, Some(seen.into())));
    }

    /// Asks which jobs match or, without a selector, which of `finished` are there still.
    pub(super) fn list(&mut self, selector: Option<Selector>, finished: Vec<JobId>) {
        if self.listing.is_some() {
            // What it reads may be older than this.
            self.must_list = true;
            return self.pause();
        }
        let registry = self.registry.clone();
        self.listing = Some(match selector {
            Some(selector) => {
                let names = names(registry, selector);
                names.map(|names| names.map(Listed::Matching)).boxed()
            }
            None => {
                let gone = gone_of(registry, finished);
                gone.map(|gone| gone.map(Listed::Gone)).boxed()
            }
        });
    }

    /// A job was removed, perhaps after it was read and before it comes. Says whether that is
    /// remembered.
    pub(super) fn note_removal(&mut self, incarnation: Uuid) -> bool {
        self.joining.note_removal(incarnation)
    }

    /// Whether so much is asked for that no more should come.
    pub(super) fn is_full(&self) -> bool {
        self.joining.is_full()
    }

    /// Whether something of any time may come of it.
    pub(super) fn is_unsure(&self) -> bool {
        self.listing.is_some() || self.must_list || !self.failed.is_empty()
    }

    /// From where on changes are to come of jobs that are being joined.
    pub(super) fn oldest(&self) -> Option<Seq> {
        self.joining.oldest()
    }

    /// What was found next; waits for as long as there is nothing.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Found> {
        if let Some(listing) = &mut self.listing
            && let Poll::Ready(listed) = listing.poll_unpin(context)
        {
            self.listing = None;
            match listed {
                Ok(listed) => return Poll::Ready(Found::Listed(listed)),
                Err(_) => {
                    self.must_list = true;
                    self.pause();
                }
            }
        }
        while let Poll::Ready(joined) = self.joining.poll_next(context) {
            let Joined::Failed(job_id, _) = joined else {
                return Poll::Ready(Found::Joined(joined));
            };
            self.failed.push(job_id);
            self.pause();
        }
        if let Some(pause) = &mut self.pause
            && pause.as_mut().poll(context).is_ready()
        {
            self.pause = None;
            return Poll::Ready(Found::Nothing {
                job_ids: mem::take(&mut self.failed),
                must_list: mem::take(&mut self.must_list),
            });
        }
        Poll::Pending
    }

    fn pause(&mut self) {
        let pause = || Box::pin(tokio::time::sleep(RETRY_PAUSE));
        self.pause.get_or_insert_with(pause);
    }
}

impl fmt::Debug for Inquiries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Inquiries")
            .field("joining", &self.joining)
            .field("failed", &self.failed)
            .field("must_list", &self.must_list)
            .finish_non_exhaustive()
    }
}
