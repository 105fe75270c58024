//! The accepted, unsent jobs of this replica, by platform.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::admission::VoiceDelivery;
use super::decide::Policy;
use super::lane::{Lane, LaneParts};
use super::rate::LiveReplicas;
use super::recorder;
use crate::clock::Monotonic;
use crate::config::Config;
use crate::lifecycle::Lifecycle;
use crate::queue::{Backlog, Permit};
use crate::store::Store;
use crate::store::leases::{LeasedCall, Postponed};

/// A call that may be sent, with its place in the backlog.
#[derive(Debug)]
pub struct Ready {
    pub call: LeasedCall,
    /// Given back when the call is sent or leaves this replica.
    pub place: Permit,
    /// When this replica took it.
    pub since: Monotonic,
}

/// Hands calls to their platform's lane. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    lanes: Arc<BTreeMap<&'static str, mpsc::Sender<Ready>>>,
    backlog: Backlog,
    store: Store,
    replica: Uuid,
    lease: Duration,
}

/// What a dispatcher is made of.
pub struct DispatcherParts {
    pub store: Store,
    pub voice: Arc<VoiceDelivery>,
    pub config: Arc<Config>,
    pub replica: Uuid,
    pub live_replicas: LiveReplicas,
    pub lifecycle: Lifecycle,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Dispatcher {
    /// Starts a lane per platform that is on, and the recorder.
    pub fn start(parts: DispatcherParts) -> Self {
        let config = &parts.config;
        let backlog = Backlog::new(config.worker.max_backlog);
        let answers = recorder::start(&parts.store, &parts.lifecycle);
        let mut lanes = BTreeMap::new();
        for (index, platform) in parts.voice.registry().iter().enumerate() {
            let Some(settings) = config.platforms.get(platform.name()) else { continue };
            // Every place of the backlog fits, so that handing over never waits.
            let (sender, receiver) = mpsc::channel(config.worker.max_backlog);
            let lane = Lane::new(LaneParts {
                store: parts.store.clone(),
                voice: parts.voice.clone(),
                platform: platform.clone(),
                settings: settings.clone(),
                replica: parts.replica,
                lease: config.worker.lease,
                settled_after: config.worker.lease + settings.request_timeout + config.reconcile.margin,
                policy: Policy { delivery: config.delivery.clone(), poll_after: config.poller.interval },
                live_replicas: parts.live_replicas.clone(),
                answers: answers.clone(),
                lifecycle: parts.lifecycle.clone(),
                seed: parts.seed.wrapping_add(index as u64),
            });
            parts.lifecycle.spawn_critical("lane", lane.run(receiver));
            lanes.insert(platform.name(), sender);
        }
        Self { lanes: Arc::new(lanes), backlog, store: parts.store, replica: parts.replica, lease: config.worker.lease }
    }

    /// Places for accepted, unsent jobs. Whoever receives takes a place first.
    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    pub fn replica(&self) -> Uuid {
        self.replica
    }

    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Takes a call whose lease this replica holds.
    pub async fn submit(&self, ready: Ready) {
        let platform = ready.call.platform.clone();
        match self.lanes.get(platform.as_str()) {
            // The lane is gone only when the program stops; the lease is given back then.
            Some(lane) => drop(lane.send(ready).await),
            None => self.postpone_unroutable(&ready, &platform).await,
        }
    }

    /// Accepted while the platform was on: it waits until it is on again, visibly.
    async fn postpone_unroutable(&self, ready: &Ready, platform: &str) {
        let postponed = Postponed {
            call_id: ready.call.id,
            fence: ready.call.fence,
            wait: Duration::from_secs(60),
            reason: "platform_off",
            detail: Some(format!("platform {platform} is off on the replica that took the call")),
        };
        if let Err(error) = self.store.postpone(&[postponed]).await {
            tracing::warn!(call_id = %ready.call.id, %error, "could not postpone; the lease runs out instead");
        }
    }
}
