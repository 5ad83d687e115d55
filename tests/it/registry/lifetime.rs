//! Time by the real clock, in seconds as short as they can be: leases, abandonment, retention.

use progressd::{frame::Ending, job::State};
use serde_json::json;

use super::*;

fn is_stalled(frame: &Frame) -> bool {
    text(frame).contains("\"stalled\":true")
}

#[tokio::test]
async fn a_silent_job_stalls_and_the_next_report_clears_it() {
    let stage = Stage::new();
    let handle = stage.create(json!({"lease_seconds": 1})).await;
    let live = watch(&handle).await;
    let answer = handle
        .apply(report(json!({})), None)
        .await
        .expect("committed");
    let frames = until(&live, is_stalled).await;
    assert!(handle.job().face.stalled);
    assert!(frames.last().expect("frames").seq.get() >= answer.seq.get() + 1_000_000);
    handle
        .apply(report(json!({})), None)
        .await
        .expect("a sign of life");
    assert!(!handle.job().face.stalled);
    // And the lease starts anew.
    until(&live, is_stalled).await;
}

#[tokio::test]
async fn signs_of_life_that_change_nothing_renew_the_lease() {
    let stage = Stage::new();
    let handle = stage.create(json!({"lease_seconds": 1})).await;
    let live = watch(&handle).await;
    handle
        .apply(report(json!({})), None)
        .await
        .expect("committed");
    let committed = stage.store.committed();
    let stall = until(&live, is_stalled);
    tokio::pin!(stall);
    // Real time has to pass for a lease to be renewed in it; there is nothing to wait for.
    let mut alive = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..20 {
        tokio::select! {
            _ = alive.tick() => drop(handle.apply(report(json!({})), None).await.expect("alive")),
            _ = &mut stall => panic!("stalled although the worker lives"),
        }
    }
    assert_eq!(
        stage.store.committed(),
        committed,
        "a sign of life needs no commit"
    );
    stall.await;
}

#[tokio::test]
async fn a_stalled_job_fails_when_it_is_to() {
    let stage = Stage::new();
    let body = json!({"lease_seconds": 1, "fail_stalled_after_seconds": 1});
    let handle = stage.create(body).await;
    let live = watch(&handle).await;
    handle
        .apply(report(json!({})), None)
        .await
        .expect("committed");
    let frames = until(&live, is_terminal).await;
    assert!(
        frames.iter().any(is_stalled),
        "first the one, then the other"
    );
    let last = text(frames.last().expect("frames")).to_owned();
    assert!(last.contains("event: error\ndata: {\"message\":"), "{last}");
    assert!(last.contains("\"code\":\"STALLED\""), "{last}");
}

#[tokio::test]
async fn a_job_that_nobody_reports_on_is_given_up() {
    let defaults = Defaults {
        abandon_after_seconds: 1,
        ..roomy_settings().defaults
    };
    let stage = Stage::with(
        Settings {
            defaults,
            ..roomy_settings()
        },
        roomy_limits(),
    );
    let handle = stage.create(json!({"job_id": "j"})).await;
    let frames = until(&watch(&handle).await, is_terminal).await;
    assert_eq!(frames.len(), 1);
    assert_eq!(shown(&handle.job(), "error")["code"], "ABANDONED");
    assert_eq!(
        stage.find("j").await.expect("finished").job().face.state,
        State::Failed
    );
}

/// A restart starts leases anew, and somebody has to look at them.
#[tokio::test]
async fn a_job_that_is_found_after_a_restart_is_watched_for_its_deadline() {
    let stage = Stage::new();
    let handle = stage
        .create(json!({"job_id": "j", "lease_seconds": 1}))
        .await;
    handle
        .apply(report(json!({})), None)
        .await
        .expect("committed");
    let restarted = stage.beside();
    drop(stage);
    let found = restarted.find("j").await.expect("there");
    until(&watch(&found).await, is_stalled).await;
}

#[tokio::test]
async fn after_its_retention_a_job_is_gone_then_unknown_and_its_name_is_free() {
    for (gone_seconds, is_gone) in [(3_600, true), (0, false)] {
        let settings = Settings {
            gone_seconds,
            ..roomy_settings()
        };
        let stage = Stage::with(settings, roomy_limits());
        let body = || json!({"job_id": "j", "ttl_seconds": 0});
        let handle = stage.create(body()).await;
        let live = watch(&handle).await;
        handle
            .apply(report(json!({"status": "completed"})), None)
            .await
            .expect("committed");
        assert_eq!(
            until(&live, is_terminal).await.len(),
            1,
            "its watchers see the end"
        );
        if !is_gone {
            // Until the sweep has passed, which is once a second.
            while !matches!(stage.find("j").await, Err(RegistryError::NotFound)) {
                tokio::task::yield_now().await;
            }
        }
        let outcome = stage.find("j").await;
        assert_eq!(matches!(outcome, Err(RegistryError::Gone)), is_gone);
        let again = stage.create(body()).await;
        assert_eq!(again.job().face.state, State::Pending);
    }
}

#[tokio::test]
async fn a_removal_ends_streams_and_stops_the_runner() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let live = watch(&handle).await;
    let stop = handle.stop_signal();
    assert!(!stop.is_cancelled());
    handle.remove().await.expect("removed");
    stop.cancelled().await;
    let frames = waiting(&live);
    assert_eq!(frames[0].kind, FrameKind::Ending(Ending::Removed));
    assert!(handle.stop_signal().is_cancelled());
}

#[tokio::test]
async fn a_runner_is_told_to_stop_by_a_cancellation_and_by_the_end() {
    for command in [Command::Cancel, report(json!({"status": "failed"}))] {
        let stage = Stage::new();
        let handle = stage.create(json!({"job_id": "j"})).await;
        handle
            .apply(report(json!({})), None)
            .await
            .expect("committed");
        let stop = handle.stop_signal();
        handle
            .apply(report(json!({"processed_increment": 1})), None)
            .await
            .expect("committed");
        assert!(!stop.is_cancelled());
        handle.apply(command, None).await.expect("committed");
        assert!(stop.is_cancelled());
    }
}
