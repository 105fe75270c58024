//! What a platform's "too many" teaches this replica: pauses, and a pace below the account's limit that recovers by steps.
//!
//! A 429 pauses the account for as long as the platform asks (at most [`MAX_PAUSE`]) and halves the pace; every
//! [`STEP_EVERY`] a tenth of the full pace is given back (additive increase, multiplicative decrease). Where no limit is set,
//! the full pace is what was being sent when the platform complained, and the limit is gone again once twice that went well.
//! Each replica learns for itself. Limits that are set are held in Postgres over all replicas ([`crate::store::pace`]); here
//! they are made tighter for a while.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::clock::Monotonic;

/// A pause that a platform asks for is not believed beyond this.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// Where the platform names no time.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
const STEP_EVERY: Duration = Duration::from_secs(2);
const STEP: f64 = 0.1;
const LOWEST: f64 = 1.0 / 64.0;

pub(super) struct Pace {
    /// Calls per second of the account, as set.
    limit: Option<f64>,
    /// What was being sent when the platform complained, where no limit is set.
    measured: Option<f64>,
    /// Of the full pace.
    part: f64,
    /// When `part` was changed last.
    stepped: Monotonic,
    paused_until: Option<Monotonic>,
    /// As long as answers belong to the complaint that was heard already.
    complained_until: Option<Monotonic>,
    /// For a pace that was only measured; with the rate that it was made for.
    limiter: Option<(f64, DefaultDirectRateLimiter)>,
    /// Requests in the present second and in the last one.
    second: Monotonic,
    sent: (u32, u32),
}

impl Pace {
    pub(super) fn new(limit: Option<f64>, now: Monotonic) -> Self {
        Self {
            limit,
            measured: None,
            part: 1.0,
            stepped: now,
            paused_until: None,
            complained_until: None,
            limiter: None,
            second: now,
            sent: (0, 0),
        }
    }

    /// One request goes out.
    pub(super) fn sending(&mut self, now: Monotonic) {
        let seconds = now.saturating_duration_since(self.second).as_secs();
        if seconds > 0 {
            self.sent = (0, if seconds == 1 { self.sent.0 } else { 0 });
            self.second = now;
        }
        self.sent.0 += 1;
    }

    /// The platform said "too many". Returns the pause.
    pub(super) fn slow_down(&mut self, asked: Option<Duration>, now: Monotonic) -> Duration {
        let pause = asked.unwrap_or(SHORT_PAUSE).clamp(SHORT_PAUSE, MAX_PAUSE);
        // Further answers to what was sent before the first one say nothing new.
        if self.complained_until.is_none_or(|until| now >= until) {
            if self.limit.is_none() && self.measured.is_none() {
                self.measured = Some(f64::from(self.sent.0.max(self.sent.1).max(1)));
            }
            self.part = (self.part.min(1.0) / 2.0).max(LOWEST);
        }
        let until = now + pause;
        self.paused_until = Some(self.paused_until.map_or(until, |already| already.max(until)));
        self.complained_until = self.paused_until;
        self.stepped = self.paused_until.unwrap_or(until);
        pause
    }

    /// The platform could not be reached: nothing goes out for a moment.
    pub(super) fn rest(&mut self, now: Monotonic) {
        let until = now + SHORT_PAUSE;
        self.paused_until = Some(self.paused_until.map_or(until, |already| already.max(until)));
    }

    /// What is left of a pause.
    pub(super) fn pause(&self, now: Monotonic) -> Option<Duration> {
        self.paused_until.map(|until| until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// Calls per second now, of the whole account; `None`: no limit.
    pub(super) fn per_second(&mut self, now: Monotonic) -> Option<f64> {
        while now >= self.stepped + STEP_EVERY && (self.part < 1.0 || self.measured.is_some()) {
            self.stepped += STEP_EVERY;
            self.part += STEP;
            if self.limit.is_some() {
                self.part = self.part.min(1.0);
            } else if self.part >= 2.0 {
                self.measured = None;
                self.part = 1.0;
            }
        }
        self.limit.or(self.measured).map(|full| full * self.part)
    }

    /// Of the full pace; 1 where nothing was learned.
    pub(super) fn part(&self) -> f64 {
        self.part.min(1.0)
    }

    /// For a pace that was only measured: how long until one request may start; `None`: it may now, and is counted.
    pub(super) fn take_measured(&mut self, now: Monotonic) -> Option<Duration> {
        if self.limit.is_some() {
            return None;
        }
        let rate = self.per_second(now)?;
        if self.limiter.as_ref().is_none_or(|(made_for, _)| *made_for != rate) {
            let period = Duration::from_secs_f64(1.0 / rate).max(Duration::from_nanos(1));
            let quota = Quota::with_period(period)?.allow_burst(NonZeroU32::MIN);
            self.limiter = Some((rate, RateLimiter::direct(quota)));
        }
        let (_, limiter) = self.limiter.as_ref()?;
        let not_until = limiter.check().err()?;
        Some(not_until.wait_time_from(governor::clock::Clock::now(limiter.clock())).max(Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_429_pauses_halves_the_pace_and_gives_it_back_by_steps() {
        let now = clock::monotonic();
        let mut pace = Pace::new(Some(50.0), now);
        assert_eq!((pace.pause(now), pace.per_second(now)), (None, Some(50.0)));
        assert_eq!(pace.slow_down(Some(4 * SECOND), now), 4 * SECOND);
        // The other answers of the same burst.
        pace.slow_down(Some(2 * SECOND), now + SECOND);
        assert_eq!(pace.pause(now + SECOND), Some(3 * SECOND));
        let after = now + 4 * SECOND;
        assert_eq!((pace.pause(after), pace.per_second(after)), (None, Some(25.0)));
        assert_eq!(pace.per_second(after + 2 * SECOND), Some(30.0));
        assert_eq!(pace.per_second(after + 60 * SECOND), Some(50.0));
    }

    #[test]
    fn a_pause_is_believed_within_bounds() {
        let now = clock::monotonic();
        let mut pace = Pace::new(None, now);
        assert_eq!(pace.slow_down(Some(Duration::from_secs(86_400)), now), MAX_PAUSE);
        assert_eq!(Pace::new(None, now).slow_down(None, now), SHORT_PAUSE);
    }

    #[test]
    fn without_a_limit_what_was_being_sent_is_the_measure_and_is_forgotten_in_time() {
        let now = clock::monotonic();
        let mut pace = Pace::new(None, now);
        assert_eq!(pace.per_second(now), None);
        (0..40).for_each(|_| pace.sending(now));
        pace.slow_down(None, now);
        let after = now + SECOND;
        assert_eq!(pace.per_second(after), Some(20.0));
        assert_eq!(pace.take_measured(after), None);
        assert!(pace.take_measured(after).is_some(), "one, and then the next after a twentieth of a second");
        assert_eq!(pace.per_second(after + 60 * SECOND), None);
    }

    #[test]
    fn again_and_again_too_many_never_stops_it_for_good() {
        let now = clock::monotonic();
        let mut pace = Pace::new(Some(64.0), now);
        for n in 0..20 {
            pace.slow_down(None, now + n * 2 * SECOND);
        }
        assert_eq!(pace.per_second(now + 39 * SECOND), Some(1.0));
    }
}
