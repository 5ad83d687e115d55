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

use axum::{Router, middleware, routing::get};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use app::App;
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
    let api = OpenApiRouter::new()
        .routes(routes!(list::list, jobs::create::create)) // /jobs
        .routes(routes!(status::job, jobs::report, jobs::remove)) // /jobs/{id}
        .routes(routes!(status::status)) // /jobs/{id}/status
        .routes(routes!(streams::stream)) // /jobs/{id}/stream
        .routes(routes!(jobs::events)) // /jobs/{id}/events
        .routes(routes!(jobs::cancel)) // /jobs/{id}/cancel
        .routes(routes!(tickets::sell)) // /jobs/{id}/ticket
        .routes(routes!(results::page, results::append::append)) // /jobs/{id}/results
        .routes(routes!(results::download)) // /jobs/{id}/download
        .routes(routes!(reports::reports)) // /reports
        .routes(routes!(multi::stream)) // /stream
        .layer(middleware::from_fn(tickets::carry_cookie));
    let routes = OpenApiRouter::with_openapi(openapi::base())
        .nest("/api/v1", api)
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
    whole(views::mount(routes, &app.views), &app)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            origin::admit,
        ))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            envelope::seal,
        ))
        .layer(middleware::from_fn_with_state(app, origin::share))
}

/// The routes of `server.admin_listen`, all open: whoever reaches that address is an operator, by
/// whatever name of the host.
pub fn admin_router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/healthz", get(health::liveness))
        .route("/readyz", get(health::readiness))
        .route("/metrics", get(metrics::open_metrics));
    whole(routes, &app).layer(middleware::from_fn_with_state(app, envelope::seal))
}

/// What layers are put around, so that they see a router as one: its fallbacks, and the header
/// `Allow` that it adds itself, included.
fn whole(routes: Router<Arc<App>>, app: &Arc<App>) -> Router {
    let routes = routes
        .fallback(envelope::unknown_route)
        .method_not_allowed_fallback(envelope::wrong_method)
        .with_state(Arc::clone(app));
    Router::new().fallback_service(routes)
}

#[cfg(test)]
mod tests;
