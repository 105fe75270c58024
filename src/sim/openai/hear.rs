//! `POST /v1/audio/transcriptions`

use std::collections::HashSet;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::form::{self, Part};
use super::{Asked, MAX_FILE_BYTES, Refusal, STT_MODELS, Shared, Spoiled, lock};
use crate::audio::{AudioFormat, Decoder, Encoding, Pick};
use crate::sim::tones::{self, Heard, ToneDecoder};

const FIELDS: &[&str] =
    &["file", "model", "language", "prompt", "response_format", "temperature", "timestamp_granularities[]"];
const FORMATS: &[&str] = &["json", "text", "srt", "verbose_json", "vtt"];
/// Of sound, in seconds.
const SHORTEST: f64 = 0.1;

/// A request that is in order.
struct Wanted {
    samples: Vec<i16>,
    language: Option<String>,
    prompt: Option<String>,
    format: String,
    words: bool,
    segments: bool,
}

pub(super) async fn transcriptions(
    State(shared): State<Shared>,
    Extension(Spoiled(spoiled)): Extension<Spoiled>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let wanted = match form::parts(&headers, &body).map_err(|problem| Refusal::new(StatusCode::BAD_REQUEST, problem)) {
        Ok(parts) => match read(&parts) {
            Ok(wanted) => wanted,
            Err(refusal) => return refusal.into_response(),
        },
        Err(refusal) => return refusal.into_response(),
    };
    let mut decoder = ToneDecoder::default();
    let mut heard = decoder.push(&wanted.samples);
    heard.extend(decoder.finish());
    let (text, seconds) = (tones::transcript(&heard), seconds(wanted.samples.len() as u64));
    let Wanted { language, prompt, .. } = &wanted;
    let asked =
        Asked::Heard { seconds, text: text.clone(), language: language.clone(), prompt: prompt.clone(), spoiled };
    lock(&shared.asked).push(asked);
    match wanted.format.as_str() {
        "json" => Json(json!({ "text": text })).into_response(),
        "verbose_json" => Json(verbose(&wanted, &heard, &text, seconds)).into_response(),
        "text" => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n")).into_response(),
        other => Refusal::bad("response_format", format!("{other} is not simulated")).into_response(),
    }
}

fn read(parts: &[Part]) -> Result<Wanted, Refusal> {
    let mut seen = HashSet::new();
    for part in parts {
        if !FIELDS.contains(&part.name.as_str()) {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, format!("Unrecognized request argument: {}", part.name)));
        }
        if !seen.insert(&part.name) && !part.name.ends_with("[]") {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, format!("{} stands twice", part.name)));
        }
    }
    let texts = |name: &'static str| {
        let found = parts.iter().filter(move |part| part.name == name);
        found.map(move |part| {
            String::from_utf8(part.content.to_vec()).map_err(|_| Refusal::bad(name, format!("{name} is not text")))
        })
    };
    let text = |name: &'static str| texts(name).next().transpose();
    let model = text("model")?.ok_or_else(|| Refusal::bad("model", "you must provide a model parameter"))?;
    if !STT_MODELS.contains(&model.as_str()) {
        return Err(Refusal::unknown_model(&model));
    }
    let format = text("response_format")?.unwrap_or_else(|| "json".into());
    if !FORMATS.contains(&format.as_str()) {
        return Err(Refusal::bad("response_format", format!("Invalid value: '{format}'.")));
    }
    let granularities: Vec<String> = texts("timestamp_granularities[]").collect::<Result<_, _>>()?;
    if !granularities.is_empty() && format != "verbose_json" {
        return Err(Refusal::bad("timestamp_granularities", "timestamps need response_format verbose_json"));
    }
    if let Some(other) = granularities.iter().find(|what| !["word", "segment"].contains(&what.as_str())) {
        return Err(Refusal::bad("timestamp_granularities", format!("Invalid value: '{other}'.")));
    }
    let language = text("language")?;
    if let Some(other) =
        language.as_ref().filter(|code| code.len() != 2 || !code.bytes().all(|b| b.is_ascii_lowercase()))
    {
        return Err(Refusal::bad("language", format!("Invalid language '{other}'. Language must be in ISO-639-1.")));
    }
    if let Some(temperature) = text("temperature")?
        && !temperature.parse::<f64>().is_ok_and(|number| (0.0..=1.0).contains(&number))
    {
        return Err(Refusal::bad("temperature", format!("Invalid temperature {temperature}.")));
    }
    let samples = recording(parts.iter().find(|part| part.name == "file"))?;
    let asks = |what: &str| granularities.iter().any(|asked| asked == what);
    Ok(Wanted {
        samples,
        language,
        prompt: text("prompt")?,
        words: asks("word"),
        segments: granularities.is_empty() || asks("segment"),
        format,
    })
}

fn recording(file: Option<&Part>) -> Result<Vec<i16>, Refusal> {
    let file = file.ok_or_else(|| Refusal::bad("file", "you must provide a file"))?;
    let name = file.file_name.as_deref().ok_or_else(|| Refusal::bad("file", "the file has no name"))?;
    if file.content.len() > MAX_FILE_BYTES {
        let message = format!("Maximum content size limit ({MAX_FILE_BYTES}) exceeded.");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    let wrong = |problem: &str| Refusal::bad("file", format!("Invalid file format: {problem}. Only WAV is simulated."));
    if !name.to_ascii_lowercase().ends_with(".wav") {
        return Err(wrong(name));
    }
    let (samples, cut) = AudioFormat::new(Encoding::Wav, tones::RATE_HZ, 1)
        .and_then(|format| Decoder::new(format, Pick::Mix, tones::RATE_HZ))
        .and_then(|decoder| decoder.whole(&file.content, Duration::from_secs(3600)))
        .map_err(|problem| wrong(&problem.to_string()))?;
    if cut {
        return Err(wrong("the file ends early"));
    }
    if seconds(samples.len() as u64) < SHORTEST {
        return Err(Refusal::bad("file", "Audio file is too short. Minimum audio length is 0.1 seconds."));
    }
    Ok(samples)
}

/// A segment for each utterance.
fn verbose(wanted: &Wanted, heard: &[Heard], text: &str, duration: f64) -> Value {
    let mut words = Vec::new();
    let mut segments: Vec<Value> = Vec::new();
    let mut open: Vec<Heard> = Vec::new();
    for (n, piece) in heard.iter().enumerate() {
        let (start, end, last) = match piece {
            Heard::Word { text, start, end, last, .. } => {
                words.push(json!({ "word": text, "start": seconds(*start), "end": seconds(*end) }));
                (start, end, *last)
            }
            Heard::Broken { start, end } => (start, end, false),
        };
        if open.is_empty() {
            segments.push(json!({
                "id": segments.len(), "seek": 0, "start": seconds(*start), "tokens": [], "temperature": 0.0,
                "avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.01,
            }));
        }
        open.push(piece.clone());
        if let Some(segment) = segments.last_mut() {
            segment["end"] = json!(seconds(*end));
            segment["text"] = json!(format!(" {}", tones::transcript(&open)));
        }
        if last || n + 1 == heard.len() {
            open.clear();
        }
    }
    let mut answer = json!({ "task": "transcribe", "language": "english", "duration": duration, "text": text });
    if wanted.words {
        answer["words"] = Value::Array(words);
    }
    if wanted.segments {
        answer["segments"] = Value::Array(segments);
    }
    answer
}

fn seconds(samples: u64) -> f64 {
    samples as f64 / f64::from(tones::RATE_HZ)
}
