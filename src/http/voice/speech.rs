//! A text in, speech out.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::audio::{AudioFormat, Encoder, Encoding};
use crate::call::FieldError;
use crate::http::HttpState;
use crate::http::auth::{Caller, Users};
use crate::http::errors::{Kind, Problem};
use crate::http::input;
use crate::realtime::{SessionError, Wish};
use crate::session::SessionConfig;

const MAX_TEXT_CHARS: usize = 5000;

/// Where no rate is asked for: what voices are made at, what Opus keeps whole at its bit rate, what the telephone has.
fn usual_rate_hz(encoding: Encoding) -> u32 {
    match encoding {
        Encoding::Wav | Encoding::Pcm16 => 24_000,
        Encoding::Opus => 16_000,
        Encoding::Mulaw | Encoding::Alaw => 8000,
    }
}

/// What is to be said.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateSpeechRequest {
    /// The session that it belongs to; it becomes a turn of its conversation.
    #[serde(default)]
    session_id: Option<Uuid>,
    /// 1 to 5000 characters.
    #[schema(min_length = 1, max_length = 5000)]
    text: String,
    /// In place of the configuration's.
    #[serde(default)]
    voice: Option<String>,
    /// In place of the configuration's, 0.25 to 2.
    #[serde(default)]
    speaking_rate: Option<f64>,
    /// In place of the configuration's, BCP 47.
    #[serde(default)]
    language: Option<String>,
    /// `wav` where absent, or what `Accept` asks for.
    #[serde(default)]
    #[schema(value_type = Option<Encoding>)]
    format: Option<String>,
    /// 24000 where absent, 16000 for `opus`, 8000 for `mulaw` and `alaw`.
    #[serde(default)]
    sample_rate: Option<u32>,
}

/// Speech.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct GeneratedSpeech {
    session_id: Option<Uuid>,
    /// Base64.
    audio: String,
    format: Encoding,
    sample_rate: u32,
    duration_ms: u64,
    /// In the session's conversation.
    turn_id: Option<Uuid>,
}

/// How the answer is to be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Json,
    /// The sound itself, of this kind or any.
    Sound(Option<Encoding>),
}

/// Speaks a text. The answer is JSON, or the sound itself where `Accept` asks for it (`audio/wav`, `audio/basic`,
/// `audio/l16`, `audio/pcma`, `audio/ogg`).
#[utoipa::path(post, path = "/api/voice/generate-speech/", operation_id = "generate_speech", tag = "voice sessions", request_body = GenerateSpeechRequest,
    responses(
        (status = 200, description = "The speech", content((GeneratedSpeech = "application/json"), (Vec<u8> = "audio/wav"),
            (Vec<u8> = "audio/l16"), (Vec<u8> = "audio/basic"), (Vec<u8> = "audio/pcma"), (Vec<u8> = "audio/ogg"))),
        (status = 404, description = "No such session of this user"),
        (status = 406, description = "Accept asks for something else, or for another kind of sound than `format`"),
        (status = 409, description = "The session is paused or has ended"),
        (status = 422, description = "`errors` names the fields"),
        (status = 429, description = "Too many requests of this session wait"),
        (status = 502, description = "The speech engine failed"),
        (status = 503, description = "Speech is off, or the engine or Postgres is away"),
    ), security(("key" = [])))]
pub async fn generate(
    caller: Caller<Users>,
    State(state): State<HttpState>,
    headers: HeaderMap,
    body: input::Json,
) -> Result<Response, Problem> {
    let request: GenerateSpeechRequest = body.read()?;
    let wanted = wanted(&headers)?;
    let format = format(&request, wanted)?;
    let session_id = request.session_id;
    let session = match session_id {
        Some(id) => Some(state.sessions.open(caller.owner(), id).await?),
        None => None,
    };
    let config = match &session {
        Some(session) => session.config().clone(),
        None => state.store.voice_configuration(caller.owner()).await?.unwrap_or_default(),
    };
    let wish = wish(request, &config, state.sessions.language(), format.rate_hz)?;
    state.sessions.tts().map_err(SessionError::from)?;
    let said = match session {
        Some(session) => session.say(wish).await?,
        None => state.sessions.say(&wish).await?,
    };
    let (turn_id, duration_ms) = (said.turn_id, said.duration_ms());
    let sound = tokio::task::spawn_blocking(move || Encoder::file(said.rate_hz, format, &said.samples))
        .await
        .map_err(|_| Problem::new(Kind::Internal, "the sound's encoder failed; the log says more"))?
        .map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    if let Wanted::Sound(_) = wanted {
        return Ok(([(CONTENT_TYPE, format.mime())], sound).into_response());
    }
    let body = GeneratedSpeech {
        session_id,
        audio: STANDARD.encode(sound),
        format: format.encoding,
        sample_rate: format.rate_hz,
        duration_ms,
        turn_id,
    };
    Ok(axum::Json(body).into_response())
}

/// The first of `Accept` that can be given.
fn wanted(headers: &HeaderMap) -> Result<Wanted, Problem> {
    let texts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let kinds: Vec<&str> =
        texts.flat_map(|text| text.split(',')).map(str::trim).filter(|kind| !kind.is_empty()).collect();
    if kinds.is_empty() {
        return Ok(Wanted::Json);
    }
    let given = |kind: &&str| {
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" | "application/*" | "*/*" => Some(Wanted::Json),
            "audio/*" => Some(Wanted::Sound(None)),
            // The rate is what is made, whatever is said here.
            audio => AudioFormat::from_mime(&format!("{audio};rate=8000"))
                .ok()
                .map(|format| Wanted::Sound(Some(format.encoding))),
        }
    };
    kinds.iter().find_map(given).ok_or_else(|| {
        let detail = "Accept names nothing that can be given, expected application/json, audio/wav, audio/basic, audio/l16, audio/pcma or audio/ogg";
        Problem::new(Kind::NotAcceptable, detail)
    })
}

fn format(request: &GenerateSpeechRequest, wanted: Wanted) -> Result<AudioFormat, Problem> {
    let invalid = |pointer, problem: String| Problem::invalid(vec![FieldError::new(pointer, problem)]);
    let named = match &request.format {
        Some(name) => {
            Some(AudioFormat::from_name(name, None).map_err(|error| invalid("/format", error.to_string()))?.encoding)
        }
        None => None,
    };
    let encoding = match (named, wanted) {
        (Some(named), Wanted::Sound(Some(accepted))) if named != accepted => {
            let detail = format!("format is {}, and Accept asks for {}", named.name(), accepted.name());
            return Err(Problem::new(Kind::NotAcceptable, detail));
        }
        (None, Wanted::Sound(Some(accepted))) => accepted,
        (named, _) => named.unwrap_or(Encoding::Wav),
    };
    let format = AudioFormat::new(encoding, request.sample_rate.unwrap_or_else(|| usual_rate_hz(encoding)), 1)
        .map_err(|error| invalid("/sample_rate", error.to_string()))?;
    // Not every rate is one of Opus.
    Encoder::new(format.rate_hz, format).map_err(|error| invalid("/sample_rate", error.to_string()))?;
    Ok(format)
}

fn wish(request: GenerateSpeechRequest, config: &SessionConfig, language: &str, rate_hz: u32) -> Result<Wish, Problem> {
    let mut problems = Vec::new();
    let chars = request.text.chars().count();
    if request.text.trim().is_empty() || chars > MAX_TEXT_CHARS {
        let problem = format!("has {chars} characters, expected 1 to {MAX_TEXT_CHARS} with something to say");
        problems.push(FieldError::new("/text", problem));
    }
    let mut over = serde_json::Map::new();
    let fields = [
        ("voice", request.voice.map(Into::into)),
        ("speaking_rate", request.speaking_rate.map(Into::into)),
        ("language", request.language.map(Into::into)),
    ];
    over.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    match config.with(over) {
        Ok(config) if problems.is_empty() => Ok(Wish {
            text: request.text,
            language: config.language.unwrap_or_else(|| language.to_owned()),
            voice: config.voice,
            speaking_rate: config.speaking_rate,
            rate_hz,
        }),
        Ok(_) => Err(Problem::invalid(problems)),
        Err(wrong) => {
            problems.extend(wrong);
            Err(Problem::invalid(problems))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Result<Wanted, String> {
        let headers = [(ACCEPT, accept.parse().unwrap())].into_iter().collect();
        wanted(&headers).map_err(|problem| problem.kind.name().to_owned())
    }

    #[test]
    fn accept_says_whether_the_sound_itself_is_wanted() {
        assert_eq!(wanted(&HeaderMap::new()).unwrap(), Wanted::Json);
        assert_eq!(of("*/*"), Ok(Wanted::Json));
        assert_eq!(of("audio/wav"), Ok(Wanted::Sound(Some(Encoding::Wav))));
        assert_eq!(of("text/html, audio/L16; q=0.5"), Ok(Wanted::Sound(Some(Encoding::Pcm16))));
        assert_eq!(of("audio/*, application/json"), Ok(Wanted::Sound(None)));
        assert_eq!(of("text/html"), Err("not_acceptable".into()));
    }
}
