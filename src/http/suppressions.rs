//! The do-not-call list.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::HttpState;
use super::auth::{Caller, Operators};
use super::calls::check_text;
use super::errors::{Kind, Problem};
use super::input::{self, CallId, Name, Query, no_such_call};
use crate::call::{FieldError, PhoneNumber};
use crate::store::read::Numbers;
use crate::store::suppressions::{BATCH, Suppressed, Suppressing, Suppression};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SuppressionList {
    items: Vec<Suppression>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Lists the numbers that are not called, newest first. Numbers are masked unless `reveal=1`.
#[utoipa::path(get, path = "/api/suppressions/", operation_id = "list_suppressions", tag = "do not call", params(
        ("number" = Option<String>, Query, description = "Only this one, E.164 (`%2B` for the plus)"),
        ("reveal" = Option<u8>, Query, description = "`1`: numbers whole"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 where absent"),
    ), responses((status = 200, description = "One page", body = SuppressionList)), security(("key" = [])))]
pub async fn list(
    caller: Caller<Operators>,
    State(state): State<HttpState>,
    mut query: Query,
) -> Result<Json<SuppressionList>, Problem> {
    let number = match query.text("number").map(|text| PhoneNumber::parse(&text)) {
        Some(Err(problem)) => {
            query.wrong("number", &problem);
            None
        }
        other => other.and_then(Result::ok),
    };
    let (reveal, before, limit) = (query.flag("reveal"), query.cursor(), query.limit());
    query.end()?;
    if reveal {
        tracing::info!(by = %caller.as_source(), "numbers of the do-not-call list shown");
    }
    let numbers = if reveal { Numbers::Full } else { Numbers::Masked };
    let rows = state.store.list_suppressions(number.as_ref(), before, limit + 1, numbers).await?;
    let (items, next_cursor) = input::page(rows, limit, |row| input::encode_cursor(row.at, row.id));
    Ok(Json(SuppressionList { items, next_cursor }))
}

/// Numbers that are not to be called any more.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SuppressRequest {
    /// E.164, 1 to 500 of them.
    #[schema(min_items = 1, max_items = 500)]
    numbers: Vec<String>,
    /// Kept with each number.
    #[schema(min_length = 1, max_length = 500)]
    because: String,
    /// When it holds no more; absent: for good.
    #[serde(default)]
    expires_at: Option<DateTime<Utc>>,
}

/// What it led to.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SuppressedNumbers {
    /// Numbers that were not on the list before, or not for so long.
    changed: u64,
    /// Calls that were queued for them, cancelled with the reason `do_not_call`.
    cancelled_calls: Vec<Uuid>,
}

impl From<Suppressed> for SuppressedNumbers {
    fn from(suppressed: Suppressed) -> Self {
        Self { changed: suppressed.changed, cancelled_calls: suppressed.cancelled }
    }
}

/// Puts numbers on the do-not-call list and cancels what is queued for them, in one transaction. A repeat changes nothing.
#[utoipa::path(post, path = "/api/suppressions/", operation_id = "suppress_numbers", tag = "do not call", request_body = SuppressRequest,
    responses(
        (status = 200, description = "They are on the list", body = SuppressedNumbers),
        (status = 422, description = "`errors` names the fields"),
    ), security(("key" = [])))]
pub async fn add(
    caller: Caller<Operators>,
    State(state): State<HttpState>,
    body: input::Json,
) -> Result<Json<SuppressedNumbers>, Problem> {
    let request: SuppressRequest = body.read()?;
    check_text("/because", &request.because)?;
    if request.numbers.is_empty() || request.numbers.len() > BATCH {
        let problem = format!("has {} items, expected 1 to {BATCH}", request.numbers.len());
        return Err(Problem::invalid(vec![FieldError::new("/numbers", problem)]));
    }
    let (mut numbers, mut problems) = (Vec::new(), Vec::new());
    for (n, text) in request.numbers.iter().enumerate() {
        match PhoneNumber::parse(text) {
            Ok(number) => numbers.push(number),
            Err(problem) => problems.push(FieldError::new(format!("/numbers/{n}"), problem)),
        }
    }
    if !problems.is_empty() {
        return Err(Problem::invalid(problems));
    }
    let who = caller.as_source();
    let why = Suppressing { source: "api", because: &request.because, who: &who, expires_at: request.expires_at };
    let suppressed = state.store.suppress(&numbers, &why).await?;
    let (changed, cancelled) = (suppressed.changed, suppressed.cancelled.len());
    tracing::info!(by = %who, numbers = numbers.len(), changed, cancelled, "numbers suppressed");
    Ok(Json(suppressed.into()))
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Unsuppressed {
    removed: bool,
}

/// Takes a number off the do-not-call list. Calls that were cancelled stay so.
#[utoipa::path(delete, path = "/api/suppressions/{number}/", operation_id = "unsuppress_number", tag = "do not call", params(
        ("number" = String, Path, description = "E.164"),
        ("because" = String, Query, description = "Why, for the record; 1 to 500 characters"),
    ), responses(
        (status = 200, description = "It is off the list", body = Unsuppressed),
        (status = 404, description = "It was not on it"),
    ), security(("key" = [])))]
pub async fn remove(
    caller: Caller<Operators>,
    State(state): State<HttpState>,
    Name(text): Name,
    mut query: Query,
) -> Result<Json<Unsuppressed>, Problem> {
    let because = query.text("because");
    if because.is_none() {
        query.wrong("because", "is missing, expected why the number may be called again");
    }
    query.end()?;
    let because = because.unwrap_or_default();
    check_text("/because", &because)?;
    let not_listed = || Problem::new(Kind::NotFound, "the number is not on the do-not-call list");
    let number = PhoneNumber::parse(&text).map_err(|_| not_listed())?;
    let who = caller.as_source();
    if !state.store.unsuppress(&number, "api", &who, &because).await? {
        return Err(not_listed());
    }
    tracing::info!(by = %who, number = %number, "number taken off the do-not-call list");
    Ok(Json(Unsuppressed { removed: true }))
}

/// Body of a suppression by call.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SuppressCallRequest {
    #[schema(min_length = 1, max_length = 500)]
    because: String,
}

/// Puts a call's number on the do-not-call list and cancels every call that is queued for it, this one included. A live call
/// goes on: cancel it to end it.
#[utoipa::path(post, path = "/api/calls/{id}/suppress/", operation_id = "suppress_number_of_call", tag = "calls", params(("id" = Uuid, Path)),
    request_body = SuppressCallRequest,
    responses(
        (status = 200, description = "The number is on the list", body = SuppressedNumbers),
        (status = 404, description = "No such call"),
        (status = 422, description = "`errors` names the fields"),
    ), security(("key" = [])))]
pub async fn of_call(
    caller: Caller<Operators>,
    State(state): State<HttpState>,
    CallId(id): CallId,
    body: input::Json,
) -> Result<Json<SuppressedNumbers>, Problem> {
    let request: SuppressCallRequest = body.read()?;
    check_text("/because", &request.because)?;
    let who = caller.as_source();
    let why = Suppressing { source: "api", because: &request.because, who: &who, expires_at: None };
    let suppressed = state.store.suppress_number_of(id, &why).await?.ok_or_else(|| no_such_call(&id))?;
    tracing::info!(call_id = %id, by = %who, cancelled = suppressed.cancelled.len(), "number suppressed");
    Ok(Json(suppressed.into()))
}
