//! HTTP: routes, thin handlers, the error envelope, and the connections below them.
//!
//! A handler extracts, asks the registry, and answers. Permission is a type: a handler that
//! needs a scope takes a `Permit` of it and cannot be reached without.

mod accept;
mod app;
mod asset;
mod body;
mod client;
mod client_module;
pub mod connection;
mod credentials;
mod dashboard;
mod entrance;
mod envelope;
mod error;
mod health;
mod jobs;
mod limits;
mod list;
mod metrics;
mod multi;
mod ndjson;
pub mod openapi;
mod origin;
mod passes;
mod permit;
mod policy;
mod query;
mod reports;
mod results;
mod status;
mod streams;
mod tickets;
mod views;

use std::sync::Arc;

use axum::{
    Router,
    middleware::{self, Next},
    routing::get,
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use app::App;
use entrance::Entrance;
pub use error::{ApiError, ErrorCode};
pub(crate) use limits::FORGET_INTERVAL;
pub use limits::Usage;
pub use metrics::Metrics;
pub use origin::Origins;
pub use passes::Passes;
pub use policy::Policy;
pub(crate) use views::create_feeds;

/// Every route, on one screen; each path stands at its handlers too, with the description.
fn routes(has_metrics: bool) -> OpenApiRouter<Arc<App>> {
    let routes = OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(list::list, jobs::create::create)) // /api/v1/jobs
        .routes(routes!(status::job, jobs::report, jobs::remove)) // /api/v1/jobs/{id}
        .routes(routes!(status::status)) // /api/v1/jobs/{id}/status
        .routes(routes!(streams::stream)) // /api/v1/jobs/{id}/stream
        .routes(routes!(jobs::events)) // /api/v1/jobs/{id}/events
        .routes(routes!(jobs::cancel)) // /api/v1/jobs/{id}/cancel
        .routes(routes!(tickets::sell)) // /api/v1/jobs/{id}/ticket
        .routes(routes!(results::page, results::append::append)) // /api/v1/jobs/{id}/results
        .routes(routes!(results::download)) // /api/v1/jobs/{id}/download
        .routes(routes!(reports::reports)) // /api/v1/reports
        .routes(routes!(multi::stream)) // /api/v1/stream
        .routes(routes!(dashboard::page)) // /
        .routes(routes!(dashboard::file)) // /assets/{file}
        .routes(routes!(client_module::module)) // /client.js
        .routes(routes!(health::liveness)) // /healthz
        .routes(routes!(health::readiness)) // /readyz
        .routes(routes!(openapi::json)) // /openapi.json
        .routes(routes!(openapi::page::page)) // /docs
        .routes(routes!(openapi::page::file)); // /docs/{file}
    if has_metrics {
        routes.routes(routes!(metrics::metrics)) // /metrics
    } else {
        routes
    }
}

/// The server as a service; `/metrics` is not there when operators have an address of their own.
pub fn router(app: Arc<App>) -> Router {
    let (routes, _) = routes(!app.has_admin_listener).split_for_parts();
    let routes = whole(views::mount(routes, &app.views), &app);
    Router::new().fallback_service(Entrance::new(app, routes))
}

/// The routes of `server.admin_listen`, all open: whoever reaches that address is an operator, by
/// whatever name of the host.
pub fn admin_router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/healthz", get(health::liveness))
        .route("/readyz", get(health::readiness))
        .route("/metrics", get(metrics::open_metrics));
    let routes = whole(routes, &app);
    let seal = move |request, next: Next| {
        let app = Arc::clone(&app);
        async move { envelope::seal(&app.metrics, request, |request| next.run(request)).await }
    };
    Router::new()
        .fallback_service(routes)
        .layer(middleware::from_fn(seal))
}

/// Routes with their fallbacks: what is put around them sees them as one.
fn whole(routes: Router<Arc<App>>, app: &Arc<App>) -> Router {
    routes
        .fallback(envelope::unknown_route)
        .method_not_allowed_fallback(envelope::wrong_method)
        .with_state(Arc::clone(app))
}

#[cfg(test)]
mod tests;
