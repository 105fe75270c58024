//! WAV headers to write. Sound behind them is little-endian.

use super::super::format::{AudioFormat, Encoding};

/// The header of a file whose sound has `sound_bytes` bytes. None where a WAV cannot hold it: 4 GiB, or Opus.
pub fn header(format: AudioFormat, sound_bytes: u64) -> Option<Vec<u8>> {
    // Of an odd number the padding counts in the file's size only.
    let padded = sound_bytes + sound_bytes % 2;
    let extra = if matches!(format.encoding, Encoding::Mulaw | Encoding::Alaw) { 14 } else { 0 };
    let riff = u32::try_from(padded + 36 + extra).ok()?;
    build(format, riff, sound_bytes as u32)
}

/// The header of sound whose end is not known when it begins: all sizes 0xFFFFFFFF, as ffmpeg writes them to a pipe.
pub fn streamed_header(format: AudioFormat) -> Option<Vec<u8>> {
    build(format, u32::MAX, u32::MAX)
}

fn build(format: AudioFormat, riff: u32, data: u32) -> Option<Vec<u8>> {
    let (codec, bytes) = match format.encoding {
        Encoding::Wav | Encoding::Pcm16 => (1u16, 2u16),
        Encoding::Alaw => (6, 1),
        Encoding::Mulaw => (7, 1),
        Encoding::Opus => return None,
    };
    let frame = bytes * format.channels;
    let mut out = Vec::with_capacity(58);
    out.extend(b"RIFF");
    out.extend(riff.to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend((if codec == 1 { 16u32 } else { 18 }).to_le_bytes());
    out.extend(codec.to_le_bytes());
    out.extend(format.channels.to_le_bytes());
    out.extend(format.rate_hz.to_le_bytes());
    out.extend((format.rate_hz * u32::from(frame)).to_le_bytes());
    out.extend(frame.to_le_bytes());
    out.extend((bytes * 8).to_le_bytes());
    if codec != 1 {
        // What is not PCM has an extension's size, and a chunk with the number of samples.
        out.extend(0u16.to_le_bytes());
        out.extend(b"fact");
        out.extend(4u32.to_le_bytes());
        out.extend((if data == u32::MAX { data } else { data / u32::from(frame) }).to_le_bytes());
    }
    out.extend(b"data");
    out.extend(data.to_le_bytes());
    Some(out)
}
