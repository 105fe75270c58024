//! From bytes in any format to samples of one rate.

use std::time::Duration;

use super::format::{AudioFormat, Encoding};
use super::frames::{Frames, Sample};
use super::g711::Law;
use super::opus::{self, OpusReader};
use super::resample::Resampler;
use super::wav::WavReader;
use super::{AudioError, check_rate};

/// What becomes of two channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pick {
    /// Their mean.
    #[default]
    Mix,
    Left,
    Right,
}

impl Pick {
    pub(super) fn of(self, left: i16, right: i16) -> i16 {
        match self {
            Self::Mix => ((i32::from(left) + i32::from(right)) >> 1) as i16,
            Self::Left => left,
            Self::Right => right,
        }
    }
}

/// Bytes in, 16-bit mono samples of one rate out.
pub struct Decoder {
    source: Source,
    resampler: Option<Resampler>,
    rate_hz: u32,
    /// Samples of the source's own rate, before the resampler.
    between: Vec<i16>,
    failed: Option<AudioError>,
}

enum Source {
    Raw(Frames),
    Wav(Box<WavReader>),
    Opus(Box<OpusReader>),
}

/// How much is decoded before it is resampled: what lies between the two stays small.
const STEP_BYTES: usize = 4096;

impl Decoder {
    /// `rate_hz` is what comes out, whatever goes in.
    ///
    /// # Errors
    /// A rate that is not in `RATES_HZ`.
    pub fn new(format: AudioFormat, pick: Pick, rate_hz: u32) -> Result<Self, AudioError> {
        check_rate(rate_hz).map_err(AudioError::Format)?;
        let raw = |sample| Source::Raw(Frames::new(sample, format.channels, pick));
        let source = match format.encoding {
            Encoding::Pcm16 => raw(Sample::I16),
            Encoding::Mulaw => raw(Sample::G711(Law::Mu)),
            Encoding::Alaw => raw(Sample::G711(Law::A)),
            Encoding::Wav => Source::Wav(Box::new(WavReader::new(pick))),
            Encoding::Opus => Source::Opus(Box::new(OpusReader::new(pick))),
        };
        let resampler = match format.encoding {
            Encoding::Wav => None,
            Encoding::Opus => Some(Resampler::new(opus::RATE_HZ, rate_hz)?),
            _ => Some(Resampler::new(format.rate_hz, rate_hz)?),
        };
        Ok(Self { source, resampler, rate_hz, between: Vec::new(), failed: None })
    }

    /// Adds to `out` what the bytes complete, and says how many were read: not all when they hold more than a second of
    /// sound. Call again with the rest, after a look at how much there is: a byte of Opus can be 60 ms of silence, and one
    /// call gives 32 s at most.
    ///
    /// # Errors
    /// The bytes cannot be read; from then on every call answers the same.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<i16>) -> Result<usize, AudioError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let enough = out.len() + self.rate_hz as usize;
        let mut read = 0;
        while read < bytes.len() && out.len() < enough {
            let piece = &bytes[read..bytes.len().min(read + STEP_BYTES)];
            match self.step(piece, out) {
                Ok(taken) => read += taken,
                Err(error) => {
                    self.failed = Some(error.clone());
                    return Err(error);
                }
            }
        }
        Ok(read)
    }

    /// The bytes have ended: the rest of the samples, and whether sound is missing that the file promised.
    ///
    /// # Errors
    /// As `push`; or the bytes ended before the sound began.
    pub fn finish(mut self, out: &mut Vec<i16>) -> Result<bool, AudioError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let cut = match &self.source {
            Source::Raw(frames) => frames.held_bytes() > 0,
            Source::Wav(wav) => wav.finish()?,
            Source::Opus(opus) => opus.finish()?,
        };
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(out);
        }
        Ok(cut)
    }

    fn step(&mut self, bytes: &[u8], out: &mut Vec<i16>) -> Result<usize, AudioError> {
        self.between.clear();
        let taken = match &mut self.source {
            Source::Raw(frames) => {
                frames.push(bytes, &mut self.between);
                bytes.len()
            }
            Source::Wav(wav) => wav.push(bytes, &mut self.between)?,
            Source::Opus(opus) => {
                let mut sink = |samples: &[i16]| {
                    if let Some(resampler) = &mut self.resampler {
                        resampler.push(samples, out);
                    }
                };
                return opus.push(bytes, &mut sink);
            }
        };
        if let (None, Source::Wav(wav)) = (&self.resampler, &self.source) {
            self.resampler = wav.rate_hz().map(|from| Resampler::new(from, self.rate_hz)).transpose()?;
        }
        if let Some(resampler) = &mut self.resampler {
            resampler.push(&self.between, out);
        }
        Ok(taken)
    }

    /// All of a file's samples, and whether sound is missing that it promised.
    ///
    /// # Errors
    /// As `push` and `finish`; `TooLong`, as soon as there is more than `most`.
    pub fn whole(mut self, bytes: &[u8], most: Duration) -> Result<(Vec<i16>, bool), AudioError> {
        let room = most.as_millis() * u128::from(self.rate_hz) / 1000;
        let mut out = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = &rest[self.push(rest, &mut out)?..];
            if out.len() as u128 > room {
                return Err(AudioError::TooLong { at: (bytes.len() - rest.len()) as u64, most });
            }
        }
        let cut = self.finish(&mut out)?;
        Ok((out, cut))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Encoder, RATES_HZ};
    use super::*;

    fn decode(format: AudioFormat, rate_hz: u32, bytes: &[u8], split: usize) -> Vec<i16> {
        let mut decoder = Decoder::new(format, Pick::Mix, rate_hz).unwrap();
        let mut out = Vec::new();
        for mut part in bytes.chunks(split) {
            while !part.is_empty() {
                part = &part[decoder.push(part, &mut out).unwrap()..];
            }
        }
        assert!(!decoder.finish(&mut out).unwrap());
        out
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_held() {
        let format = AudioFormat::PCM16_16K;
        let decoder = || Decoder::new(format, Pick::Mix, 16_000).unwrap();
        let second = vec![0; 32_000];
        assert_eq!(decoder().whole(&second, Duration::from_secs(1)).unwrap().0.len(), 16_000);
        let error = decoder().whole(&second.repeat(60), Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("more than 1s of sound"), "{error}");
        let mut out = Vec::new();
        let read = decoder().push(&second.repeat(60), &mut out).unwrap();
        assert!(read < 40_000 && out.len() == read / 2);
    }

    #[test]
    fn an_error_stays() {
        let wav = AudioFormat::new(Encoding::Wav, 16_000, 1).unwrap();
        let mut decoder = Decoder::new(wav, Pick::Mix, 16_000).unwrap();
        let error = decoder.push(b"no sound at all", &mut Vec::new()).unwrap_err();
        assert_eq!(decoder.push(b"RIFF", &mut Vec::new()), Err(error.clone()));
        assert_eq!(decoder.finish(&mut Vec::new()), Err(error));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Through every format and rate: as many samples as there were, the same in any split.
        #[test]
        fn length_is_kept_and_splits_do_not_show(
            encoding in 0..5usize, rate in 0..9usize, split in 1..5000usize, samples in 0..20_000usize,
        ) {
            let encoding = Encoding::ALL[encoding];
            let rate_hz = if encoding == Encoding::Opus { [8000, 12_000, 16_000, 24_000, 48_000][rate % 5] } else { RATES_HZ[rate] };
            let format = AudioFormat::new(encoding, rate_hz, 1).unwrap();
            let wave: Vec<i16> = (0..samples).map(|n| ((n as f32 * 0.3).sin() * 9000.0) as i16).collect();
            let file = Encoder::file(rate_hz, format, &wave).unwrap();
            let whole = decode(format, 16_000, &file, file.len().max(1));
            prop_assert_eq!(whole.len(), (samples * 16_000).div_ceil(rate_hz as usize));
            prop_assert_eq!(decode(format, 16_000, &file, split), whole);
        }
    }
}
