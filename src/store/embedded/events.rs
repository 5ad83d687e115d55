//! Kept events: bounded per job, and in all.

use redb::ReadableTable;

use super::{fault::Fault, tables::Tables, weight::weigh, work::Work};
use crate::{
    job::{Event, EventName, Json, NewEvent, Seq},
    store::{KeptEvents, event_bytes},
};

/// What a job with events knows of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct EventLog {
    /// How many are kept.
    pub(super) count: u64,
    /// What they count against the bounds on events.
    pub(super) bytes: u64,
    /// What they take of the file.
    pub(super) weight: u64,
    /// The highest seq that was dropped.
    dropped: u64,
    /// Whether the job has finished: then they leave with it when room is needed.
    is_finished: bool,
}

impl EventLog {
    pub(super) fn of(value: (u64, u64, u64, u64, bool)) -> Self {
        let (count, bytes, weight, dropped, is_finished) = value;
        Self {
            count,
            bytes,
            weight,
            dropped,
            is_finished,
        }
    }

    fn value(&self) -> (u64, u64, u64, u64, bool) {
        (
            self.count,
            self.bytes,
            self.weight,
            self.dropped,
            self.is_finished,
        )
    }

    /// What an event takes of the file, in both tables.
    pub(super) fn weight_of(event: &NewEvent) -> u64 {
        entry_weight(event.name.as_str(), event.data.as_str())
    }
}

fn entry_weight(name: &str, data: &str) -> u64 {
    weigh(16, 4 + name.len() + data.len()) + weigh(16, 0)
}

/// A job's kept events above `after`.
pub(super) fn kept(
    events: &impl ReadableTable<(u64, u64), (&'static str, &'static str)>,
    logs: &impl ReadableTable<u64, (u64, u64, u64, u64, bool)>,
    number: u64,
    after: Seq,
) -> Result<KeptEvents, Fault> {
    let Some(log) = logs.get(number)? else {
        return Ok(KeptEvents::default());
    };
    let dropped = EventLog::of(log.value()).dropped;
    let mut kept = KeptEvents {
        events: Vec::new(),
        dropped: Seq::new(dropped).ok_or_else(|| Fault::damaged("the seq of an event"))?,
    };
    for entry in events.range((number, after.get() + 1)..(number + 1, 0))? {
        let (key, value) = entry?;
        let (name, data) = value.value();
        kept.events.push(Event {
            seq: Seq::new(key.value().1).ok_or_else(|| Fault::damaged("the seq of an event"))?,
            name: EventName::parse(name).map_err(Fault::damaged)?,
            data: json(data)?,
        });
    }
    Ok(kept)
}

/// JSON as it was stored.
pub(super) fn json(text: &str) -> Result<Json, Fault> {
    let raw = serde_json::value::RawValue::from_string(text.to_owned());
    let raw = raw.map_err(|error| Fault::Damaged(format!("a text of JSON ({error})")))?;
    Ok(Json::compact(raw))
}

impl Work<'_, '_> {
    /// Appends events, and drops the oldest until the bounds hold.
    pub(super) fn append_events(
        &mut self,
        number: u64,
        is_finished: bool,
        events: impl Iterator<Item = Event>,
    ) -> Result<(), Fault> {
        let mut log = self.log(number)?.unwrap_or_default();
        log.is_finished = is_finished;
        for Event { seq, name, data } in events {
            let (name, data) = (name.as_str(), data.as_str());
            let (bytes, weight) = (event_bytes(name, data) as u64, entry_weight(name, data));
            self.tables
                .events
                .insert((number, seq.get()), (name, data))?;
            self.tables.events_by_age.insert((seq.get(), number), ())?;
            log.count += 1;
            log.bytes += bytes;
            log.weight += weight;
            self.totals.event_bytes += bytes;
            self.totals.weight += weight;
            if is_finished {
                self.totals.finished_weight += weight;
            }
        }
        while log.count > self.limits.events_per_job || log.bytes > self.limits.event_bytes_per_job
        {
            let oldest = oldest(&self.tables, number)?;
            let Some(seq) = oldest else {
                break;
            };
            self.drop_event(number, seq, &mut log)?;
        }
        self.tables.event_logs.insert(number, log.value())?;
        self.bound_events()
    }

    /// Notes that a job has finished; what its events weigh.
    pub(super) fn finish_events(&mut self, number: u64) -> Result<u64, Fault> {
        let Some(mut log) = self.log(number)? else {
            return Ok(0);
        };
        log.is_finished = true;
        self.tables.event_logs.insert(number, log.value())?;
        Ok(log.weight)
    }

    /// Drops the oldest events of all jobs while there are too many bytes.
    fn bound_events(&mut self) -> Result<(), Fault> {
        while self.totals.event_bytes > self.limits.event_bytes {
            let Some((seq, number)) = self
                .tables
                .events_by_age
                .first()?
                .map(|(key, _)| key.value())
            else {
                break;
            };
            match self.log(number)? {
                Some(mut log) => {
                    self.drop_event(number, seq, &mut log)?;
                    self.tables.event_logs.insert(number, log.value())?;
                }
                // The job was removed, and no longer counts its events.
                None => {
                    self.tables.events_by_age.remove((seq, number))?;
                    self.tables.events.remove((number, seq))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn log(&self, number: u64) -> Result<Option<EventLog>, Fault> {
        let log = self.tables.event_logs.get(number)?;
        Ok(log.map(|log| EventLog::of(log.value())))
    }

    fn drop_event(&mut self, number: u64, seq: u64, log: &mut EventLog) -> Result<(), Fault> {
        self.tables.events_by_age.remove((seq, number))?;
        log.dropped = log.dropped.max(seq);
        let Some(event) = self.tables.events.remove((number, seq))? else {
            return Ok(());
        };
        let (name, data) = event.value();
        let (bytes, weight) = (event_bytes(name, data) as u64, entry_weight(name, data));
        log.count = log.count.saturating_sub(1);
        log.bytes = log.bytes.saturating_sub(bytes);
        log.weight = log.weight.saturating_sub(weight);
        let totals = &mut self.totals;
        totals.event_bytes = totals.event_bytes.saturating_sub(bytes);
        totals.weight = totals.weight.saturating_sub(weight);
        if log.is_finished {
            totals.finished_weight = totals.finished_weight.saturating_sub(weight);
        }
        Ok(())
    }
}

/// The seq of a job's oldest event.
fn oldest(tables: &Tables<'_>, number: u64) -> Result<Option<u64>, Fault> {
    let first = tables.events.range((number, 0)..(number + 1, 0))?.next();
    Ok(first.transpose()?.map(|(key, _)| key.value().1))
}
