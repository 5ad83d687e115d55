//! A name that another node has given to another job: changes of it go to the job that has the name now.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::TOML;
use crate::support::{
    ndjson::Reporter,
    people,
    postgres_server::database,
    redis_server::{RedisServer, own_prefix},
    server::TestServer,
    shared_memory::{Hall, Mood},
};

const JOB: &str = "/api/v1/jobs/j";
const EVENTS: &str = "/api/v1/jobs/j/events";

/// Two nodes over each store that nodes share, whose callers have keys.
async fn worlds(extra: &str) -> Vec<[TestServer; 2]> {
    let hall = Hall::new();
    hall.set_mood(Mood::Forgetful);
    let keys = format!("{extra}{}", people::configuration());
    let redis = RedisServer::shared().await.toml(&own_prefix());
    let postgres = database().await.keys();
    let toml = format!("{TOML}{keys}");
    let mut worlds = vec![[
        TestServer::over(hall.node(), &toml).await,
        TestServer::over(hall.node(), &toml).await,
    ]];
    for store in [redis, postgres] {
        let toml = format!("{store}{keys}");
        worlds.push([TestServer::with(&toml).await, TestServer::with(&toml).await]);
    }
    worlds
}

/// `there` removes the job that `here` knows, and makes another one of its name.
async fn replace(here: &TestServer, there: &TestServer, owner: &str, last: Value) {
    // What is known is known from just now: nothing is looked at once more.
    here.report("j", last).await;
    let removed = there.delete(JOB).await;
    removed.expect(StatusCode::NO_CONTENT);
    let key = format!("key-{owner}");
    let created = there.as_bearer(&key).create(json!({"job_id": "j"})).await;
    assert_eq!(created["status"], "pending");
}

#[tokio::test]
async fn a_change_of_a_job_that_another_node_made_anew_is_one_of_the_new_job() {
    for [here, there] in worlds("").await {
        let here = here.as_bearer("key-ann");
        let there = there.as_bearer("key-ann");
        there.create(json!({"job_id": "j"})).await;
        for (number, last) in [
            json!({"processed_count": 9}),
            json!({"status": "completed"}),
        ]
        .into_iter()
        .enumerate()
        {
            replace(&here, &there, "ann", last.clone()).await;
            let report = here.patch(JOB, json!({"processed_count": number})).await;
            let report = report.expect(StatusCode::OK).json();
            assert_eq!(report["status"], "processing");
            let shown = there.status("j").await;
            assert_eq!(shown["processed_count"], number);
            assert_eq!(shown["seq"], report["seq"]);
            replace(&here, &there, "ann", last).await;
            let event = json!({"event": "line", "data": number, "report_id": "e"});
            let sent = here.post(EVENTS, event.clone()).await;
            let sent = sent.expect(StatusCode::OK).json();
            assert_eq!(there.status("j").await["seq"], sent["seq"]);
            let again = here.post(EVENTS, event).await;
            assert_eq!(again.expect(StatusCode::OK).json()["seq"], sent["seq"]);
        }
    }
}

#[tokio::test]
async fn a_job_that_another_node_made_anew_for_somebody_else_is_theirs_here_too() {
    for (extra, status, code) in [
        ("", 403, "FORBIDDEN"),
        ("auth.hide_foreign_jobs = true\n", 404, "JOB_NOT_FOUND"),
    ] {
        for [here, there] in worlds(extra).await {
            let [ann, bob] = ["key-ann", "key-bob"].map(|key| here.as_bearer(key));
            let there = there.as_bearer("key-all");
            there
                .as_bearer("key-ann")
                .create(json!({"job_id": "j"}))
                .await;
            let life = json!({"message": "at work"});
            // Each question is asked first, while this node knows the old job alone.
            replace(&ann, &there, "bob", life.clone()).await;
            let old = ann.patch(JOB, json!({"processed_count": 1})).await;
            old.error(status, code);
            bob.report("j", json!({})).await;
            replace(&bob, &there, "ann", life.clone()).await;
            let old = bob.post(EVENTS, json!({"event": "line"})).await;
            old.error(status, code);
            ann.report("j", json!({})).await;
            replace(&ann, &there, "bob", life.clone()).await;
            let new = bob.patch(JOB, json!({"processed_count": 1})).await;
            new.expect(StatusCode::OK);
            replace(&bob, &there, "ann", life.clone()).await;
            let new = ann.post(EVENTS, json!({"event": "line"})).await;
            new.expect(StatusCode::OK);
            replace(&ann, &there, "bob", life.clone()).await;
            let mut reporter = Reporter::open(&bob).await;
            reporter.report(&json!({"job_id": "j", "processed_count": 2}));
            reporter.finish();
            assert_eq!(
                reporter.rest().await,
                [json!({"accepted": 1, "refused": 0})]
            );
            assert_eq!(there.status("j").await["owner"], "bob");
        }
    }
}
