//! The document in the hands of strangers: a validator, and schemathesis, which makes requests from
//! it, right ones and wrong ones, and holds the server's answers against it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use progressd::http::openapi;
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use super::truth::document;
use crate::support::{people, server::TestServer};

/// Far above what a run takes, also on a machine that does other things.
const PATIENCE: Duration = Duration::from_secs(300);

/// Cases that are made up per call, beside those at the bounds of every schema.
const EXAMPLES: &str = "10";

/// Always the same cases; another number tries others.
const SEED: &str = "20261122";

/// Runs a program of the environment that `scripts/test` makes; what it printed when it failed.
async fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("target/schemathesis/bin").join(program);
    assert!(
        path.is_file(),
        "{program} is not installed: run scripts/test"
    );
    let running = Command::new(path)
        .args(arguments)
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", folder())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "127.0.0.1")
        .current_dir(root.join("target"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, running)
        .await
        .unwrap_or_else(|_| panic!("{program} hangs"));
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(text.into())
    } else {
        Err(text.into())
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis")
}

/// The document as schemathesis can check more of it: what a text consists of stands in place of
/// the text, as it reads them, and the way without a credential is left out, since this server has keys.
fn for_schemathesis(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(item) = fields.remove("x-itemSchema") {
                let is_lines = fields["example"]
                    .as_str()
                    .is_some_and(|text| text.starts_with('{'));
                fields.remove("example");
                let schema = if is_lines {
                    json!({"type": "array", "items": item})
                } else {
                    item
                };
                fields.insert("schema".to_owned(), schema);
            }
            if let Some(ways) = fields.get_mut("security").and_then(Value::as_array_mut) {
                ways.retain(|way| way != &json!({}));
            }
            fields.values_mut().for_each(for_schemathesis);
        }
        Value::Array(items) => items.iter_mut().for_each(for_schemathesis),
        _ => {}
    }
}

#[tokio::test]
async fn a_validator_finds_the_document_valid() {
    let file = tempfile::Builder::new()
        .suffix(".json")
        .tempfile()
        .expect("a file");
    std::fs::write(file.path(), openapi::document()).expect("the file is written");
    let path = file.path().to_str().expect("UTF-8");
    let verdict = run("openapi-spec-validator", &["--schema", "3.1", path]).await;
    assert!(verdict.is_ok(), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_nothing_that_differs_from_the_document() {
    let host = TestServer::with(&people::configuration()).await;
    let server = host.as_bearer("key-admin");
    for job_id in ["done", "open", "doomed"] {
        server.create(json!({"job_id": job_id})).await;
    }
    server
        .report("done", json!({"status": "completed", "result": {"n": 1}}))
        .await;
    let mut document = document();
    for_schemathesis(&mut document);
    let folder_of_document = tempfile::tempdir().expect("a folder");
    let path = folder_of_document.path().join("openapi.json");
    std::fs::write(&path, document.to_string()).expect("the file is written");
    let verdict = run(
        "st",
        &[
            "--config-file",
            folder().join("schemathesis.toml").to_str().expect("UTF-8"),
            "--no-color",
            "run",
            path.to_str().expect("UTF-8"),
            "--url",
            &server.url,
            "--header",
            "Authorization: Bearer key-admin",
            "--max-examples",
            EXAMPLES,
            "--seed",
            SEED,
            "--continue-on-failure",
        ],
    )
    .await;
    let text = verdict.unwrap_or_else(|text| panic!("seed {SEED}:\n{text}"));
    let calls = openapi::document().matches("\"operationId\"").count();
    assert!(text.contains(&format!("Tested: {calls}\n")), "{text}");
}
