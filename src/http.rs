//! HTTP: routes, thin handlers, the error envelope, and the connections below them.
//!
//! A handler extracts, asks the registry, and answers. Permission is a type: a handler that
//! needs a scope takes a `Permit` of it and cannot be reached without.

mod app;
mod body;
pub mod connection;
mod envelope;
mod error;
mod health;
mod jobs;
pub mod openapi;
mod permit;
mod policy;
mod query;
mod reports;
mod results;
mod status;
mod streams;

use std::sync::Arc;

use axum::{Router, middleware};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use app::App;
pub use error::{ApiError, ErrorCode};
pub use policy::Policy;

/// Every route, on one screen; each path stands at its handlers too, with the description.
fn routes() -> OpenApiRouter<Arc<App>> {
    let api = OpenApiRouter::new()
        .routes(routes!(jobs::list, jobs::create)) // /jobs
        .routes(routes!(status::job, jobs::report, jobs::remove)) // /jobs/{id}
        .routes(routes!(status::status)) // /jobs/{id}/status
        .routes(routes!(streams::stream)) // /jobs/{id}/stream
        .routes(routes!(jobs::events)) // /jobs/{id}/events
        .routes(routes!(jobs::cancel)) // /jobs/{id}/cancel
        .routes(routes!(results::page)) // /jobs/{id}/results
        .routes(routes!(results::download)) // /jobs/{id}/download
        .routes(routes!(reports::reports)); // /reports
    OpenApiRouter::with_openapi(openapi::base())
        .nest("/api/v1", api)
        .routes(routes!(health::liveness)) // /healthz
        .routes(routes!(health::readiness)) // /readyz
        .routes(routes!(openapi::json)) // /openapi.json
        .routes(routes!(openapi::page::page)) // /docs
        .routes(routes!(openapi::page::file)) // /docs/{file}
}

/// The server as a service.
pub fn router(app: Arc<App>) -> Router {
    let (routes, _) = routes().split_for_parts();
    let routes = routes
        .fallback(envelope::unknown_route)
        .method_not_allowed_fallback(envelope::wrong_method)
        .with_state(app);
    // Around the whole router rather than each route, so that every answer leaves in the
    // envelope, and so that `Allow`, which the router itself adds, can be read.
    Router::new()
        .fallback_service(routes)
        .layer(middleware::from_fn(envelope::seal))
}
