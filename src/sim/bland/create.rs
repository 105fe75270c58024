//! `POST /v1/calls`: checked, then answered as the number's script says.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Extension;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::platform::{Answer, Connection, EntryId, Script, WebhookFault};
use super::{Shared, error, play, rules};
use crate::clock;

pub async fn create(
    State(shared): State<Arc<Shared>>,
    Extension(entry): Extension<EntryId>,
    Extension(connection): Extension<Connection>,
    body: Bytes,
) -> Response {
    let request = match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Object(request)) => request,
        _ => return refuse(&shared, entry, "not_json", error(StatusCode::BAD_REQUEST, "Invalid request body.", &[])),
    };
    let ours = |name: &str| {
        let id = request.get("metadata").and_then(|metadata| metadata.get(name)).and_then(Value::as_str);
        id.and_then(|id| Uuid::try_parse(id).ok())
    };
    let number = request.get("phone_number").and_then(Value::as_str).unwrap_or_default().to_owned();
    shared.journal.note(entry, |entry| {
        entry.attempt_id = ours("voxd_attempt_id");
        entry.call_id = ours("voxd_call_id");
        entry.number = Some(number.clone());
    });
    let problems = rules::problems(&request);
    if let Some(first) = problems.first() {
        let answer = error(StatusCode::BAD_REQUEST, first, &problems);
        return refuse(&shared, entry, "invalid_request", answer);
    }
    wait(&shared).await;
    if too_soon(&shared, &number) {
        let text = "You have already called the same phone number within the last 10 seconds.";
        return refuse(&shared, entry, "same_number", error(StatusCode::TOO_MANY_REQUESTS, text, &[]));
    }
    let script = shared.scripts.next(&number);
    shared.journal.note(entry, |entry| entry.played = Some(script.answer.name()));
    let id = if script.answer.makes_call() { Some(make(&shared, entry, request, &script).await) } else { None };
    answer(&shared, script.answer, id.as_deref().unwrap_or_default(), &connection).await
}

fn refuse(shared: &Shared, entry: EntryId, why: &str, answer: Response) -> Response {
    shared.journal.note(entry, |entry| entry.played = Some(why.to_owned()));
    answer
}

async fn wait(shared: &Shared) {
    let number = shared.creates.fetch_add(1, Ordering::Relaxed) + 1;
    let latency = match shared.options.slow_every {
        Some((every, latency)) if every > 0 && number.is_multiple_of(every) => latency,
        _ => shared.options.latency,
    };
    if !latency.is_zero() {
        clock::sleep(latency).await;
    }
}

fn too_soon(shared: &Shared, number: &str) -> bool {
    let Some(window) = shared.options.same_number_window else { return false };
    let last = shared.calls().last_to(number);
    last.is_some_and(|last| clock::monotonic().saturating_duration_since(last) < window)
}

async fn make(shared: &Arc<Shared>, entry: EntryId, request: Map<String, Value>, script: &Script) -> String {
    let id = shared.calls().add(request, script.clone(), shared.options.time_scale);
    shared.journal.note(entry, |entry| entry.created = Some(id.clone()));
    let course = play::course(shared.clone(), id.clone());
    if script.webhook == WebhookFault::BeforeAnswer {
        course.await;
    } else {
        let life = shared.lifecycle.clone();
        shared.lifecycle.spawn(async move {
            tokio::select! { () = course => {}, () = life.stopping() => {} }
        });
    }
    id
}

async fn answer(shared: &Shared, answer: Answer, id: &str, connection: &Connection) -> Response {
    use StatusCode as S;
    match answer {
        Answer::Accepted => success(id),
        Answer::Slow => {
            clock::sleep(shared.options.slow).await;
            success(id)
        }
        Answer::InvalidNumber => error(S::BAD_REQUEST, "Invalid phone number.", &[]),
        Answer::DoNotCall => {
            let body = json!({ "status": "DNC Error", "message": "This number is on the do not call list." });
            (S::BAD_REQUEST, Json(body)).into_response()
        }
        Answer::Blacklisted => error(S::TOO_MANY_REQUESTS, "This phone number has been blacklisted.", &[]),
        Answer::RateLimited => error(S::TOO_MANY_REQUESTS, "Rate limit exceeded.", &[]),
        Answer::RateLimitedWithWait => {
            let mut response = error(S::TOO_MANY_REQUESTS, "Rate limit exceeded.", &[]);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            response
        }
        Answer::PaymentRequired => error(S::PAYMENT_REQUIRED, "Insufficient balance.", &[]),
        Answer::AccountBlocked => error(S::FORBIDDEN, "Your account has been flagged.", &[]),
        Answer::AgentNotFound => error(S::NOT_FOUND, "Pathway not found.", &[]),
        Answer::PermanentServerError => error(S::INTERNAL_SERVER_ERROR, "Invalid encrypted_key.", &[]),
        Answer::ProxyPage => (S::NOT_FOUND, "<html><body>404 Not Found</body></html>").into_response(),
        Answer::ServerErrorBefore | Answer::ServerErrorAfter => {
            error(S::INTERNAL_SERVER_ERROR, "An unexpected error occurred.", &[])
        }
        Answer::GatewayTimeoutAfter => (S::GATEWAY_TIMEOUT, "<html>504 Gateway Time-out</html>").into_response(),
        Answer::HangBefore | Answer::HangAfter => std::future::pending().await,
        Answer::ResetBefore | Answer::ResetAfter => match connection.reset().await {},
        Answer::CutOffAfter => cut_off(id),
        Answer::NoIdAfter => {
            (S::OK, Json(json!({ "status": "success", "message": "Call successfully queued." }))).into_response()
        }
        Answer::Redirect => {
            let elsewhere = [(header::LOCATION, HeaderValue::from_static("/v1/elsewhere"))];
            (S::TEMPORARY_REDIRECT, elsewhere).into_response()
        }
        Answer::AmbiguousBefore | Answer::AmbiguousAfter => error(S::BAD_REQUEST, "Unable to queue call.", &[]),
        Answer::OverlongAfter => {
            let body = json!({ "padding": "x".repeat(300 * 1024), "status": "success", "call_id": id });
            (S::OK, Json(body)).into_response()
        }
    }
}

fn success(id: &str) -> Response {
    let body = json!({ "status": "success", "message": "Call successfully queued.", "call_id": id, "batch_id": null });
    (StatusCode::OK, Json(body)).into_response()
}

/// Half of a success; then the connection ends.
fn cut_off(id: &str) -> Response {
    let whole = json!({ "status": "success", "call_id": id }).to_string();
    let half = Bytes::copy_from_slice(&whole.as_bytes()[..whole.len() / 2]);
    let body = Body::from_stream(stream::iter([Ok(half), Err(std::io::Error::other("cut off by the script"))]));
    let length = HeaderValue::from(whole.len());
    ([(header::CONTENT_LENGTH, length)], body).into_response()
}
