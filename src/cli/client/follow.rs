//! Follows jobs as a good client does: streams, comes back where it stood, polls where streams do not get
//! through, and knows the end.

pub mod feed;
pub mod news;
mod poll;

use std::time::Duration;

use rand::RngExt as _;
use reqwest::{Method, StatusCode, header};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use self::{
    feed::{Feed, Subject, Taken, Unreadable},
    news::{Line, News, Told},
};
use super::{
    CallError, Client,
    blocks::{Blocks, Broken},
};

/// The `retry` by which a server says that nothing follows; also the longest pause.
const NEVER: Duration = Duration::from_secs(3_600);

/// The shortest time between two streams, whatever a server says.
const LEAST_RETRY: Duration = Duration::from_millis(50);

/// What lies between an `error` and the status that it belongs to: nothing, on the server's side.
const HOLD: Duration = Duration::from_millis(100);

/// The longest wait between two tries, unless the server asks for more.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// The longest time until streams are tried again.
const LONGEST_PROBE: Duration = Duration::from_secs(900);

/// How long a follower waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the first byte of an answer.
    pub first_byte: Duration,
    /// For any later one, until heartbeats have shown how often they come: one and a half times what is between
    /// them by default.
    pub silence: Duration,
    /// For something new by a poll, in seconds: what stands between often allows no more than 30.
    pub long_poll: u64,
    /// Between polls, when the server does not say.
    pub poll_pause: Duration,
    /// Until streams are tried again.
    pub probe: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            silence: Duration::from_secs(45),
            long_poll: 25,
            poll_pause: Duration::from_secs(5),
            probe: Duration::from_secs(60),
        }
    }
}

/// Why following ended before all was told.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The server has said no, or nobody was ever there.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What answers is no progressd server.
    #[error("{0}")]
    Strange(String),
    /// The job was removed.
    #[error("the job is gone (JOB_GONE)")]
    Gone,
    /// The credential is over.
    #[error("the token has expired (TOKEN_EXPIRED)")]
    TokenExpired,
    /// Nobody listens to what is told.
    #[error("nobody listens any more")]
    Unheard,
}

impl From<Unreadable> for FollowError {
    fn from(unreadable: Unreadable) -> Self {
        Self::Strange(unreadable.to_string())
    }
}

/// What ended an attempt.
#[derive(Debug)]
enum Trouble {
    /// Trying again would not change it.
    Final(FollowError),
    /// A line that said nothing for too long, and whether it had said anything before.
    Silent { had_begun: bool },
    /// Something that passes, perhaps after the time that was asked for.
    Passing {
        after: Option<Duration>,
        reason: String,
    },
}

impl From<FollowError> for Trouble {
    fn from(error: FollowError) -> Self {
        Self::Final(error)
    }
}

impl From<Unreadable> for Trouble {
    fn from(unreadable: Unreadable) -> Self {
        Self::Final(unreadable.into())
    }
}

/// Follows one subject.
#[derive(Debug)]
pub struct Follower {
    client: Client,
    subject: Subject,
    feed: Feed,
    source: usize,
    told: mpsc::Sender<Told>,
    patience: Patience,
    cursor: Option<String>,
    retry: Duration,
    failures: u32,
    /// Whether anybody has answered yet.
    is_answered: bool,
    /// Streams in a row that were answered and brought no block.
    hollow: u32,
    /// A line fell silent, and no later one has shown that it does not.
    is_suspect: bool,
    /// All was told: the jobs' ends, and what came behind them.
    is_complete: bool,
    /// The end was told by a status alone: the status has to be asked for.
    must_poll: bool,
    /// When streams are tried again, while they do not get through.
    probe_at: Option<Instant>,
    next_probe: Duration,
    long_poll: u64,
    /// What the server lets a silence be, as far as it was learned.
    silence: Duration,
    line: Option<Line>,
}

impl Follower {
    /// Tells what there is to tell of a subject, as number `source`.
    pub fn new(client: Client, subject: Subject, source: usize, told: mpsc::Sender<Told>) -> Self {
        let patience = Patience::default();
        Self {
            feed: Feed::new(&subject),
            client,
            subject,
            source,
            told,
            patience,
            cursor: None,
            retry: Duration::from_secs(1),
            failures: 0,
            is_answered: false,
            hollow: 0,
            is_suspect: false,
            is_complete: false,
            must_poll: false,
            probe_at: None,
            next_probe: patience.probe,
            long_poll: patience.long_poll,
            silence: patience.silence,
            line: None,
        }
    }

    /// Runs until all is told, or nobody listens.
    pub async fn run(mut self) {
        let end = self.follow().await;
        // Nobody listens: then nobody needs to know.
        let _ = self.tell(News::Ended(end)).await;
    }

    async fn follow(&mut self) -> Result<(), FollowError> {
        loop {
            let is_waiting_for_streams = self.probe_at.is_some_and(|at| Instant::now() < at);
            let polls = self.must_poll || is_waiting_for_streams;
            let attempt = match polls {
                true => self.poll().await,
                false => self.stream().await,
            };
            if self.is_complete {
                return Ok(());
            }
            let wait = match attempt {
                Ok(wait) if polls => wait,
                Ok(wait) => {
                    self.tell_line(Line::Reconnecting(None)).await?;
                    wait
                }
                Err(trouble) => self.recover(trouble, polls).await?,
            };
            sleep(wait.min(NEVER)).await;
        }
    }

    /// What to do about it: how long to wait.
    async fn recover(&mut self, trouble: Trouble, polls: bool) -> Result<Duration, FollowError> {
        let (after, reason) = match trouble {
            Trouble::Final(error) => return Err(error),
            Trouble::Silent { had_begun } => {
                if self.is_suspect || !had_begun {
                    self.fall_back();
                }
                self.is_suspect = true;
                let reason = "the connection is silent".to_owned();
                self.tell_line(Line::Reconnecting(Some(reason))).await?;
                return Ok(Duration::ZERO);
            }
            Trouble::Passing { after, reason } => (after, reason),
        };
        if polls {
            // Perhaps something on the way does not let an answer take its time.
            self.long_poll /= 2;
        }
        self.tell_line(Line::Reconnecting(Some(reason))).await?;
        let wait = after.unwrap_or_default() + backoff(self.failures, self.retry);
        self.failures += 1;
        Ok(wait)
    }

    /// Polls from now on, and tries streams again later.
    fn fall_back(&mut self) {
        self.long_poll = self.patience.long_poll;
        self.probe_at = Some(Instant::now() + self.next_probe);
        self.next_probe = (2 * self.next_probe).min(LONGEST_PROBE);
    }

    /// One stream to its end; how long to wait until the next.
    async fn stream(&mut self) -> Result<Duration, Trouble> {
        let began = Instant::now();
        let mut request = self
            .client
            .request(Method::GET, self.subject.stream())
            // Not that alone: who asks so is told of trouble inside a stream, not by its code.
            .header(header::ACCEPT, "text/event-stream, */*;q=0.1")
            .header(header::CACHE_CONTROL, "no-cache");
        if let Some(cursor) = &self.cursor {
            request = request.header("Last-Event-ID", cursor);
        }
        let first_byte = self.patience.first_byte;
        let Ok(answer) = timeout(first_byte, self.client.send(request)).await else {
            let had_begun = false;
            return Err(Trouble::Silent { had_begun });
        };
        let answer = answer.map_err(|error| self.trouble(error))?;
        self.is_answered = true;
        if answer.status() == StatusCode::NO_CONTENT {
            // All was sent before, if not all of it to here.
            self.must_poll = true;
            return Ok(Duration::ZERO);
        }
        let kind = answer.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            let reason = format!("what answers is no stream, but \"{kind}\"");
            return Err(match self.line {
                // Whoever stands between may show a page of its own for a while.
                Some(_) => self.hollow(reason),
                None => Trouble::Final(FollowError::Strange(reason)),
            });
        }
        self.feed.begin();
        let first = first_byte.saturating_sub(began.elapsed());
        let mut blocks = Blocks::of(answer, first, self.silence);
        let end = self.read(&mut blocks).await;
        self.silence = blocks.patience();
        if let Some(held) = self.feed.release() {
            self.tell(held).await?;
        }
        match end? {
            StreamEnd::Hollow => Err(self.hollow("the connection was closed".to_owned())),
            StreamEnd::Told(wait) => Ok(wait),
        }
    }

    /// Reads the blocks of a stream to its end.
    async fn read(&mut self, blocks: &mut Blocks) -> Result<StreamEnd, Trouble> {
        let (mut code, mut is_hollow, mut is_last) = (String::new(), true, false);
        loop {
            let next = match self.feed.is_holding() {
                false => blocks.next().await,
                true => match timeout(HOLD, blocks.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        if let Some(held) = self.feed.release() {
                            self.tell(held).await?;
                        }
                        continue;
                    }
                },
            };
            if blocks.pieces() > 1 {
                // It does not only let the first of it through.
                self.is_suspect = false;
                self.next_probe = self.patience.probe;
            }
            let block = match next {
                Ok(Some(block)) => block,
                Ok(None) => break,
                Err(Broken::Silent(_)) => {
                    let had_begun = blocks.pieces() > 0;
                    return Err(Trouble::Silent { had_begun });
                }
                Err(Broken::Cut(_)) if is_hollow => {
                    return Err(self.hollow("the connection broke".to_owned()));
                }
                Err(broken) => return Err(passing(broken.to_string())),
            };
            is_hollow = false;
            if block.id.is_some() {
                self.cursor.clone_from(&block.id);
            }
            if let Some(retry) = block.retry {
                is_last = retry >= NEVER;
                self.retry = match is_last {
                    true => self.retry,
                    false => retry.max(LEAST_RETRY),
                };
            }
            match self.feed.take(block)? {
                Taken::End(end) => code = end,
                Taken::News(news) => {
                    (self.failures, self.hollow, self.probe_at) = (0, 0, None);
                    self.tell_line(Line::Live).await?;
                    for news in news {
                        self.tell(news).await?;
                    }
                }
            }
            // On a stream of many jobs, missed events come behind the last of their statuses.
            if self.feed.is_over() && (is_last || self.feed.is_of_one()) {
                break;
            }
        }
        self.is_complete = self.feed.is_over();
        match &*code {
            _ if self.is_complete => Ok(StreamEnd::Told(Duration::ZERO)),
            "JOB_GONE" => Err(FollowError::Gone.into()),
            "TOKEN_EXPIRED" => Err(FollowError::TokenExpired.into()),
            _ if is_hollow => Ok(StreamEnd::Hollow),
            _ if is_last => {
                // Nothing follows, and the end was not here: the status has it.
                self.must_poll = true;
                Ok(StreamEnd::Told(Duration::ZERO))
            }
            _ => Ok(StreamEnd::Told(self.retry)),
        }
    }

    /// A stream that was answered and brought nothing.
    fn hollow(&mut self, reason: String) -> Trouble {
        self.hollow += 1;
        if self.hollow > 1 {
            self.fall_back();
        }
        passing(reason)
    }

    /// What a call's failure means.
    fn trouble(&mut self, error: CallError) -> Trouble {
        // At first it is more likely a wrong address than a proxy whose server is away.
        let is_elsewhere = error.is_strange() && !self.is_answered;
        if !error.is_passing() || is_elsewhere {
            return Trouble::Final(error.into());
        }
        if let CallError::Refused { retry_after, .. } = &error {
            self.is_answered = true;
            let after = *retry_after;
            let reason = error.to_string();
            return Trouble::Passing { after, reason };
        }
        match self.is_answered {
            true => passing(error.to_string()),
            // An address where nobody is is more likely a wrong one than a server that will come.
            false => Trouble::Final(error.into()),
        }
    }

    async fn tell(&self, news: News) -> Result<(), FollowError> {
        let source = self.source;
        let told = self.told.send(Told { source, news }).await;
        told.map_err(|_| FollowError::Unheard)
    }

    /// Tells how the connection fares, when that is news.
    async fn tell_line(&mut self, line: Line) -> Result<(), FollowError> {
        if self.line.as_ref() == Some(&line) {
            return Ok(());
        }
        self.line = Some(line.clone());
        self.tell(News::Line(line)).await
    }
}

/// How a stream ended that did not break.
#[derive(Debug)]
enum StreamEnd {
    /// Without a single block.
    Hollow,
    /// In order; the next after so long.
    Told(Duration),
}

fn passing(reason: String) -> Trouble {
    let after = None;
    Trouble::Passing { after, reason }
}

/// The wait after so many failures in a row: anything up to a bound that doubles (full jitter), so that the
/// clients of a server that was away do not all come back in the same moment.
fn backoff(failures: u32, base: Duration) -> Duration {
    let bound = base.saturating_mul(1 << failures.min(16));
    bound.min(LONGEST_BACKOFF).mul_f64(rand::rng().random())
}

#[cfg(test)]
mod tests;
