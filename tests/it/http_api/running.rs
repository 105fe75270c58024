//! Liveness, readiness, metrics, the pages, and the server's limits.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use voxd::health::{Part, Status};

use super::{Side, reply};
use crate::harness::database;

#[tokio::test]
async fn liveness_touches_nothing_and_readiness_tells_each_part() {
    let side = Side::with("postgres://nobody@127.0.0.1:1/none", &[]).await;
    let get = |path: &'static str| reply(side.request(Method::GET, path, None));
    assert_eq!(get("/healthz").await.status, 200);
    assert_eq!(get("/readyz").await.status, 200);
    side.health.set(Part::Platform("bland_ai".into()), Status::Down, "401");
    let ready = get("/readyz").await;
    let platforms = json!({ "bland_ai": { "status": "down", "detail": "401" } });
    assert_eq!(ready.status, 200, "a platform never counts");
    assert_eq!(
        ready.json(),
        json!({ "status": "ready", "parts": { "postgres": { "status": "up", "detail": "" }, "platforms": platforms } })
    );
    side.health.set(Part::Postgres, Status::Down, "refused");
    let unready = get("/readyz").await;
    assert_eq!((unready.status.as_u16(), unready.json()["status"].clone()), (503, json!("not_ready")));
    assert_eq!(get("/healthz").await.status, 200);
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_never_by_address() {
    let side = Side::start().await;
    let get = |path: &'static str| reply(side.request(Method::GET, path, None));
    get("/api/calls/11111111-1111-7111-8111-111111111111/").await;
    get("/made/up").await;
    let text = get("/metrics").await.text;
    let has = |part: &str| assert!(text.contains(part), "{part} is not in:\n{text}");
    has("voxd_http_requests_total{route=\"/api/calls/{id}/\",method=\"GET\",status=\"401\"}");
    has("voxd_http_requests_total{route=\"none\",method=\"GET\",status=\"404\"}");
    has("voxd_build_info{");
    assert!(!text.contains("11111111-1111") && !text.contains("/made/up"));
}

#[tokio::test]
async fn a_replica_without_the_role_http_can_be_watched_and_nothing_else() {
    let side = Side::with(&database().await, &[("VOXD_WORKER__ROLES", "worker")]).await;
    for (path, status) in
        [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/api/calls/", 404), ("/docs", 404), ("/", 404)]
    {
        assert_eq!(reply(side.request(Method::GET, path, None)).await.status, status, "{path}");
    }
    assert_eq!(reply(side.request(Method::POST, "/webhooks/bland_ai", None)).await.status, 404);
}

#[tokio::test]
async fn the_pages_are_whole_in_themselves() {
    let side = Side::start().await;
    for path in ["/", "/docs"] {
        let page = reply(side.request(Method::GET, path, None)).await;
        assert_eq!(page.status, 200);
        assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
        assert!(page.text.contains("openapi.json"), "{path}");
    }
}

async fn raw(side: &Side) -> TcpStream {
    TcpStream::connect(side.base.trim_start_matches("http://")).await.unwrap()
}

/// What the server sends until it closes.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut text)).await;
    let _ = read.expect("the server closes the connection");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_client_that_never_ends_its_headers_is_let_go() {
    let side = Side::with(&database().await, &[("VOXD_HTTP__HEADER_TIMEOUT", "200ms")]).await;
    let mut stream = raw(&side).await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    until_closed(&mut stream).await;
}

#[tokio::test]
async fn a_client_that_never_ends_its_body_is_told_so() {
    let side = Side::with(&database().await, &[("VOXD_HTTP__REQUEST_TIMEOUT", "200ms")]).await;
    let mut stream = raw(&side).await;
    stream.write_all(b"POST /webhooks/bland_ai HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf").await.unwrap();
    let answer = until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("it was not done within 200ms"), "{answer}");
}

#[tokio::test]
async fn beyond_the_limit_connections_wait_and_are_then_served() {
    let side = Side::with(&database().await, &[("VOXD_HTTP__MAX_CONNECTIONS", "1")]).await;
    let ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut first = raw(&side).await;
    first.write_all(ask).await.unwrap();
    let mut head = [0; 15];
    first.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let mut second = raw(&side).await;
    second.write_all(ask).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(300), second.read_exact(&mut head)).await;
    assert!(waited.is_err(), "the one place is taken");
    drop(first);
    tokio::time::timeout(Duration::from_secs(30), second.read_exact(&mut head)).await.expect("served").unwrap();
}

#[tokio::test]
async fn at_the_stop_idle_connections_close_and_a_running_request_ends() {
    let side = Side::start().await;
    let mut idle = raw(&side).await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    idle.read_exact(&mut head).await.unwrap();
    let mut running = raw(&side).await;
    let request = b"POST /webhooks/bland_ai HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    running.write_all(request).await.unwrap();
    // The server says so when the handler begins to read the body.
    let mut going_on = [0; 25];
    running.read_exact(&mut going_on).await.unwrap();
    assert_eq!(&going_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    side.lifecycle.begin_shutdown();
    until_closed(&mut idle).await;
    running.write_all(b"{}").await.unwrap();
    let answer = until_closed(&mut running).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(side.lifecycle.drain(Duration::from_secs(30)).await, "nothing is left over");
}
