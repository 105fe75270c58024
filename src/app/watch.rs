//! Watching what the daemon leans on, for readiness and for the gate before receiving and sending.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock;
use crate::health::{Health, Part, Status};
use crate::lifecycle::Lifecycle;
use crate::platforms::{Platform, PlatformError, PlatformRegistry};
use crate::queue::Consumer;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics;

/// How often Postgres is asked whether it is there, and how long it may take: together below the two seconds in which
/// readiness must notice.
const CHECK_EVERY: Duration = Duration::from_millis(500);
const CHECK_WITHIN: Duration = Duration::from_millis(1000);
/// A pool that fails for so long while fresh connections work is rebuilt.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// How often the receivers' own findings are looked at; asks nobody.
const QUEUES_EVERY: Duration = Duration::from_millis(500);
/// How often the calls that wait in line are counted.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// How often a platform is asked, as long as nothing else is known of it.
const PLATFORM_EVERY: Duration = Duration::from_secs(60);

/// Starts watching Postgres; gives the gate that is open while calls may be accepted and sent.
pub(super) fn postgres(store: &Store, health: &Health, lifecycle: &Lifecycle) -> watch::Receiver<bool> {
    let (writer, gate) = watch::channel(false);
    let watching = watch_postgres(store.clone(), writer, health.clone(), lifecycle.clone());
    lifecycle.spawn_critical("postgres watch", watching);
    gate
}

/// The gate for receiving: `gate`, closed too while at least `max_waiting` calls wait in line for their platforms. Then SQS
/// holds the rest. Looked at once a second, so the line may grow a little beyond it.
pub(super) fn line(
    store: &Store,
    max_waiting: usize,
    mut gate: watch::Receiver<bool>,
    lifecycle: &Lifecycle,
) -> watch::Receiver<bool> {
    let (writer, receiving) = watch::channel(false);
    let (store, stop) = (store.clone(), lifecycle.soft_token());
    lifecycle.spawn_critical("line watch", async move {
        let mut too_long = false;
        loop {
            let up = *gate.borrow_and_update();
            let begun = clock::monotonic();
            if up && let Ok(waiting) = store.in_line(max_waiting).await {
                let now_too_long = waiting >= max_waiting;
                if now_too_long != too_long {
                    let says = if now_too_long { "receiving stops" } else { "receiving goes on" };
                    tracing::warn!(max_waiting, says, "calls that wait for their platforms (worker.max_waiting)");
                }
                too_long = now_too_long;
            }
            let open = up && !too_long;
            writer.send_if_modified(|was| std::mem::replace(was, open) != open);
            metrics::RECEIVING.set([], f64::from(u8::from(open)));
            // Counting a long line takes its time; it may take a twentieth of Postgres's.
            let rest = LINE_EVERY.max((clock::monotonic() - begun) * 20);
            tokio::select! {
                () = stop.cancelled() => return,
                () = clock::sleep(rest) => {}
                Ok(()) = gate.changed() => {}
            }
        }
    });
    receiving
}

/// Tells what the receivers find: SQS is up while all queues answer.
pub(super) fn queues(consumer: Consumer, health: &Health, lifecycle: &Lifecycle) {
    let (health, stop) = (health.clone(), lifecycle.soft_token());
    lifecycle.spawn_critical("sqs watch", async move {
        loop {
            let queues = consumer.health();
            match queues.iter().find(|(_, queue)| !queue.up) {
                Some((name, queue)) => {
                    let since = queue.failing_since.unwrap_or_else(clock::monotonic);
                    health.set_down(Part::Sqs, since, format!("{name}: {}", queue.detail));
                }
                None => health.set(Part::Sqs, Status::Up, format!("{} queues answer", queues.len())),
            }
            if stop.run_until_cancelled(clock::sleep(QUEUES_EVERY)).await.is_none() {
                return;
            }
        }
    });
}

/// Asks each platform from time to time whether its account can be used.
pub(super) fn platforms(registry: &PlatformRegistry, health: &Health, lifecycle: &Lifecycle) {
    for platform in registry.iter() {
        let (platform, health, stop) = (platform.clone(), health.clone(), lifecycle.soft_token());
        lifecycle.spawn_critical("platform watch", async move {
            loop {
                let Some((status, detail)) = stop.run_until_cancelled(probe(&platform)).await else { return };
                health.set(Part::Platform(platform.name().to_owned()), status, detail);
                if stop.run_until_cancelled(clock::sleep(PLATFORM_EVERY)).await.is_none() {
                    return;
                }
            }
        });
    }
}

async fn probe(platform: &Arc<dyn Platform>) -> (Status, String) {
    match platform.probe().await {
        Ok(()) => (Status::Up, "the account answers".into()),
        Err(PlatformError::Unsupported) => (Status::Up, "it cannot be asked".into()),
        Err(error) => (Status::Down, error.to_string()),
    }
}

/// Opens the gate while Postgres is there, durable and migrated; closes it within two seconds when it is not.
async fn watch_postgres(store: Store, gate: watch::Sender<bool>, health: Health, lifecycle: Lifecycle) {
    let stop = lifecycle.soft_token();
    let mut migrated = false;
    let mut down_since = None;
    while !stop.is_cancelled() {
        // The check itself needs the migrations, so they come first.
        let missing = if migrated { Ok(0) } else { store.missing_migrations().await };
        migrated |= matches!(missing, Ok(0));
        let state = match missing {
            Ok(0) => store.check(CHECK_WITHIN).await,
            Ok(missing) => Err(StoreError::NotMigrated(missing)),
            Err(error) => Err(error),
        };
        let up = state.is_ok();
        match &state {
            Ok(()) => health.set(Part::Postgres, Status::Up, "answers, and keeps what it acknowledges"),
            Err(error) => health.set(Part::Postgres, Status::Down, error.to_string()),
        }
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
