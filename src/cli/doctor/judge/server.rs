//! Who answers at the address, and whether the credential is taken.

use reqwest::{Url, Version};

use super::{unreached, version};
use crate::cli::{
    client::Refusal,
    doctor::{
        advice::{AUTHORIZATION, HTTP_2, Proxy},
        calls::{Answer, Outcome, Stage},
        finding::{Finding, Group},
        patient::shown_place,
    },
};

/// Findings on the server.
pub(crate) const SERVER: Group = Group("server");

/// How far the doctor gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Nobody answers.
    Nobody,
    /// Somebody, but not progressd.
    Stranger,
    /// progressd, which wants another credential.
    Locked,
    /// progressd, but it cannot answer now or has nothing of that name.
    Refused,
    /// progressd, and the credential may read.
    Open,
}

/// The first answer: a list or a status.
pub(crate) fn first(url: &Url, outcome: &Outcome, has_credential: bool) -> (Reach, Vec<Finding>) {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(failed) => {
            let finding = SERVER.problem("address", unreached(failed));
            let finding = match failed.at {
                Stage::Name => finding.change("check the name, and that its record in the DNS is there"),
                Stage::Connection => finding.change(format!(
                    "check that somebody listens on port {}, and that no firewall is in between",
                    url.port_or_known_default().unwrap_or_default()
                )),
                Stage::Tls => finding.change(
                    "the certificate has to be for this name, not expired, and served with its chain (server.tls.cert: \
                     the server's own certificate first, then the others)",
                ),
                Stage::Answer => finding.change("check that the port is one for HTTP, and http or https in the address"),
            };
            return (Reach::Nobody, vec![finding]);
        }
    };
    let proxy = Proxy::of(&answer.headers);
    match (answer.status, answer.refusal()) {
        (200, None) if is_progressd(answer) => {
            let seen = format!(
                "progressd answers within {} ms by {}",
                answer.took.as_millis(),
                version(answer.version)
            );
            let mut findings = vec![SERVER.ok("address", seen)];
            findings.extend(protocol(url, answer.version, proxy));
            (Reach::Open, findings)
        }
        (300..=399, _) => (Reach::Stranger, vec![redirect(answer)]),
        (401 | 403, Some(refusal)) => {
            let mut findings = vec![SERVER.ok("address", "progressd answers")];
            findings.extend(protocol(url, answer.version, proxy));
            findings.push(locked(answer.status, &refusal, has_credential));
            (Reach::Locked, findings)
        }
        (502..=504, None) => (Reach::Stranger, vec![gateway(answer)]),
        (502..=504, Some(refusal)) if refusal.code == "SERVER_UNAVAILABLE" => {
            (Reach::Stranger, vec![gateway(answer)])
        }
        (_, Some(_)) => {
            let finding = SERVER.problem(
                "address",
                format!("progressd answers {}", answer.in_words()),
            );
            (Reach::Refused, vec![finding])
        }
        (401, None) => {
            let seen = "something in front of progressd asks for a password";
            let finding = SERVER
                .problem("address", seen)
                .advise(&AUTHORIZATION.before(proxy));
            (Reach::Stranger, vec![finding])
        }
        (status, None) => {
            let kind = answer.header("content-type").unwrap_or("no type");
            let seen = format!("something else than progressd answers: {status} with {kind}");
            let finding = SERVER.problem("address", seen).change(
                "check the address: what is looked at is /api/v1 below it, so a folder that a proxy gives to progressd \
                 belongs to it, with a slash at its end",
            );
            (Reach::Stranger, vec![finding])
        }
    }
}

/// What the answer to a made-up token says about a credential that was refused.
pub(crate) fn header_probe(refused: &Answer, probe: &Outcome) -> Option<Finding> {
    // The server knows a token by its shape: when it does not see one, somebody has taken it away.
    let message = probe.as_ref().ok()?.refusal()?.message;
    (message == "Invalid API key").then(|| {
        SERVER
            .problem(
                "credential",
                "the header Authorization does not reach progressd",
            )
            .advise(&AUTHORIZATION.before(Proxy::of(&refused.headers)))
    })
}

/// `/healthz` and `/readyz`.
pub(crate) fn health(live: &Outcome, ready: &Outcome) -> Finding {
    let says = |outcome: &Outcome| {
        let answer = outcome.as_ref().ok()?;
        let word = answer.body["status"].as_str()?;
        Some((word == "ok", answer.clone()))
    };
    match (says(live), says(ready)) {
        (Some((true, _)), Some((true, _))) => SERVER.ok("health", "/healthz and /readyz say ok"),
        (_, Some((false, ready))) => {
            let checks = ready.body["checks"].as_object();
            let failed = checks
                .into_iter()
                .flatten()
                .filter(|(_, word)| *word != "ok");
            let failed: Vec<_> = failed.map(|(name, _)| name.as_str()).collect();
            let seen = format!("/readyz says that it is not ready: {}", failed.join(", "));
            let hint = "look into progressd's log; \"store\" is where jobs are kept, \"accepting\" fails while it stops";
            SERVER.problem("health", seen).change(hint)
        }
        _ => SERVER.skipped(
            "health",
            "/healthz and /readyz are not passed on, which watchers do not need",
        ),
    }
}

fn is_progressd(answer: &Answer) -> bool {
    answer.body["jobs"].is_array() || answer.body["job_id"].is_string()
}

/// A redirect is harmless in a browser's address line, and nowhere else.
fn redirect(answer: &Answer) -> Finding {
    let status = answer.status;
    let place = shown_place(answer.header("location"));
    let seen = format!("{status}: everything is redirected, this to {place}");
    SERVER.problem("address", seen).change(
        "use the address behind it everywhere, and look at that one: a redirect costs each call once more, and clients \
         keep a credential from following it, or send it unprotected",
    )
}

fn gateway(answer: &Answer) -> Finding {
    let seen = format!(
        "a proxy answers {}: it does not reach progressd",
        answer.in_words()
    );
    SERVER.problem("address", seen).change(
        "check that progressd runs (on its machine: progressd health URL), and the address to which the proxy passes on",
    )
}

fn locked(status: u16, refusal: &Refusal, has_credential: bool) -> Finding {
    let Refusal { code, message } = refusal;
    let seen = format!("{status} {message} ({code})");
    let finding = SERVER.problem("credential", seen);
    match (status, has_credential) {
        // An open server says itself what to change.
        (403, _) if message.starts_with("An open server") => finding,
        (403, _) => finding.change(
            "the credential needs the scope jobs:read for this, and the job has to be its own",
        ),
        (_, false) => finding.change("put an API key or a token into PROGRESSD_TOKEN"),
        (_, true) => finding.change(
            "check the credential in PROGRESSD_TOKEN or in the address: it may have expired",
        ),
    }
}

fn protocol(url: &Url, seen: Version, proxy: Option<Proxy>) -> Option<Finding> {
    if seen >= Version::HTTP_2 {
        return Some(SERVER.ok(
            "protocol",
            "HTTP/2: one connection carries all streams of a browser",
        ));
    }
    let host = url.host_str().unwrap_or_default();
    if crate::config::is_loopback_host(host) {
        // For one's own use.
        return None;
    }
    let seen = format!(
        "{}: a browser opens six connections to a server, in all its tabs together",
        version(seen)
    );
    Some(
        SERVER
            .warning("protocol", seen)
            .advise(&HTTP_2.before(proxy)),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::HeaderMap;
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::finding::Verdict;

    fn protocol_at(url: &str, version: Version) -> Option<Verdict> {
        let answer = Answer {
            status: 200,
            version,
            headers: HeaderMap::new(),
            body: json!({"jobs": []}),
            took: Duration::ZERO,
        };
        let url = Url::parse(url).expect("a URL");
        let (reach, findings) = first(&url, &Ok(answer), false);
        assert_eq!(reach, Reach::Open);
        let finding = findings.iter().find(|finding| finding.check == "protocol");
        finding.map(|finding| finding.verdict)
    }

    #[test]
    fn six_connections_are_few_for_everybody_but_oneself() {
        for (url, version, expected) in [
            (
                "https://p.example/",
                Version::HTTP_11,
                Some(Verdict::Warning),
            ),
            ("https://p.example/", Version::HTTP_2, Some(Verdict::Ok)),
            ("http://127.0.0.1:8080/", Version::HTTP_11, None),
            ("http://localhost/", Version::HTTP_11, None),
        ] {
            assert_eq!(protocol_at(url, version), expected, "{url} {version:?}");
        }
    }
}
