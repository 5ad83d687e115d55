//! Two explicit credentials in one request.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{
    people::{self, token},
    server::{Answer, TestServer},
};

async fn ask(server: &TestServer, headers: &[&str], query: &str) -> Answer {
    let mut request = server.request(Method::GET, &format!("/api/v1/jobs/a{query}"));
    for value in headers {
        request = request.header("authorization", *value);
    }
    Answer::of(request).await
}

#[tokio::test]
async fn two_credentials_are_a_mistake_that_names_them_and_repeats_neither() {
    let server = TestServer::with(&people::configuration()).await;
    let good = token(&json!({"sub": "ann"}));
    let (in_header, in_query) = ("Bearer key-all", format!("token={good}"));
    let both = "the header Authorization and token in the query";
    for (headers, query, named) in [
        (vec![in_header], format!("?{in_query}"), both),
        (vec!["Basic x"], format!("?x=y&{in_query}"), both),
        (vec![in_header], "?token=".to_owned(), both),
        (vec![in_header], "?t%6Fken=x".to_owned(), both),
        (
            vec![in_header, in_header],
            String::new(),
            "the header Authorization and the header Authorization",
        ),
        (
            vec![in_header],
            "?ticket=x".to_owned(),
            "the header Authorization and ticket in the query",
        ),
        (
            vec![],
            format!("?{in_query}&ticket=x"),
            "token in the query and ticket in the query",
        ),
        (
            vec![],
            format!("?{in_query}&{in_query}"),
            "token in the query and token in the query",
        ),
        (
            vec![],
            "?ticket=x&ticket=x".to_owned(),
            "ticket in the query and ticket in the query",
        ),
    ] {
        let answer = ask(&server, &headers, &query).await;
        let expected = format!("The request has two credentials, {named}: send one");
        assert_eq!(answer.error(400, "INVALID_REQUEST"), expected);
    }
}

#[tokio::test]
async fn an_open_server_looks_at_none_of_them() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    let answer = ask(
        &server,
        &["Bearer a", "Basic b"],
        "?token=c&token=d&ticket=e",
    )
    .await;
    answer.expect(StatusCode::OK);
}
