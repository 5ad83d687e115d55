//! What the writer is asked to do, and how it answers.

use tokio::sync::oneshot;
use uuid::Uuid;

use super::{fault::Fault, record::document, work::Work};
use crate::{
    job::{Answer, Job, JobId, Json, NewEvent, ReportId, Timestamp},
    store::{Commit, Committed, Created, Input, StoreError},
};

/// Where an answer goes. Whoever has left gets none; what was asked is done all the same.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// An answer that waits for the disk.
pub(super) type Pending = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Something to be done.
pub(super) enum Errand {
    Create(Box<(Job, Option<Input>)>, Reply<Created>),
    Commit(Box<OwnedCommit>, Reply<Committed>),
    Remove(JobId, Uuid, Timestamp, Reply<()>),
    Expire(Timestamp, u64, usize, Reply<usize>),
    Reserve(String, JobId, Timestamp, Reply<JobId>),
    Put(PutIfAbsent, Reply<Vec<u8>>),
    /// Everything that was answered, to the disk.
    Flush(Reply<()>),
    /// Progress waits since now.
    Wake,
}

/// A change, for a thread of its own.
pub(super) struct OwnedCommit {
    pub(super) job: Job,
    /// The job's document, made where many can do so at a time.
    pub(super) document: Vec<u8>,
    pub(super) positions: u64,
    pub(super) events: Vec<(u64, NewEvent)>,
    pub(super) rows: Vec<Json>,
    pub(super) answers: Vec<(ReportId, u64, Answer)>,
    pub(super) now: Timestamp,
    pub(super) nonce: Uuid,
}

/// See [`Store::put_if_absent`](crate::store::Store::put_if_absent).
pub(super) struct PutIfAbsent {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    pub(super) until: Option<Timestamp>,
    pub(super) now: Timestamp,
}

impl OwnedCommit {
    pub(super) fn of(commit: &Commit<'_>) -> Self {
        Self {
            job: commit.job.clone(),
            document: document(commit.job),
            positions: commit.positions,
            events: commit.events.to_vec(),
            rows: commit.rows.to_vec(),
            answers: commit.answers.to_vec(),
            now: commit.now,
            nonce: commit.nonce,
        }
    }
}

impl Errand {
    /// How many bytes it brings, roughly: a transaction takes only so many.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Create(creation, _) => {
                let input = creation.1.as_ref();
                1_024 + input.map_or(0, |input| input.content.len())
            }
            Self::Commit(commit, _) => {
                let events = commit
                    .events
                    .iter()
                    .map(|(_, event)| event.data.as_str().len());
                let rows = commit.rows.iter().map(|row| row.as_str().len());
                commit.document.len() + events.chain(rows).sum::<usize>()
            }
            _ => 256,
        }
    }

    /// Its refusal, for when the transaction has come to its end.
    pub(super) fn refusal(self) -> Pending {
        Box::new(|committed| {
            if let Err(error) = committed {
                self.refuse(error);
            }
        })
    }

    /// Refuses it.
    pub(super) fn refuse(self, error: StoreError) {
        // Whoever has left needs no answer.
        match self {
            Self::Create(_, reply) => drop(reply.send(Err(error))),
            Self::Commit(_, reply) => drop(reply.send(Err(error))),
            Self::Remove(.., reply) | Self::Flush(reply) => drop(reply.send(Err(error))),
            Self::Expire(.., reply) => drop(reply.send(Err(error))),
            Self::Reserve(.., reply) => drop(reply.send(Err(error))),
            Self::Put(_, reply) => drop(reply.send(Err(error))),
            Self::Wake => {}
        }
    }

    /// Does it; its answer is given when the transaction has come to its end.
    ///
    /// # Errors
    /// The transaction cannot go on.
    pub(super) fn perform(
        self,
        work: &mut Work<'_, '_>,
        answers: &mut Vec<Pending>,
    ) -> Result<(), Fault> {
        match self {
            Self::Create(creation, reply) => {
                let (job, input) = *creation;
                answer(answers, reply, work.create(&job, input.as_ref()))
            }
            Self::Commit(commit, reply) => answer(answers, reply, work.commit(&commit)),
            Self::Remove(job_id, incarnation, gone_until, reply) => answer(
                answers,
                reply,
                work.remove(&job_id, incarnation, gone_until),
            ),
            Self::Expire(now, gone_seconds, limit, reply) => {
                answer(answers, reply, work.expire(now, gone_seconds, limit))
            }
            Self::Reserve(key, job_id, now, reply) => {
                answer(answers, reply, work.reserve(&key, &job_id, now))
            }
            Self::Put(put, reply) => {
                let PutIfAbsent {
                    key,
                    value,
                    until,
                    now,
                } = put;
                answer(answers, reply, work.put_if_absent(&key, &value, until, now))
            }
            Self::Flush(reply) => answer(answers, reply, Ok(())),
            Self::Wake => Ok(()),
        }
    }
}

fn answer<T: Send + 'static>(
    answers: &mut Vec<Pending>,
    reply: Reply<T>,
    outcome: Result<T, Fault>,
) -> Result<(), Fault> {
    let (outcome, fatal) = match outcome {
        Err(fault) if fault.is_fatal() => {
            (Err(StoreError::Unavailable(fault.to_string())), Err(fault))
        }
        outcome => (outcome.map_err(StoreError::from), Ok(())),
    };
    answers.push(Box::new(move |committed: Result<(), StoreError>| {
        drop(reply.send(committed.and(outcome)));
    }));
    fatal
}
