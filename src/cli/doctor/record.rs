//! A stream with the times at which its parts came.

use std::time::{Duration, Instant};

use reqwest::{RequestBuilder, Version, header::HeaderMap};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    calls::{Unreached, diagnose, last_cause, read_body},
    wire::{Block, Piece, Reader},
};
use crate::cli::client::Refusal;

/// How many parts are kept: all statuses of many jobs, and hours of what follows.
const MOST_MARKS: usize = 50_000;

/// How long the body of an answer may take that is no stream.
const LONGEST_BODY: Duration = Duration::from_secs(2);

/// What was seen of a stream, all times since its request was sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    /// The head of the answer.
    pub(super) head: Option<Head>,
    /// Heartbeats and blocks.
    pub(super) marks: Vec<Mark>,
    /// How it ended, if it did.
    pub(super) end: Option<End>,
}

/// The head of a stream's answer.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// When it came.
    pub(super) at: Duration,
    /// The status code.
    pub(super) status: u16,
    /// The protocol.
    pub(super) version: Version,
    /// The headers.
    pub(super) headers: HeaderMap,
    /// What an answer that is no stream says, if it is an error of progressd.
    pub(super) refusal: Option<Refusal>,
}

/// One thing on the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// When it came.
    pub(super) at: Duration,
    /// What it was.
    pub(super) piece: Piece,
}

/// The end of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    /// When it came.
    pub(super) at: Duration,
    /// How.
    pub(super) how: How,
}

/// How a stream ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    /// With the end of the body.
    Whole,
    /// In the middle of it, with the system's words for that.
    Broken(String),
    /// Not at all: reading was given up, and why.
    GivenUp(&'static str),
    /// Before it began.
    Unreached(Unreached),
}

impl Record {
    /// The blocks, with their times.
    pub(super) fn blocks(&self) -> impl DoubleEndedIterator<Item = (Duration, &Block)> {
        self.marks.iter().filter_map(|mark| match &mark.piece {
            Piece::Block(block) => Some((mark.at, block)),
            Piece::Heartbeat => None,
        })
    }

    /// When the doctor's event of that number came.
    pub(super) fn event(&self, number: usize) -> Option<Duration> {
        let mut blocks = self.blocks();
        let found = blocks.find(|(_, block)| block.told.number == Some(number));
        found.map(|(at, _)| at)
    }

    /// The block that tells watchers not to come back.
    pub(super) fn last_block(&self) -> Option<(Duration, &Block)> {
        let last = self.blocks().next_back();
        last.filter(|(_, block)| block.is_last)
    }

    /// Whether the answer is a stream.
    pub(super) fn is_stream(&self) -> bool {
        let kind = self.header("content-type").unwrap_or_default();
        let is_ok = self.head.as_ref().is_some_and(|head| head.status == 200);
        is_ok && kind.to_ascii_lowercase().starts_with("text/event-stream")
    }

    /// A header of the head.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.as_ref()?.headers.get(name)?.to_str().ok()
    }
}

/// A stream that is being read; it ends when dropped.
#[derive(Debug)]
pub(super) struct Recording {
    opened: Instant,
    record: watch::Receiver<Record>,
    reading: JoinHandle<()>,
}

impl Recording {
    /// Sends the request, and reads from now on.
    pub(super) fn open(request: RequestBuilder) -> Self {
        let opened = Instant::now();
        let (sender, record) = watch::channel(Record::default());
        let reading = tokio::spawn(async move {
            let how = read(request, opened, &sender).await;
            let at = opened.elapsed();
            sender.send_modify(|record| record.end = Some(End { at, how }));
        });
        Self {
            opened,
            record,
            reading,
        }
    }

    /// The present, as its times are counted.
    pub(super) fn now(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Waits until something holds or the stream is over, for so long at most; whether it holds.
    pub(super) async fn wait(&mut self, most: Duration, holds: impl Fn(&Record) -> bool) -> bool {
        let is_done = |record: &Record| holds(record) || record.end.is_some();
        let waiting = self.record.wait_for(is_done);
        match tokio::time::timeout(most, waiting).await {
            Ok(Ok(record)) => holds(&record),
            _ => false,
        }
    }

    /// What was seen so far.
    pub(super) fn seen(&self) -> Record {
        self.record.borrow().clone()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read(request: RequestBuilder, opened: Instant, record: &watch::Sender<Record>) -> How {
    let (client, request) = request.build_split();
    let request = match request {
        Ok(request) => request,
        Err(error) => return How::Broken(last_cause(&error.without_url())),
    };
    let url = request.url().clone();
    let mut response = match client.execute(request).await {
        Ok(response) => response,
        Err(error) => return How::Unreached(diagnose(&url, error).await),
    };
    let mut head = Head {
        at: opened.elapsed(),
        status: response.status().as_u16(),
        version: response.version(),
        headers: response.headers().clone(),
        refusal: None,
    };
    if head.status != 200 {
        let body = tokio::time::timeout(LONGEST_BODY, read_body(response)).await;
        head.refusal = Refusal::read(&body.unwrap_or_default());
        record.send_modify(|record| record.head = Some(head));
        return How::Whole;
    }
    record.send_modify(|record| record.head = Some(head));
    let mut reader = Reader::default();
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return How::Whole,
            Err(error) => return How::Broken(last_cause(&error.without_url())),
        };
        let at = opened.elapsed();
        let Ok(pieces) = reader.read(&chunk) else {
            return How::GivenUp("a block is longer than any of progressd");
        };
        let marks = pieces.into_iter().map(|piece| Mark { at, piece });
        record.send_modify(|record| record.marks.extend(marks));
        if record.borrow().marks.len() > MOST_MARKS {
            return How::GivenUp("more blocks came than are looked at");
        }
    }
}
