//! From the bytes of a request to samples of 16 kHz, and to the time that they last.

use std::time::Duration;

use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2::ExplicitDecodingConfig;
use googleapis_tonic_google_cloud_speech_v2::google::cloud::speech::v2::explicit_decoding_config::AudioEncoding;
use tonic::Status;

use super::status::{beyond, invalid};
use crate::audio::{AudioError, AudioFormat, Decoder, Encoding, Pick};
use crate::sim::tones::RATE_HZ;

/// Enough to know a container by.
const MAGIC_BYTES: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Format {
    /// By its first bytes.
    Detect,
    Known(AudioFormat),
}

/// Bytes in, samples out.
pub(super) struct Intake {
    format: Format,
    decoder: Option<Decoder>,
    /// Bytes that are too few to know their container by.
    held: Vec<u8>,
    bytes: u64,
    samples: u64,
}

/// What a request says of its sound.
pub(super) fn explicit(given: &ExplicitDecodingConfig) -> Result<Format, Status> {
    let encoding = match AudioEncoding::try_from(given.encoding) {
        Ok(AudioEncoding::Linear16) => Encoding::Pcm16,
        Ok(AudioEncoding::Mulaw) => Encoding::Mulaw,
        Ok(AudioEncoding::Alaw) => Encoding::Alaw,
        Ok(AudioEncoding::OggOpus) => Encoding::Opus,
        Ok(AudioEncoding::Unspecified) | Err(_) => {
            return Err(invalid("ExplicitDecodingConfig must have an encoding."));
        }
        Ok(other) => return Err(beyond(&format!("decode {}", other.as_str_name()))),
    };
    if !(8000..=48_000).contains(&given.sample_rate_hertz) {
        let text = "sample_rate_hertz must be between 8000 and 48000";
        return Err(invalid(format!("{text}, received {}.", given.sample_rate_hertz)));
    }
    if !(1..=8).contains(&given.audio_channel_count) {
        let text = "audio_channel_count must be between 1 and 8";
        return Err(invalid(format!("{text}, received {}.", given.audio_channel_count)));
    }
    let format = AudioFormat::new(encoding, given.sample_rate_hertz as u32, given.audio_channel_count as u16);
    let shape = || format!("read {} channels at {} Hz", given.audio_channel_count, given.sample_rate_hertz);
    Ok(Format::Known(format.map_err(|_| beyond(&shape()))?))
}

fn unreadable() -> Status {
    invalid(
        "Audio data does not appear to be in a supported encoding. If you believe this to be incorrect, try explicitly \
         specifying the decoding parameters.",
    )
}

impl Intake {
    pub fn new(format: Format) -> Self {
        Self { format, decoder: None, held: Vec::new(), bytes: 0, samples: 0 }
    }

    /// Whether a message of so many bytes ends within a sample.
    pub fn is_ragged(&self, bytes: usize) -> bool {
        matches!(self.format, Format::Known(format) if frame_bytes(&format).is_some_and(|frame| !bytes.is_multiple_of(frame)))
    }

    /// How much sound has come: of raw formats by their bytes.
    pub fn audio(&self) -> Duration {
        let (count, per_second) = match &self.format {
            Format::Known(format) if let Some(frame) = frame_bytes(format) => {
                (self.bytes, u64::from(format.rate_hz) * frame as u64)
            }
            _ => (self.samples, u64::from(RATE_HZ)),
        };
        Duration::from_nanos((u128::from(count) * 1_000_000_000 / u128::from(per_second)) as u64)
    }

    /// # Errors
    /// The bytes are not what they should be.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<i16>, Status> {
        self.bytes += bytes.len() as u64;
        self.held.extend_from_slice(bytes);
        let format = match self.format {
            Format::Known(format) => format,
            Format::Detect if self.decoder.is_some() => AudioFormat::PCM16_16K,
            Format::Detect if self.held.len() < MAGIC_BYTES => return Ok(Vec::new()),
            Format::Detect => detect(&self.held)?,
        };
        let unread = |error: AudioError| invalid(format!("{} ({error})", unreadable().message()));
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => none.insert(Decoder::new(format, Pick::Left, RATE_HZ).map_err(unread)?),
        };
        let mut samples = Vec::new();
        let mut rest = &self.held[..];
        while !rest.is_empty() {
            rest = &rest[decoder.push(rest, &mut samples).map_err(unread)?..];
        }
        self.held.clear();
        self.samples += samples.len() as u64;
        Ok(samples)
    }

    /// The rest of the samples.
    ///
    /// # Errors
    /// The bytes ended before their sound began.
    pub fn finish(&mut self) -> Result<Vec<i16>, Status> {
        let Some(decoder) = self.decoder.take() else {
            return if self.held.is_empty() { Ok(Vec::new()) } else { Err(unreadable()) };
        };
        let mut samples = Vec::new();
        decoder.finish(&mut samples).map_err(|_| unreadable())?;
        self.samples += samples.len() as u64;
        Ok(samples)
    }
}

/// Of raw formats: one sample of each channel.
fn frame_bytes(format: &AudioFormat) -> Option<usize> {
    let sample = match format.encoding {
        Encoding::Pcm16 => 2,
        Encoding::Mulaw | Encoding::Alaw => 1,
        Encoding::Wav | Encoding::Opus => return None,
    };
    Some(sample * usize::from(format.channels))
}

fn detect(bytes: &[u8]) -> Result<AudioFormat, Status> {
    let encoding = match &bytes[..MAGIC_BYTES] {
        b"RIFF" | b"RF64" => Encoding::Wav,
        b"OggS" => Encoding::Opus,
        b"fLaC" => return Err(beyond("decode FLAC")),
        [b'I', b'D', b'3', _] | [0xff, 0xfb | 0xf3 | 0xf2, _, _] => return Err(beyond("decode MP3")),
        [0x1a, 0x45, 0xdf, 0xa3] => return Err(beyond("decode WebM")),
        _ => return Err(unreadable()),
    };
    Ok(AudioFormat { encoding, ..AudioFormat::PCM16_16K })
}
