//! One platform's lane: takes calls while it has seats, waits for room and rate, and has each sent once.
//!
//! At most `max_concurrent_requests` requests are under way. A few rights more than that are spent ahead, so that no slot
//! idles during a commit; on a crash these are in doubt too, which is why they are few. Where calls per second are limited,
//! rights are spent for the next fraction of a second only.
//!
//! What the lane holds in memory is what it can send soon. The rest waits in line, in Postgres, and is taken from there
//! when a seat is free: at once while the line is known to be long, and from time to time to see whether another replica
//! left somebody there. At the cap it asks again when a call ends (on this replica at once, by a look now and then for the
//! others).

mod within_budget;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::account::{Account, Standstill};
use super::admission::VoiceDelivery;
use super::budget::Keeper;
use super::decide::Policy;
use super::dispatcher::Ready;
use super::recorder::Recording;
use super::seats::{Seats, Why};
use super::sending::Candidate;
use super::spending::{ORDER_WAIT, REFUSED_WAIT};
use crate::clock::{self, Monotonic};
use crate::config::{BreakerFallback, PlatformConfig};
use crate::lifecycle::Lifecycle;
use crate::platforms::{Platform, PlatformError};
use crate::retry::Waits;
use crate::store::Store;
use crate::store::line::{Held, InLine, Turn};
use crate::store::pace::{Limits, Short};
use crate::telemetry::metrics;

/// Rights spent in one commit, at most.
const BATCH: usize = 128;
/// A lane with a limit holds what it sends in this many seconds.
const HORIZON: f64 = 0.5;
/// Seats of a lane whose calls at once are limited, at most.
const SEATS_AT_CAP: usize = 64;
/// Calls of one message group that wait in memory for the one before them.
const GROUP_IN_MEMORY: usize = 8;
/// A pause longer than this sends the lane's calls back in line.
const SHORT_PAUSE: Duration = Duration::from_secs(2);
/// Looks for room at the cap, beside those when a call ends here.
const FIRST_CAP_WAIT: Duration = Duration::from_millis(100);
const LAST_CAP_WAIT: Duration = Duration::from_secs(1);
/// How many of the line's calls go to their next platform in one statement.
const FALL_BACK_BATCH: usize = 500;
const ASK_FOR_LINES_EVERY: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(3600);

pub(super) struct LaneParts {
    pub store: Store,
    pub voice: Arc<VoiceDelivery>,
    pub platform: Arc<dyn Platform>,
    pub settings: PlatformConfig,
    pub replica: Uuid,
    pub lease: Duration,
    pub settled_after: Duration,
    pub keeper: Keeper,
    pub policy: Policy,
    pub account: Account,
    pub seats: Seats,
    pub seats_without_limit: usize,
    /// How often the line is looked at while nobody is known to wait there.
    pub look_at_line: Duration,
    pub answers: mpsc::Sender<Recording>,
    pub lifecycle: Lifecycle,
    pub seed: u64,
}

pub(super) struct Lane {
    pub(super) parts: LaneParts,
    pub(super) waiting: VecDeque<Ready>,
    /// Message groups with a call under way, and what waits behind it.
    groups: HashMap<String, VecDeque<Ready>>,
    pub(super) answered_groups: (mpsc::UnboundedSender<String>, mpsc::UnboundedReceiver<String>),
    pub(super) slots: Arc<Semaphore>,
    ahead: Arc<Semaphore>,
    /// Fewer free places ahead are not worth a commit: every slot is busy, and rights are there for the next ones.
    worthwhile: u32,
    pub(super) sends: TaskTracker,
    pub(super) renewed: Monotonic,
    pub(super) chance: fastrand::Rng,
    limits: Option<Limits>,
    /// Why the last spending found no room for all, and when to ask again.
    pub(super) short: Option<(Short, Monotonic)>,
    pub(super) cap_waits: Waits,
    /// Rises when an attempt ends on this replica.
    pub(super) ended: watch::Receiver<u64>,
    turn: Turn,
    next_look: Monotonic,
}

impl Lane {
    pub(super) fn new(parts: LaneParts) -> Self {
        let slots = parts.settings.max_concurrent_requests;
        let ahead = (slots / 4).clamp(1, 32);
        Self {
            waiting: VecDeque::new(),
            groups: HashMap::new(),
            answered_groups: mpsc::unbounded_channel(),
            slots: Arc::new(Semaphore::new(slots)),
            ahead: Arc::new(Semaphore::new(slots + ahead)),
            worthwhile: ahead.div_ceil(3) as u32,
            sends: TaskTracker::new(),
            renewed: clock::monotonic(),
            chance: fastrand::Rng::with_seed(parts.seed),
            limits: None,
            short: None,
            cap_waits: Waits::new(FIRST_CAP_WAIT, LAST_CAP_WAIT),
            ended: parts.store.attempts_ended(),
            turn: Turn::default(),
            next_look: clock::monotonic(),
            parts,
        }
    }

    /// Until shutdown begins; then waits for the sends under way. What waits is given back by whoever stops the program.
    pub(super) async fn run(mut self, mut incoming: mpsc::Receiver<Ready>) {
        let stop = self.parts.lifecycle.soft_token();
        self.parts.lifecycle.spawn(ask_for_lines(
            self.parts.platform.clone(),
            self.parts.account.clone(),
            self.parts.lifecycle.clone(),
        ));
        while !stop.is_cancelled() {
            self.take_in(&mut incoming);
            self.renew_leases().await;
            self.adjust();
            self.hand_back().await;
            self.look_at_line().await;
            let Some(wait) = self.step().await else { continue };
            let wait = wait.min(self.until_next_look()).min(self.parts.lease / 6);
            let at_cap = matches!(&self.short, Some((short, _)) if short.reason == InLine::Cap);
            let (account, seats) = (self.parts.account.clone(), self.parts.seats.clone());
            tokio::select! {
                () = stop.cancelled() => {}
                () = clock::sleep(wait) => {}
                ready = incoming.recv() => {
                    if let Some(ready) = ready { self.enqueue(ready); }
                }
                key = self.answered_groups.1.recv() => {
                    if let Some(key) = key { self.next_of_group(&key); }
                }
                () = wait_for_room(&self.ahead, self.worthwhile), if !self.waiting.is_empty() && !self.has_room() => {}
                () = account.rung() => {}
                () = seats.rung() => self.next_look = clock::monotonic(),
                Ok(()) = self.ended.changed(), if at_cap => self.short = None,
            }
        }
        drop(incoming);
        self.waiting.clear();
        self.groups.clear();
        self.sends.close();
        self.sends.wait().await;
    }

    fn take_in(&mut self, incoming: &mut mpsc::Receiver<Ready>) {
        while let Ok(ready) = incoming.try_recv() {
            self.enqueue(ready);
        }
        while let Ok(key) = self.answered_groups.1.try_recv() {
            self.next_of_group(&key);
        }
    }

    fn enqueue(&mut self, ready: Ready) {
        if let Some(key) = &ready.call.order_key {
            if let Some(behind) = self.groups.get_mut(key) {
                behind.push_back(ready);
                return;
            }
            self.groups.insert(key.clone(), VecDeque::new());
        }
        self.waiting.push_back(ready);
    }

    pub(super) fn next_of_group(&mut self, key: &str) {
        match self.groups.get_mut(key).map(VecDeque::pop_front) {
            Some(Some(next)) => self.waiting.push_back(next),
            Some(None) => drop(self.groups.remove(key)),
            None => {}
        }
    }

    /// What the account may do now, and how many seats that is worth.
    fn adjust(&mut self) {
        let account = &self.parts.account;
        account.show();
        self.limits = account.limits();
        let settings = &self.parts.settings;
        let (seats, why) = match account.standstill() {
            Some(Standstill::Broken(why)) => (0, Why::new(InLine::Breaker, why)),
            Some(Standstill::Paused(wait)) if wait > SHORT_PAUSE => {
                (0, Why::new(InLine::Rate, "the platform asked for a pause"))
            }
            _ if account.on_trial() => (1, Why::new(InLine::Breaker, "one call goes out to try the account")),
            _ => {
                let of_rate = account.per_second().map(|rate| ((rate * HORIZON).ceil() as usize).max(2));
                let of_cap = account.live().map(|live| (live as usize).clamp(1, SEATS_AT_CAP));
                let limited = of_rate.into_iter().chain(of_cap).min();
                let hourly = settings.calls_per_hour > 0 || settings.calls_per_day > 0;
                let seats = limited.or(hourly.then_some(SEATS_AT_CAP)).unwrap_or(self.parts.seats_without_limit);
                let why = match (&self.short, of_rate, of_cap) {
                    (Some((short, _)), ..) => Why::new(short.reason, short.detail.clone()),
                    (None, None, Some(_)) => Why::new(InLine::Cap, "max_live_calls"),
                    (None, Some(_), _) => Why::new(InLine::Rate, "calls_per_second"),
                    (None, None, None) => Why::new(InLine::Rate, "the platform answers more slowly than calls come"),
                };
                (seats.min(self.parts.seats_without_limit), why)
            }
        };
        self.parts.seats.set(seats, why);
        if self.parts.account.probe_is_due() {
            self.probe();
        }
    }

    /// Asks whether the account can be used, beside the lane's other work; sends calls that have a further platform there.
    fn probe(&self) {
        let (platform, account) = (self.parts.platform.clone(), self.parts.account.clone());
        let fall_back = self.parts.settings.breaker_fallback == BreakerFallback::Next;
        let store = self.parts.store.clone();
        self.parts.lifecycle.spawn(async move {
            if fall_back {
                fall_back_from(&store, platform.name()).await;
            }
            let well = matches!(platform.probe().await, Ok(()) | Err(PlatformError::Unsupported));
            account.probed(well);
        });
    }

    /// What has lost its seat goes in line, the last first.
    async fn hand_back(&mut self) {
        let (beyond, why) = self.parts.seats.too_many();
        if beyond == 0 {
            return;
        }
        let mut behind = Vec::new();
        for followers in self.groups.values_mut() {
            while behind.len() < beyond
                && let Some(ready) = followers.pop_back()
            {
                behind.push(ready);
            }
        }
        let first = self.waiting.len() - (beyond - behind.len()).min(self.waiting.len());
        let back = self.waiting.split_off(first);
        let Why { reason, detail } = why;
        let hold = |ready: &Ready| Held {
            call_id: ready.call.id,
            fence: ready.call.fence,
            reason,
            detail: Some(detail.clone()),
        };
        let rows: Vec<Held> = behind.iter().chain(&back).map(hold).collect();
        if rows.is_empty() {
            return;
        }
        if let Err(error) = self.parts.store.hold(&rows).await {
            tracing::warn!(calls = rows.len(), %error, "not put in line; the leases run out instead");
        }
        back.iter().for_each(|ready| self.release_group(ready));
        self.parts.seats.line_begins();
    }

    fn until_next_look(&self) -> Duration {
        let now = clock::monotonic();
        let of_line = match self.parts.seats.free() {
            (0, _) => IDLE,
            _ => self.next_look.saturating_duration_since(now),
        };
        of_line.min(self.parts.account.next_look().unwrap_or(IDLE)).max(Duration::from_millis(1))
    }

    /// Takes calls from the line while there are seats.
    async fn look_at_line(&mut self) {
        let now = clock::monotonic();
        let (seats, free) = self.parts.seats.free();
        if now < self.next_look || free == 0 {
            return;
        }
        // Not one by one: a statement is worth it for half the seats.
        if free < seats.div_ceil(2) {
            self.next_look = now + Duration::from_millis(20);
            return;
        }
        let mut places = self.parts.seats.take_for_line(BATCH);
        let taken = self
            .parts
            .store
            .take_from_line(
                self.parts.replica,
                self.parts.lease,
                self.parts.platform.name(),
                places.len(),
                &mut self.turn,
            )
            .await;
        let calls = match taken {
            Ok(calls) => calls,
            Err(error) => {
                tracing::debug!(%error, "the line waits for Postgres");
                self.next_look = clock::monotonic() + Duration::from_secs(1);
                return;
            }
        };
        if calls.is_empty() {
            self.parts.seats.line_is_empty();
            self.next_look =
                now + if self.limits.is_some() { self.parts.look_at_line } else { 5 * self.parts.look_at_line };
            return;
        }
        self.parts.seats.line_goes_on();
        let mut crowded = Vec::new();
        for call in calls {
            let Some(seat) = places.pop() else { break };
            let ready = Ready { call, place: None, seat, since: clock::monotonic() };
            let behind = ready.call.order_key.as_ref().and_then(|key| self.groups.get(key));
            if behind.is_some_and(|behind| behind.len() >= GROUP_IN_MEMORY) {
                crowded.push((ready, ORDER_WAIT, "order", None));
            } else {
                self.enqueue(ready);
            }
        }
        if !crowded.is_empty() {
            self.put_off(&crowded).await;
        }
    }

    /// Sends what can be sent now. `Some`: nothing can for so long, unless something changes.
    async fn step(&mut self) -> Option<Duration> {
        if self.waiting.is_empty() || !self.has_room() {
            return Some(IDLE);
        }
        match self.parts.account.standstill() {
            Some(Standstill::Paused(wait)) => return Some(wait),
            Some(Standstill::Broken(_)) => return Some(IDLE),
            None => {}
        }
        let now = clock::monotonic();
        match &self.short {
            Some((_, until)) if *until > now => return Some(*until - now),
            _ => self.short = None,
        }
        let mut batch = Vec::new();
        let mut wait = None;
        while batch.len() < self.most_at_once() && !self.waiting.is_empty() {
            let Ok(room) = self.ahead.clone().try_acquire_owned() else {
                wait = Some(IDLE);
                break;
            };
            if let Some(pause) = self.parts.account.take_measured() {
                metrics::RATE_LIMIT_WAIT.record([self.parts.platform.name()], pause);
                wait = Some(pause);
                break;
            }
            let Some(ready) = self.waiting.pop_front() else { break };
            if let Some(candidate) = self.candidate(ready, room).await {
                batch.push(candidate);
            }
        }
        if batch.is_empty() {
            return wait.or((!self.waiting.is_empty()).then_some(Duration::from_millis(20)));
        }
        self.spend_and_send(batch, self.limits.clone()).await;
        None
    }

    /// Rights to spend in one commit. In slots no request may wait for another's answer; on trial there is one.
    fn most_at_once(&self) -> usize {
        let slots = self.parts.settings.max_concurrent_requests;
        let under_way = slots + (slots / 4).clamp(1, 32) - self.ahead.available_permits();
        if self.parts.account.on_trial() {
            return usize::from(under_way == 0);
        }
        match &self.limits {
            // Those of this batch have their permits already.
            Some(limits) if limits.per_second.is_some() => BATCH.min(slots.saturating_sub(self.sends.len())),
            _ => BATCH,
        }
    }

    fn has_room(&self) -> bool {
        self.ahead.available_permits() >= self.worthwhile as usize
    }

    /// What waits longer than a third of the lease is renewed; what is not ours any more leaves.
    async fn renew_leases(&mut self) {
        if clock::monotonic() - self.renewed < self.parts.lease / 3 {
            return;
        }
        self.renewed = clock::monotonic();
        let waiting = self.waiting.iter().chain(self.groups.values().flatten());
        let held: Vec<(Uuid, i64)> = waiting.map(|ready| (ready.call.id, ready.call.fence)).collect();
        if held.is_empty() {
            return;
        }
        match self.parts.store.renew(self.parts.replica, self.parts.lease, &held).await {
            Ok(ours) => {
                let ours: std::collections::HashSet<Uuid> = ours.into_iter().collect();
                let lost = held.len() - ours.len();
                if lost > 0 {
                    metrics::LEASE_LOST.add([], lost as u64);
                    let (kept, gone): (VecDeque<_>, VecDeque<_>) =
                        std::mem::take(&mut self.waiting).into_iter().partition(|ready| ours.contains(&ready.call.id));
                    self.waiting = kept;
                    self.groups.values_mut().for_each(|behind| behind.retain(|ready| ours.contains(&ready.call.id)));
                    gone.iter().for_each(|ready| self.release_group(ready));
                }
            }
            Err(error) => tracing::warn!(calls = held.len(), %error, "leases could not be renewed"),
        }
    }
}

async fn wait_for_room(ahead: &Semaphore, places: u32) {
    drop(ahead.acquire_many(places).await);
}

async fn fall_back_from(store: &Store, platform: &'static str) {
    loop {
        match store.fall_back_from(platform, FALL_BACK_BATCH).await {
            Ok(0) => return,
            Ok(calls) => tracing::warn!(platform, calls, "the breaker is open: these calls go to their next platform"),
            Err(error) => {
                tracing::debug!(%error, "falling back waits for Postgres");
                return;
            }
        }
    }
}

/// Asks the platform from time to time how many calls at once it allows; a few platforms tell.
async fn ask_for_lines(platform: Arc<dyn Platform>, account: Account, lifecycle: Lifecycle) {
    let stop = lifecycle.soft_token();
    while let Some(told) = stop.run_until_cancelled(platform.concurrency()).await {
        if let Some(lines) = told {
            account.told(lines);
        }
        if stop.run_until_cancelled(clock::sleep(ASK_FOR_LINES_EVERY)).await.is_none() {
            return;
        }
    }
}
