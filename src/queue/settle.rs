//! What happens to a batch's messages once the handler has spoken.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::client::{BATCH, Sqs};
use super::dead_letter;
use super::deleter::Deleter;
use super::message::{Disposition, Received};
use super::producer::{Outgoing, Producer, batches};
use super::resolve::{DeadLetterQueue, QueueInfo};
use crate::job::Rejection;
use crate::retry::wait_for;
use crate::telemetry::metrics;

/// The longest that a left message stays away.
const LONGEST_LEAVE: Duration = Duration::from_secs(15 * 60);
/// Where the handler said nothing, and where a dead letter could not be written.
const DEFAULT_LEAVE: Duration = Duration::from_secs(10);

/// Of one queue. Shared by its batches.
pub(super) struct Settler {
    sqs: Sqs,
    queue: Arc<QueueInfo>,
    deleter: Deleter,
    visibility: Duration,
    dead_letters: Option<(DeadLetterQueue, Producer)>,
    /// For the spread of back-offs.
    chance: Mutex<fastrand::Rng>,
}

impl Settler {
    pub fn new(sqs: Sqs, queue: Arc<QueueInfo>, deleter: Deleter, chance: fastrand::Rng) -> Self {
        let producer = |dlq: DeadLetterQueue| (dlq.clone(), Producer::new(sqs.clone(), &dlq.url));
        let dead_letters = queue.dead_letter.clone().map(producer);
        Self { visibility: sqs.visibility, sqs, queue, deleter, dead_letters, chance: Mutex::new(chance) }
    }

    /// Carries the dispositions out: same order as the messages; a message without one is left.
    pub async fn settle(&self, messages: &[Arc<Received>], dispositions: Vec<Disposition>) {
        if dispositions.len() != messages.len() {
            tracing::error!(
                queue = self.queue.name,
                messages = messages.len(),
                dispositions = dispositions.len(),
                "the handler did not answer for every message; the rest is left in the queue"
            );
        }
        let rest = std::iter::repeat(Disposition::Leave { after: DEFAULT_LEAVE });
        let (mut rejected, mut left) = (Vec::new(), Vec::new());
        for (message, disposition) in messages.iter().zip(dispositions.into_iter().chain(rest)) {
            match disposition {
                Disposition::Delete { result } => {
                    self.count(result, 1);
                    self.delete(message);
                }
                Disposition::Reject(rejection) => rejected.push((message, rejection)),
                Disposition::Leave { after } => left.push((message, self.back_off(message, after))),
            }
        }
        if !rejected.is_empty() {
            left.extend(self.reject(rejected).await);
        }
        if !left.is_empty() {
            self.leave(left).await;
        }
    }

    /// Makes messages visible again at once, for whoever receives next.
    pub async fn release(&self, messages: &[Arc<Received>]) {
        if !messages.is_empty() {
            tracing::info!(queue = self.queue.name, count = messages.len(), "messages are given back to the queue");
            self.leave(messages.iter().map(|message| (message, Duration::ZERO)).collect()).await;
        }
    }

    fn delete(&self, message: &Received) {
        self.deleter.delete(message.receipt.clone(), message.received_at, self.visibility);
    }

    /// Writes the dead letters, then deletes; returns the messages whose dead letter could not be written.
    async fn reject<'a>(&self, rejected: Vec<(&'a Arc<Received>, Rejection)>) -> Vec<(&'a Arc<Received>, Duration)> {
        let Some((queue, producer)) = &self.dead_letters else {
            for (message, _) in rejected {
                self.rejected(message);
            }
            return Vec::new();
        };
        let copies: Vec<Outgoing> =
            rejected.iter().map(|(message, rejection)| dead_letter::copy(message, rejection, queue)).collect();
        let mut left = Vec::new();
        for range in batches(&copies) {
            let results = producer.send_batch(&copies[range.clone()]).await;
            for ((message, _), result) in rejected[range].iter().zip(results) {
                match result {
                    Ok(_) => self.rejected(message),
                    Err(error) => {
                        tracing::warn!(
                            queue = self.queue.name,
                            message_id = message.message_id,
                            error = %error,
                            "a dead letter could not be written; the message stays in its queue"
                        );
                        left.push((*message, self.back_off(message, DEFAULT_LEAVE)));
                    }
                }
            }
        }
        left
    }

    fn rejected(&self, message: &Received) {
        self.count("rejected", 1);
        self.delete(message);
    }

    /// Doubles for each earlier delivery, spread by chance.
    fn back_off(&self, message: &Received, after: Duration) -> Duration {
        let unit = self.chance.lock().unwrap_or_else(PoisonError::into_inner).f64();
        let wait = wait_for(message.receive_count.saturating_sub(1), after, LONGEST_LEAVE, unit);
        // SQS knows whole seconds; a short wait rounded down would come back at once.
        if wait.is_zero() { wait } else { wait.max(Duration::from_secs(1)) }
    }

    /// Changes the visibility, last first, so that a FIFO group is not unlocked before its later messages are given back.
    /// What fails comes again when its visibility time-out ends.
    async fn leave(&self, mut messages: Vec<(&Arc<Received>, Duration)>) {
        self.count("returned", messages.len());
        messages.reverse();
        for batch in messages.chunks(BATCH) {
            let changes: Vec<(&str, Duration)> =
                batch.iter().map(|(message, after)| (message.receipt.as_str(), *after)).collect();
            match self.sqs.change_visibility(&self.queue.url, &changes).await {
                Ok(results) => {
                    for failed in results.iter().filter_map(|result| result.as_ref().err()) {
                        tracing::debug!(queue = self.queue.name, error = %failed.error, "a visibility could not be changed");
                    }
                }
                Err(error) => {
                    tracing::debug!(queue = self.queue.name, error = %error, "visibilities could not be changed");
                }
            }
        }
    }

    fn count(&self, result: &str, n: usize) {
        metrics::SQS_MESSAGES.add([&self.queue.name, result], n as u64);
    }
}
