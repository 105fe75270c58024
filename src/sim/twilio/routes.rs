//! The paths beside creating a call: the account, listings, a call, cancelling and completing.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, NaiveDate};
use http::StatusCode;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::super::platform::{self, Call, Standing};
use super::{ACCOUNT_SID, Twilio, error, no_such_resource, record};
use crate::clock;

type App = State<platform::App<Twilio>>;
type Filters = HashMap<String, String>;

pub fn router() -> Router<platform::App<Twilio>> {
    Router::new()
        .route("/2010-04-01/Accounts/{account}", get(account))
        .route("/2010-04-01/Accounts/{account}/Calls.json", get(list).post(platform::create::<Twilio>))
        .route("/2010-04-01/Accounts/{account}/Calls/{call}", get(detail).post(update).delete(delete))
}

async fn account(Path(file): Path<String>) -> Response {
    if file != format!("{ACCOUNT_SID}.json") {
        return no_such_resource();
    }
    Json(json!({ "sid": ACCOUNT_SID, "status": "active", "type": "Full", "friendly_name": "simulated" }))
        .into_response()
}

/// The call's SID, where the path is one of our account's.
fn sid(account: &str, file: &str) -> Option<String> {
    file.strip_suffix(".json").filter(|_| account == ACCOUNT_SID).map(str::to_owned)
}

async fn detail(State(shared): App, Path((account, file)): Path<(String, String)>) -> Response {
    match sid(&account, &file).and_then(|sid| shared.record(&sid)) {
        Some(call) => Json(call).into_response(),
        None => no_such_resource(),
    }
}

/// `canceled` takes back what nobody has answered and leaves the rest alone; `completed` hangs up.
async fn update(State(shared): App, Path((account, file)): Path<(String, String)>, body: Bytes) -> Response {
    let form: Filters = form_urlencoded::parse(&body).into_owned().collect();
    let Some(sid) = sid(&account, &file) else { return no_such_resource() };
    let Some(standing) = shared.calls().get(&sid).map(|call| call.standing(clock::monotonic())) else {
        return no_such_resource();
    };
    match (form.get("Status").map(String::as_str), standing) {
        (Some("canceled" | "completed"), Standing::Ended(_)) => {
            return error(StatusCode::BAD_REQUEST, 21220, "Call is not in-progress. Cannot redirect.");
        }
        (Some("canceled"), Standing::Talking) => {}
        (Some("canceled"), _) if shared.vendor.misses_cancel => {}
        (Some("canceled" | "completed"), _) => _ = shared.calls().stop(&sid),
        _ => return error(StatusCode::BAD_REQUEST, 20001, "Invalid parameter Status"),
    }
    shared.record(&sid).map_or_else(no_such_resource, |call| Json(call).into_response())
}

/// Records of calls that are over may go; this one forgets nothing.
async fn delete(State(shared): App, Path((account, file)): Path<(String, String)>) -> Response {
    match sid(&account, &file).filter(|sid| shared.calls().get(sid).is_some()) {
        Some(_) => StatusCode::NO_CONTENT.into_response(),
        None => no_such_resource(),
    }
}

/// Newest first, by pages. Dates are days in UTC, and a call that was never dialled has no `StartTime`.
async fn list(State(shared): App, Path(account): Path<String>, Query(query): Query<Filters>) -> Response {
    if account != ACCOUNT_SID {
        return no_such_resource();
    }
    if let Some(failure) = shared.list_failure() {
        return failure;
    }
    let number = |name: &str| query.get(name).map(|text| text.parse::<usize>());
    let (size, page) = match (number("PageSize").unwrap_or(Ok(50)), number("Page").unwrap_or(Ok(0))) {
        (Ok(size @ 1..=1000), Ok(page)) => (size.min(shared.options.page_cap).max(1), page),
        _ => return error(StatusCode::BAD_REQUEST, 20001, "Invalid page size or page"),
    };
    let now = clock::monotonic();
    let calls = shared.calls();
    let mut rows = Vec::new();
    for call in calls.to(query.get("To").map(String::as_str)).rev().filter(|call| shared.is_listed(call, now)) {
        match takes(&query, call, &record::resource(&shared.vendor, call, now)) {
            Ok(true) => rows.push(record::resource(&shared.vendor, call, now)),
            Ok(false) => {}
            Err(name) => return error(StatusCode::BAD_REQUEST, 20001, &format!("Invalid parameter {name}")),
        }
    }
    let total = rows.len();
    let start = page.saturating_mul(size).min(total);
    let rows: Vec<Value> = rows.into_iter().skip(start).take(size).collect();
    let end = start + rows.len();
    let uri = |page: usize| {
        let kept = query.iter().filter(|(name, _)| !matches!(name.as_str(), "Page" | "PageToken"));
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(kept).append_pair("Page", &page.to_string());
        if page > 0 {
            form.append_pair("PageToken", &format!("PA{page}"));
        }
        format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Calls.json?{}", form.finish())
    };
    Json(json!({
        "calls": rows, "page": page, "page_size": size, "start": start, "end": end.saturating_sub(1), "uri": uri(page),
        "first_page_uri": uri(0), "next_page_uri": (end < total).then(|| uri(page + 1)),
        "previous_page_uri": page.checked_sub(1).map(uri),
    }))
    .into_response()
}

/// `Err`: the filter that cannot be read.
fn takes(query: &Filters, call: &Call, row: &Value) -> Result<bool, String> {
    for (name, wanted) in query {
        let holds = match name.as_str() {
            "To" => true,
            "From" => call.text("From") == wanted,
            "Status" => row["status"] == json!(wanted),
            "ParentCallSid" => false,
            "StartTime" | "StartTime<" | "StartTime>" => on_day(&row["start_time"], name, wanted)?,
            "EndTime" | "EndTime<" | "EndTime>" => on_day(&row["end_time"], name, wanted)?,
            _ => true,
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

fn on_day(time: &Value, name: &str, wanted: &str) -> Result<bool, String> {
    // The vendor's SDK gives a date and a time, of which the day counts.
    let wanted = wanted.split('T').next().unwrap_or(wanted);
    let wanted: NaiveDate = wanted.parse().map_err(|_| name.to_owned())?;
    let Some(day) = time.as_str().and_then(|text| DateTime::parse_from_rfc2822(text).ok()) else { return Ok(false) };
    let day = day.date_naive();
    Ok(match name.as_bytes().last() {
        Some(b'<') => day <= wanted,
        Some(b'>') => day >= wanted,
        _ => day == wanted,
    })
}
