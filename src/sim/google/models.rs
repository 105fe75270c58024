//! Which model is where and can do what. Collected from Google's documentation, its protos and what users report; the
//! Locations API answers from the same table.

use std::time::Duration;

/// A recognition model.
#[derive(Debug)]
pub(super) struct Model {
    pub name: &'static str,
    pub locations: &'static [&'static str],
    pub languages: &'static [&'static str],
    pub interims: bool,
    /// Word times while streaming; `Recognize` has them with every model.
    pub streamed_words: bool,
    pub word_confidence: bool,
    pub confidence: bool,
    pub adaptation: bool,
    /// In `Recognize`; no model has it while streaming.
    pub diarization: bool,
    pub separate_channels: bool,
    /// Ends its stream after one utterance.
    pub one_utterance: bool,
    /// Knows `endpointing_sensitivity`, a denoiser and prompts.
    pub newest: bool,
    /// From the end of speech to the final text: at 0, 50, 95, 99 and 100 %, in ms.
    pub final_ms: [u64; 5],
}

const EVERYWHERE: &[&str] = &[
    "global",
    "us",
    "eu",
    "us-central1",
    "us-east1",
    "us-west1",
    "europe-west1",
    "europe-west2",
    "europe-west3",
    "europe-west4",
    "asia-northeast1",
    "asia-south1",
    "asia-southeast1",
    "australia-southeast1",
    "northamerica-northeast1",
];
const LANGUAGES: &[&str] = &[
    "af-ZA",
    "ar-AE",
    "ar-EG",
    "ar-SA",
    "bg-BG",
    "bn-BD",
    "bn-IN",
    "ca-ES",
    "cmn-Hans-CN",
    "cmn-Hant-TW",
    "cs-CZ",
    "da-DK",
    "de-AT",
    "de-CH",
    "de-DE",
    "el-GR",
    "en-AU",
    "en-CA",
    "en-GB",
    "en-IE",
    "en-IN",
    "en-NZ",
    "en-US",
    "en-ZA",
    "es-AR",
    "es-CO",
    "es-ES",
    "es-MX",
    "es-US",
    "et-EE",
    "eu-ES",
    "fa-IR",
    "fi-FI",
    "fil-PH",
    "fr-BE",
    "fr-CA",
    "fr-CH",
    "fr-FR",
    "gl-ES",
    "gu-IN",
    "hi-IN",
    "hr-HR",
    "hu-HU",
    "id-ID",
    "is-IS",
    "it-IT",
    "iw-IL",
    "ja-JP",
    "kn-IN",
    "ko-KR",
    "lt-LT",
    "lv-LV",
    "mk-MK",
    "ml-IN",
    "mr-IN",
    "ms-MY",
    "nl-BE",
    "nl-NL",
    "no-NO",
    "pl-PL",
    "pt-BR",
    "pt-PT",
    "ro-RO",
    "ru-RU",
    "sk-SK",
    "sl-SI",
    "sr-RS",
    "sv-SE",
    "sw-KE",
    "ta-IN",
    "te-IN",
    "th-TH",
    "tr-TR",
    "uk-UA",
    "ur-PK",
    "vi-VN",
    "yue-Hant-HK",
];
/// Of chirp_2 while streaming.
const CHIRP_2: &[&str] = &[
    "cmn-Hans-CN",
    "cmn-Hant-TW",
    "yue-Hant-HK",
    "en-AU",
    "en-IN",
    "en-GB",
    "en-US",
    "fr-CA",
    "fr-FR",
    "de-DE",
    "it-IT",
    "ja-JP",
    "ko-KR",
    "pt-BR",
    "es-ES",
    "es-US",
];
const CHIRP_3: &[&str] = &[
    "ca-ES",
    "cmn-Hans-CN",
    "hr-HR",
    "da-DK",
    "nl-NL",
    "en-AU",
    "en-GB",
    "en-IN",
    "en-US",
    "fi-FI",
    "fr-CA",
    "fr-FR",
    "de-DE",
    "el-GR",
    "hi-IN",
    "it-IT",
    "ja-JP",
    "ko-KR",
    "pl-PL",
    "pt-BR",
    "pt-PT",
    "ro-RO",
    "ru-RU",
    "es-ES",
    "es-US",
    "sv-SE",
    "tr-TR",
    "uk-UA",
    "vi-VN",
];

const LONG: Model = Model {
    name: "long",
    locations: EVERYWHERE,
    languages: LANGUAGES,
    interims: true,
    streamed_words: true,
    word_confidence: true,
    confidence: true,
    adaptation: true,
    diarization: false,
    separate_channels: true,
    one_utterance: false,
    newest: false,
    // A public benchmark of latest_long: 1,000 samples, us-central1.
    final_ms: [600, 878, 1155, 1570, 2000],
};
const SHORT: Model = Model { name: "short", separate_channels: false, one_utterance: true, ..LONG };
const TELEPHONY: Model = Model { name: "telephony", adaptation: false, ..LONG };

pub(super) static MODELS: &[Model] = &[
    LONG,
    Model { name: "latest_long", ..LONG },
    SHORT,
    Model { name: "latest_short", ..SHORT },
    TELEPHONY,
    Model { name: "telephony_short", one_utterance: true, separate_channels: false, ..TELEPHONY },
    Model {
        name: "chirp_2",
        locations: &["us-central1", "europe-west4", "asia-southeast1"],
        languages: CHIRP_2,
        interims: false,
        confidence: false,
        ..LONG
    },
    Model {
        name: "chirp_3",
        locations: &["us", "eu", "asia-northeast1"],
        languages: CHIRP_3,
        interims: false,
        streamed_words: false,
        word_confidence: false,
        confidence: false,
        diarization: true,
        newest: true,
        // 2,468 ms were reported.
        final_ms: [2200, 2400, 2500, 2700, 3000],
        ..LONG
    },
];

impl Model {
    pub fn named(name: &str) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.name == name)
    }

    /// The language as Google writes it.
    pub fn language(&self, code: &str) -> Option<&'static str> {
        self.languages.iter().find(|known| known.eq_ignore_ascii_case(code)).copied()
    }

    /// A delay of the final text, for a number from 0 to 1.
    pub fn final_delay(&self, share: f64) -> Duration {
        const AT: [f64; 5] = [0.0, 0.5, 0.95, 0.99, 1.0];
        let n = AT.windows(2).position(|pair| share < pair[1]).unwrap_or(3);
        let (from, to) = (self.final_ms[n] as f64, self.final_ms[n + 1] as f64);
        let part = (share - AT[n]) / (AT[n + 1] - AT[n]);
        Duration::from_secs_f64((from + (to - from) * part.clamp(0.0, 1.0)) / 1000.0)
    }

    /// Names of features as the Locations API has them.
    pub fn features(&self) -> Vec<&'static str> {
        let mut features = vec!["recognizer", "automatic_punctuation", "profanity_filter"];
        features.extend(self.word_confidence.then_some("word_level_confidence"));
        features.extend(self.adaptation.then_some("speech_adaptation_boost"));
        features.extend(self.diarization.then_some("speaker_diarization"));
        features
    }
}
