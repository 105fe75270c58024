//! Start and stop of everything that runs.
//!
//! Stopping has two steps. The soft token says: take no new work. Whoever holds work finishes it. The hard token, given
//! at the deadline or at a second signal, says: leave now. A long-lived task that ends or panics while nobody asked it to
//! is a crash, and a crash is a shutdown with a non-zero exit.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Shared by all tasks of one running program (or of one simulator in a test). Cheap to clone.
#[derive(Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
    failure: Arc<OnceLock<String>>,
}

impl Lifecycle {
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a task that should live as long as the program. If it ends or panics before shutdown was asked for, shutdown
    /// begins and [`Lifecycle::failure`] names the task.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    pub fn spawn_critical(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let guard = CrashGuard { lifecycle: self.clone(), name };
        tokio::spawn(self.tracker.track_future(async move {
            let _guard = guard;
            task.await;
        }))
    }

    /// Runs a piece of work that ends by itself; shutdown waits for it.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        tokio::spawn(self.tracker.track_future(task))
    }

    /// `SIGTERM` and `SIGINT` begin the shutdown; a second one ends it at once.
    pub fn stop_on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (soft, hard) = (self.soft.clone(), self.hard.clone());
        // Not tracked: it waits for a second signal that mostly does not come.
        #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
        tokio::spawn(async move {
            for token in [soft, hard] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(())
    }

    /// Take no new work from now on.
    pub fn begin_shutdown(&self) {
        self.soft.cancel();
    }

    /// Leave now, whatever is under way.
    pub fn abort(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    pub fn is_stopping(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Resolves when no new work should be taken.
    pub async fn stopping(&self) {
        self.soft.cancelled().await;
    }

    /// Resolves when everything should be left at once.
    pub async fn aborted(&self) {
        self.hard.cancelled().await;
    }

    pub fn soft_token(&self) -> CancellationToken {
        self.soft.clone()
    }

    pub fn hard_token(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Waits for all tasks; after `grace` the hard token is given, and a second later the wait ends anyway.
    ///
    /// Returns whether everything ended within the grace.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.soft.cancel();
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait()).await.is_ok() {
            return true;
        }
        self.hard.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(1), self.tracker.wait()).await;
        false
    }

    /// The critical task that ended on its own, if one did.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

struct CrashGuard {
    lifecycle: Lifecycle,
    name: &'static str,
}

impl Drop for CrashGuard {
    fn drop(&mut self) {
        if !self.lifecycle.soft.is_cancelled() {
            let how = if std::thread::panicking() { "panicked" } else { "ended" };
            let _ = self.lifecycle.failure.set(format!("task {} {how}", self.name));
            self.lifecycle.soft.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_critical_task_that_ends_stops_the_program() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn_critical("poller", async {});
        lifecycle.stopping().await;
        assert_eq!(lifecycle.failure(), Some("task poller ended"));
    }

    #[tokio::test]
    async fn a_critical_task_that_ends_after_the_signal_is_no_failure() {
        let lifecycle = Lifecycle::new();
        let other = lifecycle.clone();
        lifecycle.spawn_critical("poller", async move { other.stopping().await });
        assert!(lifecycle.drain(Duration::from_secs(5)).await);
        assert_eq!(lifecycle.failure(), None);
    }
}
