//! The connection for commands: watched over, and replaced when it breaks.
//!
//! While there is none, commands are refused at once rather than kept waiting, but for the moment
//! that the first attempt at another one takes: a connection that breaks while Redis is fine is
//! hardly noticed. Redis is asked every second for the marker that it was given: so a connection
//! that leads nowhere is found out although nobody waits for an answer on it, and so is a Redis
//! that has lost what it held.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, cmd};
use tokio::{
    sync::watch,
    task::coop::unconstrained,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    address::{Address, Line},
    failure::{Failure, is_misplaced, is_unknown_script, sentence, unavailable},
    marker::Marker,
    scripts::Scripts,
};
use crate::store::StoreError;

/// How often Redis is asked for its marker.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The first pause between two attempts to connect, and the longest: with many nodes Redis must
/// get its breath, and nobody should wait long once it is back.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The oldest Redis that has all that is used here: `SET` with both `NX` and `GET`.
const OLDEST: u32 = 7;

/// A connection that is there whenever Redis is.
pub(super) struct Link {
    status: watch::Receiver<Status>,
    marker: Arc<Marker>,
    patience: Duration,
    _keeper: AbortOnDropHandle<()>,
}

#[derive(Clone)]
enum Status {
    Up(Arc<Line>),
    /// The first attempt after a connection broke is under way.
    Connecting,
    /// No attempt has worked since; the last one's reason.
    Down(String),
}

/// What keeps the connection.
struct Keeper {
    address: Arc<Address>,
    status: watch::Sender<Status>,
    marker: Arc<Marker>,
    patience: Duration,
}

impl Link {
    /// Connects, and stays connected from then on. What may pass is waited for until `give_up`.
    pub(super) async fn open(
        address: Arc<Address>,
        marker: Marker,
        patience: Duration,
        give_up: Instant,
    ) -> Result<Self, Failure> {
        let (status, seen) = watch::channel(Status::Connecting);
        let marker = Arc::new(marker);
        let keeper = Keeper {
            address,
            status,
            marker: Arc::clone(&marker),
            patience,
        };
        let mut pauses = Pauses::new();
        let line = loop {
            match keeper.connect().await {
                Ok(line) => break line,
                Err(Failure::Away(reason)) if Instant::now() < give_up => {
                    if pauses.is_first() {
                        tracing::warn!(reason, "waiting for Redis");
                    }
                    sleep(pauses.next().unwrap_or(PAUSES.1)).await;
                }
                Err(failure) => return Err(failure),
            }
        };
        let keeping = tokio::spawn(keeper.keep(line));
        Ok(Self {
            status: seen,
            marker,
            patience,
            _keeper: AbortOnDropHandle::new(keeping),
        })
    }

    /// Has Redis do all that is in `pipeline`, in one round trip.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
    ) -> Result<T, StoreError> {
        let line = self.line().await?;
        let running = async {
            match query(&line, pipeline).await {
                Err(error) if is_unknown_script(&error) => {
                    // What stands before a script in a pipeline may come twice.
                    query::<()>(&line, &Scripts::load()).await?;
                    query(&line, pipeline).await
                }
                outcome => outcome,
            }
        };
        match timeout(self.patience, running).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if is_misplaced(&error) {
                    line.broken().cancel();
                }
                Err(unavailable(&error))
            }
            Err(_) => Err(StoreError::Unavailable(
                "Redis: it did not answer in time".to_owned(),
            )),
        }
    }

    /// Has Redis do one thing.
    pub(super) async fn call<T: FromRedisValue>(&self, command: Cmd) -> Result<T, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.add_command(command);
        let (value,) = self.run(&pipeline).await?;
        Ok(value)
    }

    /// Finds out whether Redis holds what it held before.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let line = self.line().await?;
        let checking = timeout(self.patience, self.marker.check(&line));
        tokio::select! {
            outcome = checking => match outcome {
                Ok(outcome) => outcome.map_err(|error| unavailable(&error)),
                Err(_) => Err(unavailable(&broken())),
            },
            () = line.broken().cancelled() => Err(unavailable(&broken())),
        }
    }

    /// Has Redis do what nobody waits for, before all that it is asked later; when it is not done,
    /// nothing is lost for long.
    pub(super) async fn tell(&self, mut pipeline: Pipeline) {
        if let Ok(line) = self.line().await
            && !pipeline.is_empty()
        {
            pipeline.ignore_errors();
            let mut telling = Box::pin(unconstrained(async move {
                let _: RedisResult<redis::Value> = query(&line, &pipeline).await;
            }));
            // The first poll takes the place among the requests of this connection, and it has to
            // happen here, since tasks begin in any order.
            if telling.as_mut().now_or_never().is_none() {
                tokio::spawn(telling);
            }
        }
    }

    async fn line(&self) -> Result<Arc<Line>, StoreError> {
        let mut status = self.status.clone();
        let settled = status.wait_for(|status| !matches!(status, Status::Connecting));
        let reason = match timeout(self.patience, settled).await {
            Ok(Ok(status)) => match &*status {
                Status::Up(line) => return Ok(Arc::clone(line)),
                Status::Down(reason) => reason.clone(),
                Status::Connecting => "Redis: connecting".to_owned(),
            },
            _ => "Redis: no connection".to_owned(),
        };
        Err(StoreError::Unavailable(reason))
    }
}

/// Runs a pipeline, until the connection breaks.
pub(super) async fn query<T: FromRedisValue>(line: &Line, pipeline: &Pipeline) -> RedisResult<T> {
    let mut connection = line.connection();
    tokio::select! {
        biased;
        outcome = pipeline.query_async(&mut connection) => outcome.map_err(first_of),
        () = line.broken().cancelled() => Err(broken()),
    }
}

/// What Redis said to the first command that it refused: of a pipeline's error as a whole nothing
/// can be told.
fn first_of(error: RedisError) -> RedisError {
    let refusals = error.clone().into_server_errors().unwrap_or_default();
    let first = refusals.first().map(|(_, first)| first.clone().into());
    first.unwrap_or(error)
}

fn broken() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()
}

impl Keeper {
    async fn keep(self, mut line: Arc<Line>) {
        let mut pauses = Pauses::new();
        loop {
            let begin = Instant::now();
            self.status.send_replace(Status::Up(Arc::clone(&line)));
            let reason = self.watch(&line).await;
            line.broken().cancel();
            self.status.send_replace(Status::Connecting);
            tracing::warn!(reason, "lost Redis");
            pauses.settle(begin).await;
            line = self.reconnect().await;
            tracing::info!("Redis is back");
        }
    }

    async fn reconnect(&self) -> Arc<Line> {
        let mut pauses = Pauses::new();
        loop {
            match self.connect().await {
                Ok(line) => return line,
                Err(failure) => {
                    let reason = failure.reason();
                    if pauses.is_first() {
                        tracing::warn!(reason, "no connection to Redis, trying on");
                    }
                    self.status.send_replace(Status::Down(reason.to_owned()));
                }
            }
            sleep(pauses.next().unwrap_or(PAUSES.1)).await;
        }
    }

    /// Waits for the end of a connection; the reason.
    async fn watch(&self, line: &Line) -> String {
        let checking = async {
            loop {
                sleep(CHECK_INTERVAL).await;
                match timeout(self.patience, self.marker.check(line)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return sentence(&error),
                    Err(_) => return "Redis: no answer".to_owned(),
                }
            }
        };
        tokio::select! {
            reason = checking => reason,
            () = line.broken().cancelled() => "Redis: the connection broke".to_owned(),
        }
    }

    /// A connection to a Redis that can be used.
    async fn connect(&self) -> Result<Arc<Line>, Failure> {
        let line = self.address.connect().await?;
        let opening = async {
            self.inspect(&line).await?;
            let mut connection = line.connection();
            let () = Scripts::load().query_async(&mut connection).await?;
            Ok(self.marker.set(&line).await?)
        };
        match timeout(self.patience, opening).await {
            Ok(Ok(())) => Ok(Arc::new(line)),
            Ok(Err(failure)) => Err(failure),
            Err(_) => {
                let address = &self.address;
                Err(Failure::Away(format!("Redis: no answer from {address}")))
            }
        }
    }

    /// Looks at what it is. A user who may not ask is none the worse for that.
    async fn inspect(&self, line: &Line) -> Result<(), Failure> {
        let mut connection = line.connection();
        let role: RedisResult<Vec<redis::Value>> = cmd("ROLE").query_async(&mut connection).await;
        match role {
            Ok(role) => {
                let role = role.into_iter().next();
                let role: Option<String> = role.and_then(|role| redis::from_redis_value(role).ok());
                if role.is_some_and(|role| role != "master") {
                    let reason = "Redis: it is a replica, which takes no changes";
                    return Err(Failure::Away(reason.to_owned()));
                }
            }
            Err(error) if is_not_allowed(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let info: RedisResult<String> = cmd("INFO").query_async(&mut connection).await;
        match info {
            Ok(info) => check_info(&info),
            Err(error) if is_not_allowed(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_not_allowed(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
}

/// Looks at what `INFO` says. Redis 7 and what names itself as one.
fn check_info(info: &str) -> Result<(), Failure> {
    let field = |name: &str| {
        let mut lines = info.lines().map(|line| line.split_once(':'));
        lines.find_map(|line| line.filter(|(key, _)| *key == name).map(|(_, value)| value))
    };
    let version = field("redis_version").unwrap_or_default();
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major < OLDEST) {
        let reason =
            format!("Redis: this is version {version}, and {OLDEST}.0 is the oldest that will do");
        return Err(Failure::Wrong(reason));
    }
    let policy = field("maxmemory_policy").unwrap_or("noeviction");
    if policy != "noeviction" && field("maxmemory").is_some_and(|most| most != "0") {
        tracing::warn!(
            policy,
            "Redis throws keys away when its memory is full, jobs among them: its maxmemory-policy should be noeviction"
        );
    }
    Ok(())
}

/// Pauses between attempts: each about twice the one before.
pub(super) struct Pauses(Option<Duration>);

impl Pauses {
    pub(super) fn new() -> Self {
        Self(None)
    }

    /// After a connection that was there since `begin`: another one is tried at once, but where one
    /// after the other breaks soon.
    pub(super) async fn settle(&mut self, begin: Instant) {
        if begin.elapsed() >= CHECK_INTERVAL {
            *self = Self::new();
        } else if let Some(pause) = self.next() {
            sleep(pause).await;
        }
    }

    /// Whether there was none yet.
    pub(super) fn is_first(&self) -> bool {
        self.0.is_none()
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    /// A random part is left out, so that nodes do not come all at once.
    fn next(&mut self) -> Option<Duration> {
        let (shortest, longest) = PAUSES;
        let pause = self.0.map_or(shortest, |pause| (pause * 2).min(longest));
        self.0 = Some(pause);
        Some(pause.mul_f64(rand::random_range(0.5..=1.0)))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Link").finish_non_exhaustive()
    }
}
