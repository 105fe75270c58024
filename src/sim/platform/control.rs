//! The simulator's own paths, for tests and people: they are no vendor's, need no key and are not in the journal.
//!
//! `GET /_voxd/` a page for browsers, a table for `curl` · `GET /_voxd/journal[?from=SEQ]` · `POST /_voxd/scripts {"number", "script"}` or `{"number", "scripts": […]}` (an empty
//! list takes the setting back) · `GET /_voxd/scripts` the table by last digits · `GET /_voxd/calls` all records ·
//! `GET /_voxd/peaks` · `POST /_voxd/webhook {"url"}` for calls that bring no address · `POST /_voxd/lists {"health"}`.

use std::collections::HashMap;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::kernel::{App, ListHealth};
use super::{Script, Vendor, page};
use crate::clock;

pub fn router<V: Vendor>() -> Router<App<V>> {
    Router::new()
        .route("/_voxd/", get(page::page::<V>))
        .route("/_voxd/journal", get(journal::<V>))
        .route("/_voxd/scripts", get(table).post(set::<V>))
        .route("/_voxd/calls", get(calls::<V>))
        .route("/_voxd/peaks", get(peaks::<V>))
        .route("/_voxd/webhook", post(webhook::<V>))
        .route("/_voxd/lists", post(lists::<V>))
}

async fn journal<V: Vendor>(State(shared): State<App<V>>, Query(query): Query<HashMap<String, String>>) -> Response {
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

async fn set<V: Vendor>(State(shared): State<App<V>>, Json(set): Json<Set>) -> StatusCode {
    let scripts = set.script.into_iter().chain(set.scripts).collect();
    shared.scripts.set(&set.number, scripts);
    StatusCode::NO_CONTENT
}

async fn table() -> Response {
    let rows = Script::table().map(|(digits, script)| (digits.to_owned(), json!(script)));
    Json(Value::Object(rows.collect())).into_response()
}

async fn calls<V: Vendor>(State(shared): State<App<V>>) -> Response {
    let now = clock::monotonic();
    let records: Vec<Value> = shared.calls().to(None).map(|call| shared.vendor.record(call, now)).collect();
    Json(records).into_response()
}

async fn peaks<V: Vendor>(State(shared): State<App<V>>) -> Response {
    Json(shared.calls().peaks()).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountWebhook {
    url: Option<String>,
}

async fn webhook<V: Vendor>(State(shared): State<App<V>>, Json(body): Json<AccountWebhook>) -> StatusCode {
    shared.set_account_webhook(body.url);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists {
    health: ListHealth,
}

async fn lists<V: Vendor>(State(shared): State<App<V>>, Json(body): Json<Lists>) -> StatusCode {
    shared.set_list_health(body.health);
    StatusCode::NO_CONTENT
}
