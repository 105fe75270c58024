//! Wiring: a configuration becomes a running daemon.
//!
//! Start order: Postgres is watched, not waited for; queues are resolved; then receiving begins as soon as Postgres is
//! well. Stop order: receiving, sends under way, answers recorded, leases given back, connections closed.

mod counters;
mod receiving;
mod systemd;
mod watch;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::call::price;
use crate::clock;
use crate::config::{Config, Role};
use crate::delivery::{Dispatcher, DispatcherParts, MessageDeliveryService, VoiceDelivery, sweep, watch_costs};
use crate::health::{Health, Part};
use crate::http::{self, HttpState};
use crate::lifecycle::Lifecycle;
use crate::outcomes::{self, Outcomes};
use crate::platforms::PlatformRegistry;
use crate::processors::{Intake, ProcessorFactory};
use crate::queue::{Sqs, SqsOptions};
use crate::realtime::Sessions;
use crate::reconcile::{self, Looker};
use crate::speech::registry::SpeechRegistry;
use crate::speech_jobs::SpeechWorker;
use crate::store::Store;
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

/// What whoever starts the daemon in its own process brings along instead of having it made from the settings.
#[derive(Default)]
pub struct Given {
    /// The side port.
    pub listener: Option<TcpListener>,
    pub sqs: Option<SqsOptions>,
}

/// Runs until `lifecycle` is told to stop (or a task dies), then drains.
pub async fn serve(config: Config, lifecycle: Lifecycle) -> Result<(), Failure> {
    serve_with(config, Given::default(), lifecycle).await
}

/// [`serve`] with parts of the caller's own.
pub async fn serve_with(config: Config, given: Given, lifecycle: Lifecycle) -> Result<(), Failure> {
    // Before anything that counts.
    let metrics = metrics::install();
    let config = Arc::new(config);
    let replica = Uuid::now_v7();
    let store =
        Store::new(&config.database).map_err(Failure::BadConfiguration)?.with_prices(price::prices(&config.costs));
    let registry = Arc::new(PlatformRegistry::from_config(&config));
    counters::start(&config, &registry);
    // The port is ours before anything else happens, so that one in use is told at once.
    let listener = match given.listener {
        Some(listener) => listener,
        None => listen(&config).await?,
    };
    let health = health(&config, &registry);
    for (name, reason) in registry.off() {
        tracing::info!(platform = name, reason, "platform is off");
    }
    let voice = VoiceDelivery::new(registry.as_ref().clone(), &config).map_err(Failure::BadConfiguration)?;
    if config.policy.calling_window.is_empty() {
        tracing::warn!("policy.calling_window is not set: jobs without a window of their own are sent at any hour");
    }
    let policy = Arc::new(voice.policy().clone());
    let delivery = MessageDeliveryService::new(voice.clone());
    let gate = watch::postgres(&store, &health, &lifecycle);
    watch::platforms(&registry, &health, &lifecycle);
    let webhooks = Webhooks::new(store.clone(), registry.clone(), lifecycle.clone(), config.poller.interval);
    let sweeper = webhooks.clone();
    let every = config.worker.sweep_interval;
    lifecycle.spawn_critical("webhook sweep", async move { sweeper.sweep(every).await });

    lifecycle.spawn_critical("heartbeat", heartbeat(store.clone(), config.clone(), replica, lifecycle.clone()));
    let speech = SpeechRegistry::from_config(&config, &lifecycle);
    let sessions = Sessions::new(store.clone(), speech.clone(), &config, replica, lifecycle.clone());
    sessions.start(every, config.sessions.heartbeat(config.worker.lease), &lifecycle);

    let mut dispatcher = None;
    if config.has_role(Role::Worker) {
        let jobs = SpeechWorker::new(&config, store.clone(), speech, replica).map_err(Failure::BadConfiguration)?;
        lifecycle.spawn_critical("audio jobs", jobs.run(lifecycle.clone()));
        let policy = voice.policy().clone();
        let parts = DispatcherParts {
            store: store.clone(),
            voice,
            config: config.clone(),
            replica,
            health: health.clone(),
            lifecycle: lifecycle.clone(),
            seed: replica.as_u64_pair().1,
        };
        let started = Dispatcher::start(parts);
        lifecycle.spawn_critical("sweeper", sweep(store.clone(), started.clone(), every, lifecycle.clone()));
        let looker = Looker::new(store.clone(), registry.as_ref().clone(), config.clone(), lifecycle.clone(), policy);
        lifecycle.spawn_critical("looker", looker.run());
        lifecycle.spawn_critical("ledger gauges", reconcile::watch_ledger(store.clone(), lifecycle.clone()));
        dispatcher = Some(started);
    }
    let user_budgets = dispatcher.as_ref().map(Dispatcher::user_budgets).unwrap_or_default();
    let watching = watch_costs(store.clone(), config.clone(), health.clone(), user_budgets, lifecycle.clone());
    lifecycle.spawn_critical("cost watch", watching);
    // Commands that need no queue run without a region; outcome events to a queue do not.
    let sqs_options = given.sqs.unwrap_or_else(|| SqsOptions::from_config(&config.queue));
    let sqs = match Sqs::connect(sqs_options).await {
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
    let processors = ProcessorFactory::new(&store, &delivery, dispatcher.as_ref(), config.outcome_queue());
    let state = HttpState {
        store: store.clone(),
        registry,
        config: config.clone(),
        health: health.clone(),
        metrics,
        processors: processors.clone(),
        webhooks,
        policy,
        sessions: sessions.clone(),
    };
    state.metrics.keep_up(&lifecycle);
    let (router, settings, lifecycle_of_server) = (http::router(state), config.http.clone(), lifecycle.clone());
    lifecycle.spawn_critical("http server", async move {
        http::serve(listener, router, &settings, lifecycle_of_server).await;
    });
    if let (Some(dispatcher), Some(sqs)) = (&dispatcher, sqs) {
        let outcome_queue = config.outcome_queue().map(str::to_owned);
        let gate = watch::line(&store, config.worker.max_waiting, gate, &lifecycle);
        let intake = Intake::new(store.clone(), processors, outcome_queue);
        receiving::start(&config, sqs, intake, dispatcher, gate, &health, &lifecycle).await?;
    }
    systemd::ready(&lifecycle);
    tracing::info!(%replica, version = env!("CARGO_PKG_VERSION"), "serving");

    lifecycle.stopping().await;
    tracing::info!("stopping: no new work");
    let in_time = lifecycle.drain(config.worker.shutdown_grace).await;
    give_back(&store, &sessions, replica).await;
    store.close().await;
    match lifecycle.failure() {
        Some(failure) => Err(Failure::Failed(failure.to_owned())),
        None if !in_time => Err(Failure::Failed("work was left over at the end of worker.shutdown_grace".into())),
        None => Ok(()),
    }
}

/// The side port; every role has one, for health and metrics.
async fn listen(config: &Config) -> Result<TcpListener, Failure> {
    let bind = config.http.bind;
    let listener = TcpListener::bind(bind)
        .await
        .map_err(|error| Failure::Failed(format!("cannot listen on {bind} (http.bind, VOXD_HTTP__BIND): {error}")))?;
    tracing::info!(address = %listener.local_addr().unwrap_or(bind), "side port open");
    Ok(listener)
}

/// The parts that readiness looks at.
fn health(config: &Config, registry: &PlatformRegistry) -> Health {
    let mut parts = vec![Part::Postgres];
    if config.has_role(Role::Worker) && !config.queue.urls.is_empty() {
        parts.push(Part::Sqs);
    }
    parts.extend(registry.iter().map(|platform| Part::Platform(platform.name().to_owned())));
    Health::new(parts)
}

async fn give_back(store: &Store, sessions: &Sessions, replica: Uuid) {
    match sessions.stop().await {
        Ok(ended) => tracing::info!(ended, "sessions ended"),
        Err(error) => tracing::warn!(%error, "sessions could not be ended; the other replicas let them fail"),
    }
    if let Err(error) = store.release_speech_jobs(replica).await {
        tracing::warn!(%error, "audio jobs could not be given back; their leases run out instead");
    }
    match store.release_all(replica).await {
        Ok(released) => tracing::info!(released, "leases given back"),
        Err(error) => tracing::warn!(%error, "leases could not be given back; they run out instead"),
    }
    if let Err(error) = store.leave(replica).await {
        tracing::debug!(%error, "the heartbeat row stays until it is stale");
    }
}

async fn heartbeat(store: Store, config: Arc<Config>, replica: Uuid, lifecycle: Lifecycle) {
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
            Ok(workers) => metrics::REPLICAS.set([], f64::from(workers)),
            Err(error) => tracing::debug!(%error, "the heartbeat waits for Postgres"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = clock::sleep(config.sessions.heartbeat(config.worker.lease)) => {}
        }
    }
}
