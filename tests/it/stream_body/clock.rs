//! What streams write as time passes, on a clock of the tests' own.

use progressd::{
    registry::Registry,
    stream::{Blocks, MultiStart, MultiStream, Named, Selection},
};
use tokio::time::{Instant, sleep};

use super::*;
use crate::support::jobs::{create, memory, registry};

const HEARTBEAT: Duration = Duration::from_secs(30);

const LIVELY: StreamSettings = StreamSettings {
    heartbeat: HEARTBEAT,
    ..SETTINGS
};

/// A stream of one job, or one of many that is about the same job.
async fn open(registry: &Registry, job: &JobHandle, is_of_many: bool) -> Box<dyn Blocks> {
    let open = StreamMetrics::new(&Meter::new()).open();
    let options = StreamOptions::default();
    if is_of_many {
        let named = Named {
            name: job.id().to_string(),
            found: Ok(job.clone()),
        };
        let selection = Selection::Named(vec![named]);
        let start = MultiStart::new(registry, selection, None, Duration::ZERO).await;
        let start = start.expect("a store that answers").expect("a beginning");
        return Box::new(MultiStream::new(start, LIVELY, options, open));
    }
    let attachment = job.attach(Cursor::Absent).await;
    let attachment = attachment.expect("a store that answers");
    Box::new(JobStream::new(
        job.clone(),
        attachment,
        LIVELY,
        options,
        open,
    ))
}

/// The next piece; `None` at the end.
async fn next(stream: &mut Box<dyn Blocks>) -> Option<String> {
    let piece = poll_fn(|context| stream.poll_next(context)).await?;
    Some(String::from_utf8(piece.joined().to_vec()).expect("UTF-8"))
}

/// Whether so much time has passed, or up to a tenth less. Timers ring on the next whole millisecond.
fn is_shortened(span: Duration, whole: Duration) -> bool {
    (whole.mul_f64(0.9)..=whole + Duration::from_millis(1)).contains(&span)
}

#[tokio::test(start_paused = true)]
async fn whatever_is_written_puts_the_next_heartbeat_off() {
    let registry = registry(memory());
    let job = create(&registry, "import", None).await;
    for is_of_many in [false, true] {
        let mut stream = open(&registry, &job, is_of_many).await;
        next(&mut stream).await.expect("a first piece");
        for _ in 0..10 {
            let reporting = async {
                sleep(HEARTBEAT.mul_f64(0.7)).await;
                let report = json!({"processed_increment": 1}).to_string();
                let report = Report::parse(report.as_bytes(), &Bounds::default());
                let report = Box::new(report.expect("a report").report);
                let applied = job.apply(Command::Report(report), None).await;
                applied.expect("it is applied");
            };
            let (piece, ()) = tokio::join!(next(&mut stream), reporting);
            let piece = piece.expect("a status");
            assert!(piece.starts_with("event: status\n"), "{piece:?}");
        }
        let silent_since = Instant::now();
        assert_eq!(next(&mut stream).await.as_deref(), Some(":\n"));
        let silence = silent_since.elapsed();
        assert!(is_shortened(silence, HEARTBEAT), "{silence:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_has_heartbeats_alone_until_its_longest_life_is_over() {
    let registry = registry(memory());
    let job = create(&registry, "import", None).await;
    for is_of_many in [false, true] {
        let mut stream = open(&registry, &job, is_of_many).await;
        let begin = Instant::now();
        next(&mut stream).await.expect("a first piece");
        let mut heartbeats = 0;
        let last = loop {
            let piece = next(&mut stream).await.expect("a last block");
            if piece != ":\n" {
                break piece;
            }
            heartbeats += 1;
        };
        assert!(last.contains("\"code\":\"STREAM_TIMEOUT\""), "{last}");
        assert!((107..=133).contains(&heartbeats), "{heartbeats}");
        let life = begin.elapsed();
        assert!(is_shortened(life, SETTINGS.max_duration), "{life:?}");
        assert_eq!(next(&mut stream).await, None);
    }
}
