//! G.711: mu-law and A-law, one byte a sample.
//!
//! Source: ITU-T G.711 (1988), tables 1a to 2b. Decoding and encoding equal Python's `audioop` (which is Sun's reference
//! code) for every input; the tests hold checksums of both.

/// Mu-law and A-law by their tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    Mu,
    A,
}

/// Mu-law's bias on the 14-bit scale.
const BIAS: i32 = 33;

static MU: [i16; 256] = table(Law::Mu);
static A: [i16; 256] = table(Law::A);

impl Law {
    /// The sample of a code; all 256 codes are valid.
    pub fn decode(self, code: u8) -> i16 {
        match self {
            Self::Mu => MU[usize::from(code)],
            Self::A => A[usize::from(code)],
        }
    }

    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Mu => encode_mu(sample),
            Self::A => encode_a(sample),
        }
    }

    /// The code of silence.
    pub fn silence(self) -> u8 {
        self.encode(0)
    }
}

const fn table(law: Law) -> [i16; 256] {
    let mut samples = [0; 256];
    let mut code = 0;
    while code < 256 {
        samples[code] = match law {
            Law::Mu => decode_mu(code as u8),
            Law::A => decode_a(code as u8),
        };
        code += 1;
    }
    samples
}

const fn decode_mu(code: u8) -> i16 {
    let code = !code;
    let step = ((code & 0x0F) as i32) << 3;
    let magnitude = ((step + (BIAS << 2)) << ((code & 0x70) >> 4)) - (BIAS << 2);
    (if code & 0x80 == 0 { magnitude } else { -magnitude }) as i16
}

const fn decode_a(code: u8) -> i16 {
    let code = code ^ 0x55;
    let step = ((code & 0x0F) as i32) << 4;
    let magnitude = match (code & 0x70) >> 4 {
        0 => step + 8,
        segment => (step + 0x108) << (segment - 1),
    };
    (if code & 0x80 == 0 { -magnitude } else { magnitude }) as i16
}

/// On the 14-bit scale: the magnitude's highest bit is the segment, the four bits below it the step.
fn encode_mu(sample: i16) -> u8 {
    let value = i32::from(sample) >> 2;
    let (magnitude, mask) = if value < 0 { (-value, 0x7F) } else { (value, 0xFF) };
    let biased = magnitude.min(8158) + BIAS;
    let segment = (biased as u32).ilog2() - 5;
    let step = (biased >> (segment + 1)) & 0x0F;
    ((segment << 4) as u8 | step as u8) ^ mask
}

/// On the 13-bit scale; the two lowest segments have one step size.
fn encode_a(sample: i16) -> u8 {
    let value = i32::from(sample) >> 3;
    let (magnitude, mask) = if value < 0 { (-value - 1, 0x55) } else { (value, 0xD5) };
    let segment = if magnitude < 32 { 0 } else { (magnitude as u32).ilog2() - 4 };
    let step = (magnitude >> segment.max(1)) & 0x0F;
    ((segment << 4) as u8 | step as u8) ^ mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crc32(bytes: impl Iterator<Item = u8>) -> u32 {
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
        crc.checksum(&bytes.collect::<Vec<_>>())
    }

    /// The sums are zlib.crc32 over what audioop of Python 3.11 makes of all codes and all samples.
    #[test]
    fn every_code_and_every_sample_equal_the_reference() {
        let decoded = |law: Law| crc32((0..=255).flat_map(move |code| law.decode(code).to_le_bytes()));
        assert_eq!(decoded(Law::Mu), 0x0C84_7A9F);
        assert_eq!(decoded(Law::A), 0x9D76_4657);
        let encoded = |law: Law| crc32((i16::MIN..=i16::MAX).map(move |sample| law.encode(sample)));
        assert_eq!(encoded(Law::Mu), 0x3B7C_3A3E);
        assert_eq!(encoded(Law::A), 0x9133_796E);
    }

    #[test]
    fn ends_and_silence_are_those_of_the_recommendation() {
        assert_eq!([0x00, 0x80, 0x7F, 0xFF].map(|code| Law::Mu.decode(code)), [-32124, 32124, 0, 0]);
        assert_eq!([0x2A, 0xAA, 0x55, 0xD5].map(|code| Law::A.decode(code)), [-32256, 32256, -8, 8]);
        assert_eq!((Law::Mu.silence(), Law::A.silence()), (0xFF, 0xD5));
    }
}
