//! A recording in, what was said out.

use axum::Json;
use axum::extract::{Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::audio::{AudioError, AudioFormat};
use crate::call::FieldError;
use crate::http::HttpState;
use crate::http::auth::{Caller, Users};
use crate::http::errors::{Kind, Problem};
use crate::http::input::{self, Query, is_json};
use crate::realtime::{Recording, SessionError, decode};
use crate::session::SpokenWord;
use crate::session::config::is_language;

/// JSON around the sound.
const MAX_FRAME_BYTES: usize = 64 * 1024;

/// A recording as JSON.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessAudioRequest {
    session_id: Uuid,
    /// Base64.
    audio: String,
    #[schema(value_type = crate::audio::Encoding)]
    format: String,
    /// Of `pcm16`, `mulaw` and `alaw`: 16000 and 8000 where absent. The others tell their own.
    #[serde(default)]
    sample_rate: Option<u32>,
    /// In place of the session's, BCP 47.
    #[serde(default)]
    language: Option<String>,
}

/// What was said in a recording.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProcessedAudio {
    session_id: Uuid,
    chunk_id: Uuid,
    /// In the session's conversation; null where nothing was said.
    turn_id: Option<Uuid>,
    /// Empty where nothing was said.
    transcription: String,
    /// 0 to 1; null where the engine does not say.
    confidence: Option<f64>,
    /// Times from the recording's beginning.
    words: Vec<SpokenWord>,
    language: Option<String>,
    /// Of the recording.
    duration_ms: u64,
    /// The file ended before the sound that it promised.
    truncated: bool,
}

/// A recording as it came, not read yet.
struct Upload {
    session_id: Uuid,
    format: AudioFormat,
    bytes: Bytes,
    language: Option<String>,
}

/// Recognizes a recording and puts it into the session's conversation. Either JSON, or the sound itself with
/// `?session_id=`: `audio/wav`, `audio/l16;rate=16000` (little-endian), `audio/basic`, `audio/pcma`, `audio/ogg`.
#[utoipa::path(post, path = "/api/voice/process-audio/", operation_id = "process_audio", tag = "voice sessions", params(
        ("session_id" = Option<Uuid>, Query, description = "With the sound itself as the body: the session"),
        ("language" = Option<String>, Query, description = "With the sound itself as the body: in place of the session's, BCP 47"),
    ),
    request_body(content(
        (ProcessAudioRequest = "application/json"), (Vec<u8> = "audio/wav"), (Vec<u8> = "audio/l16"), (Vec<u8> = "audio/basic"),
        (Vec<u8> = "audio/pcma"), (Vec<u8> = "audio/ogg"))),
    responses(
        (status = 200, description = "What was said", body = ProcessedAudio),
        (status = 404, description = "No such session of this user"),
        (status = 408, description = "It was not recognized in time; nothing was stored"),
        (status = 409, description = "The session is paused or has ended"),
        (status = 413, description = "More bytes or more sound than is taken"),
        (status = 415, description = "Neither JSON nor a kind of sound that is read"),
        (status = 422, description = "`errors` names the field, and the byte where the sound cannot be read"),
        (status = 429, description = "Too many requests of this session wait"),
        (status = 502, description = "The speech engine failed"),
        (status = 503, description = "Speech is off, or the engine or Postgres is away"),
    ), security(("key" = [])))]
pub async fn process(
    caller: Caller<Users>,
    State(state): State<HttpState>,
    query: Query,
    request: Request,
) -> Result<Json<ProcessedAudio>, Problem> {
    let settings = state.sessions.settings();
    // Held until the answer: it bounds the memory that sound takes.
    let _place = state.sessions.upload_place().await?;
    let upload = read(request, query, settings.max_upload_bytes).await?;
    let session_id = upload.session_id;
    let session = state.sessions.open(caller.owner(), session_id).await?;
    state.sessions.stt().map_err(SessionError::from)?;
    let recording = recording(upload, settings.longest_upload).await?;
    let truncated = recording.truncated;
    let heard = session.hear(recording).await?;
    Ok(Json(ProcessedAudio {
        session_id,
        chunk_id: heard.chunk_id,
        turn_id: heard.turn_id,
        transcription: heard.transcript.text,
        confidence: heard.transcript.confidence,
        words: heard.transcript.words,
        language: heard.transcript.language,
        duration_ms: heard.duration_ms,
        truncated,
    }))
}

async fn read(request: Request, mut query: Query, most: usize) -> Result<Upload, Problem> {
    let media = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_json(media) {
        query.end()?;
        let body = input::Json::within(request, most.div_ceil(3) * 4 + MAX_FRAME_BYTES).await?;
        return from_json(body.read()?, most);
    }
    let format = AudioFormat::from_mime(media)
        .map_err(|error| Problem::new(Kind::UnsupportedMediaType, format!("{error}, or application/json")))?;
    let session_id = query.text("session_id");
    let session_id = match session_id.as_deref().map(str::parse) {
        Some(Ok(id)) => id,
        Some(Err(_)) => {
            query.wrong("session_id", "is not the id of a session");
            Uuid::nil()
        }
        None => {
            query.wrong("session_id", "is missing, expected the session that the sound belongs to");
            Uuid::nil()
        }
    };
    let language = query.text("language");
    if language.as_deref().is_some_and(|tag| !is_language(tag)) {
        query.wrong("language", "is not a language tag, expected e.g. en-US");
    }
    query.end()?;
    Ok(Upload { session_id, format, bytes: input::body(request, most).await?, language })
}

fn from_json(request: ProcessAudioRequest, most: usize) -> Result<Upload, Problem> {
    let invalid = |pointer, problem: String| Problem::invalid(vec![FieldError::new(pointer, problem)]);
    AudioFormat::from_name(&request.format, None).map_err(|error| invalid("/format", error.to_string()))?;
    let format = AudioFormat::from_name(&request.format, request.sample_rate)
        .map_err(|error| invalid("/sample_rate", error.to_string()))?;
    if request.language.as_deref().is_some_and(|tag| !is_language(tag)) {
        return Err(invalid("/language", "is not a language tag, expected e.g. en-US".into()));
    }
    let bytes =
        STANDARD.decode(&request.audio).map_err(|error| invalid("/audio", format!("is not base64: {error}")))?;
    if bytes.len() > most {
        return Err(Problem::new(
            Kind::TooLarge,
            format!("the sound has {} bytes, expected at most {most}", bytes.len()),
        ));
    }
    Ok(Upload { session_id: request.session_id, format, bytes: bytes.into(), language: request.language })
}

/// Reads the sound, beside the runtime.
async fn recording(upload: Upload, longest: std::time::Duration) -> Result<Recording, Problem> {
    let Upload { format, bytes, language, .. } = upload;
    let (decoded, bytes) = tokio::task::spawn_blocking(move || (decode(format, &bytes, longest), bytes))
        .await
        .map_err(|_| Problem::new(Kind::Internal, "the sound's decoder failed; the log says more"))?;
    let (samples, truncated) = decoded.map_err(|error| unreadable(&error))?;
    if samples.is_empty() {
        return Err(Problem::invalid(vec![FieldError::new("/audio", "holds no sound")]));
    }
    Ok(Recording { encoding: format.encoding, bytes, samples, truncated, language })
}

fn unreadable(error: &AudioError) -> Problem {
    match error {
        AudioError::TooLong { .. } => Problem::new(Kind::TooLarge, error.to_string()),
        _ => Problem::invalid(vec![FieldError::new("/audio", error.to_string())]),
    }
}
