//! What is followed: one job or many, what the blocks about them mean, and when all is told.

use std::collections::{HashMap, HashSet};

use reqwest::Url;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::news::{Event, News, Removed, Status};
use crate::cli::client::{
    blocks::Block,
    target::{JobAddress, below},
};

/// The most jobs that are kept in mind: twice what a stream shows.
const MOST_JOBS: usize = 10_000;

/// What a follower follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One job, to its end.
    Job(JobAddress),
    /// The stream of many: named jobs, to the end of all, or those that match, for ever.
    Many {
        /// The base URL of the server.
        server: Url,
        /// The stream's query.
        query: Vec<(String, String)>,
    },
}

impl Subject {
    /// The base URL of its server.
    pub fn server(&self) -> &Url {
        match self {
            Self::Job(job) => &job.server,
            Self::Many { server, .. } => server,
        }
    }

    /// The address of its stream.
    pub fn stream(&self) -> Url {
        match self {
            Self::Job(job) => job.call("/stream"),
            Self::Many { server, query } => with_query(below(server, "stream"), query),
        }
    }

    /// The jobs that it names.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Job(job) => vec![job.job_id.to_string()],
            Self::Many { query, .. } => query
                .iter()
                .filter(|(key, _)| key == "job")
                .map(|(_, name)| name.clone())
                .collect(),
        }
    }

    /// Where the status of a named job is asked for.
    pub(super) fn status_of(&self, name: &str) -> Url {
        match self {
            Self::Job(job) => job.call("/status"),
            Self::Many { server, query } => {
                let query: Vec<_> = query.iter().filter(|(key, _)| key != "job").collect();
                with_query(below(server, &format!("jobs/{name}/status")), query)
            }
        }
    }

    /// Where the newest of the jobs are asked for that match.
    pub(super) fn list(&self) -> Option<Url> {
        match self {
            Self::Many { server, query } if self.names().is_empty() => {
                let mut url = with_query(below(server, "jobs"), query);
                url.query_pairs_mut().append_pair("limit", "200");
                Some(url)
            }
            _ => None,
        }
    }
}

fn with_query<'q>(mut url: Url, query: impl IntoIterator<Item = &'q (String, String)>) -> Url {
    for (key, value) in query {
        url.query_pairs_mut().append_pair(key, value);
    }
    url
}

/// What is known of a subject.
#[derive(Debug)]
pub(super) struct Feed {
    /// One job's own stream, whose events come bare.
    own: Option<String>,
    /// Named jobs whose end is still to come; none are named where it never comes.
    awaited: Option<HashSet<String>>,
    known: HashMap<String, Known>,
    round: u64,
    /// An event that may turn out to be why a job failed, which the status tells.
    held: Option<Event>,
}

/// What is known of a job.
#[derive(Debug, Default)]
struct Known {
    /// The seqs of its newest status and event.
    status: u64,
    event: u64,
    /// The last snapshot that told of it, or stream that did.
    round: u64,
}

/// What a block was about.
#[derive(Debug)]
pub(super) enum Taken {
    /// Jobs.
    News(Vec<News>),
    /// The end of the stream, by this code.
    End(String),
}

/// What cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// A status or an event of another make.
    #[error("its words are not those of a progressd server: {0}")]
    Words(#[from] serde_json::Error),
    /// More than any server shows.
    #[error("there are more than {MOST_JOBS} jobs on one stream")]
    TooMany,
}

#[derive(Deserialize)]
struct Envelope {
    job_id: String,
    seq: u64,
    data: Box<RawValue>,
}

#[derive(Deserialize)]
struct End {
    #[serde(default)]
    code: String,
}

impl Feed {
    pub(super) fn new(subject: &Subject) -> Self {
        let names = subject.names();
        Self {
            own: match subject {
                Subject::Job(job) => Some(job.job_id.to_string()),
                Subject::Many { .. } => None,
            },
            awaited: (!names.is_empty()).then(|| names.into_iter().collect()),
            known: HashMap::new(),
            round: 0,
            held: None,
        }
    }

    /// A stream begins, or a list of all there is.
    pub(super) fn begin(&mut self) {
        self.round += 1;
    }

    /// Whether it is the stream of one job, on which nothing follows the last status.
    pub(super) fn is_of_one(&self) -> bool {
        self.own.is_some()
    }

    /// Whether the ends of all named jobs have been told.
    pub(super) fn is_over(&self) -> bool {
        self.awaited.as_ref().is_some_and(HashSet::is_empty)
    }

    /// The named jobs whose end is still to come.
    pub(super) fn awaited(&self) -> Vec<String> {
        self.awaited.iter().flatten().cloned().collect()
    }

    /// The seq of the newest status of a job.
    pub(super) fn newest(&self, name: &str) -> Option<u64> {
        self.known.get(name).map(|known| known.status)
    }

    /// The seq of the newest status of all.
    pub(super) fn newest_of_all(&self) -> Option<u64> {
        self.known.values().map(|known| known.status).max()
    }

    /// Whether something waits for the next block, which comes at once if it belongs to it.
    pub(super) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// What was held, now that no block belongs to it.
    pub(super) fn release(&mut self) -> Option<News> {
        self.held.take().map(News::Event)
    }

    /// Takes a block.
    pub(super) fn take(&mut self, block: Block) -> Result<Taken, Unreadable> {
        let mut news = Vec::new();
        let Block {
            event: name,
            data,
            id,
            ..
        } = block;
        match &*name {
            "status" => {
                let status = Status::read(&data)?;
                let held = self.held.take();
                let is_its_failure = |event: &Event| {
                    event.job_id == status.face.job_id && event.seq == status.face.seq
                };
                news.extend(held.filter(|held| !is_its_failure(held)).map(News::Event));
                news.extend(self.take_status(status)?);
                return Ok(Taken::News(news));
            }
            "error" => {
                let end = match &self.own {
                    // The end of the stream has no id, nor has why the job failed.
                    Some(_) => id.is_none(),
                    None => serde_json::from_str::<Envelope>(&data).is_err(),
                };
                if end {
                    let End { code } = serde_json::from_str(&data)?;
                    return Ok(Taken::End(code));
                }
            }
            _ => {}
        }
        news.extend(self.release());
        match &*name {
            "heartbeat" => {}
            "synced" if self.own.is_none() => news.extend(self.sync()),
            "removed" if self.own.is_none() => {
                news.extend(self.remove(serde_json::from_str(&data)?));
            }
            _ => {
                let Some(event) = self.read_event(name, &data, id.as_deref()) else {
                    // A later server's own word, which is about no job.
                    return Ok(Taken::News(news));
                };
                let known = self.known(&event.job_id)?;
                if event.seq > known.event {
                    known.event = event.seq;
                    match self.own.is_none() && event.name == "error" {
                        true => self.held = Some(event),
                        false => news.push(News::Event(event)),
                    }
                }
            }
        }
        Ok(Taken::News(news))
    }

    fn read_event(&self, name: String, data: &str, id: Option<&str>) -> Option<Event> {
        let (job_id, seq, data) = match &self.own {
            Some(own) => (
                own.clone(),
                id?.parse().ok()?,
                serde_json::from_str(data).ok()?,
            ),
            None => {
                let Envelope { job_id, seq, data } = serde_json::from_str(data).ok()?;
                (job_id, seq, data)
            }
        };
        Some(Event {
            job_id,
            name,
            seq,
            data,
        })
    }

    /// Takes a status, however it came.
    pub(super) fn take_status(&mut self, status: Status) -> Result<Option<News>, Unreadable> {
        let round = self.round;
        let face = &status.face;
        if let Some(awaited) = &mut self.awaited
            && face.is_finished()
        {
            awaited.remove(&face.job_id);
        }
        let known = self.known(&face.job_id)?;
        known.round = round;
        let is_new = face.seq > known.status || face.gap;
        known.status = known.status.max(face.seq);
        Ok(is_new.then(|| News::Status(Box::new(status))))
    }

    /// All that there is has been told: what was not is gone.
    pub(super) fn sync(&mut self) -> Vec<News> {
        let round = self.round;
        let gone = self.known.iter().filter(|(_, known)| known.round < round);
        let gone: Vec<_> = gone.map(|(job_id, _)| job_id.clone()).collect();
        let gone = gone.into_iter().filter_map(|job_id| {
            let code = None;
            self.remove(Removed { job_id, code })
        });
        gone.collect()
    }

    /// A job is not there any more; what has ended well before is no news.
    pub(super) fn remove(&mut self, removed: Removed) -> Option<News> {
        let was_known = self.known.remove(&removed.job_id).is_some();
        let is_news = match &mut self.awaited {
            Some(awaited) => awaited.remove(&removed.job_id),
            None => was_known,
        };
        is_news.then_some(News::Removed(removed))
    }

    fn known(&mut self, job_id: &str) -> Result<&mut Known, Unreadable> {
        if self.known.len() >= MOST_JOBS && !self.known.contains_key(job_id) {
            return Err(Unreadable::TooMany);
        }
        Ok(self.known.entry(job_id.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests;
