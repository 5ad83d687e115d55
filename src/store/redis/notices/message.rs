//! What a message says, after the name of the node that it is from.
//!
//! On a job's channel it is nothing, or, unless that would be too large, the change: the seq before and
//! after on the first line, then the job, then its events, a line each. On the channel of lifecycles it
//! is a word: `entered`, with the job's seq and, on a line of its own, the job; `moved`, with the job's
//! channel, where the job would be too large; or `removed`, with the incarnation and the job's channel.

use std::sync::Arc;

use super::super::{
    keys::Keys,
    read::{as_is, job_of},
};
use crate::{
    job::{Event, EventName, Job, JobId, Seq},
    store::Notice,
};

/// What is said of a followed job.
pub(super) fn of_job(text: &str) -> Option<Notice> {
    let mut lines = text.lines();
    let (prev, seq) = lines.next()?.split_once(' ')?;
    let (prev, seq): (Seq, Seq) = (prev.parse().ok()?, seq.parse().ok()?);
    let job: Job = job_of(lines.next()?, seq).ok()?;
    let events = lines.map(|line| {
        let (seq, event) = line.split_once(' ')?;
        let (name, data) = event.split_once(' ')?;
        Some(Event {
            seq: seq.parse().ok()?,
            name: EventName::parse(name).ok()?,
            data: as_is(data)?,
        })
    });
    Some(Notice::Change {
        prev,
        events: events.collect::<Option<_>>()?,
        job: Arc::new(job),
    })
}

/// What is said of a job's lifecycle.
pub(super) fn of_lifecycle(text: &str, keys: &Keys) -> Option<Notice> {
    let (word, rest) = text.split_once(' ')?;
    let job_of_channel = |channel: &str| JobId::parse(keys.job_of_channel(channel)?).ok();
    match word {
        "entered" => {
            let (seq, document) = rest.split_once('\n')?;
            let job: Job = job_of(document, seq.parse().ok()?).ok()?;
            Some(Notice::Entered(Arc::new(job)))
        }
        "moved" => Some(Notice::Moved(job_of_channel(rest)?)),
        "removed" => {
            let (incarnation, channel) = rest.split_once(' ')?;
            Some(Notice::Removed {
                job_id: job_of_channel(channel)?,
                incarnation: incarnation.parse().ok()?,
            })
        }
        _ => None,
    }
}
