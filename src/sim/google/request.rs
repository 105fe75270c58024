//! What a recognition request may ask for: the model's location, its features, bounds. A request is taken or refused as
//! a whole, as Google does it.

use std::time::Duration;

use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2 as speech;
use speech::recognition_config::DecodingConfig;
use speech::recognition_features::MultiChannelMode;
use speech::speech_adaptation::adaptation_phrase_set::Value;
use speech::{RecognitionConfig, RecognitionFeatures, SpeechAdaptation, StreamingRecognitionConfig};
use tonic::{Code, Status};

use super::intake::{Format, explicit};
use super::models::Model;
use super::status::{beyond, invalid, status};

/// Locations that take more than one language, to choose from.
const CHOOSING: [&str; 3] = ["global", "us", "eu"];
/// The bounds of the voice activity timeouts.
const SPEECH_TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(60);
const MOST_ALTERNATIVES: i32 = 30;

/// What was asked for, and may be.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub model: &'static Model,
    pub format: Format,
    pub language: &'static str,
    pub word_times: bool,
    pub word_confidence: bool,
    pub alternatives: usize,
    pub interims: bool,
    pub events: bool,
    /// No speech for so long at the stream's start ends it.
    pub start_timeout: Option<Duration>,
    /// So much silence after speech ends it.
    pub end_timeout: Option<Duration>,
}

/// Where a request arrived: what the endpoint's name says of its location.
#[derive(Debug, Clone, Default)]
pub(super) struct Endpoint {
    pub location: Option<String>,
}

impl Endpoint {
    /// `speech.googleapis.com` is global, `eu-speech.googleapis.com` is in `eu`; other names say nothing.
    pub fn of(authority: Option<&str>, fixed: Option<&str>) -> Self {
        let host = authority.map(|authority| authority.split(':').next().unwrap_or(authority));
        let named = host.and_then(|host| host.strip_suffix("speech.googleapis.com")).map(|prefix| {
            let location = prefix.strip_suffix('-').unwrap_or(prefix);
            if location.is_empty() { "global".to_owned() } else { location.to_owned() }
        });
        Self { location: fixed.map(str::to_owned).or(named) }
    }
}

pub(super) fn streaming(recognizer: &str, asked: &StreamingRecognitionConfig, at: &Endpoint) -> Result<Plan, Status> {
    let config = asked.config.clone().unwrap_or_default();
    let mut plan = recognition(recognizer, &config, at, true)?;
    let features = asked.streaming_features.unwrap_or_default();
    if features.endpointing_sensitivity != 0 && !plan.model.newest {
        return Err(unsupported("endpointing_sensitivity"));
    }
    plan.interims = features.interim_results && plan.model.interims;
    plan.events = features.enable_voice_activity_events;
    if let Some(timeouts) = features.voice_activity_timeout {
        if !plan.events {
            return Err(invalid("voice_activity_timeout requires enable_voice_activity_events."));
        }
        plan.start_timeout = timeout("speech_start_timeout", timeouts.speech_start_timeout)?;
        plan.end_timeout = timeout("speech_end_timeout", timeouts.speech_end_timeout)?;
    }
    Ok(plan)
}

fn timeout(name: &str, given: Option<prost_types::Duration>) -> Result<Option<Duration>, Status> {
    let Some(given) = given else { return Ok(None) };
    match Duration::try_from(given) {
        Ok(given) if SPEECH_TIMEOUT.contains(&given) => Ok(Some(given)),
        _ => Err(invalid(format!("Invalid {name}: it must be between 0.5 s and 60 s."))),
    }
}

/// The part that `Recognize` and streams have in common.
pub(super) fn recognition(
    recognizer: &str,
    config: &RecognitionConfig,
    at: &Endpoint,
    is_stream: bool,
) -> Result<Plan, Status> {
    let location = location_of(recognizer)?;
    if let Some(expected) = at.location.as_deref().filter(|expected| *expected != location) {
        let text = format!("Expected resource location to be {expected}, but found {location} in resource name.");
        return Err(invalid(text));
    }
    let model = model(&config.model, location)?;
    let language = language(model, config, location)?;
    let features = config.features.clone().unwrap_or_default();
    check_features(model, config, &features, is_stream)?;
    check_adaptation(model, config.adaptation.as_ref())?;
    let format = match &config.decoding_config {
        Some(DecodingConfig::AutoDecodingConfig(_)) => Format::Detect,
        Some(DecodingConfig::ExplicitDecodingConfig(given)) => explicit(given)?,
        None => return Err(invalid("RecognitionConfig must have a decoding_config.")),
    };
    Ok(Plan {
        model,
        format,
        language,
        word_times: features.enable_word_time_offsets,
        word_confidence: features.enable_word_confidence,
        alternatives: features.max_alternatives.max(1) as usize,
        interims: false,
        events: false,
        start_timeout: None,
        end_timeout: None,
    })
}

/// The location in `projects/*/locations/*/recognizers/*`.
fn location_of(recognizer: &str) -> Result<&str, Status> {
    let parts: Vec<&str> = recognizer.split('/').collect();
    match parts[..] {
        ["projects", project, "locations", location, "recognizers", name]
            if !project.is_empty() && !location.is_empty() && !name.is_empty() =>
        {
            Ok(location)
        }
        _ => {
            let pattern = "projects/{project}/locations/{location}/recognizers/{recognizer}";
            Err(invalid(format!("Invalid resource field value in the request: {recognizer:?} is not {pattern}.")))
        }
    }
}

fn model(name: &str, location: &str) -> Result<&'static Model, Status> {
    // Taken out of that place; the documentation still has it.
    if (name, location) == ("chirp_3", "asia-southeast1") {
        let text = "The model \"chirp_3\" is no longer generally available in the location named \"asia-southeast1\".";
        return Err(status(Code::PermissionDenied, text));
    }
    let known = Model::named(name).filter(|model| model.locations.contains(&location));
    known.ok_or_else(|| invalid(format!("The model \"{name}\" does not exist in the location named \"{location}\".")))
}

fn language(model: &Model, config: &RecognitionConfig, location: &str) -> Result<&'static str, Status> {
    let first = config.language_codes.first().ok_or_else(|| invalid("At least one language code is required."))?;
    if config.language_codes.len() > 1 && !CHOOSING.contains(&location) {
        let text = format!("Multiple language codes are not supported in the location named \"{location}\".");
        return Err(invalid(text));
    }
    let known = |code: &String| {
        model.language(code).ok_or_else(|| {
            let name = model.name;
            invalid(format!(
                "The language \"{code}\" is not supported by the model \"{name}\" in the location named \"{location}\"."
            ))
        })
    };
    config.language_codes.iter().try_for_each(|code| known(code).map(drop))?;
    known(first)
}

fn unsupported(feature: &str) -> Status {
    invalid(format!("Recognizer does not support feature: {feature}"))
}

fn check_features(
    model: &Model,
    config: &RecognitionConfig,
    features: &RecognitionFeatures,
    is_stream: bool,
) -> Result<(), Status> {
    if is_stream && features.enable_word_time_offsets && !model.streamed_words {
        return Err(invalid("Chirp 3 only supports word timestamps in Recognize and BatchRecognize requests."));
    }
    if features.enable_word_confidence && !model.word_confidence {
        return Err(unsupported("word_level_confidence"));
    }
    if features.diarization_config.is_some() && (is_stream || !model.diarization) {
        return Err(unsupported("speaker_diarization"));
    }
    if features.multi_channel_mode == MultiChannelMode::SeparateRecognitionPerChannel as i32 {
        let refusal =
            if model.separate_channels { beyond("recognize each channel") } else { unsupported("multi_channel_mode") };
        return Err(refusal);
    }
    if !(0..=MOST_ALTERNATIVES).contains(&features.max_alternatives) {
        return Err(invalid(format!("max_alternatives must be between 0 and {MOST_ALTERNATIVES}.")));
    }
    for (is_asked, feature) in
        [(features.custom_prompt_config.is_some(), "custom_prompt"), (config.denoiser_config.is_some(), "denoiser")]
    {
        if is_asked && !model.newest {
            return Err(unsupported(feature));
        }
    }
    if config.translation_config.is_some() {
        return Err(if model.name == "chirp_2" { beyond("translate") } else { unsupported("translation") });
    }
    let entries = config.transcript_normalization.iter().flat_map(|normalization| &normalization.entries);
    let long = |text: &str| text.chars().count() > 100;
    if entries.clone().count() > 100 || entries.clone().any(|entry| long(&entry.search) || long(&entry.replace)) {
        return Err(invalid("Transcript normalization has at most 100 entries of at most 100 characters."));
    }
    Ok(())
}

/// The counts of Google's quota page, per request.
fn check_adaptation(model: &Model, adaptation: Option<&SpeechAdaptation>) -> Result<(), Status> {
    let Some(adaptation) = adaptation else { return Ok(()) };
    if !model.adaptation {
        return Err(unsupported("speech_adaptation_boost"));
    }
    let most = |what: &str, count: usize, most: usize| {
        if count <= most { Ok(()) } else { Err(invalid(format!("Too many {what}: {count}, at most {most}."))) }
    };
    most("phrase sets", adaptation.phrase_sets.len(), 20)?;
    most("custom classes", adaptation.custom_classes.len(), 20)?;
    for class in &adaptation.custom_classes {
        most("items of a custom class", class.items.len(), 500)?;
        let longest = class.items.iter().map(|item| item.value.chars().count()).max().unwrap_or(0);
        most("characters of a custom class item", longest, 500)?;
    }
    let mut phrases = 0;
    for set in &adaptation.phrase_sets {
        let inline = match &set.value {
            Some(Value::InlinePhraseSet(inline)) => inline,
            Some(Value::PhraseSet(name)) => {
                return Err(status(Code::NotFound, format!("Phrase set {name:?} was not found.")));
            }
            None => return Err(invalid("A phrase set has neither a name nor phrases.")),
        };
        most("phrases of a phrase set", inline.phrases.len(), 1200)?;
        phrases += inline.phrases.len();
        for boost in inline.phrases.iter().map(|phrase| phrase.boost).chain([inline.boost]) {
            if !(0.0..=20.0).contains(&boost) {
                return Err(invalid(format!("Boost values must be between 0 and 20, received {boost}.")));
            }
        }
        let longest = inline.phrases.iter().map(|phrase| phrase.value.chars().count()).max().unwrap_or(0);
        most("characters of a phrase", longest, 100)?;
    }
    most("phrases", phrases, 5000)
}
