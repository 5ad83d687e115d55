//! What a page of another origin may do.

use super::unreached;
use crate::cli::doctor::{
    advice::{METHODS, Proxy},
    calls::{Answer, Outcome},
    finding::{Finding, Group},
};

/// Findings on pages.
pub(crate) const PAGES: Group = Group("pages");

/// What a page sends with a stream that it reads by itself.
pub(crate) const SENT_HEADERS: [&str; 2] = ["authorization", "last-event-id"];

/// What was seen for the pages of one origin.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// As browsers send it.
    pub(crate) origin: String,
    /// The question whether such a page may ask.
    pub(crate) preflight: Outcome,
    /// The same question as the page asks it.
    pub(crate) answer: Outcome,
    /// One that is refused.
    pub(crate) error: Outcome,
}

/// What they come to.
pub(crate) fn findings(seen: &Seen) -> Vec<Finding> {
    let origin = &*seen.origin;
    let error =
        |answer: &Answer| PAGES.ok("errors", format!("a page can read them: {}", answer.status));
    let is_unnamed = |outcome: &Outcome| {
        outcome
            .as_ref()
            .is_ok_and(|answer| allowed(answer).is_empty())
    };
    if let Ok(refused) = &seen.preflight
        && [&seen.preflight, &seen.answer, &seen.error]
            .into_iter()
            .all(is_unnamed)
    {
        let seen = format!(
            "{origin} is not allowed: {}, and no answer names it",
            refused.status
        );
        return vec![
            PAGES
                .problem("origin", seen)
                .change(setting(origin))
                .change("or, when that is there: let no proxy remove its Access-Control headers"),
        ];
    }
    vec![
        judge("preflight", &seen.preflight, origin, preflight),
        judge("answers", &seen.answer, origin, answer),
        judge("errors", &seen.error, origin, error),
    ]
}

fn allowed(answer: &Answer) -> Vec<std::borrow::Cow<'_, str>> {
    let allowed = answer.headers.get_all("access-control-allow-origin").iter();
    allowed
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect()
}

fn setting(origin: &str) -> String {
    format!("progressd: cors.allowed_origins = [\"{origin}\"]")
}

/// What every answer to a page needs; then the rest.
fn judge(
    check: &'static str,
    outcome: &Outcome,
    origin: &str,
    rest: impl Fn(&Answer) -> Finding,
) -> Finding {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(failed) => return PAGES.problem(check, unreached(failed)),
    };
    match &*allowed(answer) {
        [one] if one == origin => rest(answer),
        [] => PAGES
            .problem(
                check,
                format!("{} without Access-Control-Allow-Origin, which others have", answer.status),
            )
            .change("let no proxy answer in progressd's place, or remove its Access-Control headers"),
        [one] if one == "*" => PAGES
            .problem(check, "Access-Control-Allow-Origin is *, with which browsers send and show nothing of credentials")
            .change(format!("{}, and no such header of the proxy's own", setting(origin))),
        [one] => PAGES
            .problem(check, format!("Access-Control-Allow-Origin is {one}, another origin"))
            .change(format!("{}, and no cache that keeps answers", setting(origin))),
        several => PAGES
            .problem(check, format!("Access-Control-Allow-Origin is there {} times", several.len()))
            .change("let the proxy add none of its own (nginx: remove \"add_header Access-Control-Allow-Origin\")"),
    }
}

fn preflight(answer: &Answer) -> Finding {
    const CHECK: &str = "preflight";
    let headers = answer
        .header("access-control-allow-headers")
        .unwrap_or_default();
    let headers = headers.to_ascii_lowercase();
    let missing = SENT_HEADERS
        .iter()
        .find(|name| !headers.split(',').any(|given| given.trim() == **name));
    match (answer.is_success(), missing) {
        (true, None) => PAGES.ok(CHECK, "a page may send authorization and last-event-id"),
        (true, Some(name)) => PAGES
            .problem(CHECK, format!("a page may not send {name}"))
            .change("let progressd answer OPTIONS: it allows what its clients send"),
        (false, _) => PAGES
            .problem(CHECK, format!("it is answered {}", answer.in_words()))
            .advise(&METHODS.before(Proxy::of(&answer.headers))),
    }
}

fn answer(answer: &Answer) -> Finding {
    const CHECK: &str = "answers";
    let is = |name: &str, part: &str| {
        let value = answer.header(name).unwrap_or_default().to_ascii_lowercase();
        value.split(',').any(|given| given.trim() == part)
    };
    if !is("access-control-allow-credentials", "true") {
        return PAGES
            .problem(CHECK, "Access-Control-Allow-Credentials is missing")
            .change("let no proxy remove it");
    }
    if !is("access-control-expose-headers", "retry-after") {
        return PAGES
            .warning(
                CHECK,
                "Access-Control-Expose-Headers does not name Retry-After",
            )
            .change("let no proxy change it: clients poll by it");
    }
    PAGES.ok(CHECK, "a page can read them, with credentials")
}

#[cfg(test)]
mod tests;
