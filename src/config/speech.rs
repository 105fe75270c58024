//! Speech engines: which one is used, and what it needs to know.

use std::path::PathBuf;
use std::time::Duration;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::costs::{currency_problem, decimal, is_currency};
use super::{OpenAi, duration};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Speech {
    /// A name of [`crate::speech::registry`], or empty.
    pub engine: String,
    /// BCP 47.
    pub language: String,
    pub jobs: SpeechJobs,
    pub google: GoogleSpeech,
    pub openai: OpenAi,
}

/// Audio jobs from the queue.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpeechJobs {
    pub max_concurrent: usize,
    pub max_tries: u32,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub retry_initial: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub retry_max: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub fetch_timeout: Duration,
    pub max_bytes: usize,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub max_audio: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub chunk: Duration,
}

impl SpeechJobs {
    fn problem(&self) -> Option<(&'static str, String)> {
        let counts = [
            ("max_concurrent", self.max_concurrent),
            ("max_tries", self.max_tries as usize),
            ("max_bytes", self.max_bytes),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return Some((key, "is 0, expected at least 1".into()));
        }
        let least = Duration::from_secs(1);
        let durations = [("fetch_timeout", self.fetch_timeout), ("max_audio", self.max_audio), ("chunk", self.chunk)];
        let short = durations.into_iter().find(|(_, value)| *value < least);
        short.map(|(key, _)| (key, "is shorter than 1s".into()))
    }
}

/// Google Cloud Speech-to-Text v2 and Text-to-Speech v1.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GoogleSpeech {
    /// Empty: the credentials' own.
    pub project: String,
    /// Empty: application default credentials.
    pub credentials_file: PathBuf,
    pub authorize: Authorize,
    /// Empty: none.
    pub quota_project: String,
    /// Empty: Google's, by location.
    pub stt_endpoint: String,
    pub tts_endpoint: String,
    /// Empty: where the model is.
    pub stt_location: String,
    pub tts_location: String,
    pub stt_model: String,
    pub stt_model_8khz: String,
    pub tts_voice: String,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub connect_timeout: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub request_timeout: Duration,
    pub max_concurrent: usize,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub rotate_after: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub max_stream: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub drain: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub close_when_silent: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub keep_alive: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub stall: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub replay_buffer: Duration,
    pub replay_speed: f64,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub give_up_after: Duration,
    pub time_factor: f64,
    pub currency: String,
    pub prices_as_of: String,
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub stt_per_minute: Option<Decimal>,
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub tts_standard: Option<Decimal>,
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub tts_neural2: Option<Decimal>,
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub tts_chirp3_hd: Option<Decimal>,
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub tts_studio: Option<Decimal>,
}

/// To whom credentials are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Authorize {
    /// To https endpoints only.
    Https,
    /// To any.
    Always,
    /// To none: something on the way adds them.
    Never,
}

impl Speech {
    /// The setting's name below `speech.` and what is wrong with it.
    pub(super) fn problem(&self) -> Option<(String, String)> {
        if self.language.is_empty() {
            return Some(("language".into(), "is empty, expected a BCP 47 language such as en-US".into()));
        }
        if let Some((key, problem)) = self.jobs.problem() {
            return Some((format!("jobs.{key}"), problem));
        }
        let google = self.google.problem().map(|(key, problem)| (format!("google.{key}"), problem));
        google.or_else(|| self.openai.problem().map(|(key, problem)| (format!("openai.{key}"), problem)))
    }
}

impl GoogleSpeech {
    fn problem(&self) -> Option<(&'static str, String)> {
        for (key, endpoint) in [("stt_endpoint", &self.stt_endpoint), ("tts_endpoint", &self.tts_endpoint)] {
            if let Err(problem) = endpoint_of(endpoint) {
                return Some((key, problem));
            }
        }
        let durations = [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("rotate_after", self.rotate_after),
            ("drain", self.drain),
            ("close_when_silent", self.close_when_silent),
            ("keep_alive", self.keep_alive),
            ("stall", self.stall),
            ("replay_buffer", self.replay_buffer),
            ("give_up_after", self.give_up_after),
        ];
        if let Some((key, _)) = durations.into_iter().find(|(_, value)| value.is_zero()) {
            return Some((key, "is zero, expected a positive duration".into()));
        }
        if self.max_stream <= self.rotate_after {
            return Some(("max_stream", "is not longer than speech.google.rotate_after".into()));
        }
        if self.max_concurrent == 0 {
            return Some(("max_concurrent", "is 0, expected at least 1".into()));
        }
        if !(1.0..=16.0).contains(&self.replay_speed) {
            return Some(("replay_speed", format!("is {}, expected 1 to 16", self.replay_speed)));
        }
        if !(1.0..=1000.0).contains(&self.time_factor) {
            return Some(("time_factor", format!("is {}, expected 1 to 1000", self.time_factor)));
        }
        if self.time_factor > 1.0 && !self.stt_endpoint.starts_with("http://") {
            return Some(("time_factor", "is above 1, which only a simulator takes".into()));
        }
        (!is_currency(&self.currency)).then(|| ("currency", currency_problem(&self.currency)))
    }
}

/// An endpoint by its setting: `https://host`, or `http://` to this machine only, since credentials and speech would
/// travel in the clear. `None` where the setting is empty.
pub fn endpoint_of(text: &str) -> Result<Option<Url>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let refused = |problem: &str| format!("{text:?} {problem}");
    let url = Url::parse(text).map_err(|_| refused("is not an address, expected https://host[:port]"))?;
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" if url.has_host() => Ok(Some(url)),
        "http" if loopback => Ok(Some(url)),
        "http" => Err(refused("is plain text to another machine, expected https: (http: only to a loopback address)")),
        _ => Err(refused("is not an address, expected https://host[:port]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_goes_to_this_machine_only() {
        for good in ["http://127.0.0.1:9000", "http://localhost:1", "http://[::1]:1", "https://speech.example"] {
            assert!(endpoint_of(good).unwrap().is_some(), "{good}");
        }
        assert_eq!(endpoint_of(""), Ok(None));
        for bad in ["http://speech.example", "http://10.0.0.1:1", "speech.example:443", "ftp://127.0.0.1", "x"] {
            assert!(endpoint_of(bad).is_err(), "{bad}");
        }
    }
}
