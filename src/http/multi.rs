//! `GET /stream`: many jobs on one connection.

use std::{collections::HashSet, sync::Arc};

use axum::{
    Extension,
    extract::{Request, State},
    http::Method,
    response::Response,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    ApiError, App, ErrorCode,
    client::Client,
    limits::Holders,
    list::{read_filter, refuse_bound, sees},
    openapi::operations as op,
    permit::{Permit, Read},
    query::Query,
    streams::{Joined, answer, read_cursor, read_heartbeat},
};
use crate::{
    job::{Job, Seq},
    metrics::Join,
    registry::Cursor,
    stream::{MultiStart, MultiStream, Named, Selection, Selector, StreamOptions},
};

/// What selects jobs by what they are like.
const FILTERS: [&str; 5] = ["status", "kind", "tag", "owner", "parent_id"];

/// How many named jobs are looked for at a time.
const LOOKS: usize = 32;

/// Watch many jobs
///
/// Server-sent events: the status of every job first, then `synced`, then every change. Jobs are named, or
/// selected as in the list; without a state these are the unfinished ones and those that ended within the
/// last ten minutes. The cursor is the last `id`, a time: all kept events since then come again.
#[utoipa::path(
    get, path = "/api/v1/stream", operation_id = "watchJobs", tag = "watching",
    params(op::MultiStream), responses(op::MultiStream), security((), ("bearer" = ["jobs:read"]), ("token" = ["jobs:read"])),
)]
pub(super) async fn stream(
    permit: Result<Permit<Read>, ApiError>,
    Extension(client): Extension<Client>,
    State(app): State<Arc<App>>,
    query: Query,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let joining = async {
        let permit = permit?;
        let is_head = parts.method == Method::HEAD;
        let cursor = read_cursor(&parts.headers, &query);
        join(&app, permit, client, &query, cursor, is_head).await
    };
    answer(&app, &parts, None, joining).await
}

async fn join(
    app: &Arc<App>,
    permit: Permit<Read>,
    client: Client,
    query: &Query,
    cursor: Cursor,
    is_head: bool,
) -> Result<Joined, ApiError> {
    app.refuse_while_draining()?;
    let principal = &permit.principal;
    let options = StreamOptions {
        view: None,
        has_visible_heartbeat: read_heartbeat(query)?,
        expires_in: principal.expires_in(),
        revoked: principal.revoked().map(|revoked| Box::pin(revoked) as _),
    };
    let selection = select(app, &permit, query).await?;
    let (since, join) = match cursor {
        Cursor::Absent => (None, Join::Fresh),
        Cursor::At(seq) => (Some(seq), Join::Resumed),
        Cursor::Malformed => (Some(Seq::ZERO), Join::Malformed),
    };
    if is_head {
        return Ok(
            match selection.is_over(since, Seq::from(app.registry.now())) {
                true => Joined::Over,
                false => Joined::Head,
            },
        );
    }
    let holders = Holders {
        account: principal.account(),
        client,
        job_id: None,
    };
    let seat = app.usage.take_seat(&permit.policy.limits, holders)?;
    let settings = Arc::clone(&app.streams);
    let start = MultiStart::new(&app.registry, selection, since, settings.rewind).await?;
    let metrics = &app.metrics.streams;
    let Some(start) = start else {
        metrics.joined(Join::Over);
        return Ok(Joined::Over);
    };
    metrics.joined(join);
    let stream = MultiStream::new(start, settings, options, metrics.open());
    Ok(Joined::Stream(Box::new(stream), seat))
}

/// Which jobs the query is about.
async fn select(
    app: &Arc<App>,
    permit: &Permit<Read>,
    query: &Query,
) -> Result<Selection, ApiError> {
    let principal = &permit.principal;
    let mut seen = HashSet::new();
    let names = query.all("job").filter(|name| seen.insert(*name));
    let names: Vec<String> = names.map(String::from).collect();
    if names.is_empty() {
        refuse_bound(principal)?;
        let filter = read_filter(query)?;
        let principal = principal.clone();
        let may_see = move |job: &Job| sees(&principal, job);
        return Ok(Selection::Matching(Selector::new(filter, may_see)));
    }
    if let Some(filter) = FILTERS.iter().find(|filter| query.get(filter).is_some()) {
        return Err(ApiError::invalid(
            "job",
            format!("does not go with {filter}"),
        ));
    }
    let look = |name: String| async move {
        let found = match app.job(&permit.policy, principal, &name).await {
            Ok(job) => Ok(job),
            Err(error) => match error.code() {
                code @ (ErrorCode::JobNotFound | ErrorCode::JobGone | ErrorCode::Forbidden) => {
                    Err(code.as_str())
                }
                _ => return Err(error),
            },
        };
        Ok(Named { name, found })
    };
    let named: Vec<Named> = stream::iter(names)
        .map(look)
        .buffered(LOOKS)
        .try_collect()
        .await?;
    if named.iter().all(|named| named.found.is_err()) {
        return Err(ApiError::new(ErrorCode::JobNotFound));
    }
    Ok(Selection::Named(named))
}
