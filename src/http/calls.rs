//! Calls, as an operator looks at them and decides about them.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::HttpState;
use super::auth::{Caller, Operators, OperatorsAndServices};
use super::errors::{Kind, Problem};
use super::input::{self, CallId, OptionalJson, Query, no_such_call};
use crate::call::{CallStatus, FieldError};
use crate::clock;
use crate::delivery::policy;
use crate::store::operator::{CallName, Cancelled, SettleAs, Settled};
use crate::store::read::{Call, CallFilter, Numbers};
use crate::store::retry_now::RetriedNow;
use crate::story::{self, CallDetail};

const MAX_REASON_CHARS: usize = 500;
/// Each doubles the alternatives that are searched (text or number).
const MAX_METADATA_FILTERS: usize = 4;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CallList {
    items: Vec<Call>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Lists calls, newest first. Phone numbers are masked.
#[utoipa::path(get, path = "/api/calls/", operation_id = "list_calls", tag = "calls", params(
        ("status" = Option<Vec<CallStatus>>, Query, style = Form, explode = false, description = "Any of these; commas between, or several times"),
        ("platform" = Option<String>, Query, description = "Of the next or the latest attempt"),
        ("lead_id" = Option<String>, Query),
        ("metadata.KEY" = Option<String>, Query, description = "Metadata has this value, as text or as number; up to four, e.g. `metadata.campaign_id=123`"),
        ("created_after" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Inclusive, RFC 3339"),
        ("created_before" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Exclusive, RFC 3339"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 where absent"),
    ), responses((status = 200, description = "One page", body = CallList)), security(("key" = [])))]
pub async fn list(
    _: Caller<OperatorsAndServices>,
    State(state): State<HttpState>,
    mut query: Query,
) -> Result<Json<CallList>, Problem> {
    let limit = query.limit();
    let filter = CallFilter {
        statuses: query.list("status"),
        platform: query.text("platform"),
        lead_id: query.text("lead_id"),
        metadata: metadata_filter(&mut query),
        created_after: query.time("created_after"),
        created_before: query.time("created_before"),
        before: query.cursor(),
        limit: limit + 1,
    };
    query.end()?;
    let calls = state.store.list_calls(&filter, Numbers::Masked).await?;
    let (items, next_cursor) = input::page(calls, limit, |call| input::encode_cursor(call.created_at, call.id));
    Ok(Json(CallList { items, next_cursor }))
}

/// The objects of which one must be contained. A query's value is text; what stands in the ledger may be a number or a
/// truth value of the same spelling.
fn metadata_filter(query: &mut Query) -> Option<Vec<Value>> {
    let pairs = query.prefixed("metadata");
    if pairs.len() > MAX_METADATA_FILTERS {
        query.wrong("metadata", &format!("is given for {} keys, expected at most {MAX_METADATA_FILTERS}", pairs.len()));
        return None;
    }
    let mut alternatives = vec![json!({})];
    for (key, text) in &pairs {
        let typed = serde_json::from_str::<Value>(text).ok().filter(|value| value.is_number() || value.is_boolean());
        let values = [Some(Value::String(text.clone())), typed];
        alternatives = alternatives
            .iter()
            .flat_map(|object| values.iter().flatten().map(move |value| with(object, key, value)))
            .collect();
    }
    (!pairs.is_empty()).then_some(alternatives)
}

fn with(object: &Value, key: &str, value: &Value) -> Value {
    let mut object = object.clone();
    object[key] = value.clone();
    object
}

/// One call with its attempts and its whole story in one ordered list. Phone numbers are masked; an operator sees them whole with
/// `reveal=1`. Secrets are masked always. A request is put together anew from what is stored with the call.
#[utoipa::path(get, path = "/api/calls/{id}/", operation_id = "show_call", tag = "calls", params(
        ("id" = Uuid, Path),
        ("reveal" = Option<u8>, Query, description = "`1`: phone numbers whole; operators only"),
    ), responses(
        (status = 200, description = "The call", body = CallDetail),
        (status = 404, description = "No such call"),
    ), security(("key" = [])))]
pub async fn show(
    caller: Caller<OperatorsAndServices>,
    State(state): State<HttpState>,
    CallId(id): CallId,
    mut query: Query,
) -> Result<Json<CallDetail>, Problem> {
    let reveal = query.flag("reveal");
    query.end()?;
    if reveal && caller.identity.role != crate::store::keys::Role::Operator {
        return Err(Problem::new(Kind::Forbidden, "reveal=1 is for operators"));
    }
    if reveal {
        tracing::info!(call_id = %id, by = %caller.as_source(), "phone numbers shown");
    }
    let numbers = if reveal { Numbers::Full } else { Numbers::Masked };
    let record = state.store.call_record(id).await?.ok_or_else(|| no_such_call(&id))?;
    let hold = policy::explain(&state.policy, &record, clock::now());
    Ok(Json(story::tell(record, hold, numbers, &state.registry, &state.config)))
}

/// Body of a cancellation; it may be absent.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// For the call's timeline.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// Where the call stands after a decision.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Decided {
    call_id: Uuid,
    status: CallStatus,
    detail: &'static str,
}

/// Cancels a call that is not sent (200), or asks the platform to end one that may be live (202).
#[utoipa::path(post, path = "/api/calls/{id}/cancel/", operation_id = "cancel_call", tag = "calls", params(("id" = Uuid, Path)),
    request_body(content = Option<CancelRequest>),
    responses(
        (status = 200, description = "It is cancelled", body = Decided),
        (status = 202, description = "It may be live; the platform is asked to end it", body = Decided),
        (status = 404, description = "No such call"),
        (status = 409, description = "It had ended before"),
    ), security(("key" = [])))]
pub async fn cancel(
    caller: Caller<Operators>,
    State(state): State<HttpState>,
    CallId(id): CallId,
    OptionalJson(body): OptionalJson,
) -> Result<Response, Problem> {
    let request: CancelRequest = body.map_or_else(|| Ok(CancelRequest::default()), input::Json::read)?;
    let reason = request.reason.as_deref().unwrap_or("cancelled by an operator");
    check_text("/reason", reason)?;
    let by = caller.as_source();
    let (status, call_status, detail) = match state.store.cancel(&CallName::Id(id), &by, reason).await? {
        Cancelled::Now => (StatusCode::OK, CallStatus::Cancelled, "it was not sent, and will not be"),
        Cancelled::Requested { status, .. } => (StatusCode::ACCEPTED, status, "the platform is asked to end it"),
        // Cancelling twice is no mistake.
        Cancelled::AlreadyEnded { status: CallStatus::Cancelled } => {
            (StatusCode::OK, CallStatus::Cancelled, "it was cancelled before")
        }
        Cancelled::AlreadyEnded { status } => {
            return Err(Problem::new(Kind::WrongStatus, format!("the call has ended: it is {status}")));
        }
        Cancelled::NotFound => return Err(no_such_call(&id)),
    };
    tracing::info!(call_id = %id, by, status = %call_status, "cancel requested");
    Ok((status, Json(Decided { call_id: id, status: call_status, detail })).into_response())
}

/// Body of a settlement.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleRequest {
    r#as: SettleAs,
    /// How you know; it stands in the timeline and, for a redial, in the next attempt.
    #[schema(min_length = 1, max_length = 500)]
    because: String,
    /// For `placed`: the platform's id of the call, so that its outcome can be asked for.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 500)]
    platform_call_id: Option<String>,
}

/// Settles a call that is `unknown`: it was made (`placed`), it was not and shall not be (`absent`), or it was not and
/// shall be (`redial`).
#[utoipa::path(post, path = "/api/calls/{id}/settle/", operation_id = "settle_call", tag = "calls", params(("id" = Uuid, Path)), request_body = SettleRequest,
    responses(
        (status = 200, description = "Settled", body = Decided),
        (status = 404, description = "No such call"),
        (status = 409, description = "The call is not `unknown`"),
        (status = 422, description = "`errors` names the fields"),
    ), security(("key" = [])))]
pub async fn settle(
    caller: Caller<Operators>,
    State(state): State<HttpState>,
    CallId(id): CallId,
    body: input::Json,
) -> Result<Json<Decided>, Problem> {
    let request: SettleRequest = body.read()?;
    check_text("/because", &request.because)?;
    if let Some(platform_call_id) = &request.platform_call_id {
        check_text("/platform_call_id", platform_call_id)?;
        if request.r#as != SettleAs::Placed {
            let problem = format!("does not go with {}, expected it with placed only", request.r#as);
            return Err(Problem::invalid(vec![FieldError::new("/platform_call_id", problem)]));
        }
    }
    let by = caller.as_source();
    let platform_call_id = request.platform_call_id.as_deref();
    match state.store.settle(id, request.r#as, &by, &request.because, platform_call_id).await? {
        Settled::Done { status } => {
            tracing::info!(call_id = %id, by, settled_as = %request.r#as, %status, "settled");
            Ok(Json(Decided { call_id: id, status, detail: "settled" }))
        }
        Settled::NotUnknown { status } => {
            Err(Problem::new(Kind::WrongStatus, format!("only unknown calls are settled, this one is {status}")))
        }
        Settled::NotFound => Err(no_such_call(&id)),
    }
}

/// Body of a request to retry now.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// Stands in the timeline.
    #[schema(min_length = 1, max_length = 500)]
    because: String,
}

/// Makes a scheduled call due that waits for its retry, its redial, or another try after a send that did not reach the platform.
/// Rules and limits hold all the same.
#[utoipa::path(post, path = "/api/calls/{id}/retry/", operation_id = "retry_call", tag = "calls", params(("id" = Uuid, Path)), request_body = RetryRequest,
    responses(
        (status = 200, description = "Due now", body = Decided),
        (status = 404, description = "No such call"),
        (status = 409, description = "The call does not wait, or waits for more than time"),
        (status = 422, description = "`errors` names the fields"),
    ), security(("key" = [])))]
pub async fn retry(
    caller: Caller<Operators>,
    State(state): State<HttpState>,
    CallId(id): CallId,
    body: input::Json,
) -> Result<Json<Decided>, Problem> {
    let request: RetryRequest = body.read()?;
    check_text("/because", &request.because)?;
    let by = caller.as_source();
    match state.store.retry_now(&CallName::Id(id), &by, &request.because).await? {
        RetriedNow::Due { reason } => {
            tracing::info!(call_id = %id, by, reason, "made due");
            Ok(Json(Decided { call_id: id, status: CallStatus::Scheduled, detail: "due now" }))
        }
        RetriedNow::Not { status, reason } => {
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let detail = format!(
                "only a scheduled call that waits for nothing but time is made due, this one is {status}{reason}"
            );
            Err(Problem::new(Kind::WrongStatus, detail))
        }
        RetriedNow::NotFound => Err(no_such_call(&id)),
    }
}

pub(super) fn check_text(pointer: &str, text: &str) -> Result<(), Problem> {
    let chars = text.chars().count();
    if (1..=MAX_REASON_CHARS).contains(&chars) && !text.trim().is_empty() {
        return Ok(());
    }
    let problem = format!("has {chars} characters, expected text of 1 to {MAX_REASON_CHARS} characters");
    Err(Problem::invalid(vec![FieldError::new(pointer, problem)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::FromRequestParts as _;

    #[tokio::test]
    async fn a_metadata_value_is_looked_for_as_text_and_as_number() {
        let uri = "/x?metadata.campaign_id=123&metadata.team=north&metadata.vip=true";
        let (mut parts, ()) = http::Request::get(uri).body(()).unwrap().into_parts();
        let mut query =
            Query::from_request_parts(&mut parts, &()).await.unwrap_or_else(|problem| panic!("{problem:?}"));
        assert_eq!(
            metadata_filter(&mut query).unwrap(),
            [
                json!({ "campaign_id": "123", "team": "north", "vip": "true" }),
                json!({ "campaign_id": "123", "team": "north", "vip": true }),
                json!({ "campaign_id": 123, "team": "north", "vip": "true" }),
                json!({ "campaign_id": 123, "team": "north", "vip": true }),
            ]
        );
    }
}
