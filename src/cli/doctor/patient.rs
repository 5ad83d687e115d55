//! Who is looked at, and with which credential.

use anyhow::ensure;
use reqwest::{Method, RequestBuilder, Url, header};

use crate::cli::client::{
    Client, ClientArguments,
    target::{Target, below, has_credential, is_address, root, shown},
};

/// A server, a job or a stream at its public address.
#[derive(Debug)]
pub(super) struct Patient {
    /// What the address names.
    pub(super) target: Target,
    client: Client,
    streams: Client,
}

impl Patient {
    /// Reads the address; without one, the server of the arguments is meant.
    ///
    /// # Errors
    /// It names neither a server, a job nor a stream, or TLS cannot be set up.
    pub(super) fn new(
        mut arguments: ClientArguments,
        address: Option<&str>,
    ) -> anyhow::Result<Self> {
        let mut client = Client::new(arguments.clone())?;
        let target = match address {
            Some(address) => {
                ensure!(
                    is_address(address),
                    "\"{address}\" is no address, which begins with http:// or https://"
                );
                client.target(address)?
            }
            None => Target::Server(client.server().clone()),
        };
        let server = match &target {
            Target::Server(url) => url.clone(),
            Target::Stream(url) => root(url),
            Target::Job(job) => job.server.clone(),
        };
        if address.is_some() {
            // Which proxies of the environment hold depends on the server.
            let token = arguments.token;
            arguments = ClientArguments { server, token };
            client = Client::new(arguments.clone())?;
        }
        let mut streams = Client::for_streams(arguments)?;
        if has_credential(&target.stream()) {
            // Two credentials in one request are refused.
            client = client.anonymous();
            streams = streams.anonymous();
        }
        Ok(Self {
            target,
            client,
            streams,
        })
    }

    /// The server's base URL, where it is known.
    pub(super) fn server(&self) -> Option<&Url> {
        match &self.target {
            Target::Server(server) => Some(server),
            Target::Job(job) => Some(&job.server),
            Target::Stream(_) => None,
        }
    }

    /// What is asked first: it says who answers, and whether the credential may read.
    pub(super) fn first_call(&self) -> Option<Url> {
        match &self.target {
            Target::Server(server) => {
                let mut url = below(server, "jobs");
                url.set_query(Some("limit=1"));
                Some(url)
            }
            Target::Job(job) => Some(job.call("/status")),
            Target::Stream(_) => None,
        }
    }

    /// A request with the credential.
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// A request for a stream, with the credential.
    pub(super) fn stream(&self, url: Url) -> RequestBuilder {
        let request = self.streams.request(Method::GET, url);
        request.header(header::ACCEPT, "text/event-stream")
    }

    /// A request without one.
    pub(super) fn without_credential(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.anonymous().request(method, url)
    }

    /// Whether requests carry a credential in their head.
    pub(super) fn has_credential(&self) -> bool {
        self.client.has_credential()
    }
}

/// A `Location` as it may be shown: a proxy that redirects repeats the query.
pub(super) fn shown_place(place: Option<&str>) -> String {
    let place = place.unwrap_or("nowhere");
    match Url::parse(place) {
        Ok(url) => shown(&url),
        Err(_) => place.split('?').next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_credential_of_its_own_is_asked_without_another() {
        let arguments = ClientArguments {
            server: Url::parse("http://127.0.0.1:8080").expect("a URL"),
            token: Some("secret".to_owned().into()),
        };
        for (address, has_another) in [
            (None, true),
            (Some("https://p.example/api/v1/jobs/j"), true),
            (Some("https://p.example/api/v1/jobs/j?token=t"), false),
        ] {
            let patient = Patient::new(arguments.clone(), address).expect("an address");
            assert_eq!(patient.has_credential(), has_another, "{address:?}");
        }
    }
}
