//! Progress behind an API gateway, as its old clients know it: to open the stream is to begin the work.

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{EVERY_REPORT, Raw, last_id, resume, serving};
use crate::support::{
    cut_proxy::CutProxy,
    people::{configuration, token},
    server::{Answer, TestServer},
    sse::SseStream,
    until,
};

const OWN: &str = "/api/v1/process/stream";

async fn jobs(server: &TestServer) -> Vec<Value> {
    let list = server.get("/api/v1/jobs").await.json();
    list["jobs"].as_array().expect("a list").clone()
}

/// The id of the only job.
async fn only_job(server: &TestServer) -> String {
    let jobs = jobs(server).await;
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    jobs[0]["job_id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn opening_the_stream_begins_the_work_which_is_told_to_the_byte() {
    let server = serving(&["process"], &configuration()).await;
    let worker = server.as_bearer("key-all");
    let ann = token(&json!({"sub": "ann"}));
    let mut raw = Raw::open(&server, &format!("{OWN}?token={ann}"), &[]).await;
    raw.blocks(1).await;
    let id = only_job(&worker).await;
    let status = worker.status(&id).await;
    assert_eq!(
        (&status["kind"], &status["owner"], &status["status"]),
        (&json!("process"), &json!("ann"), &json!("pending"))
    );
    for report in [
        json!({"status": "processing", "step": "crawling"}),
        json!({"progress_percentage": 33.5, "message": "12 pages"}),
    ] {
        worker.report(&id, report).await;
        raw.blocks(1).await;
    }
    let result = json!({"pages": [{"url": "/", "score": 1}]});
    let end = json!({"status": "completed", "step": "generation", "result": result});
    worker.report(&id, end).await;
    assert_eq!(
        raw.whole().await,
        "data: {\"status\":\"processing\",\"progress\":0,\"message\":\"\",\"step\":\"\"}\n\
         retry: 5000\n\
         id: N\n\
         \n\
         data: {\"status\":\"processing\",\"progress\":0,\"message\":\"\",\"step\":\"crawling\"}\n\
         id: N\n\
         \n\
         data: {\"status\":\"processing\",\"progress\":33.5,\"message\":\"12 pages\",\"step\":\"crawling\"}\n\
         id: N\n\
         \n\
         data: {\"status\":\"completed\",\"progress\":100,\"message\":\"12 pages\",\"step\":\"generation\",\"data\":{\"pages\":[{\"url\":\"/\",\"score\":1}]}}\n\
         retry: 3600000\n\
         id: N\n\
         \n"
    );
}

#[tokio::test]
async fn a_failed_and_a_cancelled_process_are_errors_that_say_why() {
    let server = serving(&["process"], "").await;
    for (id, end, message) in [
        (
            "a",
            json!({"status": "failed", "error": "No such site"}),
            "No such site",
        ),
        ("b", json!({"status": "cancelled"}), "Cancelled"),
    ] {
        server
            .create(json!({"job_id": id, "kind": "process"}))
            .await;
        let report = json!({"progress_percentage": 40, "step": "clustering", "message": "soon"});
        server.report(id, report).await;
        server.report(id, end).await;
        let raw = Raw::open(&server, &format!("/api/v1/process/{id}/stream"), &[]).await;
        assert_eq!(
            raw.whole().await,
            format!(
                "data: {{\"status\":\"error\",\"progress\":40,\"message\":\"{message}\",\"step\":\"clustering\"}}\n\
                 retry: 3600000\n\
                 id: N\n\
                 \n"
            )
        );
    }
}

#[tokio::test]
async fn whoever_opens_at_the_same_time_begins_one_job_for_each_caller() {
    let server = serving(&["process"], &configuration()).await;
    let admin = server.as_bearer("key-admin");
    let people = ["ann", "bob"].map(|name| server.as_bearer(&token(&json!({"sub": name}))));
    for round in 1..=3 {
        let opening = (0..20).map(|number| people[number % 2].stream(OWN));
        let mut streams = join_all(opening).await;
        let jobs = jobs(&admin).await;
        assert_eq!(jobs.len(), 2 * round, "{jobs:#?}");
        for job in jobs {
            let end = json!({"status": "completed"});
            admin
                .patch(
                    &format!("/api/v1/jobs/{}", job["job_id"].as_str().expect("an id")),
                    end,
                )
                .await;
        }
        for stream in &mut streams {
            let last = stream.rest().await.pop().expect("a block");
            assert_eq!(last.json()["status"], "completed");
        }
    }
}

#[tokio::test]
async fn who_comes_back_is_told_of_the_end_and_begins_nothing() {
    let server = serving(&["process"], "").await;
    let mut stream = server.stream(OWN).await;
    let first = stream.next().await;
    drop(stream);
    let id = only_job(&server).await;
    server
        .report(&id, json!({"status": "completed", "result": 7}))
        .await;
    let mut back = resume(&server, OWN, first.id.as_deref()).await;
    let last = back.rest().await;
    assert_eq!((last.len(), &last[0].json()["data"]), (1, &json!(7)));
    let over = resume(&server, OWN, last_id(&last).as_deref()).await;
    assert_eq!(over.head.status, StatusCode::NO_CONTENT);
    assert_eq!(jobs(&server).await.len(), 1);
    // A new watcher wants new work.
    let mut anew = server.stream(OWN).await;
    assert_eq!(anew.next().await.json()["status"], "processing");
    assert_eq!(jobs(&server).await.len(), 2);
}

#[tokio::test]
async fn a_head_begins_nothing() {
    let server = serving(&["process"], "").await;
    let head = Answer::of(server.request(Method::HEAD, OWN)).await;
    assert_eq!(head.status, StatusCode::OK);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(jobs(&server).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_built_in_worker_of_the_kind_does_the_work() {
    let view = "[views.demo]\nkinds = ['demo']\n[[views.demo.paths]]\nstream = '/demo'\nstart = true\n\
                [views.demo.fields]\nstate = 'step'\nof = 'job_id'\n";
    let server = TestServer::with(&format!("{EVERY_REPORT}{view}")).await;
    let mut stream = server.stream("/demo").await;
    let first = stream.next().await;
    let id = first.json()["of"].as_str().expect("an id").to_owned();
    until("the worker", async || {
        server.status(&id).await["status"] != "pending"
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_cuts_anywhere_costs_nothing() {
    for cut in 1..=4 {
        let server = serving(&["process"], "").await;
        let proxy = CutProxy::start(&server.url, cut).await;
        let through = server.through(&proxy.url);
        let mut stream = through.stream(OWN).await;
        let mut blocks = vec![stream.next().await];
        let id = only_job(&server).await;
        for (number, report) in [
            json!({"status": "processing"}),
            json!({"progress_percentage": 50}),
            json!({"status": "completed", "result": {}}),
        ]
        .into_iter()
        .enumerate()
        {
            server.report(&id, report).await;
            if number + 2 <= cut {
                blocks.push(stream.next().await);
            }
        }
        // Cut in the middle, or after the last block.
        let mut back = resume(&through, OWN, last_id(&blocks).as_deref()).await;
        if cut == 4 {
            assert_eq!(back.head.status, StatusCode::NO_CONTENT);
        } else {
            blocks.extend(back.rest().await);
        }
        let last = blocks.last().expect("blocks").json();
        assert_eq!(last["status"], "completed", "{cut}");
        assert!(proxy.has_cut(), "{cut}");
        assert_eq!(jobs(&server).await.len(), 1, "{cut}");
    }
}

#[tokio::test]
async fn a_token_is_appended_to_an_address_that_has_a_query_already() {
    let server = serving(&["process"], &configuration()).await;
    let ann = token(&json!({"sub": "ann"}));
    for path in [
        format!("{OWN}?token={ann}"),
        format!("{OWN}?page=1?token={ann}"),
        format!("{OWN}?page=1&token={ann}"),
    ] {
        let stream = server.stream(&path).await;
        assert_eq!(stream.head.status, StatusCode::OK);
    }
    // What may write has no place in a URL, and what is no token is none.
    let writer = token(&json!({"sub": "ann", "scope": "jobs:write"}));
    for path in [
        format!("{OWN}?token={writer}"),
        format!("{OWN}?a=?token=x"),
        OWN.to_owned(),
    ] {
        server.get(&path).await.error(401, "UNAUTHORIZED");
    }
    let nobody = server.as_bearer(&token(&json!({"jobs": ["x"]})));
    nobody.get(OWN).await.error(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_listed_page_sends_its_cookies_and_is_answered_with_its_own_origin() {
    let page = "https://app.example";
    let toml = format!("cors.allowed_origins = ['{page}']\n");
    let server = TestServer::with(&format!("{toml}server.views = ['process']\n")).await;
    let request = server.request(Method::GET, OWN).header("origin", page);
    let stream = SseStream::open(request.header("cookie", "session=1")).await;
    let header = |name: &str| {
        stream
            .head
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    assert_eq!(stream.head.status, StatusCode::OK);
    assert_eq!(header("access-control-allow-origin"), Some(page));
    assert_eq!(header("access-control-allow-credentials"), Some("true"));
    let foreign = server
        .request(Method::GET, OWN)
        .header("origin", "https://evil.example");
    Answer::of(foreign).await.error(403, "FORBIDDEN");
}
