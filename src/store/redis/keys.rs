//! The names of everything that is in Redis.
//!
//! All keys of a job have its name in braces, by which a cluster keeps them together. What is
//! found in an index is named by its time of creation, its name and its incarnation, in this
//! order, so that an index in the order of its entries is in that of [`Position`], and no entry
//! of one job is taken for one of a later job of the same name.

use uuid::Uuid;

use super::super::Position;
use crate::job::{JobId, Origin, State, Timestamp};

/// Digits of a time of creation: as many as the last one has.
const TIME_DIGITS: usize = 18;

/// How names are made.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    /// Channels are the same in all databases: what nodes tell each other names its own.
    database: i64,
}

/// What stands for a job in an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Entry(String);

impl Keys {
    pub(super) fn new(prefix: &str, database: i64) -> Self {
        Self {
            prefix: prefix.to_owned(),
            database,
        }
    }

    /// The job itself, or what is remembered of it.
    pub(super) fn job(&self, job_id: &JobId) -> String {
        format!("{}job:{{{job_id}}}", self.prefix)
    }

    /// What belongs to a job.
    pub(super) fn of_job(&self, job_id: &JobId, part: &str) -> String {
        format!("{}job:{{{job_id}}}:{part}", self.prefix)
    }

    /// All that there can be of a job, in the order in which the scripts take it.
    pub(super) fn whole_job(&self, job_id: &JobId) -> [String; 7] {
        [
            self.job(job_id),
            self.of_job(job_id, "events"),
            self.of_job(job_id, "rows"),
            self.of_job(job_id, "ledger"),
            self.of_job(job_id, "ledger:ages"),
            self.of_job(job_id, "input"),
            self.of_job(job_id, "claim"),
        ]
    }

    /// An index, or another key of the store's own.
    pub(super) fn own(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The jobs of a state.
    pub(super) fn state(&self, state: State) -> String {
        format!("{}index:state:{}", self.prefix, state.as_str())
    }

    /// The jobs that share a field's value.
    pub(super) fn index(&self, field: &str, value: &str) -> String {
        format!("{}index:{field}:{value}", self.prefix)
    }

    /// Where changes of a job are told.
    pub(super) fn channel(&self, job_id: &str) -> String {
        format!("{}changes:{}:{job_id}", self.prefix, self.database)
    }

    /// Where it is told that jobs are new, have another state, or were removed.
    pub(super) fn lifecycle(&self) -> String {
        format!("{}lifecycle:{}", self.prefix, self.database)
    }

    /// The job that a channel is about.
    pub(super) fn job_of_channel<'a>(&self, channel: &'a str) -> Option<&'a str> {
        channel.strip_prefix(&self.channel(""))
    }

    /// What the channels of pushed messages begin with.
    pub(super) fn pushed_to(&self) -> String {
        self.own("report:")
    }

    /// All of these channels, as a pattern.
    pub(super) fn pushed_messages(&self) -> String {
        format!("{}*", literal(&self.pushed_to()))
    }

    /// Every index that a job is in for as long as it is there.
    pub(super) fn lasting(&self, origin: &Origin) -> Vec<String> {
        let mut keys = vec![self.own("index:all")];
        if let Some(kind) = &origin.kind {
            keys.push(self.index("kind", kind));
        }
        if let Some(owner) = &origin.owner {
            keys.push(self.index("owner", owner));
        }
        if let Some(parent_id) = &origin.parent_id {
            keys.push(self.index("parent", parent_id.as_str()));
        }
        keys.extend(origin.tags.iter().map(|tag| self.index("tag", tag)));
        keys
    }

    /// The index of unfinished jobs of a job's kind.
    pub(super) fn unfinished(&self, origin: &Origin) -> Option<String> {
        let kind = origin.kind.as_ref()?;
        Some(self.index("unfinished", kind))
    }

    /// Unfinished jobs by the moment that somebody has to look at them.
    pub(super) fn due(&self) -> String {
        self.own("index:due")
    }

    /// Finished jobs by the end of their retention.
    pub(super) fn expiry(&self) -> String {
        self.own("index:expiry")
    }
}

impl Entry {
    /// That of a job.
    pub(super) fn of(origin: &Origin) -> Self {
        let (created_at, job_id) = (origin.created_at.as_micros(), &origin.job_id);
        let incarnation = origin.incarnation.simple();
        Self(format!("{created_at:0TIME_DIGITS$}{job_id} {incarnation}"))
    }

    /// One that was found.
    pub(super) fn read(text: String) -> Self {
        Self(text)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Which job it stands for; `None` when this is no entry of ours.
    pub(super) fn job(&self) -> Option<(JobId, Uuid)> {
        let (job_id, incarnation) = self.0.get(TIME_DIGITS..)?.split_once(' ')?;
        Some((JobId::parse(job_id).ok()?, incarnation.parse().ok()?))
    }

    /// The bound of an index's part that is before a position. Names are longer than this and, by
    /// the space, in order: no letter of a name comes before it.
    pub(super) fn before(position: Option<&Position>) -> String {
        position.map_or_else(
            || "+".to_owned(),
            |position| format!("({}", start(position)),
        )
    }

    /// The bound of the part that is after a position.
    pub(super) fn after(position: Option<&Position>) -> String {
        // No incarnation begins with a tilde.
        position.map_or_else(
            || "-".to_owned(),
            |position| format!("({}~", start(position)),
        )
    }
}

/// A text as a pattern that only it matches.
fn literal(text: &str) -> String {
    let mut pattern = String::new();
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

fn start(position: &Position) -> String {
    let Position { created_at, job_id } = position;
    let created_at = Timestamp::as_micros(*created_at);
    format!("{created_at:0TIME_DIGITS$}{job_id} ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Job;
    use crate::store::redis::tests::job_named;

    fn at(micros: u64, name: &str) -> Job {
        let mut job = job_named(name);
        let mut origin = (*job.origin).clone();
        origin.created_at = Timestamp::from_micros(micros);
        job.origin = origin.into();
        job
    }

    #[test]
    fn entries_are_in_the_order_of_positions() {
        let mut jobs: Vec<Job> = [
            (5, "b"),
            (5, "a"),
            (5, "a-"),
            (5, "a~"),
            (12, "a"),
            (5, "aa"),
        ]
        .map(|(micros, name)| at(micros, name))
        .into();
        jobs.sort_by_key(|job| Entry::of(&job.origin));
        assert!(jobs.is_sorted_by_key(Position::of));
        for (index, job) in jobs.iter().enumerate() {
            let position = Position::of(job);
            let before = Entry::before(Some(&position));
            let after = Entry::after(Some(&position));
            for (other, entry) in jobs.iter().map(|job| Entry::of(&job.origin)).enumerate() {
                assert_eq!(entry.as_str() < &before[1..], other < index);
                assert_eq!(entry.as_str() > &after[1..], other > index);
            }
        }
    }

    #[test]
    fn an_entry_tells_which_job_it_stands_for() {
        let job = at(7, "a.b");
        let entry = Entry::of(&job.origin);
        let told = entry.job();
        assert_eq!(told, Some((job.id().clone(), job.origin.incarnation)));
        for other in ["", "x", "000000000000000007 ", "000000000000000007a b"] {
            assert_eq!(Entry::read(other.to_owned()).job(), None);
        }
    }

    #[test]
    fn a_channel_names_its_database_and_its_job() {
        let keys = Keys::new("p:", 3);
        assert_eq!(keys.channel("a:b"), "p:changes:3:a:b");
        assert_eq!(keys.job_of_channel("p:changes:3:a:b"), Some("a:b"));
        assert_eq!(keys.job_of_channel("p:changes:4:a:b"), None);
    }
}
