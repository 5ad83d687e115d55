//! Who is looked at, and with which credential.

use reqwest::{Method, RequestBuilder, Url, header};

use crate::cli::client::{
    Client, ClientArguments,
    target::{Target, below},
};

/// What a credential in an address is shown as.
const HIDDEN: &str = "hidden";

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
            Some(address) => client.target(address)?,
            None => Target::Server(client.server().clone()),
        };
        let server = match &target {
            Target::Server(url) | Target::Stream(url) => url.clone(),
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

/// An address as it may be shown.
pub(super) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    // Without a host, which HTTP always has, there would be nothing to remove.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    if has_credential(url) {
        let pairs = url
            .query_pairs()
            .map(|(name, value)| match is_credential(&name) {
                true => (name, HIDDEN.into()),
                false => (name, value),
            });
        shown.query_pairs_mut().clear().extend_pairs(pairs);
    }
    shown.into()
}

/// A `Location` as it may be shown: a proxy that redirects repeats the query.
pub(super) fn shown_place(place: Option<&str>) -> String {
    let place = place.unwrap_or("nowhere");
    match Url::parse(place) {
        Ok(url) => shown(&url),
        Err(_) => place.split('?').next().unwrap_or_default().to_owned(),
    }
}

fn has_credential(url: &Url) -> bool {
    url.query_pairs().any(|(name, _)| is_credential(&name))
}

fn is_credential(name: &str) -> bool {
    matches!(name, "token" | "ticket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_is_secret_in_it() {
        for (address, expected) in [
            ("http://p.example/x/", "http://p.example/x/"),
            (
                "https://ann:secret@p.example/api/v1/stream?tag=a&token=secret&job=b",
                "https://p.example/api/v1/stream?tag=a&token=hidden&job=b",
            ),
            (
                "https://p.example/s?ticket=secret",
                "https://p.example/s?ticket=hidden",
            ),
        ] {
            let url = Url::parse(address).expect(address);
            assert_eq!(shown(&url), expected);
        }
    }

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
