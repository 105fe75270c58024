//! `POST /v1/audio/speech`

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use super::{Asked, MAX_INPUT_CHARS, Refusal, Shared, TTS_MODELS, VOICES, lock};
use crate::audio::{AudioFormat, Encoder, Encoding};
use crate::sim::tones;

/// Of `pcm`.
const RATE_HZ: u32 = 24_000;
/// Bytes of a piece: an odd number, since pieces need not end with samples.
const PIECE: usize = 4801;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    model: String,
    input: String,
    voice: String,
    #[serde(default = "mp3")]
    response_format: String,
    #[serde(default = "usual")]
    speed: f64,
    #[serde(default)]
    #[expect(dead_code, reason = "taken, and without meaning for tones")]
    instructions: String,
}

fn mp3() -> String {
    "mp3".into()
}

fn usual() -> f64 {
    1.0
}

pub(super) async fn speech(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = check(&headers, &body).and_then(|wanted| {
        let (kind, sound) = spoken(&wanted)?;
        let Wanted { input, voice, speed, .. } = wanted;
        lock(&shared.asked).push(Asked::Said { input, voice, speed });
        let pieces: Vec<Bytes> = sound.chunks(PIECE).map(Bytes::copy_from_slice).collect();
        let stream = stream::iter(pieces).map(Ok::<_, std::io::Error>);
        Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(stream)).into_response())
    });
    answer.unwrap_or_else(IntoResponse::into_response)
}

fn check(headers: &HeaderMap, body: &[u8]) -> Result<Wanted, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("Unsupported content type: '{kind}'.")));
    }
    let wanted: Wanted = serde_json::from_slice(body)
        .map_err(|problem| Refusal::new(StatusCode::BAD_REQUEST, format!("We could not parse the body: {problem}")))?;
    if !TTS_MODELS.contains(&wanted.model.as_str()) {
        return Err(Refusal::unknown_model(&wanted.model));
    }
    if wanted.input.is_empty() {
        return Err(Refusal::bad("input", "Invalid 'input': string too short."));
    }
    if wanted.input.chars().count() > MAX_INPUT_CHARS {
        let refusal = Refusal::bad("input", format!("Invalid 'input': string too long, at most {MAX_INPUT_CHARS}."));
        return Err(Refusal { code: Some("string_above_max_length"), ..refusal });
    }
    if !VOICES.contains(&wanted.voice.as_str()) {
        let message = format!("Input should be one of {}, but is '{}'.", VOICES.join(", "), wanted.voice);
        return Err(Refusal::bad("voice", message));
    }
    if !(0.25..=4.0).contains(&wanted.speed) {
        return Err(Refusal::bad("speed", "Invalid 'speed': expected 0.25 to 4.0."));
    }
    Ok(wanted)
}

fn spoken(wanted: &Wanted) -> Result<(&'static str, Vec<u8>), Refusal> {
    let failed =
        |problem: crate::audio::AudioError| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, problem.to_string());
    let (kind, encoding) = match wanted.response_format.as_str() {
        "pcm" => ("audio/pcm", Encoding::Pcm16),
        "wav" => ("audio/wav", Encoding::Wav),
        other => return Err(Refusal::bad("response_format", format!("'{other}' is not simulated, pcm and wav are."))),
    };
    let mut encoder = AudioFormat::new(encoding, RATE_HZ, 1)
        .and_then(|format| Encoder::new(tones::RATE_HZ, format))
        .map_err(failed)?;
    let mut sound = Vec::new();
    encoder.push(&tones::encode(&wanted.input), &mut sound).map_err(failed)?;
    encoder.finish(&mut sound).map_err(failed)?;
    Ok((kind, sound))
}
