//! What nodes do in Redis together: notices, deadlines, claims, and the way back from an empty one.

use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, cmd};
use uuid::Uuid;

use super::{
    Redis, incarnation, index,
    keys::Entry,
    micros,
    notices::LARGEST_CHANGE,
    read::{from_json, remember, to_json},
    scripts::call,
};
use crate::{
    job::{Job, JobId, Ledger, Origin, ReportId, Seq, Timestamp},
    store::{Following, Notice, Shared, StoreError},
};

/// Slices of the index of deadlines that one look takes: jobs whose deadline has moved on since
/// it was written there are moved, and the next ones looked at.
const MOST_SLICES: usize = 8;

impl Redis {
    /// The call that removes a job; with a time of now, when its retention has ended.
    pub(super) fn call_remove(&self, origin: &Origin, gone: u64, now: Option<Timestamp>) -> Cmd {
        let job_id = &origin.job_id;
        self.remove_by(job_id, incarnation(origin), gone, now)
    }

    fn remove_by(
        &self,
        job_id: &JobId,
        incarnation: String,
        gone: u64,
        now: Option<Timestamp>,
    ) -> Cmd {
        let mut remove = call(&self.scripts.remove, &self.keys.whole_job(job_id));
        remove
            .arg(incarnation)
            .arg(gone)
            .arg(micros(now))
            .arg(self.keys.channel(job_id.as_str()))
            .arg(self.node.to_string())
            .arg(self.keys.lifecycle());
        remove
    }

    /// Removes jobs whose retention has ended.
    pub(super) async fn expire_some(
        &self,
        now: Timestamp,
        gone_seconds: u64,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let entries = self.first_until(&self.keys.expiry(), now, limit).await?;
        let mut removals = redis::pipe();
        let mut outdated = redis::pipe();
        let gone = gone_seconds.saturating_mul(1_000_000);
        for (entry, _) in &entries {
            // Whatever comes of it, it is done with: what is not removed is gone already.
            index::remove(&mut outdated, self.keys.expiry(), entry);
            if let Some((job_id, incarnation)) = entry.job() {
                let incarnation = incarnation.to_string();
                removals.add_command(self.remove_by(&job_id, incarnation, gone, Some(now)));
            }
        }
        if removals.is_empty() {
            return Ok(0);
        }
        let removed: Vec<Option<String>> = self.link.run(&removals).await?;
        for origin in removed.iter().flatten() {
            index::forget(&mut outdated, &self.keys, &from_json("an origin", origin)?);
        }
        self.link.run::<()>(&outdated).await?;
        Ok(removed.iter().flatten().count())
    }

    /// The entries of an index up to a moment, with theirs.
    async fn first_until(
        &self,
        index: &str,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Entry, u64)>, StoreError> {
        let mut range = cmd("ZRANGE");
        range
            .arg(index)
            .arg("-inf")
            .arg(until.as_micros())
            .arg("BYSCORE")
            .arg("LIMIT")
            .arg(0)
            .arg(limit)
            .arg("WITHSCORES");
        let found: Vec<(String, f64)> = self.link.call(range).await?;
        // Below 2^53, so that it is exact.
        let entry = |(entry, score): (String, f64)| (Entry::read(entry), score as u64);
        Ok(found.into_iter().map(entry).collect())
    }

    /// Which of some entries of the index of deadlines are due; the others are moved to where they
    /// belong.
    async fn truly_due(
        &self,
        entries: Vec<(Entry, u64)>,
        now: Timestamp,
    ) -> Result<Vec<JobId>, StoreError> {
        let mut looks = redis::pipe();
        let mut moves = redis::pipe();
        let mut jobs = Vec::new();
        for (entry, score) in entries {
            let Some((job_id, incarnation)) = entry.job() else {
                index::remove(&mut moves, self.keys.due(), &entry);
                continue;
            };
            let mut look = call(&self.scripts.deadline, &[self.keys.job(&job_id)]);
            look.arg(incarnation.to_string()).arg(now.as_micros());
            looks.add_command(look);
            jobs.push((job_id, entry, score));
        }
        let found: Vec<String> = match jobs.is_empty() {
            true => Vec::new(),
            false => self.link.run(&looks).await?,
        };
        let mut due = Vec::new();
        for ((job_id, entry, score), deadline) in jobs.into_iter().zip(found) {
            if deadline == "due" {
                due.push(job_id);
            } else {
                let mut postpone = call(&self.scripts.postpone, &[self.keys.due()]);
                postpone.arg(entry.as_str()).arg(score).arg(deadline);
                moves.add_command(postpone).ignore();
            }
        }
        if !moves.is_empty() {
            self.link.run::<()>(&moves).await?;
        }
        Ok(due)
    }
}

#[async_trait]
impl Shared for Redis {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        let (seconds, micros): (u64, u64) = self.link.call(cmd("TIME")).await?;
        Ok(Timestamp::from_micros(seconds * 1_000_000 + micros))
    }

    async fn follow(&self, job_id: &JobId) -> Result<Following, StoreError> {
        self.hearing.follow(job_id).await
    }

    async fn follow_lifecycle(&self) -> Result<Following, StoreError> {
        self.hearing.follow_lifecycle().await
    }

    async fn next_notice(&self) -> Notice {
        self.hearing.next().await
    }

    async fn seqs(&self, jobs: &[&Origin]) -> Result<Vec<Option<Seq>>, StoreError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for origin in jobs {
            let key = self.keys.job(&origin.job_id);
            pipeline.cmd("HMGET").arg(key).arg("incarnation").arg("seq");
        }
        let found: Vec<(Option<String>, Option<String>)> = self.link.run(&pipeline).await?;
        let seqs = jobs.iter().zip(found).map(|(origin, (held, seq))| {
            let seq = seq.filter(|_| held == Some(incarnation(origin)));
            seq.and_then(|seq| seq.parse().ok())
        });
        Ok(seqs.collect())
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, StoreError> {
        let mut due = Vec::new();
        for _ in 0..MOST_SLICES {
            let entries = self.first_until(&self.keys.due(), now, limit).await?;
            let is_last = entries.len() < limit;
            due = self.truly_due(entries, now).await?;
            if is_last || !due.is_empty() {
                break;
            }
        }
        Ok(due)
    }

    async fn claim(
        &self,
        job: &Origin,
        node: Uuid,
        ttl: Duration,
    ) -> Result<Option<u64>, StoreError> {
        let mut claim = call(&self.scripts.claim, &self.claim_keys(job));
        claim
            .arg(node.to_string())
            .arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))
            .arg(incarnation(job));
        self.link.call(claim).await
    }

    async fn release(&self, job: &Origin, node: Uuid) -> Result<(), StoreError> {
        let mut release = call(&self.scripts.release, &self.claim_keys(job));
        release.arg(node.to_string()).arg(incarnation(job));
        self.link.call(release).await
    }

    async fn answers(&self, job: &Origin, report_ids: &[ReportId]) -> Result<Ledger, StoreError> {
        let mut get = cmd("HMGET");
        get.arg(self.keys.of_job(&job.job_id, "ledger"));
        for report_id in report_ids {
            get.arg(report_id.as_str());
        }
        type Entries = Vec<Option<String>>;
        let found: Option<(_, (Entries,))> = self.with_job(job, &[], [get]).await?;
        let mut ledger = Ledger::default();
        let entries = found.map(|(_, (entries,))| entries).unwrap_or_default();
        for (report_id, entry) in report_ids.iter().zip(entries) {
            if let Some(entry) = entry {
                remember(&mut ledger, report_id.as_str(), &entry)?;
            }
        }
        Ok(ledger)
    }

    async fn restore(&self, job: &Job) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        index::announce(&mut pipeline, &self.keys, job);
        let mut restore = call(&self.scripts.restore, &self.keys.whole_job(job.id()));
        restore
            .arg(incarnation(&job.origin))
            .arg(to_json(job))
            .arg(to_json(&*job.origin))
            .arg(job.face.state.as_str())
            .arg(micros(job.next_deadline()))
            .arg(micros(job.expires_at()))
            .arg(job.seq.get())
            .arg(self.keys.channel(job.id().as_str()))
            .arg(self.node.to_string())
            .arg(self.keys.lifecycle())
            .arg(LARGEST_CHANGE);
        pipeline.add_command(restore);
        // Where another was there before, entries for nothing are left, and are swept.
        let _: (u8,) = self.link.run(&pipeline).await?;
        Ok(())
    }
}

impl Redis {
    fn claim_keys(&self, job: &Origin) -> [String; 2] {
        let job_id = &job.job_id;
        [self.keys.of_job(job_id, "claim"), self.keys.job(job_id)]
    }
}
