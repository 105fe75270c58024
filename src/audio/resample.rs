//! From one sample rate to another, as a stream.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _};

use super::{AudioError, check_rate};

/// Mono, 16 bit. Works in blocks of about 10 ms inside (20 or 40 where 22,050 or 11,025 Hz force it to), so that any
/// split of the input gives the same output; the filter's delay is taken off the beginning
/// (to half a sample of either rate). Flat to 0.45 of the lower
/// rate, what lies above its half is gone.
pub struct Resampler {
    from_hz: u32,
    to_hz: u32,
    /// None where the rates are the same.
    fft: Option<Fft<f32>>,
    /// Samples that do not fill a block yet.
    input: Vec<f32>,
    output: Vec<f32>,
    /// Of the beginning, still to be thrown away.
    delay: usize,
    taken: u64,
    given: u64,
}

impl Resampler {
    /// # Errors
    /// A rate that is not in `RATES_HZ`.
    pub fn new(from_hz: u32, to_hz: u32) -> Result<Self, AudioError> {
        check_rate(from_hz).and(check_rate(to_hz)).map_err(AudioError::Format)?;
        let fft = if from_hz == to_hz {
            None
        } else {
            let (from, to) = (from_hz as usize, to_hz as usize);
            let fft = Fft::new(from, to, from / 100, 1, FixedSync::Both);
            Some(fft.map_err(|error| AudioError::Format(format!("{from_hz} to {to_hz} Hz: {error}")))?)
        };
        let delay = fft.as_ref().map_or(0, Fft::output_delay);
        let output = vec![0.0; fft.as_ref().map_or(0, Fft::output_frames_max)];
        Ok(Self { from_hz, to_hz, fft, input: Vec::new(), output, delay, taken: 0, given: 0 })
    }

    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        self.taken += samples.len() as u64;
        if self.fft.is_none() {
            self.given += samples.len() as u64;
            return out.extend_from_slice(samples);
        }
        for sample in samples {
            self.feed(f32::from(*sample), u64::MAX, out);
        }
    }

    /// Gives what is still inside and begins anew. In all there are then `in × to / from` samples, rounded up.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        let total = (self.taken * u64::from(self.to_hz)).div_ceil(u64::from(self.from_hz));
        // Never more than a block and the delay.
        for _ in 0..self.from_hz {
            if self.fft.is_none() || self.given >= total {
                break;
            }
            self.feed(0.0, total, out);
        }
        if let Some(fft) = &mut self.fft {
            fft.reset();
            self.delay = fft.output_delay();
        }
        self.input.clear();
        (self.taken, self.given) = (0, 0);
    }

    fn feed(&mut self, sample: f32, total: u64, out: &mut Vec<i16>) {
        let Some(fft) = &mut self.fft else { return };
        let block = fft.input_frames_next();
        self.input.push(sample);
        if self.input.len() < block {
            return;
        }
        let room = self.output.len();
        let views =
            (InterleavedSlice::new(&self.input, 1, block), InterleavedSlice::new_mut(&mut self.output, 1, room));
        let (Ok(input), Ok(mut output)) = views else { return self.input.clear() };
        // The sizes are those it asked for, so it has no reason to fail; a failure would show as missing samples.
        let made = fft.process_into_buffer(&input, &mut output, None).map_or(0, |(_, made)| made);
        self.input.clear();
        let skip = self.delay.min(made);
        self.delay -= skip;
        let wanted = (total - self.given).min((made - skip) as u64) as usize;
        self.given += wanted as u64;
        out.extend(self.output[skip..skip + wanted].iter().map(|sample| sample.round() as i16));
    }
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resampler({} to {} Hz)", self.from_hz, self.to_hz)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::RATES_HZ;
    use super::*;

    /// A sine of `hz` at half of full scale, one second, so many samples early.
    fn sine(rate_hz: u32, hz: f64, early: f64) -> Vec<i16> {
        let step = std::f64::consts::TAU * hz / f64::from(rate_hz);
        (0..rate_hz).map(|n| (((f64::from(n) + early) * step).sin() * 16_384.0).round() as i16).collect()
    }

    fn resampled(from_hz: u32, to_hz: u32, samples: &[i16], split: usize) -> Vec<i16> {
        let mut resampler = Resampler::new(from_hz, to_hz).unwrap();
        let mut out = Vec::new();
        samples.chunks(split.max(1)).for_each(|part| resampler.push(part, &mut out));
        resampler.finish(&mut out);
        out
    }

    /// Loudest difference of two waves, in dB below full scale, without the 20 ms at each end.
    fn difference_db(one: &[i16], other: &[i16]) -> f64 {
        let edge = one.len() / 50;
        let pairs = one.iter().zip(other).skip(edge).take(one.len().saturating_sub(2 * edge));
        let most = pairs.map(|(a, b)| (i32::from(*a) - i32::from(*b)).abs()).max().unwrap_or(0);
        20.0 * (f64::from(most.max(1)) / 32_768.0).log10()
    }

    #[test]
    fn a_sine_keeps_its_place_and_size_between_all_rates() {
        for from in RATES_HZ {
            for to in RATES_HZ {
                let out = resampled(from, to, &sine(from, 1000.0, 0.0), 160);
                assert_eq!(out.len(), to as usize, "{from} to {to}");
                let place = |early| difference_db(&out, &sine(to, 1000.0, early));
                // An odd filter's middle lies half a sample of one of the rates beside.
                let half = 0.5 * f64::from(to) / f64::from(from);
                let off = [0.0, -0.5, 0.5, -half, half].map(place).into_iter().fold(0.0, f64::min);
                assert!(off < -78.0, "{from} to {to}: {off} dB");
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        let out = resampled(48_000, 16_000, &sine(48_000, 9000.0, 0.0), 960);
        assert!(difference_db(&out, &vec![0; out.len()]) < -80.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_split_gives_the_same(from in 0..9usize, to in 0..9usize, split in 1..3000usize, len in 0..9000usize) {
            let samples: Vec<i16> = (0..len).map(|n| ((n * 7919) % 60_000) as i16).collect();
            let (from, to) = (RATES_HZ[from], RATES_HZ[to]);
            let whole = resampled(from, to, &samples, len);
            prop_assert_eq!(whole.len(), (len * to as usize).div_ceil(from as usize));
            prop_assert_eq!(resampled(from, to, &samples, split), whole);
        }
    }
}
