//! `GET …/results` and `GET …/download`: pages, formats and HEAD.

use progressd::job::{Command, JobId, Json};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::server::{Answer, TestServer};

const RESULTS: &str = "/api/v1/jobs/a/results";
const DOWNLOAD: &str = "/api/v1/jobs/a/download";

/// A server with a job that has these rows, as a runner appends them.
async fn with_rows(rows: &[Value]) -> TestServer {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    append(
        &server,
        rows.iter()
            .map(|row| Json::of(row).expect("JSON"))
            .collect(),
    )
    .await;
    server
}

async fn append(server: &TestServer, rows: Vec<Json>) {
    let job_id = JobId::parse("a").expect("a name");
    let job = server.registry().find(&job_id).await.expect("the job");
    job.apply(Command::Rows(rows), None)
        .await
        .expect("rows are taken");
}

fn numbered(count: u64) -> Vec<Value> {
    (0..count).map(|n| json!({"n": n})).collect()
}

#[tokio::test]
async fn pages_link_to_each_other_and_hold_every_row_once() {
    let server = with_rows(&numbered(250)).await;
    let mut path = RESULTS.to_owned();
    let mut found = Vec::new();
    for (page, count) in [(1, 100), (2, 100), (3, 50)] {
        let body = server.get(&path).await.expect(StatusCode::OK).json();
        let rows = body["results"].as_array().expect("rows");
        assert_eq!(rows.len(), count);
        found.extend(rows.iter().cloned());
        let link = |page: u64| format!("{RESULTS}?page={page}&per_page=100");
        let next = (page < 3).then(|| link(page + 1));
        let prev = (page > 1).then(|| link(page - 1));
        assert_eq!(
            body,
            json!({
                "job_id": "a", "page": page, "per_page": 100, "total": 250,
                "results": rows, "links": {"next": next, "prev": prev},
            })
        );
        path = next.unwrap_or_default();
    }
    assert_eq!(found, numbered(250));
}

#[tokio::test]
async fn the_size_of_a_page_is_chosen_within_bounds() {
    let server = with_rows(&numbered(1_001)).await;
    for (query, count, next) in [
        ("", 100, true),
        ("?per_page=1", 1, true),
        ("?per_page=1000", 1_000, true),
        ("?per_page=1000&page=2", 1, false),
        ("?per_page=1001&page=1", 0, false),
        ("?per_page=7&page=143", 7, false),
        ("?per_page=7&page=144", 0, false),
        ("?page=4294967295&per_page=1000", 0, false),
    ] {
        let answer = server.get(&format!("{RESULTS}{query}")).await;
        if query.contains("1001") {
            let message = answer.error(400, "INVALID_REQUEST");
            assert!(message.starts_with("per_page: "), "{message}");
        } else {
            let body = answer.expect(StatusCode::OK).json();
            assert_eq!(
                body["results"].as_array().map(Vec::len),
                Some(count),
                "{query}"
            );
            assert_eq!(
                (&body["total"], body["links"]["next"].is_string()),
                (&json!(1_001), next)
            );
        }
    }
    for query in [
        "page=0",
        "page=-1",
        "page=x",
        "page=4294967296",
        "per_page=0",
        "per_page=",
    ] {
        let message = server
            .get(&format!("{RESULTS}?{query}"))
            .await
            .error(400, "INVALID_REQUEST");
        let field = query.split('=').next().expect("a name");
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
    }
}

#[tokio::test]
async fn without_rows_there_is_one_empty_page_and_an_empty_file() {
    let server = with_rows(&[]).await;
    let body = server.get(RESULTS).await.json();
    assert_eq!((&body["total"], &body["results"]), (&json!(0), &json!([])));
    assert_eq!(body["links"], json!({"next": null, "prev": null}));
    for (format, file) in [("csv", ""), ("json", "[]\n"), ("ndjson", "")] {
        let answer = server.get(&format!("{DOWNLOAD}?format={format}")).await;
        assert_eq!(answer.expect(StatusCode::OK).text, file);
    }
}

#[tokio::test]
async fn each_format_comes_as_an_attachment() {
    let server = with_rows(&[json!({"a": "=1", "b": [1]}), json!({"c": null})]).await;
    for (query, media, name, file) in [
        (
            "",
            "text/csv; charset=utf-8",
            "a.csv",
            "a,b,c\r\n'=1,[1],\r\n,,\r\n",
        ),
        (
            "?format=csv",
            "text/csv; charset=utf-8",
            "a.csv",
            "a,b,c\r\n'=1,[1],\r\n,,\r\n",
        ),
        (
            "?format=json",
            "application/json",
            "a.json",
            "[{\"a\":\"=1\",\"b\":[1]},{\"c\":null}]\n",
        ),
        (
            "?format=ndjson",
            "application/x-ndjson",
            "a.ndjson",
            "{\"a\":\"=1\",\"b\":[1]}\n{\"c\":null}\n",
        ),
    ] {
        let get = server
            .get(&format!("{DOWNLOAD}{query}"))
            .await
            .expect(StatusCode::OK);
        assert_eq!(get.text, file);
        let disposition = format!("attachment; filename=\"{name}\"");
        for answer in [
            get,
            Answer::of(server.request(Method::HEAD, &format!("{DOWNLOAD}{query}"))).await,
        ] {
            assert_eq!(answer.header("content-type"), Some(media));
            assert_eq!(
                answer.header("content-disposition"),
                Some(disposition.as_str())
            );
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(answer.header("content-length"), None, "of unknown length");
        }
    }
    for format in ["xml", "", "CSV"] {
        let answer = server.get(&format!("{DOWNLOAD}?format={format}")).await;
        let message = answer.error(400, "INVALID_REQUEST");
        assert!(message.starts_with("format: "), "{message}");
    }
}

#[tokio::test]
async fn json_comes_out_as_it_went_in() {
    let server = with_rows(&[]).await;
    let row = r#"{"n":1e300,"i":123456789012345678901234567890,"f":1.50,"s":"\u00fc","k":1,"k":2}"#;
    append(&server, vec![serde_json::from_str(row).expect("JSON")]).await;
    let ndjson = server.get(&format!("{DOWNLOAD}?format=ndjson")).await;
    assert_eq!(ndjson.text, format!("{row}\n"));
    let json = server.get(&format!("{DOWNLOAD}?format=json")).await;
    assert_eq!(json.text, format!("[{row}]\n"));
    assert!(server.get(RESULTS).await.text.contains(row));
}

#[tokio::test]
async fn long_files_are_whole() {
    let server = with_rows(&numbered(2_500)).await;
    // A key that comes late has its column in the first line.
    append(
        &server,
        vec![Json::of(&json!({"late": true})).expect("JSON")],
    )
    .await;
    let csv = server.get(DOWNLOAD).await.text;
    let lines: Vec<_> = csv.split_terminator("\r\n").collect();
    assert_eq!((lines.len(), lines[0]), (2_502, "n,late"));
    assert_eq!((lines[2_500], lines[2_501]), ("2499,", ",true"));
    let json = server.get(&format!("{DOWNLOAD}?format=json")).await.json();
    assert_eq!(json.as_array().map(Vec::len), Some(2_501));
    let ndjson = server.get(&format!("{DOWNLOAD}?format=ndjson")).await.text;
    assert_eq!(ndjson.lines().count(), 2_501);
}

#[tokio::test]
async fn rows_are_there_while_the_job_runs_and_after_its_end() {
    let server = with_rows(&numbered(1)).await;
    assert_eq!(server.status("a").await["status"], "processing");
    assert_eq!(server.get(RESULTS).await.json()["total"], 1);
    append(&server, vec![Json::of(&json!({"n": 1})).expect("JSON")]).await;
    server.report("a", json!({"status": "completed"})).await;
    assert_eq!(
        server.get(RESULTS).await.json()["results"],
        json!(numbered(2))
    );
}

#[tokio::test]
async fn head_of_a_page_has_its_length_and_no_body() {
    let server = with_rows(&numbered(3)).await;
    let get = server.get(RESULTS).await;
    let head = Answer::of(server.request(Method::HEAD, RESULTS)).await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(head.header("content-length"), get.header("content-length"));
}
