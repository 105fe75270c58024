//! Claims what is due or orphaned, and doubts attempts whose sender is gone.

use std::time::Duration;

use super::dispatcher::{Dispatcher, Ready};
use crate::clock;
use crate::lifecycle::Lifecycle;
use crate::store::{Result, Store};
use crate::telemetry::metrics;

/// Calls claimed in one go, at most.
const BATCH: usize = 100;

/// Sweeps every `interval`, and again at once while it finds full batches.
pub async fn sweep(store: Store, dispatcher: Dispatcher, interval: Duration, lifecycle: Lifecycle) {
    let stop = lifecycle.soft_token();
    while !stop.is_cancelled() {
        let more = match round(&store, &dispatcher).await {
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

async fn round(store: &Store, dispatcher: &Dispatcher) -> Result<bool> {
    let doubted = store.doubt_orphans(BATCH).await?;
    for (call_id, attempt_id) in &doubted {
        metrics::LEASE_TAKEOVERS.inc([]);
        tracing::warn!(%call_id, %attempt_id, "in doubt: whoever was sending is gone");
    }
    let room = dispatcher.backlog().available_permits().min(BATCH);
    if room == 0 {
        return Ok(doubted.len() == BATCH);
    }
    let calls = store.claim_due(dispatcher.replica(), dispatcher.lease(), room).await?;
    let full = calls.len() == room;
    for call in calls {
        // Places may have gone to fresh messages meanwhile; then the call waits here, with its lease.
        let Ok(place) = dispatcher.backlog().clone().acquire_owned().await else { return Ok(false) };
        dispatcher.submit(Ready { call, place, since: clock::monotonic() }).await;
    }
    Ok(full || doubted.len() == BATCH)
}
