//! Stored voice configurations.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use super::HttpState;
use super::auth::{Caller, Operators};
use super::errors::{Kind, Problem};
use super::input::{self, Name, Query};
use crate::call::{CallRequest, FieldError, PhoneNumber, VoiceConfig};
use crate::job;
use crate::platforms::PlatformRegistry;
use crate::platforms::registry::PlatformUnavailable;
use crate::store::configs::{StoredConfig, is_config_name};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct VoiceConfigList {
    items: Vec<StoredConfig>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Lists stored voice configurations by name.
#[utoipa::path(get, path = "/api/voice-configs/", operation_id = "list_voice_configs", tag = "voice configurations", params(
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 where absent"),
    ), responses((status = 200, description = "One page", body = VoiceConfigList)), security(("key" = [])))]
pub async fn list(
    _: Caller<Operators>,
    State(state): State<HttpState>,
    mut query: Query,
) -> Result<Json<VoiceConfigList>, Problem> {
    let (limit, cursor) = (query.limit(), query.text("cursor"));
    let after = cursor
        .as_deref()
        .map(|cursor| URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|name| String::from_utf8(name).ok()));
    if after == Some(None) {
        query.wrong("cursor", "is not a cursor, expected next_cursor of the page before");
    }
    query.end()?;
    let after = after.flatten().filter(|name| is_config_name(name)).unwrap_or_default();
    let configs = state.store.list_configs(&after, limit + 1).await?;
    let (items, next_cursor) = input::page(configs, limit, |config| URL_SAFE_NO_PAD.encode(&config.name));
    Ok(Json(VoiceConfigList { items, next_cursor }))
}

/// One stored voice configuration.
#[utoipa::path(get, path = "/api/voice-configs/{name}/", operation_id = "show_voice_config", tag = "voice configurations", params(("name" = String, Path)), responses(
        (status = 200, description = "The configuration", body = StoredConfig),
        (status = 404, description = "No such configuration"),
    ), security(("key" = [])))]
pub async fn show(
    _: Caller<Operators>,
    State(state): State<HttpState>,
    Name(name): Name,
) -> Result<Json<StoredConfig>, Problem> {
    let name = known_name(name)?;
    state.store.get_config(&name).await?.map(Json).ok_or_else(|| no_such_config(&name))
}

/// Stores a voice configuration under a name. Jobs accepted before keep the one they took.
#[utoipa::path(put, path = "/api/voice-configs/{name}/", operation_id = "put_voice_config", tag = "voice configurations",
    params(("name" = String, Path, description = "1 to 128 letters, digits, `.`, `_`, `-`; the first a letter or digit")),
    request_body = VoiceConfig, responses(
        (status = 200, description = "Replaced", body = StoredConfig),
        (status = 201, description = "New", body = StoredConfig),
        (status = 422, description = "Not a valid configuration; `errors` names the fields"),
    ), security(("key" = [])))]
pub async fn put(
    caller: Caller<Operators>,
    State(state): State<HttpState>,
    Name(name): Name,
    input::Json(body): input::Json,
) -> Result<Response, Problem> {
    if !is_config_name(&name) {
        let detail = "the name has 1 to 128 letters, digits, \".\", \"_\" or \"-\", and begins with a letter or digit";
        return Err(Problem::new(Kind::Invalid, detail));
    }
    let config = job::voice_config_from_value(&body).map_err(Problem::invalid)?;
    let problems = platform_problems(&state.registry, &config);
    if !problems.is_empty() {
        return Err(Problem::invalid(problems));
    }
    let (stored, is_new) = state.store.put_config(&name, &config).await?;
    tracing::info!(name, by = %caller.as_source(), is_new, "voice configuration stored");
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(stored)).into_response())
}

/// Removes a stored voice configuration. Jobs accepted before keep it; later ones that name it are rejected.
#[utoipa::path(delete, path = "/api/voice-configs/{name}/", operation_id = "delete_voice_config", tag = "voice configurations", params(("name" = String, Path)), responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "No such configuration"),
    ), security(("key" = [])))]
pub async fn delete(
    caller: Caller<Operators>,
    State(state): State<HttpState>,
    Name(name): Name,
) -> Result<StatusCode, Problem> {
    let name = known_name(name)?;
    if !state.store.delete_config(&name).await? {
        return Err(no_such_config(&name));
    }
    tracing::info!(name, by = %caller.as_source(), "voice configuration removed");
    Ok(StatusCode::NO_CONTENT)
}

fn known_name(name: String) -> Result<String, Problem> {
    if is_config_name(&name) { Ok(name) } else { Err(no_such_config(&name)) }
}

fn no_such_config(name: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no voice configuration {name:?}"))
}

/// What the platforms would refuse. One that is supported but off may be named: its key may come later.
fn platform_problems(registry: &PlatformRegistry, config: &VoiceConfig) -> Vec<FieldError> {
    let mut problems = Vec::new();
    let fallbacks = config.fallback_platforms.iter().enumerate();
    let named = std::iter::once(("/platform".to_owned(), &config.platform))
        .chain(fallbacks.map(|(n, name)| (format!("/fallback_platforms/{n}"), name)));
    for (pointer, name) in named {
        if let Err(unsupported @ PlatformUnavailable::Unsupported { .. }) = registry.get(name) {
            problems.push(FieldError::new(pointer, unsupported.to_string()));
        }
    }
    if !problems.is_empty() {
        return problems;
    }
    for name in std::iter::once(&config.platform).chain(&config.fallback_platforms) {
        let Ok(platform) = registry.get(name) else { continue };
        let own = config.for_platform(name);
        let place = if *name == config.platform {
            String::new()
        } else {
            format!("/fallback_configs/{}", crate::text::pointer_token(name))
        };
        let found = match platform.format_payload(&sample_request(&own)) {
            Err(refused) => refused,
            Ok(payload) => platform
                .validate_payload(&payload)
                .err()
                .unwrap_or_default()
                .into_iter()
                // What comes from the job is judged with the job.
                .filter(|problem| own.platform_config.contains_key(first_token(&problem.pointer)))
                .map(|problem| problem.below("/platform_config"))
                .collect(),
        };
        problems.extend(found.into_iter().map(|problem| problem.below(&place)));
    }
    problems
}

fn first_token(pointer: &str) -> &str {
    pointer.trim_start_matches('/').split('/').next().unwrap_or_default()
}

/// A call as a job might ask for, with this configuration.
fn sample_request(config: &VoiceConfig) -> CallRequest {
    CallRequest {
        call_id: Uuid::nil(),
        attempt_id: Uuid::nil(),
        to: PhoneNumber::from_trusted("+14155550123".into()),
        content: config.content.clone().unwrap_or_else(|| "Hello.".into()),
        lead_name: None,
        voice_config: config.clone(),
        metadata: serde_json::Map::new(),
        webhook_url: None,
    }
}
