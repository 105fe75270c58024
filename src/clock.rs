//! The only place that asks the machine for the time.
//!
//! Rules that depend on time take it as a parameter; services ask here. What other replicas must agree on (leases, due
//! times) is judged by the database's clock, in SQL.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// A reading of the monotonic clock, for deadlines and durations within this process.
///
/// It goes on while the process is stopped (`SIGSTOP`), which is what makes it fit for judging our own lease.
pub type Monotonic = tokio::time::Instant;

/// Wall-clock time, UTC.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn monotonic() -> Monotonic {
    tokio::time::Instant::now()
}

/// Waits for `duration`.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}
