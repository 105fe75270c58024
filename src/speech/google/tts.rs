//! Speaking: as a stream where the voice can, else piece by piece.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use googleapis_tonic_google_cloud_texttospeech_v1::google::cloud::texttospeech::v1 as api;
use tokio::sync::mpsc;
use tonic::{Extensions, Request, Status};

use api::streaming_synthesis_input::InputSource as StreamedSource;
use api::streaming_synthesize_request::StreamingRequest;
use api::synthesis_input::InputSource;

use super::fault::{Fault, FaultKind};
use super::session::word;
use super::text::{self, MOST_BYTES};
use super::{Engine, NAME, price, refused, unreadable};
use crate::audio::{AudioFormat, Decoder, Encoding, Pick, RATES_HZ};
use crate::call::money::Money;
use crate::clock;
use crate::lifecycle::Lifecycle;
use crate::retry;
use crate::speech::{Speech, SpeechError, SynthesisRequest, TextToSpeech, Usage};
use crate::telemetry::metrics;

/// Pieces of sound that wait for the caller.
const WAITING: usize = 16;
const TRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The longest sound of one piece: far more than 5,000 bytes of text make.
const LONGEST: Duration = Duration::from_secs(1800);

pub struct Tts {
    pub(super) engine: Arc<Engine>,
    pub(super) lifecycle: Lifecycle,
}

#[async_trait]
impl TextToSpeech for Tts {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn speak(&self, request: SynthesisRequest) -> Result<Speech, SpeechError> {
        let job = Job::new(self.engine.clone(), &request).map_err(refused)?;
        let usage = Usage { billed: Duration::ZERO, characters: request.text.chars().count() as u64 };
        let (outgoing, sound) = mpsc::channel(WAITING);
        let aborted = self.lifecycle.hard_token();
        self.lifecycle.spawn(async move {
            let gone = outgoing.clone();
            tokio::select! {
                _ = aborted.cancelled() => {}
                () = gone.closed() => {}
                result = job.run(&outgoing) => {
                    if let Err(error) = result {
                        let _ = outgoing.send(Err(error)).await;
                    }
                }
            }
        });
        Ok(Speech { rate_hz: request.rate_hz, sound, usage })
    }

    fn cost(&self, voice: Option<&str>, usage: &Usage) -> Option<Money> {
        price::said(&self.engine.settings, voice.unwrap_or(&self.engine.settings.tts_voice), usage.characters)
    }
}

type Sound = mpsc::Sender<Result<Vec<i16>, SpeechError>>;

/// One request of ours, which may be several of Google's.
struct Job {
    engine: Arc<Engine>,
    pieces: Vec<String>,
    ssml: bool,
    voice: api::VoiceSelectionParams,
    speaking_rate: f64,
    rate_hz: u32,
}

impl Job {
    fn new(engine: Arc<Engine>, request: &SynthesisRequest) -> Result<Self, String> {
        let SynthesisRequest { text, ssml, language, voice, speaking_rate, rate_hz } = request;
        if text.trim().is_empty() {
            return Err("there is nothing to say".into());
        }
        if !(0.25..=2.0).contains(speaking_rate) {
            return Err(format!("a speaking rate of {speaking_rate}, expected 0.25 to 2.0"));
        }
        if !RATES_HZ.contains(rate_hz) {
            return Err(format!("a sample rate of {rate_hz} Hz, expected one of {RATES_HZ:?}"));
        }
        if *ssml && text.len() > MOST_BYTES {
            return Err(format!("SSML of {} bytes, expected at most {MOST_BYTES}", text.len()));
        }
        let pieces = if *ssml { vec![text.clone()] } else { text::pieces(text, MOST_BYTES) };
        let default = &engine.settings.tts_voice;
        let speaks =
            |voice: &str| language.is_empty() || voice.to_ascii_lowercase().starts_with(&language.to_ascii_lowercase());
        // For another language than the default voice's, Google picks one.
        let asked = voice.clone().filter(|voice| !voice.is_empty());
        let name = asked.or_else(|| speaks(default).then(|| default.clone())).unwrap_or_default();
        let own_language = name.split('-').take(2).collect::<Vec<_>>().join("-");
        let language = if name.is_empty() { language.clone() } else { own_language };
        if language.is_empty() {
            return Err("neither a language nor a voice".into());
        }
        let voice = api::VoiceSelectionParams { language_code: language, name, ..Default::default() };
        let (speaking_rate, rate_hz) = (f64::from(*speaking_rate), *rate_hz);
        Ok(Self { engine, pieces, ssml: *ssml, voice, speaking_rate, rate_hz })
    }

    /// Chirp 3 HD and Journey voices stream; nothing else does, and SSML never.
    fn streams(&self) -> bool {
        !self.ssml && ["-Chirp3-HD-", "-Chirp-HD-", "-Journey-"].iter().any(|family| self.voice.name.contains(family))
    }

    async fn run(&self, out: &Sound) -> Result<(), SpeechError> {
        let mut random = fastrand::Rng::with_seed(self.engine.next_seed());
        for piece in &self.pieces {
            let (mut tokens, mut tries) = (0, 0);
            loop {
                let began = clock::monotonic();
                let mut told = false;
                let (method, result) = match self.streams() {
                    true => ("streaming_synthesize", self.stream(piece, out, &mut told).await),
                    false => ("synthesize", self.whole(piece, out, &mut told).await),
                };
                let fault = match result {
                    Ok(()) => {
                        metrics::SPEECH_REQUESTS.inc([NAME, method, "ok"]);
                        metrics::SPEECH_REQUEST.record([NAME, method], clock::monotonic() - began);
                        break;
                    }
                    Err(Failure::Read(error)) => return Err(error),
                    Err(Failure::Fault(fault)) => fault,
                };
                metrics::SPEECH_REQUESTS.inc([NAME, method, word(fault.kind)]);
                if fault.kind == FaultKind::Token {
                    tokens += 1;
                    self.engine.channels.renew().await;
                }
                tries += 1;
                // What the caller has heard cannot be said again.
                if told || !fault.is_passing() || tokens > 1 || tries >= TRIES {
                    return Err(fault.error());
                }
                clock::sleep(retry::wait_for(tries - 1, FIRST_WAIT, LONGEST_WAIT, random.f64())).await;
            }
        }
        Ok(())
    }

    /// The answer is a WAV file.
    async fn whole(&self, piece: &str, out: &Sound, told: &mut bool) -> Result<(), Failure> {
        let source = if self.ssml { InputSource::Ssml(piece.to_owned()) } else { InputSource::Text(piece.to_owned()) };
        let request = api::SynthesizeSpeechRequest {
            input: Some(api::SynthesisInput { input_source: Some(source), ..Default::default() }),
            voice: Some(self.voice.clone()),
            audio_config: Some(api::AudioConfig {
                audio_encoding: api::AudioEncoding::Linear16.into(),
                speaking_rate: self.speaking_rate,
                sample_rate_hertz: self.rate_hz as i32,
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut line = self.engine.channels.tts(&self.engine.settings.tts_location).await.map_err(Failure::Fault)?;
        let request = Request::from_parts(line.headers, Extensions::default(), request);
        let answer = self.patiently(line.client.synthesize_speech(request)).await?.into_inner();
        let samples = read_wav(&answer.audio_content, self.rate_hz).map_err(Failure::Read)?;
        // A second at a time: the caller may have had enough.
        for part in samples.chunks(self.rate_hz as usize) {
            *told = true;
            if out.send(Ok(part.to_vec())).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One stream a piece: it must not wait for input, which Google ends after five seconds.
    async fn stream(&self, piece: &str, out: &Sound, told: &mut bool) -> Result<(), Failure> {
        let config = api::StreamingSynthesizeConfig {
            voice: Some(self.voice.clone()),
            streaming_audio_config: Some(api::StreamingAudioConfig {
                audio_encoding: api::AudioEncoding::Pcm.into(),
                sample_rate_hertz: self.rate_hz as i32,
                speaking_rate: self.speaking_rate,
            }),
            ..Default::default()
        };
        let input = api::StreamingSynthesisInput {
            input_source: Some(StreamedSource::Text(piece.to_owned())),
            ..Default::default()
        };
        let message = |request| api::StreamingSynthesizeRequest { streaming_request: Some(request) };
        let messages = [message(StreamingRequest::StreamingConfig(config)), message(StreamingRequest::Input(input))];
        let mut line = self.engine.channels.tts(&self.engine.settings.tts_location).await.map_err(Failure::Fault)?;
        let request = Request::from_parts(line.headers, Extensions::default(), stream::iter(messages));
        let mut answers = self.patiently(line.client.streaming_synthesize(request)).await?.into_inner();
        let format = AudioFormat::new(Encoding::Pcm16, self.rate_hz, 1);
        let decoder = format.and_then(|format| Decoder::new(format, Pick::Mix, self.rate_hz));
        let mut decoder = decoder.map_err(|error| Failure::Read(unreadable(error.to_string())))?;
        // Pieces come in any size, even with half a sample at their end.
        while let Some(answer) = self.patiently(answers.message()).await? {
            let mut samples = Vec::new();
            let mut rest = &answer.audio_content[..];
            while !rest.is_empty() {
                let read = decoder.push(rest, &mut samples);
                rest = &rest[read.map_err(|error| Failure::Read(unreadable(error.to_string())))?..];
            }
            if samples.is_empty() {
                continue;
            }
            *told = true;
            if out.send(Ok(samples)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn patiently<T>(&self, answer: impl Future<Output = Result<T, Status>>) -> Result<T, Failure> {
        let patience = self.engine.settings.request_timeout;
        let answer = tokio::time::timeout(patience, answer).await;
        let answer =
            answer.unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no answer within {patience:?}"))));
        answer.map_err(|status| Failure::Fault(Fault::from(&status)))
    }
}

enum Failure {
    Fault(Fault),
    /// Its answer cannot be read; another one would not be better.
    Read(SpeechError),
}

/// LINEAR16, MULAW and ALAW come as WAV files, with chunks before their sound at times.
fn read_wav(bytes: &[u8], rate_hz: u32) -> Result<Vec<i16>, SpeechError> {
    let samples = AudioFormat::new(Encoding::Wav, rate_hz, 1)
        .and_then(|format| Decoder::new(format, Pick::Mix, rate_hz))
        .and_then(|decoder| decoder.whole(bytes, LONGEST));
    match samples {
        Ok((_, true)) => Err(unreadable("the WAV file is shorter than its header says")),
        Ok((samples, false)) => Ok(samples),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Encoder;

    #[test]
    fn headers_of_all_answers_are_read() {
        let format = AudioFormat::new(Encoding::Wav, 16_000, 1).unwrap();
        let wave: Vec<i16> = (0..1600).map(|n| (n % 100) * 50).collect();
        let mut file = Encoder::file(16_000, format, &wave).unwrap();
        assert_eq!(read_wav(&file, 16_000).unwrap(), wave);
        // A chunk before the sound.
        let data = file.windows(4).position(|part| part == b"data").unwrap();
        let extra = [b"LIST".as_slice(), &3u32.to_le_bytes(), b"abc\0"].concat();
        file.splice(data..data, extra);
        assert_eq!(read_wav(&file, 16_000).unwrap(), wave);
        assert!(read_wav(&file[..file.len() - 10], 16_000).is_err());
        assert!(read_wav(b"{\"error\": 1}", 16_000).is_err());
        // mu-law at 8 kHz: format 7, 8 bits.
        let header = [
            b"RIFF".as_slice(),
            &0u32.to_le_bytes(),
            b"WAVEfmt ",
            &18u32.to_le_bytes(),
            &7u16.to_le_bytes(),
            &1u16.to_le_bytes(),
            &8000u32.to_le_bytes(),
            &8000u32.to_le_bytes(),
            &1u16.to_le_bytes(),
            &8u16.to_le_bytes(),
            &0u16.to_le_bytes(),
            b"data",
            &4u32.to_le_bytes(),
            &[0xFF, 0x7F, 0x80, 0x00],
        ]
        .concat();
        assert_eq!(read_wav(&header, 8000).unwrap(), [0, 0, 32_124, -32_124]);
    }
}
