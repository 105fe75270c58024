//! Clients, and requests that keep all rules, for tests to break one.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2 as stt;
use googleapis_tonic_google_cloud_texttospeech_v1::google::cloud::texttospeech::v1 as tts;
use stt::explicit_decoding_config::AudioEncoding;
use stt::recognition_config::DecodingConfig;
use stt::speech_client::SpeechClient;
use stt::streaming_recognize_request::StreamingRequest;
use stt::{
    ExplicitDecodingConfig, RecognitionConfig, RecognitionFeatures, StreamingRecognitionConfig,
    StreamingRecognitionFeatures, StreamingRecognizeRequest, StreamingRecognizeResponse,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tts::text_to_speech_client::TextToSpeechClient;
use voxd::sim::google::{Delay, GoogleOptions, GoogleSim, HearingOptions, SpeakingOptions};
use voxd::sim::tones;

pub const RECOGNIZER: &str = "projects/p/locations/global/recognizers/_";
/// Longer than any test, on any of their clocks.
pub const NEVER: Duration = Duration::from_secs(100_000);
/// Samples of a message: 100 ms.
const STEP: usize = 1600;

/// Fifty times as fast as real.
pub fn quick() -> GoogleOptions {
    let hearing = HearingOptions {
        // A busy machine is no reason to be thrown out.
        idle: NEVER,
        age: NEVER,
        pace: 1000.0,
        interim_delay: Duration::ZERO,
        final_delay: Delay::Fixed(Duration::from_millis(600)),
        ..HearingOptions::default()
    };
    let speaking = SpeakingOptions { input_idle: NEVER, ..SpeakingOptions::default() };
    GoogleOptions { speed: 50.0, hearing, speaking, ..GoogleOptions::default() }
}

/// As [`quick`], with a change.
pub fn with(change: impl FnOnce(&mut GoogleOptions)) -> GoogleOptions {
    let mut options = quick();
    change(&mut options);
    options
}

pub async fn start(options: GoogleOptions) -> GoogleSim {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    GoogleSim::start(listener, options).unwrap()
}

pub async fn channel(sim: &GoogleSim) -> Channel {
    Channel::from_shared(sim.endpoint()).unwrap().tcp_nodelay(true).connect().await.unwrap()
}

pub async fn hearer(sim: &GoogleSim) -> SpeechClient<Channel> {
    SpeechClient::new(channel(sim).await)
}

pub async fn speaker(sim: &GoogleSim) -> TextToSpeechClient<Channel> {
    TextToSpeechClient::new(channel(sim).await).max_decoding_message_size(64 << 20)
}

/// Of the model `long`, for raw samples of 16 kHz, with interim texts and events.
pub fn config() -> StreamingRecognitionConfig {
    StreamingRecognitionConfig {
        config: Some(recognition()),
        streaming_features: Some(StreamingRecognitionFeatures {
            enable_voice_activity_events: true,
            interim_results: true,
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub fn recognition() -> RecognitionConfig {
    RecognitionConfig {
        model: "long".into(),
        language_codes: vec!["en-US".into()],
        features: Some(RecognitionFeatures::default()),
        decoding_config: Some(raw(AudioEncoding::Linear16, 16_000)),
        ..Default::default()
    }
}

pub fn raw(encoding: AudioEncoding, rate_hz: i32) -> DecodingConfig {
    DecodingConfig::ExplicitDecodingConfig(ExplicitDecodingConfig {
        encoding: encoding as i32,
        sample_rate_hertz: rate_hz,
        audio_channel_count: 1,
    })
}

pub fn opening(config: StreamingRecognitionConfig) -> StreamingRecognizeRequest {
    StreamingRecognizeRequest {
        recognizer: RECOGNIZER.into(),
        streaming_request: Some(StreamingRequest::StreamingConfig(config)),
    }
}

pub fn sound(bytes: impl Into<Bytes>) -> StreamingRecognizeRequest {
    StreamingRecognizeRequest {
        recognizer: String::new(),
        streaming_request: Some(StreamingRequest::Audio(bytes.into())),
    }
}

pub fn bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

pub fn silence(ms: usize) -> Vec<i16> {
    vec![0; ms * 16]
}

/// Messages of 100 ms.
pub fn messages(samples: &[i16]) -> Vec<StreamingRecognizeRequest> {
    samples.chunks(STEP).map(|step| sound(bytes(step))).collect()
}

/// The text in tones, and a second of silence behind it.
pub fn spoken(text: &str) -> Vec<i16> {
    [tones::encode(text), silence(1000)].concat()
}

/// A stream that is fed by hand.
pub struct Stream {
    /// Dropped: the half-close.
    pub input: Option<mpsc::UnboundedSender<StreamingRecognizeRequest>>,
    pub output: Streaming<StreamingRecognizeResponse>,
}

impl Stream {
    /// Opened with `first`; these go before the call is awaited.
    ///
    /// # Errors
    /// Refused before there were response headers.
    pub async fn open(sim: &GoogleSim, first: Vec<StreamingRecognizeRequest>) -> Result<Self, Status> {
        Self::open_with(hearer(sim).await, first).await
    }

    pub async fn open_with(
        mut client: SpeechClient<Channel>,
        first: Vec<StreamingRecognizeRequest>,
    ) -> Result<Self, Status> {
        let (input, requests) = mpsc::unbounded_channel();
        first.into_iter().for_each(|message| input.send(message).unwrap());
        let requests = futures_util::stream::unfold(requests, async |mut requests| {
            requests.recv().await.map(|request| (request, requests))
        });
        let output = client.streaming_recognize(requests).await?.into_inner();
        Ok(Self { input: Some(input), output })
    }

    pub fn half_close(&mut self) {
        self.input = None;
    }

    /// All that still comes, and how it ends.
    pub async fn rest(&mut self) -> (Vec<StreamingRecognizeResponse>, Result<(), Status>) {
        let mut responses = Vec::new();
        while let Some(response) = self.output.next().await {
            match response {
                Ok(response) => responses.push(response),
                Err(status) => return (responses, Err(status)),
            }
        }
        (responses, Ok(()))
    }
}

/// What a stream with this config answers to this sound, with a half-close behind it.
pub async fn hear(
    sim: &GoogleSim,
    config: StreamingRecognitionConfig,
    samples: &[i16],
) -> (Vec<StreamingRecognizeResponse>, Result<(), Status>) {
    let first = std::iter::once(opening(config)).chain(messages(samples)).collect();
    match Stream::open(sim, first).await {
        Ok(mut stream) => {
            stream.half_close();
            stream.rest().await
        }
        Err(status) => (Vec::new(), Err(status)),
    }
}

/// How a stream with these messages fails.
pub async fn failure(sim: &GoogleSim, first: Vec<StreamingRecognizeRequest>) -> (Code, String) {
    let status = match Stream::open(sim, first).await {
        Ok(mut stream) => stream.rest().await.1.unwrap_err(),
        Err(status) => status,
    };
    (status.code(), status.message().to_owned())
}

/// As [`failure`], of a config alone: it is followed by a little sound, which nobody looks at.
pub async fn refusal(sim: &GoogleSim, config: StreamingRecognitionConfig) -> (Code, String) {
    failure(sim, vec![opening(config), sound(vec![0; 320])]).await
}

/// Final texts, as they came.
pub fn finals(responses: &[StreamingRecognizeResponse]) -> Vec<String> {
    let results = responses.iter().flat_map(|response| &response.results).filter(|result| result.is_final);
    results.map(|result| result.alternatives[0].transcript.clone()).collect()
}
