//! The store that several nodes share: Redis 7 or newer.
//!
//! Every change of a job is one script that Redis runs whole (`redis/*.lua`): it compares, takes
//! the time, sets the state, appends, and tells the other nodes. Everything of a job lies under
//! keys with its name in braces, so that a cluster keeps it together; what jobs are found by lies
//! elsewhere (`redis/index.rs`). The connection is watched over and replaced (`redis/link.rs`);
//! what others do is heard on another one (`redis/notices.rs`).

mod address;
mod browse;
mod failure;
mod index;
mod keys;
mod link;
mod notices;
mod read;
mod scripts;
mod sharing;
mod signals;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::{Cmd, Value, cmd};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Commit, Committed, Created, Filter, Former, Input, InputFormat, JobCounts, KeptEvents, Loaded,
    Position, Rows, Shared, Store, StoreError,
};
use crate::job::{Event, EventName, Job, JobId, Json, Origin, Seq, State, Timestamp};
use address::Address;
use browse::{Direction, Upkeep};
use failure::{Failure, unreadable};
use keys::{Entry, Keys};
use link::Link;
use notices::{Hearing, LARGEST_CHANGE};
use read::{Found, Held, JOB_FIELDS, as_is, from_json, remember, stored, strings, to_json};
use scripts::{Scripts, call};
use signals::Signals;

/// How long a reserved key stays bound, in seconds: as long as a job remembers a report id.
const RESERVATION_SECONDS: u64 = 86_400;

/// Where Redis is, and how it is used.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://user:password@host:port/database`, or `rediss`.
    pub url: String,
    /// What every key and every channel begins with.
    pub prefix: String,
    /// PEM file with the authorities that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a Redis that is not there yet is waited for at the start.
    pub start_patience: Duration,
    /// Kept events per job.
    pub events_per_job: usize,
    /// Bytes of kept events per job.
    pub event_bytes_per_job: usize,
}

/// Jobs in Redis.
#[derive(Debug)]
pub struct Redis {
    link: Link,
    hearing: Hearing,
    keys: Arc<Keys>,
    scripts: Scripts,
    signals: Arc<Signals>,
    upkeep: Upkeep,
    /// Who this is among those who use the same Redis.
    node: Uuid,
    events_per_job: usize,
    event_bytes_per_job: usize,
}

impl Redis {
    /// Connects. A Redis that is away, or still loading, is waited for.
    ///
    /// # Errors
    /// A sentence: what is wrong with the settings, or what Redis has against them; or that it was
    /// waited for in vain.
    pub async fn open(settings: RedisSettings) -> Result<Self, StoreError> {
        let patience = settings.timeout;
        let address = Address::parse(&settings.url, settings.ca.as_deref(), patience)
            .map_err(StoreError::Unavailable)?;
        let address = Arc::new(address);
        let keys = Arc::new(Keys::new(&settings.prefix, address.database()));
        let signals = Arc::new(Signals::default());
        let give_up = Instant::now() + settings.start_patience;
        let link = Link::open(
            Arc::clone(&address),
            keys.own("marker"),
            Arc::clone(&signals),
            patience,
            give_up,
        )
        .await
        .map_err(|failure| match failure {
            Failure::Away(reason) | Failure::Wrong(reason) => StoreError::Unavailable(reason),
        })?;
        let node = Uuid::now_v7();
        Ok(Self {
            link,
            hearing: Hearing::start(
                address,
                Arc::clone(&keys),
                Arc::clone(&signals),
                node,
                patience,
            ),
            keys,
            scripts: Scripts::new(),
            signals,
            upkeep: Upkeep::default(),
            node,
            events_per_job: settings.events_per_job,
            event_bytes_per_job: settings.event_bytes_per_job,
        })
    }

    /// What is not there, unless Redis has just lost everything: then it may yet come back, and
    /// nobody is told that a job is gone which another node still holds.
    fn absent<T>(&self, told: T) -> Result<T, StoreError> {
        match self.signals.is_returning() {
            true => Err(StoreError::Unavailable(
                "Redis: it came back empty, and jobs are being put back".to_owned(),
            )),
            false => Ok(told),
        }
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
            .arg(self.node.to_string());
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
            .arg(commit.answers.len());
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
            "missing" => self.absent(Some(Committed::Missing)),
            "conflict" => {
                let mut stored = stored(next(), next(), next())?;
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

    /// Reads what belongs to a job, at one moment with the job itself.
    async fn with_job<T: redis::FromRedisValue>(
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
            redis::from_redis_value(found).map_err(|error| unreadable("a job", error))?;
        if found.first() != Some(&Some(incarnation(origin))) {
            return self.absent(None);
        }
        found.remove(0);
        let rest = redis::from_redis_value(Value::Array(answers));
        let rest = rest.map_err(|error| unreadable("a job", error))?;
        Ok(Some((found, rest)))
    }

    async fn put(
        &self,
        key: String,
        value: &[u8],
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Vec<u8>, StoreError> {
        let end = ttl.map_or(0, |ttl| {
            let micros = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
            Timestamp::from_micros(now.as_micros().saturating_add(micros)).as_micros()
        });
        let mut put = call(&self.scripts.put, &[key]);
        put.arg(value).arg(now.as_micros()).arg(end);
        self.link.call(put).await
    }
}

#[async_trait]
impl Store for Redis {
    async fn create(&self, job: &Job, input: Option<&Input>) -> Result<Created, StoreError> {
        let mut pipeline = redis::pipe();
        index::announce(&mut pipeline, &self.keys, job);
        pipeline.add_command(self.call_create(job, input));
        let (answer,): (Vec<String>,) = self.link.run(&pipeline).await?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["exists", document, seq, nonce] => {
                // Its entries were for nothing.
                let mut pipeline = redis::pipe();
                index::forget(&mut pipeline, &self.keys, &job.origin);
                self.link.tell(pipeline).await;
                Ok(Created::Exists(stored(document, seq, nonce)?))
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

    async fn reserve(
        &self,
        key: &str,
        job_id: &JobId,
        now: Timestamp,
    ) -> Result<JobId, StoreError> {
        let key = self.keys.own(&format!("request:{key}"));
        let ttl = Duration::from_secs(RESERVATION_SECONDS);
        let bound = self
            .put(key, job_id.as_str().as_bytes(), Some(ttl), now)
            .await?;
        let bound = String::from_utf8(bound).map_err(|error| unreadable("a name", error))?;
        JobId::parse(&bound).map_err(|rule| unreadable("a name", rule))
    }

    async fn load(&self, job_id: &JobId, now: Timestamp) -> Result<Loaded, StoreError> {
        let mut get = cmd("HMGET");
        get.arg(self.keys.job(job_id)).arg(&JOB_FIELDS[..]);
        let found: Found = self.link.call(get).await?;
        match Held::read(found)? {
            Held::Job(stored) if is_expired(&stored.job, now) => {
                Ok(Loaded::Gone(Former::of(&stored.job.origin)))
            }
            Held::Job(stored) => Ok(Loaded::Job(stored)),
            Held::Gone(origin, until) if until > now => Ok(Loaded::Gone(Former::of(&origin))),
            Held::Gone(..) => Ok(Loaded::Unknown),
            Held::Nothing => self.absent(Loaded::Unknown),
        }
    }

    async fn input(&self, origin: &Origin) -> Result<Option<Input>, StoreError> {
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

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        // Most commits change nothing that a job is found by. Of these two it is known.
        let job = commit.job;
        let has_begun = job.face.started_at == Some(job.updated_at);
        let is_indexed = commit.positions > 0 && (job.is_finished() || has_begun);
        if let Some(committed) = self.try_commit(&commit, is_indexed).await? {
            return Ok(committed);
        }
        let committed = self.try_commit(&commit, true).await?;
        committed.ok_or_else(|| unreadable("an answer", "it is not that of the script"))
    }

    async fn events_after(&self, origin: &Origin, after: Seq) -> Result<KeptEvents, StoreError> {
        let mut range = cmd("XRANGE");
        range
            .arg(self.keys.of_job(&origin.job_id, "events"))
            .arg(format!("({after}-0"))
            .arg("+");
        type Entries = Vec<(String, Vec<String>)>;
        let found: Option<(_, (Entries,))> = self.with_job(origin, &["dropped"], [range]).await?;
        let Some((fields, (entries,))) = found else {
            return Ok(KeptEvents::default());
        };
        let dropped = fields.into_iter().flatten().next();
        let dropped = dropped.map_or(Ok(Seq::ZERO), |seq| seq.parse());
        let events = entries.iter().map(|(id, fields)| event_of(id, fields));
        Ok(KeptEvents {
            events: events
                .collect::<Option<_>>()
                .ok_or_else(|| unreadable("an event", "it is not what this version writes"))?,
            dropped: dropped.map_err(|()| unreadable("a seq", ""))?,
        })
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<&Position>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let indexes = self.indexes_for(filter).await?;
        let from = Entry::before(before);
        let fits = |job: &Job| filter.matches(job) && !is_expired(job, now);
        self.browse(indexes, &from, Direction::NewestFirst, limit, fits)
            .await
    }

    async fn unfinished(
        &self,
        kind: Option<&str>,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let states = [State::Pending, State::Processing];
        let indexes = match kind {
            Some(kind) => vec![self.keys.index("unfinished", kind)],
            None => states.map(|state| self.keys.state(state)).into(),
        };
        let from = Entry::after(after);
        let fits = |job: &Job| {
            !job.is_finished() && (kind.is_none() || kind == job.origin.kind.as_deref())
        };
        self.browse(indexes, &from, Direction::OldestFirst, limit, fits)
            .await
    }

    async fn rows(
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
            .map_err(|error| unreadable("rows", error))?;
        let texts = answers.next().map(strings).unwrap_or_default();
        let rows: Option<Vec<Json>> = texts.iter().map(|text| as_is(text)).collect();
        Ok(Some(Rows {
            total: total.unwrap_or_default(),
            rows: rows.ok_or_else(|| unreadable("a row", "it is not JSON"))?,
        }))
    }

    async fn remove(&self, origin: &Origin, gone_until: Timestamp) -> Result<(), StoreError> {
        let remove = self.call_remove(origin, gone_until.as_micros(), None);
        let _: Option<String> = self.link.call(remove).await?;
        let mut pipeline = redis::pipe();
        index::forget(&mut pipeline, &self.keys, origin);
        self.link.tell(pipeline).await;
        Ok(())
    }

    async fn expire(
        &self,
        now: Timestamp,
        gone_seconds: u64,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let removed = self.expire_some(now, gone_seconds, limit).await?;
        // Names that are gone leave by themselves.
        self.look_after().await?;
        Ok(removed)
    }

    async fn put_if_absent(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Arc<[u8]>, StoreError> {
        let key = self.keys.own(&format!("value:{key}"));
        self.put(key, value, ttl, now).await.map(Arc::from)
    }

    async fn counts(&self) -> Result<JobCounts, StoreError> {
        let mut pipeline = redis::pipe();
        for state in State::ALL {
            pipeline.cmd("ZCARD").arg(self.keys.state(state));
        }
        let found: Vec<u64> = self.link.run(&pipeline).await?;
        let mut counts = JobCounts::default();
        for (state, count) in State::ALL.into_iter().zip(found) {
            counts.set(state, count);
        }
        Ok(counts)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.link.call(cmd("PING")).await
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }
}

fn is_expired(job: &Job, now: Timestamp) -> bool {
    job.expires_at().is_some_and(|end| end <= now)
}

fn incarnation(origin: &Origin) -> String {
    origin.incarnation.to_string()
}

/// A moment as scripts take it: nothing when there is none.
fn micros(moment: Option<Timestamp>) -> String {
    moment.map_or_else(String::new, |moment| moment.as_micros().to_string())
}

/// An input as it is kept: its format on a line of its own.
fn written(input: &Input) -> Vec<u8> {
    [input.format.as_str().as_bytes(), b"\n", &input.content].concat()
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
