//! What the arguments come to: as few connections as there can be.

use anyhow::{bail, ensure};
use reqwest::Url;

use crate::cli::client::{
    Client, ClientArguments,
    follow::feed::Subject,
    target::{JobAddress, Target, shown},
};

/// The longest query that is sent, in bytes: a server takes 16 KiB of request line and headers, and what stands
/// between may take less.
const MOST_QUERY_BYTES: usize = 4_000;

/// Parameters of a stream's address that are this client's own to set.
const OWN_PARAMETERS: [&str; 3] = ["heartbeat", "last_event_id", "lastEventId"];

/// A subject, and who follows it.
#[derive(Debug)]
pub(in crate::cli) struct Watched {
    /// Calls to its server.
    pub(in crate::cli) client: Client,
    /// What is followed.
    pub(in crate::cli) subject: Subject,
}

/// Reads the arguments.
///
/// # Errors
/// One of them names nothing that can be watched.
pub(super) fn read(
    targets: &[String],
    arguments: &ClientArguments,
) -> anyhow::Result<Vec<Watched>> {
    let client = Client::new(arguments.clone())?;
    let mut subjects = Vec::new();
    for text in targets {
        let subject = match client.target(text)? {
            Target::Job(job) => Subject::Job(job),
            Target::Server(server) => Subject::Many {
                server,
                query: Vec::new(),
            },
            Target::Stream(url) => stream(&url)?,
        };
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    let watched = together(subjects).into_iter().map(|subject| {
        Ok(Watched {
            client: Client::new(ClientArguments {
                server: subject.server().clone(),
                // Two credentials in one request are one too many, and the one in the address is meant for it.
                token: arguments
                    .token
                    .clone()
                    .filter(|_| !has_credential(&subject)),
            })?,
            subject,
        })
    });
    watched.collect()
}

/// A stream of many jobs.
fn stream(url: &Url) -> anyhow::Result<Subject> {
    let Some(base) = url.path().strip_suffix("api/v1/stream") else {
        bail!(
            "\"{}\" is not a stream that watch can read: it reads those of jobs and /api/v1/stream, and \
             progressd doctor looks at any; the address of a server ends with a slash",
            shown(url)
        );
    };
    let mut server = url.clone();
    server.set_path(base);
    server.set_query(None);
    server.set_fragment(None);
    let query = url.query_pairs().into_owned();
    let query: Vec<_> = query
        .filter(|(key, _)| !OWN_PARAMETERS.contains(&&**key))
        .collect();
    ensure!(
        url.query().unwrap_or_default().len() <= MOST_QUERY_BYTES,
        "a query of {MOST_QUERY_BYTES} bytes at most can be watched"
    );
    Ok(Subject::Many { server, query })
}

/// Jobs of one server that need no credentials of their own on one connection.
fn together(subjects: Vec<Subject>) -> Vec<Subject> {
    let mut connections: Vec<Subject> = Vec::new();
    // The one that takes further jobs of a server: its place, and how long its query is.
    let mut open: Vec<(Url, usize, usize)> = Vec::new();
    for subject in subjects {
        let Subject::Job(JobAddress {
            server,
            job_id,
            credential: None,
        }) = &subject
        else {
            connections.push(subject);
            continue;
        };
        let bytes = "&job=".len() + job_id.as_str().len();
        let found = open.iter_mut().find(|(of, ..)| of == server);
        match found {
            Some((_, place, length)) if *length + bytes <= MOST_QUERY_BYTES => {
                *length += bytes;
                add(&mut connections[*place], job_id.as_str());
            }
            Some((_, place, length)) => {
                (*place, *length) = (connections.len(), bytes);
                connections.push(subject);
            }
            None => {
                open.push((server.clone(), connections.len(), bytes));
                connections.push(subject);
            }
        }
    }
    connections
}

/// Makes a stream of one job one of several.
fn add(subject: &mut Subject, job_id: &str) {
    let parameter = |job_id: &str| ("job".to_owned(), job_id.to_owned());
    match subject {
        Subject::Many { query, .. } => query.push(parameter(job_id)),
        Subject::Job(job) => {
            *subject = Subject::Many {
                server: job.server.clone(),
                query: vec![parameter(job.job_id.as_str()), parameter(job_id)],
            };
        }
    }
}

fn has_credential(subject: &Subject) -> bool {
    match subject {
        Subject::Job(job) => job.credential.is_some(),
        Subject::Many { query, .. } => query
            .iter()
            .any(|(key, _)| matches!(&**key, "token" | "ticket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(targets: &[&str]) -> anyhow::Result<Vec<String>> {
        let targets: Vec<_> = targets.iter().map(|text| (*text).to_owned()).collect();
        let arguments = ClientArguments {
            server: Url::parse("http://127.0.0.1:1").expect("a URL"),
            token: None,
        };
        let watched = read(&targets, &arguments)?;
        let streams = watched.iter().map(|watched| watched.subject.stream());
        Ok(streams.map(|stream| stream.to_string()).collect())
    }

    #[test]
    fn jobs_of_one_server_share_a_connection() {
        let targets = [
            "a",
            "http://127.0.0.1:1/api/v1/jobs/b/stream",
            "http://127.0.0.1:2/api/v1/jobs/c",
            "a",
            "http://127.0.0.1:1/api/v1/jobs/d?token=t",
            "e",
            "http://127.0.0.1:3/x/",
            "http://127.0.0.1:3/api/v1/stream?tag=t&heartbeat=event&last_event_id=7",
        ];
        let expected = [
            "http://127.0.0.1:1/api/v1/stream?job=a&job=b&job=e",
            "http://127.0.0.1:2/api/v1/jobs/c/stream",
            "http://127.0.0.1:1/api/v1/jobs/d/stream?token=t",
            "http://127.0.0.1:3/x/api/v1/stream",
            "http://127.0.0.1:3/api/v1/stream?tag=t",
        ];
        assert_eq!(streams(&targets).expect("targets"), expected);
    }

    #[test]
    fn very_many_jobs_take_as_many_connections_as_their_names_need() {
        let names: Vec<_> = (0..1_000).map(|number| format!("{number:0>128}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let streams = streams(&names).expect("targets");
        assert!(streams.iter().all(|stream| stream.len() < 4_100));
        let jobs: usize = streams
            .iter()
            .map(|stream| stream.matches("job=").count())
            .sum();
        assert_eq!((jobs, streams.len()), (1_000, 34));
    }

    #[test]
    fn the_streams_of_views_are_refused() {
        let error = streams(&["http://127.0.0.1:1/orders/7/events"]).expect_err("a view");
        assert!(error.to_string().contains("doctor looks at any"), "{error}");
    }
}
