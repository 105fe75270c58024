//! From interleaved samples of any width, in any split, to 16-bit mono.

use super::decode::Pick;
use super::g711::Law;

/// One sample as bytes, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// Unsigned, silence at 128.
    U8,
    I16,
    I24,
    I32,
    /// Full scale is 1.0.
    F32,
    F64,
    G711(Law),
}

impl Sample {
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::G711(_) => 1,
            Self::I16 => 2,
            Self::I24 => 3,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// `bytes` has this sample's width. Wider ones are rounded; floats beyond full scale are clipped, NaN is silence.
    fn read(self, bytes: &[u8]) -> i16 {
        match (self, bytes) {
            (Self::U8, [byte]) => (i16::from(*byte) - 128) << 8,
            (Self::G711(law), [code]) => law.decode(*code),
            (Self::I16, [a, b]) => i16::from_le_bytes([*a, *b]),
            (Self::I24, [a, b, c]) => narrow(i32::from_le_bytes([0, *a, *b, *c])),
            (Self::I32, [a, b, c, d]) => narrow(i32::from_le_bytes([*a, *b, *c, *d])),
            (Self::F32, [a, b, c, d]) => scale(f64::from(f32::from_le_bytes([*a, *b, *c, *d]))),
            (Self::F64, [a, b, c, d, e, f, g, h]) => scale(f64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
            _ => 0,
        }
    }
}

fn narrow(value: i32) -> i16 {
    (value.saturating_add(1 << 15) >> 16) as i16
}

/// `as` saturates, and makes 0 of NaN.
fn scale(value: f64) -> i16 {
    (value * 32_768.0).round() as i16
}

/// Cuts bytes into frames (one sample of each channel) and picks or mixes a channel.
#[derive(Debug)]
pub struct Frames {
    sample: Sample,
    channels: usize,
    pick: Pick,
    /// The beginning of a frame whose rest has not come.
    held: [u8; 16],
    held_bytes: usize,
}

impl Frames {
    /// `channels` is 1 or 2.
    pub fn new(sample: Sample, channels: u16, pick: Pick) -> Self {
        Self { sample, channels: usize::from(channels.clamp(1, 2)), pick, held: [0; 16], held_bytes: 0 }
    }

    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<i16>) {
        let width = self.sample.bytes() * self.channels;
        if self.held_bytes > 0 {
            let take = (width - self.held_bytes).min(bytes.len());
            self.held[self.held_bytes..self.held_bytes + take].copy_from_slice(&bytes[..take]);
            self.held_bytes += take;
            bytes = &bytes[take..];
            if self.held_bytes < width {
                return;
            }
            self.held_bytes = 0;
            let frame = self.held;
            out.push(self.frame(&frame[..width]));
        }
        let whole = bytes.chunks_exact(width);
        let rest = whole.remainder();
        out.extend(whole.map(|frame| self.frame(frame)));
        self.held[..rest.len()].copy_from_slice(rest);
        self.held_bytes = rest.len();
    }

    /// Bytes of a frame that has begun.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    fn frame(&self, frame: &[u8]) -> i16 {
        let (left, right) = frame.split_at(self.sample.bytes());
        if self.channels == 1 {
            return self.sample.read(left);
        }
        self.pick.of(self.sample.read(left), self.sample.read(right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_reads_the_same_wave() {
        let cases: [(Sample, &[u8], i16); 12] = [
            (Sample::U8, &[0x80], 0),
            (Sample::U8, &[0x00], -32768),
            (Sample::I16, &[0x34, 0x12], 0x1234),
            (Sample::I24, &[0x80, 0x34, 0x12], 0x1235),
            (Sample::I24, &[0xFF, 0xFF, 0x7F], 32767),
            (Sample::I24, &[0x00, 0x00, 0x80], -32768),
            (Sample::I32, &[0x00, 0x00, 0x34, 0x12], 0x1234),
            (Sample::F32, &0.5f32.to_le_bytes(), 16384),
            (Sample::F32, &(-9.0f32).to_le_bytes(), -32768),
            (Sample::F32, &f32::NAN.to_le_bytes(), 0),
            (Sample::F64, &1.0f64.to_le_bytes(), 32767),
            (Sample::G711(Law::Mu), &[0x80], 32124),
        ];
        for (sample, bytes, expected) in cases {
            assert_eq!(sample.read(bytes), expected, "{sample:?} {bytes:?}");
        }
    }

    #[test]
    fn channels_are_mixed_or_picked() {
        let stereo = [100i16, 200, i16::MAX, i16::MAX, i16::MIN, i16::MIN];
        let bytes: Vec<u8> = stereo.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let read = |pick| {
            let mut out = Vec::new();
            Frames::new(Sample::I16, 2, pick).push(&bytes, &mut out);
            out
        };
        assert_eq!(read(Pick::Mix), [150, i16::MAX, i16::MIN]);
        assert_eq!(read(Pick::Left), [100, i16::MAX, i16::MIN]);
        assert_eq!(read(Pick::Right), [200, i16::MAX, i16::MIN]);
    }
}
