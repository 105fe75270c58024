//! The voices: which there are, and what their kind can do.

use googleapis_tonic_google_cloud_texttospeech_v1::google::cloud::texttospeech::v1 as tts;
use tonic::Status;
use tts::{ListVoicesResponse, SsmlVoiceGender, Voice, VoiceSelectionParams};

use super::status::invalid;

const LANGUAGES: &[&str] = &[
    "ar-XA", "bn-IN", "cmn-CN", "da-DK", "de-DE", "en-AU", "en-GB", "en-IN", "en-US", "es-ES", "es-US", "fi-FI",
    "fr-CA", "fr-FR", "gu-IN", "hi-IN", "id-ID", "it-IT", "ja-JP", "kn-IN", "ko-KR", "ml-IN", "mr-IN", "nb-NO",
    "nl-BE", "nl-NL", "pl-PL", "pt-BR", "ru-RU", "sv-SE", "sw-KE", "ta-IN", "te-IN", "th-TH", "tr-TR", "uk-UA",
    "vi-VN",
];
const CHIRP_NAMES: &[&str] = &[
    "Achernar",
    "Achird",
    "Algenib",
    "Algieba",
    "Alnilam",
    "Aoede",
    "Autonoe",
    "Callirrhoe",
    "Charon",
    "Despina",
    "Enceladus",
    "Erinome",
    "Fenrir",
    "Gacrux",
    "Iapetus",
    "Kore",
    "Laomedeia",
    "Leda",
    "Orus",
    "Puck",
    "Pulcherrima",
    "Rasalgethi",
    "Sadachbia",
    "Sadaltager",
    "Schedar",
    "Sulafat",
    "Umbriel",
    "Vindemiatrix",
    "Zephyr",
    "Zubenelgenubi",
];
const LETTERS: &[&str] = &["A", "B", "C", "D"];
/// Chirp 3 HD's names that are men's.
const MEN: &[&str] = &[
    "Achird",
    "Algenib",
    "Algieba",
    "Alnilam",
    "Charon",
    "Enceladus",
    "Fenrir",
    "Iapetus",
    "Orus",
    "Puck",
    "Rasalgethi",
    "Sadachbia",
    "Sadaltager",
    "Schedar",
    "Umbriel",
    "Zubenelgenubi",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Chirp3Hd,
    Journey,
    Gemini,
    Neural2,
    Wavenet,
    Standard,
}

impl Kind {
    const NAMED: [(Self, &'static str, &'static [&'static str]); 5] = [
        (Self::Chirp3Hd, "Chirp3-HD", CHIRP_NAMES),
        (Self::Journey, "Journey", &["D", "F", "O"]),
        (Self::Neural2, "Neural2", LETTERS),
        (Self::Wavenet, "Wavenet", LETTERS),
        (Self::Standard, "Standard", LETTERS),
    ];

    pub fn streams(self) -> bool {
        matches!(self, Self::Chirp3Hd | Self::Journey | Self::Gemini)
    }

    /// SSML, pitch.
    pub fn is_classic(self) -> bool {
        matches!(self, Self::Neural2 | Self::Wavenet | Self::Standard)
    }
}

/// `en` lists all kinds of English; empty lists all.
pub(super) fn list(language: &str) -> ListVoicesResponse {
    let is_asked = |code: &&&str| {
        let prefix = code.split('-').next().unwrap_or(code);
        language.is_empty() || code.eq_ignore_ascii_case(language) || prefix.eq_ignore_ascii_case(language)
    };
    let voices = LANGUAGES.iter().filter(is_asked).flat_map(|code| {
        Kind::NAMED.iter().flat_map(move |(_, family, names)| names.iter().map(move |name| voice(code, family, name)))
    });
    ListVoicesResponse { voices: voices.collect() }
}

fn voice(code: &str, family: &str, name: &str) -> Voice {
    let is_man = if family == "Chirp3-HD" { MEN.contains(&name) } else { matches!(name, "B" | "D") };
    let gender = if is_man { SsmlVoiceGender::Male } else { SsmlVoiceGender::Female };
    Voice {
        language_codes: vec![code.to_owned()],
        name: format!("{code}-{family}-{name}"),
        ssml_gender: gender as i32,
        natural_sample_rate_hertz: 24_000,
    }
}

/// The kind of the voice that is asked for; without a name, one is chosen.
pub(super) fn choose(asked: Option<&VoiceSelectionParams>) -> Result<Kind, Status> {
    let asked = asked.filter(|voice| !voice.language_code.is_empty());
    let asked = asked.ok_or_else(|| invalid("Voice selection must have a language_code."))?;
    if asked.ssml_gender == SsmlVoiceGender::Neutral as i32 {
        return Err(invalid("Gender neutral voices are not supported."));
    }
    let language = &asked.language_code;
    let known = LANGUAGES.iter().find(|code| code.eq_ignore_ascii_case(language));
    if !asked.model_name.is_empty() {
        let is_gemini = asked.model_name.starts_with("gemini-") && asked.model_name.contains("tts");
        let is_voice = CHIRP_NAMES.contains(&asked.name.as_str());
        let unknown = || invalid(format!("Model '{}' or its voice '{}' does not exist.", asked.model_name, asked.name));
        return (is_gemini && is_voice && known.is_some()).then_some(Kind::Gemini).ok_or_else(unknown);
    }
    if asked.name.is_empty() {
        let missing = || invalid(format!("Voice for language code '{language}' does not exist."));
        return known.map(|_| Kind::Standard).ok_or_else(missing);
    }
    let named = LANGUAGES.iter().find_map(|code| {
        let rest = asked.name.strip_prefix(code)?.strip_prefix('-')?;
        Kind::NAMED.iter().find_map(|(kind, family, names)| {
            let name = rest.strip_prefix(family)?.strip_prefix('-')?;
            names.contains(&name).then_some((*code, *kind))
        })
    });
    let (code, kind) =
        named.ok_or_else(|| invalid(format!("Voice '{}' does not exist. Is it misspelled?", asked.name)))?;
    if !code.eq_ignore_ascii_case(language) {
        let text = format!(
            "Requested language code '{language}' doesn't match the voice '{}'s language code '{code}'. Either pick a \
             different voice, or change the requested language code to '{code}'.",
            asked.name
        );
        return Err(invalid(text));
    }
    Ok(kind)
}
