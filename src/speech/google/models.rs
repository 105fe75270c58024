//! What each model can do, and where.
//!
//! A request with one unsupported feature is refused whole, so requests are built from this table, and a feature that is
//! refused all the same is left out from then on ([`Refusals`]). Sources: the Speech-to-Text v2 pages on models, Chirp 2
//! and Chirp 3, as of 2026-08, and the refusals that users of the API reported.

use std::collections::HashMap;
use std::sync::Mutex;

/// What a request may ask for beyond plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    Words,
    WordConfidence,
    Phrases,
    Punctuation,
    Events,
}

#[derive(Debug)]
pub struct Model {
    name: &'static str,
    /// Where it is; the first is where it is used if nothing else is said. `global` alone: everywhere.
    locations: &'static [&'static str],
    streamed_words: bool,
    word_confidence: bool,
    phrases: bool,
    pub interims: bool,
}

const EVERYWHERE: &[&str] = &["global"];
const CHIRP_2: &[&str] = &["us-central1", "europe-west4", "asia-southeast1"];
const CHIRP_3: &[&str] = &["us", "eu", "asia-northeast1", "asia-southeast1"];

const fn model(name: &'static str, locations: &'static [&'static str]) -> Model {
    Model { name, locations, streamed_words: true, word_confidence: true, phrases: true, interims: true }
}

const MODELS: &[Model] = &[
    model("long", EVERYWHERE),
    model("latest_long", EVERYWHERE),
    model("short", EVERYWHERE),
    model("latest_short", EVERYWHERE),
    Model { phrases: false, ..model("telephony", EVERYWHERE) },
    Model { phrases: false, ..model("telephony_short", EVERYWHERE) },
    // Word confidences are taken, and zeros come.
    Model { word_confidence: false, ..model("chirp_2", CHIRP_2) },
    Model { streamed_words: false, word_confidence: false, interims: false, ..model("chirp_3", CHIRP_3) },
];

/// A model that the table does not have: what it refuses is learned from its refusals.
const UNKNOWN: Model = Model { word_confidence: false, ..model("", EVERYWHERE) };

pub fn by_name(name: &str) -> &'static Model {
    MODELS.iter().find(|model| model.name == name).unwrap_or(&UNKNOWN)
}

impl Model {
    /// Where this model is used; `wanted` is the setting, or empty.
    ///
    /// # Errors
    /// The model is not there.
    pub fn location(&self, wanted: &str) -> Result<String, String> {
        let everywhere = self.locations == EVERYWHERE;
        if wanted.is_empty() {
            return Ok(self.locations[0].to_owned());
        }
        if everywhere || self.locations.contains(&wanted) {
            return Ok(wanted.to_owned());
        }
        let known = self.locations.join(", ");
        Err(format!(
            "the model {:?} is not offered in {wanted:?} (speech.google.stt_location), but in: {known}",
            self.name
        ))
    }

    pub fn takes(&self, feature: Feature, streaming: bool) -> bool {
        match feature {
            Feature::Words => self.streamed_words || !streaming,
            Feature::WordConfidence => self.word_confidence,
            Feature::Phrases => self.phrases,
            Feature::Punctuation | Feature::Events => true,
        }
    }
}

/// The feature that a refusal names, as in `Recognizer does not support feature: word_level_confidence`.
pub fn refused_feature(message: &str) -> Option<Feature> {
    let message = message.to_ascii_lowercase();
    if !message.contains("does not support") && !message.contains("only supports") && !message.contains("unsupported") {
        return None;
    }
    let names = [
        (Feature::WordConfidence, &["word_level_confidence", "word_confidence"][..]),
        (Feature::Words, &["word timestamps", "word_time_offset", "word_timestamps"][..]),
        (Feature::Phrases, &["speech_adaptation", "adaptation", "phrase"][..]),
        (Feature::Punctuation, &["punctuation"][..]),
        (Feature::Events, &["voice_activity", "voice activity"][..]),
    ];
    names.into_iter().find(|(_, words)| words.iter().any(|word| message.contains(word))).map(|(feature, _)| feature)
}

/// What was refused although the table says otherwise, by model, location and method.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<HashMap<(String, String, bool), Vec<Feature>>>);

impl Refusals {
    /// Whether this was news: then the same request without the feature may work.
    pub fn learn(&self, model: &str, location: &str, streaming: bool, feature: Feature) -> bool {
        let mut known = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = known.entry((model.to_owned(), location.to_owned(), streaming)).or_default();
        let is_new = !known.contains(&feature);
        if is_new {
            known.push(feature);
        }
        is_new
    }

    pub fn of(&self, model: &str, location: &str, streaming: bool) -> Vec<Feature> {
        let known = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.get(&(model.to_owned(), location.to_owned(), streaming)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_used_where_they_are() {
        assert_eq!(by_name("long").location(""), Ok("global".into()));
        assert_eq!(by_name("long").location("us-central1"), Ok("us-central1".into()));
        assert_eq!(by_name("chirp_3").location(""), Ok("us".into()));
        assert_eq!(by_name("chirp_3").location("eu"), Ok("eu".into()));
        assert!(by_name("chirp_3").location("global").unwrap_err().contains("us, eu"));
        assert!(by_name("chirp_2").location("us").is_err());
    }

    #[test]
    fn refusals_name_the_feature() {
        for (message, feature) in [
            ("Recognizer does not support feature: speech_adaptation_boost", Feature::Phrases),
            ("Recognizer does not support feature: word_level_confidence", Feature::WordConfidence),
            ("Chirp 3 only supports word timestamps in Recognize and BatchRecognize requests.", Feature::Words),
            ("Recognizer does not support feature: automatic_punctuation", Feature::Punctuation),
        ] {
            assert_eq!(refused_feature(message), Some(feature), "{message}");
        }
        assert_eq!(refused_feature("The model \"chirp_3\" does not exist in the location named \"global\"."), None);
        assert_eq!(refused_feature("Audio chunk can be of a maximum of 25600 bytes."), None);
    }

    #[test]
    fn a_refusal_is_news_once() {
        let refusals = Refusals::default();
        assert!(refusals.learn("long", "global", true, Feature::Words));
        assert!(!refusals.learn("long", "global", true, Feature::Words));
        assert_eq!(refusals.of("long", "global", true), [Feature::Words]);
        assert_eq!(refusals.of("long", "global", false), []);
    }
}
