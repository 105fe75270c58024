//! Counters for each operation, for benchmarks that want to know how many requests an event costs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

macro_rules! operations {
    ($($name:ident),* $(,)?) => {
        /// The operations of the service.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Operation { $($name),* }

        impl Operation {
            pub(super) const ALL: &'static [Self] = &[$(Self::$name),*];

            /// From the part of `X-Amz-Target` after the dot.
            pub(super) fn parse(name: &str) -> Option<Self> {
                match name { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }
        }
    };
}

operations! {
    CancelMessageMoveTask, ChangeMessageVisibility, ChangeMessageVisibilityBatch, CreateQueue, DeleteMessage,
    DeleteMessageBatch, DeleteQueue, GetQueueAttributes, GetQueueUrl, ListDeadLetterSourceQueues, ListMessageMoveTasks,
    ListQueueTags, ListQueues, PurgeQueue, ReceiveMessage, SendMessage, SendMessageBatch, SetQueueAttributes,
    StartMessageMoveTask, TagQueue, UntagQueue,
}

/// What was counted for one operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationStats {
    /// Requests that arrived.
    pub requests: u64,
    /// Of these, answered with an error (injected ones too).
    pub errors: u64,
    /// Messages sent, received, deleted or changed; failed batch entries do not count.
    pub messages: u64,
    /// Receives that brought nothing.
    pub empty: u64,
    /// Requests that a fault was injected into.
    pub faults: u64,
}

/// A reading of all counters; operations never asked for are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsReport {
    pub operations: BTreeMap<Operation, OperationStats>,
    /// Requests of all operations together.
    pub requests: u64,
    /// TCP connections accepted.
    pub connections: u64,
}

impl StatsReport {
    /// What was counted for `operation`; zeros when it was never asked for.
    pub fn of(&self, operation: Operation) -> OperationStats {
        self.operations.get(&operation).copied().unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    errors: AtomicU64,
    messages: AtomicU64,
    empty: AtomicU64,
    faults: AtomicU64,
}

/// The counters themselves.
#[derive(Debug)]
pub(super) struct Stats {
    operations: Vec<Counters>,
    connections: AtomicU64,
}

impl Default for Stats {
    fn default() -> Self {
        let operations = Operation::ALL.iter().map(|_| Counters::default()).collect();
        Self { operations, connections: AtomicU64::new(0) }
    }
}

impl Stats {
    fn of(&self, operation: Operation) -> &Counters {
        &self.operations[operation as usize]
    }

    pub fn connection(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    pub fn request(&self, operation: Operation) {
        self.of(operation).requests.fetch_add(1, Relaxed);
    }

    pub fn error(&self, operation: Operation) {
        self.of(operation).errors.fetch_add(1, Relaxed);
    }

    pub fn fault(&self, operation: Operation) {
        self.of(operation).faults.fetch_add(1, Relaxed);
    }

    pub fn messages(&self, operation: Operation, count: usize) {
        self.of(operation).messages.fetch_add(count as u64, Relaxed);
        if count == 0 && operation == Operation::ReceiveMessage {
            self.of(operation).empty.fetch_add(1, Relaxed);
        }
    }

    pub fn report(&self) -> StatsReport {
        let mut report = StatsReport { connections: self.connections.load(Relaxed), ..StatsReport::default() };
        for operation in Operation::ALL {
            let counters = self.of(*operation);
            let read = OperationStats {
                requests: counters.requests.load(Relaxed),
                errors: counters.errors.load(Relaxed),
                messages: counters.messages.load(Relaxed),
                empty: counters.empty.load(Relaxed),
                faults: counters.faults.load(Relaxed),
            };
            report.requests += read.requests;
            if read.requests > 0 {
                report.operations.insert(*operation, read);
            }
        }
        report
    }

    pub fn reset(&self) {
        self.connections.store(0, Relaxed);
        for counters in &self.operations {
            for counter in [&counters.requests, &counters.errors, &counters.messages, &counters.empty, &counters.faults]
            {
                counter.store(0, Relaxed);
            }
        }
    }
}
