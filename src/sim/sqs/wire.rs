//! Requests and answers of the AWS JSON 1.0 protocol, as the service model spells them.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::attributes::{AttributeValue, Attributes, Wanted, md5_of};
use super::error::{ApiError, ErrorKind};
use super::message::Delivery;

/// # Errors
/// `Serialization` for what is not JSON of the operation's shape.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ApiError::new(ErrorKind::Serialization, error.to_string()))
}

/// # Errors
/// Never for the answers of this file; `InternalError` instead of a panic if one day it were.
pub(super) fn write(answer: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(answer).map_err(|error| ApiError::new(ErrorKind::InternalError, error.to_string()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateQueue {
    pub queue_name: Option<String>,
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    #[serde(default, rename = "tags")]
    pub tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetQueueUrl {
    pub queue_name: Option<String>,
    #[serde(rename = "QueueOwnerAWSAccountId")]
    pub owner: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Page {
    pub queue_url: Option<String>,
    pub queue_name_prefix: Option<String>,
    pub next_token: Option<String>,
    pub max_results: Option<i64>,
}

/// The requests that name a queue and little else.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct QueueRequest {
    pub queue_url: Option<String>,
    #[serde(default)]
    pub attribute_names: Vec<String>,
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    #[serde(default)]
    pub tag_keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MoveRequest {
    pub source_arn: Option<String>,
    pub destination_arn: Option<String>,
    pub max_number_of_messages_per_second: Option<u32>,
    pub task_handle: Option<String>,
    pub max_results: Option<i64>,
}

/// `SendMessage`, and one entry of `SendMessageBatch`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Send {
    #[serde(default)]
    pub queue_url: Option<String>,
    #[serde(default)]
    pub id: Option<String>,
    pub message_body: Option<String>,
    pub delay_seconds: Option<i64>,
    #[serde(default)]
    pub message_attributes: Attributes,
    #[serde(default)]
    pub message_system_attributes: BTreeMap<String, AttributeValue>,
    pub message_deduplication_id: Option<String>,
    pub message_group_id: Option<String>,
}

/// `DeleteMessage` and `ChangeMessageVisibility`, and one entry of their batches.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Settle {
    #[serde(default)]
    pub queue_url: Option<String>,
    #[serde(default)]
    pub id: Option<String>,
    pub receipt_handle: Option<String>,
    pub visibility_timeout: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", bound = "T: serde::de::DeserializeOwned")]
pub(super) struct Batch<T> {
    pub queue_url: Option<String>,
    #[serde(default = "Vec::new")]
    pub entries: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReceiveMessage {
    pub queue_url: Option<String>,
    #[serde(default)]
    pub attribute_names: Vec<String>,
    #[serde(default)]
    pub message_system_attribute_names: Vec<String>,
    #[serde(default)]
    pub message_attribute_names: Vec<String>,
    pub max_number_of_messages: Option<i64>,
    pub visibility_timeout: Option<i64>,
    pub wait_time_seconds: Option<i64>,
    pub receive_request_attempt_id: Option<String>,
}

/// What a producer is told of its message.
#[derive(Serialize)]
pub(super) struct SentMessage {
    #[serde(rename = "Id", skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(rename = "MessageId")]
    pub message_id: String,
    #[serde(rename = "MD5OfMessageBody")]
    pub body_md5: String,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    pub attributes_md5: Option<String>,
    #[serde(rename = "MD5OfMessageSystemAttributes", skip_serializing_if = "Option::is_none")]
    pub system_md5: Option<String>,
    #[serde(rename = "SequenceNumber", skip_serializing_if = "Option::is_none")]
    pub sequence: Option<String>,
}

/// The answer to a batch: what went through and what did not, by entry.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchAnswer<T> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub successful: Vec<T>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedEntry>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EntryId {
    pub id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct FailedEntry {
    pub id: String,
    pub sender_fault: bool,
    pub code: &'static str,
    pub message: String,
}

impl FailedEntry {
    pub fn new(id: String, error: ApiError) -> Self {
        Self { id, sender_fault: error.kind.sender_fault(), code: error.kind.query_code(), message: error.message }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Received<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<ReceivedMessage<'a>>,
}

#[derive(Serialize)]
struct ReceivedMessage<'a> {
    #[serde(rename = "MessageId")]
    id: String,
    #[serde(rename = "ReceiptHandle")]
    handle: String,
    #[serde(rename = "MD5OfBody")]
    body_md5: &'a str,
    #[serde(rename = "Body")]
    body: &'a str,
    #[serde(rename = "Attributes", skip_serializing_if = "BTreeMap::is_empty")]
    system: BTreeMap<&'static str, String>,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    attributes_md5: Option<String>,
    #[serde(rename = "MessageAttributes", skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<&'a String, &'a AttributeValue>,
}

/// The sender that every message shows: this service knows no identities.
const SENDER_ID: &str = "AIDAVOXDSIMULATEDSQS0";

/// The answer to a receive. `system` are the system attributes asked for (`All` for all), `own` region and account.
pub(super) fn received(deliveries: &[Delivery], system: &[String], wanted: &Wanted, own: &str) -> impl Serialize {
    let all = system.iter().any(|name| name == "All");
    let asked = |name: &str| all || system.iter().any(|wanted| wanted == name);
    let messages = deliveries.iter().map(|delivery| {
        let message = &delivery.message;
        let content = &message.content;
        let mut system = BTreeMap::new();
        let mut add = |name: &'static str, value: Option<String>| {
            if let Some(value) = value {
                system.insert(name, value);
            }
        };
        if all || asked("ApproximateReceiveCount") {
            add("ApproximateReceiveCount", Some(message.received.to_string()));
        }
        if asked("SentTimestamp") {
            add("SentTimestamp", Some(message.sent_ms.to_string()));
        }
        if asked("ApproximateFirstReceiveTimestamp") {
            add("ApproximateFirstReceiveTimestamp", Some(message.first_received_ms.to_string()));
        }
        if asked("SenderId") {
            add("SenderId", Some(SENDER_ID.to_owned()));
        }
        if asked("MessageGroupId") {
            add("MessageGroupId", content.group.as_deref().map(str::to_owned));
        }
        if asked("MessageDeduplicationId") {
            add("MessageDeduplicationId", content.deduplication_id.clone());
        }
        if asked("SequenceNumber") {
            add("SequenceNumber", message.sequence.map(|n| n.to_string()));
        }
        if asked("AWSTraceHeader") {
            add("AWSTraceHeader", content.trace_header.as_ref().and_then(|value| value.string_value.clone()));
        }
        if asked("DeadLetterQueueSourceArn") {
            add("DeadLetterQueueSourceArn", message.origin.as_ref().map(|name| super::settings::arn(own, name)));
        }
        let attributes: BTreeMap<_, _> = if wanted.none() {
            BTreeMap::new()
        } else {
            content.attributes.iter().filter(|(name, _)| wanted.has(name)).collect()
        };
        let attributes_md5 = if attributes.len() == content.attributes.len() {
            content.attributes_md5.clone()
        } else {
            md5_of(attributes.iter().map(|(name, value)| (*name, *value)))
        };
        ReceivedMessage {
            id: message.id.to_string(),
            handle: delivery.handle.encode(),
            body_md5: &content.body_md5,
            body: &content.body,
            system,
            attributes_md5,
            attributes,
        }
    });
    Received { messages: messages.collect() }
}
