//! Reading jobs from rows.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, de::DeserializeOwned};
use sqlx::{Decode, Postgres, Row as _, Type, error::BoxDynError, postgres::PgRow};
use uuid::Uuid;

use crate::{
    job::{
        Answer, Count, Digest, Event, EventName, Face, Job, JobId, Json, Ledger, Origin,
        Percentage, Progress, ProgressParts, ReportId, Seq, State, Timestamp, rate::Estimator,
    },
    store::{Input, InputFormat, StoreError, Stored},
};

/// Everything of the job in `j`, in the order in which [`Columns::job`] reads it.
pub(super) const JOB: &str = "
    j.job_id, j.incarnation, j.kind, j.unit, j.owner, array_to_json(j.tags)::text, j.parent_id,
    progressd.micros(j.created_at), j.lease_seconds, j.fail_stalled_after_seconds, j.ttl_seconds,
    j.abandon_after_seconds, encode(j.digest, 'hex'),
    j.seq, progressd.micros(j.updated_at), progressd.micros(j.reported_at), j.estimator,
    j.status, j.attempt, j.total_count, j.processed_count, j.named_hundredths::bigint,
    j.highest_hundredths::bigint, j.step, j.message, j.rate_per_second, j.eta_seconds, j.stalled,
    j.cancel_requested, j.data::text, j.result::text, j.error::text,
    progressd.micros(j.started_at), progressd.micros(j.finished_at), j.nonce";

/// The columns of a row, read from the first on.
pub(super) struct Columns<'row> {
    row: &'row PgRow,
    next: usize,
}

/// What the ledger of a job says of a report.
#[derive(Deserialize)]
struct KnownAnswer {
    report_id: ReportId,
    seq: u64,
    status: State,
    cancel_requested: bool,
    at: u64,
}

impl<'row> Columns<'row> {
    pub(super) fn of(row: &'row PgRow) -> Self {
        Self { row, next: 0 }
    }

    /// The next column as it is.
    pub(super) fn take<T>(&mut self) -> Result<T, BoxDynError>
    where
        T: Decode<'row, Postgres> + Type<Postgres>,
    {
        self.next += 1;
        Ok(self.row.try_get(self.next - 1)?)
    }

    /// The next column, which is not negative.
    pub(super) fn number(&mut self) -> Result<u64, BoxDynError> {
        Ok(u64::try_from(self.take::<i64>()?)?)
    }

    /// The next column, which is a moment.
    pub(super) fn moment(&mut self) -> Result<Timestamp, BoxDynError> {
        self.number().map(Timestamp::from_micros)
    }

    /// The next column, which is a seq.
    pub(super) fn seq(&mut self) -> Result<Seq, BoxDynError> {
        Ok(Seq::new(self.number()?).ok_or("a seq beyond its bounds")?)
    }

    /// The next column, which is JSON, when there is any.
    pub(super) fn json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, BoxDynError> {
        let text = self.take::<Option<&str>>()?;
        Ok(text.map(serde_json::from_str).transpose()?)
    }

    /// The next column, which is a job's name.
    pub(super) fn job_id(&mut self) -> Result<JobId, BoxDynError> {
        Ok(JobId::parse(self.take()?)?)
    }

    fn maybe_number(&mut self) -> Result<Option<u64>, BoxDynError> {
        Ok(self.take::<Option<i64>>()?.map(u64::try_from).transpose()?)
    }

    fn maybe_text(&mut self) -> Result<Option<Arc<str>>, BoxDynError> {
        Ok(self.take::<Option<&str>>()?.map(Arc::from))
    }

    /// The columns of [`JOB`]: the job, and the nonce of its newest commit.
    pub(super) fn job(&mut self) -> Result<(Job, Option<Uuid>), BoxDynError> {
        let origin = self.origin()?;
        let seq = self.seq()?;
        let updated_at = self.moment()?;
        let reported_at = self.moment()?;
        // Without it speed is measured anew.
        let estimator = self.take::<Option<&str>>()?;
        let estimator = estimator.and_then(|text| serde_json::from_str::<Estimator>(text).ok());
        let job = Job {
            origin: Arc::new(origin),
            seq,
            updated_at,
            reported_at,
            estimator: estimator.unwrap_or_default(),
            face: self.face()?,
        };
        Ok((job, self.take()?))
    }

    fn origin(&mut self) -> Result<Origin, BoxDynError> {
        Ok(Origin {
            job_id: self.job_id()?,
            incarnation: self.take()?,
            kind: self.maybe_text()?,
            unit: self.maybe_text()?,
            owner: self.maybe_text()?,
            tags: self.json()?.unwrap_or_default(),
            parent_id: self.take::<Option<&str>>()?.map(JobId::parse).transpose()?,
            created_at: self.moment()?,
            lease_seconds: self.number()?,
            fail_stalled_after_seconds: self.maybe_number()?,
            ttl_seconds: self.number()?,
            abandon_after_seconds: self.number()?,
            digest: {
                let mut bytes = [0; 32];
                hex::decode_to_slice(self.take::<&str>()?, &mut bytes)?;
                Digest::from_bytes(bytes)
            },
        })
    }

    fn face(&mut self) -> Result<Face, BoxDynError> {
        Ok(Face {
            state: State::parse(self.take()?)?,
            attempt: u32::try_from(self.number()?)?,
            progress: self.progress()?,
            step: self.maybe_text()?,
            message: self.maybe_text()?,
            rate_per_second: self.take()?,
            eta_seconds: self.maybe_number()?,
            stalled: self.take()?,
            cancel_requested: self.take()?,
            data: self.json()?.map(Arc::new),
            result: self.json()?,
            error: self.json()?.map(Arc::new),
            started_at: self.maybe_number()?.map(Timestamp::from_micros),
            finished_at: self.maybe_number()?.map(Timestamp::from_micros),
        })
    }

    fn progress(&mut self) -> Result<Progress, BoxDynError> {
        let total = self.maybe_number()?.map(Count::saturating);
        let processed = self.maybe_number()?.map(Count::saturating);
        let percentage = |hundredths: u64| {
            let hundredths = u16::try_from(hundredths).ok();
            let percentage = hundredths.and_then(Percentage::from_hundredths);
            percentage.ok_or("a percentage above 100")
        };
        let reported = self.maybe_number()?.map(percentage).transpose()?;
        let highest = percentage(self.number()?)?;
        Ok(Progress::from(ProgressParts {
            total,
            processed,
            reported,
            highest,
        }))
    }
}

/// What a job remembers, as the database says it.
pub(super) fn ledger(job_id: &JobId, answers: Option<&str>) -> Result<Ledger, BoxDynError> {
    let mut ledger = Ledger::default();
    let answers: Vec<KnownAnswer> = answers
        .map(serde_json::from_str)
        .transpose()?
        .unwrap_or_default();
    for known in answers {
        let answer = Answer {
            job_id: job_id.clone(),
            status: known.status,
            seq: Seq::new(known.seq).ok_or("a seq beyond its bounds")?,
            cancel_requested: known.cancel_requested,
        };
        ledger.remember(known.report_id, answer, Timestamp::from_micros(known.at));
    }
    Ok(ledger)
}

/// A job with what its writer needs, when a row is read of it.
pub(super) fn stored(
    columns: &mut Columns<'_>,
    answers: Option<&str>,
) -> Result<Stored, BoxDynError> {
    let (job, nonce) = columns.job()?;
    let ledger = ledger(job.id(), answers)?;
    Ok(Stored {
        job: Arc::new(job),
        ledger,
        nonce,
    })
}

/// What is in the database and cannot be read: it was put there past all that guards it.
pub(super) fn unreadable(error: BoxDynError) -> StoreError {
    StoreError::Unavailable(format!("the database holds what cannot be read: {error}"))
}

/// The jobs of these rows. One that cannot be read keeps no list from being shown.
pub(super) fn jobs(rows: &[PgRow]) -> Vec<Arc<Job>> {
    rows.iter()
        .filter_map(|row| match Columns::of(row).job() {
            Ok((job, _)) => Some(Arc::new(job)),
            Err(error) => {
                let job_id = row.try_get::<&str, _>(0).unwrap_or_default();
                tracing::error!(job.id = job_id, %error, "a job in the database cannot be read");
                None
            }
        })
        .collect()
}

/// Seqs by the place at which each was asked for.
pub(super) fn seqs(rows: &[PgRow], count: usize) -> Result<Vec<Option<Seq>>, BoxDynError> {
    let mut by_place = HashMap::new();
    for row in rows {
        let mut columns = Columns::of(row);
        by_place.insert(columns.number()?, columns.seq()?);
    }
    // Places are counted from 1.
    let places = 1..=count as u64;
    Ok(places.map(|place| by_place.get(&place).copied()).collect())
}

/// A row of results as it was appended.
pub(super) fn json_text(text: &str) -> Result<Json, BoxDynError> {
    Ok(serde_json::from_str(text)?)
}

/// Reads what a job's runner works on.
pub(super) fn input(row: &PgRow) -> Result<Input, BoxDynError> {
    let mut columns = Columns::of(row);
    let format = match columns.take::<&str>()? {
        "json" => InputFormat::Json,
        "text" => InputFormat::Text,
        "csv" => InputFormat::Csv,
        other => return Err(format!("the format {other:?}").into()),
    };
    Ok(Input {
        format,
        content: BASE64_STANDARD.decode(columns.take::<&str>()?)?.into(),
    })
}

/// Reads an event of a row whose first column belongs to the job.
pub(super) fn event(row: &PgRow) -> Result<(Seq, Option<Event>), BoxDynError> {
    let mut columns = Columns::of(row);
    let dropped = columns.seq()?;
    let seq: Option<i64> = columns.take()?;
    let Some(seq) = seq.map(u64::try_from).transpose()? else {
        return Ok((dropped, None));
    };
    let event = Event {
        seq: Seq::new(seq).unwrap_or(Seq::MAX),
        name: EventName::parse(columns.take()?)?,
        data: json_text(columns.take()?)?,
    };
    Ok((dropped, Some(event)))
}
