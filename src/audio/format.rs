//! Formats by the names of the API (`wav`, `pcm16`, `mulaw`, `alaw`, `opus`) and by MIME type.

use super::{AudioError, check_rate};
use crate::text::nearest_hint;

/// How samples are written as bytes.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// RIFF/WAVE with PCM, float or G.711 inside; tells its own shape.
    Wav,
    /// Raw signed 16 bit, little-endian.
    Pcm16,
    /// Raw G.711 mu-law.
    Mulaw,
    /// Raw G.711 A-law.
    Alaw,
    /// Opus in Ogg (RFC 7845); tells its own shape.
    Opus,
}

impl Encoding {
    pub const ALL: [Self; 5] = [Self::Wav, Self::Pcm16, Self::Mulaw, Self::Alaw, Self::Opus];

    pub fn name(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Pcm16 => "pcm16",
            Self::Mulaw => "mulaw",
            Self::Alaw => "alaw",
            Self::Opus => "opus",
        }
    }

    /// The rate where none is told: 16 kHz for PCM, 8 kHz for G.711.
    fn usual_rate_hz(self) -> u32 {
        match self {
            Self::Mulaw | Self::Alaw => 8000,
            Self::Wav | Self::Pcm16 | Self::Opus => 16_000,
        }
    }
}

/// An encoding with the shape of its samples. `wav` and `opus` being read tell their own shape, and these two numbers do
/// not count; being written, they say what is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioFormat {
    pub encoding: Encoding,
    /// One of `RATES_HZ`.
    pub rate_hz: u32,
    /// 1 or 2.
    pub channels: u16,
}

impl AudioFormat {
    pub const PCM16_16K: Self = Self { encoding: Encoding::Pcm16, rate_hz: 16_000, channels: 1 };

    /// # Errors
    /// A rate that is not in `RATES_HZ`, or channels other than 1 or 2.
    pub fn new(encoding: Encoding, rate_hz: u32, channels: u16) -> Result<Self, AudioError> {
        check_rate(rate_hz).map_err(AudioError::Format)?;
        if !(1..=2).contains(&channels) {
            return Err(AudioError::Format(format!("{channels} channels, expected 1 or 2")));
        }
        Ok(Self { encoding, rate_hz, channels })
    }

    /// A name of the API; mono, and the encoding's usual rate where none is given.
    pub fn from_name(name: &str, rate_hz: Option<u32>) -> Result<Self, AudioError> {
        let Some(encoding) = Encoding::ALL.into_iter().find(|encoding| encoding.name() == name) else {
            let names = Encoding::ALL.map(Encoding::name);
            let shown: String = name.chars().take(40).collect();
            let hint = nearest_hint(&shown, names);
            return Err(AudioError::Format(format!("format {shown:?}, expected one of {}{hint}", names.join(", "))));
        };
        Self::new(encoding, rate_hz.unwrap_or(encoding.usual_rate_hz()), 1)
    }

    /// A `Content-Type`. `audio/l16` needs its `rate` (RFC 2586). That RFC's samples are big-endian, but what speech
    /// services send and take under this name is little-endian; so is ours, and `endianness=big-endian` is refused.
    pub fn from_mime(mime: &str) -> Result<Self, AudioError> {
        let shown: String = mime.chars().take(80).collect();
        let refused = |problem: &str| AudioError::Format(format!("content type {shown:?}: {problem}"));
        let mut parts = mime.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut rate_hz, mut channels) = (None, 1);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "rate" => rate_hz = Some(value.parse().map_err(|_| refused("rate is not a number"))?),
                "channels" => channels = value.parse().map_err(|_| refused("channels is not a number"))?,
                "endianness" if value != "little-endian" => return Err(refused("samples must be little-endian")),
                "codecs" if !value.eq_ignore_ascii_case("opus") && !value.is_empty() && essence == "audio/ogg" => {
                    return Err(refused("of Ogg's codecs only opus is read"));
                }
                _ => {}
            }
        }
        let encoding = match essence.as_str() {
            "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => Encoding::Wav,
            "audio/l16" | "audio/pcm" => Encoding::Pcm16,
            "audio/basic" | "audio/pcmu" | "audio/x-mulaw" => Encoding::Mulaw,
            "audio/pcma" | "audio/x-alaw" => Encoding::Alaw,
            "audio/ogg" | "audio/opus" => Encoding::Opus,
            _ => return Err(refused("expected audio/wav, audio/l16;rate=16000, audio/basic, audio/pcma or audio/ogg")),
        };
        match (encoding, rate_hz) {
            (Encoding::Pcm16, None) => Err(refused("the rate is missing, as in audio/l16;rate=16000")),
            // Containers tell their own.
            (Encoding::Wav | Encoding::Opus, _) => Self::new(encoding, encoding.usual_rate_hz(), 1),
            (_, rate_hz) => Self::new(encoding, rate_hz.unwrap_or(encoding.usual_rate_hz()), channels),
        }
    }

    /// The `Content-Type` of this format.
    pub fn mime(&self) -> String {
        let Self { encoding, rate_hz, channels } = self;
        match encoding {
            Encoding::Wav => "audio/wav".into(),
            Encoding::Opus => "audio/ogg;codecs=opus".into(),
            Encoding::Mulaw if *rate_hz == 8000 && *channels == 1 => "audio/basic".into(),
            Encoding::Pcm16 => format!("audio/l16;rate={rate_hz};channels={channels}"),
            Encoding::Mulaw => format!("audio/pcmu;rate={rate_hz};channels={channels}"),
            Encoding::Alaw => format!("audio/pcma;rate={rate_hz};channels={channels}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(encoding: Encoding, rate_hz: u32, channels: u16) -> AudioFormat {
        AudioFormat { encoding, rate_hz, channels }
    }

    #[test]
    fn names_and_content_types_are_read() {
        let named = |name, rate| AudioFormat::from_name(name, rate).unwrap();
        assert_eq!(named("pcm16", None), AudioFormat::PCM16_16K);
        assert_eq!(named("mulaw", None), format(Encoding::Mulaw, 8000, 1));
        assert_eq!(named("alaw", Some(16_000)), format(Encoding::Alaw, 16_000, 1));
        let typed = |mime| AudioFormat::from_mime(mime).unwrap();
        assert_eq!(typed("audio/l16;rate=16000"), AudioFormat::PCM16_16K);
        assert_eq!(typed("Audio/L16; Rate=\"44100\" ; channels=2"), format(Encoding::Pcm16, 44_100, 2));
        assert_eq!(typed("audio/basic"), format(Encoding::Mulaw, 8000, 1));
        assert_eq!(typed("audio/x-wav").encoding, Encoding::Wav);
        assert_eq!(typed("audio/ogg; codecs=opus").encoding, Encoding::Opus);
    }

    #[test]
    fn refusals_say_what_was_expected() {
        let problem = |read: Result<AudioFormat, AudioError>| read.unwrap_err().to_string();
        insta::assert_snapshot!([
            problem(AudioFormat::from_name("mulow", None)),
            problem(AudioFormat::from_name("pcm16", Some(44_099))),
            problem(AudioFormat::from_mime("audio/l16")),
            problem(AudioFormat::from_mime("audio/l16;rate=16000;channels=3")),
            problem(AudioFormat::from_mime("audio/l16;rate=16000;endianness=big-endian")),
            problem(AudioFormat::from_mime("audio/ogg;codecs=vorbis")),
            problem(AudioFormat::from_mime("audio/mpeg")),
        ].join("\n"), @r#"
        format "mulow", expected one of wav, pcm16, mulaw, alaw, opus (did you mean "mulaw"?)
        a sample rate of 44099 Hz, expected one of 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000
        content type "audio/l16": the rate is missing, as in audio/l16;rate=16000
        3 channels, expected 1 or 2
        content type "audio/l16;rate=16000;endianness=big-endian": samples must be little-endian
        content type "audio/ogg;codecs=vorbis": of Ogg's codecs only opus is read
        content type "audio/mpeg": expected audio/wav, audio/l16;rate=16000, audio/basic, audio/pcma or audio/ogg
        "#);
    }

    proptest::proptest! {
        #[test]
        fn a_format_survives_its_content_type(at in 0..5usize, rate in 0..9usize, channels in 1..=2u16) {
            let given = AudioFormat::new(Encoding::ALL[at], super::super::RATES_HZ[rate], channels).unwrap();
            let read = AudioFormat::from_mime(&given.mime()).unwrap();
            proptest::prop_assert_eq!(read.encoding, given.encoding);
            if !matches!(given.encoding, Encoding::Wav | Encoding::Opus) {
                proptest::prop_assert_eq!(read, given);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            let _ = AudioFormat::from_mime(&text);
            let _ = AudioFormat::from_name(&text, None);
        }
    }
}
