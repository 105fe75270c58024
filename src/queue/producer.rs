//! Sending to a queue in batches, with every entry's result read.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use aws_sdk_sqs::error::BuildError;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures_util::stream::{self, StreamExt as _};

use super::client::{BATCH, Sqs};
use super::error::SqsError;
use super::message::Attribute;
use crate::clock;
use crate::retry::wait_for;

/// SQS: of one message and of one batch, attributes included.
pub(super) const MAX_BYTES: usize = 1_048_576;
/// Tries of an entry that failed through no fault of its own.
const TRIES: u32 = 5;
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// Batches under way at once on a standard queue.
const CONCURRENCY: usize = 8;

/// A message to send.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outgoing {
    pub body: String,
    /// At most ten.
    pub attributes: BTreeMap<String, Attribute>,
    /// FIFO: what is in order, demanded. Standard: the tenant (fair queues), may be absent.
    pub group_id: Option<String>,
    /// FIFO: a repeat within five minutes is dropped by SQS. Without one, the SHA-256 of the body.
    pub deduplication_id: Option<String>,
    /// Up to 15 minutes; not on FIFO queues.
    pub delay: Option<Duration>,
}

impl Outgoing {
    pub fn new(body: impl Into<String>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, attribute)| name.len() + attribute.size());
        self.body.len() + attributes.sum::<usize>()
    }

    fn entry(&self, position: usize, fifo: bool) -> Result<SendMessageBatchRequestEntry, SqsError> {
        let refused = |message: String| SqsError::Refused { operation: "send", code: "InvalidEntry".into(), message };
        let deduplication = match (&self.deduplication_id, fifo) {
            (Some(id), true) => Some(id.clone()),
            (None, true) => Some(hex(digest::digest(&digest::SHA256, self.body.as_bytes()).as_ref())),
            (_, false) => None,
        };
        let attributes: Result<HashMap<_, _>, _> =
            self.attributes.iter().map(|(name, value)| Ok((name.clone(), value.to_sdk()?))).collect();
        let attributes = attributes.map_err(|error: BuildError| refused(error.to_string()))?;
        SendMessageBatchRequestEntry::builder()
            .id(position.to_string())
            .message_body(&self.body)
            .set_message_attributes(Some(attributes))
            .set_message_group_id(self.group_id.clone())
            .set_message_deduplication_id(deduplication)
            .set_delay_seconds(self.delay.map(|delay| delay.as_secs().min(900) as i32))
            .build()
            .map_err(|error| refused(error.to_string()))
    }
}

/// Sends to one queue. Cheap to clone.
#[derive(Clone)]
pub struct Producer {
    sqs: Sqs,
    url: Arc<str>,
    fifo: bool,
}

impl Producer {
    /// `url` as SQS gives it, e.g. [`super::QueueInfo::url`].
    pub fn new(sqs: Sqs, url: &str) -> Self {
        Self { sqs, url: url.into(), fifo: url.ends_with(".fifo") }
    }

    /// Sends all, and tells `progress` how many more are settled after each batch. The result of each message stands at its
    /// position: SQS's message id, or why it was not sent (an [`SqsError::Unreachable`] may have been).
    ///
    /// On a FIFO queue the batches follow each other, so that the order holds; a message that could not be sent does not
    /// hold up those behind it.
    pub async fn send(&self, messages: &[Outgoing], progress: impl Fn(usize)) -> Vec<Result<String, SqsError>> {
        let concurrency = if self.fifo { 1 } else { CONCURRENCY };
        let batches = stream::iter(batches(messages)).map(|range| {
            let batch = &messages[range];
            Box::pin(self.send_batch(batch))
        });
        let mut results = Vec::with_capacity(messages.len());
        let mut batches = batches.buffered(concurrency);
        while let Some(batch) = batches.next().await {
            progress(batch.len());
            results.extend(batch);
        }
        results
    }

    /// One batch of at most ten messages and 1 MiB. Entries that failed through no fault of their own are tried again.
    pub async fn send_batch(&self, batch: &[Outgoing]) -> Vec<Result<String, SqsError>> {
        let mut results: Vec<Option<Result<String, SqsError>>> = vec![None; batch.len()];
        let mut tries = 0;
        loop {
            let open: Vec<usize> = (0..batch.len())
                .filter(|n| {
                    results[*n].as_ref().is_none_or(|result| result.as_ref().is_err_and(SqsError::is_retryable))
                })
                .collect();
            if open.is_empty() || tries >= TRIES {
                break;
            }
            if tries > 0 {
                clock::sleep(wait_for(tries - 1, FIRST_RETRY, LAST_RETRY, 0.5)).await;
            }
            tries += 1;
            let entries = open.iter().enumerate().map(|(position, n)| batch[*n].entry(position, self.fifo));
            let answer = match entries.collect() {
                Ok(entries) => self.sqs.send(&self.url, entries).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(entries) => {
                    for (n, entry) in open.into_iter().zip(entries) {
                        results[n] = Some(entry.map_err(|failed| failed.error));
                    }
                }
                Err(error) => open.into_iter().for_each(|n| results[n] = Some(Err(error.clone()))),
            }
        }
        let lost = || SqsError::Unreachable { operation: "send", detail: "was not tried".into(), timed_out: false };
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(lost()))).collect()
    }
}

/// Ranges of at most ten messages and 1 MiB. A message that is too large stands alone, and SQS says so.
pub(super) fn batches(messages: &[Outgoing]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (n, message) in messages.iter().enumerate() {
        let size = message.size();
        match ranges.last_mut() {
            Some(range) if range.len() < BATCH && bytes + size <= MAX_BYTES => range.end = n + 1,
            _ => {
                ranges.push(n..n + 1);
                bytes = 0;
            }
        }
        bytes += size;
    }
    ranges
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_ten_messages_and_one_mebibyte() {
        let small = vec![Outgoing::new("x"); 23];
        assert_eq!(batches(&small), [0..10, 10..20, 20..23]);
        let large = vec![Outgoing::new("x".repeat(400_000)); 5];
        assert_eq!(batches(&large), [0..2, 2..4, 4..5]);
        assert!(batches(&[]).is_empty());
    }
}
