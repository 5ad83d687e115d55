//! The doctor's own job: what was reported, and what came of it.

use std::time::Duration;

use super::{
    stream::{STREAM, TIMELY, Watched},
    time, unreached,
};
use crate::cli::doctor::{
    advice::{
        AUTHORIZATION, BUFFERING, CACHING, LAST_EVENT_ID, LONG_HEADERS, METHODS, Proxy, QUERY,
    },
    calls::{Answer, Outcome},
    finding::{Finding, Group},
    record::{How, Record},
    trial::{CURSOR, EVENTS, Seen, Step},
};

/// Findings on single calls.
pub(crate) const REQUESTS: Group = Group("requests");

/// Blocks that come closer together than this came at once: they were sent a quarter of a second apart.
const TOGETHER: Duration = Duration::from_millis(100);

/// By how much clocks may differ before it is worth a word: tokens are valid from a second to a second.
const MOST_SKEW_SECONDS: f64 = 2.0;

/// What the stream and the calls of the doctor's job came to.
pub(crate) fn findings(seen: &Seen) -> Vec<Finding> {
    let watched = Watched {
        record: &seen.record,
        encoding: seen.encoding.as_deref(),
        silence: seen.silence,
        is_ended: seen.ended.is_some(),
    };
    let mut findings = watched.findings();
    let is_stream = seen
        .record
        .head
        .as_ref()
        .is_some_and(|head| head.status == 200);
    if is_stream {
        let place = findings
            .iter()
            .position(|finding| finding.check == "heartbeat");
        findings.insert(place.unwrap_or(findings.len()), delivery(seen, watched));
        findings.push(end(seen, watched));
    }
    findings.push(methods(seen));
    findings.extend(resume(seen));
    for finding in [
        again(seen),
        caching(seen),
        query(seen),
        long_header(seen),
        clock(seen),
    ] {
        findings.extend(finding);
    }
    findings
}

/// Whether the job could be made: what is not looked at when it could not.
pub(crate) fn not_made(outcome: &Outcome) -> Vec<Finding> {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(failed) => {
            return vec![REQUESTS.problem("methods", format!("POST: {}", unreached(failed)))];
        }
    };
    let why = match answer.status {
        403 => format!(
            "{}: the credential lacks jobs:write, with which a job of the doctor's own is looked at",
            answer.in_words()
        ),
        _ => format!("no job could be made: {}", answer.in_words()),
    };
    match (answer.status, answer.refusal()) {
        (403, Some(_)) => [
            STREAM.skipped("delivery", &why),
            STREAM.skipped("end", &why),
        ]
        .into_iter()
        .chain(
            ["methods", "resume", "204", "caching"]
                .map(|check| REQUESTS.skipped(check, "as delivery")),
        )
        .collect(),
        (_, Some(_)) => vec![REQUESTS.problem("methods", why)],
        (_, None) => {
            let advice = METHODS.before(Proxy::of(&answer.headers));
            vec![
                REQUESTS
                    .problem(
                        "methods",
                        format!("POST is refused on the way: {}", answer.in_words()),
                    )
                    .advise(&advice),
            ]
        }
    }
}

/// What became of the job in the end.
pub(crate) fn removal(outcome: Option<&Outcome>) -> Finding {
    const CHECK: &str = "removal";
    const LEFT: &str = "the doctor's job stays for a minute or two";
    match outcome {
        Some(Ok(answer)) if answer.status == 204 || answer.refusal().is_some() => {
            REQUESTS.ok(CHECK, "DELETE has removed the doctor's job")
        }
        Some(Ok(answer)) => REQUESTS
            .problem(
                CHECK,
                format!(
                    "DELETE is refused on the way ({}), and {LEFT}",
                    answer.in_words()
                ),
            )
            .advise(&METHODS.before(Proxy::of(&answer.headers))),
        Some(Err(failed)) => {
            REQUESTS.warning(CHECK, format!("DELETE: {}, and {LEFT}", unreached(failed)))
        }
        None => REQUESTS.warning(
            CHECK,
            format!("DELETE was not answered in time, and {LEFT}"),
        ),
    }
}

fn delivery(seen: &Seen, watched: Watched<'_>) -> Finding {
    const CHECK: &str = "delivery";
    let record = &seen.record;
    let sent = seen.sent.len();
    let cut = watched.cut().and(record.end.as_ref()).map(|end| end.at);
    // What was sent behind a cut cannot arrive.
    let events = seen
        .sent
        .iter()
        .enumerate()
        .filter(|(_, at)| cut.is_none_or(|cut| **at < cut));
    let lateness = |number: usize, at: &Duration| Some(record.event(number)?.saturating_sub(*at));
    let lateness: Vec<_> = events.map(|(number, at)| lateness(number, at)).collect();
    if lateness.is_empty() {
        return STREAM.skipped(CHECK, "nothing was sent before the stream was cut");
    }
    let timely = lateness
        .iter()
        .flatten()
        .filter(|late| **late <= TIMELY)
        .count();
    if timely == lateness.len() {
        let mut lateness: Vec<_> = lateness.into_iter().flatten().collect();
        lateness.sort_unstable();
        let (median, most) = (lateness[timely / 2], lateness[timely - 1]);
        return STREAM.ok(
            CHECK,
            format!(
                "{timely} of {sent} events in time: median {}, most {}",
                time(median),
                time(most)
            ),
        );
    }
    let arrivals: Vec<_> = (0..sent)
        .filter_map(|number| record.event(number))
        .collect();
    let before_end = arrivals
        .iter()
        .filter(|at| seen.ended.is_none_or(|ended| **at < ended))
        .count();
    let clumps = 1 + arrivals
        .windows(2)
        .filter(|pair| pair[1].saturating_sub(pair[0]) > TOGETHER)
        .count();
    let seen = match (arrivals.len(), before_end) {
        (0, _) => format!("none of {sent} events came: they are held on the way"),
        (_, 0) => format!(
            "all of {sent} events came only after the job had ended: they are held on the way"
        ),
        (came, _) => format!(
            "{timely} of {sent} events in time; {came} came, in {clumps} {}: they are held on the way",
            if clumps == 1 { "clump" } else { "clumps" }
        ),
    };
    STREAM
        .problem(CHECK, seen)
        .advise(&watched.advice(&BUFFERING))
}

fn end(seen: &Seen, watched: Watched<'_>) -> Finding {
    const CHECK: &str = "end";
    let Some(ended) = seen.ended else {
        return STREAM.skipped(CHECK, "the job could not be ended");
    };
    if let Some(why) = watched.cut() {
        return STREAM.skipped(CHECK, why);
    }
    let Some((last, _)) = seen.record.last_block() else {
        return match &seen.record.end {
            Some(_) => STREAM.problem(CHECK, "the stream ended without the job's last status"),
            None => STREAM
                .problem(CHECK, "the job's last status did not come")
                .advise(&watched.advice(&BUFFERING)),
        };
    };
    let after = last.saturating_sub(ended);
    if after > TIMELY {
        let seen = format!("the job's last status came only after {}", time(after));
        return STREAM
            .problem(CHECK, seen)
            .advise(&watched.advice(&BUFFERING));
    }
    match &seen.record.end {
        None => STREAM
            .warning(CHECK, "the last status came, but the connection is kept open behind it")
            .change("let the proxy end its answer when progressd ends its own: it may be waiting for more"),
        Some(end) => match &end.how {
            How::Whole => STREAM.ok(CHECK, format!("the last status after {}, then the end", time(after))),
            how => STREAM.warning(CHECK, format!("the last status came, then no clean end: {how:?}")),
        },
    }
}

fn methods(seen: &Seen) -> Finding {
    const CHECK: &str = "methods";
    let named = [
        (Step::Report, "PATCH"),
        (Step::Event, "POST"),
        (Step::End, "PATCH"),
    ];
    for (step, outcome) in &seen.calls {
        let Some((_, name)) = named.iter().find(|(named, _)| named == step) else {
            continue;
        };
        match outcome {
            Err(failed) => {
                return REQUESTS.problem(CHECK, format!("{name}: {}", unreached(failed)));
            }
            Ok(answer) if answer.is_success() => {}
            Ok(answer) => {
                let seen = format!("{name} is answered {}", answer.in_words());
                let finding = REQUESTS.problem(CHECK, seen);
                return match answer.refusal() {
                    Some(_) => finding,
                    None => finding.advise(&METHODS.before(Proxy::of(&answer.headers))),
                };
            }
        }
    }
    REQUESTS.ok(CHECK, "GET, POST and PATCH pass")
}

/// Whether a watcher that comes back gets what it has missed.
fn resume(seen: &Seen) -> Option<Finding> {
    const CHECK: &str = "resume";
    let record = seen.resumed.as_ref()?;
    let missed = CURSOR + 1..EVENTS;
    let expected = missed.len();
    let came = missed
        .filter(|number| record.event(*number).is_some())
        .count();
    let proxy = record
        .head
        .as_ref()
        .and_then(|head| Proxy::of(&head.headers));
    Some(match (came, is_read_to_its_end(record)) {
        (came, _) if came == expected && record.event(CURSOR).is_none() => REQUESTS.ok(
            CHECK,
            format!("Last-Event-ID passes: {came} of {expected} missed events came again"),
        ),
        (0, true) => REQUESTS
            .problem(
                CHECK,
                "no missed event came again: Last-Event-ID does not reach progressd",
            )
            .advise(&LAST_EVENT_ID.before(proxy)),
        _ => REQUESTS
            .problem(
                CHECK,
                format!("{came} of {expected} missed events came again"),
            )
            .advise(&BUFFERING.before(proxy)),
    })
}

fn is_read_to_its_end(record: &Record) -> bool {
    record.last_block().is_some()
}

/// Whether a watcher that comes back behind the end is told to stay away.
fn again(seen: &Seen) -> Option<Finding> {
    const CHECK: &str = "204";
    let answer = answer_to(seen, Step::Again, CHECK)?;
    let is_resumed = || resume(seen).is_some_and(|finding| finding.change.is_empty());
    Some(match answer {
        Err(finding) => finding,
        Ok(answer) if answer.status == 204 => REQUESTS.ok(
            CHECK,
            "behind the end the answer is 204, which stops a browser",
        ),
        Ok(answer) if is_resumed() => REQUESTS.problem(
            CHECK,
            format!(
                "behind the end the answer is {}, not 204: a browser comes back for ever",
                answer.in_words()
            ),
        ),
        Ok(_) => REQUESTS.skipped(CHECK, "without Last-Event-ID nobody is behind the end"),
    })
}

fn caching(seen: &Seen) -> Option<Finding> {
    const CHECK: &str = "caching";
    let answer = answer_to(seen, Step::Status, CHECK)?;
    Some(match answer {
        Err(finding) => finding,
        Ok(answer) if answer.body["status"] == "completed" => REQUESTS.ok(
            CHECK,
            "a status that has changed is not answered from a cache",
        ),
        Ok(answer) => {
            let word = answer.body["status"].as_str().unwrap_or("nothing");
            REQUESTS
                .problem(
                    CHECK,
                    format!("the status says {word} after the job's end: it comes from a cache"),
                )
                .advise(&CACHING.before(Proxy::of(&answer.headers)))
        }
    })
}

fn query(seen: &Seen) -> Option<Finding> {
    const CHECK: &str = "query token";
    let answer = answer_to(seen, Step::QueryToken, CHECK)?;
    Some(match answer {
        Err(finding) => finding,
        Ok(answer) if answer.is_success() => {
            REQUESTS.ok(CHECK, "a watch_token in the query passes")
        }
        Ok(answer)
            if answer
                .refusal()
                .is_some_and(|refusal| refusal.code == "INVALID_REQUEST") =>
        {
            REQUESTS
                .problem(
                    CHECK,
                    "something adds a header Authorization to requests that have none",
                )
                .advise(&AUTHORIZATION.before(Proxy::of(&answer.headers)))
        }
        Ok(answer) => REQUESTS
            .problem(
                CHECK,
                format!(
                    "a watch_token in the query is answered {}",
                    answer.in_words()
                ),
            )
            .advise(&QUERY.before(Proxy::of(&answer.headers))),
    })
}

fn long_header(seen: &Seen) -> Option<Finding> {
    const CHECK: &str = "long headers";
    let answer = answer_to(seen, Step::LongHeader, CHECK)?;
    Some(match answer {
        Err(finding) => finding,
        Ok(answer) if answer.is_success() => REQUESTS.ok(CHECK, "a header of 7,000 bytes passes"),
        Ok(answer) => REQUESTS
            .warning(
                CHECK,
                format!("a header of 7,000 bytes is answered {}", answer.in_words()),
            )
            .advise(&LONG_HEADERS.before(Proxy::of(&answer.headers))),
    })
}

fn clock(seen: &Seen) -> Option<Finding> {
    const CHECK: &str = "clock";
    let ahead = seen.clock_ahead?;
    Some(match ahead.abs() > MOST_SKEW_SECONDS {
        true => REQUESTS
            .warning(
                CHECK,
                format!(
                    "the server's clock is {:.1} s {} this machine's",
                    ahead.abs(),
                    if ahead > 0.0 { "ahead of" } else { "behind" }
                ),
            )
            .change("let both keep time with NTP: tokens are valid by the server's clock"),
        false => REQUESTS.ok(
            CHECK,
            format!("within {MOST_SKEW_SECONDS} s of this machine's"),
        ),
    })
}

/// The answer to a call that was made, or that there was none.
fn answer_to<'a>(
    seen: &'a Seen,
    step: Step,
    check: &'static str,
) -> Option<Result<&'a Answer, Finding>> {
    let (_, outcome) = seen.calls.iter().find(|(made, _)| *made == step)?;
    Some(
        outcome
            .as_ref()
            .map_err(|failed| REQUESTS.problem(check, unreached(failed))),
    )
}

#[cfg(test)]
mod tests;
