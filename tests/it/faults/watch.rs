//! Watchers: each reads a job to its end and comes back with its last id, as an `EventSource` does.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use rand::{RngExt as _, rngs::StdRng};

use super::{
    record::{Block, Connection, End},
    wire::Answer,
    world::{World, pause},
};
use crate::support::sse;

/// Before a connection that ended is opened again. Far below what the server asks for, so that there are many.
const AGAIN: Duration = Duration::from_millis(80);

/// Watches one job after the other.
pub(super) async fn watch(world: Arc<World>, number: u64) {
    let mut chance = world.chance(number);
    loop {
        let is_last = world.winding_down.is_cancelled();
        match world.any_job(&mut chance) {
            Some(job) => {
                follow(&world, &job, &mut chance).await;
                if world.over.is_cancelled() {
                    return;
                }
            }
            None => pause(AGAIN, &mut chance).await,
        }
        if is_last {
            return;
        }
    }
}

/// Reads a job to its end, over as many connections as it takes.
async fn follow(world: &World, job: &Arc<str>, chance: &mut StdRng) {
    let watcher = world.next_watcher();
    let mut cursor = chance.random_bool(0.3).then_some(0);
    // Some ask once more after the end, to be told that there is nothing.
    let mut asks_again = chance.random_bool(0.3);
    loop {
        let mut connection = Connection {
            watcher,
            job: Arc::clone(job),
            cursor,
            began: world.recorder.tick(),
            blocks: Vec::new(),
            // What it is if this is given up.
            end: End::Broken,
        };
        let path = format!("/api/v1/jobs/{job}/stream");
        let mut headers = world.headers();
        headers.push(("accept", "text/event-stream".to_owned()));
        headers.extend(cursor.map(|cursor| ("last-event-id", cursor.to_string())));
        let address = world.any_address(chance);
        let reading = async {
            match Answer::to(address, &path, &headers).await {
                Ok(answer) => read(world, answer, &mut connection).await,
                Err(_) => End::Broken,
            }
        };
        let end = world.over.run_until_cancelled(reading).await;
        connection.end = end.unwrap_or(End::Broken);
        let newest = connection.blocks.iter().filter_map(|block| block.id).max();
        cursor = newest.or(cursor);
        let is_over =
            connection.end == End::NothingMore || connection.blocks.last().is_some_and(is_end);
        world.recorder.watched(connection);
        if end.is_none() || (is_over && !asks_again) {
            return;
        }
        if is_over {
            asks_again = false;
            continue;
        }
        pause(AGAIN, chance).await;
    }
}

fn is_end(block: &Block) -> bool {
    let states = ["completed", "failed", "cancelled"];
    &*block.event == "status"
        && states
            .iter()
            .any(|state| block.data.contains(&format!(r#""status":"{state}""#)))
}

/// Reads a stream; half a block at its end is none.
async fn read(world: &World, mut answer: Answer, connection: &mut Connection) -> End {
    match answer.status() {
        200 => {}
        204 => return End::NothingMore,
        status => return End::Refused(status),
    }
    let mut buffer = BytesMut::new();
    loop {
        match answer.piece().await {
            Ok(Some(bytes)) => buffer.extend_from_slice(&bytes),
            Ok(None) => return End::Closed,
            Err(_) => return End::Broken,
        }
        while let Some(end) = buffer
            .windows(2)
            .position(|pair| pair == b"\n\n" || pair == b":\n")
        {
            let text = buffer.split_to(end + 2);
            // A heartbeat is a colon and LF, between blocks.
            if text.starts_with(b":") {
                continue;
            }
            let text = std::str::from_utf8(&text).expect("blocks are UTF-8");
            let block = sse::Block::parse(text.trim_end_matches('\n'));
            connection.blocks.push(Block {
                tick: world.recorder.tick(),
                event: world.recorder.text(block.name()),
                data: world.recorder.text(&block.data),
                id: block
                    .id
                    .as_deref()
                    .map(|id| id.parse().expect("an id is a seq")),
            });
        }
    }
}
