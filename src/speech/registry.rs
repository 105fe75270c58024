//! The speech engine that the settings name.

use std::sync::Arc;

use super::{SpeechToText, TextToSpeech};
use crate::config::Config;
use crate::lifecycle::Lifecycle;
use crate::text::nearest_hint;

/// What one engine can do; most do both.
#[derive(Clone, Default)]
pub struct Engines {
    pub stt: Option<Arc<dyn SpeechToText>>,
    pub tts: Option<Arc<dyn TextToSpeech>>,
}

/// Makes an engine from its settings; `Err` says why it is off. Its live recognitions run under the lifecycle.
pub type Constructor = fn(&Config, &Lifecycle) -> Result<Engines, String>;

/// One line per engine: a name and how to make it.
pub const REGISTERED: &[(&str, Constructor)] =
    &[(super::google::NAME, super::google::from_config), (super::openai::NAME, super::openai::from_config)];

/// The engine in use, or why there is none. Cheap to clone.
#[derive(Clone)]
pub struct SpeechRegistry {
    engines: Engines,
    /// Why a half is missing.
    off: String,
}

impl SpeechRegistry {
    pub fn from_config(config: &Config, lifecycle: &Lifecycle) -> Self {
        let name = config.speech.engine.as_str();
        let names = || REGISTERED.iter().map(|(name, _)| *name);
        if name.is_empty() {
            let known = names().collect::<Vec<_>>().join(", ");
            return Self::off(format!("speech.engine is not set, expected one of: {known}"));
        }
        let Some((_, construct)) = REGISTERED.iter().find(|(known, _)| *known == name) else {
            let known = names().collect::<Vec<_>>().join(", ");
            let hint = nearest_hint(name, names());
            return Self::off(format!("speech.engine is {name:?}{hint}, expected one of: {known}"));
        };
        match construct(config, lifecycle) {
            Ok(engines) => Self { engines, off: format!("{name} does not do that") },
            Err(reason) => Self::off(format!("{name}: {reason}")),
        }
    }

    /// No speech, for this reason.
    pub fn off(reason: impl Into<String>) -> Self {
        Self { engines: Engines::default(), off: reason.into() }
    }

    /// Takes these engines, whatever the settings say.
    pub fn with(engines: Engines) -> Self {
        Self { engines, off: "there is no such engine".into() }
    }

    /// What hears, or why nothing does.
    pub fn stt(&self) -> Result<&Arc<dyn SpeechToText>, SpeechUnavailable> {
        self.engines.stt.as_ref().ok_or_else(|| SpeechUnavailable { reason: self.off.clone() })
    }

    /// What speaks, or why nothing does.
    pub fn tts(&self) -> Result<&Arc<dyn TextToSpeech>, SpeechUnavailable> {
        self.engines.tts.as_ref().ok_or_else(|| SpeechUnavailable { reason: self.off.clone() })
    }
}

/// For `status_reason` and problem documents: `speech_off`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("speech is off: {reason}")]
pub struct SpeechUnavailable {
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    fn reason(pairs: &[(&str, &str)]) -> String {
        let config = Config::load(None, &Environment::from_pairs(pairs.iter().copied())).unwrap();
        SpeechRegistry::from_config(&config, &Lifecycle::new())
            .stt()
            .err()
            .map(|off| off.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn an_engine_that_is_not_set_or_not_known_is_off_and_says_why() {
        assert!(reason(&[]).contains("speech.engine is not set"), "{}", reason(&[]));
        let misspelt = reason(&[("VOXD_SPEECH__ENGINE", "gogle")]);
        assert!(misspelt.contains("speech.engine is \"gogle\""), "{misspelt}");
    }

    #[test]
    fn google_needs_a_project_unless_it_is_a_simulator() {
        let google = ("VOXD_SPEECH__ENGINE", "google");
        let none = reason(&[google, ("VOXD_SPEECH__GOOGLE__AUTHORIZE", "never")]);
        assert!(none.contains("speech.google.project"), "{none}");
        assert_eq!(reason(&[google, ("VOXD_SPEECH__GOOGLE__STT_ENDPOINT", "http://127.0.0.1:1")]), "");
        let place = [("GOOGLE_CLOUD_PROJECT", "p"), ("VOXD_SPEECH__GOOGLE__STT_LOCATION", "eu")];
        let elsewhere = reason(&[google, place[0], place[1], ("VOXD_SPEECH__GOOGLE__STT_MODEL", "chirp_2")]);
        assert!(elsewhere.contains("us-central1"), "{elsewhere}");
    }
}
