//! A client with a job of its own, and what is seen of it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client_program::{ClientProgram, Following},
    cut_proxy::CutProxy,
    node::Node,
    server::{Answer, TestServer},
    until,
};

/// The events of a job.
const EVENTS: [u64; 7] = [1, 2, 3, 4, 5, 6, 7];

/// A client that watches.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) program: ClientProgram,
    job_id: String,
    url: String,
    following: Following,
    /// What it missed first: nobody waits for it any more.
    missed: Option<String>,
    requests_before_the_end: usize,
}

/// What was seen of a client.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The events that it had, in its order.
    pub(super) events: Vec<u64>,
    pub(super) requests_after_the_end: usize,
    /// What should not be so.
    pub(super) complaints: Vec<String>,
}

impl Seen {
    /// Which of the job's events it had.
    pub(super) fn events_told(&self) -> String {
        match self.events == EVENTS {
            true => "all, once, in order".to_owned(),
            false => format!("{:?}", self.events),
        }
    }
}

impl Watch {
    /// Makes a job for it and sends it there, by way of this base URL.
    pub(super) async fn start(program: ClientProgram, base: &str, server: &TestServer) -> Self {
        let job = json!({"kind": format!("{program:?}"), "total_count": EVENTS.len()});
        let job = server.create(job).await;
        let job_id = job["job_id"].as_str().expect("a name").to_owned();
        server
            .report(&job_id, json!({"status": "processing"}))
            .await;
        let url = format!("{base}/api/v1/jobs/{job_id}/stream");
        Self {
            program,
            job_id,
            following: program.start(&url, "line"),
            url,
            missed: None,
            requests_before_the_end: 0,
        }
    }

    /// Joins, and sees what comes while it watches.
    pub(super) async fn joins(&mut self, server: &TestServer) {
        self.is_there().await;
        self.report(server, 1).await;
        self.sees(1).await;
        // On its way, or not even that, when the server goes.
        self.report(server, 2).await;
    }

    /// Comes back, as a rule after the first of these reports.
    pub(super) async fn goes_on(&mut self, server: &TestServer) {
        self.report(server, 3).await;
        self.sees(3).await;
        self.report(server, 4).await;
        self.sees(4).await;
        self.report(server, 5).await;
    }

    /// Comes back once more, and to the end.
    pub(super) async fn comes_to_the_end(&mut self, server: &TestServer, node: &Node) {
        self.report(server, 6).await;
        self.sees(6).await;
        self.report(server, 7).await;
        let end = json!({"status": "completed", "result": {"events": EVENTS}});
        server.report(&self.job_id, end).await;
        self.requests_before_the_end = self.requests(node);
        let has_ended = |lines: &[Value]| lines.iter().any(is_end);
        self.waits("the end", has_ended).await;
    }

    /// Is left alone for a while after the end; then what there was is looked at.
    pub(super) async fn is_over(
        &mut self,
        server: &TestServer,
        node: &Node,
        quiet: Duration,
    ) -> Seen {
        self.following.listen(quiet).await;
        let status = self.status(server).await;
        let lines = &self.following.lines;
        let mut complaints = Vec::from_iter(self.missed.clone());
        let events = lines.iter().filter(|line| line["type"] == "line");
        let events: Vec<_> = events.filter_map(|line| line["data"].as_u64()).collect();
        if events != EVENTS {
            complaints.push(format!("it had the events {events:?}"));
        }
        let ends: Vec<_> = lines.iter().filter(|line| is_end(line)).collect();
        if ends.len() != 1 {
            complaints.push(format!("it had the end {} times", ends.len()));
        }
        for end in ends {
            let id = status["seq"].to_string();
            if end["data"] != status || end["id"] != json!(id) {
                complaints.push(format!("its end is not {status}"));
            }
        }
        // Some show none for a block that has none, where others show the one before.
        let ids = lines.iter().filter_map(|line| line["id"].as_str());
        let ids = ids.filter_map(|id| id.parse::<u64>().ok());
        if !ids.is_sorted() {
            complaints.push("its ids do not rise".to_owned());
        }
        // It joined, and came back twice at least.
        if self.requests_before_the_end < 3 {
            complaints.push(format!("{} requests", self.requests_before_the_end));
        }
        let requests_after_the_end = self.requests(node) - self.requests_before_the_end;
        if requests_after_the_end > 2 {
            complaints.push(format!("{requests_after_the_end} requests after the end"));
        }
        if !complaints.is_empty() {
            complaints.push(format!("{:?} at {}: {lines:#?}", self.program, self.url));
        }
        Seen {
            events,
            requests_after_the_end,
            complaints,
        }
    }

    /// Is started anew behind the end, where nothing is to be had but 204; how often it asks meanwhile.
    pub(super) async fn asks_behind_the_end(
        &mut self,
        server: &TestServer,
        node: &Node,
        time: Duration,
    ) -> usize {
        let before = self.requests(node);
        let seq = self.status(server).await["seq"].take();
        let url = format!("{}?last_event_id={seq}", self.url);
        // The one before ends here.
        self.following = self.program.start(&url, "line");
        let is_answered = |lines: &[Value]| !lines.is_empty();
        let answer = self.following.until("an answer", is_answered).await;
        answer.unwrap_or_else(|error| panic!("{:?}: {error}", self.program));
        self.following.listen(time).await;
        self.requests(node) - before
    }

    /// Whether it comes back after the server was away; it has joined before.
    pub(super) async fn comes_back(&mut self, server: &TestServer) -> bool {
        self.report(server, 3).await;
        self.sees(3).await;
        self.missed.is_none()
    }

    /// Is cut off in the middle of a status and comes back to the end, over a proxy that has let two blocks pass; how
    /// many messages were spoilt for it by that, or what it missed.
    pub(super) async fn is_cut(
        &mut self,
        server: &TestServer,
        proxy: &CutProxy,
    ) -> Result<usize, String> {
        self.is_there().await;
        self.send(server, 1).await;
        let has =
            |number: u64| move |lines: &[Value]| lines.iter().any(|line| is_event(line, number));
        self.waits("event 1", has(1)).await;
        server
            .report(&self.job_id, json!({"processed_count": 1}))
            .await;
        until("the cut", async || proxy.has_cut()).await;
        self.send(server, 2).await;
        self.waits("event 2", has(2)).await;
        server
            .report(&self.job_id, json!({"status": "completed"}))
            .await;
        self.waits("the end", |lines| lines.iter().any(is_end))
            .await;
        let lines = &self.following.lines;
        match self.missed.take() {
            None => Ok(lines.iter().filter(|line| line["raw"].is_string()).count()),
            Some(missed) => Err(missed),
        }
    }

    async fn is_there(&mut self) {
        let is_there = |lines: &[Value]| lines.iter().any(|line| line["type"] == "status");
        self.waits("a first status", is_there).await;
    }

    /// Sends one more event, and a status.
    async fn report(&self, server: &TestServer, number: u64) {
        self.send(server, number).await;
        let report = json!({"processed_count": number});
        server.report(&self.job_id, report).await;
    }

    async fn send(&self, server: &TestServer, number: u64) {
        let path = format!("/api/v1/jobs/{}/events", self.job_id);
        let event = json!({"event": "line", "data": number});
        server.post(&path, event).await;
    }

    /// Waits until it has seen an event, and a status that is as new.
    async fn sees(&mut self, number: u64) {
        let has_seen = |lines: &[Value]| {
            let is_status = |line: &Value| line["data"]["processed_count"].as_u64() >= Some(number);
            lines.iter().any(|line| is_event(line, number)) && lines.iter().any(is_status)
        };
        self.waits(&format!("event {number}"), has_seen).await;
    }

    async fn waits(&mut self, what: &str, holds: impl Fn(&[Value]) -> bool) {
        if self.missed.is_none() {
            self.missed = self.following.until(what, holds).await.err();
        }
    }

    async fn status(&self, server: &TestServer) -> Value {
        let path = format!("/api/v1/jobs/{}", self.job_id);
        let answer = Answer::of(server.request(Method::GET, &path)).await;
        serde_json::from_str(&answer.text).expect("JSON")
    }

    /// How often its stream was asked for, as the server's log tells.
    fn requests(&self, node: &Node) -> usize {
        let path = format!("http.path=\"/api/v1/jobs/{}/stream\"", self.job_id);
        let log = node.log();
        let answers = log.lines().filter(|line| line.contains("request answered"));
        answers.filter(|line| line.contains(&path)).count()
    }
}

fn is_event(line: &Value, number: u64) -> bool {
    line["type"] == "line" && line["data"] == number
}

fn is_end(line: &Value) -> bool {
    line["type"] == "status" && line["data"]["status"] == "completed"
}
