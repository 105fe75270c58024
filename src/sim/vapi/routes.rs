//! What Vapi serves besides creating calls: listing, records, renaming, erasing, and the control address of a live call.

use std::collections::HashMap;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::super::platform::{self, Call};
use super::record::record;
use super::{Vapi, error};
use crate::clock;

type App = State<platform::App<Vapi>>;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

pub fn router() -> Router<platform::App<Vapi>> {
    Router::new()
        .route("/call", post(platform::create::<Vapi>).get(list))
        .route("/call/{id}", get(detail).patch(rename).delete(erase))
}

/// At the vendor's this is another host, which is told no key.
pub fn control() -> Router<platform::App<Vapi>> {
    Router::new().route("/control/{id}", post(command))
}

fn no_such_call() -> Response {
    error(StatusCode::NOT_FOUND, "Couldn't Find Call.")
}

async fn detail(State(shared): App, Path(id): Path<String>) -> Response {
    match shared.record(&id).filter(|_| !shared.vendor.is_deleted(&id)) {
        Some(record) => Json(record).into_response(),
        None => no_such_call(),
    }
}

async fn rename(State(shared): App, Path(id): Path<String>, Json(body): Json<Value>) -> Response {
    let name = body.get("name").and_then(Value::as_str).filter(|name| name.chars().count() <= 40);
    let Some(name) = name else {
        return error(StatusCode::BAD_REQUEST, "name must be shorter than or equal to 40 characters");
    };
    shared.vendor.seen().names.insert(id.clone(), name.to_owned());
    detail(State(shared), Path(id)).await
}

/// The call as it was when it was erased. Whether that ends a live call is not documented; here it goes on, unseen.
async fn erase(State(shared): App, Path(id): Path<String>) -> Response {
    match shared.record(&id) {
        Some(record) if shared.vendor.seen().deleted.insert(id) => Json(record).into_response(),
        _ => no_such_call(),
    }
}

async fn command(State(shared): App, Path(id): Path<String>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if headers.contains_key(AUTHORIZATION) {
        return error(StatusCode::BAD_REQUEST, "A key was sent to an address that asks for none.");
    }
    if body.get("type").is_none_or(|kind| kind != "end-call") {
        return error(StatusCode::BAD_REQUEST, "type is not a command that the simulator knows");
    }
    if shared.calls().stop(&id) { Json(json!({})).into_response() } else { no_such_call() }
}

/// All at once, newest first, without pages.
async fn list(State(shared): App, Query(query): Query<HashMap<String, String>>) -> Response {
    let filter = match Filter::of(&query) {
        Ok(filter) => filter,
        Err(problem) => return error(StatusCode::BAD_REQUEST, &problem),
    };
    if let Some(failure) = shared.list_failure() {
        return failure;
    }
    let now = clock::monotonic();
    let calls = shared.calls();
    let listed = calls.to(None).rev().filter(|call| shared.is_listed(call, now) && filter.takes(call));
    let listed = listed.filter(|call| !shared.vendor.is_deleted(&call.id));
    let rows: Vec<Value> =
        listed.take(filter.limit.min(shared.options.page_cap)).map(|call| record(&shared.vendor, call, now)).collect();
    Json(rows).into_response()
}

struct Filter {
    id: Option<String>,
    assistant_id: Option<String>,
    phone_number_id: Option<String>,
    after: Option<DateTime<Utc>>,
    before: Option<DateTime<Utc>>,
    at_or_after: Option<DateTime<Utc>>,
    at_or_before: Option<DateTime<Utc>>,
    limit: usize,
}

impl Filter {
    fn of(query: &HashMap<String, String>) -> Result<Self, String> {
        const KNOWN: &[&str] = &[
            "id",
            "assistantId",
            "phoneNumberId",
            "limit",
            "createdAtGt",
            "createdAtLt",
            "createdAtGe",
            "createdAtLe",
            "updatedAtGt",
            "updatedAtLt",
            "updatedAtGe",
            "updatedAtLe",
        ];
        if let Some(unknown) = query.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(format!("property {unknown} should not exist"));
        }
        let moment = |name: &str| match query.get(name) {
            None => Ok(None),
            Some(text) => match DateTime::parse_from_rfc3339(text) {
                Ok(at) => Ok(Some(at.with_timezone(&Utc))),
                Err(_) => Err(format!("{name} must be a valid ISO 8601 date string")),
            },
        };
        let limit = match query.get("limit").map(|limit| limit.parse::<usize>()) {
            None => DEFAULT_LIMIT,
            Some(Ok(limit)) if limit <= MAX_LIMIT => limit,
            Some(_) => return Err(format!("limit must not be greater than {MAX_LIMIT}")),
        };
        Ok(Self {
            id: query.get("id").cloned(),
            assistant_id: query.get("assistantId").cloned(),
            phone_number_id: query.get("phoneNumberId").cloned(),
            after: moment("createdAtGt")?,
            before: moment("createdAtLt")?,
            at_or_after: moment("createdAtGe")?,
            at_or_before: moment("createdAtLe")?,
            limit,
        })
    }

    /// Times are compared as they are shown: in milliseconds.
    fn takes(&self, call: &Call) -> bool {
        let made = call.created_at.timestamp_millis();
        let is = |wanted: &Option<String>, field: &str| wanted.as_ref().is_none_or(|wanted| wanted == call.text(field));
        self.id.as_ref().is_none_or(|id| *id == call.id)
            && is(&self.assistant_id, "assistantId")
            && is(&self.phone_number_id, "phoneNumberId")
            && self.after.is_none_or(|at| made > at.timestamp_millis())
            && self.before.is_none_or(|at| made < at.timestamp_millis())
            && self.at_or_after.is_none_or(|at| made >= at.timestamp_millis())
            && self.at_or_before.is_none_or(|at| made <= at.timestamp_millis())
    }
}
