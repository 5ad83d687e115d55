//! Asking for the status, where streams do not get through.

use std::time::Duration;

use reqwest::{Method, Response, Url, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};

use super::{
    FollowError, Follower, Trouble,
    feed::Unreadable,
    news::{Line, Removed, Status},
    passing,
};
use crate::cli::client::{CallError, retry_after};

/// The most bytes of an answer that are read: a page of 200 jobs with all that may be in them.
const MOST_BYTES: usize = 64 << 20;

/// For how long a finished job is shown when no state is asked for: the same as on a stream.
const SHOWN_FINISHED: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// A page of the list.
#[derive(Deserialize)]
struct Page {
    jobs: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Finished {
    finished_at: Option<String>,
}

/// An answer's text, and when the server would be asked again.
struct Polled {
    text: String,
    retry_after: Option<Duration>,
}

impl Follower {
    /// Asks once for all there is; how long to wait until the next time.
    pub(super) async fn poll(&mut self) -> Result<Duration, Trouble> {
        self.feed.begin();
        let wait = match self.subject.list() {
            Some(list) => self.poll_list(list).await?,
            None => self.poll_named().await?,
        };
        if self.cursor.is_none() {
            self.cursor = self.feed.newest_of_all().map(|seq| seq.to_string());
        }
        (self.failures, self.hollow, self.must_poll) = (0, 0, false);
        self.is_complete = self.feed.is_over();
        self.tell_line(Line::Polling).await?;
        Ok(wait)
    }

    /// The jobs that are waited for, one by one.
    async fn poll_named(&mut self) -> Result<Duration, Trouble> {
        let names = self.feed.awaited();
        let is_alone = names.len() == 1;
        let mut pause = Duration::ZERO;
        for name in names {
            let mut url = self.subject.status_of(&name);
            let before = self.feed.newest(&name);
            // Waiting for one would keep the others waiting.
            let wait = match before {
                Some(_) if is_alone => self.long_poll,
                _ => 0,
            };
            if let Some(seq) = before.filter(|_| wait > 0) {
                url.query_pairs_mut()
                    .append_pair("wait", &wait.to_string())
                    .append_pair("after", &seq.to_string());
            }
            let began = Instant::now();
            let polled = match self.ask(url, wait).await {
                Ok(polled) => polled,
                Err(Trouble::Final(FollowError::Call(CallError::Refused {
                    status, code, ..
                }))) if !is_alone && status.as_u16() != 401 => {
                    let code = Some(code);
                    let news = self.feed.remove(Removed { job_id: name, code });
                    if let Some(news) = news {
                        self.tell(news).await?;
                    }
                    continue;
                }
                Err(trouble) => return Err(trouble),
            };
            let status = Status::read(&polled.text).map_err(Unreadable::from)?;
            let is_new = Some(status.face.seq) > before;
            if let Some(news) = self.feed.take_status(status)? {
                self.tell(news).await?;
            }
            // A server that waits sees to the pace itself. One that did not was not asked to, or its answer is a
            // copy.
            let has_waited = began.elapsed() >= Duration::from_secs(wait).mul_f64(0.9);
            let may_wait = is_alone && self.long_poll > 0;
            let is_paced = may_wait && (is_new || has_waited);
            if !is_paced {
                let retry_after = polled.retry_after;
                pause = pause.max(retry_after.unwrap_or(self.patience.poll_pause));
            }
        }
        Ok(pause)
    }

    /// The newest jobs that match.
    async fn poll_list(&mut self, list: Url) -> Result<Duration, Trouble> {
        let any_state = list.query_pairs().any(|(key, _)| key == "status");
        let polled = self.ask(list, 0).await?;
        let page: Page = serde_json::from_str(&polled.text).map_err(Unreadable::from)?;
        let since = jiff::Timestamp::now() - SHOWN_FINISHED;
        // The newest come first, and are told last.
        for job in page.jobs.iter().rev() {
            let Finished { finished_at } =
                serde_json::from_str(job.get()).map_err(Unreadable::from)?;
            let finished_at = finished_at.and_then(|time| time.parse::<jiff::Timestamp>().ok());
            if !any_state && finished_at.is_some_and(|finished_at| finished_at < since) {
                continue;
            }
            let status = Status::read(job.get()).map_err(Unreadable::from)?;
            if let Some(news) = self.feed.take_status(status)? {
                self.tell(news).await?;
            }
        }
        for news in self.feed.sync() {
            self.tell(news).await?;
        }
        Ok(polled.retry_after.unwrap_or(self.patience.poll_pause))
    }

    /// Asks once, of a server that may wait so many seconds before it answers.
    async fn ask(&mut self, url: Url, wait: u64) -> Result<Polled, Trouble> {
        let request = self.client.request(Method::GET, url);
        let request = request.header(header::CACHE_CONTROL, "no-cache");
        let longest = Duration::from_secs(wait) + self.patience.first_byte;
        let answering = async {
            let answer = self.client.send(request).await?;
            let retry_after = retry_after(&answer);
            Ok((text(answer).await?, retry_after))
        };
        match timeout(longest, answering).await {
            Ok(Ok((Some(text), retry_after))) => {
                self.is_answered = true;
                Ok(Polled { text, retry_after })
            }
            Ok(Ok((None, _))) => Err(Trouble::Final(FollowError::Strange(
                "an answer is longer than that of any server".to_owned(),
            ))),
            Ok(Err(error)) => Err(self.trouble(error)),
            Err(_) if self.is_answered => Err(passing("there is no answer".to_owned())),
            Err(_) => Err(Trouble::Final(FollowError::Strange(
                "there is no answer".to_owned(),
            ))),
        }
    }
}

/// A body as text, unless it is too long.
async fn text(mut answer: Response) -> Result<Option<String>, CallError> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > MOST_BYTES {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
