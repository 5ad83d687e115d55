//! progressd as it runs in production: every request with a JWT, every limit set.

use std::{fs, process::Command};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::{
    mark::{Mark, Template},
    peer::{Build, Dialect, Kind, Message, Server, request, stream_headers},
    process::Process,
};

const CONFIGURATION: &str = include_str!("../../peers/progressd.toml");

pub(super) fn start(
    build: &Build,
    template: &Template,
    folder: TempDir,
    core: Option<usize>,
) -> anyhow::Result<Server> {
    let config = folder.path().join("progressd.toml");
    fs::write(&config, CONFIGURATION)?;
    let config = config.to_str().context("a path in UTF-8")?;
    let program = build.program.to_str().context("a path in UTF-8")?;
    let settings = build
        .settings
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    let settings: Vec<_> = settings.collect();

    let mut token = Command::new(program);
    token
        .args([
            "token", "--config", config, "--sub", "load", "--ttl", "86400",
        ])
        .args(["--scope", "jobs:read jobs:write"]);
    let token = token.output().context("run progressd token")?;
    let errors = String::from_utf8_lossy(&token.stderr);
    anyhow::ensure!(token.status.success(), "progressd token: {errors}");
    let token = String::from_utf8(token.stdout)?;

    let mut arguments: Vec<_> = settings.iter().map(String::as_str).collect();
    arguments.extend([program, "serve", "--config", config]);
    let process = Process::start("env", &arguments, core, Some("listening on "))?;
    let address = process.ready_line().rsplit_once("http://");
    let address = address.context("its address")?.1.trim().parse()?;
    Ok(Server {
        process,
        watch_address: address,
        publish_address: address,
        dialect: Box::new(Jobs {
            authorization: format!("Authorization: Bearer {}\r\n", token.trim()),
            template: template.clone(),
        }),
        token: Some(token.trim().to_owned()),
        _folder: Some(folder),
    })
}

/// Channel 7 is job `load-7`.
struct Jobs {
    authorization: String,
    /// An event's data, so that it is as long as a status.
    template: Template,
}

impl Jobs {
    fn send(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let headers = format!("{}Content-Type: application/json\r\n", self.authorization);
        request(method, path, &headers, body)
    }
}

impl Dialect for Jobs {
    fn create(&self, channel: u32) -> Vec<Vec<u8>> {
        let job = format!(
            r#"{{"job_id":"load-{channel}","kind":"load","total_count":1000000000,"unit":"rows"}}"#
        );
        vec![
            self.send("POST", "/api/v1/jobs", &job),
            self.publish(&[Message::first(channel)]),
        ]
    }

    fn watch(&self, channel: u32, last_id: Option<&str>) -> Vec<u8> {
        let path = format!("/api/v1/jobs/load-{channel}/stream");
        let headers = self.authorization.clone() + &stream_headers(last_id);
        request("GET", &path, &headers, "")
    }

    fn publish(&self, messages: &[Message]) -> Vec<u8> {
        let mut requests = Vec::new();
        for Message {
            channel,
            mark,
            kind,
        } in messages
        {
            let (path, text) = (format!("/api/v1/jobs/load-{channel}"), mark.text());
            requests.extend(match kind {
                Kind::Status => self.send("PATCH", &path, &report(mark.number, &text)),
                Kind::Event => {
                    let data = self.template.fill(*mark);
                    let event = format!(r#"{{"event":"log","data":{data}}}"#);
                    self.send("POST", &format!("{path}/events"), &event)
                }
            });
        }
        requests
    }

    fn bulk(&self, channel: u32, count: u32) -> Option<Vec<u8>> {
        let mut lines = String::new();
        for number in 0..count {
            let mark = Mark { number, sent: 0 }.text();
            let line = report(number, &mark);
            lines += &format!(r#"{{"job_id":"load-{channel}",{}"#, &line[1..]);
            lines.push('\n');
        }
        let headers = format!(
            "{}Content-Type: application/x-ndjson\r\n",
            self.authorization
        );
        Some(request("POST", "/api/v1/reports", &headers, &lines))
    }
}

fn report(number: u32, mark: &str) -> String {
    format!(r#"{{"processed_count":{number},"step":"Loading","message":"{mark}"}}"#)
}
