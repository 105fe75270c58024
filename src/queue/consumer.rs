//! Starting the receivers of all queues, and what the rest of the program may see of them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::watch;

use super::backlog::Backlog;
use super::client::Sqs;
use super::deleter::Deleter;
use super::depth::DepthReader;
use super::health::{HealthReport, QueueHealth};
use super::message::BatchHandler;
use super::receiver::Receiver;
use super::resolve::QueueInfo;
use super::settle::Settler;
use crate::lifecycle::Lifecycle;

#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Most polls at once on one queue.
    pub max_pollers: usize,
    /// After the stop, polls in flight may take this long to end. Shorter than the long poll, a message may be given to a
    /// poll that nobody reads, and is seen again only after its visibility time-out.
    pub last_poll: Duration,
    /// How often queue depths are read while messages come.
    pub depth_interval: Duration,
    /// For the spread of back-offs.
    pub seed: u64,
}

impl ConsumerOptions {
    pub fn new(max_pollers: usize, wait: Duration, seed: u64) -> Self {
        Self { max_pollers, last_poll: wait + Duration::from_secs(1), depth_interval: Duration::from_secs(30), seed }
    }
}

/// The running receivers. They stop with the [`Lifecycle`]: no new polls, messages of the last ones given back, batches
/// under way ended, deletes flushed.
pub struct Consumer {
    queues: Vec<(Arc<QueueInfo>, watch::Receiver<QueueHealth>)>,
}

impl Consumer {
    /// `gate` says whether what the handler needs is there; while it is false, nothing is received.
    pub fn start(
        sqs: &Sqs,
        queues: Vec<QueueInfo>,
        backlog: &Backlog,
        handler: Arc<dyn BatchHandler>,
        gate: watch::Receiver<bool>,
        options: &ConsumerOptions,
        lifecycle: &Lifecycle,
    ) -> Self {
        let mut chance = fastrand::Rng::with_seed(options.seed);
        // All shares are known before the first poll, so that the reserves are right from the start.
        let shares: Vec<_> = queues.iter().map(|queue| backlog.share(queue.weight)).collect();
        let start = |(info, share): (QueueInfo, _)| {
            let queue = Arc::new(info);
            let deleter = Deleter::start(sqs.clone(), queue.clone(), lifecycle);
            let settler = Settler::new(sqs.clone(), queue.clone(), deleter.clone(), chance.fork());
            let active = Arc::new(AtomicBool::new(true));
            let (report, health) = HealthReport::new();
            let receiver = Receiver {
                sqs: sqs.clone(),
                queue: queue.clone(),
                share,
                gate: gate.clone(),
                handler: handler.clone(),
                settler: Arc::new(settler),
                deleter,
                lifecycle: lifecycle.clone(),
                max_pollers: options.max_pollers,
                last_poll: options.last_poll,
                active: active.clone(),
            };
            let reader = DepthReader::new(sqs.clone(), queue.clone(), active, health.clone(), options.depth_interval);
            lifecycle.spawn_critical("sqs receiver", receiver.run(report));
            lifecycle.spawn_critical("sqs depth reader", reader.run(lifecycle.soft_token()));
            (queue, health)
        };
        Self { queues: queues.into_iter().zip(shares).map(start).collect() }
    }

    /// Each queue's name and how it is, for readiness.
    pub fn health(&self) -> Vec<(String, QueueHealth)> {
        self.queues.iter().map(|(queue, health)| (queue.name.clone(), health.borrow().clone())).collect()
    }

    pub fn queues(&self) -> impl Iterator<Item = &Arc<QueueInfo>> {
        self.queues.iter().map(|(queue, _)| queue)
    }
}
