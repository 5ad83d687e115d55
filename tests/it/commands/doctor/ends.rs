//! Ends before the end: a user without patience, and a server that leaves.

use serde_json::json;
use tokio::process::Command;

use super::{SOON, Visit, guarded, jobs, start};
use crate::support::{secrets, until};

#[tokio::test]
async fn an_impatient_user_leaves_no_job_behind() {
    let server = guarded("").await;
    for signal in ["INT", "TERM"] {
        let child = start(&[("PROGRESSD_TOKEN", "key-all")], &[&server.url]);
        until("the doctor's job", async || jobs(&server).await == 1).await;
        let id = child.id().expect("it runs").to_string();
        let killed = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(killed.await.expect("kill is there").success());
        let visit = Visit::of(child).await;
        assert_eq!(visit.code, Some(130), "{visit:?}");
        assert_eq!(jobs(&server).await, 0);
    }
}

#[tokio::test]
async fn a_stream_that_progressd_itself_ends_is_not_laid_to_a_proxy() {
    let server = guarded(SOON).await;
    let inside = server.as_bearer("key-all");
    let created = inside.create(json!({"job_id": "j"})).await;
    let token = created["watch_token"].as_str().expect("a token");
    secrets::register(token);
    let url = format!("{}/api/v1/jobs/j?token={token}", server.url);
    let child = start(&[], &[&url, "--json", "--seconds", "60"]);
    until("a watcher", async || server.watchers("j").await == 1).await;
    let (visit, _) = tokio::join!(Visit::of(child), server.drain());
    let finding = visit.finding("duration");
    assert_eq!(finding.verdict, "warning", "{visit:?}");
    assert!(finding.seen.contains("DRAINING"), "{finding:?}");
}
