//! What workers and watchers of a faulty system saw, written down as it happened.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A moment in the order in which things were written down. What ended at a lower tick than another thing began at
/// happened before it.
pub(super) type Tick = u64;

/// What a worker asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Deed {
    /// A new job.
    Create,
    /// A new job that a runner does: it reports itself.
    Run,
    /// Counts on.
    Increment(u64),
    /// Counts up to.
    Count(u64),
    /// An event; its number is used once in its job.
    Event(u64),
    /// The job's end, in this state.
    End(&'static str),
}

/// What the worker was told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// It was done, and this is the seq in the answer.
    Done(u64),
    /// It was refused, with this code: it must not have been done.
    Refused(String),
    /// Nothing, or nothing that says whether it was done.
    Unknown,
}

/// A report, from its first sending to its last answer.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) job: Arc<str>,
    pub(super) deed: Deed,
    pub(super) began: Tick,
    pub(super) ended: Tick,
    /// When the answer came, since the record began.
    pub(super) ended_at: Duration,
    pub(super) outcome: Outcome,
}

/// A block of a stream.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) tick: Tick,
    pub(super) event: Arc<str>,
    pub(super) data: Arc<str>,
    pub(super) id: Option<u64>,
}

/// How a watcher's connection ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    /// With the body, as the server meant it.
    Closed,
    /// In the middle of it, or before it began.
    Broken,
    /// With 204: there is nothing more to come.
    NothingMore,
    /// With another status than 200.
    Refused(u16),
}

/// A watcher's connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) watcher: usize,
    pub(super) job: Arc<str>,
    /// The `Last-Event-ID` that it was opened with.
    pub(super) cursor: Option<u64>,
    pub(super) began: Tick,
    pub(super) blocks: Vec<Block>,
    pub(super) end: End,
}

/// An answer to somebody who asked for a job's status.
#[derive(Debug, Clone)]
pub(super) struct Poll {
    pub(super) job: Arc<str>,
    pub(super) began: Tick,
    pub(super) ended: Tick,
    /// The status as it was sent, or the code of the answer.
    pub(super) answer: Result<Arc<str>, u16>,
}

/// A node was killed: what it had answered, but not stored for good, is gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kill {
    pub(super) tick: Tick,
    pub(super) at: Duration,
}

/// All that was seen, in the order in which it ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) reports: Vec<Report>,
    pub(super) connections: Vec<Connection>,
    pub(super) polls: Vec<Poll>,
    pub(super) kills: Vec<Kill>,
}

/// Writes a record while things happen.
#[derive(Debug)]
pub(super) struct Recorder {
    begin: Instant,
    ticks: AtomicU64,
    /// Texts that came before: many watchers read the same.
    texts: Mutex<HashSet<Arc<str>>>,
    record: Mutex<Record>,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self {
            begin: Instant::now(),
            ticks: AtomicU64::new(1),
            texts: Mutex::default(),
            record: Mutex::default(),
        }
    }

    /// The present moment.
    pub(super) fn tick(&self) -> Tick {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// A text, of which one copy is kept.
    pub(super) fn text(&self, text: &str) -> Arc<str> {
        let mut texts = self.texts.lock().expect("no section panics");
        if let Some(known) = texts.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        texts.insert(Arc::clone(&text));
        text
    }

    /// A report has ended now.
    pub(super) fn reported(&self, job: &Arc<str>, deed: Deed, began: Tick, outcome: Outcome) {
        let report = Report {
            job: Arc::clone(job),
            deed,
            began,
            ended: self.tick(),
            ended_at: self.begin.elapsed(),
            outcome,
        };
        self.lock().reports.push(report);
    }

    /// A watcher's connection is over.
    pub(super) fn watched(&self, connection: Connection) {
        self.lock().connections.push(connection);
    }

    /// Somebody was answered now.
    pub(super) fn polled(&self, job: &Arc<str>, began: Tick, answer: Result<&str, u16>) {
        let poll = Poll {
            job: Arc::clone(job),
            began,
            answer: answer.map(|text| self.text(text)),
            ended: self.tick(),
        };
        self.lock().polls.push(poll);
    }

    /// A node is being killed.
    pub(super) fn killed(&self) {
        let kill = Kill {
            tick: self.tick(),
            at: self.begin.elapsed(),
        };
        self.lock().kills.push(kill);
    }

    /// What was written down so far.
    pub(super) fn record(&self) -> Record {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no section panics")
    }
}

impl Record {
    /// How much there is of everything.
    pub(super) fn summary(&self) -> String {
        let count = |is_wanted: fn(&Outcome) -> bool| {
            let reports = self.reports.iter();
            reports.filter(|report| is_wanted(&report.outcome)).count()
        };
        let jobs: HashSet<_> = self.reports.iter().map(|report| &report.job).collect();
        let watchers: HashSet<_> = self.connections.iter().map(|it| it.watcher).collect();
        let blocks: usize = self.connections.iter().map(|it| it.blocks.len()).sum();
        // What else than statuses and events came, and how often.
        let mut others: BTreeMap<String, usize> = BTreeMap::new();
        for connection in &self.connections {
            for block in connection.blocks.iter().filter(|it| &*it.event == "error") {
                *others.entry(block.data.to_string()).or_default() += 1;
            }
            if let End::Refused(status) = connection.end {
                *others.entry(status.to_string()).or_default() += 1;
            }
        }
        format!(
            "{} kills; {} jobs; reports: {} done, {} refused, {} without an answer; {} watchers with {} \
             connections and {blocks} blocks; {} polls; {others:?}",
            self.kills.len(),
            jobs.len(),
            count(|outcome| matches!(outcome, Outcome::Done(_))),
            count(|outcome| matches!(outcome, Outcome::Refused(_))),
            count(|outcome| matches!(outcome, Outcome::Unknown)),
            watchers.len(),
            self.connections.len(),
            self.polls.len(),
        )
    }

    /// Everything that was seen of some jobs.
    pub(super) fn story_of(&self, jobs: &[Arc<str>]) -> String {
        let mut lines = Vec::new();
        for report in self.reports.iter().filter(|it| jobs.contains(&it.job)) {
            lines.push((report.began, format!("{report:?}")));
        }
        for connection in self.connections.iter().filter(|it| jobs.contains(&it.job)) {
            lines.push((connection.began, format!("{connection:#?}")));
        }
        for poll in self.polls.iter().filter(|it| jobs.contains(&it.job)) {
            lines.push((poll.began, format!("{poll:?}")));
        }
        for kill in &self.kills {
            lines.push((kill.tick, format!("{kill:?}")));
        }
        lines.sort();
        let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
        lines.join("\n")
    }
}
