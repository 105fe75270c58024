//! The queue's side of acceptance: messages → jobs → rows, then a word to the queue about each message.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Accepted, Incoming, Processor, ProcessorFactory, Via};
use crate::clock;
use crate::fault;
use crate::job::{self, Rejection};
use crate::queue::{BatchHandler, Disposition, Message};
use crate::store::accept::NewRejected;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics;

const LEAVE_AFTER: Duration = Duration::from_secs(5);
/// Until a replica of another version has had its chance.
const LATER: Duration = Duration::from_secs(10);

/// Accepts what the queues bring.
pub struct Intake {
    store: Store,
    processors: ProcessorFactory,
    outcome_queue: Option<String>,
}

impl Intake {
    /// `outcome_queue`: where `voice.job.rejected` events go.
    pub fn new(store: Store, processors: ProcessorFactory, outcome_queue: Option<String>) -> Self {
        Self { store, processors, outcome_queue }
    }

    /// The messages' jobs in runs of one type, in the order they came (a call and its cancellation may stand in one
    /// batch), and the rejections of those that are none.
    fn sort(&self, batch: &mut [Message]) -> (Vec<Group>, Vec<(usize, Rejection)>) {
        let mut groups: Vec<Group> = Vec::new();
        let mut rejected = Vec::new();
        for (position, message) in batch.iter_mut().enumerate() {
            let job =
                job::parse(message.body.as_bytes()).and_then(|job| self.processors.get(&job).map(|found| (job, found)));
            let (mut job, processor) = match job {
                Ok((job, processor)) => (job, processor.clone()),
                Err(rejection) => {
                    rejected.push((position, rejection));
                    continue;
                }
            };
            if job.traceparent.is_none() {
                job.traceparent = message.traceparent().map(str::to_owned);
            }
            let event_type = job.kind.event_type();
            let incoming = Incoming { via: via(message), job, place: message.take_permit() };
            match groups.last_mut().filter(|group| group.event_type == event_type) {
                Some(group) => {
                    group.positions.push(position);
                    group.incoming.push(incoming);
                }
                None => {
                    let (positions, incoming) = (vec![position], vec![incoming]);
                    groups.push(Group { event_type, processor, positions, incoming });
                }
            }
        }
        (groups, rejected)
    }

    async fn reject(&self, batch: &[Message], rejected: &[(usize, Rejection)]) -> Result<(), StoreError> {
        if rejected.is_empty() {
            return Ok(());
        }
        let rows: Vec<NewRejected> = rejected
            .iter()
            .map(|(position, rejection)| NewRejected {
                queue: batch[*position].queue.name.clone(),
                message_id: batch[*position].message_id.clone(),
                rejection: rejection.clone(),
                body: batch[*position].body.clone().into_bytes(),
            })
            .collect();
        self.store.keep_rejected(&rows).await?;
        if let Some(queue) = &self.outcome_queue {
            self.store.queue_job_rejected(queue, &rows).await?;
        }
        for (position, rejection) in rejected {
            let message = &batch[*position];
            metrics::MESSAGES_REJECTED.inc([&message.queue.name, rejection.reason.as_str()]);
            tracing::warn!(
                queue = %message.queue.name,
                message_id = %message.message_id,
                reason = %rejection.reason,
                field = %rejection.field_path,
                "message rejected"
            );
        }
        Ok(())
    }
}

struct Group {
    event_type: &'static str,
    processor: Arc<dyn Processor>,
    positions: Vec<usize>,
    incoming: Vec<Incoming>,
}

fn via(message: &Message) -> Via {
    let order = message
        .sequence_number
        .as_ref()
        .zip(message.group_id.as_ref())
        .map(|(sequence, group)| (format!("{}/{group}", message.queue.name), sequence.clone()));
    Via { source: "queue", tenant: message.group_id.clone(), order }
}

#[async_trait]
impl BatchHandler for Intake {
    async fn handle(&self, mut batch: Vec<Message>) -> Vec<Disposition> {
        let begun = clock::monotonic();
        fault::point("before_accept");
        let mut dispositions = vec![Disposition::Leave { after: LEAVE_AFTER }; batch.len()];
        let (groups, mut rejected) = self.sort(&mut batch);
        for group in groups {
            let keys: Vec<_> =
                group.incoming.iter().map(|Incoming { job, .. }| (job.key.clone(), job.pointer("id"))).collect();
            match group.processor.accept(group.incoming).await {
                Ok(accepted) => {
                    for ((position, accepted), (key, pointer)) in group.positions.into_iter().zip(accepted).zip(keys) {
                        match accepted {
                            Accepted::New { .. } => dispositions[position] = Disposition::Delete { result: "accepted" },
                            Accepted::Repeat { .. } => {
                                dispositions[position] = Disposition::Delete { result: "duplicate" }
                            }
                            Accepted::KeyReused => rejected.push((position, Rejection::key_reused(key, pointer))),
                            Accepted::Later { detail } => {
                                tracing::error!(
                                    id = key.id,
                                    detail,
                                    "not accepted; the message goes back to the queue"
                                );
                                dispositions[position] = Disposition::Leave { after: LATER };
                            }
                        }
                    }
                }
                Err(error) => {
                    // What stands behind goes back as well, so that it cannot overtake.
                    tracing::warn!(messages = group.positions.len(), %error, "not accepted; the messages go back to the queue");
                    break;
                }
            }
        }
        match self.reject(&batch, &rejected).await {
            Ok(()) => {
                for (position, rejection) in rejected {
                    dispositions[position] = Disposition::Reject(rejection);
                }
            }
            Err(error) => {
                tracing::warn!(messages = rejected.len(), %error, "rejections not stored; the messages go back to the queue")
            }
        }
        fault::point("after_accept");
        if let Some(message) = batch.first() {
            metrics::ACCEPT.record([&message.queue.name], clock::monotonic() - begun);
        }
        fault::point("before_delete");
        dispositions
    }
}
