//! Lists of jobs: one statement for each, along an index.

use super::{
    row::JOB,
    sql::{self, Literal},
};
use crate::{
    job::{State, Timestamp},
    store::{Filter, Position},
};

/// The newest jobs that match, below `before`, whose retention has not ended at `now`.
pub(super) fn newest(
    filter: &Filter,
    before: Option<&Position>,
    limit: usize,
    now: Timestamp,
) -> String {
    let mut conditions = vec![format!(
        "(j.expires_at IS NULL OR j.expires_at > {})",
        sql::moment(now)
    )];
    if let Some(before) = before {
        conditions.push(format!("(j.created_at, j.job_id) < {}", place(before)));
    }
    let equal = |column: &str, value: Literal| format!("j.{column} = {value}");
    if let Some(kind) = &filter.kind {
        conditions.push(equal("kind", sql::text(kind)));
    }
    if let Some(owner) = &filter.owner {
        conditions.push(equal("owner", sql::text(owner)));
    }
    if let Some(parent_id) = &filter.parent_id {
        conditions.push(equal("parent_id", sql::text(parent_id.as_str())));
    }
    if let Some(tag) = &filter.tag {
        conditions.push(format!("j.tags @> {}", sql::texts([tag.as_str()])));
    }
    let order = format!("ORDER BY j.created_at DESC, j.job_id DESC LIMIT {limit}");
    let from = |states: &str| {
        let conditions = conditions.join(" AND ");
        format!("FROM progressd.jobs AS j WHERE {states}{conditions} {order}")
    };
    let mut states = filter.states.clone();
    states.sort_unstable();
    states.dedup();
    match states[..] {
        [] => format!("SELECT {JOB} {}", from("")),
        [State::Pending, State::Processing] => {
            format!("SELECT {JOB} {}", from("j.finished_at IS NULL AND "))
        }
        // One index has the jobs of each state in order: a walk for each state, and the newest of
        // what they find.
        _ => {
            let states = sql::texts(states.iter().map(|state| state.as_str()));
            let each = from("j.status = s.status AND ");
            format!(
                "SELECT {JOB} FROM unnest({states}) AS s (status), \
                 LATERAL (SELECT j.* {each}) AS j {order}"
            )
        }
    }
}

/// The oldest unfinished jobs above `after`.
pub(super) fn unfinished(kind: Option<&str>, after: Option<&Position>, limit: usize) -> String {
    let mut conditions = vec!["j.finished_at IS NULL".to_owned()];
    if let Some(kind) = kind {
        conditions.push(format!("j.kind = {}", sql::text(kind)));
    }
    if let Some(after) = after {
        conditions.push(format!("(j.created_at, j.job_id) > {}", place(after)));
    }
    format!(
        "SELECT {JOB} FROM progressd.jobs AS j WHERE {} ORDER BY j.created_at, j.job_id LIMIT {limit}",
        conditions.join(" AND ")
    )
}

fn place(position: &Position) -> String {
    let created_at = sql::moment(position.created_at);
    format!("({created_at}, {})", sql::text(position.job_id.as_str()))
}
