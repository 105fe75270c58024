//! One spent right on its way to the platform: waits for its slot, sends once, hands the answer on.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use uuid::Uuid;

use super::account::Account;
use super::decide::{Policy, decide};
use super::dispatcher::Ready;
use super::recorder::{GroupTurn, Recording};
use crate::clock::{self, Monotonic};
use crate::fault;
use crate::platforms::{Payload, Platform, SendPermit};
use crate::store::Store;
use crate::store::pace::{Limits, Slot, TOLERANCE};
use crate::telemetry::metrics;

/// A request that misses so many slots leaves all the same: nothing here runs in time.
const MOST_SLOTS: usize = 5;

/// A call with its payload, whose right to send is about to be spent.
pub(super) struct Candidate {
    pub ready: Ready,
    pub attempt_id: Uuid,
    pub payload: Payload,
    pub room: OwnedSemaphorePermit,
    /// When the calling window closes, where that is before the lease's end: no first byte after it.
    pub closes: Option<Monotonic>,
}

/// When a request may leave.
pub(super) enum Leave {
    AtOnce,
    /// In its slot of the account's rate, or in a later one.
    InSlot(Turn),
}

pub(super) struct Turn {
    /// `None`: it has to ask for one.
    pub slot: Option<Slot>,
    pub store: Store,
    pub limits: Limits,
}

impl Turn {
    /// Until the slot has come; returns its number. One that was missed by far (a slow commit, a busy machine) is given up for
    /// another: whoever comes after counts on its being used by then.
    async fn wait(self, account: &Account, platform: &str) -> Option<i64> {
        let Self { mut slot, store, mut limits } = self;
        for _ in 0..MOST_SLOTS {
            if let Some(Slot { number, at }) = slot {
                tokio::time::sleep_until(at).await;
                if clock::monotonic() <= at + TOLERANCE {
                    return Some(number);
                }
                metrics::PLATFORM_SLOTS_MISSED.inc([platform]);
                account.not_used(number);
            }
            let asked = clock::monotonic();
            limits.lead = account.lead();
            match store.another_slot(platform, &limits).await {
                Ok(next) => slot = next,
                Err(error) => {
                    tracing::debug!(%error, "no other slot could be had; the request leaves late");
                    return None;
                }
            }
            account.took(clock::monotonic() - asked);
        }
        None
    }
}

pub(super) struct Sending {
    pub platform: Arc<dyn Platform>,
    pub policy: Policy,
    pub account: Account,
    pub leave: Leave,
    pub slots: Arc<Semaphore>,
    pub answers: mpsc::Sender<Recording>,
    pub groups: mpsc::UnboundedSender<String>,
    pub unit: f64,
}

impl Sending {
    pub(super) async fn run(self, candidate: Candidate, permit: SendPermit) {
        let Candidate { ready, attempt_id, payload, room, closes } = candidate;
        let permit = closes.map_or(permit, |at| permit.ended_by(at));
        let turn = ready.call.order_key.clone().map(|key| GroupTurn { key, next: self.groups });
        let Ready { call, place, seat, since } = ready;
        drop(seat);
        let Ok(slot) = self.slots.acquire().await else { return };
        let name = self.platform.name();
        let turn_of_rate = match self.leave {
            Leave::AtOnce => None,
            Leave::InSlot(turn) => turn.wait(&self.account, name).await,
        };
        fault::point("before_send");
        metrics::ACCEPT_TO_SEND.record([], clock::monotonic() - since);
        metrics::PLATFORM_REQUESTS_IN_FLIGHT.add([name], 1.0);
        self.account.sending();
        let left = clock::monotonic();
        turn_of_rate.inspect(|slot| self.account.departed(*slot, left));
        let result = self.platform.send_call(&payload, permit).await;
        turn_of_rate.inspect(|slot| self.account.arrived(*slot, left));
        metrics::PLATFORM_REQUESTS_IN_FLIGHT.add([name], -1.0);
        fault::point("after_answer");
        drop((slot, room));
        drop(place);
        self.account.answered(&result);
        let answered = decide(&call, attempt_id, &result, &self.policy, self.unit);
        // The recorder lives as long as any sender does.
        let _ = self.answers.send(Recording { answered, platform: name, received: since, turn }).await;
    }
}
