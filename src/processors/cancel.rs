//! `voice.call.cancel_requested`: cancels a scheduled call, or ends a live one.

use async_trait::async_trait;
use uuid::Uuid;

use super::{Accepted, Incoming, Processor};
use crate::job::{CancelData, JobKind};
use crate::store::accept::Acceptance;
use crate::store::operator::{CallName, Cancelled};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics;

pub struct CancelProcessor {
    store: Store,
}

impl CancelProcessor {
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    async fn accept_one(&self, incoming: &Incoming) -> Result<Accepted, StoreError> {
        let job = &incoming.job;
        let JobKind::Cancel(data) = &job.kind else {
            return Err(StoreError::Refused("not a cancel request".into()));
        };
        let reason = data.reason.as_deref().unwrap_or("requested by the producer");
        let subject = data.call_id.unwrap_or_else(Uuid::nil);
        let acceptance = self.store.accept_name(&job.key, &job.content_hash, job.kind.event_type(), subject).await?;
        if acceptance != Acceptance::KeyReused {
            // Also for a repeat: the first try may have ended between the two, and cancelling twice changes nothing.
            let cancelled = self.cancel(&call_name(data), incoming.via.source, reason).await?;
            tracing::info!(source = %job.key.source, event_id = %job.key.id, ?cancelled, "cancel requested");
        }
        if acceptance == Acceptance::New {
            metrics::JOBS_ACCEPTED.inc([job.kind.event_type()]);
        }
        Ok(match acceptance {
            Acceptance::New | Acceptance::Suppressed => Accepted::New { call_id: None, thread_message_id: None },
            Acceptance::Repeat { call_id } => Accepted::Repeat { subject_id: call_id },
            Acceptance::KeyReused => Accepted::KeyReused,
        })
    }
}

impl CancelProcessor {
    /// A standard queue keeps no order: a cancellation may come before its call, and holds all the same.
    async fn cancel(&self, name: &CallName, by: &str, reason: &str) -> Result<Cancelled, StoreError> {
        let cancelled = self.store.cancel(name, by, reason).await?;
        let (Cancelled::NotFound, CallName::Job { source, event_id }) = (cancelled, name) else { return Ok(cancelled) };
        self.store.cancel_ahead(source, event_id, by, reason).await?;
        self.store.cancel(name, by, reason).await
    }
}

fn call_name(data: &CancelData) -> CallName {
    match (data.call_id, &data.id) {
        (None, Some(event_id)) => {
            CallName::Job { source: data.source.clone().unwrap_or_default(), event_id: event_id.clone() }
        }
        (call_id, _) => CallName::Id(call_id.unwrap_or_else(Uuid::nil)),
    }
}

#[async_trait]
impl Processor for CancelProcessor {
    async fn accept(&self, batch: Vec<Incoming>) -> Result<Vec<Accepted>, StoreError> {
        let mut accepted = Vec::with_capacity(batch.len());
        for incoming in &batch {
            accepted.push(self.accept_one(incoming).await?);
        }
        Ok(accepted)
    }
}
