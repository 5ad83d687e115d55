//! A runner whose jobs end when the test lets them.

use std::num::NonZeroUsize;

use async_trait::async_trait;
use progressd::{
    job::{JobId, Json},
    runner::{JobContext, JobError, Runner},
    store::Input,
};
use tokio::sync::{Semaphore, watch};

/// Does jobs of the kind `gated`; each waits for one opening of the gate.
pub(crate) struct Gated {
    concurrency: NonZeroUsize,
    gate: Semaphore,
    /// What has happened so far.
    pub(crate) book: watch::Sender<Book>,
}

/// What a [`Gated`] runner has done.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// The jobs that were begun, in order.
    pub(crate) begun: Vec<JobId>,
    /// How many are at work.
    pub(crate) running: usize,
    /// The most that were at work at a time.
    pub(crate) most: usize,
}

impl Gated {
    /// A runner with its gate closed.
    pub(crate) fn new(concurrency: usize) -> Self {
        Self {
            concurrency: NonZeroUsize::new(concurrency).expect("not zero"),
            gate: Semaphore::new(0),
            book: watch::Sender::default(),
        }
    }

    /// Lets so many jobs through.
    pub(crate) fn open(&self, jobs: usize) {
        self.gate.add_permits(jobs);
    }

    /// Waits until the book says so.
    pub(crate) async fn wait_for(&self, is_wanted: impl FnMut(&Book) -> bool) {
        let mut book = self.book.subscribe();
        book.wait_for(is_wanted).await.expect("the book is here");
    }
}

#[async_trait]
impl Runner for Gated {
    fn kind(&self) -> &'static str {
        "gated"
    }

    fn concurrency(&self) -> NonZeroUsize {
        self.concurrency
    }

    async fn run(&self, context: JobContext, _: Option<Input>) -> Result<Json, JobError> {
        self.book.send_modify(|book| {
            book.begun.push(context.job_id().clone());
            book.running += 1;
            book.most = book.most.max(book.running);
        });
        let outcome = tokio::select! {
            () = context.stopped() => Err(JobError::Stopped),
            pass = self.gate.acquire() => {
                pass.expect("the gate stays").forget();
                Ok(Json::of("through").expect("a text serializes"))
            }
        };
        self.book.send_modify(|book| book.running -= 1);
        outcome
    }
}
