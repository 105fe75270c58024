//! From what a producer sent to a message that its queue takes.

use std::sync::Arc;

use super::attributes::{self, md5_of, md5_of_text};
use super::error::ApiError;
use super::message::Content;
use super::settings::{MAX_DELAY_SECONDS, Settings, content_deduplication_id};
use super::wire::Send;

/// A message that was checked against its queue's rules.
pub(super) struct Prepared {
    pub content: Content,
    pub delay: Option<u32>,
}

/// Bytes of body and attributes. System attributes do not count (API reference, `MessageSystemAttributes`).
pub(super) fn size_of(entry: &Send) -> usize {
    entry.message_body.as_ref().map_or(0, String::len) + attributes::size(&entry.message_attributes)
}

/// Checks a message against its queue's rules.
///
/// # Errors
/// `MissingParameter`, `InvalidParameterValue`, `InvalidMessageContents`.
pub(super) fn prepare(entry: Send, settings: &Settings) -> Result<Prepared, ApiError> {
    let size = size_of(&entry);
    let body = entry.message_body.filter(|body| !body.is_empty()).ok_or_else(|| ApiError::missing("MessageBody"))?;
    if size > settings.max_message_bytes {
        return Err(ApiError::parameter(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {} bytes.",
            settings.max_message_bytes
        )));
    }
    attributes::require_allowed_characters(&body)?;
    attributes::validate(&entry.message_attributes)?;
    let mut system = entry.message_system_attributes;
    let trace = system.remove("AWSTraceHeader");
    if let Some((name, _)) = system.first_key_value() {
        return Err(ApiError::parameter(format!("Message system attribute name '{name}' is invalid.")));
    }
    let trace_name = "AWSTraceHeader".to_owned();
    if trace.as_ref().is_some_and(|value| value.data_type != "String" || value.string_value.is_none()) {
        return Err(ApiError::parameter("The message system attribute 'AWSTraceHeader' must be of type String."));
    }
    let group = entry.message_group_id.map(|group| identifier(group, "MessageGroupId")).transpose()?;
    let mut deduplication_id =
        entry.message_deduplication_id.map(|id| identifier(id, "MessageDeduplicationId")).transpose()?;
    let mut delay = None;
    if let Some(seconds) = entry.delay_seconds {
        let seconds = u32::try_from(seconds).ok().filter(|n| *n <= MAX_DELAY_SECONDS).ok_or_else(|| {
            ApiError::value(seconds, "DelaySeconds", format!("DelaySeconds must be >= 0 and <= {MAX_DELAY_SECONDS}."))
        })?;
        delay = Some(seconds);
    }
    let wrong_kind = |value: &str, parameter: &str| {
        ApiError::value(value, parameter, "The request include parameter that is not valid for this queue type")
    };
    if settings.fifo {
        if group.is_none() {
            return Err(ApiError::missing("MessageGroupId"));
        }
        if let Some(seconds) = delay.filter(|seconds| *seconds > 0) {
            return Err(wrong_kind(&seconds.to_string(), "DelaySeconds"));
        }
        delay = None;
        if deduplication_id.is_none() && settings.content_based_deduplication {
            deduplication_id = Some(content_deduplication_id(&body));
        }
        if deduplication_id.is_none() {
            return Err(ApiError::parameter(
                "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
            ));
        }
    } else if let Some(id) = &deduplication_id {
        return Err(wrong_kind(id, "MessageDeduplicationId"));
    }
    Ok(Prepared {
        content: Content {
            body_md5: md5_of_text(&body),
            body,
            attributes_md5: md5_of(&entry.message_attributes),
            attributes: entry.message_attributes,
            trace_md5: md5_of(trace.as_ref().map(|value| (&trace_name, value))),
            trace_header: trace,
            group: group.map(Arc::from),
            deduplication_id,
        },
        delay,
    })
}

/// Group and deduplication ids: up to 128 letters, digits and ASCII punctuation.
fn identifier(id: String, parameter: &str) -> Result<String, ApiError> {
    if (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(id);
    }
    let reason = format!("{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length.");
    Err(ApiError::value(id, parameter, reason))
}
