//! What a list filters by, apart from the job's document: a list then reads those of its matches alone.

use aws_lc_rs::digest::{SHA256, digest};

use super::{
    fault::Fault,
    tables::{state_number, state_of},
};
use crate::{
    job::{Job, State, Timestamp},
    store::Filter,
};

/// Bytes before the marks of tags: state, end of retention, marks of kind, owner and parent.
const FIXED: usize = 1 + 8 + 3 * 4;

/// A short stand-in for a word. Two words may share one: whoever finds a job by its card looks at
/// the job itself.
type Mark = [u8; 4];

/// A job's entry in the index by age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) state: State,
    /// When the retention of a finished job ends, in microseconds.
    expires_at: u64,
    kind: Mark,
    owner: Mark,
    parent: Mark,
    tags: Vec<Mark>,
}

impl Card {
    pub(super) fn of(job: &Job) -> Self {
        let origin = &job.origin;
        Self {
            state: job.face.state,
            expires_at: job.expires_at().map_or(u64::MAX, Timestamp::as_micros),
            kind: mark(origin.kind.as_deref()),
            owner: mark(origin.owner.as_deref()),
            parent: mark(origin.parent_id.as_ref().map(|parent| parent.as_str())),
            tags: origin.tags.iter().map(|tag| mark(Some(tag))).collect(),
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED + 4 * self.tags.len());
        bytes.push(state_number(self.state));
        bytes.extend(self.expires_at.to_be_bytes());
        for mark in [self.kind, self.owner, self.parent]
            .iter()
            .chain(&self.tags)
        {
            bytes.extend(mark);
        }
        bytes
    }
}

/// A filter's own marks.
#[derive(Debug)]
pub(super) struct Sieve {
    states: Vec<u8>,
    kind: Option<Mark>,
    owner: Option<Mark>,
    parent: Option<Mark>,
    tag: Option<Mark>,
}

impl Sieve {
    pub(super) fn of(filter: &Filter) -> Self {
        let wanted = |word: Option<&str>| word.map(|word| mark(Some(word)));
        Self {
            states: filter.states.iter().copied().map(state_number).collect(),
            kind: wanted(filter.kind.as_deref()),
            owner: wanted(filter.owner.as_deref()),
            parent: wanted(filter.parent_id.as_ref().map(|parent| parent.as_str())),
            tag: wanted(filter.tag.as_deref()),
        }
    }

    /// Whether a list at `now` may show the job with this card. Read where it stands: a list may
    /// look at a million.
    pub(super) fn may_match(&self, card: &[u8], now: Timestamp) -> Result<bool, Fault> {
        let damaged = || Fault::damaged("an entry of the index");
        let (fixed, tags) = card.split_at_checked(FIXED).ok_or_else(damaged)?;
        state_of(fixed[0])?;
        let end = fixed[1..9].try_into().map_err(|_| damaged())?;
        let is = |wanted: Option<Mark>, from: usize| {
            wanted.is_none_or(|wanted| fixed[from..from + 4] == wanted)
        };
        Ok((self.states.is_empty() || self.states.contains(&fixed[0]))
            && u64::from_be_bytes(end) > now.as_micros()
            && is(self.kind, 9)
            && is(self.owner, 13)
            && is(self.parent, 17)
            && self
                .tag
                .is_none_or(|wanted| tags.chunks(4).any(|tag| tag == wanted)))
    }
}

/// The same for all versions of this program: it is stored.
fn mark(word: Option<&str>) -> Mark {
    let Some(word) = word else {
        return Mark::default();
    };
    let hash = digest(&SHA256, word.as_bytes());
    let mut mark = Mark::default();
    mark.copy_from_slice(&hash.as_ref()[..4]);
    mark
}
