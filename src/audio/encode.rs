//! From samples to bytes in any format.

use super::format::{AudioFormat, Encoding};
use super::g711::Law;
use super::opus::OpusWriter;
use super::resample::Resampler;
use super::{AudioError, wav};

/// Mono samples of one rate in, bytes of a format out. A second channel, where the format has one, is the first again.
pub struct Encoder {
    format: AudioFormat,
    resampler: Resampler,
    /// Boxed: a hundred kilobytes in a future are more than a thread's stack stands.
    opus: Option<Box<OpusWriter>>,
    samples: Vec<i16>,
    /// Of a WAV, still to be written.
    header: Option<Vec<u8>>,
}

impl Encoder {
    /// For sound that is sent while it is made: a WAV's header says that its length is not known, Opus fills no pages.
    ///
    /// # Errors
    /// A rate that is not in `RATES_HZ`; Opus at 11,025, 22,050, 32,000 or 44,100 Hz, or in two channels.
    pub fn new(from_hz: u32, format: AudioFormat) -> Result<Self, AudioError> {
        let mut encoder = Self::bare(from_hz, format, true)?;
        encoder.header = Some(format).filter(|format| format.encoding == Encoding::Wav).and_then(wav::streamed_header);
        Ok(encoder)
    }

    /// A whole file at once.
    ///
    /// # Errors
    /// As `new`; or more than a WAV's 4 GiB.
    pub fn file(from_hz: u32, format: AudioFormat, samples: &[i16]) -> Result<Vec<u8>, AudioError> {
        let mut encoder = Self::bare(from_hz, format, false)?;
        let mut sound = Vec::new();
        encoder.push(samples, &mut sound)?;
        encoder.finish(&mut sound)?;
        if format.encoding != Encoding::Wav {
            return Ok(sound);
        }
        let too_long = || AudioError::Format("a WAV holds 4 GiB at most".into());
        let mut file = wav::header(format, sound.len() as u64).ok_or_else(too_long)?;
        file.append(&mut sound);
        Ok(file)
    }

    fn bare(from_hz: u32, format: AudioFormat, live: bool) -> Result<Self, AudioError> {
        let opus = match format.encoding {
            Encoding::Opus if format.channels != 1 => {
                return Err(AudioError::Format("Opus is written with 1 channel".into()));
            }
            Encoding::Opus => Some(Box::new(OpusWriter::new(format.rate_hz, live)?)),
            _ => None,
        };
        let resampler = Resampler::new(from_hz, format.rate_hz)?;
        Ok(Self { format, resampler, opus, samples: Vec::new(), header: None })
    }

    /// # Errors
    /// The Opus encoder's own, which samples cannot cause.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<u8>) -> Result<(), AudioError> {
        self.resampler.push(samples, &mut self.samples);
        self.write(out)
    }

    /// What is still inside.
    ///
    /// # Errors
    /// As `push`.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), AudioError> {
        self.resampler.finish(&mut self.samples);
        self.write(out)?;
        match self.opus {
            Some(opus) => opus.finish(out),
            None => Ok(()),
        }
    }

    fn write(&mut self, out: &mut Vec<u8>) -> Result<(), AudioError> {
        out.extend(self.header.take().unwrap_or_default());
        if let Some(opus) = &mut self.opus {
            opus.push(&self.samples, out)?;
        } else {
            let channels = usize::from(self.format.channels);
            let law = match self.format.encoding {
                Encoding::Mulaw => Some(Law::Mu),
                Encoding::Alaw => Some(Law::A),
                _ => None,
            };
            for sample in self.samples.iter().flat_map(|sample| std::iter::repeat_n(*sample, channels)) {
                match law {
                    Some(law) => out.push(law.encode(sample)),
                    None => out.extend(sample.to_le_bytes()),
                }
            }
        }
        self.samples.clear();
        Ok(())
    }
}
