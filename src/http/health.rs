//! For the people who run it: liveness, readiness, metrics. No key is needed; keep the side port off the public net, or
//! route only `/webhooks/` and `/api/` to it.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::HttpState;
use crate::health::{Readiness, Report};

/// Liveness: the process answers. Never touches a dependency.
#[utoipa::path(get, path = "/healthz", tag = "running it", responses((status = 200, description = "It lives", body = String, content_type = "text/plain")))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Readiness, with each part's state. A platform that is away does not make `voxd` unready.
#[utoipa::path(get, path = "/readyz", tag = "running it", responses(
    (status = 200, description = "Ready", body = Report),
    (status = 503, description = "Postgres, or SQS for ten seconds, is away", body = Report),
))]
pub async fn readyz(State(state): State<HttpState>) -> Response {
    let report = state.health.report();
    let status = match report.status {
        Readiness::Ready => StatusCode::OK,
        Readiness::NotReady => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(report)).into_response()
}

/// Metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "running it", responses((status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain")))]
pub async fn metrics(State(state): State<HttpState>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render()).into_response()
}
