//! Of the owner's Twilio account what concerns calls: listing, detail, hanging up (twilio-oai of 2026-04).

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::super::platform::{self, Call, End, Outcome, Standing};
use super::{ACCOUNT_SID, AUTH_TOKEN, ElevenLabs};
use crate::clock::{self, Monotonic};

type App = State<platform::App<ElevenLabs>>;

pub fn router() -> Router<platform::App<ElevenLabs>> {
    Router::new()
        .route("/2010-04-01/Accounts/{account}/Calls.json", get(list))
        .route("/2010-04-01/Accounts/{account}/Calls/{call}", get(detail).post(update))
}

/// Twilio's id of the call.
pub fn sid(call: &Call) -> String {
    format!("CA{:032x}", call.seq)
}

pub fn is_owner(headers: &HeaderMap) -> bool {
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{ACCOUNT_SID}:{AUTH_TOKEN}")));
    headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) == Some(expected.as_str())
}

/// Twilio's word for how the line ended.
pub fn ended_as(end: &End) -> &'static str {
    match end.outcome {
        None => "canceled",
        Some(outcome) if outcome.is_answered() => "completed",
        Some(Outcome::Busy) => "busy",
        Some(Outcome::NoAnswer) => "no-answer",
        Some(_) => "failed",
    }
}

fn status(call: &Call, now: Monotonic) -> &'static str {
    match call.standing(now) {
        Standing::Ringing => "ringing",
        Standing::Talking => "in-progress",
        Standing::Ended(end) => ended_as(&end),
    }
}

fn resource(call: &Call, now: Monotonic) -> Value {
    let stamp = |at: DateTime<Utc>| at.to_rfc2822();
    let end = call.ended(now);
    json!({
        "sid": sid(call), "account_sid": ACCOUNT_SID, "to": call.text("to_number"), "from": "+14155550199",
        "direction": "outbound-api", "status": status(call, now), "date_created": stamp(call.created_at),
        "start_time": stamp(call.created_at), "end_time": end.map(|end| stamp(call.ended_at(&end))),
        "duration": end.map(|end| end.talked.as_secs().to_string()), "price": null, "price_unit": "USD",
    })
}

fn error(status: StatusCode, code: u32, message: &str) -> Response {
    let body = json!({ "code": code, "message": message, "status": status.as_u16(), "more_info": format!("https://www.twilio.com/docs/errors/{code}") });
    (status, Json(body)).into_response()
}

fn not_the_owner() -> Response {
    error(StatusCode::UNAUTHORIZED, 20003, "Authenticate")
}

fn unknown() -> Response {
    error(StatusCode::NOT_FOUND, 20404, "The requested resource was not found")
}

/// Newest first; pages by `Page`.
async fn list(
    State(shared): App,
    Path(account): Path<String>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    if !is_owner(&headers) || account != ACCOUNT_SID {
        return not_the_owner();
    }
    if let Some(failure) = shared.list_failure() {
        return failure;
    }
    let now = clock::monotonic();
    let number = |name: &str, default: usize| query.get(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (page, size) = (number("Page", 0), number("PageSize", 50).clamp(1, 1000).min(shared.options.page_cap));
    let since = query.get("StartTime>").cloned();
    let calls = shared.calls();
    let takes = |call: &&Call| {
        let day = call.created_at.format("%Y-%m-%d").to_string();
        shared.is_listed(call, now)
            && query.get("Status").is_none_or(|wanted| wanted == status(call, now))
            && since.as_ref().is_none_or(|since| day >= *since)
    };
    let matching: Vec<&Call> = calls.to(query.get("To").map(String::as_str)).rev().filter(takes).collect();
    let rows: Vec<Value> = matching.iter().skip(page * size).take(size).map(|call| resource(call, now)).collect();
    let next = ((page + 1) * size < matching.len()).then(|| {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(query.iter().filter(|(name, _)| *name != "Page"));
        form.append_pair("Page", &(page + 1).to_string());
        format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Calls.json?{}", form.finish())
    });
    Json(json!({ "calls": rows, "page": page, "page_size": size, "next_page_uri": next })).into_response()
}

async fn detail(State(shared): App, Path((account, call)): Path<(String, String)>, headers: HeaderMap) -> Response {
    if !is_owner(&headers) || account != ACCOUNT_SID {
        return not_the_owner();
    }
    let now = clock::monotonic();
    let calls = shared.calls();
    let found = calls.to(None).find(|known| format!("{}.json", sid(known)) == call);
    found.map_or_else(unknown, |call| Json(resource(call, now)).into_response())
}

async fn update(
    State(shared): App,
    Path((account, call)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !is_owner(&headers) || account != ACCOUNT_SID {
        return not_the_owner();
    }
    let wanted = url::form_urlencoded::parse(&body).find(|(name, _)| name == "Status").map(|(_, value)| value);
    if !matches!(wanted.as_deref(), Some("completed" | "canceled")) {
        return error(StatusCode::BAD_REQUEST, 20001, "Status must be completed or canceled");
    }
    let mut calls = shared.calls();
    let Some(id) = calls.to(None).find(|known| format!("{}.json", sid(known)) == call).map(|call| call.id.clone())
    else {
        return unknown();
    };
    if !calls.stop(&id) {
        return error(StatusCode::BAD_REQUEST, 21220, "Call is not in-progress. Cannot redirect.");
    }
    let now = clock::monotonic();
    calls.get(&id).map_or_else(unknown, |call| Json(resource(call, now)).into_response())
}
