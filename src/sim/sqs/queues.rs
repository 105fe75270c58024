//! Operations on queues: create, find, describe, tag, purge, delete, and the moving of dead letters.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::error::{ApiError, ErrorKind};
use super::moves::Status;
use super::queue::Queue;
use super::service::{Answer, Service, queue_name};
use super::settings::{arn, unknown_attribute};
use super::wire::{self, CreateQueue, GetQueueUrl, MoveRequest, Page, QueueRequest};

/// A listing brings this many names when the client does not page.
const LISTING: usize = 1000;
/// Move tasks in a listing: ten at most, one when not asked for more.
const MAX_TASKS: i64 = 10;

impl Service {
    pub(super) fn create_queue(&self, body: &[u8], host: &str) -> Answer {
        let request: CreateQueue = wire::read(body)?;
        let name = request.queue_name.ok_or_else(|| ApiError::missing("QueueName"))?;
        self.with(|broker, now| broker.create(now, &name, &request.attributes, request.tags))?;
        done(&json!({ "QueueUrl": self.url(host, &name) }))
    }

    pub(super) fn get_queue_url(&self, body: &[u8], host: &str) -> Answer {
        let request: GetQueueUrl = wire::read(body)?;
        let name = request.queue_name.ok_or_else(|| ApiError::missing("QueueName"))?;
        if request.owner.is_some_and(|owner| owner != self.account()) {
            return Err(ApiError::queue_does_not_exist());
        }
        self.with(|broker, now| broker.queue(now, &name).map(|_| ()))?;
        done(&json!({ "QueueUrl": self.url(host, &name) }))
    }

    pub(super) fn list_queues(&self, body: &[u8], host: &str) -> Answer {
        let page: Page = wire::read(body)?;
        let prefix = page.queue_name_prefix.clone().unwrap_or_default();
        let names = self.with(|broker, _| {
            let after = page.next_token.as_deref().unwrap_or_default();
            Ok(broker.names_after(&prefix, after).map(|queue| queue.name.to_string()).collect::<Vec<_>>())
        })?;
        self.page(&page, names, host, "QueueUrls")
    }

    pub(super) fn list_dead_letter_source_queues(&self, body: &[u8], host: &str) -> Answer {
        let page: Page = wire::read(body)?;
        let name = queue_name(page.queue_url.as_deref())?;
        let names = self.with(|broker, now| {
            broker.queue(now, name)?;
            let after = page.next_token.as_deref().unwrap_or_default();
            Ok(broker.sources_of(name).filter(|name| name.as_ref() > after).map(ToString::to_string).collect())
        })?;
        self.page(&page, names, host, "queueUrls")
    }

    /// One page of queue URLs. There is a token only for a client that asked for pages.
    fn page(&self, page: &Page, mut names: Vec<String>, host: &str, key: &str) -> Answer {
        let max = page.max_results.unwrap_or(LISTING as i64);
        let max = usize::try_from(max).ok().filter(|n| (1..=LISTING).contains(n));
        let max = max.ok_or_else(|| {
            ApiError::value(page.max_results.unwrap_or(0), "MaxResults", "Must be between 1 and 1000, if provided.")
        })?;
        let more = names.len() > max && page.max_results.is_some();
        names.truncate(max);
        let mut answer = serde_json::Map::new();
        if more {
            answer.insert("NextToken".into(), json!(names.last()));
        }
        if !names.is_empty() || key == "queueUrls" {
            let urls: Vec<String> = names.iter().map(|name| self.url(host, name)).collect();
            answer.insert(key.into(), json!(urls));
        }
        done(&answer)
    }

    pub(super) fn get_queue_attributes(&self, body: &[u8]) -> Answer {
        let request: QueueRequest = wire::read(body)?;
        let name = queue_name(request.queue_url.as_deref())?;
        let all = self.with(|broker, now| broker.queue(now, name).map(|queue| describe(queue, self.own())))?;
        if request.attribute_names.is_empty() {
            return done(&json!({}));
        }
        let mut chosen = BTreeMap::new();
        for asked in &request.attribute_names {
            if asked == "All" {
                chosen.extend(all.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            } else if let Some((key, value)) = all.get_key_value(asked) {
                chosen.insert(key, value);
            } else if !KNOWN_WHEN_UNSET.contains(&asked.as_str()) {
                return Err(unknown_attribute(asked));
            }
        }
        done(&json!({ "Attributes": chosen }))
    }

    pub(super) fn set_queue_attributes(&self, body: &[u8]) -> Answer {
        let request: QueueRequest = wire::read(body)?;
        let name = queue_name(request.queue_url.as_deref())?;
        if request.attributes.is_empty() {
            return Err(ApiError::missing("Attribute.Name"));
        }
        self.with(|broker, now| broker.set_attributes(now, name, &request.attributes))?;
        Ok((Vec::new(), 0))
    }

    pub(super) fn delete_queue(&self, body: &[u8]) -> Answer {
        let request: QueueRequest = wire::read(body)?;
        let name = queue_name(request.queue_url.as_deref())?;
        self.with(|broker, now| broker.delete(now, name))?;
        self.silence(name);
        Ok((Vec::new(), 0))
    }

    pub(super) fn purge_queue(&self, body: &[u8]) -> Answer {
        let request: QueueRequest = wire::read(body)?;
        let name = queue_name(request.queue_url.as_deref())?;
        self.with(|broker, now| broker.purge(now, name))?;
        Ok((Vec::new(), 0))
    }

    pub(super) fn tag_queue(&self, body: &[u8]) -> Answer {
        let request: QueueRequest = wire::read(body)?;
        let name = queue_name(request.queue_url.as_deref())?;
        self.with(|broker, now| {
            broker.queue(now, name)?.tags.extend(request.tags);
            Ok(())
        })?;
        Ok((Vec::new(), 0))
    }

    pub(super) fn untag_queue(&self, body: &[u8]) -> Answer {
        let request: QueueRequest = wire::read(body)?;
        let name = queue_name(request.queue_url.as_deref())?;
        self.with(|broker, now| {
            broker.queue(now, name)?.tags.retain(|key, _| !request.tag_keys.contains(key));
            Ok(())
        })?;
        Ok((Vec::new(), 0))
    }

    pub(super) fn list_queue_tags(&self, body: &[u8]) -> Answer {
        let request: QueueRequest = wire::read(body)?;
        let name = queue_name(request.queue_url.as_deref())?;
        let tags = self.with(|broker, now| Ok(broker.queue(now, name)?.tags.clone()))?;
        done(&if tags.is_empty() { json!({}) } else { json!({ "Tags": tags }) })
    }

    pub(super) fn start_message_move_task(&self, body: &[u8]) -> Answer {
        let request: MoveRequest = wire::read(body)?;
        let source = request.source_arn.ok_or_else(|| ApiError::missing("SourceArn"))?;
        let (destination, rate) = (request.destination_arn.as_deref(), request.max_number_of_messages_per_second);
        let handle = self.with(|broker, now| broker.start_move(now, &source, destination, rate))?;
        done(&json!({ "TaskHandle": handle }))
    }

    pub(super) fn cancel_message_move_task(&self, body: &[u8]) -> Answer {
        let request: MoveRequest = wire::read(body)?;
        let handle = request.task_handle.ok_or_else(|| ApiError::missing("TaskHandle"))?;
        let moved = self.with(|broker, _| broker.cancel_move(&handle))?;
        done(&json!({ "ApproximateNumberOfMessagesMoved": moved }))
    }

    pub(super) fn list_message_move_tasks(&self, body: &[u8]) -> Answer {
        let request: MoveRequest = wire::read(body)?;
        let source = request.source_arn.ok_or_else(|| ApiError::missing("SourceArn"))?;
        let max = request.max_results.unwrap_or(1);
        if !(1..=MAX_TASKS).contains(&max) {
            return Err(ApiError::value(max, "MaxResults", "Must be between 1 and 10, if provided."));
        }
        let tasks = self.with(|broker, _| {
            let tasks = broker.list_moves(&source)?.take(max.unsigned_abs() as usize);
            Ok(tasks.map(|task| MoveEntry::new(task, self.own())).collect::<Vec<_>>())
        })?;
        done(&json!({ "Results": tasks }))
    }
}

fn done(answer: &impl Serialize) -> Answer {
    Ok((wire::write(answer)?, 0))
}

/// Attributes that exist but have no value until somebody sets one.
const KNOWN_WHEN_UNSET: &[&str] = &[
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoQueue",
    "FifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "Policy",
    "RedriveAllowPolicy",
    "RedrivePolicy",
];

fn describe(queue: &Queue, own: &str) -> BTreeMap<String, String> {
    let mut all = queue.settings.given().clone();
    let mut add = |key: &str, value: String| all.insert(key.to_owned(), value);
    add("QueueArn", arn(own, &queue.name));
    add("CreatedTimestamp", (queue.created_ms / 1000).to_string());
    add("LastModifiedTimestamp", (queue.modified_ms / 1000).to_string());
    add("ApproximateNumberOfMessages", queue.ready().to_string());
    add("ApproximateNumberOfMessagesNotVisible", queue.in_flight().to_string());
    add("ApproximateNumberOfMessagesDelayed", queue.delayed().to_string());
    all
}

/// A move task as it is listed. Only a running one has a handle.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MoveEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    task_handle: Option<String>,
    status: Status,
    source_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_number_of_messages_per_second: Option<u32>,
    approximate_number_of_messages_moved: u64,
    approximate_number_of_messages_to_move: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<String>,
    started_timestamp: u64,
}

impl MoveEntry {
    fn new(task: &super::moves::MoveTask, own: &str) -> Self {
        Self {
            task_handle: (task.status == Status::Running).then(|| task.handle(own)),
            status: task.status,
            source_arn: arn(own, &task.source),
            destination_arn: task.destination.as_ref().map(|name| arn(own, name)),
            max_number_of_messages_per_second: task.per_second,
            approximate_number_of_messages_moved: task.moved,
            approximate_number_of_messages_to_move: task.to_move,
            failure_reason: task.failure.clone(),
            started_timestamp: task.started_ms,
        }
    }
}

/// The name in a queue URL: its last part. A bare name does as well.
///
/// # Errors
/// `MissingParameter`.
pub(super) fn name_in_url(url: Option<&str>) -> Result<&str, ApiError> {
    let url = url.filter(|url| !url.is_empty()).ok_or_else(|| ApiError::missing("QueueUrl"))?;
    url.rsplit('/').next().filter(|name| !name.is_empty()).ok_or_else(|| {
        ApiError::new(ErrorKind::QueueDoesNotExist, format!("The address {url} is not valid for this endpoint."))
    })
}
