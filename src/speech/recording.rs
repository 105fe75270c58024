//! Recordings of any length: cut into pieces that the engine takes, at silence, and recognized in their order.

use std::ops::Range;
use std::time::Duration;

use super::{RecognitionConfig, Recognized, SpeechError, SpeechToText, Usage, Utterance, Word};

/// What is looked at for silence.
const FRAME: Duration = Duration::from_millis(20);
/// Less than this share of the recording's loudness is silence (-30 dB).
const QUIET: f64 = 0.03;
/// A silence that is long enough; among those the latest is taken, so that pieces are few.
const GOOD: usize = 15;

/// Recognizes a recording of any length. Times count from its beginning, utterances are numbered through.
///
/// # Errors
/// Those of the engine; the first one ends it.
pub async fn recognize(
    engine: &dyn SpeechToText,
    config: &RecognitionConfig,
    samples: &[i16],
) -> Result<Recognized, SpeechError> {
    let longest = engine.hearing(config).longest;
    let mut whole = Recognized { utterances: Vec::new(), language: None, usage: Usage::default() };
    for piece in pieces(samples, config.rate_hz, longest) {
        let start = Duration::from_micros(piece.start as u64 * 1_000_000 / u64::from(config.rate_hz.max(1)));
        let heard = engine.recognize(config, &samples[piece]).await?;
        let first = whole.utterances.len() as u64;
        let later = |(n, utterance)| shifted(utterance, first + n as u64, start);
        whole.utterances.extend(heard.utterances.into_iter().enumerate().map(later));
        whole.language = whole.language.or(heard.language);
        whole.usage.billed += heard.usage.billed;
    }
    Ok(whole)
}

fn shifted(utterance: Utterance, number: u64, start: Duration) -> Utterance {
    let words = utterance.words.into_iter();
    let words = words.map(|word| Word { start: word.start + start, end: word.end + start, ..word }).collect();
    Utterance { number, words, start: utterance.start + start, end: utterance.end + start, ..utterance }
}

/// Pieces of at most `longest`, which together are the whole. Each ends in the middle of a silence of the second half of
/// what it may be, or, where there is none, at its quietest place.
pub fn pieces(samples: &[i16], rate_hz: u32, longest: Duration) -> Vec<Range<usize>> {
    let frame = (FRAME.as_millis() as usize * rate_hz as usize / 1000).max(1);
    let most = (longest.as_millis() * u128::from(rate_hz) / 1000).max(frame as u128 * 4) as usize;
    let mut pieces = Vec::new();
    let mut begin = 0;
    let quiet = loudness(samples) * QUIET;
    while samples.len() - begin > most {
        let window = begin + most / 2..begin + most;
        let end = window.start + cut(&samples[window], frame, quiet);
        pieces.push(begin..end);
        begin = end;
    }
    if begin < samples.len() || pieces.is_empty() {
        pieces.push(begin..samples.len());
    }
    pieces
}

/// Where to cut a stretch: the latest good silence, else the longest one, else the quietest frame.
fn cut(samples: &[i16], frame: usize, quiet: f64) -> usize {
    let frames: Vec<f64> = samples.chunks_exact(frame).map(loudness).collect();
    let mut best: Option<Range<usize>> = None;
    let mut begin = None;
    for (n, loud) in frames.iter().copied().chain([f64::INFINITY]).enumerate() {
        match (begin, loud <= quiet) {
            (None, true) => begin = Some(n),
            (Some(from), false) => {
                let length = n - from;
                if best.as_ref().is_none_or(|best| length >= GOOD || length >= best.len()) {
                    best = Some(from..n);
                }
                begin = None;
            }
            _ => {}
        }
    }
    let middle = best.map(|silence| (silence.start + silence.end) * frame / 2);
    let quietest = || frames.iter().enumerate().min_by(|(_, one), (_, other)| one.total_cmp(other));
    middle.or_else(|| quietest().map(|(n, _)| n * frame + frame / 2)).unwrap_or(samples.len())
}

/// Root of the mean square.
fn loudness(samples: &[i16]) -> f64 {
    let sum: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (sum / samples.len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 8000;

    /// Seconds of sound (true) and silence.
    fn sound(parts: &[(bool, f64)]) -> Vec<i16> {
        let mut samples = Vec::new();
        for (loud, seconds) in parts {
            let count = (seconds * f64::from(RATE)) as usize;
            samples.extend((0..count).map(|n| if *loud && n % 2 == 0 { 8000 } else { 0 }));
        }
        samples
    }

    fn cuts(parts: &[(bool, f64)], longest: u64) -> Vec<f64> {
        let samples = sound(parts);
        let pieces = pieces(&samples, RATE, Duration::from_secs(longest));
        let mut next = 0;
        for piece in &pieces {
            assert_eq!(piece.start, next, "{pieces:?}");
            assert!(piece.len() <= longest as usize * RATE as usize && !piece.is_empty(), "{pieces:?}");
            next = piece.end;
        }
        assert_eq!(next, samples.len());
        pieces.iter().skip(1).map(|piece| piece.start as f64 / f64::from(RATE)).collect()
    }

    #[test]
    fn a_short_recording_stays_whole() {
        assert!(cuts(&[(true, 9.9)], 10).is_empty());
        assert!(cuts(&[(true, 10.0)], 10).is_empty());
    }

    #[test]
    fn the_cut_is_in_the_middle_of_the_latest_good_silence() {
        assert_eq!(cuts(&[(true, 6.0), (false, 2.0), (true, 1.0), (false, 0.4), (true, 3.0)], 10), [9.2]);
    }

    #[test]
    fn a_short_silence_is_better_than_none_and_the_longer_of_two_is_taken() {
        assert_eq!(cuts(&[(true, 6.0), (false, 0.2), (true, 1.0), (false, 0.1), (true, 4.0)], 10), [6.1]);
    }

    #[test]
    fn sound_without_any_silence_is_cut_all_the_same() {
        assert_eq!(cuts(&[(true, 25.0)], 10).len(), 3);
    }

    #[test]
    fn silence_alone_is_cut_too() {
        assert!(!cuts(&[(false, 25.0)], 10).is_empty());
        let nothing = pieces(&[], RATE, Duration::from_secs(10));
        assert!(nothing.len() == 1 && nothing[0].is_empty(), "the engine is asked once");
    }
}
