//! `progressd demo`: a server, a real job, and its stream as a progress bar.
//!
//! The bar is drawn by a client like any other: it creates the job over HTTP and watches it as
//! `progressd watch` does, so that what it shows is what a page would show.

use std::io::{IsTerminal as _, Write, stdout};

use anyhow::{Context as _, bail};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::Value;

use super::{
    DemoArguments,
    client::{
        Client, ClientArguments,
        follow::feed::Subject,
        target::{JobAddress, below},
    },
    display::{Display, Labels},
    serve::Signals,
    watch::{Outcome, Watched, show},
};
use crate::{
    config::{Config, StoreBackend},
    job::JobId,
    server::Server,
    telemetry,
};

/// The bundled list: addresses of every class, at reserved and at well-known domains.
const LIST: &[u8] = include_bytes!("../../assets/demo-emails.csv");

/// What the demo needs of the answer to a creation.
#[derive(Debug, Deserialize)]
struct Created {
    job_id: JobId,
    links: Links,
}

#[derive(Debug, Deserialize)]
struct Links {
    stream: String,
    status: String,
    download: String,
}

/// Serves on a free loopback port, runs the bundled list, and shows its stream. Without a
/// terminal it ends with the job, otherwise with Ctrl-C.
///
/// # Errors
/// No port could be had, or the job did not complete.
pub async fn run(arguments: DemoArguments, output: &mut impl Write) -> anyhow::Result<()> {
    let mut config = Config::from_toml("server.listen = \"127.0.0.1:0\"\nlog.filter = \"error\"")?;
    // It leaves nothing behind.
    config.store.backend = StoreBackend::Memory;
    config.runner.email.dns = arguments.dns;
    config.runner.email.max_per_second = arguments.speed;
    telemetry::init(&config.log)?;
    let server = Server::start(&config).await?;
    let url = server.url();
    let client = Client::new(ClientArguments {
        server: Url::parse(&url).context("read the server's address")?,
        // Whoever has one has it for another server.
        token: None,
    })?;
    let mut jobs = below(client.server(), "jobs");
    jobs.set_query(Some("kind=email-validation"));
    let request = client.request(Method::POST, jobs);
    let request = request.header("content-type", "text/csv").body(LIST);
    let created: Created = client
        .send(request)
        .await?
        .json()
        .await
        .context("read the answer to the creation")?;
    let Created { job_id, links } = created;
    writeln!(output, "listening on {url}")?;
    writeln!(
        output,
        "job {job_id}: checking the bundled list of e-mail addresses"
    )?;
    writeln!(output, "dashboard  {url}/")?;
    writeln!(
        output,
        "watch it from another terminal:  curl -N {url}{}",
        links.stream
    )?;
    output.flush()?;

    let subject = Subject::Job(JobAddress {
        server: client.server().clone(),
        job_id,
        credential: None,
    });
    let mut display = Display::new(output, Labels::None, false);
    let (outcome, last) = show(vec![Watched { client, subject }], &mut display).await?;
    let last: Value = match last {
        Some(last) => serde_json::from_str(&last.text).context("read the last status")?,
        None => bail!("the stream ended before its first status"),
    };
    if outcome != Outcome::Completed {
        bail!("the job did not complete: {}", last["error"]);
    }
    writeln!(output, "completed: {}", last["result"])?;
    writeln!(output, "its last state:  curl {url}{}", links.status)?;
    writeln!(output, "every row:       curl {url}{}", links.download)?;
    if stdout().is_terminal() {
        writeln!(output, "The server runs on until Ctrl-C.")?;
        Signals::listen()?.next().await;
    }
    server.drain().await;
    Ok(())
}
