//! Whether sound comes too fast.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Monotonic;

/// Sound over a sliding window.
pub(super) struct Pace {
    /// Sound that may come in a window.
    most: Duration,
    /// On the machine's clock.
    window: Duration,
    recent: VecDeque<(Monotonic, Duration)>,
    sum: Duration,
}

impl Pace {
    /// On the simulator's clock.
    pub const WINDOW: Duration = Duration::from_secs(10);

    /// `times` as fast as it is spoken; `window` is [`Pace::WINDOW`] on the machine's clock.
    pub fn new(times: f64, window: Duration) -> Self {
        Self { most: Self::WINDOW.mul_f64(times), window, recent: VecDeque::new(), sum: Duration::ZERO }
    }

    /// Whether this much more is not too much.
    pub fn take(&mut self, now: Monotonic, sound: Duration) -> bool {
        while let Some((at, old)) = self.recent.front().copied()
            && now.duration_since(at) >= self.window
        {
            self.recent.pop_front();
            self.sum -= old;
        }
        self.recent.push_back((now, sound));
        self.sum += sound;
        self.sum <= self.most
    }
}
