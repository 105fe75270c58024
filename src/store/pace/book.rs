//! The slots of a rate: which are given out, and when the next ones can be. Pure.
//!
//! A rate of 50 a second means that no stretch of a second holds more than 50 requests. So a slot comes a second after the
//! latest moment at which the 50th request before it can have reached the platform. While a request has not left, that is
//! its time and [`TOLERANCE`]; once it has, its own time. So a request that leaves late holds up nobody unless it has to,
//! and what a slow moment did not use is made up for soon after.

use std::time::Duration;

/// A request that is later than this for its slot takes another one.
pub const TOLERANCE: Duration = Duration::from_millis(250);
/// Slots are given out for this long ahead.
pub const AHEAD: f64 = 0.4;
/// Two slots are at least this part of their even distance apart: what was missed is made up for, but not at once.
const CLOSEST: f64 = 0.7;

/// Times are seconds since 1970 by the database's clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Book {
    /// Oldest first, without those that were not used.
    pub slots: Vec<i64>,
    /// The latest time at which the request of each can have reached the platform.
    pub until: Vec<f64>,
    /// The number of the next one.
    pub next: i64,
    /// The time of the latest one.
    pub last: f64,
}

/// How a rate is counted: at most `calls` in any `seconds`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stretch {
    calls: usize,
    seconds: f64,
}

impl Stretch {
    fn of(per_second: f64) -> Self {
        let calls = (per_second.floor() as usize).max(1);
        Self { calls, seconds: calls as f64 / per_second }
    }
}

/// Slots that can be had now.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub times: Vec<f64>,
    /// Where there are fewer than wanted: when it is worth asking again, in seconds.
    pub short: Option<f64>,
}

impl Book {
    /// What became of a slot: when its request had reached the platform at the latest, or `None` where none left. The
    /// earliest of several times holds.
    pub fn note(&mut self, slot: i64, until: Option<f64>) {
        let Ok(at) = self.slots.binary_search(&slot) else { return };
        match until {
            Some(until) => self.until[at] = self.until[at].min(until),
            None => {
                self.slots.remove(at);
                self.until.remove(at);
            }
        }
    }

    /// Up to `wanted` slots from `now + lead` on, as far as [`AHEAD`] of that.
    pub fn plan(&self, per_second: f64, now: f64, lead: f64, wanted: usize) -> Planned {
        self.plan_until(per_second, now + lead, now + lead + AHEAD, wanted)
    }

    /// The next slot, however far ahead.
    pub fn next_time(&self, per_second: f64, now: f64, lead: f64) -> f64 {
        self.plan_until(per_second, now + lead, f64::INFINITY, 1).times.first().copied().unwrap_or(now + lead)
    }

    fn plan_until(&self, per_second: f64, first: f64, end: f64, wanted: usize) -> Planned {
        let Stretch { calls, seconds } = Stretch::of(per_second);
        let mut until = self.until.clone();
        let mut over = until.len().saturating_sub(calls);
        let mut held = until[..over].iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut last = self.last;
        let mut times = Vec::new();
        while times.len() < wanted {
            // Requests leave in any order within their tolerance, so all that came before hold the stretch up.
            while until.len() >= calls + over {
                held = held.max(until[over]);
                over += 1;
            }
            let at = first.max(held + seconds).max(last + CLOSEST / per_second);
            if at > end {
                return Planned { times, short: Some((at - first - AHEAD / 2.0).max(0.01)) };
            }
            until.push(at + TOLERANCE.as_secs_f64());
            times.push(at);
            last = at;
        }
        Planned { times, short: None }
    }

    /// Gives out the first `count` of planned slots; returns the number of the first. Forgets slots that hold up nobody.
    pub fn take(&mut self, per_second: f64, now: f64, times: &[f64]) -> i64 {
        let first = self.next;
        for at in times {
            self.slots.push(self.next);
            self.until.push(at + TOLERANCE.as_secs_f64());
            self.next += 1;
            self.last = *at;
        }
        let seconds = Stretch::of(per_second).seconds;
        let old = self.until.iter().take_while(|until| **until + seconds < now).count();
        self.slots.drain(..old);
        self.until.drain(..old);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slots_are_given_out_for_a_short_while_ahead() {
        let book = Book::default();
        assert_eq!(book.plan(50.0, 100.0, 0.02, 5).times.len(), 5);
        let some = book.plan(50.0, 100.0, 0.02, 100);
        assert!(some.times.len() > 20 && some.times.len() < 40, "{some:?}");
        assert!(some.times.iter().all(|at| (100.02..=100.42).contains(at)), "{some:?}");
        assert!(some.short.is_some_and(|wait| wait > 0.1 && wait <= 0.4), "{some:?}");
    }

    #[test]
    fn a_slow_rate_gives_one_slot_at_a_time_and_is_not_asked_long_before_the_next() {
        let mut book = Book::default();
        let first = book.plan(1.0, 100.0, 0.02, 3);
        assert_eq!(first.times, [100.02]);
        book.take(1.0, 100.0, &first.times);
        let none = book.plan(1.0, 100.1, 0.02, 3);
        assert!(none.times.is_empty() && none.short.is_some_and(|wait| wait > 0.5), "{none:?}");
        book.note(0, Some(100.03));
        assert_eq!(book.plan(1.0, 100.9, 0.02, 3).times, [101.03]);
    }

    #[test]
    fn a_slot_that_nobody_used_is_free_again() {
        let mut book = Book::default();
        let first = book.plan(1.0, 100.0, 0.02, 1);
        book.take(1.0, 100.0, &first.times);
        book.note(0, None);
        assert_eq!(book.plan(1.0, 100.8, 0.02, 1).times, [100.82]);
    }

    #[test]
    fn what_a_slow_moment_did_not_use_is_made_up_for() {
        let mut book = Book::default();
        let (mut now, mut sent) = (100.0, 0);
        for turn in 0..100 {
            // Every tenth look is 0.3 s late.
            now += if turn % 10 == 9 { 0.5 } else { 0.2 };
            let planned = book.plan(50.0, now, 0.02, 1000);
            let first = book.take(50.0, now, &planned.times);
            for (i, at) in planned.times.iter().enumerate() {
                book.note(first + i as i64, Some(at + 0.005));
            }
            sent += planned.times.len();
        }
        assert!(sent as f64 > 0.97 * 50.0 * (now - 100.0), "{sent} in {} s", now - 100.0);
    }

    proptest! {
        /// However late requests leave within the tolerance, however many never do, whenever that is told.
        #[test]
        fn no_stretch_ever_holds_more_than_the_rate(
            per_second in prop_oneof![Just(50.0), Just(1.0), Just(0.4), Just(7.5), 0.2f64..80.0],
            looks in prop::collection::vec((0.0f64..0.7, 0usize..60), 1..60),
            fates in prop::collection::vec((0u8..10, 0.0f64..0.25, any::<bool>()), 50),
        ) {
            let mut book = Book::default();
            let (mut now, mut departures, mut untold) = (1000.0, Vec::new(), Vec::new());
            let mut fate = fates.iter().cycle();
            for (wait, wanted) in looks {
                now += wait;
                for (slot, left) in std::mem::take(&mut untold) {
                    // Only what has left can be told.
                    match left {
                        Some(left) if left > now => untold.push((slot, Some(left))),
                        told => book.note(slot, told),
                    }
                }
                let planned = book.plan(per_second, now, 0.02, wanted);
                let first = book.take(per_second, now, &planned.times);
                for (i, at) in planned.times.iter().enumerate() {
                    let (kind, late, told) = fate.next().copied().unwrap_or((1, 0.0, true));
                    let left = (kind > 0).then_some(at + late);
                    departures.extend(left);
                    if told {
                        untold.push((first + i as i64, left));
                    }
                }
            }
            departures.sort_by(f64::total_cmp);
            let Stretch { calls, seconds } = Stretch::of(per_second);
            for pair in departures.windows(calls + 1) {
                let took = pair[calls] - pair[0];
                prop_assert!(took >= seconds - 1e-6, "{} requests in {took} s", calls + 1);
            }
        }
    }
}
