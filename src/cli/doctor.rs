//! `progressd doctor`: what becomes of streams on the way from a server to those who watch.
//!
//! Makes a job of its own, reports on it, and compares when that arrives; then keeps still, ends the job, comes back,
//! and removes it. Looking (`calls`, `record`, `trial`) and judging (`judge`) are apart.

mod advice;
mod calls;
mod finding;
mod judge;
mod patient;
mod progress;
mod record;
mod report;
mod trial;
mod wire;

use std::{
    io::{self, IsTerminal as _, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use reqwest::{Method, Url};

use self::{
    calls::call,
    finding::Finding,
    judge::{pages, server, stream, trial as judge_trial},
    patient::Patient,
    progress::Progress,
    report::{Outcome, Report, Style},
    trial::{PATIENCE, Trial, open},
};
use super::{
    client::{
        ClientArguments,
        target::{Target, shown},
    },
    serve::Signals,
};
use crate::config::Origin;

/// Looks like a token, and is none: a server that sees it says so in other words than one that sees nothing.
const MADE_UP_TOKEN: &str = "e30.e30.e30";

/// No stream could be looked at.
const COULD_NOT_LOOK: u8 = 3;

/// Ended by a signal; what shells say of SIGINT.
const INTERRUPTED: u8 = 130;

/// `progressd doctor`
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// Public address of a server, a job or a stream; left out, that of --server
    #[arg(value_name = "URL")]
    pub address: Option<String>,
    /// How long to keep the stream open in silence; heartbeats come every 30 s by default
    #[arg(long, value_name = "SECONDS", default_value_t = 40, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub seconds: u64,
    /// Look at what the pages of this origin may do: scheme, host and port, as browsers send it
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Option<Origin>,
    /// Write one JSON object instead of lines
    #[arg(long)]
    pub json: bool,
    /// Which server, and as whom.
    #[command(flatten)]
    pub client: ClientArguments,
}

/// Looks, and says what it has seen and what to change; the exit code says how that came out.
///
/// # Errors
/// `output` takes no more.
pub async fn run(arguments: DoctorArguments, output: &mut impl Write) -> anyhow::Result<ExitCode> {
    let patient = match Patient::new(arguments.client.clone(), arguments.address.as_deref()) {
        Ok(patient) => patient,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(COULD_NOT_LOOK));
        }
    };
    let url = match &patient.target {
        Target::Server(server) => server.clone(),
        target => target.stream(),
    };
    let style = style(arguments.json);
    let report = Report::begin(output, style, &shown(&url))?;
    let mut visit = Visit {
        patient: &patient,
        seconds: arguments.seconds,
        progress: Progress::new(),
        signals: Signals::listen()?,
        report,
    };
    let is_looked_at = match visit.look(arguments.origin.as_ref()).await {
        Ok(is_looked_at) => is_looked_at,
        Err(Stop::Interrupted) => return Ok(ExitCode::from(INTERRUPTED)),
        Err(Stop::Output(error)) => return Err(error.into()),
    };
    let Visit {
        report, progress, ..
    } = visit;
    drop(progress);
    Ok(match report.end(is_looked_at)? {
        Outcome::Well => ExitCode::SUCCESS,
        Outcome::Problem => ExitCode::FAILURE,
        Outcome::CouldNotLook => ExitCode::from(COULD_NOT_LOOK),
    })
}

fn style(is_json: bool) -> Style {
    let is_dull = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match (is_json, io::stdout().is_terminal() && !is_dull) {
        (true, _) => Style::Json,
        (false, true) => Style::Coloured,
        (false, false) => Style::Plain,
    }
}

/// One look at a patient.
struct Visit<'a, W> {
    patient: &'a Patient,
    seconds: u64,
    progress: Progress,
    signals: Signals,
    report: Report<W>,
}

/// Why a look ends before its end.
enum Stop {
    /// By a signal.
    Interrupted,
    /// Nobody reads what was found.
    Output(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl<W: Write> Visit<'_, W> {
    /// Looks at everything; whether a stream was among that.
    async fn look(&mut self, origin: Option<&Origin>) -> Result<bool, Stop> {
        let patient = self.patient;
        self.progress.say("asking who answers");
        if let Some(url) = patient.first_call() {
            let (is_open, findings) = heed(&mut self.signals, ask(patient, &url)).await?;
            self.add(findings)?;
            if !is_open {
                return Ok(false);
            }
        }
        let is_looked_at = match &patient.target {
            Target::Server(server) => self.look_at_own_job(server).await?,
            Target::Job(_) | Target::Stream(_) => {
                let is_stream = self.look_at_stream().await?;
                let why = "a stream is only looked at: the address of its server tells more";
                self.add([stream::STREAM.skipped("delivery", why)])?;
                is_stream
            }
        };
        let findings = match origin {
            Some(origin) => {
                self.progress.say("asking as a page");
                heed(&mut self.signals, ask_as_page(patient, origin.as_str())).await?
            }
            None => {
                let why =
                    "not asked for: --origin https://app.example looks at what its pages may do";
                vec![pages::PAGES.skipped("origin", why)]
            }
        };
        self.add(findings)?;
        Ok(is_looked_at)
    }

    /// A job of the doctor's own; where none can be made, the stream of all jobs.
    async fn look_at_own_job(&mut self, server: &Url) -> Result<bool, Stop> {
        let creation = Trial::create(self.patient, server, self.seconds);
        let (trial, outcome) = heed(&mut self.signals, creation).await?;
        let Some(trial) = trial else {
            let is_stream = self.look_at_stream().await?;
            self.add(judge_trial::not_made(&outcome))?;
            return Ok(is_stream);
        };
        let run = trial.run(self.seconds, &self.progress);
        let seen = heed(&mut self.signals, run).await;
        // Whatever came of it.
        self.progress.say("removing the job");
        let removal = trial.remove().await;
        let mut findings = judge_trial::findings(&seen?);
        findings.push(judge_trial::removal(removal.as_ref()));
        self.add(findings)?;
        Ok(true)
    }

    /// A stream as it is; whether one came.
    async fn look_at_stream(&mut self) -> Result<bool, Stop> {
        let watching = watch(self.patient, self.seconds, &self.progress);
        let (is_stream, findings) = heed(&mut self.signals, watching).await?;
        self.add(findings)?;
        Ok(is_stream)
    }

    fn add(&mut self, findings: impl IntoIterator<Item = Finding>) -> io::Result<()> {
        let report = &mut self.report;
        self.progress.suspend(|| report.add(findings))
    }
}

/// Does something unless a signal comes first.
async fn heed<T>(signals: &mut Signals, work: impl Future<Output = T>) -> Result<T, Stop> {
    tokio::select! {
        done = work => Ok(done),
        _ = signals.next() => Err(Stop::Interrupted),
    }
}

/// Who answers; whether it is progressd, and the credential may read.
async fn ask(patient: &Patient, url: &Url) -> (bool, Vec<Finding>) {
    let outcome = call(patient.request(Method::GET, url.clone())).await;
    let (reach, mut findings) = server::first(url, &outcome, patient.has_credential());
    if let (server::Reach::Locked, Ok(answer)) = (reach, &outcome)
        && answer.status == 401
        && patient.has_credential()
    {
        let probe = patient.without_credential(Method::GET, url.clone());
        let probe = call(probe.bearer_auth(MADE_UP_TOKEN)).await;
        if let Some(finding) = server::header_probe(answer, &probe) {
            findings.retain(|finding| finding.check != "credential");
            findings.push(finding);
        }
    }
    let is_open = reach == server::Reach::Open;
    if is_open && let Some(server) = patient.server() {
        let [live, ready] = ["healthz", "readyz"].map(|name| {
            let mut url = server.clone();
            url.set_path(&format!("{}{name}", server.path()));
            call(patient.without_credential(Method::GET, url))
        });
        findings.push(server::health(&live.await, &ready.await));
    }
    (is_open, findings)
}

/// What pages of another origin may do.
async fn ask_as_page(patient: &Patient, origin: &str) -> Vec<Finding> {
    let url = patient.first_call();
    let url = url.unwrap_or_else(|| patient.target.stream());
    let preflight = patient
        .without_credential(Method::OPTIONS, url.clone())
        .header("access-control-request-method", "GET")
        .header(
            "access-control-request-headers",
            pages::SENT_HEADERS.join(","),
        );
    // Of a stream, HEAD has the head and nothing else.
    let answer = patient.request(Method::HEAD, url.clone());
    let mut nowhere = url;
    nowhere.set_path(&format!("{}/nowhere", nowhere.path()));
    let error = patient.request(Method::HEAD, nowhere);
    let seen = pages::Seen {
        origin: origin.to_owned(),
        preflight: call(preflight.header("origin", origin)).await,
        answer: call(answer.header("origin", origin)).await,
        error: call(error.header("origin", origin)).await,
    };
    pages::findings(&seen)
}

/// Opens a stream and keeps it for so long; whether there is one, and what was seen.
async fn watch(patient: &Patient, seconds: u64, progress: &Progress) -> (bool, Vec<Finding>) {
    let url = patient.target.stream();
    progress.say("waiting for the stream");
    let (mut recording, encoding) = open(|| patient.stream(url.clone())).await;
    recording
        .wait(PATIENCE, |record| !record.marks.is_empty())
        .await;
    let begin = recording.now();
    progress.count("looking at silence and heartbeats", seconds);
    recording
        .wait(Duration::from_secs(seconds), |_| false)
        .await;
    let record = recording.seen();
    let watched = stream::Watched {
        record: &record,
        encoding: encoding.as_deref(),
        silence: (begin, recording.now()),
        is_ended: false,
    };
    (record.is_stream(), watched.findings())
}
