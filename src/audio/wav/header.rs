//! The `fmt ` chunk.

use super::super::frames::Sample;
use super::super::g711::Law;
use super::super::{AudioError, check_rate};
use super::{u16_at, u32_at};

/// `WAVE_FORMAT_EXTENSIBLE`: the true format stands in a GUID, of which all but the first two bytes are fixed.
const EXTENSIBLE: u16 = 0xFFFE;
const GUID_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71];

/// The shape of the sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fmt {
    pub sample: Sample,
    pub channels: u16,
    pub rate_hz: u32,
}

impl Fmt {
    /// `bytes` are the chunk's first 16 to 40, `begin` their place in the file.
    pub fn read(bytes: &[u8], begin: u64) -> Result<Self, AudioError> {
        let told = u16_at(bytes, 0);
        let (codec, codec_at) = match (told, bytes.get(24..40)) {
            (EXTENSIBLE, Some(guid)) if guid[2..] == GUID_TAIL => (u16_at(guid, 0), 24),
            (EXTENSIBLE, Some(_)) => {
                return Err(AudioError::unsupported(begin + 24, "an extensible format of an unknown kind"));
            }
            (EXTENSIBLE, None) => {
                let problem = format!("an extensible fmt chunk of {} bytes, expected 40", bytes.len());
                return Err(AudioError::malformed(begin, problem));
            }
            (told, _) => (told, 0),
        };
        let channels = u16_at(bytes, 2);
        if !(1..=2).contains(&channels) {
            return Err(AudioError::unsupported(begin + 2, format!("{channels} channels, expected 1 or 2")));
        }
        let rate_hz = u32_at(bytes, 4);
        check_rate(rate_hz).map_err(|problem| AudioError::unsupported(begin + 4, problem))?;
        let (frame_bytes, bits) = (u16_at(bytes, 12), u16_at(bytes, 14));
        let width = width(frame_bytes, channels, bits);
        let sample = match (codec, width) {
            (1, Some(1)) => Sample::U8,
            (1, Some(2)) => Sample::I16,
            (1, Some(3)) => Sample::I24,
            (1, Some(4)) => Sample::I32,
            (3, Some(4)) => Sample::F32,
            (3, Some(8)) => Sample::F64,
            (6, Some(1)) => Sample::G711(Law::A),
            (7, Some(1)) => Sample::G711(Law::Mu),
            (1 | 3 | 6 | 7, _) => {
                let problem = format!("{bits} bits a sample in frames of {frame_bytes} bytes do not fit codec {codec}");
                return Err(AudioError::unsupported(begin + 12, problem));
            }
            _ => {
                let problem = format!("WAV codec {codec:#06x}{}, expected PCM, float or G.711", name(codec));
                return Err(AudioError::unsupported(begin + codec_at, problem));
            }
        };
        Ok(Self { sample, channels, rate_hz })
    }
}

/// Bytes a sample: of a frame where that fits, since 12 bits stand in two bytes, else of the bits (some writers leave the
/// frame's size out).
fn width(frame_bytes: u16, channels: u16, bits: u16) -> Option<u16> {
    let by_bits = bits.div_ceil(8);
    let by_frame = frame_bytes / channels;
    match frame_bytes {
        0 => Some(by_bits),
        _ if frame_bytes.is_multiple_of(channels) && by_frame >= by_bits && bits > 0 => Some(by_frame),
        _ => None,
    }
}

fn name(codec: u16) -> &'static str {
    match codec {
        0x0002 | 0x0011 => " (ADPCM)",
        0x0031 => " (GSM 6.10)",
        0x0050 | 0x0055 => " (MPEG)",
        0x00FF | 0x1600 => " (AAC)",
        _ => "",
    }
}
