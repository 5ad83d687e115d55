//! `progressd health`: does a server answer? For the health checks of containers, which have no curl.

use std::{io::Write, net::IpAddr, time::Duration};

use anyhow::Context as _;
use clap::Args;
use reqwest::{Client, Url};

/// The longest wait for the answer: below what health checks wait for the command.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// `progressd health`
#[derive(Debug, Args)]
pub struct HealthArguments {
    /// Base URL of the server
    #[arg(
        value_name = "URL",
        env = "PROGRESSD_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    pub url: Url,
}

/// Asks for `/healthz` and writes what is answered.
///
/// # Errors
/// Nobody answers in time, the answer is not 200, or `output` takes no more.
pub async fn run(arguments: HealthArguments, output: &mut impl Write) -> anyhow::Result<()> {
    let url = arguments.url.join("/healthz").context("read the URL")?;
    // Straight to the server: a proxy for the web knows nothing of this machine.
    let mut client = Client::builder().no_proxy().timeout(LONGEST_WAIT);
    if is_loopback(&url) {
        // On this machine nobody stands in between, and no certificate is made out for the address.
        client = client.tls_danger_accept_invalid_certs(true);
    }
    let client = client.build().context("prepare the request")?;
    let answer = client.get(url).send().await.context("ask the server")?;
    let answer = answer.error_for_status().context("ask the server")?;
    let text = answer.text().await.context("read the answer")?;
    writeln!(output, "{}", text.trim_end())?;
    Ok(())
}

fn is_loopback(url: &Url) -> bool {
    let address = url.host_str().unwrap_or_default();
    let address = address.trim_matches(['[', ']']).parse::<IpAddr>();
    address.is_ok_and(|address| address.is_loopback())
}
