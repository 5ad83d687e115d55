//! What belongs to a job besides its state: events, rows, and what its runner reads.

use std::sync::Arc;

use redis::{Cmd, Value, cmd};

use super::{
    Redis,
    failure::unreadable,
    incarnation,
    read::{as_is, strings},
};
use crate::{
    job::{Event, EventName, Json, Origin, Seq},
    store::{Input, InputFormat, KeptEvents, Rows, StoreError},
};

/// Told in place of an answer, which is somebody's data.
const UNEXPECTED: &str = "it is not what this version writes";

impl Redis {
    /// What a job's runner reads.
    pub(super) async fn input_of(&self, origin: &Origin) -> Result<Option<Input>, StoreError> {
        let mut get = cmd("GET");
        get.arg(self.keys.of_job(&origin.job_id, "input"));
        let found: Option<(_, (Option<Vec<u8>>,))> = self.with_job(origin, &[], [get]).await?;
        let Some((_, (Some(text),))) = found else {
            return Ok(None);
        };
        let wrong = || unreadable("an input", "it has no format");
        let end = text
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(wrong)?;
        let formats = [InputFormat::Json, InputFormat::Text, InputFormat::Csv];
        let format = formats
            .into_iter()
            .find(|format| format.as_str().as_bytes() == &text[..end]);
        Ok(Some(Input {
            format: format.ok_or_else(wrong)?,
            content: Arc::from(&text[end + 1..]),
        }))
    }

    /// A job's kept events above a cursor.
    pub(super) async fn events_of(
        &self,
        origin: &Origin,
        after: Seq,
    ) -> Result<KeptEvents, StoreError> {
        let mut range = cmd("XRANGE");
        range
            .arg(self.keys.of_job(&origin.job_id, "events"))
            .arg(format!("({after}-0"))
            .arg("+");
        type Entries = Vec<(String, Vec<String>)>;
        let found: Option<(_, (Entries,))> = self.with_job(origin, &["dropped"], [range]).await?;
        let Some((fields, (entries,))) = found else {
            return Ok(KeptEvents::of_no_job());
        };
        let dropped = fields.into_iter().flatten().next();
        let dropped = dropped.map_or(Ok(Seq::ZERO), |seq| seq.parse());
        let events = entries.iter().map(|(id, fields)| event_of(id, fields));
        Ok(KeptEvents {
            events: events
                .collect::<Option<_>>()
                .ok_or_else(|| unreadable("an event", UNEXPECTED))?,
            dropped: dropped.map_err(|()| unreadable("a seq", ""))?,
        })
    }

    /// Some of a job's rows.
    pub(super) async fn rows_of(
        &self,
        origin: &Origin,
        from: u64,
        limit: usize,
    ) -> Result<Option<Rows>, StoreError> {
        let key = self.keys.of_job(&origin.job_id, "rows");
        // Redis counts with signs, and its last index is part of the range.
        let first = i64::try_from(from).unwrap_or(i64::MAX);
        let last = first.saturating_add(i64::try_from(limit).unwrap_or(i64::MAX) - 1);
        let (mut length, mut range) = (cmd("LLEN"), cmd("LRANGE"));
        length.arg(&key);
        // Of no rows at all there is no range.
        range.arg(&key).arg(first).arg(last);
        let ranges = (limit > 0).then_some(range);
        let found: Option<(_, Vec<Value>)> = self
            .with_job(origin, &[], [length].into_iter().chain(ranges))
            .await?;
        let Some((_, answers)) = found else {
            return Ok(None);
        };
        let mut answers = answers.into_iter();
        let total = answers.next().map(redis::from_redis_value);
        let total = total
            .transpose()
            .map_err(|_| unreadable("rows", UNEXPECTED))?;
        let texts = answers.next().map(strings).unwrap_or_default();
        let rows: Option<Vec<Json>> = texts.iter().map(|text| as_is(text)).collect();
        Ok(Some(Rows {
            total: total.unwrap_or_default(),
            rows: rows.ok_or_else(|| unreadable("a row", "it is not JSON"))?,
        }))
    }

    /// Reads what belongs to a job, at one moment with the job itself.
    pub(super) async fn with_job<T: redis::FromRedisValue>(
        &self,
        origin: &Origin,
        fields: &[&str],
        commands: impl IntoIterator<Item = Cmd>,
    ) -> Result<Option<(Vec<Option<String>>, T)>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline
            .atomic()
            .cmd("HMGET")
            .arg(self.keys.job(&origin.job_id))
            .arg("incarnation")
            .arg(fields);
        for command in commands {
            pipeline.add_command(command);
        }
        let mut answers: Vec<Value> = self.link.run(&pipeline).await?;
        let found = answers.remove(0);
        let mut found: Vec<Option<String>> =
            redis::from_redis_value(found).map_err(|_| unreadable("a job", UNEXPECTED))?;
        if found.first() != Some(&Some(incarnation(origin))) {
            return self.absent(None).await;
        }
        found.remove(0);
        let rest = redis::from_redis_value(Value::Array(answers));
        let rest = rest.map_err(|_| unreadable("a job", UNEXPECTED))?;
        Ok(Some((found, rest)))
    }
}

/// An entry of a job's stream.
fn event_of(id: &str, fields: &[String]) -> Option<Event> {
    let (seq, _) = id.split_once('-')?;
    let [_, name, _, data] = fields else {
        return None;
    };
    Some(Event {
        seq: seq.parse().ok()?,
        name: EventName::parse(name).ok()?,
        data: as_is(data)?,
    })
}
