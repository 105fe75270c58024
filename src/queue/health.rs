//! Whether a queue answers, for readiness.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::clock::{self, Monotonic};

/// Receives that fail for this long in a row make a queue count as away: longer than a blip, far below the time in which
/// readiness must notice.
const AWAY_AFTER: Duration = Duration::from_secs(3);

/// The state of one queue as its receiver sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueHealth {
    pub up: bool,
    /// `receiving`, or the last error.
    pub detail: String,
    pub since: DateTime<Utc>,
    /// Of an unbroken row of failed receives, the first one.
    pub failing_since: Option<Monotonic>,
}

impl QueueHealth {
    pub(super) fn new(up: bool, detail: impl Into<String>) -> Self {
        Self { up, detail: detail.into(), since: clock::now(), failing_since: None }
    }
}

/// The receiver's side.
pub(super) struct HealthReport {
    state: watch::Sender<QueueHealth>,
    failing_since: Option<Monotonic>,
}

impl HealthReport {
    pub fn new() -> (Self, watch::Receiver<QueueHealth>) {
        let (state, reader) = watch::channel(QueueHealth::new(true, "starting"));
        (Self { state, failing_since: None }, reader)
    }

    /// Returns whether it was away before.
    pub fn answered(&mut self) -> bool {
        self.failing_since = None;
        let was_up = self.state.borrow().up;
        if !was_up || self.state.borrow().detail != "receiving" {
            self.state.send_replace(QueueHealth::new(true, "receiving"));
        }
        !was_up
    }

    /// Returns whether this made it count as away. A refusal is no blip and counts at once.
    pub fn failed(&mut self, error: &super::SqsError) -> bool {
        let since = *self.failing_since.get_or_insert_with(clock::monotonic);
        let away = !error.is_retryable() || since.elapsed() >= AWAY_AFTER;
        let was_up = self.state.borrow().up;
        if away && was_up {
            let away = QueueHealth::new(false, error.to_string());
            self.state.send_replace(QueueHealth { failing_since: Some(since), ..away });
        } else if away {
            // The reason may change while it is away; since when does not.
            self.state.send_modify(|health| health.detail = error.to_string());
        }
        away && was_up
    }
}
