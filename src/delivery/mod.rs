//! From an accepted message to a recorded answer.
//!
//! `admission` decides what an accepted job becomes (pure). [`Dispatcher`] holds the accepted, unsent jobs of this replica;
//! each platform has a `lane` with a few `seats`, and what finds none waits in line, in Postgres ([`crate::store::line`]),
//! from where the lane takes it in turns. The lane asks the `budget`s and spends rights to send in batches, within the account's limits
//! ([`crate::store::pace`]) and what its answers taught (`account`: the pace of `rate`, the `breaker`); each right is sent
//! once (`sending`), and its answer goes to the `recorder`, which commits answers in batches. `decide` says what an answer
//! means for the call (pure). The `sweeper` claims what is due or orphaned. `policy` reads
//! the operator's rules of when and whom; they are asked at acceptance and again right before each send.
//!
//! Nothing here is retried that could make a second call: a right to send is a committed row, and is used once.

mod account;
mod admission;
mod breaker;
mod budget;
mod decide;
mod dispatcher;
mod lane;
pub mod policy;
mod rate;
mod recorder;
mod seats;
mod sending;
mod spending;
mod sweeper;

pub use admission::{Admission, UnknownConfig, VoiceDelivery};
pub use budget::{UserBudgets, watch as watch_costs};
pub use dispatcher::{Dispatcher, DispatcherParts, Entry, Ready};
pub use seats::{Seat, Why};
pub use sweeper::sweep;

use std::sync::Arc;

use crate::job::{CallData, Job};
use crate::store::accept::NewCall;

/// How messages reach people, by channel. `voice` is the one channel so far.
#[derive(Clone)]
pub struct MessageDeliveryService {
    voice: Arc<VoiceDelivery>,
}

impl MessageDeliveryService {
    pub const CHANNELS: &'static [&'static str] = &["voice"];

    pub fn new(voice: Arc<VoiceDelivery>) -> Self {
        Self { voice }
    }

    /// The message as rows: its thread message, and the call that delivers it.
    pub fn prepare(&self, job: &Job, data: &CallData, admission: Admission) -> NewCall {
        self.voice.prepare(job, data, admission)
    }
}
