//! Looking at attempts: doubtful ones are looked up, placed ones are polled, cancelled ones are ended, those that wait in their
//! platform's queue until they may not be dialled any more are taken back (`queued`), and ended ones of which too little was
//! told are asked for again.
//!
//! One loop claims attempts that are due (a row is due again by itself when whoever claimed it dies), asks the platform
//! outside of any transaction, and applies what it learned by the same function as a webhook.

mod queued;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::call::policy::CallingPolicy;
use crate::call::{AttemptState, CallUpdate, Facts};
use crate::clock;
use crate::config::Config;
use crate::lifecycle::Lifecycle;
use crate::platforms::{AttemptRef, Lookup, PlacedCall, Platform, PlatformError, PlatformRegistry};
use crate::store::looks::{DoubtStep, DueLook};
use crate::store::updates::{Applied, ToldBy};
use crate::store::{Result, Store, StoreError};
use crate::telemetry::metrics;

/// Looks under way at once on this replica.
const CONCURRENCY: usize = 16;
/// Between look-ups of a doubt that nobody could settle yet; doubles up to a minute.
const LOOK_UP_WAIT: Duration = Duration::from_secs(2);
const LOOK_UP_WAIT_MAX: Duration = Duration::from_secs(60);

const GAUGES_EVERY: Duration = Duration::from_secs(2);
const GAUGES_EVERY_AT_MOST: Duration = Duration::from_secs(5);
/// How long looks under way may go on after shutdown began.
const LAST_LOOKS: Duration = Duration::from_secs(3);

/// Looks at attempts. Cheap to clone.
#[derive(Clone)]
pub struct Looker {
    store: Store,
    registry: PlatformRegistry,
    config: Arc<Config>,
    slots: Arc<Semaphore>,
    lifecycle: Lifecycle,
    policy: Arc<CallingPolicy>,
}

impl Looker {
    /// `policy` says until when a call that waits in its platform's queue may be dialled.
    pub fn new(
        store: Store,
        registry: PlatformRegistry,
        config: Arc<Config>,
        lifecycle: Lifecycle,
        policy: CallingPolicy,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(CONCURRENCY));
        Self { store, registry, config, slots, lifecycle, policy: Arc::new(policy) }
    }

    /// Runs until shutdown begins; looks under way get a little longer.
    pub async fn run(self) {
        let stop = self.lifecycle.soft_token();
        while !stop.is_cancelled() {
            let room = self.slots.available_permits();
            if room == 0 {
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = self.slots.acquire() => {}
                }
                continue;
            }
            let found = self.store.claim_looks(self.hold(), room).await.unwrap_or_else(|error| {
                tracing::debug!(%error, "looking waits for Postgres");
                Vec::new()
            });
            let more = found.len() == room;
            for due in found {
                let Ok(slot) = self.slots.clone().acquire_owned().await else { return };
                let looker = self.clone();
                self.lifecycle.spawn(async move {
                    tokio::select! {
                        () = looker.look(due) => {}
                        () = looker.too_late() => {}
                    }
                    drop(slot);
                });
            }
            if !more {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = clock::sleep(self.config.worker.sweep_interval) => {}
                }
            }
        }
    }

    /// A look cut short loses nothing: its claim runs out, and the attempt is due again.
    async fn too_late(&self) {
        self.lifecycle.stopping().await;
        clock::sleep(LAST_LOOKS).await;
    }

    /// A look may take a listing and its details.
    fn hold(&self) -> Duration {
        let slowest = self.config.platforms.values().map(|platform| platform.request_timeout).max();
        slowest.unwrap_or(Duration::from_secs(30)) * 4
    }

    async fn look(&self, due: DueLook) {
        let span = tracing::info_span!("look", call_id = %due.call_id, attempt_id = %due.attempt_id);
        let work = async {
            let platform = match self.registry.get(&due.platform) {
                Ok(platform) => platform.clone(),
                Err(unavailable) => {
                    tracing::warn!(%unavailable, "an attempt cannot be looked at");
                    return self.cannot_look(&due, &unavailable.to_string()).await;
                }
            };
            match due.state {
                AttemptState::InDoubt => self.look_up(&platform, &due).await,
                ended if ended.is_outcome() => self.late_look(&platform, &due).await,
                _ => self.poll(&platform, &due).await,
            }
        };
        if let Err(error) = tracing::Instrument::instrument(work, span).await {
            // The claim runs out and the attempt is due again.
            tracing::warn!(attempt_id = %due.attempt_id, %error, "a look was not recorded");
        }
    }

    async fn look_up(&self, platform: &Arc<dyn Platform>, due: &DueLook) -> Result<()> {
        let lookup = platform.find_call(&attempt(due)).await;
        let name = platform.name();
        let step = match lookup {
            Lookup::Found(update) => {
                metrics::LOOKUPS.inc([name, "found"]);
                return self.found(name, due, *update).await;
            }
            Lookup::Absent { evidence } => {
                metrics::LOOKUPS.inc([name, "absent"]);
                if due.settled {
                    let interval = self.config.reconcile.listing_interval;
                    self.store.note_absence(due.attempt_id, due.looks, &evidence, interval).await?
                } else {
                    // Somebody could still be sending: it proves nothing yet.
                    self.store.look_again(due.attempt_id, self.look_up_wait(due)).await?;
                    DoubtStep::Waiting
                }
            }
            Lookup::Inconclusive { reason } => {
                metrics::LOOKUPS.inc([name, "inconclusive"]);
                let give_up_after = self.config.reconcile.give_up_after;
                self.store.note_inconclusive(due.attempt_id, &reason, self.look_up_wait(due), give_up_after).await?
            }
        };
        match step {
            DoubtStep::Unknown => {
                tracing::error!("unknown: looking up did not settle it, an operator must (voxd calls settle)")
            }
            DoubtStep::Redial => tracing::warn!("absence proven: the call is scheduled again"),
            DoubtStep::Waiting | DoubtStep::Settled => {}
        }
        Ok(())
    }

    /// The platform is off here. That ends as every silence of a platform does, should it stay so.
    async fn cannot_look(&self, due: &DueLook, why: &str) -> Result<()> {
        if due.state.is_outcome() {
            return self.store.no_more_looks(due.attempt_id).await;
        }
        if due.state != AttemptState::InDoubt {
            return self.still_live(&due.platform, due).await;
        }
        let give_up_after = self.config.reconcile.give_up_after;
        self.store.note_inconclusive(due.attempt_id, why, LOOK_UP_WAIT_MAX, give_up_after).await?;
        Ok(())
    }

    fn look_up_wait(&self, due: &DueLook) -> Duration {
        let doubled = LOOK_UP_WAIT.saturating_mul(1 << due.looks.min(10));
        doubled.min(LOOK_UP_WAIT_MAX).min(self.config.reconcile.listing_interval)
    }

    /// A call that exists is at least placed, whatever state the listing shows for it.
    async fn found(&self, platform: &'static str, due: &DueLook, update: CallUpdate) -> Result<()> {
        let placed = CallUpdate {
            attempt_id: Some(due.attempt_id),
            platform_call_id: update.platform_call_id.clone(),
            state: Some(AttemptState::Placed),
            ..CallUpdate::default()
        };
        let applied = self.store.apply(platform, &placed, ToldBy::Reconciler, Duration::ZERO).await?;
        tracing::info!(?applied, "found at the platform");
        if update.state.is_some_and(|state| state != AttemptState::Placed) || !update.facts.is_empty() {
            let update = CallUpdate { attempt_id: Some(due.attempt_id), ..update };
            let applied = self.store.apply(platform, &update, ToldBy::Reconciler, self.config.poller.interval).await?;
            applied.count(platform, &update);
        }
        Ok(())
    }

    async fn poll(&self, platform: &Arc<dyn Platform>, due: &DueLook) -> Result<()> {
        let name = platform.name();
        let Some(platform_call_id) = &due.platform_call_id else {
            // Settled as placed by an operator, or told by a webhook without an id.
            return match platform.find_call(&attempt(due)).await {
                Lookup::Found(update) => self.found(name, due, *update).await,
                Lookup::Absent { .. } | Lookup::Inconclusive { .. } => self.still_live(name, due).await,
            };
        };
        let call = PlacedCall { id: platform_call_id.clone(), handles: due.handles.clone() };
        if due.cancel_requested && !due.end_requested {
            self.end(platform, due, &call).await?;
        }
        match platform.call_status(&call).await {
            Ok(update) => {
                let update = CallUpdate { attempt_id: Some(due.attempt_id), ..update };
                if update.state == Some(AttemptState::Placed) && platform.capabilities().can_cancel_queued {
                    return self.still_queued(platform, due, &call, update).await;
                }
                let (update, applied) = self.apply_poll(name, due, update).await?;
                applied.count(name, &update);
                let ended = match &applied {
                    Applied::Moved { state, .. } => !state.is_live(),
                    _ => false,
                };
                metrics::POLLS
                    .inc([name, if matches!(applied, Applied::Moved { .. }) { "changed" } else { "unchanged" }]);
                if !ended {
                    self.still_live(name, due).await?;
                }
                Ok(())
            }
            Err(error) => {
                metrics::POLLS.inc([name, if error == PlatformError::NotFound { "missing" } else { "error" }]);
                tracing::warn!(%error, "polling failed");
                self.still_live(name, due).await
            }
        }
    }

    /// The call has ended, and its cost and transcript did not come: they are asked for, a cost that is rated late some more
    /// times.
    async fn late_look(&self, platform: &Arc<dyn Platform>, due: &DueLook) -> Result<()> {
        let name = platform.name();
        if let Some(id) = &due.platform_call_id {
            let call = PlacedCall { id: id.clone(), handles: due.handles.clone() };
            match platform.call_status(&call).await {
                Ok(update) => {
                    let update = CallUpdate { attempt_id: Some(due.attempt_id), ..update };
                    let (update, applied) = self.apply_poll(name, due, update).await?;
                    applied.count(name, &update);
                    metrics::POLLS.inc([name, "late"]);
                }
                // Its claim runs out, and it is asked for again.
                Err(PlatformError::Temporary(why)) if due.age < self.config.poller.give_up_after => {
                    tracing::debug!(%why, "an ended call cannot be asked about now");
                    return Ok(());
                }
                Err(error) => tracing::debug!(%error, "an ended call cannot be asked about any more"),
            }
        }
        self.store.look_late_again(due.attempt_id, self.config.poller.interval).await
    }

    async fn end(&self, platform: &Arc<dyn Platform>, due: &DueLook, call: &PlacedCall) -> Result<()> {
        let result = match platform.end_call(call).await {
            Ok(()) => "ended".to_owned(),
            Err(PlatformError::Temporary(why)) => {
                // Tried again with the next look; the call may end by itself meanwhile.
                tracing::warn!(%why, "the platform could not be told to end the call");
                return Ok(());
            }
            Err(error) => error.to_string(),
        };
        tracing::info!(%result, "end of the call requested");
        self.store.note_end_requested(due.attempt_id, &result).await
    }

    /// Facts that the database refuses (a cost beyond its column, say) must not keep the call from ending.
    async fn apply_poll(&self, platform: &str, due: &DueLook, update: CallUpdate) -> Result<(CallUpdate, Applied)> {
        let wait = self.poll_wait(due);
        match self.store.apply(platform, &update, ToldBy::Poller, wait).await {
            Err(StoreError::Refused(why)) if !update.facts.is_empty() => {
                tracing::error!(why, "the ledger refuses what the platform tells; only the state is taken");
                let update = CallUpdate { facts: Facts::default(), ..update };
                let applied = self.store.apply(platform, &update, ToldBy::Poller, wait).await?;
                Ok((update, applied))
            }
            applied => Ok((update, applied?)),
        }
    }

    /// Looks again later; a call of which nothing was heard for too long is lost by the platform.
    async fn still_live(&self, platform: &str, due: &DueLook) -> Result<()> {
        if due.age < self.config.poller.give_up_after {
            return self.store.look_again(due.attempt_id, self.poll_wait(due)).await;
        }
        let lost = CallUpdate {
            attempt_id: Some(due.attempt_id),
            state: Some(AttemptState::Failed),
            reason: Some("lost_by_platform".into()),
            ..CallUpdate::default()
        };
        let applied = self.store.apply(platform, &lost, ToldBy::Poller, Duration::ZERO).await?;
        applied.count(platform, &lost);
        tracing::error!("the platform never told how the call ended");
        Ok(())
    }

    /// A fifth of the call's age, between the interval and its maximum; soon after a request to end it.
    fn poll_wait(&self, due: &DueLook) -> Duration {
        let poller = &self.config.poller;
        if due.cancel_requested && due.looks < 20 {
            return LOOK_UP_WAIT.min(poller.interval);
        }
        (due.age / 5).clamp(poller.interval, poller.max_interval.max(poller.interval))
    }
}

/// What calls commonly wait for; others (a platform's own reasons) show when they come.
const WAITS: &[&str] = &[
    "not_before",
    "window",
    "retry",
    "number_busy",
    "order",
    "rate",
    "cap",
    "budget",
    "breaker",
    "rate_limited",
    "connect_failed",
];

fn attempt(due: &DueLook) -> AttemptRef {
    AttemptRef {
        attempt_id: due.attempt_id,
        call_id: due.call_id,
        to: due.to.clone(),
        from: due.from.clone(),
        committed_at: due.committed_at,
        settled_at: due.settled_at,
        platform_call_id: due.platform_call_id.clone(),
        bound: due.bound.clone(),
    }
}

/// Keeps the gauges of the ledger fresh.
pub async fn watch_ledger(store: Store, lifecycle: Lifecycle) {
    let stop = lifecycle.soft_token();
    let mut statuses = Series::default();
    // There from the start, so that a graph begins at zero and not with the first wait.
    let mut reasons = Series(WAITS.iter().map(|reason| (*reason).to_owned()).collect());
    while !stop.is_cancelled() {
        let begun = clock::monotonic();
        if let Ok(state) = store.ledger_state().await {
            let now = |status: &str| state.by_status.get(status).copied().unwrap_or_default() as f64;
            metrics::CALLS_IN_DOUBT.set([], now("in_doubt"));
            metrics::CALLS_UNKNOWN.set([], now("unknown"));
            metrics::OLDEST_OPEN_CALL.set([], state.oldest_open_seconds);
            statuses.set(&metrics::CALLS, state.by_status);
            reasons.set(&metrics::CALLS_WAITING, state.waiting);
        }
        // Counting a very long queue takes its time; it may take a twentieth of Postgres's. A server that was away is no
        // reason for old numbers.
        let rest = ((clock::monotonic() - begun) * 20).clamp(GAUGES_EVERY, GAUGES_EVERY_AT_MOST);
        tokio::select! {
            () = stop.cancelled() => {}
            () = clock::sleep(rest) => {}
        }
    }
}

/// A gauge's series by label: one that is not told any more goes to zero instead of staying at its last value.
#[derive(Default)]
struct Series(BTreeSet<String>);

impl Series {
    fn set(&mut self, gauge: &metrics::Gauge<1>, values: BTreeMap<String, i64>) {
        self.0.iter().filter(|label| !values.contains_key(*label)).for_each(|label| gauge.set([label], 0.0));
        for (label, value) in values {
            gauge.set([&label], value as f64);
            self.0.insert(label);
        }
    }
}
