//! What ElevenLabs serves besides creating calls: conversations and their recordings.

use std::collections::HashMap;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::super::platform::{self, Call};
use super::record::{row, user_id};
use super::{ElevenLabs, coded, has_key, invalid, record, rules};
use crate::clock::{self, Monotonic};

type App = State<platform::App<ElevenLabs>>;

pub fn router() -> Router<platform::App<ElevenLabs>> {
    let mut router = Router::new()
        .route("/v1/convai/conversations", get(list))
        .route("/v1/convai/conversations/{id}", get(detail))
        .route("/v1/convai/conversations/{id}/audio", get(audio));
    for path in rules::CREATE_PATHS {
        router = router.route(path, post(platform::create::<ElevenLabs>));
    }
    router
}

fn unauthorized() -> Response {
    coded(StatusCode::UNAUTHORIZED, "invalid_api_key", "Invalid API key")
}

fn unknown(id: &str) -> Response {
    coded(StatusCode::NOT_FOUND, "conversation_not_found", &format!("Conversation {id} not found"))
}

async fn detail(State(shared): App, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if !has_key(&shared.options, &headers) {
        return unauthorized();
    }
    let now = clock::monotonic();
    let shown = shared.calls().get(&id).is_some_and(|call| is_shown(&shared.vendor, call, now));
    match shared.record(&id).filter(|_| shown) {
        Some(record) => Json(record).into_response(),
        None => unknown(&id),
    }
}

/// Newest first; paged by a cursor, which is the id of the last row.
async fn list(State(shared): App, headers: HeaderMap, Query(query): Query<HashMap<String, String>>) -> Response {
    if !has_key(&shared.options, &headers) {
        return unauthorized();
    }
    let mut problems = Vec::new();
    let mut number = |name: &str, least: i64, most: i64| -> Option<i64> {
        let text = query.get(name)?;
        let value = text.parse().ok().filter(|value| (least..=most).contains(value));
        if value.is_none() {
            problems.push(rules::Problem::new(
                &[name],
                "Input should be a valid integer within its bounds",
                "int_parsing",
            ));
        }
        value
    };
    let size = number("page_size", 1, 100).unwrap_or(30) as usize;
    let after = number("call_start_after_unix", 0, i64::MAX);
    let before = number("call_start_before_unix", 0, i64::MAX);
    if !problems.is_empty() {
        return invalid(&problems);
    }
    if let Some(failure) = shared.list_failure() {
        return failure;
    }
    let now = clock::monotonic();
    let calls = shared.calls();
    let filtered = |name: &str, value: &str| query.get(name).is_none_or(|wanted| wanted == value);
    let takes = |call: &&Call| {
        let start = call.created_at.timestamp();
        shared.is_listed(call, now)
            && is_shown(&shared.vendor, call, now)
            && filtered("user_id", user_id(call).unwrap_or_default())
            && filtered("agent_id", call.text("agent_id"))
            && after.is_none_or(|after| start >= after)
            && before.is_none_or(|before| start <= before)
    };
    let matching: Vec<&Call> = calls.to(None).rev().filter(takes).collect();
    let begin = match query.get("cursor") {
        None => 0,
        Some(cursor) => matching.iter().position(|call| call.id == *cursor).map_or(matching.len(), |index| index + 1),
    };
    let page: Vec<&Call> = matching.iter().skip(begin).take(size.min(shared.options.page_cap)).copied().collect();
    let has_more = begin + page.len() < matching.len();
    let rows: Vec<Value> = page.iter().map(|call| row(call, now)).collect();
    let next_cursor = page.last().filter(|_| has_more).map(|call| &call.id);
    Json(json!({ "conversations": rows, "next_cursor": next_cursor, "has_more": has_more })).into_response()
}

async fn audio(State(shared): App, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if !has_key(&shared.options, &headers) {
        return unauthorized();
    }
    let has_audio = shared.record(&id).is_some_and(|record| record["has_audio"] == true);
    match has_audio {
        // A single frame of silence.
        true => ([(header::CONTENT_TYPE, "audio/mpeg")], vec![0xff, 0xfb, 0x10, 0xc4]).into_response(),
        false => unknown(&id),
    }
}

fn is_shown(vendor: &ElevenLabs, call: &Call, now: Monotonic) -> bool {
    vendor.lists_unanswered || call.ended(now).is_none_or(|end| !record::is_failure(&end))
}
