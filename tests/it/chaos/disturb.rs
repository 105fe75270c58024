//! The producer and the blows, side by side.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use voxd::clock;
use voxd::dev::postgres::{Cluster, StopMode};
use voxd::queue::Outgoing;

use super::plan::{Blow, Message};
use crate::harness::{Daemon, World};

/// The producer waits above this, so that the blows fall on messages of all ages and not on a full queue.
const MOST_IN_QUEUE: u64 = 200;
/// The whole run; a producer that waits longer has found a daemon that does not work any more.
const PATIENCE: Duration = Duration::from_secs(900);

/// Sends every message at least once (as SQS says so), in batches, and counts in `progress`.
pub async fn produce(world: &World, messages: &[Message], progress: &AtomicUsize) {
    let producer = world.producer();
    let begun = clock::monotonic();
    for batch in messages.chunks(10) {
        while world.depth(&world.queue).await > MOST_IN_QUEUE {
            assert!(begun.elapsed() < PATIENCE, "the queue is not worked off: {} messages", progress.load(Relaxed));
            clock::sleep(Duration::from_millis(20)).await;
        }
        let mut open: Vec<Outgoing> = batch.iter().map(|message| Outgoing::new(message.body.clone())).collect();
        while !open.is_empty() {
            let results = producer.send_batch(&open).await;
            let failed = open.into_iter().zip(results).filter(|(_, result)| result.is_err());
            open = failed.map(|(message, _)| message).collect();
        }
        progress.fetch_add(batch.len(), Relaxed);
    }
}

/// Strikes at even distances of the producer's progress. All replicas and Postgres are up when it returns.
pub async fn strike(
    world: &World,
    replicas: &mut [Replica],
    cluster: &mut Cluster,
    blows: &[Blow],
    all: usize,
    progress: &AtomicUsize,
) {
    for (number, blow) in blows.iter().enumerate() {
        let due = (number + 1) * all / (blows.len() + 1);
        while progress.load(Relaxed) < due {
            clock::sleep(Duration::from_millis(5)).await;
        }
        match *blow {
            Blow::Kill { replica, pause } => replicas[replica].kill_and_restart(world, pause).await,
            Blow::StopPostgres { pause } => {
                cluster.stop(StopMode::Immediate).await.expect("Postgres stops");
                clock::sleep(pause).await;
                cluster.start_again().await.expect("Postgres starts");
            }
        }
    }
}

/// A replica with a fixed address, so that webhooks of calls that it placed in an earlier life find it.
pub struct Replica {
    port: u16,
    daemon: Option<Daemon>,
}

impl Replica {
    pub async fn start(world: &World, port: u16) -> Self {
        let daemon = world.unready_daemon_on(port, &[("RUST_LOG", "voxd=info")]).await;
        Self { port, daemon: Some(daemon) }
    }

    pub async fn ready(mut self) -> Self {
        if let Some(daemon) = self.daemon.take() {
            self.daemon = Some(daemon.ready().await);
        }
        self
    }

    async fn kill_and_restart(&mut self, world: &World, pause: Duration) {
        if let Some(mut daemon) = self.daemon.take() {
            assert!(!daemon.has_ended(), "a replica ended by itself; its log:\n{}", daemon.log());
            daemon.kill().await;
        }
        clock::sleep(pause).await;
        *self = Self::start(world, self.port).await;
    }

    pub fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("it runs")
    }
}
