//! What happens to sessions without anybody asking. Every replica does it, for the sessions of all.

use std::sync::PoisonError;
use std::time::Duration;

use uuid::Uuid;

use super::Sessions;
use crate::clock::{self, Monotonic};
use crate::lifecycle::Lifecycle;
use crate::session::EndReason;
use crate::store::StoreError;

/// Rows of one statement.
const BATCH: i64 = 500;

impl Sessions {
    /// Starts the supervised tasks. `beat`: how often replicas say that they live.
    pub fn start(&self, every: Duration, beat: Duration, lifecycle: &Lifecycle) {
        let (sweeping, purging) = (self.clone(), self.clone());
        lifecycle.spawn_critical("session sweep", async move { sweeping.sweep(every, beat).await });
        lifecycle.spawn_critical("session purge", async move { purging.purge().await });
    }

    async fn sweep(self, every: Duration, beat: Duration) {
        let stop = self.inner.lifecycle.soft_token();
        // Since when Postgres has answered us without a break. While it was away, or we were stopped, nobody's heartbeat
        // could be seen: a silence is believed once every living replica had the time for two beats.
        let mut steady: Option<Monotonic> = None;
        let mut last = clock::monotonic();
        while stop.run_until_cancelled(clock::sleep(every)).await.is_some() {
            let now = clock::monotonic();
            if now - last > every + beat {
                steady = None;
            }
            last = now;
            let since = *steady.get_or_insert(now);
            if let Err(error) = self.sweep_once(now - since > beat * 2).await {
                tracing::debug!(%error, "the sweep of sessions waits for Postgres");
                steady = None;
            }
        }
    }

    async fn sweep_once(&self, judge_replicas: bool) -> Result<(), StoreError> {
        let settings = &self.inner.settings;
        for (id, reason) in
            self.inner.store.end_overdue_sessions(settings.idle_timeout, settings.longest_session).await?
        {
            self.tell_ended(id, reason);
        }
        if judge_replicas {
            for id in self.inner.store.fail_lost_sessions(settings.replica_lost_after).await? {
                self.tell_ended(id, EndReason::ReplicaLost);
            }
        }
        // Others may have ended what runs here.
        let here: Vec<Uuid> = self.inner.live.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        if !here.is_empty() {
            for id in self.inner.store.sessions_over(&here).await? {
                self.close(id);
            }
        }
        Ok(())
    }

    async fn purge(self) {
        let stop = self.inner.lifecycle.soft_token();
        let settings = &self.inner.settings;
        let keep = |age: Duration| Some(age).filter(|age| !age.is_zero());
        let (audio, sessions) = (keep(settings.keep_audio), keep(settings.keep_sessions));
        loop {
            let mut all = 0;
            loop {
                match self.inner.store.purge_sessions(audio, sessions, BATCH).await {
                    Ok(purged) if purged.sounds + purged.rows > 0 => all += purged.sounds + purged.rows,
                    Ok(_) => break,
                    Err(error) => {
                        tracing::debug!(%error, "old sessions stay until Postgres is there");
                        break;
                    }
                }
                if stop.is_cancelled() {
                    return;
                }
            }
            if all > 0 {
                tracing::info!(rows = all, "old sessions removed");
            }
            if stop.run_until_cancelled(clock::sleep(settings.purge_interval)).await.is_none() {
                return;
            }
        }
    }
}
