//! How a user wants to be heard and spoken to.

use axum::Json;
use axum::extract::State;

use crate::http::HttpState;
use crate::http::auth::{Caller, Users};
use crate::http::errors::Problem;
use crate::http::input;
use crate::session::SessionConfig;

/// The caller's voice configuration; the defaults where none was stored.
#[utoipa::path(get, path = "/api/voice/config/", operation_id = "show_voice_configuration", tag = "voice sessions",
    responses((status = 200, description = "The configuration", body = SessionConfig)), security(("key" = [])))]
pub async fn show(caller: Caller<Users>, State(state): State<HttpState>) -> Result<Json<SessionConfig>, Problem> {
    Ok(Json(state.store.voice_configuration(caller.owner()).await?.unwrap_or_default()))
}

/// Stores the caller's voice configuration. What is absent gets its default. Sessions that have begun keep theirs.
#[utoipa::path(put, path = "/api/voice/config/", operation_id = "put_voice_configuration", tag = "voice sessions", request_body = SessionConfig,
    responses(
        (status = 200, description = "Stored", body = SessionConfig),
        (status = 422, description = "`errors` names the fields"),
    ), security(("key" = [])))]
pub async fn put(
    caller: Caller<Users>,
    State(state): State<HttpState>,
    input::Json(body): input::Json,
) -> Result<Json<SessionConfig>, Problem> {
    let config = SessionConfig::read(body).map_err(Problem::invalid)?;
    state.store.put_voice_configuration(caller.owner(), &config).await?;
    Ok(Json(config))
}
