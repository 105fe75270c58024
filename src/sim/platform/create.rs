//! A create request: checked by the vendor's rules, then answered as the number's script says.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::kernel::{App, Shared};
use super::{Answer, Connection, CreateRequest, EntryId, Script, Vendor, WebhookFault, play};
use crate::clock;

/// The handler of the vendor's create address.
pub async fn create<V: Vendor>(
    State(shared): State<App<V>>,
    Extension(entry): Extension<EntryId>,
    Extension(connection): Extension<Connection>,
    uri: http::Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let read = shared.vendor.read_create(&shared.options, path, &headers, &body);
    let (request, refusal) = match read {
        Ok(request) => (request, None),
        Err((request, refusal)) => (request, Some(refusal)),
    };
    shared.journal.note(entry, |entry| {
        entry.attempt_id = request.attempt_id;
        entry.call_id = request.call_id;
        entry.number = Some(request.number.clone());
    });
    if let Some(refusal) = refusal {
        shared.journal.note(entry, |entry| entry.played = Some(refusal.why.to_owned()));
        return refusal.answer;
    }
    let latency = shared.next_latency();
    if !latency.is_zero() {
        clock::sleep(latency).await;
    }
    if let Some((why, refusal)) = over_limit(&shared, &request.number) {
        shared.journal.note(entry, |entry| entry.played = Some(why.to_owned()));
        return refusal;
    }
    let mut script = shared.scripts.next(&request.number);
    if !plays(&shared.vendor, script.answer) {
        script.answer = Answer::Accepted;
    }
    shared.journal.note(entry, |entry| entry.played = Some(script.answer.name()));
    let id = if script.answer.makes_call() { Some(make(&shared, entry, request, &script).await) } else { None };
    answer(&shared, script.answer, id.as_deref(), &connection).await
}

fn over_limit<V: Vendor>(shared: &Shared<V>, number: &str) -> Option<(&'static str, Response)> {
    let now = clock::monotonic();
    let calls = shared.calls();
    if let Some(window) = shared.options.same_number_window
        && calls.last_to(number).is_some_and(|last| now.saturating_duration_since(last) < window)
        && let Some(answer) = shared.vendor.answer(Answer::SameNumber, None)
    {
        return Some(("same_number", answer));
    }
    if shared.options.max_live.is_some_and(|most| calls.live(now) >= most)
        && let Some(answer) = shared.vendor.answer(Answer::RateLimited, None)
    {
        return Some(("max_live", answer));
    }
    None
}

async fn make<V: Vendor>(shared: &App<V>, entry: EntryId, request: CreateRequest, script: &Script) -> String {
    let id = shared.vendor.new_id();
    shared.calls().add(id.clone(), request, script.clone(), shared.options.time_scale);
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

/// Whether a vendor can answer so: in its own words, or as any server can.
pub(super) fn plays<V: Vendor>(vendor: &V, answer: Answer) -> bool {
    !is_vendors_own(answer) || vendor.answer(answer, None).is_some()
}

fn is_vendors_own(answer: Answer) -> bool {
    use Answer::*;
    matches!(
        answer,
        InvalidNumber
            | DoNotCall
            | Blacklisted
            | SameNumber
            | RateLimited
            | RateLimitedWithWait
            | PaymentRequired
            | AccountBlocked
            | AgentNotFound
            | PermanentServerError
            | AmbiguousBefore
            | AmbiguousAfter
            | SaysNo
    )
}

async fn answer<V: Vendor>(shared: &Arc<Shared<V>>, answer: Answer, id: Option<&str>, on: &Connection) -> Response {
    use StatusCode as S;
    let call = id.and_then(|id| shared.calls().get(id).cloned());
    let vendors = |answer| shared.vendor.answer(answer, call.as_ref());
    let accepted = || vendors(Answer::Accepted).unwrap_or_else(|| S::NOT_IMPLEMENTED.into_response());
    match answer {
        Answer::Slow => {
            clock::sleep(shared.options.slow).await;
            accepted()
        }
        Answer::ProxyPage => (S::NOT_FOUND, "<html><body>404 Not Found</body></html>").into_response(),
        Answer::ServerErrorBefore | Answer::ServerErrorAfter => vendors(answer)
            .unwrap_or_else(|| (S::INTERNAL_SERVER_ERROR, "An unexpected error occurred.").into_response()),
        Answer::GatewayTimeoutAfter => (S::GATEWAY_TIMEOUT, "<html>504 Gateway Time-out</html>").into_response(),
        Answer::HangBefore | Answer::HangAfter => std::future::pending().await,
        Answer::ResetBefore | Answer::ResetAfter => match on.reset().await {},
        Answer::CutOffAfter => cut_off(accepted()).await,
        Answer::OverlongAfter => overlong(accepted()).await,
        Answer::NoIdAfter => {
            let body = serde_json::json!({ "message": "Accepted." });
            vendors(answer).unwrap_or_else(|| (S::OK, axum::Json(body)).into_response())
        }
        Answer::Redirect => {
            let elsewhere = [(header::LOCATION, HeaderValue::from_static("/elsewhere"))];
            (S::TEMPORARY_REDIRECT, elsewhere).into_response()
        }
        _ => vendors(answer).unwrap_or_else(|| S::NOT_IMPLEMENTED.into_response()),
    }
}

/// Half of it; then the connection ends.
async fn cut_off(whole: Response) -> Response {
    let (mut parts, body) = whole.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let half = bytes.slice(..bytes.len() / 2);
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let cut = stream::iter([Ok(half), Err(std::io::Error::other("cut off by the script"))]);
    Response::from_parts(parts, Body::from_stream(cut))
}

/// The same after 300 KiB of white space, which JSON allows.
async fn overlong(whole: Response) -> Response {
    let (mut parts, body) = whole.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let padded = [" ".repeat(300 * 1024).as_bytes(), &bytes].concat();
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(padded))
}
