//! Whether the user may do what this needs on channels, tried once at the start: later nobody would
//! be told who could mend it.

use std::time::Duration;

use redis::{ErrorKind, PushInfo, RedisError, ServerErrorKind, aio::SendError, cmd};
use tokio::time::{Instant, sleep, timeout};

use super::{
    address::Address,
    failure::{Failure, sentence},
    keys::Keys,
    link::Pauses,
};

/// Tries all of it; a Redis that goes away meanwhile is waited for until `give_up`.
///
/// # Errors
/// A sentence that names the right which is missing.
pub(super) async fn check(
    address: &Address,
    keys: &Keys,
    patience: Duration,
    give_up: Instant,
) -> Result<(), String> {
    let mut pauses = Pauses::new();
    loop {
        let outcome = timeout(patience, try_all(address, keys)).await;
        let silent = |_| Err(Failure::Away(format!("Redis: no answer from {address}")));
        match outcome.unwrap_or_else(silent) {
            Ok(()) => return Ok(()),
            Err(Failure::Away(_)) if Instant::now() < give_up => {
                sleep(pauses.next().unwrap_or_default()).await;
            }
            Err(failure) => return Err(failure.reason().to_owned()),
        }
    }
}

async fn try_all(address: &Address, keys: &Keys) -> Result<(), Failure> {
    let deaf = |_: PushInfo| Ok::<(), SendError>(());
    let line = address.listen(deaf).await?;
    let mut connection = line.connection();
    let changes = format!("&{}", keys.own("*"));
    // To nobody, and nothing: there is no job without a name.
    for channel in [keys.channel(""), keys.lifecycle()] {
        let mut publish = cmd("PUBLISH");
        publish.arg(&channel).arg("");
        let published = publish.exec_async(&mut connection).await;
        published.map_err(|error| told(&error, "publish", &changes))?;
        let subscribed = connection.subscribe(&channel).await;
        subscribed.map_err(|error| told(&error, "subscribe", &changes))?;
    }
    let pushed = keys.pushed_messages();
    let subscribed = connection.psubscribe(&pushed).await;
    subscribed.map_err(|error| told(&error, "psubscribe", &format!("&{pushed}")))
}

fn told(error: &RedisError, command: &str, channels: &str) -> Failure {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoPerm) => Failure::Wrong(format!(
            "Redis: its user may not use {command} as progressd does: it needs the rights `+{command} {channels}`"
        )),
        _ => Failure::Away(sentence(error)),
    }
}
