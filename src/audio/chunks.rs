//! Where a long recording is divided: pure.

use std::ops::Range;
use std::time::Duration;

/// What is looked at as one: 20 ms.
const FRAMES_A_SECOND: usize = 50;
/// A place to divide is looked for in the last third of a chunk.
const BACK: usize = 3;

/// Ranges of samples, one after another, that hold all of the sound, each at most `longest` long: divided in the middle of the
/// longest stretch of its quietest frames, so that a pause is found before a word's weak sound is.
pub fn chunks(samples: &[i16], rate_hz: u32, longest: Duration) -> Vec<Range<usize>> {
    let frame = (rate_hz as usize / FRAMES_A_SECOND).max(1);
    let most = ((longest.as_millis() * u128::from(rate_hz) / 1000) as usize).max(BACK * frame);
    let mut chunks = Vec::new();
    let mut start = 0;
    while samples.len() - start > most {
        let from = start + most - most / BACK;
        let end = from + quietest(&samples[from..start + most], frame);
        chunks.push(start..end);
        start = end;
    }
    if start < samples.len() {
        chunks.push(start..samples.len());
    }
    chunks
}

/// An offset above 0, at most the length.
fn quietest(samples: &[i16], frame: usize) -> usize {
    let levels: Vec<u64> = samples
        .chunks_exact(frame)
        .map(|frame| {
            frame.iter().map(|sample| u64::from(sample.unsigned_abs()).pow(2)).sum::<u64>() / frame.len() as u64
        })
        .collect();
    let Some(least) = levels.iter().min() else { return samples.len() };
    // Noise is never twice as quiet as it is: up to 6 dB more belongs to the same pause.
    let quiet = |level: &u64| *level <= least.saturating_mul(4).max(64);
    let (mut best, mut run) = (0..0, 0..0);
    for (n, level) in levels.iter().enumerate() {
        run = if quiet(level) { if run.end == n { run.start..n + 1 } else { n..n + 1 } } else { run };
        if run.len() >= best.len() {
            best = run.clone();
        }
    }
    ((best.start + best.end) * frame / 2).clamp(1, samples.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn second() -> Duration {
        Duration::from_secs(1)
    }

    #[test]
    fn a_pause_is_where_it_is_divided() {
        let mut samples = vec![5000i16; 20_000];
        // A weak sound, and a pause behind it.
        samples[11_000..11_300].fill(0);
        samples[13_000..14_600].fill(3);
        let chunks = chunks(&samples, 16_000, second());
        assert_eq!(chunks.len(), 2);
        assert!((13_500..14_100).contains(&chunks[0].end), "{chunks:?}");
    }

    #[test]
    fn short_sound_is_one_chunk_and_no_sound_none() {
        assert_eq!(chunks(&[1; 16_000], 16_000, second()), vec![0..16_000; 1]);
        assert!(chunks(&[], 16_000, second()).is_empty());
        assert_eq!(chunks(&[1; 16_001], 16_000, second()).len(), 2);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_is_too_long(samples in proptest::collection::vec(any::<i16>(), 0..20_000), ms in 60u64..2000) {
            let longest = Duration::from_millis(ms);
            let found = chunks(&samples, 8000, longest);
            let mut at = 0;
            for chunk in &found {
                prop_assert!(chunk.start == at && chunk.end > at && chunk.len() <= ms as usize * 8);
                at = chunk.end;
            }
            prop_assert_eq!(at, samples.len());
        }
    }
}
