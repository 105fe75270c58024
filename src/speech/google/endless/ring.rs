//! Sound that may have to be sent again, by its place on the media clock.

use std::collections::VecDeque;

/// Samples from `start` to `end`, both counts from the recognition's beginning.
#[derive(Debug, Default)]
pub struct Ring {
    samples: VecDeque<i16>,
    start: u64,
}

impl Ring {
    pub fn push(&mut self, samples: &[i16]) {
        self.samples.extend(samples);
    }

    pub fn start(&self) -> u64 {
        self.start
    }

    pub fn end(&self) -> u64 {
        self.start + self.samples.len() as u64
    }

    pub fn forget_before(&mut self, place: u64) {
        let gone = place.clamp(self.start, self.end()) - self.start;
        self.samples.drain(..gone as usize);
        self.start += gone;
    }

    /// What is kept of `from..to`.
    pub fn copy(&self, from: u64, to: u64) -> Vec<i16> {
        let place = |at: u64| (at.clamp(self.start, self.end()) - self.start) as usize;
        self.samples.range(place(from)..place(to).max(place(from))).copied().collect()
    }
}
