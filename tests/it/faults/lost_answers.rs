//! A node's commit whose answer is lost, while another node changes the same job before it is asked about.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::backing::Backing;
use crate::support::{
    fault_proxy::{Fault, FaultProxy},
    server::{Answer, TestServer},
    until,
};

/// What a commit is known by on its way.
const MARK: &str = "lose-me";

over_shared_stores! {
    an_increment_whose_answer_was_lost_counts_once_although_another_node_was_quicker
    rows_whose_answer_was_lost_are_there_once_although_another_node_was_quicker
}

/// Two nodes over one store, and what stands between the first and the store.
struct Nodes {
    proxy: FaultProxy,
    here: TestServer,
    there: TestServer,
}

impl Nodes {
    async fn start(backing: &Backing, more: &str) -> Self {
        let proxy = FaultProxy::before(backing.address, Fault::None).await;
        let more = format!("{more}stream.update_interval_ms = 0\n");
        let here = TestServer::with(&backing.toml_by(proxy.address, &more)).await;
        let there = TestServer::with(&backing.toml(&more)).await;
        here.create(json!({"job_id": "j"})).await;
        here.report("j", json!({"processed_count": 0})).await;
        Self { proxy, here, there }
    }

    /// What the first node answers when the answer to its commit is lost, and `other` is reported to the second
    /// before the first gets to know of the loss.
    async fn lose(&self, errand: &Errand, other: Value) -> Answer {
        // After the loss before it, the node has its way to the store again.
        count_at(&self.here).await;
        let lost = self.proxy.lost();
        self.proxy.set(Fault::KeepAnswer(MARK.as_bytes())).await;
        let between = async {
            until("a lost answer", async || self.proxy.lost() > lost).await;
            self.there.report("j", other).await;
            self.proxy.set(Fault::None).await;
        };
        tokio::join!(errand.send(&self.here), between).0
    }

    /// Sends it again until it is taken, when it can be known again.
    async fn insist(&self, errand: &Errand, first: &Answer) {
        if errand.name.is_some() && first.status != StatusCode::OK {
            until("an answer", async || {
                errand.send(&self.here).await.status == StatusCode::OK
            })
            .await;
        }
    }
}

/// A request that changes the job.
struct Errand {
    method: Method,
    path: &'static str,
    body: Value,
    name: Option<String>,
}

impl Errand {
    /// Either done or not known to be; nothing else is honest.
    async fn send(&self, server: &TestServer) -> Answer {
        let mut request = server
            .request(self.method.clone(), self.path)
            .json(&self.body);
        if let Some(name) = &self.name {
            request = request.header("idempotency-key", name);
        }
        let answer = Answer::of(request).await;
        if answer.status != StatusCode::OK {
            answer.error(503, "STORE_UNAVAILABLE");
        }
        answer
    }
}

/// The count that a node shows as soon as it has a way to its store again.
async fn count_at(server: &TestServer) -> u64 {
    let path = "/api/v1/jobs/j/status";
    until("an answer", async || {
        server.get(path).await.status == StatusCode::OK
    })
    .await;
    let status = server.status("j").await;
    status["processed_count"].as_u64().expect("a count")
}

/// What another node is told meanwhile: something that counts, something that does not, a mere sign of life.
fn others() -> [Value; 3] {
    [
        json!({"processed_increment": 1000}),
        json!({"message": "other"}),
        json!({}),
    ]
}

async fn an_increment_whose_answer_was_lost_counts_once_although_another_node_was_quicker(
    backing: Backing,
) {
    let nodes = Nodes::start(&backing, "").await;
    let mut expected = 0;
    for round in 0..6_usize {
        let other = others()[round % 3].clone();
        expected += 1 + other["processed_increment"].as_u64().unwrap_or(0);
        let errand = Errand {
            method: Method::PATCH,
            path: "/api/v1/jobs/j",
            body: json!({"processed_increment": 1, "message": MARK}),
            name: (round < 3).then(|| format!("r{round}")),
        };
        let answer = nodes.lose(&errand, other).await;
        nodes.insist(&errand, &answer).await;
        // What was marked is not carried along.
        nodes.there.report("j", json!({"message": "next"})).await;
        // The store had done it, whatever became of the answer.
        for node in [&nodes.here, &nodes.there] {
            let count = count_at(node).await;
            assert_eq!(count, expected, "{round}: {answer:?}");
        }
    }
}

async fn rows_whose_answer_was_lost_are_there_once_although_another_node_was_quicker(
    backing: Backing,
) {
    let nodes = Nodes::start(&backing, "").await;
    for round in 0..6_usize {
        let errand = Errand {
            method: Method::POST,
            path: "/api/v1/jobs/j/results",
            body: json!([{"n": 2 * round, "text": MARK}, {"n": 2 * round + 1}]),
            name: (round < 3).then(|| format!("r{round}")),
        };
        let answer = nodes.lose(&errand, others()[round % 3].clone()).await;
        nodes.insist(&errand, &answer).await;
        let results = nodes.there.get("/api/v1/jobs/j/results").await.json();
        let rows = results["results"].as_array().expect("rows").iter();
        let numbers: Vec<_> = rows.map(|row| row["n"].clone()).collect();
        let expected: Vec<_> = (0..2 * round + 2).collect();
        assert_eq!(json!(numbers), json!(expected), "{round}: {answer:?}");
    }
}

/// The first try comes late and all the same, another node changes the job, then comes the second try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_increment_that_was_sent_twice_to_postgresql_counts_once() {
    let backing = Backing::postgres().await;
    let nodes = Nodes::start(&backing, "store.timeout_ms = 800\n").await;
    nodes.proxy.set(Fault::KeepRequest(MARK.as_bytes())).await;
    let errand = Errand {
        method: Method::PATCH,
        path: "/api/v1/jobs/j",
        body: json!({"processed_increment": 1, "message": MARK}),
        name: None,
    };
    let between = async {
        until("the second try", async || nodes.proxy.kept() == 2).await;
        nodes.proxy.let_one_go();
        until("the first try", async || {
            nodes.there.status("j").await["processed_count"] == 1
        })
        .await;
        let other = json!({"processed_increment": 1000, "message": "other"});
        nodes.there.report("j", other).await;
        nodes.proxy.let_one_go();
    };
    let answer = tokio::join!(errand.send(&nodes.here), between).0;
    nodes.proxy.set(Fault::None).await;
    for node in [&nodes.here, &nodes.there] {
        assert_eq!(count_at(node).await, 1001, "{answer:?}");
    }
}
