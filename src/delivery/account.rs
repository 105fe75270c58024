//! What this replica has learned of a platform's account, shared by the lane and the sends that it started: the pace, the
//! breaker, and what both tell the outside (metrics, readiness).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::breaker::{Breaker, Sign, State};
use super::rate::Pace;
use crate::call::Verdict;
use crate::clock::{self, Monotonic};
use crate::config::PlatformConfig;
use crate::health::{Health, Part};
use crate::platforms::{Concurrency, Placed, Scope, SendError};
use crate::store::pace::{Departure, LONGEST_LEAD, Limits, SHORTEST_LEAD};
use crate::telemetry::metrics;

/// From a request's leaving to its arrival at the platform, as far as voxd counts with it.
const SHORTEST_WAY: Duration = Duration::from_millis(10);
const LONGEST_WAY: Duration = Duration::from_millis(50);

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Account {
    name: &'static str,
    settings: Arc<PlatformConfig>,
    health: Health,
    learned: Arc<Mutex<Learned>>,
    /// Rings when something was learned that the lane should act on.
    bell: Arc<Notify>,
}

struct Learned {
    pace: Pace,
    breaker: Breaker,
    /// What a commit takes, on the high side.
    lead: Duration,
    /// What a platform's answer takes at least; creeps up, so that it follows a platform that becomes slower.
    quickest: Duration,
    /// What became of slots, until the next spending tells it.
    departures: Vec<Departure>,
    /// Calls at once that the platform allows the account, where it says so.
    lines: Option<u32>,
}

/// What holds the whole account now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standstill {
    Paused(Duration),
    /// With the reason, for a person.
    Broken(String),
}

/// A limit that is not set is 0.
fn set(limit: u32) -> Option<u32> {
    (limit > 0).then_some(limit)
}

impl Account {
    pub(super) fn new(name: &'static str, settings: &PlatformConfig, health: Health) -> Self {
        let now = clock::monotonic();
        let per_second = Some(settings.calls_per_second).filter(|rate| *rate > 0.0);
        let learned = Learned {
            pace: Pace::new(per_second, now),
            breaker: Breaker::new(settings.breaker_failures, settings.breaker_probe, now),
            lead: SHORTEST_LEAD,
            quickest: LONGEST_LEAD,
            departures: Vec::new(),
            lines: None,
        };
        let account = Self {
            name,
            settings: Arc::new(settings.clone()),
            health,
            learned: Arc::new(Mutex::new(learned)),
            bell: Arc::default(),
        };
        account.show();
        account
    }

    /// The limits that hold now, tightened by what was learned; `None`: there is none.
    pub(super) fn limits(&self) -> Option<Limits> {
        let settings = &self.settings;
        let per_second = match settings.calls_per_second > 0.0 {
            true => self.lock().pace.per_second(clock::monotonic()),
            false => None,
        };
        let lines = self.lock().lines;
        let limits = Limits {
            per_second,
            per_hour: set(settings.calls_per_hour),
            per_day: set(settings.calls_per_day),
            live: set(settings.max_live_calls).into_iter().chain(lines).min(),
            number_spacing: Some(settings.number_spacing).filter(|spacing| !spacing.is_zero()),
            lead: self.lead(),
            departures: Vec::new(),
        };
        (!limits.is_none()).then_some(limits)
    }

    /// See [`Limits::lead`].
    pub(super) fn lead(&self) -> Duration {
        self.lock().lead
    }

    /// A commit (or another look at the pace) took so long; follows slow ones at once, and quick ones slowly.
    pub(super) fn took(&self, time: Duration) {
        let mut learned = self.lock();
        let wanted = time.mul_f64(1.5);
        let lead = if wanted > learned.lead { wanted } else { learned.lead.mul_f64(0.95).max(wanted) };
        learned.lead = lead.clamp(SHORTEST_LEAD, LONGEST_LEAD);
    }

    /// No request left in this slot of the rate.
    pub(super) fn not_used(&self, slot: i64) {
        self.lock().departures.push(Departure { slot, at: None });
    }

    /// The slot's request leaves now; how long it will be on its way is not known yet.
    pub(super) fn departed(&self, slot: i64, left: Monotonic) {
        self.lock().departures.push(Departure { slot, at: Some(left + LONGEST_WAY) });
    }

    /// Its answer is there. What that took beyond the quickest answer, the request may have been on its way.
    pub(super) fn arrived(&self, slot: i64, left: Monotonic) {
        let took = clock::monotonic() - left;
        let mut learned = self.lock();
        learned.quickest = learned.quickest.mul_f64(1.01).min(took);
        let way = took.saturating_sub(learned.quickest).clamp(SHORTEST_WAY, LONGEST_WAY);
        learned.departures.push(Departure { slot, at: Some(left + way) });
    }

    /// What the next spending has to tell. Where it is lost, the slots count as used at the last moment.
    pub(super) fn take_departures(&self) -> Vec<Departure> {
        std::mem::take(&mut self.lock().departures)
    }

    /// Calls per second now, set or learned.
    pub(super) fn per_second(&self) -> Option<f64> {
        self.lock().pace.per_second(clock::monotonic())
    }

    /// For a pace that was learned without a limit being set: how long until one request may start.
    pub(super) fn take_measured(&self) -> Option<Duration> {
        self.lock().pace.take_measured(clock::monotonic())
    }

    pub(super) fn standstill(&self) -> Option<Standstill> {
        let learned = self.lock();
        if learned.breaker.state() == State::Open {
            return Some(Standstill::Broken(learned.breaker.why().to_owned()));
        }
        learned.pace.pause(clock::monotonic()).map(Standstill::Paused)
    }

    /// The breaker lets one call through, whose answer decides.
    pub(super) fn on_trial(&self) -> bool {
        self.lock().breaker.state() == State::Half
    }

    pub(super) fn sending(&self) {
        self.lock().pace.sending(clock::monotonic());
    }

    /// Calls at once, set or told by the platform.
    pub(super) fn live(&self) -> Option<u32> {
        set(self.settings.max_live_calls).into_iter().chain(self.lock().lines).min()
    }

    /// The platform told how many calls at once the account may have; those of others on the account are not ours to use.
    pub(super) fn told(&self, lines: Concurrency) {
        // One line stays, so that the account is found out again when it has room.
        self.lock().lines = Some(lines.limit.max(1));
        self.show();
        self.bell.notify_one();
    }

    /// Learns from an answer to a create request.
    pub(super) fn answered(&self, result: &Result<Placed, SendError>) {
        let now = clock::monotonic();
        let sign = Sign::of(result);
        let mut learned = self.lock();
        let before = learned.breaker.state();
        learned.breaker.note(&sign, now);
        let after = learned.breaker.state();
        if let Err(error) = result
            && error.verdict == Verdict::NotSent
            && error.scope == Scope::Account
        {
            if sign == Sign::Nothing {
                let pause = learned.pace.slow_down(error.retry_after, now);
                metrics::PLATFORM_THROTTLED.inc([self.name]);
                tracing::warn!(platform = self.name, pause_seconds = pause.as_secs(), reason = %error.reason, "the platform slows the whole account");
            } else {
                learned.pace.rest(now);
            }
        }
        if let Ok(Placed { remaining: Some(0), .. }) = result {
            // The last line is taken: a further request would be refused, or wait at the platform where we do not see it.
            learned.pace.rest(now);
        }
        drop(learned);
        self.tell(before, after);
        self.show();
    }

    /// Whether the open breaker wants a probe now.
    pub(super) fn probe_is_due(&self) -> bool {
        self.lock().breaker.probe_is_due(clock::monotonic())
    }

    pub(super) fn probed(&self, well: bool) {
        let mut learned = self.lock();
        let before = learned.breaker.state();
        learned.breaker.probed(well, clock::monotonic());
        let after = learned.breaker.state();
        drop(learned);
        self.tell(before, after);
        self.show();
    }

    /// How long until the lane has to look again by itself.
    pub(super) fn next_look(&self) -> Option<Duration> {
        let learned = self.lock();
        let now = clock::monotonic();
        let probe = learned.breaker.next_probe().map(|at| at.saturating_duration_since(now));
        probe.or(learned.pace.pause(now))
    }

    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    fn tell(&self, before: State, after: State) {
        if before == after {
            return;
        }
        let name = self.name;
        let why = self.lock().breaker.why().to_owned();
        let note = match after {
            State::Open => {
                metrics::PLATFORM_BREAKER_OPENED.inc([name]);
                tracing::error!(platform = name, why, "the breaker is open: nothing is sent until the account answers");
                Some(format!("the breaker is open: {why}"))
            }
            State::Half => {
                tracing::info!(platform = name, "the account answers: one call goes out, and its answer decides");
                Some(format!("the breaker is half open: {why}"))
            }
            State::Closed => {
                tracing::info!(platform = name, "the breaker is closed");
                None
            }
        };
        self.health.set_fault(Part::Platform(name.to_owned()), note);
        self.bell.notify_one();
    }

    /// Keeps the gauges fresh.
    pub(super) fn show(&self) {
        let mut learned = self.lock();
        let now = clock::monotonic();
        let paused = learned.pace.pause(now).is_some();
        let rate = learned.pace.per_second(now).unwrap_or(0.0);
        let breaker = match learned.breaker.state() {
            State::Closed => 0.0,
            State::Half => 0.5,
            State::Open => 1.0,
        };
        metrics::PLATFORM_RATE.set([self.name], rate);
        metrics::PLATFORM_PACE.set([self.name], if paused { 0.0 } else { learned.pace.part() });
        metrics::PLATFORM_BREAKER.set([self.name], breaker);
        let lines = set(self.settings.max_live_calls).into_iter().chain(learned.lines).min();
        metrics::PLATFORM_LIVE_LIMIT.set([self.name], f64::from(lines.unwrap_or(0)));
    }

    fn lock(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
