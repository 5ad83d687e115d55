//! Jobs of a runner's that last as long as the faults do, and what must be there of them afterwards.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    record::{Deed, Outcome},
    world::{World, pause},
};

/// The keys by which such a job lasts.
pub(super) const KEYS: &str = "\
[runner.email]
dns = 'off'
max_per_second = 200
";

/// How many addresses are checked in a round of faults.
const PER_ROUND: u64 = 120;

/// A list of addresses that is being checked.
#[derive(Debug)]
pub(super) struct Run {
    name: Arc<str>,
    list: Vec<String>,
}

impl Run {
    /// Has a list checked that lasts so many rounds, if nothing goes wrong.
    pub(super) async fn start(world: &World, number: u64, rounds: u64) -> Self {
        let addresses = 0..PER_ROUND * rounds;
        let list: Vec<_> = addresses.map(|it| format!("u{it}@d{it}.org")).collect();
        let name = world.recorder.text(&format!("run-{number}"));
        let body = json!({"job_id": *name, "kind": "email-validation", "input": list});
        let mut chance = world.chance(40_000 + number);
        let began = world.recorder.tick();
        let request = world
            .request(Method::POST, "/jobs", &mut chance)
            .json(&body);
        let answer = request.send().await.expect("a node that answers");
        let answer: Value = answer.json().await.expect("JSON");
        let seq = answer["seq"].as_u64().expect("a job that was made");
        let recorder = &world.recorder;
        recorder.reported(&name, Deed::Run, began, Outcome::Done(seq));
        world.add_job(&name);
        Self { name, list }
    }

    /// Waits for its end, as long as it goes on; then every address must have been checked, once, in
    /// the list's order.
    pub(super) async fn check(&self, world: &World, patience: Duration) {
        let (mut count, mut moved_at) = (Value::Null, Instant::now());
        loop {
            let status = read(world, &format!("/jobs/{}/status", self.name)).await;
            match status["status"].as_str() {
                Some("completed") => break,
                Some("failed" | "cancelled") => panic!("{status}"),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
            if status["processed_count"] != count {
                (count, moved_at) = (status["processed_count"].clone(), Instant::now());
            }
            assert!(
                moved_at.elapsed() < patience,
                "{} stands still: {status}",
                self.name
            );
        }
        let mut found = Vec::new();
        for page in 1.. {
            let path = format!("/jobs/{}/results?per_page=1000&page={page}", self.name);
            let rows = read(world, &path).await["results"].take();
            let rows: Vec<Value> = serde_json::from_value(rows).expect("rows");
            found.extend(rows.iter().map(|row| row["email"].clone()));
            if rows.len() < 1_000 {
                break;
            }
        }
        assert_eq!(found.len(), self.list.len(), "{}", self.name);
        assert_eq!(json!(found), json!(self.list), "{}", self.name);
    }
}

/// What is there, when all is well again.
async fn read(world: &World, path: &str) -> Value {
    let mut chance = world.chance(50_000);
    loop {
        let request = world.request(Method::GET, path, &mut chance);
        // A connection that the server closes just now, as it does after a stream's last block, is another try's.
        if let Ok(answer) = request.send().await
            && let Ok(answer) = answer.json().await
        {
            return answer;
        }
        pause(Duration::from_millis(50), &mut chance).await;
    }
}
