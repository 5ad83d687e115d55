//! Where a field's value comes from: a place in the job's status, or a constant.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::job::State;

/// The fields of a status that a view may take, by their names there.
pub(super) const STATUS_FIELDS: [&str; 26] = [
    "job_id",
    "kind",
    "status",
    "total_count",
    "processed_count",
    "unit",
    "progress_percentage",
    "step",
    "message",
    "rate_per_second",
    "eta_seconds",
    "attempt",
    "stalled",
    "cancel_requested",
    "data",
    "result",
    "error",
    "owner",
    "tags",
    "parent_id",
    "created_at",
    "started_at",
    "updated_at",
    "finished_at",
    "seq",
    GAP,
];

/// Whether events that the watcher has missed are not kept any more; only there when it is so.
pub(super) const GAP: &str = "gap";

/// Those with fields of their own.
const DEEP: [&str; 2] = ["data", "result"];

/// What is known of a job when it is put into a view's words.
pub(super) struct Facts<'j> {
    pub(super) state: State,
    /// The view's word for the state.
    word: Option<&'j str>,
    has_gap: bool,
    status: Members<'j>,
}

/// The fields of a JSON object, each as it is written there.
type Members<'j> = HashMap<String, &'j RawValue>;

/// A place in a status, such as `data.geo_score`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source(Vec<String>);

impl<'j> Facts<'j> {
    pub(super) fn new(state: State, word: Option<&'j str>, json: &'j str, has_gap: bool) -> Self {
        Self {
            state,
            word,
            has_gap,
            status: members(json).unwrap_or_default(),
        }
    }
}

impl Source {
    /// The source of that name; the error completes a sentence that begins with the key.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let path: Vec<String> = text.split('.').map(str::to_owned).collect();
        let first = path[0].as_str();
        if !STATUS_FIELDS.contains(&first) {
            return Err(format!(
                "must name a field of a status, such as \"data.score\", \"result\" or \"updated_at\", but says {text:?}"
            ));
        }
        let is_known = match path.as_slice() {
            [_] => true,
            [error, member] if error == "error" => ["code", "message"].contains(&&**member),
            [_, deeper @ ..] => {
                DEEP.contains(&first) && deeper.iter().all(|member| !member.is_empty())
            }
            [] => false,
        };
        if is_known {
            Ok(Self(path))
        } else {
            Err(format!(
                "must name what a status has: {text:?} is nothing that can be known"
            ))
        }
    }

    /// Whether it is the state, in the view's word.
    pub(super) fn is_status(&self) -> bool {
        self.0 == ["status"]
    }

    /// Whether it is the word on missed events.
    pub(super) fn is_gap(&self) -> bool {
        self.0 == [GAP]
    }

    /// The value as JSON; `None` when there is none, or null.
    pub(super) fn find(&self, facts: &Facts<'_>) -> Option<String> {
        if self.is_status() {
            return facts.word.map(quoted);
        }
        if self.is_gap() {
            return facts.has_gap.then(|| "true".to_owned());
        }
        let (first, deeper) = self.0.split_first()?;
        let mut found = *facts.status.get(first)?;
        for member in deeper {
            found = *members(found.get())?.get(member)?;
        }
        Some(found.get())
            .filter(|text| *text != "null")
            .map(str::to_owned)
    }
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string serializes")
}

fn members(json: &str) -> Option<Members<'_>> {
    serde_json::from_str(json).ok()
}
