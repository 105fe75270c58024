//! The front door of the tests: a real Postgres, a real SQS wire protocol, a simulated Bland AI, and the real binary.
//!
//! Each [`World`] has a fresh database, its own simulators and its own queues. `voxd serve` runs as a child process, so a
//! test can kill, stop and continue it as the world would.

mod api;
mod daemon;
mod postgres;
mod receiver;
mod world;

pub use api::{Api, Reply, reply};
pub use daemon::Daemon;
pub use postgres::{database, own_cluster};
pub use receiver::{Receiver, status};
pub use world::{World, WorldOptions, call_event, create_queue, free_port, number};

use std::time::Duration;

use voxd::clock;

/// How long anything may take that names no time of its own.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Polls until `probe` gives something; panics with `what` after a generous deadline. Nothing depends on how fast it is.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, &mut probe).await
}

/// As [`eventually`], for promises that name a time.
pub async fn within<T>(limit: Duration, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = clock::monotonic() + limit;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(clock::monotonic() < deadline, "not within {limit:?}: {what}");
        clock::sleep(Duration::from_millis(20)).await;
    }
}
