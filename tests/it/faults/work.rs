//! Workers: they make jobs, report on them and end them, and say again what they got no answer to.

use std::{sync::Arc, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::{
    record::{Deed, Outcome},
    world::{World, pause},
};

/// Before a request without an answer is sent once more.
const AGAIN: Duration = Duration::from_millis(60);

/// A worker's job.
struct Job<'a> {
    world: &'a World,
    name: Arc<str>,
    /// What decides between deeds.
    chance: &'a mut StdRng,
    /// Numbers of events and report ids.
    next: u64,
    /// How far the worker is, when it reports totals.
    count: u64,
}

/// A request, to be sent as often as it takes.
struct Errand {
    method: Method,
    path: String,
    body: Value,
    report_id: Option<String>,
}

/// Works on one job after the other until it is time to stop.
pub(super) async fn work(world: Arc<World>, worker: u64) {
    let mut chance = world.chance(worker);
    let mut number = 0;
    while !world.winding_down.is_cancelled() {
        let name = world.recorder.text(&format!("w{worker}-{number}"));
        let job = Job {
            world: &world,
            name,
            chance: &mut chance,
            next: 1,
            count: 0,
        };
        job.play().await;
        number += 1;
    }
}

impl Job<'_> {
    async fn play(mut self) {
        let body =
            json!({"job_id": *self.name, "lease_seconds": 0, "unit": "items", "tags": ["fault"]});
        let errand = Errand {
            method: Method::POST,
            path: "/jobs".to_owned(),
            body,
            report_id: None,
        };
        self.insist(Deed::Create, &errand).await;
        self.world.add_job(&self.name);
        // Some say how many they did more, some how many they have done.
        let is_total = self.chance.random_bool(0.4);
        for _ in 0..self.chance.random_range(2..14) {
            pause(self.world.pause, self.chance).await;
            match self.chance.random_range(0..10) {
                0..=2 => self.event().await,
                3 => self.message().await,
                // By two nodes at once, where there are two.
                4 if !is_total => self.two_at_once().await,
                _ if is_total => self.total().await,
                _ => self.increment().await,
            }
        }
        let state = ["completed", "failed", "cancelled"][self.chance.random_range(0..3)];
        let errand = Errand {
            method: Method::PATCH,
            path: self.path(""),
            body: json!({"status": state}),
            report_id: None,
        };
        self.insist(Deed::End(state), &errand).await;
        self.world.ended.send_modify(|ended| *ended += 1);
        // Whoever has not heard of the end is refused.
        if self.chance.random_bool(0.3) {
            self.event().await;
        }
        if self.chance.random_bool(0.3) {
            self.increment().await;
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("/jobs/{}{rest}", self.name)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    async fn event(&mut self) {
        let number = self.number();
        let body = json!({"event": "log", "data": {"job": *self.name, "n": number}});
        self.report(Deed::Event(number), Method::POST, "/events", body)
            .await;
    }

    async fn increment(&mut self) {
        let by = self.chance.random_range(1..5);
        let body = json!({"processed_increment": by});
        self.report(Deed::Increment(by), Method::PATCH, "", body)
            .await;
    }

    async fn two_at_once(&mut self) {
        let number = self.number();
        let increment = self.errand(Method::PATCH, "", json!({"processed_increment": 7}));
        let event = json!({"event": "log", "data": {"job": *self.name, "n": number}});
        let event = self.errand(Method::POST, "/events", event);
        let mut others_chance = StdRng::seed_from_u64(self.chance.random());
        let (world, name) = (self.world, &self.name);
        tokio::join!(
            give(world, name, Deed::Increment(7), &increment, self.chance),
            give(world, name, Deed::Event(number), &event, &mut others_chance),
        );
    }

    async fn total(&mut self) {
        self.count += self.chance.random_range(1..20);
        let body = json!({"processed_count": self.count});
        self.report(Deed::Count(self.count), Method::PATCH, "", body)
            .await;
    }

    /// Something that nothing is counted by.
    async fn message(&mut self) {
        let number = self.number();
        let body = json!({"step": format!("step {number}"), "data": {"n": number}});
        self.report(Deed::Increment(0), Method::PATCH, "", body)
            .await;
    }

    async fn report(&mut self, deed: Deed, method: Method, rest: &str, body: Value) {
        let errand = self.errand(method, rest, body);
        give(self.world, &self.name, deed, &errand, self.chance).await;
    }

    /// A request about the job; with a name of its own or without one.
    fn errand(&mut self, method: Method, rest: &str, body: Value) -> Errand {
        let is_named = self.chance.random_bool(0.6);
        Errand {
            method,
            path: self.path(rest),
            body,
            report_id: is_named.then(|| format!("r{}", self.number())),
        }
    }

    /// Sends until there is an answer, however long that takes.
    async fn insist(&mut self, deed: Deed, errand: &Errand) {
        insist(self.world, &self.name, deed, errand, self.chance).await;
    }
}

/// Reports with a name, until it is answered; or without one, once.
async fn give(world: &World, name: &Arc<str>, deed: Deed, errand: &Errand, chance: &mut StdRng) {
    if errand.report_id.is_some() {
        insist(world, name, deed, errand, chance).await;
    } else {
        let began = world.recorder.tick();
        let outcome = send(world, errand, chance).await;
        world.recorder.reported(name, deed, began, outcome);
    }
}

async fn insist(world: &World, name: &Arc<str>, deed: Deed, errand: &Errand, chance: &mut StdRng) {
    let began = world.recorder.tick();
    loop {
        let outcome = send(world, errand, chance).await;
        if outcome != Outcome::Unknown {
            world.recorder.reported(name, deed, began, outcome);
            return;
        }
        pause(AGAIN, chance).await;
    }
}

async fn send(world: &World, errand: &Errand, chance: &mut StdRng) -> Outcome {
    let mut request = world.request(errand.method.clone(), &errand.path, chance);
    if let Some(report_id) = &errand.report_id {
        request = request.header("idempotency-key", report_id);
    }
    world.sent.send_modify(|sent| *sent += 1);
    let outcome = answer(request.json(&errand.body)).await;
    if matches!(outcome, Outcome::Done(_)) {
        world.done.send_modify(|done| *done += 1);
    }
    outcome
}

/// What a worker may conclude from an answer.
async fn answer(request: RequestBuilder) -> Outcome {
    let Ok(response) = request.send().await else {
        return Outcome::Unknown;
    };
    let status = response.status();
    // Half an answer is none.
    let Ok(body) = response.bytes().await else {
        return Outcome::Unknown;
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    match status {
        StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED => {
            Outcome::Done(body["seq"].as_u64().expect("an answer with a seq"))
        }
        StatusCode::TOO_MANY_REQUESTS => Outcome::Unknown,
        status if status.is_client_error() => {
            Outcome::Refused(body["error"]["code"].as_str().unwrap_or("?").to_owned())
        }
        _ => Outcome::Unknown,
    }
}
