//! Views' paths: which job is found there, and who may.
//!
//! From there on everything is as it is at the job's own paths: joining, resuming, pace, ends, polls.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Extension, Router,
    extract::{
        FromRequestParts as _, RawPathParams, Request, State, rejection::RawPathParamsRejection,
    },
    http::{Uri, request::Parts},
    response::{IntoResponse as _, Response},
    routing::get,
};

use super::{
    ApiError, App, ErrorCode, Policy,
    client::Client,
    permit::{Permit, Read, Refused},
    query::Query,
    status,
    streams::{self, Caller, Wanted, is_resumed},
};
use crate::{
    auth::Principal,
    job::{Job, JobId, NewJob, State as JobState},
    registry::{Cursor, JobHandle, Registry, RegistryError},
    store::Filter,
    view::{Face, Pick, Route, View, Views},
};

/// The states of a job that is under way.
const UNFINISHED: [JobState; 2] = [JobState::Pending, JobState::Processing];

/// A path of a view as a request has it.
pub(super) struct Spot<'r> {
    pub(super) route: &'r Route,
    /// The names in the path.
    names: HashMap<String, String>,
    query: Query,
}

/// Adds a route for each path.
pub(super) fn mount(router: Router<Arc<App>>, views: &Views) -> Router<Arc<App>> {
    views.routes().fold(router, |router, route| {
        let path = route.path().as_str();
        let route = Arc::clone(route);
        let handler = move |client: Extension<Client>,
                            app: State<Arc<App>>,
                            names: Result<RawPathParams, RawPathParamsRejection>,
                            request: Request| {
            let route = Arc::clone(&route);
            async move { answer(&route, client, app, names.ok(), request).await }
        };
        router.route(path, get(handler))
    })
}

async fn answer(
    route: &Route,
    Extension(client): Extension<Client>,
    State(app): State<Arc<App>>,
    names: Option<RawPathParams>,
    request: Request,
) -> Response {
    let (mut parts, _) = request.into_parts();
    mend_query(&mut parts);
    // A name that is no text is the name of nothing.
    let names = names.iter().flatten();
    let spot = Spot {
        route,
        names: names
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        query: Query::of(&parts.uri),
    };
    let caller = admit(route.view(), &mut parts, &app, client).await;
    match route.face {
        Face::Stream => streams::watch(&app, caller, Wanted::At(&spot), &parts).await,
        Face::Status => {
            let answer = async {
                let caller = caller?;
                app.refuse_while_draining()?;
                let job = spot.find(&app, &caller, None, false).await?;
                let job = job.ok_or_else(|| ApiError::new(ErrorCode::JobNotFound))?;
                let view = Some(&**route.view());
                let Parts {
                    method, headers, ..
                } = &parts;
                status::read(&app, &caller, &job, view, method, &spot.query, headers).await
            };
            answer.await.into_response()
        }
    }
}

/// Pages append `?token=` to whatever address they were given, also to one that has a query already.
fn mend_query(parts: &mut Parts) {
    let Some((path, query)) = parts
        .uri
        .path_and_query()
        .map(|whole| (whole.path(), whole.query()))
    else {
        return;
    };
    let Some((before, token)) = query.and_then(|query| query.rsplit_once("?token=")) else {
        return;
    };
    if let Ok(mended) = format!("{path}?{before}&token={token}").parse::<Uri>() {
        parts.uri = mended;
    }
}

/// Who asks: on a public path everybody, whatever credential comes along.
async fn admit(
    view: &View,
    parts: &mut Parts,
    app: &Arc<App>,
    client: Client,
) -> Result<Caller, ApiError> {
    let (principal, policy) = if view.is_public() {
        if let Some(Refused(error)) = parts.extensions.get() {
            return Err(error.clone());
        }
        let policy = Policy::of(&parts.extensions);
        (policy.authenticator.everybody(), policy)
    } else {
        let permit = Permit::<Read>::from_request_parts(parts, app).await?;
        (permit.principal, permit.policy)
    };
    Ok(Caller {
        principal,
        policy,
        client,
    })
}

impl Spot<'_> {
    /// The job that is found here. `cursor` is that of a stream, by which work may be begun; a HEAD begins none,
    /// and `None` is the job that it would have begun.
    pub(super) async fn find(
        &self,
        app: &App,
        caller: &Caller,
        cursor: Option<Cursor>,
        is_head: bool,
    ) -> Result<Option<JobHandle>, ApiError> {
        let view = self.route.view();
        let job = async |job_id: &str| {
            app.job_in(view, &caller.policy, &caller.principal, job_id)
                .await
        };
        match self.route.pick() {
            Pick::Job(template) => {
                let job_id = template.fill(|name| self.value(name)).map_err(missing)?;
                job(&job_id).await.map(Some)
            }
            Pick::Feed(job_id) => match job(job_id.as_str()).await {
                // Its retention has ended, or it was removed.
                Err(error) if is_absence(&error) && !is_head => {
                    create_feed(&app.registry, view, job_id).await?;
                    job(job_id.as_str()).await.map(Some)
                }
                found => found.map(Some),
            },
            Pick::Newest { owner_from, starts } => {
                let newest = self.newest(app, caller, owner_from.as_deref()).await?;
                let is_new_watch = cursor.is_some_and(|cursor| !is_resumed(cursor));
                match newest {
                    // Whoever resumes is told of the end that it has missed, and begins nothing anew.
                    Some(newest) if !(*starts && newest.is_finished() && is_new_watch) => {
                        job(newest.id().as_str()).await.map(Some)
                    }
                    _ if *starts && cursor.is_some() && is_head => Ok(None),
                    last if *starts && cursor.is_some() => {
                        begin(app, view, &caller.principal, last.as_deref())
                            .await
                            .map(Some)
                    }
                    _ => Err(ApiError::new(ErrorCode::JobNotFound)),
                }
            }
        }
    }

    /// The newest job of the view's kinds, an unfinished one first: of whom the parameter names, or of the caller;
    /// somebody without an owner has all that it may act on.
    async fn newest(
        &self,
        app: &App,
        caller: &Caller,
        owner_from: Option<&str>,
    ) -> Result<Option<Arc<Job>>, ApiError> {
        let principal = &caller.principal;
        let owner = match owner_from {
            Some(name) => Some(self.value(name).ok_or_else(|| missing(name))?),
            None => principal.owner(),
        };
        let may_see = |job: &Job| {
            owner.is_some() || principal.may_act_on(job.id().as_str(), job.origin.owner.as_deref())
        };
        for states in [&UNFINISHED[..], &[]] {
            let mut newest: Option<Arc<Job>> = None;
            for kind in self.route.view().kinds() {
                let filter = Filter {
                    states: states.to_vec(),
                    kind: Some(kind.clone()),
                    owner: owner.map(str::to_owned),
                    ..Filter::default()
                };
                let page = app.registry.list(&filter, may_see, None, 1).await?;
                let both = newest.into_iter().chain(page.jobs);
                newest = both.max_by_key(|job| job.origin.created_at);
            }
            if newest.is_some() {
                return Ok(newest);
            }
        }
        Ok(None)
    }

    /// The value of a name: in the path, else in the query.
    fn value(&self, name: &str) -> Option<&str> {
        let in_path = self.names.get(name).map(String::as_str);
        in_path.or_else(|| self.query.get(name).filter(|value| !value.is_empty()))
    }
}

fn is_absence(error: &ApiError) -> bool {
    matches!(error.code(), ErrorCode::JobNotFound | ErrorCode::JobGone)
}

fn missing(name: &str) -> ApiError {
    ApiError::invalid(name, "must not be missing")
}

/// Begins a job for the caller. Who may watch may begin, where the operator says so: that is what such a path is for.
async fn begin(
    app: &App,
    view: &View,
    principal: &Principal,
    last: Option<&Job>,
) -> Result<JobHandle, ApiError> {
    let owner = principal.may_create_for(None).map_err(|_| {
        ApiError::new(ErrorCode::Forbidden)
            .because("Work is begun for an owner, and this token has none")
    })?;
    let kind = &view.kinds()[0];
    let new_job = NewJob {
        kind: Some(kind.clone()),
        unit: app.runners.unit(kind).map(str::to_owned),
        ..NewJob::default()
    };
    let (job, is_new) = app.registry.begin(new_job, owner, last).await?;
    if is_new {
        app.runners.start(job.clone());
    }
    Ok(job)
}

/// Makes the feeds of all views, on whichever node comes first. One that cannot be made now is when it is asked for.
pub(crate) async fn create_feeds(registry: &Registry, views: &Views) {
    for view in views.iter() {
        for place in view.places() {
            let Pick::Feed(job_id) = place.pick() else {
                continue;
            };
            if let Err(error) = create_feed(registry, view, job_id).await {
                tracing::warn!(job.id = %job_id, view = view.name(), cause = error.message(), "a view's feed was not made");
            }
        }
    }
}

async fn create_feed(registry: &Registry, view: &View, job_id: &JobId) -> Result<(), ApiError> {
    let new_job = NewJob {
        job_id: Some(job_id.clone()),
        kind: view.kinds().first().cloned(),
        // Nobody need report for it to be well.
        lease_seconds: Some(0),
        is_feed: true,
        ..NewJob::default()
    };
    match registry.create(new_job, None, None, None).await {
        Ok(_) => Ok(()),
        // Somebody else has made it: a worker, or a node whose view names other kinds.
        Err(RegistryError::Exists) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
