//! How a user wants to be heard and spoken to.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::call::FieldError;
use crate::text::pointer_of;

const MAX_NAME_CHARS: usize = 128;
const MAX_PHRASES: usize = 500;
const MAX_PHRASE_CHARS: usize = 100;

/// A user's voice configuration. A session takes a copy when it begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionConfig {
    /// What is spoken, BCP 47; null: the daemon's own (`speech.language`).
    #[schema(example = "en-US")]
    pub language: Option<String>,
    /// The speech engine's name of a model; null: its default.
    pub model: Option<String>,
    /// Whether transcripts are punctuated.
    pub punctuation: bool,
    /// Words and phrases that are likelier than the model thinks, at most 500.
    #[schema(max_items = 500)]
    pub phrases: Vec<LikelyPhrase>,
    /// The speech engine's name of a voice; null: its default for the language.
    pub voice: Option<String>,
    /// 0.25 to 2.
    #[schema(minimum = 0.25, maximum = 2.0)]
    pub speaking_rate: f64,
    /// Whether the sound that was sent is kept, and not its transcript only.
    pub record_audio: bool,
}

/// A word or phrase with its weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LikelyPhrase {
    #[schema(min_length = 1, max_length = 100)]
    pub text: String,
    /// Above 0, at most 20; 10 where absent.
    #[serde(default = "usual_boost")]
    #[schema(minimum = 0, maximum = 20)]
    pub boost: f64,
}

fn usual_boost() -> f64 {
    10.0
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            language: None,
            model: None,
            punctuation: true,
            phrases: Vec::new(),
            voice: None,
            speaking_rate: 1.0,
            record_audio: false,
        }
    }
}

impl SessionConfig {
    /// This configuration with the fields of `over` in place of its own; null gives a field its default.
    ///
    /// # Errors
    /// Unknown fields and values that are not taken, with pointers into `over`.
    pub fn with(&self, over: Map<String, Value>) -> Result<Self, Vec<FieldError>> {
        let mut whole = match serde_json::to_value(self) {
            Ok(Value::Object(whole)) => whole,
            _ => return Err(vec![FieldError::new("", "the configuration cannot be written as JSON")]),
        };
        for (name, value) in over {
            // Where null means something it is the default as well.
            if value.is_null() {
                whole.remove(&name);
            } else {
                whole.insert(name, value);
            }
        }
        Self::read(Value::Object(whole))
    }

    /// # Errors
    /// Unknown fields and values that are not taken, with pointers into `value`.
    pub fn read(value: Value) -> Result<Self, Vec<FieldError>> {
        let config: Self = serde_path_to_error::deserialize(value)
            .map_err(|error| vec![FieldError::new(pointer_of(error.path()), error.inner().to_string())])?;
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        if self.language.as_ref().is_some_and(|tag| !is_language(tag)) {
            problems.push(FieldError::new("/language", "is not a language tag, expected e.g. en-US"));
        }
        for (pointer, name) in [("/model", &self.model), ("/voice", &self.voice)] {
            if name.as_ref().is_some_and(|name| !is_name(name, MAX_NAME_CHARS)) {
                problems.push(FieldError::new(pointer, format!("expected 1 to {MAX_NAME_CHARS} printable characters")));
            }
        }
        if !(0.25..=2.0).contains(&self.speaking_rate) {
            problems.push(FieldError::new("/speaking_rate", "expected 0.25 to 2"));
        }
        if self.phrases.len() > MAX_PHRASES {
            let problem = format!("has {} items, expected at most {MAX_PHRASES}", self.phrases.len());
            problems.push(FieldError::new("/phrases", problem));
        }
        for (n, phrase) in self.phrases.iter().enumerate() {
            if !is_name(&phrase.text, MAX_PHRASE_CHARS) {
                let problem = format!("expected 1 to {MAX_PHRASE_CHARS} printable characters");
                problems.push(FieldError::new(format!("/phrases/{n}/text"), problem));
            }
            if !(phrase.boost > 0.0 && phrase.boost <= 20.0) {
                problems.push(FieldError::new(format!("/phrases/{n}/boost"), "expected above 0, at most 20"));
            }
        }
        problems
    }
}

/// The shape of a BCP 47 tag: letters, then parts of letters and digits.
pub fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let is_primary = |part: &str| (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    tag.len() <= 35 && parts.next().is_some_and(is_primary) && parts.all(is_part)
}

/// 1 to `most` characters that can be seen.
pub fn is_name(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointers(value: Value) -> Vec<String> {
        SessionConfig::read(value).unwrap_err().into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn an_empty_one_is_the_default() {
        assert_eq!(SessionConfig::read(json!({})).unwrap(), SessionConfig::default());
    }

    #[test]
    fn fields_lie_over_each_other_and_null_is_the_default() {
        let mine = SessionConfig::read(json!({ "language": "de-DE", "voice": "a", "record_audio": true })).unwrap();
        let Value::Object(over) = json!({ "voice": null, "language": null, "speaking_rate": 1.5 }) else { panic!() };
        let both = mine.with(over).unwrap();
        assert_eq!((both.voice, both.speaking_rate, both.record_audio), (None, 1.5, true));
        assert_eq!(both.language, None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let all = json!({ "language": "english!", "model": "", "voice": "a\nb", "speaking_rate": 2.5,
            "phrases": [{ "text": "x" }, { "text": "", "boost": 21 }] });
        let wanted = ["/language", "/model", "/voice", "/speaking_rate", "/phrases/1/text", "/phrases/1/boost"];
        assert_eq!(pointers(all), wanted);
        assert_eq!(pointers(json!({ "speaking_rate": "fast" })), ["/speaking_rate"]);
        let unknown = SessionConfig::read(json!({ "languag": "en" })).unwrap_err().remove(0).to_string();
        assert!(unknown.contains("unknown field `languag`"), "{unknown}");
    }

    #[test]
    fn language_tags_have_their_shape() {
        for good in ["en", "en-US", "cmn-Hans-CN", "es-419"] {
            assert!(is_language(good), "{good}");
        }
        for bad in ["", "e", "en_US", "en-", "-US", "en US", "englishes-US"] {
            assert!(!is_language(bad), "{bad}");
        }
    }
}
