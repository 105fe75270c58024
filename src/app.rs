//! Wiring: a configuration becomes a running daemon.
//!
//! Start order: Postgres is watched, not waited for; queues are resolved; then receiving begins as soon as Postgres is
//! well. Stop order: receiving, sends under way, answers recorded, leases given back, connections closed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use uuid::Uuid;

use crate::clock;
use crate::config::{Config, Role};
use crate::delivery::{Dispatcher, DispatcherParts, LiveReplicas, MessageDeliveryService, VoiceDelivery, sweep};
use crate::lifecycle::Lifecycle;
use crate::outcomes::{self, Outcomes};
use crate::platforms::PlatformRegistry;
use crate::processors::{Intake, ProcessorFactory};
use crate::queue::{Consumer, ConsumerOptions, QueueInfo, QueueTarget, ResolveError, Sqs, SqsOptions};
use crate::reconcile::{self, Looker};
use crate::retry::Waits;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics;
use crate::webhooks::Webhooks;

/// Why the daemon did not start, or did not end well. Carries the exit code's meaning.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// 64
    #[error("{0}")]
    BadConfiguration(String),
    /// 69
    #[error("{0}")]
    Unavailable(String),
    /// 1
    #[error("{0}")]
    Failed(String),
}

/// How often Postgres is asked whether it is there, and how long it may take: together below the two seconds in which
/// readiness must notice.
const CHECK_EVERY: Duration = Duration::from_millis(500);
const CHECK_WITHIN: Duration = Duration::from_millis(1000);
/// A pool that fails for so long while fresh connections work is rebuilt.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// Runs until `lifecycle` is told to stop (or a task dies), then drains.
pub async fn serve(config: Config, lifecycle: Lifecycle) -> Result<(), Failure> {
    let config = Arc::new(config);
    let replica = Uuid::now_v7();
    let store = Store::new(&config.database).map_err(Failure::BadConfiguration)?;
    let registry = PlatformRegistry::from_config(&config);
    for (name, reason) in registry.off() {
        tracing::info!(platform = name, reason, "platform is off");
    }
    if config.policy.calling_window.is_empty() {
        tracing::warn!("policy.calling_window is not set: jobs without a window of their own are sent at any hour");
    }
    let voice = VoiceDelivery::new(registry.clone(), &config)
        .map_err(|problem| Failure::BadConfiguration(format!("policy.calling_window: {problem}")))?;
    let delivery = MessageDeliveryService::new(voice.clone());
    let (gate_writer, gate) = watch::channel(false);
    lifecycle.spawn_critical("postgres watch", watch_postgres(store.clone(), gate_writer, lifecycle.clone()));
    let webhooks = Webhooks::new(store.clone(), Arc::new(registry.clone()), lifecycle.clone(), config.poller.interval);
    let sweeper = webhooks.clone();
    let every = config.worker.sweep_interval;
    lifecycle.spawn_critical("webhook sweep", async move { sweeper.sweep(every).await });

    let mut dispatcher = None;
    if config.has_role(Role::Worker) {
        let live_replicas = LiveReplicas::default();
        let parts = DispatcherParts {
            store: store.clone(),
            voice,
            config: config.clone(),
            replica,
            live_replicas: live_replicas.clone(),
            lifecycle: lifecycle.clone(),
            seed: replica.as_u64_pair().1,
        };
        let started = Dispatcher::start(parts);
        lifecycle.spawn_critical(
            "heartbeat",
            heartbeat(store.clone(), config.clone(), replica, live_replicas, lifecycle.clone()),
        );
        lifecycle.spawn_critical("sweeper", sweep(store.clone(), started.clone(), every, lifecycle.clone()));
        let looker = Looker::new(store.clone(), registry.clone(), config.clone(), lifecycle.clone());
        lifecycle.spawn_critical("looker", looker.run());
        lifecycle.spawn_critical("ledger gauges", reconcile::watch_ledger(store.clone(), lifecycle.clone()));
        dispatcher = Some(started);
    }
    // Commands that need no queue run without a region; outcome events to a queue do not.
    let sqs = match Sqs::connect(SqsOptions::from_config(&config.queue)).await {
        Ok(sqs) => Some(sqs),
        Err(error) if config.queue.urls.is_empty() && config.outcome_queue().is_none() => {
            tracing::debug!(%error, "SQS is not used");
            None
        }
        Err(error) => return Err(Failure::BadConfiguration(error.to_string())),
    };
    if config.has_role(Role::Worker) {
        let send = match &sqs {
            Some(sqs) => outcomes::through_sqs(sqs.clone()),
            None => Arc::new(|_, events: Vec<_>| {
                let refused = events.iter().map(|_| Err("no AWS region is set".to_owned())).collect();
                Box::pin(std::future::ready(refused)) as BoxFuture<'static, _>
            }),
        };
        Outcomes::new(&config, store.clone(), send).map_err(Failure::BadConfiguration)?.start(&lifecycle);
    }
    let processors = ProcessorFactory::new(&store, &delivery, dispatcher.as_ref());
    if let (Some(dispatcher), Some(sqs)) = (&dispatcher, sqs) {
        start_receiving(&config, &store, sqs, processors.clone(), dispatcher, gate, &lifecycle).await?;
    }
    tracing::info!(%replica, version = env!("CARGO_PKG_VERSION"), "serving");

    lifecycle.stopping().await;
    tracing::info!("stopping: no new work");
    let in_time = lifecycle.drain(config.worker.shutdown_grace).await;
    give_back(&store, replica).await;
    store.close().await;
    match lifecycle.failure() {
        Some(failure) => Err(Failure::Failed(failure.to_owned())),
        None if !in_time => Err(Failure::Failed("work was left over at the end of worker.shutdown_grace".into())),
        None => Ok(()),
    }
}

async fn give_back(store: &Store, replica: Uuid) {
    match store.release_all(replica).await {
        Ok(released) => tracing::info!(released, "leases given back"),
        Err(error) => tracing::warn!(%error, "leases could not be given back; they run out instead"),
    }
    if let Err(error) = store.leave(replica).await {
        tracing::debug!(%error, "the heartbeat row stays until it is stale");
    }
}

/// Resolves the queues and starts their receivers. A queue that is not there ends the start; one that cannot be reached
/// is asked for again in the background.
async fn start_receiving(
    config: &Arc<Config>,
    store: &Store,
    sqs: Sqs,
    processors: ProcessorFactory,
    dispatcher: &Dispatcher,
    gate: watch::Receiver<bool>,
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
    let handler = Arc::new(Intake::new(store.clone(), processors, config.outcome_queue().map(str::to_owned)));
    let options =
        ConsumerOptions::new(config.queue.max_pollers, config.queue.wait, dispatcher.replica().as_u64_pair().1);
    let backlog = dispatcher.backlog().clone();
    let start = {
        let (sqs, lifecycle) = (sqs.clone(), lifecycle.clone());
        move |queues: Vec<QueueInfo>| Consumer::start(&sqs, queues, &backlog, handler, gate, &options, &lifecycle)
    };
    match resolve_all(&sqs, &targets).await {
        Ok(queues) => {
            start(queues);
        }
        Err(ResolveError::Unavailable { queue, error }) if error.is_retryable() => {
            tracing::warn!(queue, %error, "SQS is away; asking again");
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

/// Opens the gate while Postgres is there, durable and migrated; closes it within two seconds when it is not.
async fn watch_postgres(store: Store, gate: watch::Sender<bool>, lifecycle: Lifecycle) {
    let stop = lifecycle.soft_token();
    let mut migrated = false;
    let mut down_since = None;
    while !stop.is_cancelled() {
        let state = match store.check(CHECK_WITHIN).await {
            Ok(()) if migrated => Ok(()),
            Ok(()) => match store.missing_migrations().await {
                Ok(0) => {
                    migrated = true;
                    Ok(())
                }
                Ok(missing) => Err(StoreError::Refused(format!("{missing} migrations are missing, run: voxd migrate"))),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let up = state.is_ok();
        if up != *gate.borrow() || (!up && down_since.is_none()) {
            match &state {
                Ok(()) => tracing::info!("Postgres is there"),
                Err(error) => tracing::error!(%error, "Postgres is not usable: no receiving, no sending"),
            }
        }
        gate.send_if_modified(|open| std::mem::replace(open, up) != up);
        if up {
            down_since = None;
        } else {
            let since = *down_since.get_or_insert_with(clock::monotonic);
            if clock::monotonic() - since > STUCK_AFTER && store.rebuild_if_stuck().await {
                metrics::DB_POOL_REBUILDS.inc([]);
                tracing::warn!("the connection pool was stuck and is rebuilt");
                down_since = None;
            }
        }
        let (in_use, idle, max) = store.pool_state();
        for (state, count) in [("in_use", in_use), ("idle", idle), ("max", max)] {
            metrics::DB_CONNECTIONS.set([state], f64::from(count));
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = clock::sleep(CHECK_EVERY) => {}
        }
    }
}

async fn heartbeat(store: Store, config: Arc<Config>, replica: Uuid, live: LiveReplicas, lifecycle: Lifecycle) {
    let stop = lifecycle.soft_token();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let roles: Vec<String> = config
        .worker
        .roles
        .iter()
        .map(|role| if *role == Role::Worker { "worker" } else { "http" }.to_owned())
        .collect();
    while !stop.is_cancelled() {
        match store.heartbeat(replica, &host, &roles, config.worker.lease).await {
            Ok(workers) => {
                live.set(workers);
                metrics::REPLICAS.set([], f64::from(workers));
            }
            Err(error) => tracing::debug!(%error, "the heartbeat waits for Postgres"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = clock::sleep(config.worker.lease / 3) => {}
        }
    }
}
