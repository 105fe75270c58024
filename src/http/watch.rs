//! Around every request: its time limit, its metrics, and an answer even where a handler panics.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Uri};

use super::errors::{Kind, Problem};
use crate::clock;
use crate::telemetry::metrics;

/// The address as the client wrote it, before [`one_spelling`].
#[derive(Debug, Clone)]
pub struct AsCalled(pub Uri);

/// All paths work with and without a trailing slash: those of the API are served with one, all others without.
pub fn one_spelling(mut request: Request) -> Request {
    let called = request.uri().clone();
    let path = called.path();
    let bare = path.trim_end_matches('/');
    let wanted = match bare {
        "" => "/".to_owned(),
        bare if bare.starts_with("/api/") || bare.starts_with("/ws/") => format!("{bare}/"),
        bare => bare.to_owned(),
    };
    if wanted != path {
        let path_and_query = called.query().map_or(wanted.clone(), |query| format!("{wanted}?{query}"));
        if let Ok(uri) = path_and_query.parse() {
            *request.uri_mut() = uri;
        }
    }
    request.extensions_mut().insert(AsCalled(called));
    request
}

pub async fn watch(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    let begun = clock::monotonic();
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let is_api = route.starts_with("/api/");
    let handled = AssertUnwindSafe(tokio::time::timeout(limit, next.run(request))).catch_unwind().await;
    let mut response = match handled {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            let detail = format!("it was not done within {}", crate::config::duration::format(limit));
            Problem::new(Kind::Timeout, detail).into_response()
        }
        Err(_) => {
            tracing::error!(route, method, "the handler panicked");
            Problem::new(Kind::Internal, "an unexpected failure; the log says more").into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_api {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    let took = clock::monotonic() - begun;
    let status = response.status();
    metrics::HTTP_REQUESTS.inc([route, method, status.as_str()]);
    metrics::HTTP_REQUEST.record([route, method], took);
    tracing::debug!(route, method, status = status.as_u16(), took_ms = took.as_millis() as u64, "http request");
    response
}

/// A client may make up methods; labels are a closed set.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt(path: &str) -> String {
        let request = one_spelling(Request::get(path).body(axum::body::Body::empty()).unwrap());
        assert_eq!(request.extensions().get::<AsCalled>().unwrap().0, path);
        request.uri().to_string()
    }

    #[tokio::test]
    async fn a_panic_and_a_handler_without_end_become_problems() {
        use axum::routing::get;
        use tower::ServiceExt as _;
        async fn broken() -> &'static str {
            panic!("as ordered")
        }
        let limit = Duration::from_millis(10);
        let router = axum::Router::new()
            .route("/panic", get(broken))
            .route("/hang", get(std::future::pending::<()>))
            .layer(axum::middleware::from_fn_with_state(limit, watch));
        for (path, status) in [("/panic", 500), ("/hang", 408)] {
            let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{path}");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
    }

    #[test]
    fn each_path_has_one_spelling_inside() {
        for (called, inside) in [
            ("/", "/"),
            ("/healthz/", "/healthz"),
            ("/healthz", "/healthz"),
            ("/webhooks/bland_ai/?a=b", "/webhooks/bland_ai?a=b"),
            ("/api/calls", "/api/calls/"),
            ("/api/calls/?status=x", "/api/calls/?status=x"),
            ("/api/calls?status=x", "/api/calls/?status=x"),
            ("/api/calls//", "/api/calls/"),
        ] {
            assert_eq!(spelt(called), inside, "{called}");
        }
    }
}
