//! Any stream: its head, whether it comes at once, and whether it stays.

use std::time::Duration;

use super::{time, unreached, version};
use crate::cli::doctor::{
    advice::{Advice, BUFFERING, CACHING, COMPRESSION, LENGTH, Proxy, READ_TIMEOUT, Topic},
    finding::{Finding, Group},
    patient::shown_place,
    record::{End, Head, How, Record},
    wire::Piece,
};

/// Findings on the stream.
pub(crate) const STREAM: Group = Group("stream");

/// What takes longer than this, though it was sent at once, was held on the way.
pub(crate) const TIMELY: Duration = Duration::from_secs(1);

/// By when a heartbeat is due by default, `stream.heartbeat_seconds`, and how long it may take.
const HEARTBEAT: Duration = Duration::from_secs(31);

/// What ended behind so much silence ended because of it.
const SILENCE: Duration = Duration::from_secs(1);

/// The codes by which progressd itself ends a stream.
const OWN_ENDS: [&str; 5] = [
    "STREAM_TIMEOUT",
    "DRAINING",
    "INTERNAL",
    "TOKEN_EXPIRED",
    "JOB_GONE",
];

/// A stream, and when nothing was done to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched<'a> {
    /// What came.
    pub(crate) record: &'a Record,
    /// How it is encoded when a client says that it can decode.
    pub(crate) encoding: Option<&'a str>,
    /// From when to when nothing was reported, as far as that is known.
    pub(crate) silence: (Duration, Duration),
    /// Whether the doctor asked for its end after that.
    pub(crate) is_ended: bool,
}

impl Watched<'_> {
    /// What holds for every stream.
    pub(crate) fn findings(self) -> Vec<Finding> {
        let Some(head) = &self.record.head else {
            return vec![self.no_head()];
        };
        if head.status != 200 {
            return vec![refused(head)];
        }
        let mut findings = vec![self.head(head)];
        if !self.record.is_stream() {
            // Of anything else nothing of what follows is to be expected.
            return findings;
        }
        findings.extend(self.encoding.map(|encoding| {
            STREAM
                .problem("compression", format!("it comes compressed ({encoding})"))
                .advise(&self.advice(&COMPRESSION))
        }));
        findings.push(self.first_block(head));
        if self.silence.1 > self.silence.0 || self.cut().is_some() {
            findings.push(self.heartbeat());
            findings.push(self.duration());
        }
        findings
    }

    /// The end, when it came before anybody asked for it and not from progressd itself.
    pub(crate) fn cut(self) -> Option<&'static str> {
        let end = self.record.end.as_ref()?;
        let is_early = !self.is_ended || end.at < self.silence.1;
        let is_own = self.own_end().is_some() || self.record.last_block().is_some();
        (is_early && !is_own && !matches!(end.how, How::GivenUp(_))).then_some("it was cut before")
    }

    /// The topic, for the proxy that has signed the head.
    pub(crate) fn advice(self, topic: &'static Topic) -> Advice {
        let head = self.record.head.as_ref();
        topic.before(head.and_then(|head| Proxy::of(&head.headers)))
    }

    fn no_head(self) -> Finding {
        match &self.record.end {
            Some(End {
                how: How::Unreached(failed),
                ..
            }) => STREAM.problem("head", unreached(failed)),
            _ => STREAM
                .problem("head", "no head of an answer came at all")
                .advise(&self.advice(&BUFFERING)),
        }
    }

    fn head(self, head: &Head) -> Finding {
        let kind = self.record.header("content-type").unwrap_or("none");
        if !self.record.is_stream() {
            return STREAM
                .problem("head", format!("its type is {kind}, not text/event-stream"))
                .change("check the address: no stream of progressd answers so")
                .change("if it is the address of a server, end it with a slash");
        }
        if head.at > TIMELY {
            return STREAM
                .problem("head", format!("it came only after {}", time(head.at)))
                .advise(&self.advice(&BUFFERING));
        }
        let control = self.record.header("cache-control").unwrap_or("none");
        if !control.contains("no-cache") && !control.contains("no-store") {
            return STREAM
                .warning(
                    "head",
                    format!("Cache-Control was changed on the way to {control:?}"),
                )
                .advise(&self.advice(&CACHING));
        }
        let version = version(head.version);
        STREAM.ok(
            "head",
            format!("200 {kind} by {version} after {}", time(head.at)),
        )
    }

    fn first_block(self, head: &Head) -> Finding {
        const CHECK: &str = "first block";
        // Heartbeats too: a view may begin with one.
        let Some(first) = self.record.marks.first() else {
            return STREAM
                .problem(CHECK, "nothing came")
                .advise(&self.advice(&BUFFERING));
        };
        let after_head = first.at.saturating_sub(head.at);
        if first.at > TIMELY {
            return STREAM
                .problem(CHECK, format!("it came only after {}", time(first.at)))
                .advise(&self.advice(&BUFFERING));
        }
        match &first.piece {
            Piece::Block(block) if block.event == "error" && block.told.code.is_some() => {
                let code = block.told.code.as_deref().unwrap_or_default();
                let message = block.told.message.as_deref().unwrap_or_default();
                STREAM.problem(CHECK, format!("the stream is refused: {message} ({code})"))
            }
            _ => STREAM.ok(CHECK, format!("{} after the head", time(after_head))),
        }
    }

    fn heartbeat(self) -> Finding {
        const CHECK: &str = "heartbeat";
        let marks = &self.record.marks;
        let heartbeat = marks
            .iter()
            .position(|mark| mark.piece == Piece::Heartbeat && mark.at >= self.silence.0);
        if let Some(place) = heartbeat {
            let before = place
                .checked_sub(1)
                .map_or(Duration::ZERO, |place| marks[place].at);
            let silence = marks[place].at.saturating_sub(before);
            return STREAM.ok(CHECK, format!("after {} of silence", time(silence)));
        }
        if let Some(why) = self.cut() {
            return STREAM.skipped(CHECK, why);
        }
        if self.record.end.is_some() && !self.is_ended {
            return STREAM.skipped(CHECK, "the stream had ended");
        }
        let longest = self.longest_silence();
        if longest < HEARTBEAT {
            let why = match longest + Duration::from_secs(2)
                < self.silence.1.saturating_sub(self.silence.0)
            {
                true => "other blocks kept coming",
                false => {
                    "one comes after 30 s by default (stream.heartbeat_seconds): --seconds 40 waits for it"
                }
            };
            return STREAM.skipped(CHECK, why);
        }
        STREAM
            .warning(CHECK, format!("none in {} of silence", time(longest)))
            .change("stream.heartbeat_seconds of progressd: 30 or less, below every read timeout on the way")
            .advise(&self.advice(&BUFFERING))
    }

    /// The longest time without a byte while nothing was reported.
    fn longest_silence(self) -> Duration {
        let (begin, end) = self.silence;
        let mut last = begin;
        let mut longest = Duration::ZERO;
        let marks = self.record.marks.iter().map(|mark| mark.at);
        for at in marks.filter(|at| (begin..end).contains(at)).chain([end]) {
            longest = longest.max(at.saturating_sub(last));
            last = at;
        }
        longest
    }

    fn duration(self) -> Finding {
        const CHECK: &str = "duration";
        let end = self.record.end.as_ref();
        if let (Some(_), Some(end)) = (self.cut(), end) {
            // What a proxy holds is not seen, but it is no silence.
            let marks = self
                .record
                .marks
                .last()
                .map_or(Duration::ZERO, |mark| mark.at);
            let last = [marks, self.silence.0]
                .into_iter()
                .filter(|at| *at <= end.at)
                .max();
            let last = last.unwrap_or_default();
            let silence = end.at.saturating_sub(last);
            return match silence > SILENCE {
                true => STREAM
                    .problem(CHECK, format!("cut after {} of silence", time(silence)))
                    .advise(&self.advice(&READ_TIMEOUT)),
                false => STREAM
                    .problem(
                        CHECK,
                        format!(
                            "cut {} after its beginning, though it was in use",
                            time(end.at)
                        ),
                    )
                    .advise(&self.advice(&LENGTH)),
            };
        }
        if let Some((code, message)) = self.own_end() {
            return STREAM.warning(
                CHECK,
                format!("progressd itself ended it: {message} ({code})"),
            );
        }
        match end {
            Some(End {
                at,
                how: How::GivenUp(why),
            }) => STREAM.problem(
                CHECK,
                format!("reading was given up after {}: {why}", time(*at)),
            ),
            Some(end) if !self.is_ended => STREAM.ok(
                CHECK,
                format!("it ended as a finished job's does, after {}", time(end.at)),
            ),
            _ => STREAM.ok(
                CHECK,
                format!(
                    "open for {} without being cut (--seconds looks for longer)",
                    time(self.silence.1)
                ),
            ),
        }
    }

    /// Code and message with which progressd itself ended the stream, other than with the job.
    fn own_end(self) -> Option<(&'static str, String)> {
        let (_, last) = self.record.blocks().next_back()?;
        let code = last
            .told
            .code
            .as_deref()
            .filter(|_| last.event == "error")?;
        let code = OWN_ENDS.into_iter().find(|own| *own == code)?;
        Some((code, last.told.message.clone().unwrap_or_default()))
    }
}

fn refused(head: &Head) -> Finding {
    let status = head.status;
    let finding = match &head.refusal {
        Some(refusal) => STREAM.problem(
            "head",
            format!("{status} {} ({})", refusal.message, refusal.code),
        ),
        None => STREAM.problem("head", format!("{status}, and not from progressd")),
    };
    match status {
        204 => STREAM.problem(
            "head",
            "204: the address holds a cursor, and the job has ended there",
        ),
        300..=399 => {
            let place = head
                .headers
                .get("location")
                .and_then(|place| place.to_str().ok());
            let seen = format!(
                "{status}: the stream is redirected to {}",
                shown_place(place)
            );
            STREAM
                .problem("head", seen)
                .change("use the address behind it: a redirect costs each reconnect a call, and may lose the credential")
        }
        401 => finding.change("put an API key or a token into PROGRESSD_TOKEN"),
        404 => finding.change("check the address; that of a server ends with a slash"),
        _ => finding,
    }
}

#[cfg(test)]
mod tests;
