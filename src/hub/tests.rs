//! What watchers of one job get: frames, ids, pace, and how polls and streams share it.

mod views;

use std::task::Waker;

use serde_json::{Value, json};

use super::*;
use crate::job::{
    Bounds, Command, Defaults, EventName, JobId, Json, NewJob, Report, State, Timestamp, step,
};

const INTERVAL: Duration = Duration::from_millis(1_000);

/// A job's writer and its hub.
struct Writer {
    hub: Hub,
    job: Job,
    start: Instant,
}

impl Writer {
    fn new() -> Self {
        let defaults = Defaults {
            lease_seconds: 60,
            ttl_seconds: 60,
            abandon_after_seconds: 0,
        };
        let job_id = JobId::parse("job-1").expect("a valid name");
        let created_at = Timestamp::from_micros(1);
        let mut job = NewJob::default().into_job(
            job_id,
            None,
            None,
            &defaults,
            uuid::Uuid::nil(),
            created_at,
        );
        job.seq = seq(1);
        // At work already: what follows is no change of state, and may wait.
        job.face.state = State::Processing;
        Self {
            hub: Hub::new(Arc::new(job.clone()), INTERVAL),
            job,
            start: Instant::now(),
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// Reports at `ms`; the change gets the next seq.
    fn report(&mut self, ms: u64, body: Value) -> Reminder {
        let report = Report::parse(body.to_string().as_bytes(), &Bounds::default())
            .expect("a valid report")
            .report;
        self.apply(ms, &Command::Report(Box::new(report)), &[])
    }

    fn event(&mut self, ms: u64) -> Reminder {
        let event = Event {
            seq: self.job.seq.plus(1),
            name: EventName::parse("note").expect("a valid name"),
            data: Json::of(&1).expect("a number serializes"),
        };
        self.apply(ms, &Command::Events(Vec::new()), &[event])
    }

    fn apply(&mut self, ms: u64, command: &Command, events: &[Event]) -> Reminder {
        let now = Timestamp::from_micros(ms * 1_000);
        let change = step(&self.job, command, &Bounds::default(), now).expect("allowed");
        self.job = change.job;
        self.job.seq = self.job.seq.plus(1);
        let job = Arc::new(self.job.clone());
        self.hub.publish(job, events, change.is_status, self.at(ms))
    }
}

fn seq(value: u64) -> Seq {
    Seq::new(value).expect("below 2^53")
}

/// What waits for a watcher: for each frame its kind, its seq, and whether it carries an id.
fn received(live: &Subscription) -> Vec<(FrameKind, u64, bool)> {
    let mut frames = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    if let Poll::Ready(Received::Lagged) = live.poll_receive(&mut context, &mut frames) {
        panic!("nothing here is enough to lag");
    }
    frames
        .iter()
        .map(|frame| {
            let text = as_text(&frame.bytes);
            (frame.kind, frame.seq.get(), text.contains("\nid: "))
        })
        .collect()
}

#[test]
fn a_change_is_encoded_once_for_all_its_watchers() {
    let mut writer = Writer::new();
    let (_, one) = writer.hub.join();
    let (_, other) = writer.hub.join();
    let _ = writer.report(0, json!({}));
    let frame_of = |live: &Subscription| {
        let mut frames = Vec::new();
        let _ = live.poll_receive(&mut Context::from_waker(Waker::noop()), &mut frames);
        frames.remove(0).bytes
    };
    let (one, other) = (frame_of(&one), frame_of(&other));
    assert_eq!(one.as_ptr(), other.as_ptr(), "the very same bytes");
}

#[test]
fn a_job_that_nobody_watches_encodes_nothing() {
    let mut writer = Writer::new();
    let reminder = writer.report(0, json!({"processed_count": 1}));
    assert_eq!(reminder, Reminder(None));
    assert_eq!(
        writer.report(1, json!({"processed_count": 2})),
        Reminder(None)
    );
    let (snapshot, live) = writer.hub.join();
    assert_eq!(snapshot.job.seq, seq(3));
    assert_eq!(received(&live), []);
}

#[test]
fn a_status_that_an_event_overtook_carries_no_id() {
    let mut writer = Writer::new();
    let (_, live) = writer.hub.join();
    let _ = writer.report(0, json!({"processed_count": 1}));
    let reminder = writer.report(10, json!({"processed_count": 2}));
    assert_eq!(reminder, Reminder(Some(writer.at(1_000))));
    let _ = writer.event(20);
    assert_eq!(
        received(&live),
        [(FrameKind::Status, 2, true), (FrameKind::Event, 4, true)]
    );
    writer.hub.flush(writer.at(1_000));
    assert_eq!(received(&live), [(FrameKind::Status, 4, false)]);
    let _ = writer.report(3_000, json!({"processed_count": 3}));
    assert_eq!(received(&live), [(FrameKind::Status, 5, true)]);
}

#[test]
fn the_last_status_takes_the_place_of_one_that_waited() {
    let mut writer = Writer::new();
    let (_, live) = writer.hub.join();
    let _ = writer.report(0, json!({"processed_count": 1}));
    let _ = writer.report(10, json!({"processed_count": 2}));
    let _ = writer.report(20, json!({"status": "completed"}));
    writer.hub.flush(writer.at(1_000));
    assert_eq!(
        received(&live),
        [(FrameKind::Status, 2, true), (FrameKind::Terminal, 4, true)]
    );
}

#[test]
fn a_stream_that_joins_after_an_ending_is_told_by_its_snapshot() {
    let writer = Writer::new();
    let (_, live) = writer.hub.join();
    writer.hub.end(Ending::Removed);
    writer.hub.end(Ending::Draining);
    assert_eq!(
        received(&live),
        [(FrameKind::Ending(Ending::Removed), 1, false)]
    );
    assert_eq!(
        writer.hub.join().0.ending,
        Some(Ending::Removed),
        "the first reason stays"
    );
}

#[test]
fn equal_seq_is_equal_bytes_shared_by_all_who_ask() {
    let mut writer = Writer::new();
    let _ = writer.report(0, json!({"processed_count": 1}));
    let (one, other) = (writer.hub.snapshot(), writer.hub.join().0);
    assert_eq!(one.json.as_ptr(), other.json.as_ptr());
}

#[test]
fn a_poll_does_not_take_a_waiting_status_from_those_who_stream() {
    let mut writer = Writer::new();
    let (_, live) = writer.hub.join();
    let _ = writer.report(0, json!({"processed_count": 1}));
    let _ = writer.report(10, json!({"processed_count": 2}));
    assert_eq!(received(&live), [(FrameKind::Status, 2, true)]);
    // The timer comes a little late, and the poll before it.
    let (snapshot, waiting) = writer.hub.join_poll(seq(1), writer.at(1_001));
    assert!(waiting.is_none());
    assert_eq!(snapshot.job.seq, seq(3));
    writer.hub.flush(writer.at(1_002));
    assert_eq!(received(&live), [(FrameKind::Status, 3, true)]);
}

#[test]
fn a_poll_sends_nothing_twice_to_those_who_stream() {
    let mut writer = Writer::new();
    let (_, live) = writer.hub.join();
    let _ = writer.report(0, json!({"processed_count": 1}));
    assert_eq!(received(&live), [(FrameKind::Status, 2, true)]);
    let (_, waiting) = writer.hub.join_poll(seq(1), writer.at(10));
    assert_eq!(waiting.expect("too early").due, Some(writer.at(1_000)));
    writer.hub.flush(writer.at(1_000));
    assert_eq!(received(&live), []);
}

#[test]
fn what_must_not_wait_answers_a_poll_that_has_not_seen_it_at_once() {
    let mut writer = Writer::new();
    let _ = writer.report(0, json!({"processed_count": 1}));
    assert!(writer.hub.join_poll(seq(1), writer.at(0)).1.is_none());
    let _ = writer.report(10, json!({"attempt": 2}));
    assert!(writer.hub.join_poll(seq(2), writer.at(20)).1.is_none());
    let _ = writer.event(30);
    assert!(writer.hub.join_poll(seq(3), writer.at(40)).1.is_none());
    assert!(writer.hub.join_poll(seq(4), writer.at(50)).1.is_some());
}

#[test]
fn a_poll_does_not_delay_the_first_status_after_a_quiet_time() {
    let mut writer = Writer::new();
    let (_, live) = writer.hub.join();
    let _ = writer.report(0, json!({"processed_count": 1}));
    assert!(writer.hub.join_poll(seq(1), writer.at(5_000)).1.is_none());
    let _ = writer.report(5_010, json!({"processed_count": 2}));
    assert_eq!(
        received(&live),
        [(FrameKind::Status, 2, true), (FrameKind::Status, 3, true)]
    );
}

#[test]
fn polls_keep_the_pace_when_nobody_streams_and_share_their_moments() {
    let mut writer = Writer::new();
    let _ = writer.report(0, json!({"processed_count": 1}));
    let due = |ms: u64, writer: &Writer| {
        let (_, waiting) = writer.hub.join_poll(seq(1), writer.at(ms));
        waiting.map(|waiting| waiting.due.expect("there is something newer"))
    };
    assert_eq!(due(0, &writer), None);
    assert_eq!(due(10, &writer), Some(writer.at(1_000)));
    assert_eq!(due(500, &writer), Some(writer.at(1_000)));
    assert_eq!(due(1_010, &writer), Some(writer.at(2_000)));
    assert_eq!(due(9_000, &writer), None);
}

#[test]
fn a_poll_without_news_waits_for_what_comes_and_a_finished_job_answers_at_once() {
    let mut writer = Writer::new();
    let (_, waiting) = writer.hub.join_poll(seq(1), writer.at(0));
    let waiting = waiting.expect("nothing newer");
    assert_eq!(waiting.due, None);
    let _ = writer.report(10, json!({}));
    assert_eq!(received(&waiting.live), [(FrameKind::Status, 2, true)]);
    let _ = writer.report(20, json!({"status": "completed"}));
    assert!(writer.hub.join_poll(seq(99), writer.at(20)).1.is_none());
}
