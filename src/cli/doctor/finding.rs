//! What one look came to.

use serde::Serialize;

use super::advice::Advice;

/// How well a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could, or not for everybody.
    Warning,
    /// Watchers suffer from it.
    Problem,
    /// Nothing is known about it; the finding says why.
    NotLookedAt,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What is looked at together: `server`, `stream`, `requests`, `pages`.
    pub(super) group: &'static str,
    /// The thing's name.
    pub(super) check: &'static str,
    /// How well it is.
    pub(super) verdict: Verdict,
    /// What was seen, with figures.
    pub(super) seen: String,
    /// What to change, a setting a line; empty where all is well.
    pub(super) change: Vec<String>,
}

/// Findings of one group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group(pub(super) &'static str);

impl Group {
    /// All is well.
    pub(super) fn ok(self, check: &'static str, seen: impl Into<String>) -> Finding {
        self.finding(check, Verdict::Ok, seen)
    }

    /// It works, with a drawback.
    pub(super) fn warning(self, check: &'static str, seen: impl Into<String>) -> Finding {
        self.finding(check, Verdict::Warning, seen)
    }

    /// It does not work.
    pub(super) fn problem(self, check: &'static str, seen: impl Into<String>) -> Finding {
        self.finding(check, Verdict::Problem, seen)
    }

    /// It could not be looked at, and why.
    pub(super) fn skipped(self, check: &'static str, why: impl Into<String>) -> Finding {
        self.finding(check, Verdict::NotLookedAt, why)
    }

    fn finding(self, check: &'static str, verdict: Verdict, seen: impl Into<String>) -> Finding {
        Finding {
            group: self.0,
            check,
            verdict,
            seen: seen.into(),
            change: Vec::new(),
        }
    }
}

impl Finding {
    /// The same with a line on what to change.
    pub(super) fn change(mut self, line: impl Into<String>) -> Self {
        self.change.push(line.into());
        self
    }

    /// The same with what is known about proxies.
    pub(super) fn advise(mut self, advice: &Advice) -> Self {
        self.change.extend(advice.lines());
        self
    }
}
