//! Outcome events to SQS queues.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::queue::{Outgoing, Producer, Sqs};
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

/// Sends through SQS; a queue is resolved when its first event goes out.
pub fn through_sqs(sqs: Sqs) -> SendBatch {
    let producers: Arc<Mutex<HashMap<String, Producer>>> = Arc::default();
    Arc::new(move |queue, events| {
        let (sqs, producers) = (sqs.clone(), producers.clone());
        Box::pin(async move {
            let count = events.len();
            match producer(&sqs, &producers, &queue).await {
                Ok(producer) => {
                    let messages: Vec<Outgoing> = events.into_iter().map(message).collect();
                    let results = producer.send(&messages, |_| {}).await;
                    results.into_iter().map(|result| result.map(drop).map_err(|error| error.to_string())).collect()
                }
                Err(problem) => vec![Err(problem); count],
            }
        })
    })
}

async fn producer(sqs: &Sqs, known: &Mutex<HashMap<String, Producer>>, queue: &str) -> Result<Producer, String> {
    let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(producer) = lock().get(queue) {
        return Ok(producer.clone());
    }
    let info = sqs.resolve(&queue.parse()?).await.map_err(|error| error.to_string())?;
    let producer = Producer::new(sqs.clone(), &info.url);
    lock().insert(queue.to_owned(), producer.clone());
    Ok(producer)
}

fn message(event: OutgoingEvent) -> Outgoing {
    Outgoing {
        group_id: Some(event.group_id),
        deduplication_id: Some(event.deduplication_id),
        ..Outgoing::new(event.body)
    }
}

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
