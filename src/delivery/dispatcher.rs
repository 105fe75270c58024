//! The accepted, unsent jobs of this replica, by platform.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::account::Account;
use super::admission::VoiceDelivery;
use super::budget::{Keeper, UserBudgets};
use super::decide::Policy;
use super::lane::{Lane, LaneParts};
use super::recorder;
use super::seats::{Seat, Seats, Why};
use crate::clock::{self, Monotonic};
use crate::config::Config;
use crate::health::Health;
use crate::lifecycle::Lifecycle;
use crate::queue::{Backlog, Permit};
use crate::store::Store;
use crate::store::leases::{LeasedCall, Postponed};
use crate::store::line::Held;

/// A call whose platform is off here waits so long for a replica that has it on.
pub(super) const PLATFORM_OFF_WAIT: Duration = Duration::from_secs(60);

/// A call that may be sent, with its place in the backlog.
#[derive(Debug)]
pub struct Ready {
    pub call: LeasedCall,
    /// Given back when the call is sent or leaves this replica. A call from the line has none: its lane bounds how many.
    pub place: Option<Permit>,
    /// In its lane.
    pub seat: Seat,
    /// When this replica took it.
    pub since: Monotonic,
}

/// Hands calls to their platform's lane. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    lanes: Arc<BTreeMap<&'static str, Entrance>>,
    backlog: Backlog,
    store: Store,
    replica: Uuid,
    lease: Duration,
    user_budgets: UserBudgets,
}

struct Entrance {
    sender: mpsc::Sender<Ready>,
    seats: Seats,
}

/// Whether a call may go to its lane at once.
#[derive(Debug)]
pub enum Entry {
    Seat(Seat),
    /// It waits in line, in Postgres.
    Line(Why),
    /// No lane is there: the platform is off here.
    Closed,
}

/// What a dispatcher is made of.
pub struct DispatcherParts {
    pub store: Store,
    pub voice: Arc<VoiceDelivery>,
    pub config: Arc<Config>,
    pub replica: Uuid,
    pub health: Health,
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
        let user_budgets = UserBudgets::default();
        // No platform's calls may fill the backlog for all.
        let part = config.worker.max_backlog.div_ceil(parts.voice.registry().iter().count().max(1));
        for (index, platform) in parts.voice.registry().iter().enumerate() {
            let Some(settings) = config.platforms.get(platform.name()) else { continue };
            // Every place of the backlog fits, so that handing over never waits.
            let (sender, receiver) = mpsc::channel(config.worker.max_backlog);
            let seats = Seats::new(part);
            let lane = Lane::new(LaneParts {
                seats: seats.clone(),
                seats_without_limit: part.max(2 * settings.max_concurrent_requests).min(config.worker.max_backlog),
                account: Account::new(platform.name(), settings, parts.health.clone()),
                look_at_line: config.worker.sweep_interval,
                store: parts.store.clone(),
                voice: parts.voice.clone(),
                platform: platform.clone(),
                settings: settings.clone(),
                replica: parts.replica,
                lease: config.worker.lease,
                keeper: Keeper::new(platform.name(), config, user_budgets.clone(), 2 * config.worker.lease),
                settled_after: config.worker.lease + settings.request_timeout + config.reconcile.margin,
                policy: Policy {
                    delivery: config.delivery.clone(),
                    poll_after: config.poller.interval,
                    suppress_on_platform_dnc: config.policy.suppress_on_platform_dnc,
                },
                answers: answers.clone(),
                lifecycle: parts.lifecycle.clone(),
                seed: parts.seed.wrapping_add(index as u64),
            });
            parts.lifecycle.spawn_critical("lane", lane.run(receiver));
            lanes.insert(platform.name(), Entrance { sender, seats });
        }
        let (replica, lease) = (parts.replica, config.worker.lease);
        Self { lanes: Arc::new(lanes), backlog, store: parts.store, replica, lease, user_budgets }
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

    /// Whoever watches budgets tells the lanes by it.
    pub fn user_budgets(&self) -> UserBudgets {
        self.user_budgets.clone()
    }

    /// The platforms that have a lane here.
    pub fn platforms(&self) -> impl Iterator<Item = &'static str> {
        self.lanes.keys().copied()
    }

    /// A seat for one more call, where there is one and nobody waits in line before it.
    pub fn entry(&self, platform: &str) -> Entry {
        match self.lanes.get(platform).map(|lane| lane.seats.take()) {
            Some(Ok(seat)) => Entry::Seat(seat),
            Some(Err(why)) => Entry::Line(why),
            None => Entry::Closed,
        }
    }

    /// Calls were put in line for this platform.
    pub fn line_begins(&self, platform: &str) {
        if let Some(lane) = self.lanes.get(platform) {
            lane.seats.line_begins();
        }
    }

    /// Takes a call whose lease this replica holds, with its seat.
    pub async fn submit(&self, ready: Ready) {
        if let Some(lane) = self.lanes.get(ready.call.platform.as_str()) {
            // The lane is gone only when the program stops; the lease is given back then.
            drop(lane.sender.send(ready).await);
        }
    }

    /// Takes calls that were due, whose leases this replica holds: to their lanes, or back in line.
    pub async fn submit_due(&self, calls: Vec<(LeasedCall, Permit)>) {
        let (mut held, mut closed) = (Vec::new(), Vec::new());
        for (call, place) in calls {
            match self.entry(&call.platform) {
                Entry::Seat(seat) => {
                    self.submit(Ready { call, place: Some(place), seat, since: clock::monotonic() }).await;
                }
                Entry::Line(Why { reason, detail }) => {
                    let row = Held { call_id: call.id, fence: call.fence, reason, detail: Some(detail) };
                    held.push((call.platform, row));
                }
                // Accepted while the platform was on: it waits until it is on again, visibly.
                Entry::Closed => closed.push(Postponed {
                    call_id: call.id,
                    fence: call.fence,
                    wait: PLATFORM_OFF_WAIT,
                    reason: "platform_off",
                    detail: Some(format!("platform {} is off on the replica that took the call", call.platform)),
                }),
            }
        }
        let (platforms, held): (Vec<String>, Vec<Held>) = held.into_iter().unzip();
        if !held.is_empty() {
            match self.store.hold(&held).await {
                Ok(()) => platforms.iter().for_each(|platform| self.line_begins(platform)),
                Err(error) => tracing::warn!(calls = held.len(), %error, "not put in line; the leases run out instead"),
            }
        }
        if !closed.is_empty()
            && let Err(error) = self.store.postpone(&closed).await
        {
            tracing::warn!(calls = closed.len(), %error, "could not postpone; the leases run out instead");
        }
    }
}
