//! Sound: what arrives as bytes in a dozen shapes becomes 16-bit mono samples, and back. No I/O, no clock.
//!
//! `Decoder` is the way in: any split of the bytes gives the same samples, memory stays within a bound whatever is sent,
//! and what cannot be read is refused with the byte where it went wrong. `Encoder` is the way out. `AudioBufferManager`
//! keeps a session's samples, in order of their number, until they are done with.
//!
//! Inside voxd sound is mono, signed 16 bit; a position is a count of samples from the start.

pub mod buffer;
pub mod chunks;
pub mod decode;
pub mod encode;
pub mod format;
mod frames;
pub mod g711;
pub mod opus;
pub mod resample;
pub mod wav;

#[cfg(test)]
mod fuzz;

use std::time::Duration;

pub use buffer::AudioBufferManager;
pub use chunks::chunks;
pub use decode::{Decoder, Pick};
pub use encode::Encoder;
pub use format::{AudioFormat, Encoding};
pub use resample::Resampler;

/// Sample rates that are taken, in Hz. Others are refused by name: a resampler between rates without a large common
/// divisor would want megabytes.
pub const RATES_HZ: [u32; 9] = [8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];

/// Why sound cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AudioError {
    /// The bytes break the rules of their format.
    #[error("byte {at}: {problem}")]
    Malformed { at: u64, problem: String },
    /// A sound file, but of a kind that voxd does not read.
    #[error("byte {at}: {problem}")]
    Unsupported { at: u64, problem: String },
    /// More sound than the caller takes.
    #[error("byte {at}: more than {most:?} of sound")]
    TooLong { at: u64, most: Duration },
    /// The format's name or its parameters, before any byte.
    #[error("{0}")]
    Format(String),
}

impl AudioError {
    fn malformed(at: u64, problem: impl Into<String>) -> Self {
        Self::Malformed { at, problem: problem.into() }
    }

    fn unsupported(at: u64, problem: impl Into<String>) -> Self {
        Self::Unsupported { at, problem: problem.into() }
    }
}

/// Refuses what is not in `RATES_HZ`.
fn check_rate(rate_hz: u32) -> Result<(), String> {
    if RATES_HZ.contains(&rate_hz) {
        return Ok(());
    }
    let known = RATES_HZ.map(|rate| rate.to_string()).join(", ");
    Err(format!("a sample rate of {rate_hz} Hz, expected one of {known}"))
}
