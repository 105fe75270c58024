//! A platform account's rate: this replica's share of it, and pauses that the platform asked for.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::clock::{self, Monotonic};

/// Sends are this much further apart than the limit says: what delays one of them on its way (a commit, a busy machine)
/// does not at once make a second hold one request too many.
const HEADROOM: f64 = 1.03;

/// Shared by the lanes and whoever counts the live replicas.
#[derive(Clone, Default)]
pub struct LiveReplicas(Arc<AtomicU32>);

impl LiveReplicas {
    pub fn set(&self, count: u32) {
        self.0.store(count, Ordering::Relaxed);
    }

    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed).max(1)
    }
}

pub(super) struct Rate {
    calls_per_second: f64,
    replicas: LiveReplicas,
    limiter: Option<(u32, DefaultDirectRateLimiter)>,
    paused_until: Arc<Mutex<Option<Monotonic>>>,
}

/// Told by senders when the platform slows the whole account.
#[derive(Clone)]
pub(super) struct Pause(Arc<Mutex<Option<Monotonic>>>);

impl Pause {
    pub(super) fn for_the_next(&self, wait: Duration) {
        let until = clock::monotonic() + wait;
        let mut paused = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *paused = Some(paused.map_or(until, |already| already.max(until)));
    }
}

impl Rate {
    /// `calls_per_second` of the whole account; 0: no limit.
    pub(super) fn new(calls_per_second: f64, replicas: LiveReplicas) -> Self {
        Self { calls_per_second, replicas, limiter: None, paused_until: Arc::default() }
    }

    pub(super) fn pause(&self) -> Pause {
        Pause(self.paused_until.clone())
    }

    /// How long until one send may start; `None`: it may now, and is counted.
    ///
    /// Sends are spaced evenly (no burst), so that no second holds more than the limit.
    pub(super) fn take(&mut self) -> Option<Duration> {
        if let Some(wait) = self.paused() {
            return Some(wait);
        }
        if self.calls_per_second <= 0.0 {
            return None;
        }
        let replicas = self.replicas.get();
        if self.limiter.as_ref().is_none_or(|(share_of, _)| *share_of != replicas) {
            let period = Duration::from_secs_f64(HEADROOM * f64::from(replicas) / self.calls_per_second);
            let quota = Quota::with_period(period.max(Duration::from_nanos(1)))?.allow_burst(NonZeroU32::MIN);
            self.limiter = Some((replicas, RateLimiter::direct(quota)));
        }
        let (_, limiter) = self.limiter.as_ref()?;
        let not_until = limiter.check().err()?;
        Some(not_until.wait_time_from(governor::clock::Clock::now(limiter.clock())).max(Duration::from_millis(1)))
    }

    fn paused(&self) -> Option<Duration> {
        let mut paused = self.paused_until.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let wait =
            paused.map(|until| until.saturating_duration_since(clock::monotonic())).filter(|wait| !wait.is_zero());
        if wait.is_none() {
            *paused = None;
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_shared_by_the_live_replicas() {
        let replicas = LiveReplicas::default();
        let mut rate = Rate::new(10.0, replicas.clone());
        assert_eq!(rate.take(), None);
        assert!(rate.take().unwrap() <= Duration::from_millis(103));
        replicas.set(2);
        assert_eq!(rate.take(), None);
        assert!(rate.take().unwrap() > Duration::from_millis(103));
    }

    #[test]
    fn a_pause_holds_everything() {
        let mut rate = Rate::new(0.0, LiveReplicas::default());
        assert_eq!(rate.take(), None);
        rate.pause().for_the_next(Duration::from_secs(60));
        assert!(rate.take().unwrap() > Duration::from_secs(50));
    }
}
