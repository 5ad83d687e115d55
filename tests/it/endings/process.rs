//! The end of the real process.

use serde_json::json;

use super::{ending, expect_ending};
use crate::support::{process::Process, sse::SseStream};

#[tokio::test]
async fn sigterm_and_sigint_end_streams_well_and_the_process_with_0() {
    for signal in ["TERM", "INT"] {
        // A drain that waited for its whole time would take an hour.
        let mut process = Process::start(&[("PROGRESSD__STREAM__DRAIN_SECONDS", "3600")]).await;
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let jobs = format!("{}/api/v1/jobs", process.url);
        let created = client
            .post(&jobs)
            .json(&json!({"job_id": "j"}))
            .send()
            .await;
        assert_eq!(created.expect("an answer").status(), 201);
        let mut stream = SseStream::open(client.get(format!("{jobs}/j/stream"))).await;
        stream.next().await;
        process.signal(signal).await;
        let last = ending(&mut stream).await;
        expect_ending(&last, "DRAINING", "Server is shutting down");
        let retry = last.retry.expect("a drain says when to come back");
        assert!((5_000..=3_605_000).contains(&retry), "{retry}");
        assert_eq!(process.exit_code().await, Some(0), "SIG{signal}");
    }
}
