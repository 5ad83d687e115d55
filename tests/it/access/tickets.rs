//! Tickets and their cookie: what a page buys for its browser's own `EventSource`.

use jsonwebtoken::get_current_timestamp;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{
    jobs::memory,
    people::{self, token},
    server::{Answer, TestServer},
    staged_store::{Call, Fate, StagedStore},
};

async fn with_job() -> TestServer {
    let server = TestServer::with(&people::configuration()).await;
    server
        .as_bearer("key-ann")
        .create(json!({"job_id": "a"}))
        .await;
    server
}

/// Buys a ticket; the answer.
async fn buy(person: &TestServer, job_id: &str) -> Answer {
    let path = format!("/api/v1/jobs/{job_id}/ticket");
    Answer::of(person.request(Method::POST, &path)).await
}

async fn ticket(person: &TestServer, job_id: &str) -> String {
    let answer = buy(person, job_id).await.expect(StatusCode::OK).json();
    answer["ticket"].as_str().expect("a ticket").to_owned()
}

/// Asks with a ticket, or with a cookie, or with both.
async fn ask(server: &TestServer, path: &str, ticket: &str, cookie: Option<&str>) -> Answer {
    let and = if path.contains('?') { '&' } else { '?' };
    let request = server.request(
        Method::GET,
        &format!("/api/v1/jobs/{path}{and}ticket={ticket}"),
    );
    Answer::of(match cookie {
        Some(cookie) => request.header("cookie", cookie),
        None => request,
    })
    .await
}

/// The cookie that an answer sets, as a browser sends it back.
#[track_caller]
fn cookie_of(answer: &Answer) -> String {
    let cookie = answer.header("set-cookie").expect("a cookie");
    cookie.split(';').next().expect("a pair").to_owned()
}

async fn by_cookie(server: &TestServer, method: Method, path: &str, cookie: &str) -> Answer {
    let request = server.request(method, &format!("/api/v1/jobs{path}"));
    Answer::of(request.header("cookie", cookie)).await
}

#[tokio::test]
async fn a_ticket_is_for_thirty_seconds_and_for_no_cache() {
    let server = with_job().await;
    let answer = buy(&server.as_bearer("key-ann"), "a").await;
    assert_eq!(answer.json()["expires_in"], 30);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let soon = token(&json!({"sub": "ann", "exp": get_current_timestamp() + 20}));
    let answer = buy(&server.as_bearer(&soon), "a").await.json();
    assert!(
        answer["expires_in"].as_u64().is_some_and(|span| span <= 20),
        "{answer}"
    );
}

#[tokio::test]
async fn a_ticket_opens_the_stream_once_and_its_cookie_brings_the_browser_back() {
    let server = with_job().await;
    let bought = ticket(&server.as_bearer("key-ann"), "a").await;
    let mut stream = server
        .stream(&format!("/api/v1/jobs/a/stream?ticket={bought}"))
        .await;
    assert_eq!(stream.head.status, StatusCode::OK);
    let header = stream.head.headers["set-cookie"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    assert!(header.starts_with("progressd_ticket="), "{header}");
    assert!(
        header.ends_with("; Path=/api/v1/jobs/a; HttpOnly; SameSite=Strict"),
        "{header}"
    );
    stream.next_status().await;

    let cookie = header.split(';').next().expect("a pair");
    let spent = ask(&server, "a/stream", &bought, None).await;
    assert_eq!(spent.error(401, "UNAUTHORIZED"), "Invalid token");
    server
        .as_bearer("key-ann")
        .report("a", json!({"status": "completed"}))
        .await;
    let back = ask(&server, "a/stream", &bought, Some(cookie)).await;
    assert!(
        back.expect(StatusCode::OK)
            .text
            .contains("\"status\":\"completed\"")
    );
}

#[tokio::test]
async fn the_cookie_is_for_https_alone_where_a_trusted_proxy_says_that_the_client_uses_it() {
    for (proxies, scheme, is_secure) in [
        ("'127.0.0.1'", Some("https"), true),
        ("'127.0.0.1'", Some("http, https"), true),
        ("'127.0.0.1'", Some("https, http"), false),
        ("'127.0.0.1'", Some("http"), false),
        ("'127.0.0.1'", None, false),
        // Whoever else says so is not believed.
        ("'10.0.0.1'", Some("https"), false),
        ("", Some("https"), false),
    ] {
        let trusted = format!("server.trusted_proxies = [{proxies}]\n");
        let server = TestServer::with(&format!("{trusted}{}", people::configuration())).await;
        let ann = server.as_bearer("key-ann");
        ann.create(json!({"job_id": "a"})).await;
        let bought = ticket(&ann, "a").await;
        let path = format!("/api/v1/jobs/a?ticket={bought}");
        let mut request = server.request(Method::GET, &path);
        request = request.header("x-forwarded-for", "203.0.113.9");
        if let Some(scheme) = scheme {
            request = request.header("x-forwarded-proto", scheme);
        }
        let answer = Answer::of(request).await.expect(StatusCode::OK);
        let cookie = answer.header("set-cookie").expect("a cookie");
        let end = if is_secure {
            "Strict; Secure"
        } else {
            "Strict"
        };
        assert!(cookie.ends_with(end), "{proxies} {scheme:?}: {cookie}");
    }
}

#[tokio::test]
async fn a_ticket_opens_the_status_too_and_the_cookie_of_a_token_ends_with_it() {
    let server = with_job().await;
    let reader = token(&json!({"sub": "ann", "exp": get_current_timestamp() + 90}));
    for path in ["a", "a/status", "a/stream"] {
        server
            .as_bearer("key-ann")
            .report("a", json!({"status": "completed"}))
            .await;
        let bought = ticket(&server.as_bearer(&reader), "a").await;
        let answer = ask(&server, path, &bought, None)
            .await
            .expect(StatusCode::OK);
        let cookie = answer.header("set-cookie").expect("a cookie");
        let (_, max_age) = cookie.split_once("; Max-Age=").expect("an age");
        let max_age: u64 = max_age.parse().expect("a number");
        assert!((30..=90).contains(&max_age), "{cookie}");
    }
}

#[tokio::test]
async fn a_ticket_and_its_cookie_read_the_stream_and_the_status_of_their_job_alone() {
    let server = with_job().await;
    let ann = server.as_bearer("key-ann");
    ann.create(json!({"job_id": "b"})).await;
    ann.report("a", json!({"status": "completed"})).await;
    let first = ticket(&ann, "a").await;
    let cookie = cookie_of(&ask(&server, "a", &first, None).await);
    for path in ["/a", "/a/status", "/a/stream"] {
        for method in [Method::GET, Method::HEAD] {
            let answer = by_cookie(&server, method, path, &cookie).await;
            answer.expect(StatusCode::OK);
        }
    }
    for (method, path) in [
        (Method::GET, ""),
        (Method::GET, "/a/results"),
        (Method::GET, "/a/download"),
        (Method::PATCH, "/a"),
        (Method::DELETE, "/a"),
        (Method::POST, "/a/cancel"),
        (Method::POST, "/a/events"),
        (Method::POST, "/a/ticket"),
    ] {
        let answer = by_cookie(&server, method.clone(), path, &cookie).await;
        assert_eq!(
            answer.error(401, "UNAUTHORIZED"),
            "Invalid API key",
            "{method} {path}"
        );
        let unused = ticket(&ann, "a").await;
        let request = server.request(method, &format!("/api/v1/jobs{path}?ticket={unused}"));
        let answer = Answer::of(request).await;
        assert_eq!(answer.error(401, "UNAUTHORIZED"), "Invalid token");
    }
    by_cookie(&server, Method::GET, "/b", &cookie)
        .await
        .error(403, "FORBIDDEN");
    let unused = ticket(&ann, "a").await;
    let answer = ask(&server, "b", &unused, None).await;
    answer.error(403, "FORBIDDEN");
    assert_eq!(answer.header("set-cookie"), None);
    let answer = ask(&server, "a", &unused, None).await;
    answer.expect(StatusCode::OK);
}

#[tokio::test]
async fn who_may_not_read_the_job_buys_no_ticket() {
    let server = with_job().await;
    buy(&server.as_bearer("key-bob"), "a")
        .await
        .error(403, "FORBIDDEN");
    buy(&server.as_bearer("key-write"), "a")
        .await
        .error(403, "FORBIDDEN");
    buy(&server.as_bearer("key-ann"), "x")
        .await
        .error(404, "JOB_NOT_FOUND");
    buy(&server, "a").await.error(401, "UNAUTHORIZED");
    let path = "/api/v1/jobs/a/ticket";
    let answer = server
        .as_bearer("key-ann")
        .post(path, json!({"for": 5}))
        .await;
    answer.error(400, "INVALID_REQUEST");
    let answer = server.as_bearer("key-ann").post(path, json!({})).await;
    answer.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_recreated_job_is_another_one() {
    let server = with_job().await;
    let ann = server.as_bearer("key-ann");
    let (first, second) = (ticket(&ann, "a").await, ticket(&ann, "a").await);
    let cookie = cookie_of(&ask(&server, "a", &first, None).await);
    ann.delete("/api/v1/jobs/a")
        .await
        .expect(StatusCode::NO_CONTENT);
    ann.create(json!({"job_id": "a"})).await;
    by_cookie(&server, Method::GET, "/a", &cookie)
        .await
        .error(403, "FORBIDDEN");
    ask(&server, "a", &second, None)
        .await
        .error(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_ticket_is_used_once_on_all_nodes_and_its_cookie_holds_on_each() {
    let store = memory();
    let first = TestServer::over(store.clone(), &people::configuration()).await;
    let second = TestServer::over(store, &people::configuration()).await;
    first
        .as_bearer("key-ann")
        .create(json!({"job_id": "a"}))
        .await;
    let bought = ticket(&first.as_bearer("key-ann"), "a").await;
    let uses = futures_util::future::join_all(
        [&first, &second, &first, &second].map(|node| ask(node, "a", &bought, None)),
    )
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = uses.iter().partition(|answer| answer.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 3));
    let cookie = cookie_of(won[0]);
    for node in [&first, &second] {
        let answer = ask(node, "a", &bought, Some(&cookie)).await;
        answer.expect(StatusCode::OK);
    }
}

#[tokio::test]
async fn a_cookie_dies_with_the_key_that_bought_it() {
    let server = with_job().await;
    let ann = server.as_bearer("key-ann");
    let (first, second) = (ticket(&ann, "a").await, ticket(&ann, "a").await);
    let cookie = cookie_of(&ask(&server, "a", &first, None).await);
    server.reload(&people::configuration());
    by_cookie(&server, Method::GET, "/a", &cookie)
        .await
        .expect(StatusCode::OK);
    server.reload(&people::configuration_without("key-ann"));
    let answer = by_cookie(&server, Method::GET, "/a", &cookie).await;
    answer.error(401, "UNAUTHORIZED");
    ask(&server, "a", &second, None)
        .await
        .error(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn what_is_no_ticket_or_no_cookie_lets_nobody_in() {
    let server = with_job().await;
    let ann = server.as_bearer("key-ann");
    let created = ann.create(json!({})).await;
    let watch_token = created["watch_token"].as_str().expect("a token");
    let bought = ticket(&ann, "a").await;
    for text in [
        "",
        "x",
        "a.b.c",
        "key-ann",
        watch_token,
        &token(&json!({"sub": "ann"})),
    ] {
        let answer = ask(&server, "a", text, None).await;
        assert_eq!(answer.error(401, "UNAUTHORIZED"), "Invalid token", "{text}");
        let cookie = format!("progressd_ticket={text}");
        let answer = by_cookie(&server, Method::GET, "/a", &cookie).await;
        assert_eq!(
            answer.error(401, "UNAUTHORIZED"),
            "Invalid API key",
            "{text}"
        );
    }
    for bearer in [&bought, &format!("{bought}x")] {
        let answer = server.as_bearer(bearer).get("/api/v1/jobs/a").await;
        assert_eq!(answer.error(401, "UNAUTHORIZED"), "Invalid token");
    }
    let path = format!("/api/v1/jobs/a?token={bought}");
    assert_eq!(
        server.get(&path).await.error(401, "UNAUTHORIZED"),
        "Invalid token"
    );
}

#[tokio::test]
async fn a_cookie_counts_only_where_no_explicit_credential_holds() {
    let server = with_job().await;
    let ann = server.as_bearer("key-ann");
    let bought = ticket(&ann, "a").await;
    let cookie = cookie_of(&ask(&server, "a", &bought, None).await);
    let answer = by_cookie(&server.as_bearer("key-bob"), Method::GET, "/a", &cookie).await;
    answer.error(403, "FORBIDDEN");
    let expired = token(&json!({"sub": "ann", "exp": 5}));
    let answer = by_cookie(&server.as_bearer(&expired), Method::GET, "/a", &cookie).await;
    answer.expect(StatusCode::OK);
}

#[tokio::test]
async fn the_cookie_of_the_job_is_found_behind_those_of_others() {
    let server = with_job().await;
    let ann = server.as_bearer("key-ann");
    ann.create(json!({"job_id": "b"})).await;
    let cookie_for = async |job_id: &str| {
        let bought = ticket(&ann, job_id).await;
        cookie_of(&ask(&server, job_id, &bought, None).await)
    };
    let (of_a, of_b) = (cookie_for("a").await, cookie_for("b").await);
    let rubbish = "progressd_ticket=rubbish";
    for cookies in [
        format!("{of_b}; {of_a}"),
        format!("{of_a}; {of_b}"),
        [&*[rubbish; 10].join("; "), &*[&*of_b; 5].join("; "), &of_a].join("; "),
    ] {
        let answer = by_cookie(&server, Method::GET, "/a", &cookies).await;
        answer.expect(StatusCode::OK);
    }
    // Each one that is tried costs a computation: there is an end to it.
    let many = [&*[rubbish; 100].join("; "), &of_a].join("; ");
    by_cookie(&server, Method::GET, "/a", &many)
        .await
        .error(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn an_open_server_sells_tickets_so_that_a_page_works_unchanged() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    let bought = ticket(&server, "a").await;
    for _ in 0..2 {
        let answer = ask(&server, "a", &bought, None)
            .await
            .expect(StatusCode::OK);
        assert_eq!(answer.header("set-cookie"), None);
    }
}

#[tokio::test]
async fn a_browser_is_told_to_come_back_when_the_store_cannot_say_whether_its_ticket_is_used() {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), &people::configuration()).await;
    server
        .as_bearer("key-ann")
        .create(json!({"job_id": "a"}))
        .await;
    let bought = ticket(&server.as_bearer("key-ann"), "a").await;
    store.follow(|call| match call {
        Call::PutIfAbsent => Fate::Failed,
        _ => Fate::Done,
    });
    ask(&server, "a", &bought, None)
        .await
        .error(503, "STORE_UNAVAILABLE");
    let path = format!("/api/v1/jobs/a/stream?ticket={bought}");
    let request = server
        .request(Method::GET, &path)
        .header("accept", "text/event-stream");
    let answer = Answer::of(request).await.expect(StatusCode::OK);
    assert!(answer.text.contains("STORE_UNAVAILABLE"), "{}", answer.text);
    store.every_call(Fate::Done);
    ask(&server, "a", &bought, None)
        .await
        .expect(StatusCode::OK);
}

#[tokio::test]
async fn a_refusal_that_passes_does_not_cost_the_browser_its_way_back() {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), &people::configuration()).await;
    let ann = server.as_bearer("key-ann");
    ann.create(json!({"job_id": "a"})).await;
    ann.report("a", json!({"status": "completed"})).await;
    let bought = ticket(&ann, "a").await;
    store.set_unreadable(true);
    let answer = ask(&server, "a/stream", &bought, None).await;
    answer.error(503, "STORE_UNAVAILABLE");
    let cookie = cookie_of(&answer);
    store.set_unreadable(false);
    let back = ask(&server, "a/stream", &bought, Some(&cookie)).await;
    back.expect(StatusCode::OK);
}
