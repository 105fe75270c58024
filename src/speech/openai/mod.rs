//! Servers that speak OpenAI's HTTP API for speech: OpenAI itself, and what people run on their own machines (speaches,
//! Kokoro-FastAPI, vLLM, whisper.cpp's server with `--inference-path /v1/audio/transcriptions`).
//!
//! `POST {url}/audio/transcriptions` hears one recording (multipart: `file`, `model`, `language`, `prompt`,
//! `response_format`, `timestamp_granularities[]`); it knows no streams and no interim texts. So live sound is cut into
//! utterances here ([`crate::speech::vad`]), and each goes out as a WAV of its own. `POST {url}/audio/speech` speaks (JSON:
//! `model`, `input`, `voice`, `response_format`, `speed`) and answers with sound as it is made. Both may be asked twice.

mod client;
mod live;
mod speak;
mod transcript;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::registry::Engines;
use super::vad;
use super::{
    Hearing, Recognition, RecognitionConfig, Recognized, Speech, SpeechError, SpeechErrorKind, SpeechToText,
    SynthesisRequest, TextToSpeech, Usage,
};
use crate::audio::Resampler;
use crate::config::{self, TranscriptFormat};
use crate::lifecycle::Lifecycle;
use client::Client;

pub const NAME: &str = "openai";

/// Of a live recognition's sound, in pieces; and of what it tells.
const SOUND_PIECES: usize = 64;
const EVENTS: usize = 256;

/// The engine. Cheap to clone; connections are shared.
#[derive(Clone)]
pub struct OpenAi {
    client: Arc<Client>,
    settings: Arc<config::OpenAi>,
    lifecycle: Lifecycle,
}

impl OpenAi {
    /// Asks the server nothing.
    ///
    /// # Errors
    /// Why the engine is off: no address, or a machine without TLS.
    pub fn new(settings: &config::OpenAi, lifecycle: &Lifecycle) -> Result<Self, String> {
        if settings.url.is_empty() {
            return Err("speech.openai.url is not set".into());
        }
        let client = Client::new(settings).map_err(|error| format!("its HTTP client cannot be made: {error}"))?;
        Ok(Self { client: Arc::new(client), settings: Arc::new(settings.clone()), lifecycle: lifecycle.clone() })
    }
}

/// For the registry.
pub fn from_config(config: &config::Config, lifecycle: &Lifecycle) -> Result<Engines, String> {
    let engine = Arc::new(OpenAi::new(&config.speech.openai, lifecycle)?);
    Ok(Engines { stt: Some(engine.clone()), tts: Some(engine) })
}

fn error(kind: SpeechErrorKind, detail: impl Into<String>) -> SpeechError {
    SpeechError { engine: NAME, kind, detail: detail.into() }
}

#[async_trait]
impl SpeechToText for OpenAi {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hearing(&self, _: &RecognitionConfig) -> Hearing {
        let words = self.settings.stt_format == TranscriptFormat::VerboseJson;
        Hearing { interims: false, words, phrases: true, longest: self.settings.max_audio }
    }

    fn listen(&self, config: RecognitionConfig) -> Recognition {
        let (sound, sounds) = mpsc::channel(SOUND_PIECES);
        let (events, heard) = mpsc::channel(EVENTS);
        let live = live::Live::new(self.client.clone(), &self.settings, config, sounds, events);
        let stop = self.lifecycle.hard_token();
        self.lifecycle.spawn(async move {
            stop.run_until_cancelled(live.run()).await;
        });
        Recognition { sound, heard }
    }

    async fn recognize(&self, config: &RecognitionConfig, samples: &[i16]) -> Result<Recognized, SpeechError> {
        let samples = to_own_rate(config.rate_hz, samples)?;
        let length = time_of(samples.len() as u64);
        if length > self.settings.max_audio {
            let most = config::duration::format(self.settings.max_audio);
            return Err(error(SpeechErrorKind::Request, format!("the recording is longer than {most}")));
        }
        let form = transcript::Form::new(&self.settings, config, &samples)?;
        let (mut tries, mut billed) = (self.client.tries(), Duration::ZERO);
        let answer = loop {
            billed += length;
            match self.client.transcribe(&form).await {
                Ok(answer) => break answer,
                Err(failure) => tries.again(failure).await?,
            }
        };
        let language = answer.language.clone().filter(|_| config.language.is_empty());
        Ok(Recognized {
            utterances: answer.into_utterances(length),
            language: language.or_else(|| Some(config.language.clone()).filter(|language| !language.is_empty())),
            usage: Usage { billed, characters: 0 },
        })
    }
}

#[async_trait]
impl TextToSpeech for OpenAi {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn speak(&self, request: SynthesisRequest) -> Result<Speech, SpeechError> {
        speak::speak(self.client.clone(), &self.settings, request, &self.lifecycle).await
    }
}

/// As [`vad::RATE_HZ`], which is also what Whisper hears.
fn to_own_rate(rate_hz: u32, samples: &[i16]) -> Result<Vec<i16>, SpeechError> {
    let mut resampler = resampler(rate_hz, vad::RATE_HZ)?;
    let mut out = Vec::new();
    resampler.push(samples, &mut out);
    resampler.finish(&mut out);
    Ok(out)
}

fn resampler(from_hz: u32, to_hz: u32) -> Result<Resampler, SpeechError> {
    Resampler::new(from_hz, to_hz).map_err(|problem| error(SpeechErrorKind::Request, problem.to_string()))
}

/// Of a number of samples of [`vad::RATE_HZ`].
fn time_of(samples: u64) -> Duration {
    let rate = u64::from(vad::RATE_HZ);
    Duration::new(samples / rate, (samples % rate * 1_000_000_000 / rate) as u32)
}
