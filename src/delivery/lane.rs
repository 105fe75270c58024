//! One platform's lane: waits for room and rate, spends rights to send in batches, sends each once.
//!
//! At most `max_concurrent_requests` requests are under way. A few rights more than that are spent ahead, so that no slot
//! idles during a commit; on a crash these are in doubt too, which is why they are few.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::admission::VoiceDelivery;
use super::decide::{Policy, decide};
use super::dispatcher::Ready;
use super::rate::{LiveReplicas, Pause, Rate};
use super::recorder::{GroupTurn, Recording};
use crate::call::{CallStatus, Verdict};
use crate::clock::{self, Monotonic};
use crate::config::PlatformConfig;
use crate::fault;
use crate::lifecycle::Lifecycle;
use crate::platforms::{Payload, Platform, Scope, SendPermit};
use crate::retry::Waits;
use crate::store::attempts::{Intent, IntentOutcome, IntentTimes};
use crate::store::leases::Postponed;
use crate::store::{Store, StoreError};
use crate::telemetry::{metrics, trace};

/// Rights spent in one commit, at most.
const BATCH: usize = 128;
/// A number whose line is busy with another call of ours is tried again this often, and when that call ends.
const NUMBER_BUSY_WAIT: Duration = Duration::from_secs(30);
const ORDER_WAIT: Duration = Duration::from_secs(1);
const CAP_WAIT: Duration = Duration::from_secs(2);
const REFUSED_WAIT: Duration = Duration::from_secs(1);
/// A pause that a platform asks for is not believed beyond this.
const MAX_PAUSE: Duration = Duration::from_secs(300);

pub(super) struct LaneParts {
    pub store: Store,
    pub voice: Arc<VoiceDelivery>,
    pub platform: Arc<dyn Platform>,
    pub settings: PlatformConfig,
    pub replica: Uuid,
    pub lease: Duration,
    pub settled_after: Duration,
    pub policy: Policy,
    pub live_replicas: LiveReplicas,
    pub answers: mpsc::Sender<Recording>,
    pub lifecycle: Lifecycle,
    pub seed: u64,
}

pub(super) struct Lane {
    parts: LaneParts,
    waiting: VecDeque<Ready>,
    /// Message groups with a call under way, and what waits behind it.
    groups: HashMap<String, VecDeque<Ready>>,
    answered_groups: (mpsc::UnboundedSender<String>, mpsc::UnboundedReceiver<String>),
    rate: Rate,
    slots: Arc<Semaphore>,
    ahead: Arc<Semaphore>,
    /// Fewer free places ahead are not worth a commit: every slot is busy, and rights are there for the next ones.
    worthwhile: u32,
    sends: TaskTracker,
    renewed: Monotonic,
    chance: fastrand::Rng,
}

/// A call with its payload, whose right to send is about to be spent.
struct Candidate {
    ready: Ready,
    attempt_id: Uuid,
    payload: Payload,
    room: OwnedSemaphorePermit,
}

impl Lane {
    pub(super) fn new(parts: LaneParts) -> Self {
        let slots = parts.settings.max_concurrent_requests;
        let ahead = (slots / 4).clamp(1, 32);
        Self {
            waiting: VecDeque::new(),
            groups: HashMap::new(),
            answered_groups: mpsc::unbounded_channel(),
            rate: Rate::new(parts.settings.calls_per_second, parts.live_replicas.clone()),
            slots: Arc::new(Semaphore::new(slots)),
            ahead: Arc::new(Semaphore::new(slots + ahead)),
            worthwhile: ahead.div_ceil(3) as u32,
            sends: TaskTracker::new(),
            renewed: clock::monotonic(),
            chance: fastrand::Rng::with_seed(parts.seed),
            parts,
        }
    }

    /// Until shutdown begins; then waits for the sends under way. What waits is given back by whoever stops the program.
    pub(super) async fn run(mut self, mut incoming: mpsc::Receiver<Ready>) {
        let stop = self.parts.lifecycle.soft_token();
        while !stop.is_cancelled() {
            self.take_in(&mut incoming);
            self.renew_leases().await;
            let wait = self.step().await;
            if let Some(wait) = wait {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = clock::sleep(wait.min(self.parts.lease / 6)) => {}
                    ready = incoming.recv() => {
                        if let Some(ready) = ready { self.enqueue(ready); }
                    }
                    key = self.answered_groups.1.recv() => {
                        if let Some(key) = key { self.next_of_group(&key); }
                    }
                    () = wait_for_room(&self.ahead, self.worthwhile), if !self.waiting.is_empty() && !self.has_room() => {}
                }
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

    fn next_of_group(&mut self, key: &str) {
        match self.groups.get_mut(key).map(VecDeque::pop_front) {
            Some(Some(next)) => self.waiting.push_back(next),
            Some(None) => drop(self.groups.remove(key)),
            None => {}
        }
    }

    /// Sends what can be sent now. `Some`: nothing can for so long, unless something changes.
    async fn step(&mut self) -> Option<Duration> {
        if self.waiting.is_empty() || !self.has_room() {
            return Some(Duration::from_secs(3600));
        }
        let mut batch = Vec::new();
        let mut wait = None;
        while batch.len() < BATCH && !self.waiting.is_empty() {
            let Ok(room) = self.ahead.clone().try_acquire_owned() else {
                wait = Some(Duration::from_secs(3600));
                break;
            };
            if let Some(pause) = self.rate.take() {
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
            return wait;
        }
        self.spend_and_send(batch).await;
        None
    }

    fn has_room(&self) -> bool {
        self.ahead.available_permits() >= self.worthwhile as usize
    }

    /// Formats and validates; a call whose window has closed since goes back, one that cannot be formatted is rejected.
    async fn candidate(&mut self, ready: Ready, room: OwnedSemaphorePermit) -> Option<Candidate> {
        let now = clock::now();
        let call = &ready.call;
        match self.parts.voice.next_open(&call.request, now) {
            Ok(open) if open > now => {
                let wait = (open - now).to_std().unwrap_or_default();
                let detail = format!("the calling window opens at {}", open.format("%Y-%m-%dT%H:%M:%SZ"));
                self.postpone(vec![(ready, wait, "window", Some(detail))]).await;
                return None;
            }
            Ok(_) => {}
            Err((reason, detail)) => {
                self.end_unsent(ready, CallStatus::Rejected, reason, &detail).await;
                return None;
            }
        }
        let attempt_id = Uuid::now_v7();
        let request = self.parts.voice.call_request(
            &call.request,
            call.id,
            attempt_id,
            self.parts.platform.name(),
            call.to.clone(),
            call.metadata.clone(),
        );
        match self.parts.voice.payload(self.parts.platform.name(), &request) {
            Ok(payload) => Some(Candidate { ready, attempt_id, payload, room }),
            Err(problems) => {
                let detail = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                self.end_unsent(ready, CallStatus::Rejected, "invalid_payload", &detail).await;
                None
            }
        }
    }

    async fn spend_and_send(&mut self, batch: Vec<Candidate>) {
        let intents: Vec<Intent> =
            batch.iter().map(|candidate| intent(candidate, self.parts.platform.name())).collect();
        let times = IntentTimes { lease: self.parts.lease, settled_after: self.parts.settled_after };
        // Taken before the database reads its clock, so our permit ends before the lease does.
        let permit = SendPermit::until(clock::monotonic() + self.parts.lease);
        fault::point("before_intent");
        let outcomes =
            match self.parts.store.spend(self.parts.replica, &intents, times, self.parts.settings.max_live_calls).await
            {
                Ok(outcomes) => outcomes,
                Err(error) => match self.recover(&intents, error).await {
                    Some(outcomes) => outcomes,
                    None => return self.put_back(batch),
                },
            };
        fault::point("after_intent");
        let mut postponed = Vec::new();
        for (candidate, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                IntentOutcome::Spent => self.start_send(candidate, permit),
                IntentOutcome::NumberBusy => postponed.push((candidate.ready, NUMBER_BUSY_WAIT, "number_busy", None)),
                IntentOutcome::Behind => postponed.push((candidate.ready, ORDER_WAIT, "order", None)),
                IntentOutcome::AtCap => postponed.push((candidate.ready, CAP_WAIT, "cap", None)),
                IntentOutcome::Expired => {
                    self.end_unsent(
                        candidate.ready,
                        CallStatus::Expired,
                        "expired",
                        "expires_at passed before it could be sent",
                    )
                    .await;
                }
                IntentOutcome::CancelledAhead => {
                    let detail = "its cancellation came before the call itself";
                    self.end_unsent(candidate.ready, CallStatus::Cancelled, "cancel_requested", detail).await;
                }
                IntentOutcome::Overtaken => {
                    metrics::LEASE_LOST.inc([]);
                    tracing::info!(call_id = %candidate.ready.call.id, "not ours any more: cancelled or taken over");
                    self.release_group(&candidate.ready);
                }
            }
        }
        if !postponed.is_empty() {
            self.postpone(postponed).await;
        }
    }

    /// The commit's end is unclear: waits for Postgres, then asks which rights are ours. `None`: none is, as far as we
    /// know, and the calls go back into the line.
    async fn recover(&mut self, intents: &[Intent], error: StoreError) -> Option<Vec<IntentOutcome>> {
        let ids: Vec<Uuid> = intents.iter().map(|intent| intent.attempt_id).collect();
        // A server that refuses (one that would forget commits, say) will refuse again in a moment.
        let first = if error.is_unavailable() { Duration::from_millis(50) } else { REFUSED_WAIT };
        let mut waits = Waits::new(first, Duration::from_secs(1));
        let mut error = error;
        loop {
            tracing::warn!(platform = self.parts.platform.name(), calls = ids.len(), %error, "sending waits for Postgres");
            tokio::select! {
                () = clock::sleep(waits.next_wait()) => {}
                () = self.parts.lifecycle.stopping() => return None,
            }
            match self.parts.store.confirm_spent(self.parts.replica, &ids).await {
                Ok(ours) if ours.is_empty() => {
                    self.renewed -= self.parts.lease;
                    return None;
                }
                Ok(ours) => {
                    let outcome = |id| if ours.contains(id) { IntentOutcome::Spent } else { IntentOutcome::Overtaken };
                    return Some(ids.iter().map(outcome).collect());
                }
                Err(again) => error = again,
            }
        }
    }

    fn put_back(&mut self, batch: Vec<Candidate>) {
        for candidate in batch.into_iter().rev() {
            self.waiting.push_front(candidate.ready);
        }
    }

    fn start_send(&mut self, candidate: Candidate, permit: SendPermit) {
        let sending = Sending {
            platform: self.parts.platform.clone(),
            policy: self.parts.policy.clone(),
            pause: self.rate.pause(),
            slots: self.slots.clone(),
            answers: self.parts.answers.clone(),
            groups: self.answered_groups.0.clone(),
            unit: self.chance.f64(),
        };
        let span =
            tracing::info_span!("attempt", call_id = %candidate.ready.call.id, attempt_id = %candidate.attempt_id);
        trace::continue_trace(&span, candidate.ready.call.traceparent.as_deref());
        let task = tracing::Instrument::instrument(sending.run(candidate, permit), span);
        self.parts.lifecycle.spawn(self.sends.track_future(task));
    }

    async fn postpone(&mut self, calls: Vec<(Ready, Duration, &'static str, Option<String>)>) {
        let rows: Vec<Postponed> = calls
            .iter()
            .map(|(ready, wait, reason, detail)| Postponed {
                call_id: ready.call.id,
                fence: ready.call.fence,
                wait: *wait,
                reason,
                detail: detail.clone(),
            })
            .collect();
        if let Err(error) = self.parts.store.postpone(&rows).await {
            tracing::warn!(calls = rows.len(), %error, "could not postpone; the leases run out instead");
        }
        calls.iter().for_each(|(ready, ..)| self.release_group(ready));
    }

    async fn end_unsent(&mut self, ready: Ready, status: CallStatus, reason: &str, detail: &str) {
        match self.parts.store.end_unsent(ready.call.id, ready.call.fence, status, reason, detail).await {
            Ok(true) => metrics::CALLS_FINISHED.inc([self.parts.platform.name(), status.as_str()]),
            Ok(false) => metrics::LEASE_LOST.inc([]),
            Err(error) => {
                tracing::warn!(call_id = %ready.call.id, %error, "could not be ended; its lease runs out instead")
            }
        }
        self.release_group(&ready);
    }

    fn release_group(&mut self, ready: &Ready) {
        if let Some(key) = &ready.call.order_key {
            self.next_of_group(&key.clone());
        }
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

fn intent(candidate: &Candidate, platform: &str) -> Intent {
    let call = &candidate.ready.call;
    Intent {
        call_id: call.id,
        fence: call.fence,
        attempt_id: candidate.attempt_id,
        platform: platform.to_owned(),
        from_number: call.request.voice_config.from_number.as_ref().map(|number| number.as_e164().to_owned()),
    }
}

async fn wait_for_room(ahead: &Semaphore, places: u32) {
    drop(ahead.acquire_many(places).await);
}

/// One spent right on its way to the platform.
struct Sending {
    platform: Arc<dyn Platform>,
    policy: Policy,
    pause: Pause,
    slots: Arc<Semaphore>,
    answers: mpsc::Sender<Recording>,
    groups: mpsc::UnboundedSender<String>,
    unit: f64,
}

impl Sending {
    async fn run(self, candidate: Candidate, permit: SendPermit) {
        let Candidate { ready, attempt_id, payload, room } = candidate;
        let turn = ready.call.order_key.clone().map(|key| GroupTurn { key, next: self.groups });
        let Ok(slot) = self.slots.acquire().await else { return };
        let name = self.platform.name();
        fault::point("before_send");
        metrics::ACCEPT_TO_SEND.record([], clock::monotonic() - ready.since);
        metrics::PLATFORM_REQUESTS_IN_FLIGHT.add([name], 1.0);
        let result = self.platform.send_call(&payload, permit).await;
        metrics::PLATFORM_REQUESTS_IN_FLIGHT.add([name], -1.0);
        fault::point("after_answer");
        drop((slot, room));
        let Ready { call, place, since } = ready;
        drop(place);
        if let Err(error) = &result
            && error.verdict == Verdict::NotSent
            && error.scope == Scope::Account
        {
            let pause = error.retry_after.unwrap_or(Duration::from_secs(1)).min(MAX_PAUSE);
            metrics::PLATFORM_THROTTLED.inc([name]);
            tracing::warn!(platform = name, pause_seconds = pause.as_secs(), reason = %error.reason, "the platform slows the whole account");
            self.pause.for_the_next(pause);
        }
        let answered = decide(&call, attempt_id, &result, &self.policy, self.unit);
        // The recorder lives as long as any sender does.
        let _ = self.answers.send(Recording { answered, platform: name, received: since, turn }).await;
    }
}
