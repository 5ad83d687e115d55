//! A stream of many jobs polled by hand: whom a change wakes, and what a reader is told that was away.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use progressd::{
    job::{Job, State},
    metrics::{Meter, StreamMetrics},
    store::Filter,
    stream::{
        Blocks as _, MultiStart, MultiStream, Selection, Selector, StreamOptions, StreamSettings,
    },
};
use serde_json::{Value, json};

use super::{SHARP, emit, job_of, remove, said, words};
use crate::support::{in_time, server::TestServer, sse::Block};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);

const SETTINGS: StreamSettings = StreamSettings {
    retry: Duration::from_secs(5),
    heartbeat: NEVER,
    max_duration: NEVER,
    rewind: Duration::ZERO,
    drain: Duration::from_secs(10),
};

/// Counts how often the reader is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A stream, and the bell of who reads it.
struct Reader {
    stream: MultiStream,
    bell: Arc<Bell>,
}

impl Reader {
    async fn of(server: &TestServer, filter: Filter) -> Self {
        let selection = Selection::Matching(Selector::new(filter, |_: &Job| true));
        let start = MultiStart::new(server.registry(), selection, None, SETTINGS.rewind).await;
        let start = start.expect("a store that answers").expect("jobs to watch");
        let open = StreamMetrics::new(&Meter::new()).open();
        Self {
            stream: MultiStream::new(start, SETTINGS, StreamOptions::default(), open),
            bell: Arc::default(),
        }
    }

    /// What one poll brings.
    fn poll(&mut self) -> Option<Vec<Block>> {
        let waker = Waker::from(Arc::clone(&self.bell));
        match self.stream.poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(Some(piece)) => Some(blocks(&piece.joined())),
            Poll::Ready(None) => panic!("the stream is over"),
            Poll::Pending => None,
        }
    }

    /// Everything that comes until there is nothing more.
    fn read(&mut self) -> Vec<Block> {
        std::iter::from_fn(|| self.poll()).flatten().collect()
    }

    /// Reads until this many blocks have come.
    async fn read_so_many(&mut self, count: usize) -> Vec<Block> {
        let mut blocks = Vec::new();
        let reading = async {
            while blocks.len() < count {
                blocks.extend(self.read());
                tokio::task::yield_now().await;
            }
        };
        in_time("the blocks", reading).await;
        blocks
    }

    fn rings(&self) -> usize {
        self.bell.0.load(Ordering::SeqCst)
    }
}

fn blocks(piece: &[u8]) -> Vec<Block> {
    let text = std::str::from_utf8(piece).expect("UTF-8");
    let text = text.strip_suffix("\n\n").expect("whole blocks");
    text.split("\n\n").map(Block::parse).collect()
}

fn of_kind(kind: &str) -> Filter {
    Filter {
        kind: Some(kind.to_owned()),
        ..Filter::default()
    }
}

#[tokio::test]
async fn a_change_to_a_job_that_nobody_asked_for_wakes_nobody() {
    let server = TestServer::with(SHARP).await;
    server.create(json!({"job_id": "mine", "kind": "k"})).await;
    let mut reader = Reader::of(&server, of_kind("k")).await;
    reader.read_so_many(2).await;
    let before = reader.rings();
    server.create(json!({"job_id": "other", "kind": "l"})).await;
    for report in [
        json!({"processed_count": 1}),
        json!({"status": "completed"}),
    ] {
        server.report("other", report).await;
    }
    assert_eq!(reader.rings(), before);
    server.report("mine", json!({"processed_count": 1})).await;
    assert!(reader.rings() > before);
    let told: Vec<_> = reader.read().iter().map(said).collect();
    assert_eq!(told, [words("status", "mine", json!("processing"))]);
}

#[tokio::test]
async fn a_reader_that_was_away_gets_what_is_kept_and_is_told_of_the_rest() {
    let server = TestServer::with(&format!("{SHARP}\n[events]\nmax_count = 10")).await;
    for job_id in ["fast", "slow"] {
        server.create(json!({"job_id": job_id})).await;
    }
    let mut reader = Reader::of(&server, Filter::default()).await;
    reader.read_so_many(3).await;
    // More than a job's hub keeps for a reader.
    let events: Vec<_> = (0..1_000)
        .map(|data| json!({"event": "line", "data": data}))
        .collect();
    for _ in 0..20 {
        let path = "/api/v1/jobs/fast/events";
        server.post(path, json!(events)).await;
    }
    emit(&server, "slow", json!("one")).await;
    let mut blocks = Vec::new();
    let is_gap = |block: &Block| block.json()["gap"] == true;
    let reading = async {
        while !blocks.iter().any(is_gap) {
            blocks.extend(reader.read());
            tokio::task::yield_now().await;
        }
    };
    in_time("word of the gap", reading).await;
    // The other job lost nothing, and while something was missing no cursor moved.
    assert!(
        blocks
            .iter()
            .any(|block| said(block) == words("line", "slow", json!("one")))
    );
    let gap = blocks.iter().position(is_gap).expect("word of the gap");
    let moved = blocks[..gap].iter().filter(|block| block.id.is_some());
    assert_eq!(moved.count(), 0, "{blocks:?}");
    let of_fast = blocks[gap + 1..]
        .iter()
        .filter(|block| block.name() == "line");
    let kept: Vec<Value> = of_fast.map(|block| block.json()["data"].clone()).collect();
    assert_eq!(json!(kept), json!((990..1_000).collect::<Vec<_>>()));
    // From then on it goes on as before.
    emit(&server, "fast", json!("next")).await;
    let next = reader.read_so_many(1).await;
    assert_eq!(said(&next[0]), words("line", "fast", json!("next")));
    assert!(next[0].id.is_some());
}

#[tokio::test]
async fn a_slow_reader_gets_the_newest_status_of_each_job_and_every_event() {
    let server = TestServer::with(SHARP).await;
    for job_id in ["a", "b"] {
        server.create(json!({"job_id": job_id})).await;
    }
    let mut reader = Reader::of(&server, Filter::default()).await;
    reader.read_so_many(3).await;
    for count in 1..=30 {
        for job_id in ["a", "b"] {
            server
                .report(job_id, json!({"processed_count": count}))
                .await;
        }
        emit(&server, "a", json!(count)).await;
    }
    // The first read finds a reader that waited; it has everything. After that it is busy.
    reader.read();
    for count in 31..=60 {
        for job_id in ["a", "b"] {
            server
                .report(job_id, json!({"processed_count": count}))
                .await;
        }
        emit(&server, "a", json!(count)).await;
    }
    let blocks = reader.read();
    let of = |name: &str, job_id: &str| {
        let of_job = blocks.iter().filter(|block| said(block).1 == job_id);
        of_job.filter(|block| block.name() == name).count()
    };
    assert_eq!(of("line", "a"), 30);
    for job_id in ["a", "b"] {
        assert!(of("status", job_id) >= 1);
    }
    let last_of = |job_id: &str| {
        let mut statuses = blocks.iter().rev().filter(|block| block.name() == "status");
        let last = statuses.find(|block| said(block).1 == job_id);
        last.expect("a status").json()["processed_count"].clone()
    };
    assert_eq!([last_of("a"), last_of("b")], [60, 60]);
}

#[tokio::test]
async fn no_id_goes_beyond_an_event_that_was_not_told() {
    let server = TestServer::with(SHARP).await;
    for job_id in ["a", "b"] {
        server.create(json!({"job_id": job_id})).await;
    }
    let mut reader = Reader::of(&server, Filter::default()).await;
    reader.read_so_many(3).await;
    // More than a piece of known jobs, and more new ones than are joined at a time; nobody reads.
    let mut events: Vec<(u64, String)> = Vec::new();
    for number in 0..300 {
        let new = format!("new-{number}");
        server.create(json!({"job_id": new})).await;
        for job_id in ["a", "b", &new] {
            let event = json!({"event": "line", "data": "x".repeat(300)});
            let path = format!("/api/v1/jobs/{job_id}/events");
            let seq = server.post(&path, event).await.json()["seq"].clone();
            events.push((seq.as_u64().expect("a seq"), job_id.to_owned()));
        }
    }
    let mut told = HashSet::new();
    let mut cursor = 0;
    let reading = async {
        while told.len() < events.len() {
            let Some(blocks) = reader.poll() else {
                tokio::task::yield_now().await;
                continue;
            };
            for block in &blocks {
                if block.name() == "line" {
                    told.insert((block.json()["seq"].as_u64().expect("a seq"), job_of(block)));
                }
                cursor = cursor.max(block.seq());
            }
            let untold = events
                .iter()
                .find(|event| event.0 <= cursor && !told.contains(event));
            assert_eq!(untold, None, "an id said {cursor}");
        }
    };
    in_time("the events", reading).await;
    // And it does not stay behind.
    emit(&server, "a", json!("last")).await;
    let last = reader.read_so_many(1).await;
    assert_eq!(json!(last[0].seq()), last[0].json()["seq"]);
}

#[tokio::test]
async fn a_job_that_ends_and_is_removed_is_told_to_its_end_before_it_leaves() {
    let server = TestServer::with(SHARP).await;
    server.create(json!({"job_id": "a"})).await;
    let mut reader = Reader::of(&server, Filter::default()).await;
    reader.read_so_many(2).await;
    emit(&server, "a", json!(1)).await;
    server.report("a", json!({"status": "completed"})).await;
    remove(&server, "a").await;
    let told: Vec<_> = reader.read_so_many(3).await.iter().map(said).collect();
    let end = [
        words("status", "a", json!("completed")),
        words("removed", "a", Value::Null),
    ];
    assert!(told.contains(&words("line", "a", json!(1))), "{told:?}");
    assert_eq!(told[told.len() - 2..], end);
}

#[tokio::test]
async fn ids_of_the_first_snapshot_do_not_pass_its_beginning() {
    let server = TestServer::with(SHARP).await;
    for job_id in ["a", "b"] {
        server.create(json!({"job_id": job_id})).await;
    }
    let mut reader = Reader::of(&server, Filter::default()).await;
    // Between the beginning and the first read.
    emit(&server, "a", json!(1)).await;
    server.report("b", json!({"processed_count": 1})).await;
    let blocks = reader.read_so_many(3).await;
    let began_at = blocks[2].seq();
    assert_eq!(blocks[2].name(), "synced");
    assert!(began_at > 0);
    for block in &blocks {
        assert!(block.seq() <= began_at, "{block:?}");
    }
}

#[tokio::test]
async fn a_job_that_comes_again_repeats_none_of_its_events() {
    let server = TestServer::with(SHARP).await;
    let processing = Filter {
        states: vec![State::Processing],
        ..Filter::default()
    };
    let mut reader = Reader::of(&server, processing).await;
    reader.read_so_many(1).await;
    server.create(json!({"job_id": "a"})).await;
    emit(&server, "a", json!(1)).await;
    let told = reader.read_so_many(2).await;
    assert_eq!(said(&told[1]), words("line", "a", json!(1)));
    server
        .report("a", json!({"status": "pending", "attempt": 2}))
        .await;
    reader.read_so_many(2).await;
    emit(&server, "a", json!(2)).await;
    let told: Vec<_> = reader.read_so_many(2).await.iter().map(said).collect();
    let again = [
        words("status", "a", json!("processing")),
        words("line", "a", json!(2)),
    ];
    assert_eq!(told, again);
}
