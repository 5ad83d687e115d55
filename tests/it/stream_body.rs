//! A stream polled by hand: what only shows when the reader's moment is chosen.

mod clock;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::future::poll_fn;
use progressd::{
    job::{Bounds, Command, JobId, Report, parse_events},
    metrics::{Meter, StreamMetrics},
    registry::{Cursor, JobHandle},
    stream::{Blocks as _, JobStream, StreamOptions, StreamSettings},
};
use serde_json::{Value, json};

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

/// The job `j` of a server that sends every report.
struct Watched {
    server: TestServer,
    job: JobHandle,
}

impl Watched {
    async fn new(toml: &str) -> Self {
        let server = TestServer::with(toml).await;
        server.create(json!({"job_id": "j"})).await;
        let job_id = JobId::parse("j").expect("a name");
        let job = server.registry().find(&job_id).await.expect("the job");
        Self { server, job }
    }

    fn bounds(&self) -> Bounds {
        self.server.registry().settings().bounds
    }

    async fn report(&self, report: Value) {
        let report = Report::parse(report.to_string().as_bytes(), &self.bounds());
        let report = Box::new(report.expect("a report").report);
        self.job
            .apply(Command::Report(report), None)
            .await
            .expect("it is applied");
    }

    async fn events(&self, count: usize) {
        let events = Value::from(vec![json!({"event": "line", "data": 1}); count]);
        let parsed = parse_events(events.to_string().as_bytes(), &self.bounds());
        let events = parsed.expect("events").0;
        self.job
            .apply(Command::Events(events), None)
            .await
            .expect("they are applied");
    }

    async fn stream(&self, settings: StreamSettings) -> JobStream {
        let attachment = self
            .job
            .attach(Cursor::Absent)
            .await
            .expect("a store that answers");
        JobStream::new(
            self.job.clone(),
            attachment,
            settings,
            StreamOptions::default(),
            StreamMetrics::new(&Meter::new()).open(),
        )
    }
}

/// What one poll brings.
fn poll(stream: &mut JobStream) -> Poll<Option<Vec<Block>>> {
    let mut context = Context::from_waker(Waker::noop());
    stream
        .poll_next(&mut context)
        .map(|piece| piece.map(|piece| blocks(&piece.joined())))
}

/// What one poll brings, which must be blocks.
#[track_caller]
fn read(stream: &mut JobStream) -> Vec<Block> {
    match poll(stream) {
        Poll::Ready(Some(blocks)) => blocks,
        other => panic!("no blocks: {other:?}"),
    }
}

fn blocks(piece: &[u8]) -> Vec<Block> {
    let text = std::str::from_utf8(piece).expect("UTF-8");
    let text = text.strip_suffix("\n\n").expect("whole blocks");
    text.split("\n\n").map(Block::parse).collect()
}

/// Whether somebody was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn names(blocks: &[Block]) -> Vec<&str> {
    blocks.iter().map(Block::name).collect()
}

const EVERY_REPORT: &str = "[stream]\nupdate_interval_ms = 0";

#[tokio::test]
async fn a_job_that_ends_and_is_removed_at_once_has_one_end() {
    let watched = Watched::new(EVERY_REPORT).await;
    let mut stream = watched.stream(SETTINGS).await;
    read(&mut stream);
    watched.report(json!({"status": "failed"})).await;
    watched.job.remove().await.expect("it is removed");
    assert_eq!(names(&read(&mut stream)), ["error", "status"]);
    assert!(stream.has_ended());
    assert_eq!(poll(&mut stream), Poll::Ready(None));
}

#[tokio::test]
async fn a_drain_changes_nothing_for_a_job_that_has_just_ended() {
    let watched = Watched::new(EVERY_REPORT).await;
    let mut stream = watched.stream(SETTINGS).await;
    read(&mut stream);
    watched.report(json!({"status": "completed"})).await;
    watched.server.registry().drain();
    assert_eq!(names(&read(&mut stream)), ["status"]);
    assert_eq!(poll(&mut stream), Poll::Ready(None));
}

#[tokio::test]
async fn a_status_that_its_own_event_has_overtaken_is_not_taken_for_known() {
    let watched = Watched::new(EVERY_REPORT).await;
    let mut stream = watched.stream(SETTINGS).await;
    read(&mut stream);
    // The first event starts the job: one change, told by two blocks.
    watched.events(1).await;
    let told = read(&mut stream);
    assert_eq!(names(&told), ["line", "status"]);
    assert_eq!(told[1].json()["status"], "processing");
    assert_eq!(told[1].id, None);
}

#[tokio::test]
async fn a_burst_comes_whole_to_a_watcher_that_waited_for_it() {
    let watched = Watched::new(EVERY_REPORT).await;
    let mut stream = watched.stream(SETTINGS).await;
    read(&mut stream);
    assert!(poll(&mut stream).is_pending());
    for count in 1..=50 {
        watched.report(json!({"processed_count": count})).await;
    }
    assert_eq!(read(&mut stream).len(), 50);
}

#[tokio::test]
async fn a_watcher_that_was_busy_gets_the_newest_status_and_every_event() {
    let watched = Watched::new(EVERY_REPORT).await;
    let mut stream = watched.stream(SETTINGS).await;
    for count in 1..=20 {
        watched.report(json!({"processed_count": count})).await;
        watched.events(1).await;
    }
    read(&mut stream);
    let told = read(&mut stream);
    let expected = [vec!["line"; 19], vec!["status", "line"]].concat();
    assert_eq!(names(&told), expected);
    assert_eq!(told[19].json()["processed_count"], 20);
}

#[tokio::test]
async fn a_watcher_that_lost_frames_goes_on_from_the_present_state() {
    let kept = "[events]\nmax_count = 10000\nmax_bytes = 10000000";
    let watched = Watched::new(&format!("{EVERY_REPORT}\n{kept}")).await;
    let mut stream = watched.stream(SETTINGS).await;
    read(&mut stream);
    for _ in 0..83 {
        // More in all than the frames that are kept for a reader.
        watched.events(100).await;
    }
    watched.report(json!({"processed_count": 7})).await;
    let told = read(&mut stream);
    assert_eq!(told.len(), 8_301);
    assert_eq!(
        (told[0].name(), &told[0].id, told[0].retry),
        ("status", &None, None)
    );
    assert_eq!(told[0].json()["processed_count"], 7);
    assert_eq!(told[0].json().get("gap"), None);
    let ids: Vec<u64> = told[1..].iter().map(Block::seq).collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
    assert!(poll(&mut stream).is_pending());
}

#[tokio::test]
async fn a_watcher_that_fell_behind_a_job_that_is_gone_is_told_of_the_gap() {
    let watched = Watched::new(EVERY_REPORT).await;
    let mut stream = watched.stream(SETTINGS).await;
    read(&mut stream);
    for _ in 0..83 {
        watched.events(100).await;
    }
    watched.report(json!({"status": "completed"})).await;
    watched.job.remove().await.expect("it is removed");
    let told = read(&mut stream);
    assert_eq!(told[0].name(), "status");
    assert_eq!(told[0].json()["status"], "completed");
    assert_eq!(told[0].json()["gap"], true);
}

#[tokio::test]
async fn a_stream_rests_only_when_the_next_frame_wakes() {
    let watched = Watched::new(EVERY_REPORT).await;
    let mut stream = watched.stream(SETTINGS).await;
    read(&mut stream);
    assert!(!stream.rests(), "the hub was not asked");
    assert!(poll(&mut stream).is_pending());
    watched.report(json!({"processed_count": 1})).await;
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let piece = stream.poll_next(&mut Context::from_waker(&waker));
    assert!(matches!(piece, Poll::Ready(Some(_))), "{piece:?}");
    assert!(stream.rests());
    assert!(!woken.0.load(Ordering::SeqCst));
    watched.report(json!({"processed_count": 2})).await;
    assert!(woken.0.load(Ordering::SeqCst));
    // It was woken and is late: what it gets is the state, and not what waits in the hub.
    for _ in 0..83 {
        watched.events(100).await;
    }
    read(&mut stream);
    assert!(!stream.rests());
}

#[tokio::test]
async fn a_watcher_that_always_has_something_to_read_ends_in_time_all_the_same() {
    let watched = Watched::new(EVERY_REPORT).await;
    let settings = StreamSettings {
        max_duration: Duration::from_millis(50),
        rewind: Duration::ZERO,
        ..SETTINGS
    };
    let mut stream = watched.stream(settings).await;
    let flood = async {
        loop {
            watched.report(json!({"processed_increment": 1})).await;
            // A live context, so that nothing but the flood keeps the timer from its turn.
            let piece = poll_fn(|context| stream.poll_next(context)).await;
            let piece = piece.expect("an ending before the end");
            let piece = blocks(&piece.joined());
            if piece.last().is_some_and(|block| block.name() == "error") {
                return piece;
            }
        }
    };
    let last = in_time("the end", flood).await;
    assert_eq!(last[0].json()["code"], "STREAM_TIMEOUT");
    assert_eq!(poll(&mut stream), Poll::Ready(None));
}
