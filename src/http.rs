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
mod metrics;
mod permit;
mod policy;
mod query;
mod reports;
mod results;
mod status;
mod streams;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post},
};

pub use app::App;
pub use error::{ApiError, ErrorCode};
pub use metrics::Metrics;
pub use policy::Policy;

/// Every route, on one screen; `/metrics` only when there is no other address for it.
pub fn router(app: Arc<App>) -> Router {
    let api = Router::new()
        .route("/jobs", get(jobs::list).post(jobs::create))
        .route(
            "/jobs/{id}",
            get(status::status).patch(jobs::report).delete(jobs::remove),
        )
        .route("/jobs/{id}/status", get(status::status))
        .route("/jobs/{id}/stream", get(streams::stream))
        .route("/jobs/{id}/events", post(jobs::events))
        .route("/jobs/{id}/cancel", post(jobs::cancel))
        .route("/jobs/{id}/results", get(results::page))
        .route("/jobs/{id}/download", get(results::download))
        .route("/reports", post(reports::reports));
    let routes = Router::new()
        .nest("/api/v1", api)
        .route("/healthz", get(health::liveness))
        .route("/readyz", get(health::readiness));
    let routes = if app.has_admin_listener {
        routes
    } else {
        routes.route("/metrics", get(metrics::metrics))
    };
    sealed(routes, app)
}

/// The routes of `server.admin_listen`, all open: whoever reaches that address is an operator.
pub fn admin_router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/healthz", get(health::liveness))
        .route("/readyz", get(health::readiness))
        .route("/metrics", get(metrics::open_metrics));
    sealed(routes, app)
}

/// The envelope around a whole router rather than each route, so that every answer leaves in it,
/// and so that `Allow`, which the router itself adds, can be read.
fn sealed(routes: Router<Arc<App>>, app: Arc<App>) -> Router {
    let routes = routes
        .fallback(envelope::unknown_route)
        .method_not_allowed_fallback(envelope::wrong_method)
        .with_state(Arc::clone(&app));
    Router::new()
        .fallback_service(routes)
        .layer(middleware::from_fn_with_state(app, envelope::seal))
}
