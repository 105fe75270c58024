//! From an accepted message to a recorded answer.
//!
//! `admission` decides what an accepted job becomes (pure). [`Dispatcher`] holds the accepted, unsent jobs of this replica;
//! each platform has a `lane` that waits for the rate, spends rights to send in batches, sends each once, and hands the
//! answers to the `recorder`, which commits them in batches. `decide` says what an answer means for the call (pure). The
//! `sweeper` claims what is due or orphaned.
//!
//! Nothing here is retried that could make a second call: a right to send is a committed row, and is used once.

mod admission;
mod decide;
mod dispatcher;
mod lane;
mod rate;
mod recorder;
mod sweeper;

pub use admission::{Admission, VoiceDelivery};
pub use dispatcher::{Dispatcher, DispatcherParts, Ready};
pub use rate::LiveReplicas;
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
