//! A received message, and what may become of it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::error::BuildError;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{self, MessageAttributeValue, MessageSystemAttributeName as System};
use chrono::{DateTime, Utc};

use super::backlog::Permit;
use super::resolve::QueueInfo;
use crate::clock::Monotonic;
use crate::job::Rejection;

/// One message of a batch: what was received, and its room in the backlog.
///
/// A handler that goes on with the work after it answered takes the permit along and drops it when the work is sent; else
/// the room is free again once the message is dropped.
#[derive(Debug)]
pub struct Message {
    received: Arc<Received>,
    permit: Option<Permit>,
}

impl Message {
    pub(super) fn new(received: Arc<Received>, permit: Permit) -> Self {
        Self { received, permit: Some(permit) }
    }

    /// The room in the backlog, once.
    pub fn take_permit(&mut self) -> Option<Permit> {
        self.permit.take()
    }
}

impl Deref for Message {
    type Target = Received;
    fn deref(&self) -> &Received {
        &self.received
    }
}

/// A message as SQS delivered it.
pub struct Received {
    pub queue: Arc<QueueInfo>,
    pub message_id: String,
    /// New at each delivery.
    pub receipt: String,
    pub body: String,
    /// The sender's attributes, all of them.
    pub attributes: BTreeMap<String, Attribute>,
    /// FIFO: what is in order. Standard: the tenant (fair queues).
    pub group_id: Option<String>,
    /// FIFO: rises within the group.
    pub sequence_number: Option<String>,
    pub sent_at: Option<DateTime<Utc>>,
    /// Deliveries so far, this one included; a count of deliveries, not of failures.
    pub receive_count: u32,
    pub received_at: Monotonic,
}

/// Neither body nor attributes: they are not for logs.
impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received")
            .field("queue", &self.queue.name)
            .field("message_id", &self.message_id)
            .field("receive_count", &self.receive_count)
            .finish_non_exhaustive()
    }
}

impl Received {
    /// The sender's W3C trace context, where the attribute `traceparent` is there.
    pub fn traceparent(&self) -> Option<&str> {
        match self.attributes.get("traceparent")? {
            Attribute::Text { value, .. } => Some(value),
            Attribute::Binary { .. } => None,
        }
    }

    pub(super) fn from_sdk(queue: Arc<QueueInfo>, message: types::Message, received_at: Monotonic) -> Self {
        let system = message.attributes.unwrap_or_default();
        let get = |name: System| system.get(&name).cloned();
        let sent_at = get(System::SentTimestamp).and_then(|text| DateTime::from_timestamp_millis(text.parse().ok()?));
        let attributes = message.message_attributes.unwrap_or_default();
        Self {
            queue,
            message_id: message.message_id.unwrap_or_default(),
            receipt: message.receipt_handle.unwrap_or_default(),
            body: message.body.unwrap_or_default(),
            attributes: attributes.into_iter().map(|(name, value)| (name, Attribute::from_sdk(value))).collect(),
            group_id: get(System::MessageGroupId),
            sequence_number: get(System::SequenceNumber),
            sent_at,
            receive_count: get(System::ApproximateReceiveCount).and_then(|text| text.parse().ok()).unwrap_or(1),
            received_at,
        }
    }
}

/// A message attribute with its type as the sender gave it, e.g. `String`, `Number.int`, `Binary`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    Text { data_type: String, value: String },
    Binary { data_type: String, value: Vec<u8> },
}

impl Attribute {
    pub fn string(value: impl Into<String>) -> Self {
        Self::Text { data_type: "String".into(), value: value.into() }
    }

    /// What it counts for in the size of its message: type and value.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Text { data_type, value } => data_type.len() + value.len(),
            Self::Binary { data_type, value } => data_type.len() + value.len(),
        }
    }

    fn from_sdk(value: MessageAttributeValue) -> Self {
        match value.binary_value {
            Some(bytes) => Self::Binary { data_type: value.data_type, value: bytes.into_inner() },
            None => Self::Text { data_type: value.data_type, value: value.string_value.unwrap_or_default() },
        }
    }

    pub(super) fn to_sdk(&self) -> Result<MessageAttributeValue, BuildError> {
        let builder = MessageAttributeValue::builder();
        let builder = match self {
            Self::Text { data_type, value } => builder.data_type(data_type).string_value(value),
            Self::Binary { data_type, value } => builder.data_type(data_type).binary_value(Blob::new(value.as_slice())),
        };
        builder.build()
    }
}

/// What the handler decided for one message.
#[derive(Debug, Clone, PartialEq)]
pub enum Disposition {
    /// Its row is committed (or was there before). `result` is the metric's word: `accepted`, `duplicate`.
    Delete { result: &'static str },
    /// It is no job, and that is committed: a copy goes to the dead-letter queue, then it is deleted. Where the copy fails,
    /// the message stays and comes again.
    Reject(Rejection),
    /// It cannot be judged now. It comes again after about this long, doubled for each earlier delivery.
    Leave { after: Duration },
}

/// Takes batches as they come, several at once.
#[async_trait]
pub trait BatchHandler: Send + Sync + 'static {
    /// One disposition for each message, in the same order; messages without one are left.
    ///
    /// It must commit what it answers before it answers, end well within the visibility time-out, and know a message that
    /// comes again. On a FIFO queue the messages of a group stand in order: whoever leaves one must leave those behind it.
    async fn handle(&self, batch: Vec<Message>) -> Vec<Disposition>;
}
