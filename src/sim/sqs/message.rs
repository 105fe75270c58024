//! A message: what was sent, and where it stands.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::attributes::{AttributeValue, Attributes};
use super::handle::Handle;

/// What the producer sent; shared by all deliveries of a message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Content {
    pub body: String,
    pub body_md5: String,
    pub attributes: Attributes,
    pub attributes_md5: Option<String>,
    pub trace_header: Option<AttributeValue>,
    pub trace_md5: Option<String>,
    pub group: Option<Arc<str>>,
    pub deduplication_id: Option<String>,
}

/// A message in a queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Message {
    pub id: Uuid,
    pub content: Arc<Content>,
    /// When it was sent; a dead-letter queue keeps the first queue's clock.
    pub sent_ms: u64,
    pub sequence: Option<u64>,
    /// How often it was received.
    pub received: u32,
    pub first_received_ms: u64,
    /// When the present delivery began.
    pub taken_ms: u64,
    pub state: State,
    /// The queue it came from, for a message that was moved to a dead-letter queue.
    pub origin: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    Ready,
    Delayed { until: u64 },
    InFlight { until: u64 },
}

/// One message on its way to a receiver.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub handle: Handle,
    pub message: Message,
}
