//! The settings of an OpenAI-compatible speech server.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, duration};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenAi {
    /// Empty: the engine is off.
    pub url: String,
    pub api_key: Secret,
    pub stt_model: String,
    pub stt_format: TranscriptFormat,
    pub tts_model: String,
    pub tts_format: SoundFormat,
    pub voice: String,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub connect_timeout: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub request_timeout: Duration,
    pub tries: u32,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub give_up_after: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub max_audio: Duration,
    pub max_input_chars: usize,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub max_speech: Duration,
    pub max_answer_bytes: usize,
    pub detection: Detection,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub pre_roll: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub hangover: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub max_utterance: Duration,
}

/// `response_format` of transcriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TranscriptFormat {
    /// Text alone.
    Json,
    /// With segments, words and their times.
    VerboseJson,
}

impl TranscriptFormat {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::VerboseJson => "verbose_json",
        }
    }
}

/// `response_format` of speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SoundFormat {
    /// 16 bit, mono, 24 kHz, without a header.
    Pcm,
    /// Tells its own shape.
    Wav,
}

impl SoundFormat {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pcm => "pcm",
            Self::Wav => "wav",
        }
    }
}

/// How speech is told from silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Detection {
    /// By a small neural network that knows voices from noise.
    Voice,
    /// By loudness alone.
    Level,
}

impl OpenAi {
    /// A setting's name and what is wrong with it.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let fail = |key, problem: &str| Some((key, problem.to_owned()));
        if !self.url.is_empty() {
            let url = url::Url::parse(&self.url).ok();
            if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.query().is_none()) {
                return fail("url", "is not an http(s) address, expected one such as http://127.0.0.1:8000/v1");
            }
        }
        let zero = [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("max_audio", self.max_audio),
            ("max_speech", self.max_speech),
            ("hangover", self.hangover),
        ];
        if let Some((key, _)) = zero.into_iter().find(|(_, value)| value.is_zero()) {
            return fail(key, "is zero, expected a positive duration");
        }
        if self.max_utterance < Duration::from_secs(1) {
            return fail("max_utterance", "is shorter than 1s");
        }
        if self.max_utterance + Duration::from_secs(1) > self.max_audio {
            return fail("max_utterance", "is not a second shorter than max_audio, but goes out as one request");
        }
        if self.hangover + self.pre_roll >= self.max_utterance {
            return fail("hangover", "and pre_roll together are as long as max_utterance");
        }
        let counts = [
            ("tries", self.tries as usize),
            ("max_input_chars", self.max_input_chars),
            ("max_answer_bytes", self.max_answer_bytes),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return fail(key, "is 0, expected at least 1");
        }
        None
    }
}
