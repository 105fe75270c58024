//! Requests, built for one model in one location.

use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2 as api;

use api::explicit_decoding_config::AudioEncoding;
use api::recognition_config::DecodingConfig;
use api::recognize_request::AudioSource;
use api::speech_adaptation::{AdaptationPhraseSet, adaptation_phrase_set::Value};
use api::streaming_recognize_request::StreamingRequest;
use bytes::Bytes;

use super::models::{self, Feature};
use crate::config::GoogleSpeech;
use crate::speech::{Hearing, RecognitionConfig};

/// Of one message of a stream; more is refused.
pub const MESSAGE_BYTES: usize = 25_600;
/// `Recognize` takes a minute, and 10 MB with the rest of the request.
pub const LONGEST: std::time::Duration = std::time::Duration::from_secs(60);
const LONGEST_BYTES: usize = 10_000_000;
const PHRASES_IN_SET: usize = 1200;
const PHRASES: usize = 5000;
const PHRASE_CHARS: usize = 100;

/// A configuration that has its model and its place, and what of it the model takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub model: String,
    pub location: String,
    recognizer: String,
    config: RecognitionConfig,
    streaming: bool,
    words: bool,
    word_confidence: bool,
    phrases: bool,
    punctuation: bool,
    events: bool,
    /// Asked for, whether or not the model sends any.
    interims: bool,
}

impl Plan {
    /// # Errors
    /// What no model takes: the caller's mistake, in words.
    pub fn new(
        settings: &GoogleSpeech,
        project: &str,
        config: &RecognitionConfig,
        streaming: bool,
        refused: impl Fn(&str, &str) -> Vec<Feature>,
    ) -> Result<Self, String> {
        if !(8000..=48_000).contains(&config.rate_hz) {
            return Err(format!("a sample rate of {} Hz, expected 8000 to 48000", config.rate_hz));
        }
        let is_tag =
            |tag: &str| (2..=35).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_tag(&config.language) {
            return Err(format!("{:?} is not a language, expected BCP 47 such as en-US", config.language));
        }
        check_phrases(config)?;
        let default = if config.rate_hz < 16_000 { &settings.stt_model_8khz } else { &settings.stt_model };
        let model = config.model.clone().filter(|model| !model.is_empty()).unwrap_or_else(|| default.clone());
        let known = models::by_name(&model);
        let location = known.location(&settings.stt_location)?;
        let refused = refused(&model, &location);
        let takes = |feature| known.takes(feature, streaming) && !refused.contains(&feature);
        let words = config.words && takes(Feature::Words);
        Ok(Self {
            recognizer: format!("projects/{project}/locations/{location}/recognizers/_"),
            streaming,
            words,
            word_confidence: words && takes(Feature::WordConfidence),
            phrases: !config.phrases.is_empty() && takes(Feature::Phrases),
            punctuation: config.punctuation && takes(Feature::Punctuation),
            events: streaming && takes(Feature::Events),
            interims: streaming && config.interims,
            config: config.clone(),
            model,
            location,
        })
    }

    pub fn hearing(&self) -> Hearing {
        Hearing {
            interims: self.interims && models::by_name(&self.model).interims,
            words: self.words,
            phrases: self.phrases,
            longest: longest(self.config.rate_hz),
        }
    }

    fn recognition(&self) -> api::RecognitionConfig {
        api::RecognitionConfig {
            model: self.model.clone(),
            language_codes: vec![self.config.language.clone()],
            features: Some(api::RecognitionFeatures {
                enable_word_time_offsets: self.words,
                enable_word_confidence: self.word_confidence,
                enable_automatic_punctuation: self.punctuation,
                ..Default::default()
            }),
            adaptation: self.phrases.then(|| self.adaptation()),
            decoding_config: Some(DecodingConfig::ExplicitDecodingConfig(api::ExplicitDecodingConfig {
                encoding: AudioEncoding::Linear16.into(),
                sample_rate_hertz: self.config.rate_hz as i32,
                audio_channel_count: 1,
            })),
            ..Default::default()
        }
    }

    fn adaptation(&self) -> api::SpeechAdaptation {
        let set = |phrases: &[crate::speech::Phrase]| {
            let phrase = |phrase: &crate::speech::Phrase| api::phrase_set::Phrase {
                value: phrase.text.clone(),
                boost: phrase.boost,
            };
            let phrases = phrases.iter().map(phrase).collect();
            let inline = api::PhraseSet { phrases, ..Default::default() };
            AdaptationPhraseSet { value: Some(Value::InlinePhraseSet(inline)) }
        };
        let phrase_sets = self.config.phrases.chunks(PHRASES_IN_SET).map(set).collect();
        api::SpeechAdaptation { phrase_sets, ..Default::default() }
    }

    /// The first message of a stream; only sound may follow.
    pub fn opening(&self) -> api::StreamingRecognizeRequest {
        let streaming_features = api::StreamingRecognitionFeatures {
            enable_voice_activity_events: self.events,
            interim_results: self.interims,
            ..Default::default()
        };
        let config = api::StreamingRecognitionConfig {
            config: Some(self.recognition()),
            streaming_features: Some(streaming_features),
            ..Default::default()
        };
        api::StreamingRecognizeRequest {
            recognizer: self.recognizer.clone(),
            streaming_request: Some(StreamingRequest::StreamingConfig(config)),
        }
    }

    /// A whole recording.
    ///
    /// # Errors
    /// It is longer than [`Hearing::longest`].
    pub fn whole(&self, samples: &[i16]) -> Result<api::RecognizeRequest, String> {
        let longest = longest(self.config.rate_hz);
        if samples.len() as f64 > longest.as_secs_f64() * f64::from(self.config.rate_hz) {
            return Err(format!("a recording longer than {longest:?}"));
        }
        Ok(api::RecognizeRequest {
            recognizer: self.recognizer.clone(),
            config: Some(self.recognition()),
            audio_source: Some(AudioSource::Content(linear16(samples))),
            ..Default::default()
        })
    }

    /// For `x-goog-request-params` of calls that are not streams.
    pub fn recognizer(&self) -> &str {
        &self.recognizer
    }
}

fn longest(rate_hz: u32) -> std::time::Duration {
    LONGEST.min(std::time::Duration::from_secs((LONGEST_BYTES / 2 / rate_hz.max(1) as usize) as u64))
}

/// A stream's message of sound, of at most [`MESSAGE_BYTES`].
pub fn sound(samples: &[i16]) -> api::StreamingRecognizeRequest {
    let streaming_request = Some(StreamingRequest::Audio(linear16(samples)));
    api::StreamingRecognizeRequest { recognizer: String::new(), streaming_request }
}

fn linear16(samples: &[i16]) -> Bytes {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// The limits of <https://cloud.google.com/speech-to-text/v2/quotas>; boosts by the API's reference.
fn check_phrases(config: &RecognitionConfig) -> Result<(), String> {
    if config.phrases.len() > PHRASES {
        return Err(format!("{} phrases, expected at most {PHRASES}", config.phrases.len()));
    }
    for phrase in &config.phrases {
        let shown: String = phrase.text.chars().take(40).collect();
        if phrase.text.trim().is_empty() || phrase.text.chars().count() > PHRASE_CHARS {
            return Err(format!("the phrase {shown:?}, expected 1 to {PHRASE_CHARS} characters"));
        }
        if !(phrase.boost > 0.0 && phrase.boost <= 20.0) {
            return Err(format!("the boost {} of the phrase {shown:?}, expected above 0, at most 20", phrase.boost));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};
    use crate::speech::Phrase;

    fn wanted(model: &str) -> RecognitionConfig {
        RecognitionConfig {
            language: "en-US".into(),
            model: Some(model.into()),
            rate_hz: 16_000,
            punctuation: true,
            words: true,
            interims: true,
            phrases: vec![Phrase { text: "voxd".into(), boost: 10.0 }],
        }
    }

    fn plan(config: &RecognitionConfig, streaming: bool, refused: &[Feature]) -> Result<Plan, String> {
        let settings = Config::load(None, &Environment::default()).unwrap().speech.google;
        Plan::new(&settings, "p", config, streaming, |_, _| refused.to_vec())
    }

    #[test]
    fn each_model_is_asked_for_what_it_takes() {
        let asked = |model: &str, streaming| {
            let plan = plan(&wanted(model), streaming, &[]).unwrap();
            let config = plan.recognition();
            let features = config.features.unwrap();
            let (words, confidence) = (features.enable_word_time_offsets, features.enable_word_confidence);
            (words, confidence, config.adaptation.is_some(), plan.location)
        };
        assert_eq!(asked("long", true), (true, true, true, "global".into()));
        assert_eq!(asked("telephony", true), (true, true, false, "global".into()));
        assert_eq!(asked("chirp_2", true), (true, false, true, "us-central1".into()));
        assert_eq!(asked("chirp_3", true), (false, false, true, "us".into()));
        assert_eq!(asked("chirp_3", false), (true, false, true, "us".into()));
    }

    #[test]
    fn what_was_refused_is_left_out() {
        let config = plan(&wanted("long"), true, &[Feature::Phrases, Feature::Words]).unwrap().recognition();
        assert!(config.adaptation.is_none() && !config.features.unwrap().enable_word_time_offsets);
    }

    #[test]
    fn what_no_model_takes_is_refused_before_it_is_sent() {
        let problem = |change: fn(&mut RecognitionConfig)| {
            let mut config = wanted("long");
            change(&mut config);
            plan(&config, true, &[]).unwrap_err()
        };
        assert!(problem(|config| config.rate_hz = 4000).contains("8000 to 48000"));
        assert!(problem(|config| config.language = "Klingon, please".into()).contains("BCP 47"));
        assert!(problem(|config| config.phrases[0].boost = 0.0).contains("above 0"));
        assert!(problem(|config| config.phrases[0].boost = f32::NAN).contains("above 0"));
        assert!(problem(|config| config.phrases[0].text = "x".repeat(101)).contains("100 characters"));
        let minute = plan(&wanted("long"), false, &[]).unwrap();
        assert!(minute.whole(&vec![0; 960_000]).is_ok());
        assert!(minute.whole(&vec![0; 960_001]).unwrap_err().contains("60s"));
    }

    #[test]
    fn the_default_model_follows_the_rate() {
        let model = |rate_hz| plan(&RecognitionConfig { model: None, rate_hz, ..wanted("") }, true, &[]).unwrap().model;
        assert_eq!((model(16_000), model(8000)), ("long".into(), "telephony".into()));
    }
}
