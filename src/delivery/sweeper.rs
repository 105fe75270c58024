//! Claims what is due or orphaned, ends what is too late, and doubts attempts whose sender is gone.

use std::time::Duration;

use super::dispatcher::{Dispatcher, PLATFORM_OFF_WAIT};
use crate::call::CallStatus;
use crate::clock;
use crate::lifecycle::Lifecycle;
use crate::queue::Share;
use crate::store::{Result, Store};
use crate::telemetry::metrics;

/// Calls claimed in one go, at most.
const BATCH: usize = 100;
const ROOM_WAIT: Duration = Duration::from_millis(200);
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Sweeps every `interval`, and again at once while it finds full batches.
pub async fn sweep(store: Store, dispatcher: Dispatcher, interval: Duration, lifecycle: Lifecycle) {
    let stop = lifecycle.soft_token();
    let share = dispatcher.backlog().share(1);
    let mut tidied = None;
    while !stop.is_cancelled() {
        if tidied.is_none_or(|at| clock::monotonic() >= at + TIDY_EVERY) {
            tidied = Some(clock::monotonic());
            if let Err(error) = tidy(&store, &dispatcher).await {
                tracing::debug!(%error, "tidying waits for Postgres");
            }
        }
        let more = match round(&store, &dispatcher, &share).await {
            Ok(more) => more,
            Err(error) => {
                tracing::debug!(%error, "the sweep waits for Postgres");
                false
            }
        };
        if !more {
            tokio::select! {
                () = stop.cancelled() => {}
                () = clock::sleep(interval) => {}
            }
        }
    }
}

async fn round(store: &Store, dispatcher: &Dispatcher, share: &Share) -> Result<bool> {
    let doubted = store.doubt_orphans(BATCH).await?;
    for (call_id, attempt_id) in &doubted {
        metrics::LEASE_TAKEOVERS.inc([]);
        tracing::warn!(%call_id, %attempt_id, "in doubt: whoever was sending is gone");
    }
    metrics::WORKER_BACKLOG.set([], dispatcher.backlog().held() as f64);
    metrics::WORKER_BACKLOG_LIMIT.set([], dispatcher.backlog().limit() as f64);
    let expired = store.expire_due(BATCH).await?;
    for (call_id, platform) in &expired {
        metrics::CALLS_FINISHED.inc([platform, CallStatus::Expired.as_str()]);
        tracing::info!(%call_id, "expired before it could be sent");
    }
    let full_of_doubt = doubted.len() == BATCH || expired.len() == BATCH;
    // A full backlog must not hold up the doubts of the next round.
    let Ok(places) = tokio::time::timeout(ROOM_WAIT, share.acquire(BATCH, Duration::ZERO)).await else {
        return Ok(full_of_doubt);
    };
    let calls = store.claim_due(dispatcher.replica(), dispatcher.lease(), places.len()).await?;
    let full = calls.len() == places.len();
    dispatcher.submit_due(calls.into_iter().zip(places).collect()).await;
    Ok(full || full_of_doubt)
}

/// Lines of platforms that are off here, and counts that are too old to matter.
async fn tidy(store: &Store, dispatcher: &Dispatcher) -> Result<()> {
    let served: Vec<String> = dispatcher.platforms().map(str::to_owned).collect();
    while store.leave_dead_lines(&served, PLATFORM_OFF_WAIT, 1000).await? == 1000 {}
    store.forget_old_paces().await
}
