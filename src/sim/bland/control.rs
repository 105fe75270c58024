//! The simulator's own paths, for tests and people: they are not Bland's, need no key and are not in the journal.
//!
//! `GET /_voxd/journal[?from=SEQ]` · `POST /_voxd/scripts {"number", "script"}` or `{"number", "scripts": […]}` (an empty
//! list takes the setting back) · `GET /_voxd/scripts` the table by last digits · `GET /_voxd/calls` all records.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::platform::Script;
use super::Shared;
use crate::clock;

pub fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_voxd/journal", get(journal))
        .route("/_voxd/scripts", get(table).post(set))
        .route("/_voxd/calls", get(calls))
}

async fn journal(State(shared): State<Arc<Shared>>, Query(query): Query<HashMap<String, String>>) -> Response {
    let from = query.get("from").and_then(|from| from.parse().ok()).unwrap_or(0);
    Json(shared.journal.entries_from(from)).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    number: String,
    #[serde(default)]
    script: Option<Script>,
    #[serde(default)]
    scripts: Vec<Script>,
}

async fn set(State(shared): State<Arc<Shared>>, Json(set): Json<Set>) -> StatusCode {
    let scripts = set.script.into_iter().chain(set.scripts).collect();
    shared.scripts.set(&set.number, scripts);
    StatusCode::NO_CONTENT
}

async fn table() -> Response {
    let rows = Script::table().map(|(digits, script)| (digits.to_owned(), json!(script)));
    Json(Value::Object(rows.collect())).into_response()
}

async fn calls(State(shared): State<Arc<Shared>>) -> Response {
    let now = clock::monotonic();
    let records: Vec<Value> = shared.calls().to(None).map(|call| call.record(now)).collect();
    Json(records).into_response()
}
