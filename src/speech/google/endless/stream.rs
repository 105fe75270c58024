//! One stream of Google's, seen from the media clock.

use std::time::Duration;

use super::Limits;

/// Names a stream within its recognition.
pub type StreamId = u64;

#[derive(Debug, Clone)]
pub struct Stream {
    pub id: StreamId,
    /// The place of its first sample.
    pub base: u64,
    /// What lies before this was heard by a stream before; above `base` where the two overlap.
    pub heard_before: u64,
    /// Behind the last sample that was sent.
    pub sent: u64,
    pub opened: Duration,
    pub last_sent: Duration,
    /// Anything came back.
    pub answered: bool,
    /// Samples of speech sent since anything came back, and the first time.
    pub unanswered: u64,
    pub unanswered_since: Duration,
    /// As told by Google.
    pub billed: Option<Duration>,
    /// All samples that were sent.
    samples: u64,
    /// Silence that was made up: at which sample of the stream, and how much.
    made_up: Vec<(u64, u64)>,
}

impl Stream {
    pub fn new(id: StreamId, base: u64, heard_before: u64, now: Duration) -> Self {
        Self {
            id,
            base,
            heard_before,
            sent: base,
            opened: now,
            last_sent: now,
            answered: false,
            unanswered: 0,
            unanswered_since: now,
            billed: None,
            samples: 0,
            made_up: Vec::new(),
        }
    }

    pub fn send(&mut self, samples: u64, now: Duration) {
        self.sent += samples;
        self.samples += samples;
        self.last_sent = now;
    }

    pub fn make_up(&mut self, samples: u64, now: Duration) {
        self.made_up.push((self.samples, samples));
        self.samples += samples;
        self.last_sent = now;
    }

    /// The place of a time on the stream's clock.
    pub fn place(&self, offset: Duration, rate_hz: u32) -> u64 {
        let at = (offset.as_secs_f64() * f64::from(rate_hz)).round() as u64;
        let made_up: u64 = self.made_up.iter().map(|(from, len)| at.saturating_sub(*from).min(*len)).sum();
        (self.base + at.saturating_sub(made_up)).min(self.sent)
    }

    /// By the clock or by its sound, whichever is more: Google does not say which it counts.
    pub fn age(&self, now: Duration, limits: &Limits) -> Duration {
        let sound = self.samples as f64 / f64::from(limits.rate_hz) / limits.factor;
        (now.saturating_sub(self.opened)).max(Duration::from_secs_f64(sound))
    }

    /// Samples that may go now without being too fast.
    pub fn may_send(&self, now: Duration, limits: &Limits, speed: f64) -> u64 {
        let rate = f64::from(limits.rate_hz);
        let elapsed = now.saturating_sub(self.opened).as_secs_f64();
        let burst = rate * 0.5f64.max(0.1 * limits.factor);
        ((elapsed * speed * limits.factor * rate + burst) as u64).saturating_sub(self.samples)
    }

    /// What is paid for it: whole seconds.
    pub fn cost(&self, rate_hz: u32) -> Duration {
        let own = Duration::from_secs(self.samples.div_ceil(u64::from(rate_hz.max(1))));
        self.billed.unwrap_or(own)
    }
}
