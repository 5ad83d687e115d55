//! When streams are kept alive and when they end, on a clock of the tests' own.

use futures_util::future::{join_all, pending, poll_fn, ready};
use tokio::time::{advance, sleep};

use super::*;

/// How many streams begin together.
const STREAMS: usize = 200;

const HEARTBEAT: u64 = 30_000;
const LONGEST: u64 = 3_600_000;

fn upkeep(options: StreamOptions) -> Upkeep {
    let settings = StreamSettings {
        retry: Duration::from_secs(5),
        heartbeat: Duration::from_millis(HEARTBEAT),
        max_duration: Duration::from_millis(LONGEST),
        rewind: Duration::ZERO,
        drain: Duration::from_secs(10),
    };
    Upkeep::new(&settings, options)
}

fn expiring_in(seconds: u64) -> StreamOptions {
    StreamOptions {
        expires_in: Some(Duration::from_secs(seconds)),
        ..StreamOptions::default()
    }
}

async fn next(upkeep: &mut Upkeep) -> Due {
    poll_fn(|context| upkeep.poll_timer(context)).await
}

/// After how many milliseconds a silent stream ends, and why; its heartbeats all come in time.
async fn life(options: StreamOptions) -> (u64, StreamEnd) {
    let mut upkeep = upkeep(options);
    let begin = Instant::now();
    let mut last = begin;
    loop {
        let due = next(&mut upkeep).await;
        let silence = millis_since(last);
        match due {
            Due::Heartbeat(_) => assert!(is_shortened(silence, HEARTBEAT), "{silence} ms"),
            Due::End(reason) => {
                assert!(silence <= HEARTBEAT + 1, "{silence} ms");
                return (millis_since(begin), reason);
            }
        }
        last = Instant::now();
    }
}

fn millis_since(then: Instant) -> u64 {
    u64::try_from(then.elapsed().as_millis()).expect("a short time")
}

/// Whether this is `whole`, or less by up to a tenth. Timers ring on the next whole millisecond.
fn is_shortened(millis: u64, whole: u64) -> bool {
    (whole / 10 * 9..=whole + 1).contains(&millis)
}

/// Whether these are spread over the last tenth of `whole`: that none of so many lies in the first
/// part of it, or in the last, is no chance.
fn assert_spread(millis: &[u64], whole: u64) {
    assert!(
        millis.iter().all(|it| is_shortened(*it, whole)),
        "{millis:?}"
    );
    let part = whole / 80;
    let begin = whole / 10 * 9;
    assert!(millis.iter().any(|it| *it < begin + part), "{millis:?}");
    assert!(millis.iter().any(|it| *it > whole - part), "{millis:?}");
}

#[tokio::test(start_paused = true)]
async fn streams_that_begin_together_are_kept_alive_in_time_and_not_together() {
    let first = join_all((0..STREAMS).map(async |_| {
        let mut upkeep = upkeep(StreamOptions::default());
        let begin = Instant::now();
        let due = next(&mut upkeep).await;
        assert!(matches!(due, Due::Heartbeat(_)), "{due:?}");
        millis_since(begin)
    }));
    assert_spread(&first.await, HEARTBEAT);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_waits_until_all_has_been_silent_for_so_long() {
    let mut upkeep = upkeep(StreamOptions::default());
    let mut last = Instant::now();
    for _ in 0..10 {
        sleep(Duration::from_secs(20)).await;
        last = Instant::now();
        upkeep.written(last);
    }
    next(&mut upkeep).await;
    let silence = millis_since(last);
    assert!(is_shortened(silence, HEARTBEAT), "{silence} ms");
}

#[tokio::test(start_paused = true)]
async fn streams_that_begin_together_have_their_longest_life_and_do_not_end_together() {
    let lives = (0..STREAMS).map(|_| life(StreamOptions::default()));
    let lives = join_all(lives).await;
    assert!(lives.iter().all(|(_, end)| *end == StreamEnd::Timeout));
    let lives: Vec<u64> = lives.iter().map(|(millis, _)| *millis).collect();
    assert_spread(&lives, LONGEST);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_token_to_the_second() {
    for seconds in [0, 1, 29, 100, 3_200] {
        let (millis, end) = life(expiring_in(seconds)).await;
        assert_eq!(end, StreamEnd::TokenExpired);
        let expected = seconds * 1_000..=seconds * 1_000 + 1;
        assert!(expected.contains(&millis), "{millis} ms of {seconds} s");
    }
    // A token that outlives the stream makes it no longer.
    let (millis, end) = life(expiring_in(4_000)).await;
    assert_eq!(end, StreamEnd::Timeout);
    assert!(is_shortened(millis, LONGEST), "{millis} ms");
}

#[tokio::test(start_paused = true)]
async fn who_never_waits_for_the_timer_ends_by_the_clock_all_the_same() {
    let mut upkeep = upkeep(expiring_in(100));
    let mut end =
        async || poll_fn(|context| Poll::Ready(upkeep.end(Instant::now(), context))).await;
    advance(Duration::from_millis(99_999)).await;
    assert_eq!(end().await, None);
    advance(Duration::from_millis(1)).await;
    assert_eq!(end().await, Some(StreamEnd::TokenExpired));
}

#[tokio::test(start_paused = true)]
async fn what_let_the_watcher_in_and_is_taken_back_ends_it_at_once() {
    for (is_revoked, expected) in [(false, None), (true, Some(StreamEnd::TokenExpired))] {
        let options = StreamOptions {
            revoked: Some(match is_revoked {
                true => Box::pin(ready(())),
                false => Box::pin(pending()),
            }),
            ..StreamOptions::default()
        };
        let mut upkeep = upkeep(options);
        let end = poll_fn(|context| Poll::Ready(upkeep.end(Instant::now(), context))).await;
        assert_eq!(end, expected);
    }
}
