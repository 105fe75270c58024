//! Where in the sound somebody may be speaking.
//!
//! Wrong answers have different prices: speech that is called silence can be lost with a broken stream, silence that is
//! called speech is only sent and paid for. So a frame is silent when both judges say so: it is hardly louder than the
//! quietest of the last seconds, and the voice detector hears no voice.

use std::collections::VecDeque;

use earshot::Detector;

/// Root mean square of a sample that is never silence's fault: -60 dB.
const ALWAYS_QUIET: f32 = 33.0;
/// Louder than the quietest frame by this factor: 8 dB.
const ABOVE_FLOOR: f32 = 2.5;
const VOICE: f32 = 0.5;
/// Frames of 16 ms after which the quietest one is forgotten: 4 to 8 s.
const HALF_WINDOW: u32 = 250;
/// Samples of the detector's frame, at 16 kHz.
const DETECTOR_FRAME: usize = 256;
/// Gaps up to this many frames are part of speech: 96 ms.
const BRIDGED_FRAMES: u64 = 6;

pub struct Silence {
    detector: Box<Detector>,
    /// Samples of a frame of 16 ms.
    frame: usize,
    held: Vec<i16>,
    /// Where the next frame begins.
    at: u64,
    floors: [f32; 2],
    frames_in_window: u32,
    /// Begin and end of what is no silence, in order, apart from each other.
    voiced: VecDeque<(u64, u64)>,
    last_voiced: Option<u64>,
}

impl Silence {
    pub fn new(rate_hz: u32) -> Self {
        Self {
            detector: Box::new(Detector::default()),
            frame: (rate_hz as usize * 16 / 1000).max(1),
            held: Vec::new(),
            at: 0,
            // Until so much was heard, the first sound is not taken for the floor.
            floors: [ALWAYS_QUIET; 2],
            frames_in_window: 0,
            voiced: VecDeque::new(),
            last_voiced: None,
        }
    }

    pub fn push(&mut self, mut samples: &[i16]) {
        while !samples.is_empty() {
            let (now, later) = samples.split_at(samples.len().min(self.frame - self.held.len()));
            self.held.extend_from_slice(now);
            samples = later;
            if self.held.len() == self.frame {
                let frame = std::mem::take(&mut self.held);
                self.judge(&frame);
                self.held = frame;
                self.held.clear();
            }
        }
    }

    /// No more comes: what does not fill a frame is judged too.
    pub fn finish(&mut self) {
        if !self.held.is_empty() {
            let missing = self.frame - self.held.len();
            self.push(&vec![0; missing]);
        }
    }

    fn judge(&mut self, frame: &[i16]) {
        let power = frame.iter().map(|sample| f32::from(*sample).powi(2)).sum::<f32>() / frame.len() as f32;
        let rms = power.sqrt();
        self.frames_in_window += 1;
        if self.frames_in_window > HALF_WINDOW {
            self.frames_in_window = 1;
            self.floors = [f32::MAX, self.floors[0]];
        }
        self.floors[0] = self.floors[0].min(rms);
        let floor = self.floor();
        let is_voice = self.detector.predict_i16(&stretched(frame)) > VOICE;
        let is_loud = rms > ALWAYS_QUIET && rms > ABOVE_FLOOR * floor;
        let end = self.at + frame.len() as u64;
        if is_loud || is_voice {
            let bridged = BRIDGED_FRAMES * frame.len() as u64;
            match self.voiced.back_mut() {
                Some((_, until)) if *until + bridged >= self.at => *until = end,
                _ => self.voiced.push_back((self.at, end)),
            }
            self.last_voiced = Some(end);
        }
        self.at = end;
    }

    /// Samples since somebody may have spoken; none where speech may begin in what does not fill a frame yet.
    pub fn silent_for(&self) -> u64 {
        let limit = (ALWAYS_QUIET * ABOVE_FLOOR).max(self.floor() * ABOVE_FLOOR) as u16;
        if self.held.iter().any(|sample| sample.unsigned_abs() > limit.saturating_mul(2)) {
            return 0;
        }
        self.at - self.last_voiced.unwrap_or(0)
    }

    fn floor(&self) -> f32 {
        self.floors[0].min(self.floors[1])
    }

    /// The first place not before `place` where somebody may be speaking.
    pub fn first_voiced(&self, place: u64) -> Option<u64> {
        self.voiced.iter().find(|(_, end)| *end > place).map(|(begin, _)| (*begin).max(place))
    }

    pub fn is_voiced_in(&self, from: u64, to: u64) -> bool {
        self.first_voiced(from).is_some_and(|place| place < to)
    }

    /// The end of the stretch of speech that `place` lies in.
    pub fn end_of_stretch(&self, place: u64) -> Option<u64> {
        self.voiced.iter().find(|(begin, end)| *begin < place && place < *end).map(|(_, end)| *end)
    }

    pub fn forget_before(&mut self, place: u64) {
        while self.voiced.front().is_some_and(|(_, end)| *end <= place) {
            self.voiced.pop_front();
        }
    }
}

/// A frame of any rate as the detector's 256 samples; straight lines are good enough for it.
fn stretched(frame: &[i16]) -> [i16; DETECTOR_FRAME] {
    std::array::from_fn(|n| frame[n * frame.len() / DETECTOR_FRAME])
}

impl std::fmt::Debug for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Silence(at {}, voiced {:?})", self.at, self.voiced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(samples: usize, peak: i16, seed: u64) -> Vec<i16> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..samples).map(|_| random.i16(-peak..=peak)).collect()
    }

    #[test]
    fn sound_above_the_noise_is_found_where_it_is() {
        for rate in [8000, 16_000, 24_000] {
            let second = rate as usize;
            let mut silence = Silence::new(rate);
            silence.push(&noise(2 * second, 100, 1));
            silence.push(&noise(second, 4000, 2));
            silence.push(&noise(2 * second, 100, 3));
            let begin = silence.first_voiced(second as u64).unwrap();
            assert!(begin.abs_diff(2 * second as u64) < second as u64 / 25, "{rate}: {silence:?}");
            assert!(silence.silent_for().abs_diff(2 * second as u64) < second as u64 / 25, "{rate}: {silence:?}");
        }
    }

    #[test]
    fn zeros_are_silence_and_the_very_first_sound_is_not() {
        let mut silence = Silence::new(16_000);
        silence.push(&[0; 16_000]);
        assert_eq!(silence.first_voiced(0), None);
        let mut silence = Silence::new(16_000);
        silence.push(&noise(800, 4000, 1));
        assert_eq!(silence.first_voiced(0), Some(0));
    }
}
