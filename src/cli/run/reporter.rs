//! Tells the server how the command gets on: the newest state, one request at a time, whether the server is there or
//! not.

use std::{pin::pin, time::Duration};

use anyhow::Context as _;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Notes, output::Heard, progress::Progress};
use crate::cli::client::{
    CallError, Client,
    target::{JobAddress, below},
};

/// The longest wait for an answer.
const LONGEST_REQUEST: Duration = Duration::from_secs(10);

/// Between two reports: four a second are more than anybody sees.
const PACE: Duration = Duration::from_millis(250);

/// How long nothing is reported at most. A sign of life keeps the lease, of a minute as a rule, and its answer says
/// whether somebody wants the job to end.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);

/// How long a full bar is held back: programs that work in steps draw the next one right behind it, and progress
/// never goes back.
const HOLD: Duration = Duration::from_secs(2);

/// The first pause after a failure; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How the job ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ending {
    /// A terminal state.
    pub(super) status: &'static str,
    /// Code and message.
    pub(super) error: Option<(&'static str, String)>,
}

/// Reports on one job.
#[derive(Debug)]
pub(super) struct Reporter {
    client: Client,
    address: JobAddress,
    /// The request that creates it.
    job: Value,
    /// Whether its number of steps was known beforehand.
    has_total: bool,
    /// Nobody else can have a job of this name.
    is_name_new: bool,
    heard: watch::Receiver<Heard>,
    /// Somebody asked for the job's end.
    cancel: CancellationToken,
    notes: Notes,
    /// Whether the server has the job, as far as is known.
    is_created: bool,
    /// What the server knows.
    told: Heard,
    full_since: Option<Instant>,
    pause: Duration,
    /// The server takes no messages of this kind.
    is_without_message: bool,
}

/// What an answer means for the next report.
#[derive(Debug)]
enum Outlook {
    /// There is use in it.
    Good,
    /// The same would be refused again, until somebody mends it.
    Refused(CallError),
    /// The job has ended by itself: the command has reported that, or somebody else.
    Over,
}

/// What is read of the answer to a creation.
#[derive(Deserialize)]
struct Created {
    status: String,
    cancel_requested: bool,
}

/// What is read of the answer to a report.
#[derive(Deserialize)]
struct Reported {
    cancel_requested: bool,
}

impl Reporter {
    /// One for a job that is not there yet.
    pub(super) fn new(
        client: Client,
        address: JobAddress,
        job: Map<String, Value>,
        is_name_new: bool,
        heard: watch::Receiver<Heard>,
        notes: Notes,
    ) -> Self {
        Self {
            client,
            address,
            has_total: job.contains_key("total_count"),
            job: Value::Object(job),
            is_name_new,
            heard,
            cancel: CancellationToken::new(),
            notes,
            is_created: false,
            told: Heard::default(),
            full_since: None,
            pause: FIRST_PAUSE,
            is_without_message: false,
        }
    }

    /// Told when somebody asks for the end of the job.
    pub(super) fn cancel(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Creates the job, waiting for the server no longer than this.
    ///
    /// # Errors
    /// The server refuses, and would do so again.
    pub(super) async fn begin(&mut self, patience: Duration) -> anyhow::Result<()> {
        match timeout(patience, self.create()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if !error.is_passing() => Err(error).context("create the job"),
            Ok(Err(error)) => {
                self.say_that_it_is_away(&error.to_string());
                Ok(())
            }
            Err(_) => {
                self.say_that_it_is_away("no answer");
                Ok(())
            }
        }
    }

    /// Reports until `ending` comes, and then that, for as long as `patience` lasts.
    pub(super) async fn report(
        mut self,
        ending: impl Future<Output = Option<Ending>>,
        patience: Duration,
    ) {
        let mut ending = pin!(ending);
        let ending = tokio::select! {
            biased;
            ending = &mut ending => ending,
            // A request on its way is given up: the end says all that it would.
            is_over = self.follow() => match is_over {
                true => return,
                // By then somebody may have mended it.
                false => ending.await,
            },
        };
        let Some(ending) = ending else { return };
        if timeout(patience, self.deliver(&ending)).await.is_err() {
            self.notes.say(&format!(
                "{} was not told within {} s that the job is {}",
                self.address.server,
                patience.as_secs(),
                ending.status
            ));
        }
    }

    /// Reports for ever, or until nobody wants it; then says whether the job has ended.
    async fn follow(&mut self) -> bool {
        loop {
            let turn = self.turn().await;
            match self.outlook(turn).await {
                Outlook::Good => {}
                Outlook::Refused(error) => {
                    self.notes.say(&format!(
                        "the job is not reported on before its end: {error}"
                    ));
                    return false;
                }
                Outlook::Over => return true,
            }
            let something_new = async {
                // The ear lives as long as the command.
                if self.heard.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            sleep(PACE).await;
            let _ = timeout(SIGN_OF_LIFE.saturating_sub(PACE), something_new).await;
        }
    }

    async fn turn(&mut self) -> Result<(), CallError> {
        if !self.is_created {
            self.create().await?;
        }
        let heard = self.heard.borrow_and_update().clone();
        let is_full = heard.progress.is_some_and(Progress::is_whole);
        self.full_since = is_full.then(|| self.full_since.unwrap_or_else(Instant::now));
        let is_held_back = self.full_since.is_some_and(|since| since.elapsed() < HOLD);
        let progress = if is_held_back {
            self.told.progress
        } else {
            heard.progress
        };
        let news = Heard { progress, ..heard };
        let body = self.body(&news);
        self.send(body).await?;
        self.told = news;
        Ok(())
    }

    async fn deliver(&mut self, ending: &Ending) {
        let report_id = uuid::Uuid::now_v7().to_string();
        loop {
            let told = self.tell_end(ending, &report_id).await;
            if told.is_ok() {
                return;
            }
            match self.outlook(told).await {
                Outlook::Good => {}
                Outlook::Refused(error) => {
                    let status = ending.status;
                    self.notes.say(&format!(
                        "the server does not take that the job is {status}: {error}"
                    ));
                    return;
                }
                Outlook::Over => return,
            }
        }
    }

    async fn tell_end(&mut self, ending: &Ending, report_id: &str) -> Result<(), CallError> {
        if !self.is_created {
            self.create().await?;
        }
        let news = self.heard.borrow().clone();
        let mut body = self.body(&news);
        body.insert("status".to_owned(), ending.status.into());
        body.insert("report_id".to_owned(), report_id.into());
        if let Some((code, message)) = &ending.error {
            let error = json!({"code": code, "message": message});
            body.insert("error".to_owned(), error);
        }
        self.send(body).await
    }

    /// Whether there is any use in trying again; then the pause before it is over.
    async fn outlook(&mut self, result: Result<(), CallError>) -> Outlook {
        let error = match result {
            Ok(()) => {
                self.pause = FIRST_PAUSE;
                return Outlook::Good;
            }
            Err(error) => error,
        };
        let mut pause = self.pause;
        match &error {
            CallError::Refused { code, .. } if code == "JOB_FINISHED" => return Outlook::Over,
            CallError::Refused { code, .. } if code == "JOB_GONE" => {
                self.notes
                    .say(&format!("the job is not reported on any more: {error}"));
                return Outlook::Over;
            }
            CallError::Refused { code, .. } if code == "JOB_NOT_FOUND" => {
                // A server that keeps nothing was started anew.
                self.is_created = false;
                self.told = Heard::default();
            }
            CallError::Refused { status, .. }
                if matches!(
                    *status,
                    StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE
                ) && self.is_created
                    && !self.is_without_message =>
            {
                self.notes
                    .say(&format!("the server refuses a message: {error}"));
                self.is_without_message = true;
            }
            refusal if !refusal.is_passing() => return Outlook::Refused(error),
            CallError::Refused { retry_after, .. } => {
                pause = retry_after.map_or(pause, |wanted| wanted.clamp(pause, LONGEST_PAUSE));
            }
            CallError::Unreachable(_) => {}
        }
        if error.is_passing() {
            self.say_that_it_is_away(&error.to_string());
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        sleep(pause).await;
        Outlook::Good
    }

    async fn create(&mut self) -> Result<(), CallError> {
        let url = below(&self.address.server, "jobs");
        let request = self.client.request(Method::POST, url).json(&self.job);
        let response = self.client.send(timed(request)).await?;
        let is_found = response.status() == StatusCode::OK;
        let Created {
            status,
            cancel_requested,
        } = response.json().await?;
        if is_found && status != "pending" && !self.is_name_new {
            // The same command was run under this name before.
            return Err(CallError::Refused {
                status: StatusCode::CONFLICT,
                code: "JOB_EXISTS".to_owned(),
                message: format!("A job of this name is there already, and {status}"),
                retry_after: None,
            });
        }
        // From now on it is ours.
        self.is_name_new = true;
        self.is_created = true;
        self.notice(cancel_requested);
        self.notes.say_where(&self.address);
        Ok(())
    }

    async fn send(&self, body: Map<String, Value>) -> Result<(), CallError> {
        let request = self.client.request(Method::PATCH, self.address.call(""));
        let response = self.client.send(timed(request.json(&body))).await?;
        let Reported { cancel_requested } = response.json().await?;
        self.notice(cancel_requested);
        Ok(())
    }

    fn notice(&self, cancel_requested: bool) {
        if cancel_requested {
            self.cancel.cancel();
        }
    }

    /// What the server does not know yet.
    fn body(&self, news: &Heard) -> Map<String, Value> {
        let mut body = Map::new();
        match news
            .progress
            .filter(|_| news.progress != self.told.progress)
        {
            Some(Progress::Count { done, total }) => {
                body.insert("processed_count".to_owned(), done.into());
                body.insert("total_count".to_owned(), total.into());
            }
            Some(Progress::Percentage(percentage)) => {
                body.insert("progress_percentage".to_owned(), percentage.into());
                if !self.has_total && matches!(self.told.progress, Some(Progress::Count { .. })) {
                    // A percentage would be derived from it.
                    body.insert("total_count".to_owned(), Value::Null);
                }
            }
            None => {}
        }
        let message = news.message.as_ref().filter(|_| !self.is_without_message);
        if let Some(message) = message.filter(|_| news.message != self.told.message) {
            body.insert("message".to_owned(), message.as_str().into());
        }
        body
    }

    fn say_that_it_is_away(&self, why: &str) {
        self.notes.say_once(&format!(
            "{} is not there; the command runs all the same, and is reported once it is: {why}",
            self.address.server
        ));
    }
}

fn timed(request: RequestBuilder) -> RequestBuilder {
    request.timeout(LONGEST_REQUEST)
}
