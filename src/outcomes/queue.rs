//! Outcome events to SQS queues.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::store::outbox::DueEvent;

/// An event as it goes to a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingEvent {
    pub body: String,
    /// One call's events are one group: in order on a FIFO queue.
    pub group_id: String,
    /// The event's id, stable over tries.
    pub deduplication_id: String,
}

/// Sends events to the queue of this name or URL; the results stand at the events' positions, an `Err` is what people see.
pub type SendBatch =
    Arc<dyn Fn(String, Vec<OutgoingEvent>) -> BoxFuture<'static, Vec<Result<(), String>>> + Send + Sync>;

/// Sends what was claimed, queue by queue. Ids of those that arrived, and positions in `events` with the error of the others.
pub(super) async fn send(send: &SendBatch, events: &[DueEvent]) -> (Vec<Uuid>, Vec<(usize, String)>) {
    let mut by_queue: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (n, event) in events.iter().enumerate() {
        by_queue.entry(&event.address).or_default().push(n);
    }
    let (mut delivered, mut failed) = (Vec::new(), Vec::new());
    for (queue, positions) in by_queue {
        let batch = positions.iter().map(|n| outgoing(&events[*n])).collect();
        let results = send(queue.to_owned(), batch).await;
        let no_result = || Err("was not tried".to_owned());
        let results = results.into_iter().chain(std::iter::repeat_with(no_result));
        for (n, result) in positions.into_iter().zip(results) {
            match result {
                Ok(()) => delivered.push(events[n].id),
                Err(error) => failed.push((n, error)),
            }
        }
    }
    (delivered, failed)
}

fn outgoing(event: &DueEvent) -> OutgoingEvent {
    OutgoingEvent {
        body: event.body.clone(),
        group_id: event.call_id.unwrap_or(event.id).to_string(),
        deduplication_id: event.id.to_string(),
    }
}
