//! What Retell serves beside creating calls: detail, listing, stopping, the account's lines.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};

use super::super::platform::{self, Call, Standing};
use super::{Retell, error, record};
use crate::clock;

type App = State<platform::App<Retell>>;

const NO_SUCH_CALL: &str = "Cannot find requested asset under given api key.";
/// Lines of a pay-as-you-go account.
const LINES: usize = 20;

pub fn router() -> Router<platform::App<Retell>> {
    Router::new()
        .route("/v2/create-phone-call", post(platform::create::<Retell>))
        .route("/v2/get-call/{id}", get(detail))
        .route("/v2/stop-call/{id}", post(stop))
        .route("/v3/list-calls", post(list))
        .route("/get-concurrency", get(concurrency))
}

async fn detail(State(shared): App, Path(id): Path<String>) -> Response {
    match shared.record(&id) {
        Some(record) => Json(record).into_response(),
        None => error(StatusCode::UNPROCESSABLE_ENTITY, NO_SUCH_CALL),
    }
}

async fn stop(State(shared): App, Path(id): Path<String>) -> Response {
    let mut calls = shared.calls();
    let Some(call) = calls.get(&id) else { return error(StatusCode::UNPROCESSABLE_ENTITY, NO_SUCH_CALL) };
    let can = match call.standing(clock::monotonic()) {
        Standing::Ringing => shared.vendor.stops_while_dialling,
        Standing::Talking => true,
        Standing::Ended(_) => false,
    };
    if can && calls.stop(&id) {
        return StatusCode::NO_CONTENT.into_response();
    }
    error(StatusCode::BAD_REQUEST, "The call is not ongoing.")
}

async fn concurrency(State(shared): App) -> Response {
    let limit = shared.options.max_live.unwrap_or(LINES);
    Json(json!({
        "current_concurrency": shared.calls().live(clock::monotonic()), "concurrency_limit": limit,
        "base_concurrency": limit, "purchased_concurrency": 0, "concurrency_purchase_limit": 100,
        "remaining_purchase_limit": 100, "concurrency_burst_enabled": false, "concurrency_burst_limit": 0,
        "reserved_inbound_concurrency": 0,
    }))
    .into_response()
}

/// Filters are ANDed; newest first unless `ascending`; paged by an opaque key.
async fn list(State(shared): App, body: Bytes) -> Response {
    let Ok(question) = serde_json::from_slice::<Value>(&body) else {
        return error(StatusCode::BAD_REQUEST, "Invalid request format, please check API reference.");
    };
    if let Some(failure) = shared.list_failure() {
        return failure;
    }
    let filters = match filters(&question) {
        Ok(filters) => filters,
        Err(problem) => return error(StatusCode::BAD_REQUEST, &problem),
    };
    let skip = match question.get("pagination_key").map(|key| key.as_str().and_then(from_key)) {
        None => question.get("skip").and_then(Value::as_u64).unwrap_or(0) as usize,
        Some(Some(skip)) => skip,
        Some(None) => return error(StatusCode::BAD_REQUEST, "pagination_key is not valid"),
    };
    let limit = question.get("limit").and_then(Value::as_u64).unwrap_or(50).clamp(1, 1000) as usize;
    let limit = limit.min(shared.options.page_cap);
    let now = clock::monotonic();
    let calls = shared.calls();
    let vendor = &shared.vendor;
    let shown =
        |call: &&Call| shared.is_listed(call, now) && filters.iter().all(|filter| filter.takes(call, now, vendor));
    let mut matching: Vec<&Call> = calls.to(None).filter(shown).collect();
    if question.get("sort_order").is_none_or(|order| order != "ascending") {
        matching.reverse();
    }
    let items: Vec<Value> =
        matching.iter().skip(skip).take(limit).map(|call| record::record(call, now, vendor, true)).collect();
    let next = skip + items.len();
    let has_more = next < matching.len();
    let mut answer = json!({ "items": items, "has_more": has_more });
    if has_more {
        answer["pagination_key"] = json!(format!("after_{next}"));
    }
    if question.get("include_total") == Some(&json!(true)) {
        answer["total"] = json!(matching.len());
    }
    Json(answer).into_response()
}

fn from_key(key: &str) -> Option<usize> {
    key.strip_prefix("after_")?.parse().ok()
}

enum Filter {
    Metadata { key: String, value: String },
    Text { field: &'static str, value: String },
    OneOf { field: &'static str, values: Vec<String> },
}

impl Filter {
    fn takes(&self, call: &Call, now: clock::Monotonic, vendor: &Retell) -> bool {
        let shown = record::record(call, now, vendor, true);
        match self {
            Filter::Metadata { key, value } => {
                let stands = shown.get("metadata").and_then(|metadata| metadata.get(key)).and_then(Value::as_str);
                vendor.filters_by_metadata && stands == Some(value.as_str())
            }
            Filter::Text { field, value } => shown[*field] == json!(value),
            Filter::OneOf { field, values } => values.iter().any(|value| shown[*field] == json!(value)),
        }
    }
}

fn filters(question: &Value) -> Result<Vec<Filter>, String> {
    let Some(criteria) = question.get("filter_criteria") else { return Ok(Vec::new()) };
    let criteria = criteria.as_object().ok_or("filter_criteria must be an object")?;
    let mut filters = Vec::new();
    for (name, filter) in criteria {
        match name.as_str() {
            "metadata" => {
                let list = filter.as_array().ok_or("metadata must be an array of filters")?;
                for filter in list {
                    let key = filter.get("key").and_then(Value::as_str).ok_or("a metadata filter needs a key")?;
                    filters.push(Filter::Metadata { key: key.to_owned(), value: text(name, filter)? });
                }
            }
            "to_number" => filters.push(Filter::Text { field: "to_number", value: text(name, filter)? }),
            "from_number" => filters.push(Filter::Text { field: "from_number", value: text(name, filter)? }),
            "call_id" => filters.push(Filter::Text { field: "call_id", value: text(name, filter)? }),
            "direction" => {
                filters.push(Filter::OneOf {
                    field: "direction",
                    values: one_of(name, filter, &["inbound", "outbound"])?,
                });
            }
            "call_status" => {
                let known = ["not_connected", "ongoing", "ended", "error"];
                filters.push(Filter::OneOf { field: "call_status", values: one_of(name, filter, &known)? });
            }
            other => return Err(format!("filter_criteria.{other} is not simulated")),
        }
    }
    Ok(filters)
}

fn text(name: &str, filter: &Value) -> Result<String, String> {
    let is_equality = filter.get("type") == Some(&json!("string")) && filter.get("op") == Some(&json!("eq"));
    match filter.get("value").and_then(Value::as_str) {
        Some(value) if is_equality => Ok(value.to_owned()),
        _ => Err(format!("filter_criteria.{name}: expected {{type: string, op: eq, value}}")),
    }
}

fn one_of(name: &str, filter: &Value, known: &[&str]) -> Result<Vec<String>, String> {
    let is_enum = filter.get("type") == Some(&json!("enum")) && filter.get("op") == Some(&json!("in"));
    let values = filter.get("value").and_then(Value::as_array).filter(|_| is_enum);
    let values: Option<Vec<String>> =
        values.map(|values| values.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    match values {
        Some(values) if values.iter().all(|value| known.contains(&value.as_str())) => Ok(values),
        _ => Err(format!("filter_criteria.{name}: expected {{type: enum, op: in, value: [{}]}}", known.join(", "))),
    }
}
