//! Liveness and readiness: open to everybody, names and `ok` or `failed` only.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

use super::{App, openapi::operations as op};

/// Liveness
///
/// The process answers.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "getLiveness",
    tag = "server",
    params(op::Liveness),
    responses(op::Liveness)
)]
pub(super) async fn liveness() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Readiness
///
/// The server can do its work; 503 while it cannot, or is shutting down.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "getReadiness",
    tag = "server",
    params(op::Readiness),
    responses(op::Readiness)
)]
pub(super) async fn readiness(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let word = |is_ok: bool| if is_ok { "ok" } else { "failed" };
    let store = app.registry.ping().await;
    if let Err(error) = &store {
        tracing::warn!(%error, "not ready: the store does not answer");
    }
    let is_open = !app.registry.is_draining();
    let is_ready = store.is_ok() && is_open;
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({
        "status": word(is_ready),
        "checks": {"store": word(store.is_ok()), "accepting": word(is_open)},
    });
    (status, Json(body))
}
