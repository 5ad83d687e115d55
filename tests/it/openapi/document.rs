//! The document itself: whole, the same everywhere, and open to everybody.

use std::{collections::BTreeSet, process::Stdio};

use progressd::http::openapi;
use reqwest::{Method, StatusCode, header};
use serde_json::Value;
use tokio::process::Command;

use super::truth::{document, resolve};
use crate::support::{
    in_time, people,
    server::{Answer, TestServer},
};

fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("calls");
        item.iter()
            .map(move |(method, operation)| (format!("{method} {path}"), operation))
    })
}

/// Every object of the document.
fn objects<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            found.push(value);
            fields.values().for_each(|value| objects(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| objects(value, found)),
        _ => {}
    }
}

#[test]
fn the_document_is_what_it_was() {
    insta::assert_snapshot!(openapi::document());
}

#[test]
fn every_call_says_what_it_is_for_and_who_may() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (call, operation) in operations(&document) {
        for field in ["summary", "description", "operationId"] {
            let text = operation[field].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{call} has no {field}");
        }
        assert!(ids.insert(operation["operationId"].as_str()), "{call}");
        assert_eq!(
            operation["tags"].as_array().map(Vec::len),
            Some(1),
            "{call}"
        );
        let is_api = call.contains("/api/v1/");
        // The measurements are an administrator's, the rest outside of the API everybody's.
        let needs_somebody = is_api || call == "get /metrics";
        assert_eq!(operation["security"].is_array(), needs_somebody, "{call}");
        let has_body = operation["requestBody"]["content"].is_object();
        let takes_body = is_api && (call.starts_with("post ") || call.starts_with("patch "));
        assert_eq!(has_body, takes_body, "{call}");
        let responses = operation["responses"].as_object().expect("answers");
        for (status, answer) in responses {
            let answer = resolve(&document, answer);
            let headers = &answer["headers"];
            assert!(headers["X-Request-Id"].is_object(), "{call} {status}");
            assert!(
                !answer["description"]
                    .as_str()
                    .unwrap_or_default()
                    .is_empty(),
                "{call} {status}"
            );
        }
    }
    assert!(ids.len() > 15, "{ids:?}");
}

#[test]
fn every_reference_leads_somewhere_and_nothing_named_is_left_over() {
    let document = document();
    let mut found = Vec::new();
    objects(&document, &mut found);
    let mut used = BTreeSet::new();
    for object in found {
        if object["$ref"].is_string() {
            resolve(&document, object);
            used.extend(object["$ref"].as_str());
        }
    }
    for group in ["schemas", "responses", "headers"] {
        for name in document["components"][group]
            .as_object()
            .expect("a group")
            .keys()
        {
            let reference = format!("#/components/{group}/{name}");
            assert!(used.contains(&*reference), "{reference} is used nowhere");
        }
    }
}

#[tokio::test]
async fn the_command_prints_what_the_server_answers() {
    let server = TestServer::start().await;
    let answer = server.get("/openapi.json").await.expect(StatusCode::OK);
    let printing = Command::new(env!("CARGO_BIN_EXE_progressd"))
        .arg("openapi")
        .env_clear()
        .stdin(Stdio::null())
        .output();
    let output = in_time("the document", printing)
        .await
        .expect("the binary starts");
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).expect("UTF-8"),
        answer.text
    );
    assert_eq!(answer.text, openapi::document());
}

#[tokio::test]
async fn the_document_and_its_page_are_open_and_are_sent_once() {
    let server = TestServer::with(&people::configuration()).await;
    for (path, content_type) in [
        ("/openapi.json", "application/json"),
        ("/docs", "text/html; charset=utf-8"),
        ("/client.js", "text/javascript; charset=utf-8"),
        ("/", "text/html; charset=utf-8"),
        ("/assets/dashboard.js", "text/javascript; charset=utf-8"),
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/docs/page.js", "text/javascript; charset=utf-8"),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8"),
    ] {
        let head = Answer::of(server.request(Method::HEAD, path)).await;
        let head = head.expect(StatusCode::OK);
        assert_eq!(head.header("content-type"), Some(content_type), "{path}");
        assert_eq!(
            head.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        let tag = head.header("etag").expect("a tag").to_owned();
        let again = server
            .request(Method::GET, path)
            .header(header::IF_NONE_MATCH, &tag);
        let again = Answer::of(again).await.expect(StatusCode::NOT_MODIFIED);
        assert_eq!(
            (again.header("etag"), &*again.text),
            (Some(&*tag), ""),
            "{path}"
        );
        let other = server
            .request(Method::GET, path)
            .header(header::IF_NONE_MATCH, "\"other\"");
        Answer::of(other).await.expect(StatusCode::OK);
        let options = Answer::of(server.request(Method::OPTIONS, path)).await;
        let options = options.expect(StatusCode::NO_CONTENT);
        assert_eq!(
            options.header("allow"),
            Some("GET, HEAD, OPTIONS"),
            "{path}"
        );
    }
    server
        .get("/docs/other.js")
        .await
        .error(404, "ROUTE_NOT_FOUND");
    server.get("/docs/%ff").await.error(404, "ROUTE_NOT_FOUND");
    server.get("/docs/").await.error(404, "ROUTE_NOT_FOUND");
}
