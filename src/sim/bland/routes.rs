//! What Bland serves besides creating calls: listings, records, stopping, recordings, webhooks again.

use std::collections::HashMap;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, NaiveDate, Utc};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::super::platform::{self, Call, Phase, play};
use super::record::row;
use super::{Bland, error};
use crate::clock;

type App = State<platform::App<Bland>>;

pub fn router() -> Router<platform::App<Bland>> {
    Router::new()
        .route("/v1/calls", post(platform::create::<Bland>).get(list))
        .route("/v1/calls/active", get(active))
        .route("/v1/calls/{id}", get(detail))
        .route("/v1/calls/{id}/stop", post(stop))
        .route("/v1/recordings/{id}", get(recording))
        .route("/v1/postcall/webhooks/{id}", get(webhook_log))
        .route("/v1/postcall/webhooks/resend", post(resend))
        .route("/v1/postcall/webhooks/create", post(resend))
}

async fn detail(State(shared): App, Path(id): Path<String>) -> Response {
    match shared.record(&id) {
        Some(record) => Json(record).into_response(),
        None => error(StatusCode::NOT_FOUND, "Call not found.", &[]),
    }
}

/// Newest first unless `ascending`; paged by index (`from` inclusive, `to` exclusive, `limit`).
async fn list(State(shared): App, Query(query): Query<HashMap<String, String>>) -> Response {
    let filter = match Filter::of(&query) {
        Ok(filter) => filter,
        Err(problem) => return error(StatusCode::BAD_REQUEST, &problem, &[]),
    };
    if let Some(failure) = shared.list_failure() {
        return failure;
    }
    let now = clock::monotonic();
    let calls = shared.calls();
    let listed = |call: &&Call| shared.is_listed(call, now) && filter.takes(call, now);
    let matching: Vec<&Call> = match filter.ascending {
        true => calls.to(filter.to_number.as_deref()).filter(listed).collect(),
        false => calls.to(filter.to_number.as_deref()).rev().filter(listed).collect(),
    };
    let size = filter.size.min(shared.options.page_cap);
    let page = matching.iter().skip(filter.from).take(size);
    let rows: Vec<Value> = page.map(|call| row(call, now, shared.vendor.rows_without_country)).collect();
    let mut body = json!({ "count": rows.len(), "calls": rows });
    if shared.vendor.show_total {
        body["total_count"] = json!(matching.len());
    }
    Json(body).into_response()
}

struct Filter {
    to_number: Option<String>,
    from_number: Option<String>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    completed: Option<bool>,
    inbound: Option<bool>,
    answered_by: Option<String>,
    ascending: bool,
    from: usize,
    size: usize,
}

impl Filter {
    fn of(query: &HashMap<String, String>) -> Result<Self, String> {
        let index = |name: &str| match query.get(name) {
            None => Ok(None),
            Some(text) => text.parse::<usize>().map(Some).map_err(|_| format!("{name} must be a number")),
        };
        let boolean = |name: &str| query.get(name).map(|text| text == "true");
        let moment =
            |name: &str| query.get(name).map(|text| parse_moment(text).ok_or(format!("{name} must be a date")));
        let from = index("from")?.unwrap_or(0);
        let by_range = index("to")?.map_or(usize::MAX, |to| to.saturating_sub(from));
        Ok(Self {
            // Both spellings of an exact number; anything else matches nothing.
            to_number: query.get("to_number").map(|number| format!("+{}", number.trim_start_matches('+'))),
            from_number: query.get("from_number").cloned(),
            since: moment("start_date").transpose()?,
            until: moment("end_date").transpose()?,
            completed: boolean("completed"),
            inbound: boolean("inbound"),
            answered_by: query.get("answered_by").cloned(),
            ascending: boolean("ascending").unwrap_or(false),
            from,
            size: index("limit")?.unwrap_or(1000).min(by_range),
        })
    }

    fn takes(&self, call: &Call, now: clock::Monotonic) -> bool {
        let row = || row(call, now, false);
        self.since.is_none_or(|since| call.created_at >= since)
            && self.until.is_none_or(|until| call.created_at <= until)
            && self.inbound != Some(true)
            && self.completed.is_none_or(|completed| call.is_over(now) == completed)
            && self.from_number.as_ref().is_none_or(|from| row()["from"] == json!(from))
            && self.answered_by.as_ref().is_none_or(|by| row()["answered_by"] == json!(by))
    }
}

/// A date, or a date and time with offset.
fn parse_moment(text: &str) -> Option<DateTime<Utc>> {
    let date = || Some(text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc());
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.with_timezone(&Utc)).or_else(date)
}

async fn active(State(shared): App, headers: HeaderMap) -> Response {
    if shared.vendor.require_org_id && !headers.contains_key("x-bland-org-id") {
        return error(StatusCode::BAD_REQUEST, "x-bland-org-id is required.", &[]);
    }
    let now = clock::monotonic();
    let calls = shared.calls();
    let rows = calls.to(None).filter(|call| !call.is_over(now)).map(|call| {
        let status = if call.playback.phase(now) == Phase::Ringing { "QUEUED" } else { "IN_PROGRESS" };
        let row = row(call, now, false);
        json!({
            "call_id": call.id, "user_id": "simulated", "to": row["to"], "from": row["from"], "pathway_id": null,
            "objective": call.request.fields.get("task"), "start_time": row["started_at"], "international": "false",
            "status": status, "timestamp": call.created_at.timestamp_millis().to_string(),
        })
    });
    Json(json!({ "data": rows.collect::<Vec<_>>(), "errors": null })).into_response()
}

async fn stop(State(shared): App, Path(id): Path<String>) -> Response {
    if shared.calls().stop(&id) {
        return Json(json!({ "status": "success", "message": "Call ended successfully." })).into_response();
    }
    error(StatusCode::BAD_REQUEST, &format!("SID not found for call {id}"), &[])
}

async fn recording(State(shared): App, Path(id): Path<String>) -> Response {
    let recorded = shared.record(&id).is_some_and(|record| record.get("recording_url").is_some());
    if !recorded {
        let body =
            json!({ "data": null, "errors": [{ "error": "CALL_RECORDING_NOT_FOUND", "message": "Not found." }] });
        return (StatusCode::NOT_FOUND, Json(body)).into_response();
    }
    ([(header::CONTENT_TYPE, "audio/wav")], silent_wav()).into_response()
}

/// A tenth of a second of silence, PCM16 mono at 8 kHz.
fn silent_wav() -> Vec<u8> {
    let data_bytes = 1600u32;
    let mut wav = Vec::with_capacity(44 + data_bytes as usize);
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + data_bytes).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt ");
    wav.extend_from_slice(&16u32.to_le_bytes());
    wav.extend_from_slice(&1u16.to_le_bytes());
    wav.extend_from_slice(&1u16.to_le_bytes());
    wav.extend_from_slice(&8000u32.to_le_bytes());
    wav.extend_from_slice(&16000u32.to_le_bytes());
    wav.extend_from_slice(&2u16.to_le_bytes());
    wav.extend_from_slice(&16u16.to_le_bytes());
    wav.extend_from_slice(b"data");
    wav.extend_from_slice(&data_bytes.to_le_bytes());
    wav.resize(44 + data_bytes as usize, 0);
    wav
}

async fn webhook_log(State(shared): App, Path(id): Path<String>) -> Response {
    match shared.calls().get(&id) {
        Some(call) => {
            let delivery = |delivery: &platform::Delivery| json!({ "sent_at": delivery.sent_at, "response_code": delivery.response_code, "send_type": "spawn" });
            let sent: Vec<Value> = call.deliveries.iter().map(delivery).collect();
            Json(json!({ "data": { "metadata": sent }, "errors": null })).into_response()
        }
        None => error(StatusCode::NOT_FOUND, "Call not found.", &[]),
    }
}

/// `resend {call_ids[]}` and `create {call_ids[], webhook_url}`.
async fn resend(State(shared): App, Json(body): Json<Value>) -> Response {
    let Some(ids) = body.get("call_ids").and_then(Value::as_array) else {
        return error(StatusCode::BAD_REQUEST, "call_ids is required.", &[]);
    };
    let to = body.get("webhook_url").and_then(Value::as_str);
    for id in ids.iter().filter_map(Value::as_str) {
        play::resend(&shared, id, to).await;
    }
    Json(json!({ "data": { "message": "Webhooks sent." }, "errors": null })).into_response()
}
