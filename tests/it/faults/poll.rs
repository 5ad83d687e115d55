//! Whoever cannot stream polls.

use std::{sync::Arc, time::Duration};

use rand::{RngExt as _, rngs::StdRng};
use reqwest::Method;

use super::world::{World, pause};
use crate::support::in_time;

/// Longest pause between two polls of one client.
const AGAIN: Duration = Duration::from_millis(60);

/// Asks for jobs' statuses until it is time to stop.
pub(super) async fn poll(world: Arc<World>, number: u64) {
    let mut chance = world.chance(number);
    while !world.winding_down.is_cancelled() {
        pause(AGAIN, &mut chance).await;
        let Some(job) = world.any_job(&mut chance) else {
            continue;
        };
        // Some wait for news.
        let query = match chance.random_bool(0.2) {
            true => "?wait=1&after=0",
            false => "",
        };
        ask(&world, &job, query, &mut chance).await;
    }
}

/// Asks once; says whether there was an answer.
async fn ask(world: &World, job: &Arc<str>, query: &str, chance: &mut StdRng) -> bool {
    let began = world.recorder.tick();
    let path = format!("/jobs/{job}/status{query}");
    let Ok(response) = world.request(Method::GET, &path, chance).send().await else {
        return false;
    };
    let status = response.status();
    let Ok(text) = response.text().await else {
        return false;
    };
    match status.as_u16() {
        200 => world.recorder.polled(job, began, Ok(&text)),
        500.. | 429 => return false,
        status => world.recorder.polled(job, began, Err(status)),
    }
    true
}

/// Reads every job's status, when everything is over.
pub(super) async fn read_everything(world: &World) {
    let mut chance = world.chance(u64::MAX);
    for job in world.all_jobs() {
        let asking = async {
            while !ask(world, &job, "", &mut chance).await {
                pause(AGAIN, &mut chance).await;
            }
        };
        in_time("the job's status", asking).await;
    }
}
