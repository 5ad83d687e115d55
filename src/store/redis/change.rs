//! New jobs, and changes of jobs: the scripts that do it, and what the indexes need for it.

use redis::Cmd;

use super::{
    Redis,
    failure::unreadable,
    incarnation, index, micros,
    notices::LARGEST_CHANGE,
    read::{from_json, remember, stored, to_json},
    scripts::call,
};
use crate::{
    job::{Job, Origin, State},
    store::{Commit, Committed, Created, Input, StoreError},
};

impl Redis {
    /// Puts a new job, with what it is found by written before it.
    pub(super) async fn put_new(
        &self,
        job: &Job,
        input: Option<&Input>,
    ) -> Result<Created, StoreError> {
        let mut pipeline = redis::pipe();
        index::announce(&mut pipeline, &self.keys, job);
        pipeline.add_command(self.call_create(job, input));
        let answer: (Vec<String>,) = match self.link.run(&pipeline).await {
            Ok(answer) => answer,
            Err(error) => {
                // Some of it may have been done: a job that an index does not have, or the other
                // way round.
                let mut pipeline = redis::pipe();
                pipeline.add_command(self.call_remove(&job.origin, 0, None));
                index::forget(&mut pipeline, &self.keys, &job.origin);
                self.link.tell(pipeline).await;
                return Err(error);
            }
        };
        let (answer,) = answer;
        match answer.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["exists", document, seq, nonce, reported] => {
                // Its entries were for nothing.
                let mut pipeline = redis::pipe();
                index::forget(&mut pipeline, &self.keys, &job.origin);
                self.link.tell(pipeline).await;
                Ok(Created::Exists(stored(document, seq, nonce, reported)?))
            }
            ["done", seq, former] => {
                if !former.is_empty() {
                    let former: Origin = from_json("an origin", former)?;
                    let mut pipeline = redis::pipe();
                    index::forget(&mut pipeline, &self.keys, &former);
                    self.link.tell(pipeline).await;
                }
                let seq = seq.parse().map_err(|()| unreadable("a seq", seq))?;
                Ok(Created::Done(seq))
            }
            _ => Err(unreadable("an answer", "it is not that of the script")),
        }
    }

    /// Applies a change.
    pub(super) async fn change(&self, commit: &Commit<'_>) -> Result<Committed, StoreError> {
        // Most commits change nothing that a job is found by. Of these two it is known.
        let job = commit.job;
        let has_begun = job.face.started_at == Some(job.updated_at);
        let is_indexed = commit.positions > 0 && (job.is_finished() || has_begun);
        if let Some(committed) = self.try_commit(commit, is_indexed).await? {
            return Ok(committed);
        }
        let committed = self.try_commit(commit, true).await?;
        committed.ok_or_else(|| unreadable("an answer", "it is not that of the script"))
    }

    fn call_create(&self, job: &Job, input: Option<&Input>) -> Cmd {
        let mut create = call(&self.scripts.create, &self.keys.whole_job(job.id()));
        create
            .arg(incarnation(&job.origin))
            .arg(to_json(job))
            .arg(to_json(&*job.origin))
            .arg(job.face.state.as_str())
            .arg(micros(job.next_deadline()))
            .arg(job.origin.created_at.as_micros())
            .arg(u8::from(input.is_some()))
            .arg(input.map(written).unwrap_or_default())
            .arg(self.keys.channel(job.id().as_str()))
            .arg(self.node.to_string())
            .arg(self.keys.lifecycle())
            .arg(LARGEST_CHANGE);
        create
    }

    fn call_commit(&self, commit: &Commit<'_>, is_indexed: bool) -> Cmd {
        let job = commit.job;
        let keys = self.keys.whole_job(job.id());
        let mut call = call(&self.scripts.commit, &keys[..5]);
        call.arg(incarnation(&job.origin))
            .arg(job.seq.get())
            .arg(commit.positions)
            .arg(commit.nonce.to_string())
            .arg(to_json(job))
            .arg(job.face.state.as_str())
            .arg(micros(job.expires_at()))
            .arg(micros(job.next_deadline()))
            .arg(u8::from(is_indexed))
            .arg(commit.now.as_micros())
            .arg(self.keys.channel(job.id().as_str()))
            .arg(self.node.to_string())
            .arg(self.events_per_job)
            .arg(self.event_bytes_per_job)
            .arg(LARGEST_CHANGE)
            .arg(commit.events.len())
            .arg(commit.rows.len())
            .arg(commit.answers.len())
            .arg(job.reported_at.as_micros())
            .arg(self.keys.lifecycle());
        for (place, event) in commit.events {
            call.arg(*place)
                .arg(event.name.as_str())
                .arg(event.data.as_str());
        }
        for row in commit.rows {
            call.arg(row.as_str());
        }
        for (report_id, place, answer) in commit.answers {
            call.arg(report_id.as_str())
                .arg(*place)
                .arg(to_json(answer));
        }
        call
    }

    /// Commits once; `None` when the indexes have to be written first.
    async fn try_commit(
        &self,
        commit: &Commit<'_>,
        is_indexed: bool,
    ) -> Result<Option<Committed>, StoreError> {
        let mut pipeline = redis::pipe();
        if is_indexed {
            index::prepare(&mut pipeline, &self.keys, commit.job);
        }
        pipeline.add_command(self.call_commit(commit, is_indexed));
        let (answer,): (Vec<String>,) = self.link.run(&pipeline).await?;
        let mut answer = answer.iter().map(String::as_str);
        let mut next = || answer.next().unwrap_or_default();
        match next() {
            "unindexed" => Ok(None),
            "missing" => self.absent(Some(Committed::Missing)).await,
            "conflict" => {
                let mut stored = stored(next(), next(), next(), next())?;
                while let (Some(id), Some(entry)) = (answer.next(), answer.next()) {
                    remember(&mut stored.ledger, id, entry)?;
                }
                Ok(Some(Committed::Conflict(stored)))
            }
            "done" => {
                let prev = next().parse().map_err(|()| unreadable("a seq", ""))?;
                let first = next().parse().map_err(|()| unreadable("a seq", ""))?;
                if is_indexed && let Ok(before) = State::parse(next()) {
                    let mut pipeline = redis::pipe();
                    index::settle(&mut pipeline, &self.keys, commit.job, before);
                    self.link.tell(pipeline).await;
                }
                Ok(Some(Committed::Done { prev, first }))
            }
            _ => Err(unreadable("an answer", "it is not that of the script")),
        }
    }
}

/// An input as it is kept: its format on a line of its own.
fn written(input: &Input) -> Vec<u8> {
    [input.format.as_str().as_bytes(), b"\n", &input.content].concat()
}
