//! Is this frame speech?

use super::{CLOSE, FRAME, OPEN};
use crate::config::Detection;

/// Full scale is 32,768. -40 dB below it opens a turn, -46 dB keeps it open.
const LOUD: f32 = 327.68;
const FAINT: f32 = 164.0;

/// Scores frames, in order.
pub enum Detector {
    /// A small neural network that tells voices from noise; it does not take tones for one.
    Voice(Box<earshot::Detector>),
    /// Anything that is loud enough.
    Level,
}

impl Detector {
    pub fn new(detection: Detection) -> Self {
        match detection {
            Detection::Voice => Self::Voice(Box::default()),
            Detection::Level => Self::Level,
        }
    }

    /// How surely the frame is speech: 0 to 1.
    pub fn score(&mut self, frame: &[i16; FRAME]) -> f32 {
        match self {
            Self::Voice(detector) => detector.predict_i16(frame),
            Self::Level => {
                let power = frame.iter().map(|sample| f32::from(*sample).powi(2)).sum::<f32>() / FRAME as f32;
                match power.sqrt() {
                    loud if loud >= LOUD => 2.0 * OPEN,
                    faint if faint >= FAINT => CLOSE,
                    _ => 0.0,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(peak: f32) -> [i16; FRAME] {
        std::array::from_fn(|n| ((n as f32 * 0.3).sin() * peak) as i16)
    }

    #[test]
    fn loudness_is_judged_with_a_margin_between_on_and_off() {
        let mut detector = Detector::new(Detection::Level);
        assert!(detector.score(&tone(5000.0)) >= OPEN);
        let faint = detector.score(&tone(300.0));
        assert!((CLOSE..OPEN).contains(&faint), "{faint}");
        assert_eq!(detector.score(&tone(100.0)), 0.0);
        assert_eq!(detector.score(&[0; FRAME]), 0.0);
    }

    #[test]
    fn the_network_takes_a_buzz_of_many_harmonics_for_a_voice_and_silence_for_none() {
        let mut detector = Detector::new(Detection::Voice);
        let mut speech = |frame| (0..140).filter(|_| detector.score(&frame) >= OPEN).count();
        assert_eq!(speech([0; FRAME]), 0);
        // The wave begins anew with each frame: 62.5 times a second, as a deep voice's does.
        let buzzing = speech(tone(5000.0));
        assert!(buzzing > 100, "{buzzing} of 140 frames");
    }
}
