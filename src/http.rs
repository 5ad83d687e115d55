//! HTTP: routes, thin handlers, the error envelope, and the connections below them.
//!
//! A handler extracts, asks the registry, and answers. Permission is a type: a handler that
//! needs a scope takes a `Permit` of it and cannot be reached without.

mod app;
mod body;
mod client;
pub mod connection;
mod credentials;
mod envelope;
mod error;
mod health;
mod jobs;
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

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post},
};

pub use app::App;
pub use error::{ApiError, ErrorCode};
pub use origin::Origins;
pub use passes::Passes;
pub use policy::Policy;

/// Every route, on one screen.
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
        .route("/jobs/{id}/ticket", post(tickets::sell))
        .route("/jobs/{id}/results", get(results::page))
        .route("/jobs/{id}/download", get(results::download))
        .route("/reports", post(reports::reports))
        .layer(middleware::from_fn(tickets::carry_cookie));
    let routes = Router::new()
        .nest("/api/v1", api)
        .route("/healthz", get(health::liveness))
        .route("/readyz", get(health::readiness))
        .fallback(envelope::unknown_route)
        .method_not_allowed_fallback(envelope::wrong_method)
        .with_state(app.clone());
    // Around the whole router rather than each route, so that every answer leaves in the
    // envelope, and so that `Allow`, which the router itself adds, can be read.
    Router::new()
        .fallback_service(routes)
        .layer(middleware::from_fn_with_state(app.clone(), origin::admit))
        .layer(middleware::from_fn(envelope::seal))
        .layer(middleware::from_fn_with_state(app, origin::share))
}
