//! The old clients themselves: `EventSource` in pages of other origins, in a real browser.

use serde_json::{Value, json};

use super::{EVERY_REPORT, send, serving};
use crate::support::{
    client_program::run,
    cut_proxy::CutProxy,
    pages::Pages,
    people::{configuration, token},
    server::TestServer,
    until,
};

/// What a page of another site sees of a stream.
async fn watch(page: &str, url: &str, options: &[&str]) -> Vec<Value> {
    run([&["foreign.mjs", "--url", url, "--page", page], options].concat()).await
}

/// The types of what was seen, in order.
fn types(seen: &[Value]) -> Vec<&str> {
    seen.iter()
        .filter_map(|line| line["type"].as_str())
        .collect()
}

#[tokio::test]
async fn a_shops_page_of_another_site_sees_every_step_and_the_end() {
    let pages = Pages::start().await;
    // With keys and without: a public view asks nobody.
    for keys in [configuration(), String::new()] {
        let server = &serving(&["orders"], &keys).await.with_token("key-all");
        server.create(json!({"job_id": "o", "kind": "order"})).await;
        for status in ["payment_processing", "packed"] {
            send(server, "o", "step", json!({"status": status})).await;
        }
        let url = format!("{}/v1/orders/o/status/stream", server.url);
        let page = pages.url("shop.example");
        let options = ["--event", "complete", "--last", "complete"];
        let watching = watch(&page, &url, &options);
        let working = async {
            until("the page", async || server.watchers("o").await == 1).await;
            send(server, "o", "step", json!({"status": "sent"})).await;
            let end = json!({"status": "completed", "result": {"status": "shipped"}});
            server.report("o", end).await;
        };
        let (seen, ()) = tokio::join!(watching, working);
        let expected = ["open", "message", "message", "message", "complete"];
        assert_eq!(types(&seen), expected, "{seen:#?}");
        assert_eq!(seen[3]["data"]["status"], "sent");
        assert_eq!(seen[4]["data"], json!({"status": "shipped"}));
        // Once more, when all is over.
        let again = watch(&page, &url, &options).await;
        assert_eq!(again, seen);
    }
}

#[tokio::test]
async fn a_page_with_cookies_and_a_token_in_the_address_follows_its_work_to_the_end() {
    let pages = Pages::start().await;
    let page = pages.url("app.example");
    let origin = page.trim_end_matches('/');
    let toml = format!(
        "server.views = ['process']\ncors.allowed_origins = ['{origin}']\n{EVERY_REPORT}{}",
        configuration()
    );
    let server = &TestServer::with(&toml).await.with_token("key-all");
    let ann = token(&json!({"sub": "ann"}));
    let url = format!("{}/api/v1/process/stream?token={ann}", server.url);
    let watching = watch(&page, &url, &["--credentials"]);
    let working = async {
        until("the page's work", async || !ids(server).await.is_empty()).await;
        let id = ids(server).await.remove(0);
        until("the page", async || server.watchers(&id).await == 1).await;
        server
            .report(&id, json!({"step": "crawling", "progress_percentage": 50}))
            .await;
        server
            .report(&id, json!({"status": "failed", "error": "No such site"}))
            .await;
    };
    let (seen, ()) = tokio::join!(watching, working);
    let told = ["open", "message", "message", "message"];
    assert_eq!(types(&seen), told, "{seen:#?}");
    assert_eq!(
        seen[3]["data"],
        json!({"status": "error", "progress": 50, "message": "No such site", "step": "crawling"})
    );
    // Once more, to a good end: new work, since the other has ended.
    let watching = watch(&page, &url, &["--credentials"]);
    let working = async {
        until("the page's work", async || ids(server).await.len() == 2).await;
        let id = ids(server).await.remove(0);
        until("the page", async || server.watchers(&id).await == 1).await;
        let step = json!({"step": "generation", "message": "writing"});
        server.report(&id, step).await;
        let end = json!({"status": "completed", "result": {"pages": 3}});
        server.report(&id, end).await;
    };
    let (seen, ()) = tokio::join!(watching, working);
    assert_eq!(types(&seen), told, "{seen:#?}");
    assert_eq!(
        seen[3]["data"],
        json!({"status": "completed", "progress": 100, "message": "writing", "step": "generation",
               "data": {"pages": 3}})
    );
    // A page that is not listed gets nothing of it.
    let stranger = watch(&pages.url("evil.example"), &url, &["--credentials"]).await;
    assert_eq!(types(&stranger), ["error"], "{stranger:#?}");
}

#[tokio::test]
async fn a_page_that_was_cut_off_comes_back_by_itself_and_misses_nothing() {
    let pages = Pages::start().await;
    let server = &serving(&["orders"], "").await;
    server.create(json!({"job_id": "o", "kind": "order"})).await;
    for number in 1..=4 {
        send(server, "o", "step", json!({"n": number})).await;
    }
    let end = json!({"status": "completed", "result": {"n": 5}});
    server.report("o", end).await;
    let proxy = CutProxy::start(&server.url, 2).await;
    let url = format!("{}/v1/orders/o/status/stream", proxy.url);
    let options = ["--event", "complete", "--last", "complete"];
    let seen = watch(&pages.url("shop.example"), &url, &options).await;
    // What was under way at the cut may be lost with the connection; then it comes again.
    let told = types(&seen);
    let count = |name| told.iter().filter(|it| **it == name).count();
    assert_eq!((count("open"), count("error")), (2, 1), "{seen:#?}");
    assert_eq!(told.last(), Some(&"complete"), "{seen:#?}");
    let numbers = seen.iter().filter_map(|line| line["data"]["n"].as_u64());
    assert_eq!(numbers.collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(proxy.cursors().len(), 2);
}

#[tokio::test]
async fn a_page_that_closes_at_the_first_error_has_seen_everything_before_it() {
    let pages = Pages::start().await;
    let server = &serving(&["orders", "recommendations", "inventory"], "").await;
    let page = pages.url("shop.example");
    server.create(json!({"job_id": "o", "kind": "order"})).await;
    let job = json!({"job_id": "r", "kind": "recommendation", "owner": "user-456"});
    server.create(job).await;
    send(server, "o", "step", json!({"status": "packed"})).await;
    send(server, "r", "recommendation", json!({"petId": 1})).await;
    for (job_id, path, name) in [
        ("o", "/v1/orders/o/status/stream", "message"),
        (
            "r",
            "/v1/pets/recommendations/stream?userId=user-456",
            "recommendation",
        ),
    ] {
        let url = format!("{}{path}", server.url);
        let options = [
            "--event",
            "recommendation",
            "--event",
            "complete",
            "--close-on-error",
        ];
        let watching = watch(&page, &url, &options);
        let working = async {
            until("the page", async || server.watchers(job_id).await == 1).await;
            let event = if job_id == "o" { "step" } else { name };
            send(server, job_id, event, json!({"petId": 2})).await;
            let end = json!({"status": "completed", "result": {"total": 2}});
            server.report(job_id, end).await;
        };
        let (seen, ()) = tokio::join!(watching, working);
        // The end of the stream is the error, and comes last.
        assert_eq!(types(&seen), ["open", name, name, "complete", "error"]);
        assert_eq!(seen[2]["data"], json!({"petId": 2}));
        assert_eq!(seen[3]["data"], json!({"total": 2}));
    }
    // A feed has no end: what is there, what comes, and no error.
    send(server, "inventory", "stock-change", json!({"petId": 1})).await;
    let url = format!("{}/v1/inventory/stream", server.url);
    let options = ["--event", "stock-change", "--event", "price-change"];
    let options = [
        &options[..],
        &["--last", "price-change", "--close-on-error"],
    ]
    .concat();
    let watching = watch(&page, &url, &options);
    let working = async {
        until("the page", async || server.watchers("inventory").await == 1).await;
        send(server, "inventory", "stock-change", json!({"petId": 2})).await;
        send(server, "inventory", "price-change", json!({"petId": 3})).await;
    };
    let (seen, ()) = tokio::join!(watching, working);
    let expected = ["open", "stock-change", "stock-change", "price-change"];
    assert_eq!(types(&seen), expected, "{seen:#?}");
    assert_eq!(seen[3]["data"], json!({"petId": 3}));
}

async fn ids(server: &TestServer) -> Vec<String> {
    let list = server.get("/api/v1/jobs").await.json();
    let jobs = list["jobs"].as_array().expect("a list");
    let id = |job: &Value| job["job_id"].as_str().expect("an id").to_owned();
    jobs.iter().map(id).collect()
}
