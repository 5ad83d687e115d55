//! What an argument names: a server, a job or a stream.

use anyhow::{Context as _, anyhow, bail, ensure};
use percent_encoding::percent_decode_str;
use reqwest::Url;

use crate::job::JobId;

/// What a credential in an address is shown as.
const HIDDEN: &str = "hidden";

/// Where the calls of the API begin, below a server's base URL.
const API: &str = "api/v1/";

/// What was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A server: its base URL, with a slash at its end.
    Server(Url),
    /// One job.
    Job(JobAddress),
    /// A stream that is not that of one job: `/api/v1/stream?tag=import`, or one of a view.
    Stream(Url),
}

/// A job and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobAddress {
    /// Base URL of its server, with a slash at its end.
    pub server: Url,
    /// Its name.
    pub job_id: JobId,
    /// A credential that stood in the address, as `token` or `ticket` and its value: sent along.
    pub credential: Option<(String, String)>,
}

impl Target {
    /// Reads an address, or the name of a job at `server`.
    ///
    /// # Errors
    /// It is neither, or an address of something else.
    pub fn parse(text: &str, server: &Url) -> anyhow::Result<Self> {
        if !is_address(text) {
            let job_id = JobId::parse(text).map_err(|rule| {
                anyhow!(
                    "\"{text}\" is no address, which begins with http:// or https://, and no name of a job, \
                     which {rule}"
                )
            })?;
            return Ok(Self::Job(JobAddress {
                server: server.clone(),
                job_id,
                credential: None,
            }));
        }
        let url = Url::parse(text).context("read the address")?;
        refuse_user(&url)?;
        let path = url.path();
        if let Some(name) = url
            .fragment()
            .and_then(|place| place.strip_prefix("/jobs/"))
        {
            // What a browser shows over the dashboard's page of a job.
            return JobAddress::read(&url, path, name).map(Self::Job);
        }
        let Some(start) = path.rfind(API).filter(|at| path[..*at].ends_with('/')) else {
            // A view gives a stream whatever path it likes.
            return Ok(match path.ends_with('/') {
                true => Self::Server(base(&url, path)),
                false => Self::Stream(url),
            });
        };
        let (server, call) = (&path[..start], &path[start + API.len()..]);
        let mut parts = call.trim_end_matches('/').split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("jobs"), Some(name), None | Some("stream" | "status"), None) => {
                JobAddress::read(&url, server, name).map(Self::Job)
            }
            (Some("" | "jobs"), None, ..) => Ok(Self::Server(base(&url, server))),
            (Some("jobs"), ..) => {
                bail!(
                    "\"{}\" is the address of neither a server, a job nor a stream",
                    shown(&url)
                )
            }
            _ => Ok(Self::Stream(url)),
        }
    }

    /// The address of its stream; of a server, that of all its jobs.
    pub fn stream(&self) -> Url {
        match self {
            Self::Server(server) => below(server, "stream"),
            Self::Job(job) => job.call("/stream"),
            Self::Stream(url) => url.clone(),
        }
    }
}

impl JobAddress {
    fn read(url: &Url, server: &str, name: &str) -> anyhow::Result<Self> {
        let name = percent_decode_str(name).decode_utf8_lossy();
        let job_id = JobId::parse(&name)
            .map_err(|rule| anyhow!("the name of a job {rule}, and \"{name}\" is none"))?;
        let credential = url
            .query_pairs()
            .find(|(key, _)| matches!(&**key, "token" | "ticket"))
            .map(|(key, value)| (key.into_owned(), value.into_owned()));
        Ok(Self {
            server: base(url, server),
            job_id,
            credential,
        })
    }

    /// The address of a call on it: nothing for the job itself, or `/stream`, `/status` and so on.
    pub fn call(&self, call: &str) -> Url {
        let mut url = below(&self.server, &format!("jobs/{}{call}", self.job_id));
        if let Some((key, value)) = &self.credential {
            url.query_pairs_mut().append_pair(key, value);
        }
        url
    }
}

/// The address of a call of the API, such as `jobs`.
pub fn below(server: &Url, call: &str) -> Url {
    let mut url = server.clone();
    // Not joined: a name such as `a:b` would be read as a scheme.
    url.set_path(&format!("{}{API}{call}", server.path()));
    url
}

/// Whether it is an address rather than the name of a job.
pub fn is_address(text: &str) -> bool {
    let text = text.as_bytes();
    let begins_with = |scheme: &[u8]| {
        let start = text.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    begins_with(b"http://") || begins_with(b"https://")
}

/// The server of an address that has no folder, as far as is known.
pub fn root(url: &Url) -> Url {
    base(url, "/")
}

/// Refuses a user's name and password: they would be shown, and stand in the way of the credential.
///
/// # Errors
/// The address has one of them.
pub fn refuse_user(url: &Url) -> anyhow::Result<()> {
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "an address must not hold a user name or a password: the credential goes into PROGRESSD_TOKEN"
    );
    Ok(())
}

/// An address as it may be shown.
pub fn shown(url: &Url) -> String {
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

/// Whether a credential stands in an address.
pub fn has_credential(url: &Url) -> bool {
    url.query_pairs().any(|(name, _)| is_credential(&name))
}

fn is_credential(name: &str) -> bool {
    matches!(name, "token" | "ticket")
}

fn base(url: &Url, path: &str) -> Url {
    let mut base = url.clone();
    base.set_path(path);
    base.set_query(None);
    base.set_fragment(None);
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Target> {
        Target::parse(text, &Url::parse("http://127.0.0.1:8080/").expect("a URL"))
    }

    fn stream(text: &str) -> String {
        parse(text).expect(text).stream().to_string()
    }

    #[test]
    fn a_job_is_named_in_many_ways() {
        for (text, address) in [
            (
                "import-7",
                "http://127.0.0.1:8080/api/v1/jobs/import-7/stream",
            ),
            ("a:b@c~", "http://127.0.0.1:8080/api/v1/jobs/a:b@c~/stream"),
            (
                "https://p.example/api/v1/jobs/a%40b",
                "https://p.example/api/v1/jobs/a@b/stream",
            ),
            (
                "https://p.example/api/v1/jobs/a/",
                "https://p.example/api/v1/jobs/a/stream",
            ),
            (
                "https://p.example/api/v1/jobs/a/status",
                "https://p.example/api/v1/jobs/a/stream",
            ),
            (
                "https://p.example/x/api/v1/jobs/a/stream",
                "https://p.example/x/api/v1/jobs/a/stream",
            ),
            (
                "https://p.example/x/#/jobs/a%3Ab",
                "https://p.example/x/api/v1/jobs/a:b/stream",
            ),
            (
                "https://p.example/api/v1/jobs/a?wait=3&token=t%20t",
                "https://p.example/api/v1/jobs/a/stream?token=t+t",
            ),
        ] {
            assert!(matches!(parse(text), Ok(Target::Job(_))), "{text}");
            assert_eq!(stream(text), address, "{text}");
        }
    }

    #[test]
    fn a_server_streams_all_its_jobs() {
        for (text, address) in [
            ("http://127.0.0.1:1", "http://127.0.0.1:1/api/v1/stream"),
            ("https://p.example/x/", "https://p.example/x/api/v1/stream"),
            (
                "https://p.example/x/api/v1/",
                "https://p.example/x/api/v1/stream",
            ),
            (
                "https://p.example/api/v1/jobs?limit=3",
                "https://p.example/api/v1/stream",
            ),
        ] {
            assert!(matches!(parse(text), Ok(Target::Server(_))), "{text}");
            assert_eq!(stream(text), address, "{text}");
        }
    }

    #[test]
    fn other_streams_are_taken_as_they_stand() {
        for text in [
            "https://p.example/api/v1/stream?tag=import",
            "https://p.example/api/v1/sse/audits/7/progress",
            "https://p.example/orders/7/events?token=t",
        ] {
            assert!(matches!(parse(text), Ok(Target::Stream(_))), "{text}");
            assert_eq!(stream(text), text);
        }
    }

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
    fn what_is_neither_is_refused_with_the_rule() {
        for (text, rule) in [
            ("im port", "no name of a job, which must be 1 to 128"),
            ("..", "must not be . or .."),
            ("ftp://p.example/", "begins with http:// or https://"),
            ("http://", "read the address"),
            ("https://ann:secret@p.example/", "goes into PROGRESSD_TOKEN"),
            (
                "HTTPS://p.example/api/v1/jobs/a/results?token=secret",
                "results?token=hidden",
            ),
            (
                "https://p.example/api/v1/jobs/a/results",
                "neither a server, a job nor a stream",
            ),
            ("https://p.example/#/jobs/a%20b", "must be 1 to 128"),
        ] {
            let error = format!("{:#}", parse(text).expect_err(text));
            assert!(error.contains(rule), "{text}: {error}");
        }
    }
}
