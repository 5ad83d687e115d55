//! What the nodes of a hall do together.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use progressd::{
    job::{Job, JobId, Ledger, Origin, ReportId, Seq, Timestamp},
    store::{Commit, Created, Following, Loaded, Notice, Shared, Store as _, StoreError},
};
use uuid::Uuid;

use super::{Claim, Node, lock};

#[async_trait]
impl Shared for Node {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock())
    }

    async fn follow(&self, job_id: &JobId) -> Result<Following, StoreError> {
        *lock(&self.desk.follows).entry(job_id.clone()).or_default() += 1;
        let (desk, job_id) = (Arc::clone(&self.desk), job_id.clone());
        Ok(Following::new(move || {
            let mut follows = lock(&desk.follows);
            if let Some(count) = follows.get_mut(&job_id) {
                *count -= 1;
                if *count == 0 {
                    follows.remove(&job_id);
                }
            }
        }))
    }

    async fn follow_lifecycle(&self) -> Result<Following, StoreError> {
        *lock(&self.desk.follows_lifecycle) += 1;
        let desk = Arc::clone(&self.desk);
        Ok(Following::new(move || {
            *lock(&desk.follows_lifecycle) -= 1;
        }))
    }

    async fn next_notice(&self) -> Notice {
        loop {
            if let Some(notice) = lock(&self.desk.notices).pop_front() {
                return notice;
            }
            self.desk.arrived.notified().await;
        }
    }

    async fn seqs(&self, jobs: &[&Origin]) -> Result<Vec<Option<Seq>>, StoreError> {
        let mut seqs = Vec::new();
        for origin in jobs {
            let memory = self.hall.memory();
            let loaded = memory.load(&origin.job_id, self.clock()).await?;
            seqs.push(match loaded {
                Loaded::Job(stored) if stored.job.origin.incarnation == origin.incarnation => {
                    Some(stored.job.seq)
                }
                _ => None,
            });
        }
        Ok(seqs)
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, StoreError> {
        let unfinished = self.unfinished(None, None, usize::MAX).await?;
        let is_due = |job: &&Arc<Job>| job.next_deadline().is_some_and(|at| at <= now);
        let due = unfinished.iter().filter(is_due).map(|job| job.id().clone());
        Ok(due.take(limit).collect())
    }

    async fn claim(
        &self,
        job: &Origin,
        node: Uuid,
        ttl: Duration,
    ) -> Result<Option<u64>, StoreError> {
        if lock(&self.hall.refused).as_deref() == Some(job.job_id.as_str()) {
            return Err(StoreError::Unavailable("as the test has it".to_owned()));
        }
        let mut claims = lock(&self.hall.claims);
        let now = Instant::now();
        let claim = claims.entry(job.incarnation).or_insert(Claim {
            node,
            until: now,
            turns: 1,
        });
        if claim.node != node {
            if claim.until > now {
                return Ok(None);
            }
            *claim = Claim {
                node,
                turns: claim.turns + 1,
                ..*claim
            };
        }
        claim.until = now + ttl;
        Ok(Some(claim.turns))
    }

    async fn release(&self, job: &Origin, node: Uuid) -> Result<(), StoreError> {
        let mut claims = lock(&self.hall.claims);
        if let Some(claim) = claims.get_mut(&job.incarnation)
            && claim.node == node
        {
            claim.until = Instant::now();
        }
        Ok(())
    }

    async fn answers(&self, job: &Origin, _: &[ReportId]) -> Result<Ledger, StoreError> {
        Ok(match self.load(&job.job_id, self.clock()).await? {
            Loaded::Job(stored) => stored.ledger,
            _ => Ledger::default(),
        })
    }

    /// With a later seq: memory gives its own.
    async fn restore(&self, job: &Job) -> Result<(), StoreError> {
        let memory = self.hall.memory();
        let Created::Done(seq) = memory.create(job, None).await? else {
            return Ok(());
        };
        let commit = Commit {
            job: &Job { seq, ..job.clone() },
            positions: 1,
            events: &[],
            rows: &[],
            answers: &[],
            now: Timestamp::from_micros(job.seq.get() + 1),
            nonce: Uuid::now_v7(),
            is_replaceable: false,
        };
        memory.commit(commit).await.map(drop)
    }
}
