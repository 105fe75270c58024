//! Queue depth as metrics: read every so often while messages come, rarely while the queue is quiet.
//!
//! An idle queue costs three long polls a minute; reading its depth as often as a busy one's would nearly double that, and
//! an empty long poll has already said that nothing is visible.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::Sqs;
use super::health::QueueHealth;
use super::resolve::QueueInfo;
use crate::clock;
use crate::telemetry::metrics;

/// A quiet queue is read each so many intervals.
const QUIET: u32 = 10;

pub(super) struct DepthReader {
    sqs: Sqs,
    queue: Arc<QueueInfo>,
    active: Arc<AtomicBool>,
    health: watch::Receiver<QueueHealth>,
    interval: Duration,
}

impl DepthReader {
    pub fn new(
        sqs: Sqs,
        queue: Arc<QueueInfo>,
        active: Arc<AtomicBool>,
        health: watch::Receiver<QueueHealth>,
        interval: Duration,
    ) -> Self {
        Self { sqs, queue, active, health, interval }
    }

    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.read_for_ever() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn read_for_ever(&self) {
        let mut quiet = 0;
        // Messages waiting although none come: the backlog is full, or the gate is closed. That is worth seeing.
        let mut waiting = false;
        loop {
            clock::sleep(self.interval).await;
            let active = self.active.swap(false, Relaxed) || waiting;
            quiet = if active { 0 } else { quiet + 1 };
            if !self.health.borrow().up || quiet % QUIET != 0 {
                continue;
            }
            match self.sqs.depth(&self.queue.url).await {
                Ok(depth) => {
                    waiting = depth.visible > 0;
                    for (state, count) in
                        [("visible", depth.visible), ("in_flight", depth.in_flight), ("delayed", depth.delayed)]
                    {
                        metrics::SQS_QUEUE_MESSAGES.set([&self.queue.name, state], count as f64);
                    }
                }
                Err(error) => tracing::debug!(queue = self.queue.name, error = %error, "the depth could not be read"),
            }
        }
    }
}
