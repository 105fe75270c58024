//! Streaming recognition: what a config may ask for.

use std::time::Duration;

use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2 as stt;
use stt::explicit_decoding_config::AudioEncoding;
use stt::phrase_set::Phrase;
use stt::recognition_config::DecodingConfig;
use stt::speech_adaptation::{AdaptationPhraseSet, adaptation_phrase_set::Value};
use stt::streaming_recognition_features::VoiceActivityTimeout;
use stt::{
    AutoDetectDecodingConfig, ExplicitDecodingConfig, PhraseSet, RecognitionConfig, RecognitionFeatures,
    SpeakerDiarizationConfig, SpeechAdaptation, StreamingRecognitionConfig, StreamingRecognitionFeatures,
};
use tonic::Code;
use voxd::audio::{AudioFormat, Encoder, Encoding};
use voxd::sim::tones;

use super::kit::*;

fn changed(change: impl FnOnce(&mut RecognitionConfig)) -> StreamingRecognitionConfig {
    let mut config = config();
    change(config.config.as_mut().unwrap());
    config
}

fn features(change: impl FnOnce(&mut RecognitionFeatures)) -> StreamingRecognitionConfig {
    changed(|config| change(config.features.as_mut().unwrap()))
}

fn at(location: &str, config: StreamingRecognitionConfig) -> stt::StreamingRecognizeRequest {
    let recognizer = format!("projects/p/locations/{location}/recognizers/_");
    stt::StreamingRecognizeRequest { recognizer, ..opening(config) }
}

#[tokio::test]
async fn rule_3_models_are_in_their_locations() {
    let sim = start(quick()).await;
    for (location, model, code, text) in [
        (
            "global",
            "chirp_3",
            Code::InvalidArgument,
            "The model \"chirp_3\" does not exist in the location named \"global\".",
        ),
        ("us", "chirp_2", Code::InvalidArgument, "The model \"chirp_2\" does not exist in the location named \"us\"."),
        ("mars", "long", Code::InvalidArgument, "The model \"long\" does not exist in the location named \"mars\"."),
        ("global", "short_long", Code::InvalidArgument, "The model \"short_long\" does not exist in the location"),
        ("asia-southeast1", "chirp_3", Code::PermissionDenied, "no longer generally available"),
    ] {
        let config = changed(|config| config.model = model.into());
        let (found, said) = failure(&sim, vec![at(location, config), sound(vec![0; 320])]).await;
        assert!(found == code && said.contains(text), "{said}");
    }
    let chirp = changed(|config| config.model = "chirp_3".into());
    let mut stream = Stream::open(&sim, vec![at("eu", chirp), sound(vec![0; 320])]).await.unwrap();
    stream.half_close();
    stream.rest().await.1.unwrap();
}

/// The endpoint's name has a location, and so has the recognizer's.
#[tokio::test]
async fn rule_3_an_endpoint_is_of_one_location() {
    let fixed = start(with(|options| options.location = Some("us".into()))).await;
    let text = "Expected resource location to be us, but found global in resource name.";
    assert_eq!(refusal(&fixed, config()).await, (Code::InvalidArgument, text.to_owned()));
    let sim = start(quick()).await;
    let endpoint = tonic::transport::Channel::from_shared(sim.endpoint()).unwrap();
    let endpoint = endpoint.origin("http://eu-speech.googleapis.com".parse().unwrap());
    let client = stt::speech_client::SpeechClient::new(endpoint.connect().await.unwrap());
    let refused = Stream::open_with(client, vec![opening(config()), sound(vec![0; 320])]).await.err().unwrap();
    assert_eq!(refused.message(), "Expected resource location to be eu, but found global in resource name.");
}

#[tokio::test]
async fn rule_3_languages_fit_their_model() {
    let sim = start(quick()).await;
    for (codes, text) in [
        (vec![], "At least one language code is required."),
        (vec!["tlh"], "The language \"tlh\" is not supported by the model \"long\" in the location named \"global\"."),
    ] {
        let codes = codes.into_iter().map(str::to_owned).collect();
        let refused = refusal(&sim, changed(|config| config.language_codes = codes)).await;
        assert_eq!(refused, (Code::InvalidArgument, text.to_owned()));
    }
    let two = changed(|config| config.language_codes.push("de-DE".into()));
    let (_, text) = failure(&sim, vec![at("us-central1", two), sound(vec![0; 320])]).await;
    assert_eq!(text, "Multiple language codes are not supported in the location named \"us-central1\".");
    // Codes come back as Google writes them.
    let config = changed(|config| config.language_codes = vec!["en-us".into()]);
    let (responses, _) = hear(&sim, config, &spoken("yes")).await;
    assert_eq!(responses.last().unwrap().results[0].language_code, "en-US");
}

#[tokio::test]
async fn rule_4_a_feature_that_the_model_lacks_fails_the_whole() {
    let sim = start(quick()).await;
    let boosted = |boost| SpeechAdaptation {
        phrase_sets: vec![AdaptationPhraseSet {
            value: Some(Value::InlinePhraseSet(PhraseSet {
                phrases: vec![Phrase { value: "voxd".into(), boost }],
                ..Default::default()
            })),
        }],
        ..Default::default()
    };
    let diarized =
        |features: &mut RecognitionFeatures| features.diarization_config = Some(SpeakerDiarizationConfig::default());
    let model = |name: &str, mut config: StreamingRecognitionConfig| {
        config.config.as_mut().unwrap().model = name.into();
        config
    };
    let adapted = changed(|config| config.adaptation = Some(boosted(10.0)));
    let mut sensitive = config();
    sensitive.streaming_features.as_mut().unwrap().endpointing_sensitivity = 2;
    let times = features(|features| features.enable_word_time_offsets = true);
    let sure = features(|features| features.enable_word_confidence = true);
    for (location, config, text) in [
        ("global", model("telephony", adapted.clone()), "Recognizer does not support feature: speech_adaptation_boost"),
        ("global", features(diarized), "Recognizer does not support feature: speaker_diarization"),
        ("us", model("chirp_3", sure), "Recognizer does not support feature: word_level_confidence"),
        (
            "us",
            model("chirp_3", times),
            "Chirp 3 only supports word timestamps in Recognize and BatchRecognize requests.",
        ),
        ("global", sensitive, "Recognizer does not support feature: endpointing_sensitivity"),
    ] {
        let refused = failure(&sim, vec![at(location, config), sound(vec![0; 320])]).await;
        assert_eq!(refused, (Code::InvalidArgument, text.to_owned()));
    }
    let (responses, end) = hear(&sim, adapted, &spoken("voxd")).await;
    end.unwrap();
    assert_eq!(finals(&responses), ["voxd"]);
}

#[tokio::test]
async fn rule_5_bounds_are_kept() {
    let sim = start(quick()).await;
    let shape = |rate, channels| {
        let explicit = ExplicitDecodingConfig {
            encoding: AudioEncoding::Linear16 as i32,
            sample_rate_hertz: rate,
            audio_channel_count: channels,
        };
        changed(|config| config.decoding_config = Some(DecodingConfig::ExplicitDecodingConfig(explicit)))
    };
    let phrases = |sets: usize, count: usize, boost: f32, length: usize| {
        let phrase = Phrase { value: "x".repeat(length), boost };
        let set = PhraseSet { phrases: vec![phrase; count], ..Default::default() };
        let set = AdaptationPhraseSet { value: Some(Value::InlinePhraseSet(set)) };
        let adaptation = SpeechAdaptation { phrase_sets: vec![set; sets], ..Default::default() };
        changed(|config| config.adaptation = Some(adaptation))
    };
    for (config, text) in [
        (shape(7999, 1), "sample_rate_hertz must be between 8000 and 48000"),
        (shape(48_001, 1), "sample_rate_hertz must be between 8000 and 48000"),
        (shape(16_000, 0), "audio_channel_count must be between 1 and 8"),
        (shape(16_000, 9), "audio_channel_count must be between 1 and 8"),
        (changed(|config| config.decoding_config = None), "must have a decoding_config"),
        (features(|features| features.max_alternatives = 31), "max_alternatives must be between 0 and 30"),
        (phrases(1, 1, 20.5, 1), "Boost values must be between 0 and 20"),
        (phrases(1, 1, -1.0, 1), "Boost values must be between 0 and 20"),
        (phrases(21, 1, 1.0, 1), "Too many phrase sets"),
        (phrases(1, 1201, 1.0, 1), "Too many phrases of a phrase set"),
        (phrases(5, 1100, 1.0, 1), "Too many phrases: 5500"),
        (phrases(1, 1, 1.0, 101), "Too many characters of a phrase"),
    ] {
        let (code, said) = refusal(&sim, config).await;
        assert!(code == Code::InvalidArgument && said.contains(text), "{text}: {said}");
    }
}

/// Rule 5: raw sound has no container to be known by; a WAV has.
#[tokio::test]
async fn rule_5_raw_sound_is_not_detected() {
    let sim = start(quick()).await;
    let auto = || {
        changed(|config| config.decoding_config = Some(DecodingConfig::AutoDecodingConfig(AutoDetectDecodingConfig {})))
    };
    let (code, text) = failure(&sim, vec![opening(auto()), sound(bytes(&tones::encode("raw")[..1600]))]).await;
    assert!(code == Code::InvalidArgument && text.contains("does not appear to be in a supported encoding"), "{text}");
    let format = AudioFormat::new(Encoding::Wav, 8000, 1).unwrap();
    let file = Encoder::file(16_000, format, &spoken("in a wave")).unwrap();
    let first = std::iter::once(opening(auto())).chain(file.chunks(3200).map(|piece| sound(piece.to_vec())));
    let mut stream = Stream::open(&sim, first.collect()).await.unwrap();
    stream.half_close();
    assert_eq!(finals(&stream.rest().await.0), ["in a wave"]);
}

/// Raw formats and Ogg Opus, as a client may send them.
#[tokio::test]
async fn sound_is_read_in_its_encoding() {
    let sim = start(quick()).await;
    for (encoding, format, rate) in [
        (AudioEncoding::Mulaw, Encoding::Mulaw, 8000),
        (AudioEncoding::Alaw, Encoding::Alaw, 8000),
        (AudioEncoding::Linear16, Encoding::Pcm16, 48_000),
        (AudioEncoding::OggOpus, Encoding::Opus, 16_000),
    ] {
        let file = Encoder::file(16_000, AudioFormat::new(format, rate, 1).unwrap(), &spoken("through it")).unwrap();
        let config = changed(|config| config.decoding_config = Some(raw(encoding, rate as i32)));
        let first = std::iter::once(opening(config)).chain(file.chunks(3200).map(|piece| sound(piece.to_vec())));
        let mut stream = Stream::open(&sim, first.collect()).await.unwrap();
        stream.half_close();
        assert_eq!(finals(&stream.rest().await.0), ["through it"], "{format:?}");
    }
}

#[tokio::test]
async fn rule_12_only_what_was_asked_for_comes() {
    let sim = start(quick()).await;
    let plain = StreamingRecognitionConfig { streaming_features: None, ..config() };
    let (responses, _) = hear(&sim, plain, &spoken("just the text")).await;
    assert_eq!(responses.len(), 1, "{responses:?}");
    assert_eq!(responses[0].results[0].alternatives[0].words, []);
    let (responses, _) = hear(&sim, config(), &spoken("just the text")).await;
    assert!(responses.iter().any(|response| response.speech_event_type != 0));
    assert!(responses.iter().any(|response| response.results.iter().any(|result| !result.is_final)));
}

fn timeouts(events: bool, start: Option<f64>, end: Option<f64>) -> StreamingRecognitionConfig {
    let time = |seconds: f64| prost_types::Duration::try_from(Duration::from_secs_f64(seconds)).unwrap();
    let timeout = VoiceActivityTimeout { speech_start_timeout: start.map(time), speech_end_timeout: end.map(time) };
    let features = StreamingRecognitionFeatures {
        enable_voice_activity_events: events,
        voice_activity_timeout: Some(timeout),
        ..Default::default()
    };
    StreamingRecognitionConfig { streaming_features: Some(features), ..config() }
}

#[tokio::test]
async fn rule_13_speech_timeouts_have_bounds_and_need_events() {
    let sim = start(quick()).await;
    let (code, text) = refusal(&sim, timeouts(false, Some(2.0), None)).await;
    assert!(code == Code::InvalidArgument && text.contains("requires enable_voice_activity_events"), "{text}");
    for config in [timeouts(true, Some(0.4), None), timeouts(true, None, Some(60.5))] {
        let (code, text) = refusal(&sim, config).await;
        assert!(code == Code::InvalidArgument && text.contains("between 0.5 s and 60 s"), "{text}");
    }
}

/// Rule 13: the stream ends by itself, well, and with what was said.
#[tokio::test]
async fn rule_13_speech_timeouts_end_the_stream() {
    let sim = start(quick()).await;
    let first = std::iter::once(opening(timeouts(true, Some(1.0), None))).chain(messages(&silence(1500)));
    let mut stream = Stream::open(&sim, first.collect()).await.unwrap();
    let (responses, end) = stream.rest().await;
    end.unwrap();
    assert_eq!(responses, []);
    let samples = [tones::encode("said it"), silence(3000), tones::encode("too late")].concat();
    let first = std::iter::once(opening(timeouts(true, Some(1.0), Some(2.0)))).chain(messages(&samples));
    let mut stream = Stream::open(&sim, first.collect()).await.unwrap();
    let (responses, end) = stream.rest().await;
    end.unwrap();
    assert_eq!(finals(&responses), ["said it"]);
}
