//! One recording as a form, and what the server makes of it.

use std::time::Duration;

use bytes::Bytes;
use reqwest::multipart;
use serde::Deserialize;

use super::{SpeechError, SpeechErrorKind, error, time_of};
use crate::audio::{AudioFormat, Encoder, Encoding};
use crate::config::{self, TranscriptFormat};
use crate::speech::{RecognitionConfig, Utterance, Word, vad};

/// OpenAI refuses what is shorter than 0.1 s.
const SHORTEST_SAMPLES: usize = vad::RATE_HZ as usize / 10;
/// Whisper reads the last 224 tokens of a prompt.
const MAX_PROMPT_CHARS: usize = 600;

/// Fields of one request; may be sent again.
pub(super) struct Form {
    wav: Bytes,
    fields: Vec<(&'static str, String)>,
}

impl Form {
    /// `samples` are of [`vad::RATE_HZ`].
    pub fn new(settings: &config::OpenAi, config: &RecognitionConfig, samples: &[i16]) -> Result<Self, SpeechError> {
        let unusable = |problem: crate::audio::AudioError| error(SpeechErrorKind::Request, problem.to_string());
        let format = AudioFormat::new(Encoding::Wav, vad::RATE_HZ, 1).map_err(unusable)?;
        let padded;
        let samples = if samples.len() < SHORTEST_SAMPLES {
            let mut longer = samples.to_vec();
            longer.resize(SHORTEST_SAMPLES, 0);
            padded = longer;
            padded.as_slice()
        } else {
            samples
        };
        let wav = Encoder::file(vad::RATE_HZ, format, samples).map_err(unusable)?;
        let model = config.model.clone().unwrap_or_else(|| settings.stt_model.clone());
        let mut fields = vec![("model", model), ("response_format", settings.stt_format.as_str().to_owned())];
        // ISO 639-1, where BCP 47 says more.
        if let Some(language) = config.language.split(['-', '_']).next().filter(|language| !language.is_empty()) {
            fields.push(("language", language.to_ascii_lowercase()));
        }
        if let Some(prompt) = prompt(config) {
            fields.push(("prompt", prompt));
        }
        if config.words && settings.stt_format == TranscriptFormat::VerboseJson {
            fields.extend(["word", "segment"].map(|what| ("timestamp_granularities[]", what.to_owned())));
        }
        Ok(Self { wav: wav.into(), fields })
    }

    pub fn to_multipart(&self) -> Result<multipart::Form, SpeechError> {
        let file = multipart::Part::stream_with_length(self.wav.clone(), self.wav.len() as u64).file_name("audio.wav");
        let file =
            file.mime_str("audio/wav").map_err(|problem| error(SpeechErrorKind::Request, problem.to_string()))?;
        let form = multipart::Form::new().part("file", file);
        Ok(self.fields.iter().fold(form, |form, (name, value)| form.text(*name, value.clone())))
    }
}

/// The likeliest words first; how likely cannot be said.
fn prompt(config: &RecognitionConfig) -> Option<String> {
    let mut phrases: Vec<_> = config.phrases.iter().collect();
    phrases.sort_by(|one, other| other.boost.total_cmp(&one.boost));
    let mut text = String::new();
    for phrase in phrases {
        if text.chars().count() + phrase.text.chars().count() + 2 > MAX_PROMPT_CHARS {
            break;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(phrase.text.trim());
    }
    Some(text).filter(|text| !text.is_empty())
}

/// `json`, or `verbose_json` with more.
#[derive(Debug, Deserialize)]
pub(super) struct Transcript {
    pub text: String,
    #[serde(default)]
    pub language: Option<String>,
    #[serde(default)]
    segments: Option<Vec<Segment>>,
    #[serde(default)]
    words: Option<Vec<TimedWord>>,
}

#[derive(Debug, Deserialize)]
struct Segment {
    start: f64,
    end: f64,
    text: String,
    /// Natural logarithm of the mean likelihood of its tokens.
    #[serde(default)]
    avg_logprob: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct TimedWord {
    word: String,
    start: f64,
    end: f64,
    /// An extension of faster-whisper's servers.
    #[serde(default)]
    probability: Option<f64>,
}

impl Transcript {
    /// # Errors
    /// What was expected.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(body).map_err(|problem| format!("the answer is no transcript: {problem}"))
    }

    /// One text of sound that is `length` long.
    pub fn into_utterance(self, length: Duration) -> Utterance {
        let confidence = self.confidence();
        let words = self.words.unwrap_or_default().into_iter().filter_map(|word| word.read(length)).collect();
        utterance(0, clean(&self.text), confidence, words, (Duration::ZERO, length))
    }

    /// One for each segment, where the server tells them.
    pub fn into_utterances(mut self, length: Duration) -> Vec<Utterance> {
        let segments = self.segments.take().unwrap_or_default();
        if segments.is_empty() {
            let whole = self.into_utterance(length);
            return if whole.text.is_empty() { Vec::new() } else { vec![whole] };
        }
        let words = self.words.unwrap_or_default().into_iter().filter_map(|word| word.read(length));
        let mut words: Vec<Word> = words.collect();
        words.sort_by_key(|word| word.start);
        let mut words = words.into_iter().peekable();
        let last = segments.len() - 1;
        let mut utterances = Vec::new();
        for (n, segment) in segments.into_iter().enumerate() {
            let (start, end) = times(segment.start, segment.end, length);
            // What lies between two segments goes with the one before.
            let own = std::iter::from_fn(|| words.next_if(|word| n == last || word.start < end)).collect();
            let text = clean(&segment.text);
            if !text.is_empty() {
                let confidence = likelihood(segment.avg_logprob);
                utterances.push(utterance(utterances.len() as u64, text, confidence, own, (start, end)));
            }
        }
        utterances
    }

    /// The segments' mean, by their lengths.
    fn confidence(&self) -> Option<f32> {
        let segments = self.segments.as_deref()?;
        let (mut sum, mut weight) = (0.0, 0.0);
        for segment in segments {
            let (confidence, length) = (likelihood(segment.avg_logprob)?, (segment.end - segment.start).max(0.001));
            sum += f64::from(confidence) * length;
            weight += length;
        }
        Some((sum / weight) as f32).filter(|confidence| confidence.is_finite())
    }
}

impl TimedWord {
    fn read(self, length: Duration) -> Option<Word> {
        let text = clean(&self.word);
        let (start, end) = times(self.start, self.end, length);
        let confidence = self.probability.filter(|p| (0.0..=1.0).contains(p)).map(|p| p as f32);
        (!text.is_empty()).then_some(Word { text, start, end, confidence })
    }
}

fn utterance(
    number: u64,
    text: String,
    confidence: Option<f32>,
    words: Vec<Word>,
    (start, end): (Duration, Duration),
) -> Utterance {
    Utterance { number, revision: 0, text, is_final: true, confidence, words, start, end, promoted: false }
}

fn likelihood(avg_logprob: Option<f64>) -> Option<f32> {
    avg_logprob.map(|log| log.exp() as f32).filter(|p| (0.0..=1.0).contains(p))
}

/// Seconds as the server tells them, within the sound that there was.
fn times(start: f64, end: f64, length: Duration) -> (Duration, Duration) {
    let read = |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(length).min(length);
    let start = read(start);
    (start, read(end).max(start))
}

/// Without what cannot be stored.
fn clean(text: &str) -> String {
    text.trim().replace('\0', "\u{fffd}")
}

/// Of samples from `from` to `to`, on the recognition's clock.
pub(super) fn moved(mut utterance: Utterance, number: u64, from: u64, spoken: (u64, u64)) -> Utterance {
    let offset = time_of(from);
    for word in &mut utterance.words {
        word.start += offset;
        word.end += offset;
    }
    utterance.number = number;
    (utterance.start, utterance.end) = (time_of(spoken.0), time_of(spoken.1));
    utterance
}
