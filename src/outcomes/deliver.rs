//! The two loops: claim what is due, send, record.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::hosts::{Hosts, PER_HOST, host_of};
use super::post::{self, Posted};
use super::queue::{self, SendBatch};
use super::sign::Signer;
use crate::clock;
use crate::config::{self, Config};
use crate::egress::GuardedClient;
use crate::lifecycle::Lifecycle;
use crate::retry::{Waits, wait_for};
use crate::store::outbox::{Claim, Destination, DueEvent, FailedTry};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics;

/// Events under way to addresses at once, of this replica.
const SLOTS: usize = 64;
/// Events of one claim for queues.
const QUEUE_CLAIM: usize = 100;
/// Between looks when nothing is due.
const IDLE: Duration = Duration::from_secs(1);
/// Added to the time a try may take; then another replica may try.
const HOLD_MARGIN: Duration = Duration::from_secs(30);
const GAUGES_EVERY: Duration = Duration::from_secs(15);

/// Delivers outcome events until shutdown. Cheap to clone.
#[derive(Clone)]
pub struct Outcomes {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    client: GuardedClient,
    signer: Option<Signer>,
    settings: config::Outcomes,
    send_batch: SendBatch,
    hosts: Mutex<Hosts>,
    /// An event to an address ended: its host has room again.
    ended: Notify,
}

impl Outcomes {
    /// # Errors
    /// A signing secret that cannot be used, or no TLS on this machine; the text says which.
    pub fn new(config: &Config, store: Store, send_batch: SendBatch) -> Result<Self, String> {
        let client = GuardedClient::new(&config.egress, config.outcomes.request_timeout)
            .map_err(|error| format!("the client for outcome events cannot be made: {error}"))?;
        let signer = Signer::from_secret(&config.outcomes.signing_secret)?;
        let settings = config.outcomes.clone();
        let (hosts, ended) = (Mutex::default(), Notify::new());
        Ok(Self { inner: Arc::new(Inner { store, client, signer, settings, send_batch, hosts, ended }) })
    }

    /// Starts the loops. Several replicas may run them at once.
    pub fn start(&self, lifecycle: &Lifecycle) {
        if self.inner.signer.is_none() {
            tracing::warn!(
                "outcomes.signing_secret is not set: events to webhook_config.url go out unsigned, and receivers cannot tell them from forged ones"
            );
        }
        lifecycle.spawn_critical("outcomes to addresses", self.inner.clone().to_addresses(lifecycle.clone()));
        lifecycle.spawn_critical("outcomes to queues", self.inner.clone().to_queues(lifecycle.clone()));
        lifecycle.spawn_critical("outcome gauges", self.inner.clone().gauges(lifecycle.clone()));
    }
}

impl Inner {
    async fn to_addresses(self: Arc<Self>, lifecycle: Lifecycle) {
        let stop = lifecycle.soft_token();
        let slots = Arc::new(Semaphore::new(SLOTS));
        let mut away = Away::new();
        loop {
            // Slots first, then events: what is claimed can be sent at once.
            let Some(Ok(first)) = stop.run_until_cancelled(slots.clone().acquire_owned()).await else { return };
            let mut permits = vec![first];
            permits.extend(std::iter::from_fn(|| slots.clone().try_acquire_owned().ok()));
            let left_out = self.hosts().left_out(clock::monotonic());
            let claim = Claim {
                destination: Destination::Url,
                hold: self.settings.request_timeout + HOLD_MARGIN,
                limit: permits.len(),
                per_host: PER_HOST,
                without: &left_out,
            };
            let wait = match self.store.claim_outbox(&claim).await {
                Ok(events) => {
                    away.answered();
                    let idle = events.is_empty();
                    for (event, permit) in events.into_iter().zip(permits) {
                        self.hosts().began(&host_of(&event.address));
                        lifecycle.spawn(self.clone().deliver(event, permit, lifecycle.clone()));
                    }
                    if !idle {
                        continue;
                    }
                    IDLE
                }
                Err(error) => away.failed(&error),
            };
            let pause = async {
                tokio::select! {
                    () = clock::sleep(wait) => {}
                    () = self.ended.notified(), if wait == IDLE => {}
                }
            };
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
            self.hosts().forget_old(clock::monotonic());
        }
    }

    async fn deliver(self: Arc<Self>, event: DueEvent, permit: OwnedSemaphorePermit, lifecycle: Lifecycle) {
        let host = host_of(&event.address);
        let posting = post::post(&self.client, self.signer.as_ref(), &event, clock::now());
        let posted = tokio::select! {
            posted = posting => posted,
            // The claim runs out by itself.
            () = lifecycle.aborted() => return,
        };
        let host_failed = matches!(posted, Posted::Failed { host: true, .. });
        self.hosts().ended(&host, host_failed, clock::monotonic());
        let recorded = match posted {
            Posted::Delivered => {
                metrics::OUTBOX.inc(["webhook", "delivered"]);
                self.store.outbox_delivered(&[event.id]).await
            }
            Posted::Failed { error, retry_after, .. } => {
                let again_in = self.next_try(&event, retry_after);
                self.record_failures("webhook", &[(&event, error, again_in)]).await
            }
            Posted::Stopped { error } => self.record_failures("webhook", &[(&event, error, None)]).await,
        };
        if let Err(error) = recorded {
            tracing::warn!(event_id = %event.id, error = %error, "the result of a delivery could not be recorded; the event will go out again");
        }
        drop(permit);
        self.ended.notify_one();
    }

    async fn to_queues(self: Arc<Self>, lifecycle: Lifecycle) {
        let stop = lifecycle.soft_token();
        let mut away = Away::new();
        let mut refused = Waits::new(IDLE, Duration::from_secs(30));
        loop {
            let claim = Claim {
                destination: Destination::Queue,
                hold: Duration::from_secs(60) + HOLD_MARGIN,
                limit: QUEUE_CLAIM,
                per_host: QUEUE_CLAIM,
                without: &[],
            };
            let wait = match self.store.claim_outbox(&claim).await {
                Ok(events) if events.is_empty() => {
                    away.answered();
                    IDLE
                }
                Ok(events) => {
                    away.answered();
                    let sending = self.send_to_queues(&events);
                    let arrived = tokio::select! {
                        arrived = sending => arrived,
                        () = lifecycle.aborted() => return,
                    };
                    if arrived > 0 {
                        refused.reset();
                        Duration::ZERO
                    } else {
                        refused.next_wait()
                    }
                }
                Err(error) => away.failed(&error),
            };
            if stop.run_until_cancelled(clock::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Returns how many arrived.
    async fn send_to_queues(&self, events: &[DueEvent]) -> usize {
        let (delivered, failed) = queue::send(&self.send_batch, events).await;
        metrics::OUTBOX.add(["sqs", "delivered"], delivered.len() as u64);
        let mut recorded = Ok(());
        if !delivered.is_empty() {
            recorded = self.store.outbox_delivered(&delivered).await;
        }
        if !failed.is_empty() {
            let failed: Vec<_> =
                failed.into_iter().map(|(n, error)| (&events[n], error, self.next_try(&events[n], None))).collect();
            recorded = recorded.and(self.record_failures("sqs", &failed).await);
        }
        if let Err(error) = recorded {
            tracing::warn!(error = %error, "the results of a batch could not be recorded; its events will go out again");
        }
        delivered.len()
    }

    async fn record_failures(
        &self,
        sink: &str,
        failed: &[(&DueEvent, String, Option<Duration>)],
    ) -> Result<(), StoreError> {
        let mut tries = Vec::with_capacity(failed.len());
        for (event, error, again_in) in failed {
            let host = host_of(&event.address);
            let call_id = event.call_id.map(|id| id.to_string());
            if again_in.is_none() {
                metrics::OUTBOX.inc([sink, "abandoned"]);
                tracing::warn!(event_id = %event.id, call_id, host, attempts = event.attempts, error, "an outcome event is given up");
            } else {
                metrics::OUTBOX.inc([sink, "failed"]);
                tracing::debug!(event_id = %event.id, call_id, host, attempts = event.attempts, error, "an outcome event was not taken");
            }
            tries.push(FailedTry { id: event.id, again_in: *again_in, error: error.clone() });
        }
        self.store.outbox_failed(&tries).await
    }

    fn next_try(&self, event: &DueEvent, retry_after: Option<Duration>) -> Option<Duration> {
        // Spread by the event's own id, so that a host that comes back is not asked for everything at once.
        let seed = event.id.as_u64_pair().1.wrapping_add(u64::from(event.attempts));
        let unit = fastrand::Rng::with_seed(seed).f64();
        next_try(&self.settings, event.attempts, event.age, retry_after, unit)
    }

    async fn gauges(self: Arc<Self>, lifecycle: Lifecycle) {
        let stop = lifecycle.soft_token();
        loop {
            // A failure shows elsewhere; the gauges keep their last values.
            for state in self.store.outbox_state().await.unwrap_or_default() {
                let sink = match state.destination {
                    Destination::Queue => "sqs",
                    Destination::Url => "webhook",
                };
                metrics::OUTBOX_PENDING.set([sink], state.pending as f64);
                metrics::OUTBOX_OLDEST.set([sink], state.oldest_seconds);
            }
            if stop.run_until_cancelled(clock::sleep(GAUGES_EVERY)).await.is_none() {
                return;
            }
        }
    }

    fn hosts(&self) -> MutexGuard<'_, Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wait before the next try after `attempts` failed ones, or `None` when the event is given up. The last try falls on
/// the end of `give_up_after`.
fn next_try(
    settings: &config::Outcomes,
    attempts: u32,
    age: Duration,
    retry_after: Option<Duration>,
    unit: f64,
) -> Option<Duration> {
    let left = settings.give_up_after.checked_sub(age).filter(|left| !left.is_zero())?;
    let wait = wait_for(attempts.saturating_sub(1), settings.retry_initial, settings.retry_max, unit);
    Some(wait.max(retry_after.unwrap_or_default()).min(settings.retry_max).min(left))
}

/// Waits while Postgres is away, and one line in the log for it.
struct Away {
    waits: Waits,
    told: bool,
}

impl Away {
    fn new() -> Self {
        Self { waits: Waits::new(IDLE, Duration::from_secs(10)), told: false }
    }

    fn answered(&mut self) {
        self.waits.reset();
        self.told = false;
    }

    fn failed(&mut self, error: &StoreError) -> Duration {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(error = %error, "outcome events wait: the outbox cannot be read");
        }
        self.waits.next_wait()
    }
}

#[cfg(test)]
mod tests;
