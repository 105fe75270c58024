//! The data of audio jobs: `voice.audio.transcribe_requested` and `voice.speech.synthesize_requested`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::audio::{AudioFormat, Encoding, Pick, RATES_HZ};

/// `data` of `voice.audio.transcribe_requested`: a recording, in the message or at an address, into text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["audio"], "properties": {"audio_url": false}}, {"required": ["audio_url"], "properties": {"audio": false}}]))]
pub struct TranscribeData {
    /// The recording itself, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub audio: Option<String>,
    /// Where the recording is: `https:`, or `s3://bucket/key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_url: Option<Url>,
    /// How it is written.
    #[serde(default = "wav")]
    pub format: Encoding,
    /// Of raw formats, in Hz; else 16,000 for `pcm16` and 8,000 for `mulaw` and `alaw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<u32>,
    /// What is heard of a recording with two channels.
    #[serde(default)]
    pub channel: Channel,
    /// BCP 47; else the setting `speech.language`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub language: Option<String>,
    /// The engine's name of a model; else its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub model: Option<String>,
    #[serde(default = "yes")]
    pub punctuation: bool,
    /// Words with their times and confidence, where the engine has them.
    #[serde(default = "yes")]
    pub words: bool,
    /// Words and phrases that are likelier than the model thinks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    pub phrases: Vec<PhraseData>,
    /// The producer's own facts, at most 16 KiB; they come back with the outcome.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PhraseData {
    #[schemars(length(min = 1, max = 100))]
    pub text: String,
    /// Above 0, at most 20.
    #[serde(default = "ten")]
    pub boost: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    #[default]
    Mix,
    Left,
    Right,
}

impl Channel {
    pub fn pick(self) -> Pick {
        match self {
            Self::Mix => Pick::Mix,
            Self::Left => Pick::Left,
            Self::Right => Pick::Right,
        }
    }
}

/// `data` of `voice.speech.synthesize_requested`: text or SSML into sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["text"], "properties": {"ssml": false}}, {"required": ["ssml"], "properties": {"text": false}}]))]
pub struct SynthesizeData {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50_000))]
    pub text: Option<String>,
    /// For engines and voices that take SSML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50_000))]
    pub ssml: Option<String>,
    /// BCP 47; else the setting `speech.language`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub language: Option<String>,
    /// The engine's name of a voice; else its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub voice: Option<String>,
    /// 0.25 to 2.0.
    #[serde(default = "usual")]
    pub speaking_rate: f32,
    /// How the sound is written.
    #[serde(default = "wav")]
    pub format: Encoding,
    /// In Hz; else 16,000, and 8,000 for `mulaw` and `alaw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<u32>,
    /// Where the sound is written, `s3://bucket/key`; without it the sound is kept with the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_url: Option<Url>,
    /// The producer's own facts, at most 16 KiB; they come back with the outcome.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

fn wav() -> Encoding {
    Encoding::Wav
}

fn yes() -> bool {
    true
}

fn ten() -> f32 {
    10.0
}

fn usual() -> f32 {
    1.0
}

impl TranscribeData {
    /// # Errors
    /// What is wrong with `sample_rate`.
    pub fn audio_format(&self) -> Result<AudioFormat, String> {
        audio_format(self.format, self.sample_rate)
    }

    /// The bytes that came in the message; `None` where there is an address.
    ///
    /// # Errors
    /// Not base64.
    pub fn audio_bytes(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(text) = &self.audio else { return Ok(None) };
        STANDARD
            .decode(text)
            .map(Some)
            .map_err(|problem| format!("is not base64 ({problem}), expected base64 with its padding"))
    }
}

impl SynthesizeData {
    /// # Errors
    /// What is wrong with `sample_rate`.
    pub fn audio_format(&self) -> Result<AudioFormat, String> {
        let rates = [8000, 12_000, 16_000, 24_000, 48_000];
        match self.sample_rate {
            Some(rate) if self.format == Encoding::Opus && !rates.contains(&rate) => {
                Err(format!("is {rate}, which Opus does not have, expected 8000, 12000, 16000, 24000 or 48000"))
            }
            rate => audio_format(self.format, rate),
        }
    }
}

fn audio_format(encoding: Encoding, rate_hz: Option<u32>) -> Result<AudioFormat, String> {
    AudioFormat::from_name(encoding.name(), rate_hz).map_err(|_| {
        let known = RATES_HZ.map(|rate| rate.to_string()).join(", ");
        format!("is {}, expected one of {known}", rate_hz.unwrap_or_default())
    })
}

/// Bucket and key of an `s3:` address.
pub fn s3_place(url: &Url) -> Option<(String, String)> {
    let key = url.path().strip_prefix('/').filter(|key| !key.is_empty()).and_then(percent_decoded)?;
    let plain = url.scheme() == "s3" && url.query().is_none() && url.fragment().is_none();
    let bucket = url.host_str().filter(|bucket| plain && !bucket.is_empty())?;
    Some((bucket.to_owned(), key))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, later)) = rest.split_first() {
        rest = later;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, later) = later.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = later;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_addresses_are_read_as_their_keys_are_written() {
        let place = |text: &str| s3_place(&Url::parse(text).unwrap());
        assert_eq!(place("s3://b/in/a%20b.wav"), Some(("b".into(), "in/a b.wav".into())));
        assert_eq!(place("s3://b/größe c"), Some(("b".into(), "größe c".into())));
        for bad in ["s3://b", "s3://b/", "s3:///k", "s3://b/k?versionId=1", "https://b/k", "s3://b/%zz", "s3://b/%f"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
