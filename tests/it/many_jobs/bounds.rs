//! How much a stream of many jobs takes: the newest 5,000, without a task or a timer for each.

use progressd::{
    job::{JobId, NewJob},
    registry::Registry,
};
use serde_json::{Value, json};

use super::{SHARP, emit, job_of, open, said, snapshot, words};
use crate::support::{people, server::TestServer};

const MOST: usize = 5_000;

async fn create(registry: &Registry, name: &str) {
    let new_job = NewJob {
        job_id: Some(JobId::parse(name).expect("a name")),
        ..NewJob::default()
    };
    let created = registry.create(new_job, None, None, None).await;
    created.expect("there is room for a job");
}

fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

#[tokio::test]
async fn the_newest_five_thousand_are_shown_by_one_task() {
    let server = TestServer::with(SHARP).await;
    for number in 0..MOST + 2 {
        create(server.registry(), &format!("j{number}")).await;
    }
    // The connection is open, and has its task.
    server.get("/healthz").await;
    let before = tasks();
    let mut stream = open(&server, "").await;
    let (blocks, synced) = snapshot(&mut stream).await;
    assert!(tasks() <= before + 1, "{before} tasks became {}", tasks());
    assert_eq!(synced.json(), json!({"jobs": MOST}));
    let names: Vec<_> = blocks.iter().map(job_of).collect();
    let newest: Vec<_> = (2..MOST + 2)
        .rev()
        .map(|number| format!("j{number}"))
        .collect();
    assert_eq!(names, newest);

    // The oldest makes room for one more.
    create(server.registry(), "one-more").await;
    assert_eq!(
        said(&stream.next().await),
        words("removed", "j2", Value::Null)
    );
    let newcomer = words("status", "one-more", json!("pending"));
    assert_eq!(said(&stream.next().await), newcomer);
    // Those that left are none of it any more; those that are there still come.
    emit(&server, "j2", json!(1)).await;
    emit(&server, "j3", json!(1)).await;
    let block = stream.next().await;
    assert_eq!(job_of(&block), "j3");
}

#[tokio::test]
async fn nobodys_jobs_are_buried_under_those_of_others() {
    let server = TestServer::with(&people::configuration()).await;
    let ann = server.as_bearer("key-ann");
    ann.create(json!({"job_id": "hers"})).await;
    for _ in 0..MOST + 1 {
        let owner = Some("bob".to_owned());
        let created = server
            .registry()
            .create(NewJob::default(), owner, None, None);
        created.await.expect("there is room for a job");
    }
    let mut stream = open(&ann, "").await;
    let (blocks, synced) = snapshot(&mut stream).await;
    assert_eq!(synced.json(), json!({"jobs": 1}));
    assert_eq!(job_of(&blocks[0]), "hers");
}
