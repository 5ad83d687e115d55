//! What the store does besides since others use the database too.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::error::BoxDynError;
use uuid::Uuid;

use super::{
    Postgres,
    client::Repeat,
    row::{self, Columns, unreadable},
    sql, write,
};
use crate::{
    job::{Job, JobId, Ledger, Origin, ReportId, Seq, Timestamp},
    store::{Following, Notice, Shared, StoreError},
};

#[async_trait]
impl Shared for Postgres {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        let statement = "SELECT progressd.micros(clock_timestamp())".to_owned();
        let row = self.client.fetch_one(statement).await?;
        Columns::of(&row).moment().map_err(unreadable)
    }

    async fn follow(&self, job_id: &JobId) -> Result<Following, StoreError> {
        Ok(self.listener.follow(job_id).await)
    }

    async fn follow_lifecycle(&self) -> Result<Following, StoreError> {
        self.lifecycle.follow(&self.client).await
    }

    async fn next_notice(&self) -> Notice {
        tokio::select! {
            notice = self.listener.next_notice() => notice,
            notice = self.lifecycle.next_notice() => notice,
        }
    }

    async fn seqs(&self, jobs: &[&Origin]) -> Result<Vec<Option<Seq>>, StoreError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let statement = format!(
            "SELECT q.place, j.seq FROM unnest({}, {}) WITH ORDINALITY AS q (job_id, incarnation, place) \
             JOIN progressd.jobs AS j ON j.job_id = q.job_id AND j.incarnation = q.incarnation",
            sql::texts(jobs.iter().map(|origin| origin.job_id.as_str())),
            sql::uuids(jobs.iter().map(|origin| origin.incarnation)),
        );
        let rows = self.client.fetch(statement).await?;
        row::seqs(&rows, jobs.len()).map_err(unreadable)
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, StoreError> {
        let call = sql::call("due", &[sql::micros(now), sql::small_number(limit)]);
        let looking = self
            .client
            .write(format!("SELECT {call}"), Repeat::Harmless);
        let rows = looking.await?;
        let job_ids = rows.iter().map(|row| Columns::of(row).job_id());
        job_ids.collect::<Result<_, _>>().map_err(unreadable)
    }

    async fn claim(
        &self,
        job: &Origin,
        node: Uuid,
        ttl: Duration,
    ) -> Result<Option<u64>, StoreError> {
        let call = sql::call(
            "claim",
            &[
                sql::text(job.job_id.as_str()),
                sql::uuid(job.incarnation),
                sql::uuid(node),
                sql::number(u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX)),
            ],
        );
        let claiming = self
            .client
            .write_one(format!("SELECT {call}"), Repeat::Harmless);
        let row = claiming.await?;
        let read = || -> Result<_, BoxDynError> {
            let fence: Option<i64> = Columns::of(&row).take()?;
            Ok(fence.map(u64::try_from).transpose()?)
        };
        read().map_err(unreadable)
    }

    async fn release(&self, job: &Origin, node: Uuid) -> Result<(), StoreError> {
        let call = sql::call(
            "release",
            &[
                sql::text(job.job_id.as_str()),
                sql::uuid(job.incarnation),
                sql::uuid(node),
            ],
        );
        let releasing = self
            .client
            .write(format!("SELECT {call}"), Repeat::Harmless);
        releasing.await.map(drop)
    }

    async fn answers(&self, job: &Origin, report_ids: &[ReportId]) -> Result<Ledger, StoreError> {
        let statement = format!(
            "SELECT progressd.known_answers(j.job_no, {}, clock_timestamp())::text \
             FROM progressd.jobs AS j WHERE j.job_id = {} AND j.incarnation = {}",
            sql::texts(report_ids.iter().map(ReportId::as_str)),
            sql::text(job.job_id.as_str()),
            sql::uuid(job.incarnation),
        );
        let rows = self.client.fetch(statement).await?;
        let read = || -> Result<_, BoxDynError> {
            let Some(row) = rows.first() else {
                return Ok(Ledger::default());
            };
            let answers: Option<&str> = Columns::of(row).take()?;
            row::ledger(&job.job_id, answers)
        };
        read().map_err(unreadable)
    }

    async fn restore(&self, job: &Job) -> Result<(), StoreError> {
        let mut arguments = write::return_of(job);
        arguments.extend([sql::text(&self.node), self.lock_timeout()]);
        let statement = format!("SELECT {}", sql::call("put_back", &arguments));
        let putting_back = self.client.write(statement, Repeat::Never);
        putting_back.await.map(drop)
    }
}
