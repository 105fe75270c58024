//! The HTTP side: connections, the AWS JSON 1.0 protocol, and the control paths under `/_voxd/`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::error::ApiError;
use super::service::{Outcome, Service, operation};
use crate::clock;
use crate::lifecycle::Lifecycle;

/// A batch of 1 MiB whose every character is escaped to six still fits.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
const AWS_JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");

type Reply = Response<Full<Bytes>>;

/// By order the connection is closed instead of answered.
#[derive(Debug)]
struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection dropped by order")
    }
}

impl std::error::Error for Dropped {}

/// Accepts connections until the lifecycle stops.
pub(super) async fn accept(listener: TcpListener, service: Arc<Service>, lifecycle: Lifecycle) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = lifecycle.stopping() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                service.stats.connection();
                let (service, life) = (service.clone(), lifecycle.clone());
                lifecycle.spawn(connection(stream, service, life));
            }
            // Out of file descriptors, most likely: wait for some to be closed.
            Err(_) => clock::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Serves one connection. A client that goes away has its running request dropped with it.
async fn connection(stream: TcpStream, service: Arc<Service>, lifecycle: Lifecycle) {
    let _ = stream.set_nodelay(true);
    let serve = hyper::service::service_fn(|request| answer(request, &service));
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = lifecycle.stopping() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = lifecycle.aborted() => {}
    }
}

async fn answer(request: Request<Incoming>, service: &Service) -> Result<Reply, Dropped> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, Vec::new())),
        Err(_) => return Err(Dropped),
    };
    if let Some(path) = head.uri.path().strip_prefix("/_voxd/") {
        return Ok(control(service, &head.method, path, &body));
    }
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let operation = match operation(header("x-amz-target")) {
        Ok(operation) => operation,
        Err(error) => return Ok(refusal(&error)),
    };
    let host = header(HOST.as_str()).unwrap_or("localhost");
    match service.handle(operation, &body, host).await {
        Outcome::Answered(body) => Ok(reply(StatusCode::OK, body)),
        Outcome::Refused(error) => Ok(refusal(&error)),
        Outcome::Dropped => Err(Dropped),
    }
}

fn reply(status: StatusCode, body: Vec<u8>) -> Reply {
    static REQUESTS: AtomicU64 = AtomicU64::new(1);
    let number = REQUESTS.fetch_add(1, Relaxed);
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, AWS_JSON);
    let id = format!("{:08x}-0000-4000-8000-{:012x}", number >> 48, number & 0xffff_ffff_ffff);
    if let Ok(id) = HeaderValue::try_from(id) {
        reply.headers_mut().insert("x-amzn-requestid", id);
    }
    reply
}

fn refusal(error: &ApiError) -> Reply {
    let status = StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = reply(status, error.body());
    if let Ok(header) = HeaderValue::try_from(error.query_header()) {
        reply.headers_mut().insert("x-amzn-query-error", header);
    }
    reply
}

fn plain(status: StatusCode, body: Vec<u8>) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// `GET`/`DELETE stats`, `GET`/`PUT`/`DELETE faults`.
fn control(service: &Service, method: &Method, path: &str, body: &[u8]) -> Reply {
    let json = |value: Result<Vec<u8>, serde_json::Error>| match value {
        Ok(body) => plain(StatusCode::OK, body),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into_bytes()),
    };
    match (method, path) {
        (&Method::GET, "stats") => json(serde_json::to_vec(&service.stats.report())),
        (&Method::DELETE, "stats") => {
            service.stats.reset();
            plain(StatusCode::NO_CONTENT, Vec::new())
        }
        (&Method::GET, "faults") => json(serde_json::to_vec(&service.faults.get())),
        (&Method::PUT, "faults") => match serde_json::from_slice(body) {
            Ok(faults) => {
                service.faults.set(faults);
                plain(StatusCode::NO_CONTENT, Vec::new())
            }
            Err(error) => {
                let problem = serde_json::json!({ "title": "not a list of faults", "detail": error.to_string() });
                plain(StatusCode::BAD_REQUEST, problem.to_string().into_bytes())
            }
        },
        (&Method::DELETE, "faults") => {
            service.faults.set(super::Faults::default());
            plain(StatusCode::NO_CONTENT, Vec::new())
        }
        _ => plain(StatusCode::NOT_FOUND, Vec::new()),
    }
}
