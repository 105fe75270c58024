//! What an operator does with queues: look how deep they are, read dead letters, send them back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName as Name;

use super::client::{BATCH, Sqs};
use super::dead_letter::{DETAIL, REASON};
use super::error::SqsError;
use super::message::{Attribute, Received};
use super::producer::{Outgoing, Producer, batches};
use super::resolve::{DeadLetterQueue, QueueInfo, number};
use crate::clock;

/// Dead letters that are looked at are away from others for so long at most.
const PEEK_VISIBILITY: Duration = Duration::from_secs(30);
/// Long enough that a receive asks all of SQS's hosts.
const PEEK_WAIT: Duration = Duration::from_secs(1);
const MOVE_VISIBILITY: Duration = Duration::from_secs(60);

/// Approximate, as SQS counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Depth {
    pub visible: u64,
    pub in_flight: u64,
    pub delayed: u64,
}

/// A dead letter with what `voxd` wrote to it; one that SQS itself moved has no reason.
#[derive(Debug)]
pub struct DeadLetter {
    pub reason: Option<String>,
    pub detail: Option<String>,
    pub message: Received,
}

/// How dead letters were sent back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redrive {
    /// SQS moves them by itself.
    Started { task: String },
    /// SQS would not; they were moved one by one.
    Moved { count: usize },
}

impl Sqs {
    /// How many messages a queue holds.
    pub async fn depth(&self, url: &str) -> Result<Depth, SqsError> {
        let attributes = self.attributes(url).await?;
        let count = |name: Name| number(&attributes, &name).unwrap_or(0);
        Ok(Depth {
            visible: count(Name::ApproximateNumberOfMessages),
            in_flight: count(Name::ApproximateNumberOfMessagesNotVisible),
            delayed: count(Name::ApproximateNumberOfMessagesDelayed),
        })
    }

    /// Up to `most` dead letters of `queue`, which stay where they are (and count one delivery more).
    pub async fn peek(
        &self,
        queue: &QueueInfo,
        dlq: &DeadLetterQueue,
        most: usize,
    ) -> Result<Vec<DeadLetter>, SqsError> {
        let queue = Arc::new(queue.clone());
        let mut seen = HashSet::new();
        let mut letters = Vec::new();
        let result = loop {
            let want = (most - letters.len()).min(BATCH);
            if want == 0 {
                break Ok(());
            }
            let messages = match self.receive(&dlq.url, want, PEEK_WAIT, PEEK_VISIBILITY, None).await {
                Ok(messages) => messages,
                Err(error) => break Err(error),
            };
            let now = clock::monotonic();
            let before = letters.len();
            for message in messages {
                let message = Received::from_sdk(queue.clone(), message, now);
                if seen.insert(message.message_id.clone()) {
                    let text = |name| match message.attributes.get(name) {
                        Some(Attribute::Text { value, .. }) => Some(value.clone()),
                        _ => None,
                    };
                    letters.push(DeadLetter { reason: text(REASON), detail: text(DETAIL), message });
                }
            }
            if letters.len() == before {
                break Ok(());
            }
        };
        // Given back whatever happened; what fails is visible again after half a minute.
        for batch in letters.chunks(BATCH) {
            let back: Vec<_> =
                batch.iter().rev().map(|letter| (letter.message.receipt.as_str(), Duration::ZERO)).collect();
            let _ = self.change_visibility(&dlq.url, &back).await;
        }
        result.map(|()| letters)
    }

    /// Sends all dead letters of `queue` back to it. The target is always named: SQS does not know the source of messages
    /// that were *sent* to a dead-letter queue, as rejected ones are.
    ///
    /// Where SQS refuses the task (FIFO queues, emulators, missing permission), the messages are received, sent without
    /// `voxd`'s attributes, and deleted; a failure in between leaves a message in both queues, never in none.
    pub async fn redrive(
        &self,
        queue: &QueueInfo,
        dlq: &DeadLetterQueue,
        progress: impl Fn(usize),
    ) -> Result<Redrive, SqsError> {
        match self.start_move(&dlq.arn, &queue.arn).await {
            Ok(task) => Ok(Redrive::Started { task }),
            Err(SqsError::Refused { code, message, .. }) => {
                tracing::debug!(code, message, "SQS refused to move the messages by itself");
                self.move_by_hand(queue, dlq, progress).await.map(|count| Redrive::Moved { count })
            }
            Err(error) => Err(error),
        }
    }

    async fn move_by_hand(
        &self,
        queue: &QueueInfo,
        dlq: &DeadLetterQueue,
        progress: impl Fn(usize),
    ) -> Result<usize, SqsError> {
        let producer = Producer::new(self.clone(), &queue.url);
        let source = Arc::new(queue.clone());
        let mut moved = 0;
        loop {
            let messages = self.receive(&dlq.url, BATCH, PEEK_WAIT, MOVE_VISIBILITY, None).await?;
            if messages.is_empty() {
                return Ok(moved);
            }
            let now = clock::monotonic();
            let messages: Vec<Received> =
                messages.into_iter().map(|message| Received::from_sdk(source.clone(), message, now)).collect();
            let copies: Vec<Outgoing> = messages.iter().map(|message| sent_back(message, queue)).collect();
            for range in batches(&copies) {
                let results = producer.send_batch(&copies[range.clone()]).await;
                let mut receipts = Vec::new();
                let mut failure = None;
                for (message, result) in messages[range].iter().zip(results) {
                    match result {
                        Ok(_) => receipts.push(message.receipt.as_str()),
                        Err(error) => failure = Some(error),
                    }
                }
                if !receipts.is_empty() {
                    let deleted = self.delete(&dlq.url, &receipts).await?;
                    if let Some(failed) = deleted.into_iter().find_map(Result::err) {
                        failure.get_or_insert(failed.error);
                    }
                    moved += receipts.len();
                    progress(receipts.len());
                }
                if let Some(error) = failure {
                    return Err(error);
                }
            }
        }
    }
}

fn sent_back(message: &Received, queue: &QueueInfo) -> Outgoing {
    let mut attributes = message.attributes.clone();
    attributes.remove(REASON);
    attributes.remove(DETAIL);
    Outgoing {
        body: message.body.clone(),
        attributes,
        group_id: message.group_id.clone().or_else(|| queue.fifo.then(|| "voxd".into())),
        // Another message than the one that was rejected, which may have been sent within the five minutes.
        deduplication_id: queue.fifo.then(|| format!("redrive-{}", message.message_id)),
        delay: None,
    }
}
