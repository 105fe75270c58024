//! Synthesis.

use std::time::Duration;

use futures_util::StreamExt as _;
use googleapis_tonic_google_cloud_texttospeech_v1::google::cloud::texttospeech::v1 as tts;
use tokio::sync::mpsc;
use tonic::{Code, Status};
use tts::streaming_synthesis_input::InputSource as StreamedSource;
use tts::streaming_synthesize_request::StreamingRequest;
use tts::synthesis_input::InputSource;
use tts::{
    AudioConfig, AudioEncoding, ListVoicesRequest, SsmlVoiceGender, StreamingAudioConfig, StreamingSynthesisInput,
    StreamingSynthesizeConfig, StreamingSynthesizeRequest, SynthesisInput, SynthesizeSpeechRequest,
    VoiceSelectionParams,
};
use voxd::audio::{AudioFormat, Decoder, Encoding, Pick};
use voxd::clock;
use voxd::sim::google::{GoogleSim, Method};
use voxd::sim::tones::{ToneDecoder, transcript};

use super::kit::{NEVER, quick, speaker, start, with};

fn request(text: &str) -> SynthesizeSpeechRequest {
    SynthesizeSpeechRequest {
        input: Some(SynthesisInput { input_source: Some(InputSource::Text(text.into())), ..Default::default() }),
        voice: Some(voice("en-US", "en-US-Neural2-A")),
        audio_config: Some(AudioConfig { audio_encoding: AudioEncoding::Linear16 as i32, ..Default::default() }),
        ..Default::default()
    }
}

fn voice(language: &str, name: &str) -> VoiceSelectionParams {
    VoiceSelectionParams { language_code: language.into(), name: name.into(), ..Default::default() }
}

async fn speak(sim: &GoogleSim, request: SynthesizeSpeechRequest) -> Result<Vec<u8>, Status> {
    speaker(sim).await.synthesize_speech(request).await.map(|reply| reply.into_inner().audio_content.to_vec())
}

/// Text of sound.
fn heard(encoding: Encoding, rate_hz: u32, bytes: &[u8]) -> String {
    let format = AudioFormat::new(encoding, rate_hz, 1).unwrap();
    let decoder = Decoder::new(format, Pick::Mix, 16_000).unwrap();
    let (samples, _) = decoder.whole(bytes, Duration::from_secs(600)).unwrap();
    let mut tones = ToneDecoder::default();
    let mut heard = tones.push(&samples);
    heard.extend(tones.finish());
    transcript(&heard)
}

#[tokio::test]
async fn rule_23_inputs_have_bounds() {
    let sim = start(quick()).await;
    let with_input = |source: InputSource, name: &str| {
        let mut request = request("");
        request.input.as_mut().unwrap().input_source = Some(source);
        request.voice = Some(voice("en-US", name));
        request
    };
    let ssml = |text: &str| InputSource::Ssml(text.into());
    let (neural, chirp) = ("en-US-Neural2-A", "en-US-Chirp3-HD-Kore");
    let mut pitched = with_input(InputSource::Text("a".into()), chirp);
    pitched.audio_config.as_mut().unwrap().pitch = 1.0;
    let mut none = request("");
    none.input = None;
    // Two bytes a letter: within 5,000 characters, beyond 5,000 bytes.
    let long = "é é. ".repeat(800);
    for (request, text) in [
        (none, "exactly one of"),
        (with_input(InputSource::Text(long), neural), "longer than the limit of 5000 bytes"),
        (with_input(InputSource::Text("a ".repeat(600)), neural), "sentences that are too long"),
        (with_input(ssml("<speak>a <b>c</speak>"), neural), "Invalid SSML"),
        (with_input(ssml("<speak>a &nbsp; c</speak>"), neural), "Invalid SSML"),
        (with_input(ssml("no element"), neural), "Invalid SSML"),
        (with_input(ssml("<speak>a</speak>"), chirp), "does not support SSML"),
        (pitched, "does not support pitch"),
    ] {
        let refused = speak(&sim, request).await.unwrap_err();
        assert!(refused.code() == Code::InvalidArgument && refused.message().contains(text), "{refused:?}");
    }
    let spoken = with_input(
        ssml("<speak>Tom &amp; <emphasis level=\"strong\">Ada</emphasis><break time=\"1s\"/>here</speak>"),
        neural,
    );
    assert_eq!(heard(Encoding::Wav, 24_000, &speak(&sim, spoken).await.unwrap()), "Tom & Ada here");
}

#[tokio::test]
async fn rule_24_voices_and_numbers_have_bounds() {
    let sim = start(quick()).await;
    let changed = |change: &dyn Fn(&mut AudioConfig, &mut VoiceSelectionParams)| {
        let mut request = request("hello");
        change(request.audio_config.as_mut().unwrap(), request.voice.as_mut().unwrap());
        request
    };
    for (request, text) in [
        (changed(&|audio, _| audio.speaking_rate = 4.0), "speaking_rate must be between 0.25 and 2.0"),
        (changed(&|audio, _| audio.speaking_rate = 0.2), "speaking_rate must be between 0.25 and 2.0"),
        (changed(&|audio, _| audio.pitch = 20.5), "pitch must be between -20 and 20"),
        (changed(&|audio, _| audio.volume_gain_db = 16.5), "volume_gain_db must be between -96 and 16"),
        (changed(&|audio, _| audio.volume_gain_db = -97.0), "volume_gain_db must be between -96 and 16"),
        (changed(&|audio, _| audio.audio_encoding = 0), "Invalid audio encoding"),
        (changed(&|audio, _| audio.sample_rate_hertz = 12_345), "cannot be made"),
        (changed(&|_, voice| voice.name = "en-US-Neural2-Q".into()), "does not exist. Is it misspelled?"),
        (changed(&|_, voice| voice.language_code = "de-DE".into()), "doesn't match the voice"),
        (changed(&|_, voice| voice.language_code.clear()), "must have a language_code"),
        (changed(&|_, voice| voice.ssml_gender = SsmlVoiceGender::Neutral as i32), "Gender neutral voices"),
    ] {
        let refused = speak(&sim, request).await.unwrap_err();
        assert!(refused.code() == Code::InvalidArgument && refused.message().contains(text), "{text}: {refused:?}");
    }
}

/// Rule 25: LINEAR16, MULAW and ALAW come as WAV, every second one with a chunk before the sound; PCM is bare.
#[tokio::test]
async fn rule_25_raw_encodings_have_a_header() {
    let sim = start(quick()).await;
    let mut extra = 0;
    for (encoding, rate) in [
        (AudioEncoding::Linear16, 24_000),
        (AudioEncoding::Linear16, 16_000),
        (AudioEncoding::Mulaw, 8000),
        (AudioEncoding::Alaw, 8000),
        (AudioEncoding::OggOpus, 24_000),
        (AudioEncoding::Pcm, 24_000),
    ] {
        let mut request = request("what is in it");
        let audio = request.audio_config.as_mut().unwrap();
        (audio.audio_encoding, audio.sample_rate_hertz) = (encoding as i32, rate);
        let bytes = speak(&sim, request).await.unwrap();
        extra += usize::from(bytes.windows(4).take(80).any(|window| window == b"LIST"));
        let read_as = match encoding {
            AudioEncoding::Pcm => Encoding::Pcm16,
            AudioEncoding::OggOpus => Encoding::Opus,
            _ => Encoding::Wav,
        };
        assert_eq!(bytes.starts_with(b"RIFF"), read_as == Encoding::Wav, "{encoding:?}");
        assert_eq!(heard(read_as, rate as u32, &bytes), "what is in it", "{encoding:?}");
    }
    assert_eq!(extra, 2);
}

#[tokio::test]
async fn rule_28_slower_speech_is_longer() {
    let sim = start(quick()).await;
    let length = async |rate: f64| {
        let mut request = request("one two three four");
        request.audio_config.as_mut().unwrap().speaking_rate = rate;
        let bytes = speak(&sim, request).await.unwrap();
        assert_eq!(heard(Encoding::Wav, 24_000, &bytes), "one two three four");
        bytes.len()
    };
    let (full, half) = (length(1.0).await, length(0.5).await);
    assert!((full * 19 / 10..full * 21 / 10).contains(&half), "{full} {half}");
}

#[tokio::test]
async fn rule_29_quotas_are_kept() {
    let sim = start(with(|options| {
        options.speed = 1.0;
        options.speaking.first_sound = Duration::ZERO;
        options.speaking.input_idle = NEVER;
        options.quotas.syntheses_per_minute = 3;
        options.quotas.synthesis_streams = 2;
    }))
    .await;
    let (_one, _two) = (Talk::open(&sim, true).await, Talk::open(&sim, true).await);
    sim.until(|calls| calls.len() == 2).await;
    let refused = Talk::open(&sim, true).await.output.unwrap_err();
    assert!(refused.code() == Code::ResourceExhausted && refused.message().contains("concurrent"), "{refused:?}");
    let refused = speak(&sim, request("one too many")).await.unwrap_err();
    assert!(refused.code() == Code::ResourceExhausted && refused.message().contains("per minute"), "{refused:?}");
}

/// Rule 30: more than gRPC's usual 4 MiB.
#[tokio::test]
async fn rule_30_replies_can_be_large() {
    let sim = start(with(|options| options.speaking.least_reply_bytes = 5_000_000)).await;
    let small = tts::text_to_speech_client::TextToSpeechClient::new(super::kit::channel(&sim).await);
    let refused = small.max_decoding_message_size(4 << 20).synthesize_speech(request("long")).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(speak(&sim, request("long")).await.unwrap().len() >= 5_000_000);
}

#[tokio::test]
async fn rule_36_voices_are_listed() {
    let sim = start(quick()).await;
    let list = async |language: &str| {
        let request = ListVoicesRequest { language_code: language.into() };
        let voices = speaker(&sim).await.list_voices(request).await.unwrap().into_inner().voices;
        voices.into_iter().map(|voice| voice.name).collect::<Vec<_>>()
    };
    let german = list("de-DE").await;
    assert!(
        german.contains(&"de-DE-Chirp3-HD-Kore".to_owned()) && german.iter().all(|name| name.starts_with("de-DE-"))
    );
    assert!(list("en").await.contains(&"en-GB-Wavenet-B".to_owned()));
    assert_eq!(list("tlh").await.len(), 0);
}

/// A streaming synthesis that is fed by hand.
struct Talk {
    input: Option<mpsc::UnboundedSender<StreamingSynthesizeRequest>>,
    output: Result<tonic::Streaming<tts::StreamingSynthesizeResponse>, Status>,
}

fn opening(name: &str, encoding: AudioEncoding, rate: f64) -> StreamingSynthesizeRequest {
    let audio =
        StreamingAudioConfig { audio_encoding: encoding as i32, sample_rate_hertz: 24_000, speaking_rate: rate };
    let config = StreamingSynthesizeConfig {
        voice: Some(voice("en-US", name)),
        streaming_audio_config: Some(audio),
        ..Default::default()
    };
    StreamingSynthesizeRequest { streaming_request: Some(StreamingRequest::StreamingConfig(config)) }
}

fn chirp() -> StreamingSynthesizeRequest {
    opening("en-US-Chirp3-HD-Kore", AudioEncoding::Pcm, 1.0)
}

fn input(text: &str) -> StreamingSynthesizeRequest {
    let input = StreamingSynthesisInput { input_source: Some(StreamedSource::Text(text.into())), ..Default::default() };
    StreamingSynthesizeRequest { streaming_request: Some(StreamingRequest::Input(input)) }
}

impl Talk {
    /// With a config, and a sentence where `spoken`.
    async fn open(sim: &GoogleSim, spoken: bool) -> Self {
        let first = if spoken { vec![chirp(), input("A sentence. ")] } else { vec![chirp()] };
        Self::open_with(sim, first).await
    }

    async fn open_with(sim: &GoogleSim, first: Vec<StreamingSynthesizeRequest>) -> Self {
        let (input, requests) = mpsc::unbounded_channel();
        first.into_iter().for_each(|message| input.send(message).unwrap());
        let requests = futures_util::stream::unfold(requests, async |mut requests| {
            requests.recv().await.map(|request| (request, requests))
        });
        let output = speaker(sim).await.streaming_synthesize(requests).await;
        Self { input: Some(input), output: output.map(tonic::Response::into_inner) }
    }

    /// The pieces that still come, and how it ends.
    async fn rest(self) -> (Vec<Vec<u8>>, Result<(), Status>) {
        let mut pieces = Vec::new();
        let mut output = match self.output {
            Ok(output) => output,
            Err(status) => return (pieces, Err(status)),
        };
        while let Some(piece) = output.next().await {
            match piece {
                Ok(piece) => pieces.push(piece.audio_content.to_vec()),
                Err(status) => return (pieces, Err(status)),
            }
        }
        (pieces, Ok(()))
    }
}

#[tokio::test]
async fn rule_26_streams_have_an_order_voices_and_encodings() {
    let sim = start(quick()).await;
    let pcm = AudioEncoding::Pcm;
    let empty = StreamingSynthesizeRequest { streaming_request: None };
    for (messages, text) in [
        (vec![input("first")], "must be its streaming_config"),
        (vec![chirp(), chirp()], "Only input may follow"),
        (vec![chirp(), empty], "Only input may follow"),
        (vec![opening("en-US-Neural2-A", pcm, 1.0), input("a.")], "support streaming synthesis"),
        (
            vec![opening("en-US-Chirp3-HD-Kore", AudioEncoding::Mp3, 1.0), input("a.")],
            "expected PCM, ALAW, MULAW or OGG_OPUS",
        ),
        (vec![opening("en-US-Chirp3-HD-Kore", AudioEncoding::Linear16, 1.0), input("a.")], "expected PCM, ALAW"),
        (vec![opening("en-US-Chirp3-HD-Kore", pcm, 2.5), input("a.")], "speaking_rate must be between"),
    ] {
        let refused = Talk::open_with(&sim, messages).await.rest().await.1.unwrap_err();
        assert!(refused.code() == Code::InvalidArgument && refused.message().contains(text), "{refused:?}");
    }
}

/// Rule 26: five seconds without input end the stream, whatever it still has to say.
#[tokio::test]
async fn rule_26_a_stream_without_input_is_aborted() {
    let sim = start(with(|options| options.speaking.input_idle = Duration::from_secs(5))).await;
    let text = "Stream aborted due to long duration elapsed without input sent. Input must be sent continuously, at least every \
                5s seconds.";
    for spoken in [false, true] {
        let (_, end) = Talk::open(&sim, spoken).await.rest_held().await;
        let end = end.unwrap_err();
        assert_eq!((end.code(), end.message()), (Code::Aborted, text));
    }
}

impl Talk {
    /// As [`Talk::rest`], without a half-close.
    async fn rest_held(mut self) -> (Vec<Vec<u8>>, Result<(), Status>) {
        let _held = self.input.take();
        self.rest().await
    }
}

/// Rule 27: sound comes before the half-close, in pieces of any size, some of which end within a sample.
#[tokio::test]
async fn rule_27_pieces_are_uneven() {
    let sim = start(with(|options| (options.speed, options.speaking.input_idle) = (5.0, NEVER))).await;
    let began = clock::monotonic();
    let mut talk = Talk::open(&sim, true).await;
    let first = talk.output.as_mut().unwrap().message().await.unwrap().unwrap();
    assert!(began.elapsed() >= Duration::from_millis(40), "200 ms on a clock five times as fast");
    let send = talk.input.take().unwrap();
    send.send(input("And one ")).unwrap();
    send.send(input("more, in two inputs")).unwrap();
    drop(send);
    let (mut pieces, end) = talk.rest().await;
    end.unwrap();
    pieces.insert(0, first.audio_content.to_vec());
    assert!(pieces.iter().any(|piece| piece.len() % 2 == 1), "some end within a sample");
    assert_eq!(heard(Encoding::Pcm16, 24_000, &pieces.concat()), "A sentence. And one more, in two inputs");
    let calls = sim.calls_of(Method::StreamingSynthesize);
    assert_eq!(calls[0].inputs, ["A sentence. ", "And one ", "more, in two inputs"]);
    assert_eq!(sim.ledger().characters, 39);
}
