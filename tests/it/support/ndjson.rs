//! A worker that keeps `POST /reports` open: it writes lines while answers come.

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use reqwest::{Body, Method, Response, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{in_time, server::TestServer};

/// An open request.
pub(crate) struct Reporter {
    lines: Option<mpsc::UnboundedSender<Bytes>>,
    response: Response,
    buffer: BytesMut,
}

impl Reporter {
    /// Opens the request; the server answers its head before any line is sent.
    pub(crate) async fn open(server: &TestServer) -> Self {
        let (lines, receiver) = mpsc::unbounded_channel::<Bytes>();
        let chunks = stream::unfold(receiver, |mut receiver| async {
            let chunk = receiver.recv().await?;
            Some((Ok::<_, Infallible>(chunk), receiver))
        });
        let request = server
            .request(Method::POST, "/api/v1/reports")
            .header("content-type", "application/x-ndjson")
            .body(Body::wrap_stream(chunks));
        let response = in_time("the head of the answer", request.send())
            .await
            .expect("a server that answers");
        assert_eq!(response.status(), StatusCode::OK);
        Self {
            lines: Some(lines),
            response,
            buffer: BytesMut::new(),
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&self, bytes: impl Into<Bytes>) {
        let lines = self.lines.as_ref().expect("the request is open");
        lines.send(bytes.into()).expect("the request is open");
    }

    /// Sends a report on a line of its own.
    pub(crate) fn report(&self, line: &Value) {
        self.send(format!("{line}\n"));
    }

    /// Ends the request's body.
    pub(crate) fn finish(&mut self) {
        self.lines = None;
    }

    /// The next line of the answer; `None` at its end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Some(serde_json::from_slice(&line).expect("a line is JSON"));
            }
            let chunk = in_time("a line of the answer", self.response.chunk());
            match chunk.await.expect("an unbroken answer") {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => {
                    assert!(self.buffer.is_empty(), "half a line: {:?}", self.buffer);
                    return None;
                }
            }
        }
    }

    /// The lines that are left, to the end of the answer.
    pub(crate) async fn rest(&mut self) -> Vec<Value> {
        let mut lines = Vec::new();
        while let Some(line) = self.next().await {
            lines.push(line);
        }
        lines
    }
}

/// Line, job and code of a refusal.
#[track_caller]
pub(crate) fn refusal(line: &Value) -> (u64, Option<&str>, &str) {
    assert!(line["error"]["message"].is_string(), "{line}");
    (
        line["line"].as_u64().expect("a line number"),
        line.get("job_id")
            .map(|name| name.as_str().expect("a name")),
        line["error"]["code"].as_str().expect("a code"),
    )
}
