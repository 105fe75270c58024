//! Beginning, looking at and ending sessions.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::header::HOST;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::call::FieldError;
use crate::config::Config;
use crate::http::HttpState;
use crate::http::auth::{Caller, Users};
use crate::http::errors::Problem;
use crate::http::input::{self, Query, SessionId};
use crate::realtime::SessionError;
use crate::session::config::is_name;
use crate::session::{SessionConfig, SessionStatus};
use crate::store::sessions::Session;
use crate::store::sessions_said::Turn;

const MAX_CALLER_CHARS: usize = 200;
const MAX_REASON_CHARS: usize = 500;
const MAX_METADATA_BYTES: usize = 16 * 1024;
/// Turns that a session is shown with.
const MAX_TURNS: i64 = 200;

/// A session that is to begin.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InitiateRequest {
    /// Who calls, in your own words: 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    caller_id: String,
    /// Yours, at most 16 KiB.
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// Fields in place of those of the user's voice configuration; null gives a field its default.
    #[serde(default)]
    #[schema(value_type = Option<SessionConfig>)]
    config: Option<Map<String, Value>>,
}

/// A session that has begun.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct InitiatedSession {
    session_id: Uuid,
    status: SessionStatus,
    start_time: DateTime<Utc>,
    message: &'static str,
    /// Where the session's WebSocket is opened.
    websocket_url: String,
    /// Opens it once; shown here and never again.
    ticket: String,
    ticket_expires_at: DateTime<Utc>,
}

/// Begins a session.
#[utoipa::path(post, path = "/api/voice/initiate/", operation_id = "initiate_session", tag = "voice sessions", request_body = InitiateRequest,
    responses(
        (status = 201, description = "It has begun", body = InitiatedSession),
        (status = 422, description = "`errors` names the fields"),
        (status = 429, description = "The owner has as many live sessions as one may have"),
    ), security(("key" = [])))]
pub async fn initiate(
    caller: Caller<Users>,
    State(state): State<HttpState>,
    headers: HeaderMap,
    body: input::Json,
) -> Result<Response, Problem> {
    let request: InitiateRequest = body.read()?;
    let mut problems = Vec::new();
    if !is_name(&request.caller_id, MAX_CALLER_CHARS) {
        let problem = format!("expected 1 to {MAX_CALLER_CHARS} printable characters");
        problems.push(FieldError::new("/caller_id", problem));
    }
    let metadata = Value::Object(request.metadata);
    let size = metadata.to_string().len();
    if size > MAX_METADATA_BYTES {
        let problem = format!("has {size} bytes as JSON, expected at most {MAX_METADATA_BYTES}");
        problems.push(FieldError::new("/metadata", problem));
    }
    let own = state.store.voice_configuration(caller.owner()).await?.unwrap_or_default();
    let config = own.with(request.config.unwrap_or_default()).unwrap_or_else(|wrong| {
        problems.extend(wrong.into_iter().map(|problem| problem.below("/config")));
        SessionConfig::default()
    });
    if !problems.is_empty() {
        return Err(Problem::invalid(problems));
    }
    let begun = state.sessions.begin(caller.owner(), &request.caller_id, &config, &metadata).await?;
    let body = InitiatedSession {
        session_id: begun.id,
        status: SessionStatus::Active,
        start_time: begun.started_at,
        message: "The session is active.",
        websocket_url: format!("{}/ws/voice/{}/", websocket_base(&state.config, &headers), begun.id),
        ticket: begun.ticket.expose().to_owned(),
        ticket_expires_at: begun.ticket_expires_at,
    };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// The public address, else the one that this request came to.
fn websocket_base(config: &Config, headers: &HeaderMap) -> String {
    if let Some(public) = config.public_url() {
        // http becomes ws, https becomes wss.
        return public.replacen("http", "ws", 1);
    }
    match headers.get(HOST).and_then(|host| host.to_str().ok()) {
        Some(host) => format!("ws://{host}"),
        None => format!("ws://{}", config.http.bind),
    }
}

/// A session that is to end.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndRequest {
    session_id: Uuid,
    /// Kept with the session, 1 to 500 characters.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// A session that has ended.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EndedSession {
    session_id: Uuid,
    /// `ended`; `failed` where it had failed before.
    #[schema(value_type = SessionStatus)]
    status: String,
    end_time: Option<DateTime<Utc>>,
    /// How long it was active; pauses are excluded.
    duration_seconds: f64,
    reason: Option<String>,
}

/// Ends a session. One that has ended before stays as it is, and is answered alike.
#[utoipa::path(post, path = "/api/voice/end/", operation_id = "end_session", tag = "voice sessions", request_body = EndRequest,
    responses(
        (status = 200, description = "It has ended", body = EndedSession),
        (status = 404, description = "No such session of this user"),
        (status = 422, description = "`errors` names the fields"),
    ), security(("key" = [])))]
pub async fn end(
    caller: Caller<Users>,
    State(state): State<HttpState>,
    body: input::Json,
) -> Result<Json<EndedSession>, Problem> {
    let request: EndRequest = body.read()?;
    if request.reason.as_ref().is_some_and(|reason| !is_name(reason, MAX_REASON_CHARS)) {
        let problem = format!("expected 1 to {MAX_REASON_CHARS} printable characters");
        return Err(Problem::invalid(vec![FieldError::new("/reason", problem)]));
    }
    let session = state.sessions.end(caller.owner(), request.session_id, request.reason.as_deref()).await?;
    Ok(Json(EndedSession {
        session_id: session.session_id,
        status: session.status,
        end_time: session.end_time,
        duration_seconds: session.duration_seconds,
        reason: session.reason,
    }))
}

/// A session with what was said.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SessionDetail {
    #[serde(flatten)]
    session: Session,
    /// The latest 200 turns, oldest first.
    conversation: Vec<Turn>,
}

/// One session, with its conversation.
#[utoipa::path(get, path = "/api/voice/session/{id}/status/", operation_id = "session_status", tag = "voice sessions", params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The session", body = SessionDetail),
        (status = 404, description = "No such session of this user"),
    ), security(("key" = [])))]
pub async fn status(
    caller: Caller<Users>,
    State(state): State<HttpState>,
    SessionId(id): SessionId,
) -> Result<Json<SessionDetail>, Problem> {
    let session = state.store.session(caller.owner(), id).await?.ok_or(SessionError::Missing(id))?;
    let conversation = state.store.latest_turns(caller.owner(), id, MAX_TURNS).await?;
    Ok(Json(SessionDetail { session, conversation }))
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SessionList {
    sessions: Vec<Session>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

/// The caller's sessions, newest first.
#[utoipa::path(get, path = "/api/voice/sessions/", operation_id = "list_sessions", tag = "voice sessions", params(
        ("status" = Option<Vec<SessionStatus>>, Query, description = "Only these; several with commas between"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 where absent"),
    ), responses((status = 200, description = "One page", body = SessionList)), security(("key" = [])))]
pub async fn list(
    caller: Caller<Users>,
    State(state): State<HttpState>,
    mut query: Query,
) -> Result<Json<SessionList>, Problem> {
    let statuses: Vec<SessionStatus> = query.list("status");
    let (before, limit) = (query.cursor(), query.limit());
    query.end()?;
    let rows = state.store.list_sessions(caller.owner(), &statuses, before, limit + 1).await?;
    let (sessions, next_cursor) = input::page(rows, limit, |row| input::encode_cursor(row.start_time, row.session_id));
    Ok(Json(SessionList { sessions, next_cursor }))
}
