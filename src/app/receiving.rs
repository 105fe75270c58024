//! Resolving the configured queues, and receiving from them.

use std::sync::Arc;
use std::time::Duration;

use super::{Failure, counters, watch};
use crate::clock;
use crate::config::Config;
use crate::delivery::Dispatcher;
use crate::health::{Health, Part, Status};
use crate::lifecycle::Lifecycle;
use crate::processors::Intake;
use crate::queue::{Consumer, ConsumerOptions, QueueInfo, QueueTarget, ResolveError, Sqs};
use crate::retry::Waits;

/// Resolves the queues and starts their receivers. A queue that is not there ends the start; one that cannot be reached
/// is asked for again in the background.
pub(super) async fn start(
    config: &Config,
    sqs: Sqs,
    intake: Intake,
    dispatcher: &Dispatcher,
    gate: tokio::sync::watch::Receiver<bool>,
    health: &Health,
    lifecycle: &Lifecycle,
) -> Result<(), Failure> {
    if config.queue.urls.is_empty() {
        tracing::warn!("no queue is configured (VOXD_QUEUES): jobs come by the API only");
        return Ok(());
    }
    let targets: Vec<QueueTarget> =
        config.queue.urls.iter().map(|text| text.parse()).collect::<Result<_, String>>().map_err(|problem| {
            Failure::BadConfiguration(format!("bad configuration: queue.urls (VOXD_QUEUES): {problem}"))
        })?;
    let handler = Arc::new(intake);
    let seed = dispatcher.replica().as_u64_pair().1;
    let options = ConsumerOptions {
        depth_interval: config.queue.depth_interval,
        ..ConsumerOptions::new(config.queue.max_pollers, config.queue.wait, seed)
    };
    let backlog = dispatcher.backlog().clone();
    let start = {
        let (sqs, health, lifecycle) = (sqs.clone(), health.clone(), lifecycle.clone());
        move |queues: Vec<QueueInfo>| {
            counters::of_queues(&queues.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>());
            let consumer = Consumer::start(&sqs, queues, &backlog, handler, gate, &options, &lifecycle);
            watch::queues(consumer, &health, &lifecycle);
        }
    };
    match resolve_all(&sqs, &targets).await {
        Ok(queues) => {
            start(queues);
        }
        Err(ResolveError::Unavailable { queue, error }) if error.is_retryable() => {
            tracing::warn!(queue, %error, "SQS is away; asking again");
            health.set(Part::Sqs, Status::Down, format!("{queue}: {error}"));
            let lifecycle_of_task = lifecycle.clone();
            lifecycle.spawn(async move {
                if let Some(queues) = resolve_until_there(&sqs, &targets, &lifecycle_of_task).await {
                    start(queues);
                }
            });
        }
        Err(error @ ResolveError::Bad(_)) => return Err(Failure::BadConfiguration(error.to_string())),
        Err(error) => return Err(Failure::Unavailable(error.to_string())),
    }
    Ok(())
}

async fn resolve_all(sqs: &Sqs, targets: &[QueueTarget]) -> Result<Vec<QueueInfo>, ResolveError> {
    let mut queues = Vec::with_capacity(targets.len());
    for target in targets {
        queues.push(sqs.resolve(target).await?);
    }
    Ok(queues)
}

async fn resolve_until_there(sqs: &Sqs, targets: &[QueueTarget], lifecycle: &Lifecycle) -> Option<Vec<QueueInfo>> {
    let mut waits = Waits::new(Duration::from_millis(500), Duration::from_secs(10));
    loop {
        tokio::select! {
            () = clock::sleep(waits.next_wait()) => {}
            () = lifecycle.stopping() => return None,
        }
        match resolve_all(sqs, targets).await {
            Ok(queues) => return Some(queues),
            Err(error) => tracing::warn!(%error, "queues are not resolved yet"),
        }
    }
}
