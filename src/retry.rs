//! Waiting between tries of idempotent work. Never used for a request that places a call.
//!
//! The crate `backoff` is unmaintained (RUSTSEC-2025-0012) and stands behind this module only.

use std::time::Duration;

use backoff::backoff::Backoff as _;

/// Exponential waits with full jitter around the interval, without an end: the caller decides when to give up.
pub struct Waits {
    inner: backoff::ExponentialBackoff,
    max: Duration,
}

impl Waits {
    pub fn new(initial: Duration, max: Duration) -> Self {
        let inner = backoff::ExponentialBackoff {
            initial_interval: initial,
            current_interval: initial,
            max_interval: max,
            multiplier: 2.0,
            randomization_factor: 0.5,
            // The crate's default gives up after 15 minutes.
            max_elapsed_time: None,
            ..Default::default()
        };
        Self { inner, max }
    }

    /// The next wait; it grows at each call.
    pub fn next_wait(&mut self) -> Duration {
        self.inner.next_backoff().unwrap_or(self.max)
    }

    /// Starts again from the first wait, after a success.
    pub fn reset(&mut self) {
        self.inner.reset();
    }
}

/// The wait before try number `tries + 1` of something whose tries are counted in a row: `initial`, doubling, at most
/// `max`, spread by ±20 % with `unit` in `0.0..1.0` as the source of chance.
pub fn wait_for(tries: u32, initial: Duration, max: Duration, unit: f64) -> Duration {
    let doubled = initial.saturating_mul(1u32.checked_shl(tries.min(20)).unwrap_or(u32::MAX));
    doubled.min(max).mul_f64(0.8 + 0.4 * unit.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_below_one_and_a_half_times_the_maximum() {
        let mut waits = Waits::new(Duration::from_millis(100), Duration::from_secs(5));
        let last = (0..50).map(|_| waits.next_wait()).last().unwrap();
        assert!(last >= Duration::from_millis(2500) && last <= Duration::from_millis(7500), "{last:?}");
    }

    #[test]
    fn counted_waits_double_up_to_the_maximum() {
        let wait = |n| wait_for(n, Duration::from_secs(10), Duration::from_secs(300), 0.5);
        assert_eq!(wait(0), Duration::from_secs(10));
        assert_eq!(wait(1), Duration::from_secs(20));
        assert_eq!(wait(30), Duration::from_secs(300));
    }
}
