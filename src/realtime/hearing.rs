//! A recording into text.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::{Inner, RATE_HZ, SessionError};
use crate::audio::{AudioError, AudioFormat, Decoder, Encoding, Pick};
use crate::clock;
use crate::session::{SessionConfig, SpokenWord, Transcript};
use crate::speech::{Phrase, RecognitionConfig, Recognized, recording};
use crate::telemetry::metrics;

/// A recording that was read.
#[derive(Debug, Clone)]
pub struct Recording {
    pub encoding: Encoding,
    /// As they came.
    pub bytes: Bytes,
    /// Of [`RATE_HZ`].
    pub samples: Vec<i16>,
    /// Sound is missing that the file promised.
    pub truncated: bool,
    /// In place of the session's.
    pub language: Option<String>,
}

/// What became of a recording.
#[derive(Debug, Clone)]
pub struct HeardRecording {
    pub chunk_id: Uuid,
    /// `None`: nothing was said.
    pub turn_id: Option<Uuid>,
    pub transcript: Transcript,
    pub duration_ms: u64,
}

impl Recording {
    pub fn duration_ms(&self) -> u64 {
        self.samples.len() as u64 * 1000 / u64::from(RATE_HZ)
    }
}

/// Reads a file of at most `longest`: its samples, and whether sound is missing that it promised. Takes its time: not for
/// the runtime's own threads.
///
/// # Errors
/// As [`Decoder::whole`].
pub fn decode(format: AudioFormat, bytes: &[u8], longest: Duration) -> Result<(Vec<i16>, bool), AudioError> {
    let begun = clock::monotonic();
    let decoded = Decoder::new(format, Pick::Mix, RATE_HZ)?.whole(bytes, longest);
    metrics::TURN_STAGE.record(["decode"], clock::monotonic() - begun);
    decoded
}

/// Recognizes; gives the engine's name too.
pub(super) async fn recognize(
    inner: &Inner,
    config: &SessionConfig,
    recording: &Recording,
    samples: &[i16],
) -> Result<(&'static str, Transcript), SessionError> {
    let engine = inner.speech.stt()?;
    let begun = clock::monotonic();
    let phrase = |phrase: &crate::session::config::LikelyPhrase| Phrase {
        text: phrase.text.clone(),
        boost: phrase.boost as f32,
    };
    let wanted = RecognitionConfig {
        language: recording.language.as_ref().or(config.language.as_ref()).unwrap_or(&inner.language).clone(),
        model: config.model.clone(),
        rate_hz: RATE_HZ,
        punctuation: config.punctuation,
        words: true,
        interims: false,
        phrases: config.phrases.iter().map(phrase).collect(),
    };
    let recognized = recording::recognize(engine.as_ref(), &wanted, samples).await?;
    metrics::TURN_STAGE.record(["recognize"], clock::monotonic() - begun);
    let mut transcript = transcript(recognized);
    transcript.language.get_or_insert(wanted.language);
    Ok((engine.name(), transcript))
}

fn transcript(recognized: Recognized) -> Transcript {
    let mut whole = Transcript { language: recognized.language, ..Transcript::default() };
    whole.billed_ms = ms(recognized.usage.billed);
    let (mut sum, mut weight) = (0.0, 0.0);
    for utterance in recognized.utterances.iter().filter(|utterance| !utterance.text.trim().is_empty()) {
        if whole.text.is_empty() {
            whole.start_ms = ms(utterance.start);
        } else {
            whole.text.push(' ');
        }
        whole.text.push_str(utterance.text.trim());
        whole.end_ms = ms(utterance.end).max(whole.start_ms);
        if let Some(confidence) = utterance.confidence {
            let words = utterance.text.split_whitespace().count() as f64;
            sum += f64::from(confidence) * words;
            weight += words;
        }
        whole.words.extend(utterance.words.iter().map(|word| SpokenWord {
            word: word.text.clone(),
            start_ms: ms(word.start),
            end_ms: ms(word.end),
            confidence: word.confidence.map(share),
        }));
    }
    whole.confidence = (weight > 0.0).then(|| share((sum / weight) as f32));
    whole
}

/// As many digits as an engine means, and within what the columns take.
fn share(confidence: f32) -> f64 {
    let rounded = (f64::from(confidence) * 10_000.0).round() / 10_000.0;
    if rounded.is_finite() { rounded.clamp(0.0, 1.0) } else { 0.0 }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
