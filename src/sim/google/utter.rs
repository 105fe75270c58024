//! What a synthesis may ask for, in common between one reply and a stream: texts, voices, bounds, encodings.

use googleapis_tonic_google_cloud_texttospeech_v1::google::cloud::texttospeech::v1::AudioEncoding;
use tonic::Status;

use super::status::{beyond, invalid};
use crate::audio::{AudioFormat, Encoding, RATES_HZ};

pub(super) const MOST_INPUT_BYTES: usize = 5000;
/// What comes out where nothing else is asked for.
pub(super) const NATURAL_HZ: i32 = 24_000;

/// The text of an input, within its bounds.
pub(super) fn check_length(text: &str, longest_sentence: usize) -> Result<(), Status> {
    if text.len() > MOST_INPUT_BYTES {
        return Err(invalid(
            "Either `input.text` or `input.ssml` is longer than the limit of 5000 bytes. This limit is different from \
             quotas. To fix, reduce the byte length of the characters in this request, or consider using the Long Audio \
             API: https://cloud.google.com/text-to-speech/docs/create-audio-text-long-audio-synthesis.",
        ));
    }
    let long =
        text.split_inclusive(['.', '!', '?', '\n', '。', '！', '？']).find(|one| one.trim().len() > longest_sentence);
    match long {
        None => Ok(()),
        Some(sentence) => {
            let start: String = sentence.trim().chars().take(20).collect();
            Err(invalid(format!(
                "This request contains sentences that are too long. To fix, split up long sentences with sentence ending \
                 punctuation e.g. periods. Sentence starting with: \"{start}\" is too long."
            )))
        }
    }
}

/// 0 is not set.
pub(super) fn rate(given: f64) -> Result<f64, Status> {
    match given {
        0.0 => Ok(1.0),
        given if (0.25..=2.0).contains(&given) => Ok(given),
        given => Err(invalid(format!("speaking_rate must be between 0.25 and 2.0, received {given}."))),
    }
}

/// The format of the bytes, for encodings that this simulator writes.
pub(super) fn format(encoding: i32, rate_hz: i32, streamed: bool) -> Result<AudioFormat, Status> {
    let asked = AudioEncoding::try_from(encoding).unwrap_or(AudioEncoding::Unspecified);
    let encoding = match (asked, streamed) {
        (AudioEncoding::Pcm, _) | (AudioEncoding::Unspecified, true) | (AudioEncoding::Linear16, false) => {
            Encoding::Pcm16
        }
        (AudioEncoding::Mulaw, _) => Encoding::Mulaw,
        (AudioEncoding::Alaw, _) => Encoding::Alaw,
        (AudioEncoding::OggOpus, _) => Encoding::Opus,
        (AudioEncoding::Unspecified, false) => {
            return Err(invalid("Invalid audio encoding: AUDIO_ENCODING_UNSPECIFIED."));
        }
        (other, true) => {
            let text = "Unsupported audio encoding for streaming synthesis, expected PCM, ALAW, MULAW or OGG_OPUS";
            return Err(invalid(format!("{text}: {}.", other.as_str_name())));
        }
        (other, false) => return Err(beyond(&format!("encode {}", other.as_str_name()))),
    };
    let rate_hz = if rate_hz == 0 { NATURAL_HZ } else { rate_hz };
    let known = u32::try_from(rate_hz).ok().filter(|rate| RATES_HZ.contains(rate));
    let rate_hz = known.ok_or_else(|| invalid(format!("sample_rate_hertz of {rate_hz} cannot be made.")))?;
    AudioFormat::new(encoding, rate_hz, 1).map_err(|error| invalid(error.to_string()))
}
