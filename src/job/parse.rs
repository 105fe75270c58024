//! A message → a job, or the reason why it is none.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::envelope::{self, Event, Layout};
use super::event::{CallData, CancelData, ContentHash, EVENT_TYPES, Job, JobKey, JobKind, RejectReason, Rejection};
use super::read::{self, Fault};
use super::speech::{SynthesizeData, TranscribeData};
use super::{schema, validate};
use crate::call::{FieldError, VoiceConfig};
use crate::text::{nearest_hint, pointer_token};

/// Most characters of `id`, `source` and `type`.
pub(super) const MAX_NAME_CHARS: usize = 256;
/// Most characters of a rejection's pointer and of its detail: both travel in message attributes.
const MAX_POINTER_CHARS: usize = 256;
const MAX_DETAIL_CHARS: usize = 600;

/// Reads a message body: CloudEvents in structured JSON, raw or in one SNS or EventBridge envelope.
///
/// The rejection's pointer leads into the message as it stood on the queue; what stands in an SNS notification's text is
/// `/Message` followed by the pointer into that text. A field that is missing is named as if it were there.
pub fn parse(body: &[u8]) -> Result<Job, Rejection> {
    let document = read::text(body).and_then(read::document).map_err(|fault| rejection(fault, None))?;
    let (event, inner_flaw) = match envelope::unwrap(document.value) {
        Ok(unwrapped) => unwrapped,
        Err(fault) => return Err(rejection(document.flaw.unwrap_or(fault), None)),
    };
    match document.flaw.or(inner_flaw) {
        Some(flaw) => Err(rejection(flaw, Some(&event))),
        None => job(&event).map_err(|fault| rejection(fault, Some(&event))),
    }
}

/// A call job from `data` alone, for callers that bring the key by other means. Pointers are relative to `data`, which
/// has no two equal keys (a [`Value`] cannot).
pub fn call_from_data(key: JobKey, data: Value) -> Result<Job, Vec<FieldError>> {
    if let Some(pointer) = nul_in(&data) {
        return Err(vec![FieldError::new(pointer, "holds a NUL character (\\u0000), which cannot be stored")]);
    }
    let kind = call(&data)?;
    let content_hash = ContentHash::of(kind.event_type(), &data);
    Ok(Job { key, content_hash, kind, traceparent: None, layout: Layout::Raw })
}

/// A voice configuration that is to be stored. All problems, with pointers relative to it.
pub fn voice_config_from_value(config: &Value) -> Result<VoiceConfig, Vec<FieldError>> {
    let config: VoiceConfig = typed(config, schema::config_shape())?;
    none_wrong(validate::check_voice_config(&config))?;
    Ok(config)
}

fn job(event: &Event) -> Result<Job, Fault> {
    let id = name(event, "id")?.ok_or_else(|| missing(event, "id", "text that names the event for ever"))?;
    let source = name(event, "source")?.unwrap_or_default();
    let event_type = name(event, "type")?.ok_or_else(|| missing(event, "type", &known_types()))?;
    if let Some(version) = event.get("specversion")
        && version.as_str() != Some("1.0")
    {
        return Err(schema_fault(event, "specversion", format!("is {version}, expected \"1.0\"")));
    }
    if !EVENT_TYPES.contains(&event_type) {
        let hint = nearest_hint(event_type, EVENT_TYPES.iter().copied());
        let detail = format!("{event_type:?} is not a known type{hint}, expected {}", known_types());
        return Err(Fault::new(RejectReason::UnknownType, event.pointer("type"), detail));
    }
    if event.get("data_base64").is_some() {
        return Err(schema_fault(event, "data_base64", "is binary data, expected the object in data".into()));
    }
    let data = match event.get("data") {
        Some(data @ Value::Object(_)) => data,
        Some(_) => return Err(schema_fault(event, "data", "is not an object, expected an object".into())),
        None => return Err(missing(event, "data", "an object")),
    };
    let kind = kind(event_type, data).map_err(|problems| problems_fault(problems, &event.pointer("data")))?;
    Ok(Job {
        key: JobKey { source: source.into(), id: id.into() },
        content_hash: ContentHash::of(event_type, data),
        kind,
        traceparent: event.readable("traceparent").filter(|text| is_traceparent(text)),
        layout: event.layout,
    })
}

fn kind(event_type: &str, data: &Value) -> Result<JobKind, Vec<FieldError>> {
    match event_type {
        "voice.call.requested" => call(data),
        "voice.call.cancel_requested" => {
            let cancel: CancelData = typed(data, schema::cancel_shape())?;
            none_wrong(validate::cancel(&cancel))?;
            Ok(JobKind::Cancel(cancel))
        }
        "voice.audio.transcribe_requested" => {
            let transcribe: TranscribeData = typed(data, schema::transcribe_shape())?;
            none_wrong(validate::transcribe(&transcribe))?;
            Ok(JobKind::Transcribe(Box::new(transcribe)))
        }
        _ => {
            let synthesize: SynthesizeData = typed(data, schema::synthesize_shape())?;
            none_wrong(validate::synthesize(&synthesize))?;
            Ok(JobKind::Synthesize(Box::new(synthesize)))
        }
    }
}

fn call(data: &Value) -> Result<JobKind, Vec<FieldError>> {
    let call: CallData = typed(data, schema::call_shape())?;
    none_wrong(validate::call(&call))?;
    Ok(JobKind::Call(Box::new(call)))
}

fn none_wrong(problems: Vec<FieldError>) -> Result<(), Vec<FieldError>> {
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// `data` as its type. Where that fails, fields that are unknown or missing are named first (a misspelt field is often
/// both), then what the type itself says.
fn typed<T: DeserializeOwned>(data: &Value, shape: &Value) -> Result<T, Vec<FieldError>> {
    serde_path_to_error::deserialize(data).map_err(|error| {
        let mut problems = Vec::new();
        schema::misshapen(data, shape, "", &mut problems);
        if problems.is_empty() {
            problems.push(FieldError::new(json_pointer(error.path()), error.inner().to_string()));
        }
        problems
    })
}

fn json_pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", pointer_token(key)),
            // No type of ours is an externally tagged enum with fields, and every map key is text.
            Segment::Enum { .. } | Segment::Unknown => String::new(),
        })
        .collect()
}

fn name<'a>(event: &'a Event, attribute: &str) -> Result<Option<&'a str>, Fault> {
    let Some(value) = event.get(attribute) else { return Ok(None) };
    let expected = format!("expected text of 1 to {MAX_NAME_CHARS} characters");
    let Some(text) = value.as_str() else {
        return Err(schema_fault(event, attribute, format!("is not text, {expected}")));
    };
    match text.chars().count() {
        0 => Err(schema_fault(event, attribute, format!("is empty, {expected}"))),
        n if n > MAX_NAME_CHARS => Err(schema_fault(event, attribute, format!("has {n} characters, {expected}"))),
        _ => Ok(Some(text)),
    }
}

fn missing(event: &Event, attribute: &str, expected: &str) -> Fault {
    let known = ["id", "type", "data", "source", "specversion", "time", "subject", "datacontenttype", "dataschema"];
    let others = event.names().filter(|name| !known.contains(name));
    let name = event.name(attribute);
    let hint = others
        .filter(|other| !nearest_hint(other, [name]).is_empty())
        .map(|other| format!(" ({other:?} is there: misspelt?)"))
        .next()
        .unwrap_or_default();
    schema_fault(event, attribute, format!("is missing{hint}, expected {expected}"))
}

fn schema_fault(event: &Event, attribute: &str, detail: String) -> Fault {
    Fault::new(RejectReason::Schema, event.pointer(attribute), detail)
}

fn problems_fault(problems: Vec<FieldError>, prefix: &str) -> Fault {
    let others = problems.len().saturating_sub(1);
    let first = problems.into_iter().next().unwrap_or_else(|| FieldError::new("", "is not valid"));
    let detail = match others {
        0 => first.detail,
        1 => format!("{} (and 1 more problem)", first.detail),
        n => format!("{} (and {n} more problems)", first.detail),
    };
    Fault::new(RejectReason::Schema, format!("{prefix}{}", first.pointer), detail)
}

fn known_types() -> String {
    format!("one of {}", EVENT_TYPES.join(", "))
}

fn rejection(fault: Fault, event: Option<&Event>) -> Rejection {
    let readable = |attribute| event.and_then(|event| event.readable(attribute));
    Rejection {
        reason: fault.reason,
        field_path: printable(&fault.at.pointer, MAX_POINTER_CHARS),
        detail: printable(&fault.at.detail, MAX_DETAIL_CHARS),
        source: readable("source"),
        event_id: readable("id"),
    }
}

/// What can be stored and sent on: no control characters, not too long.
fn printable(text: &str, max_chars: usize) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    match text.char_indices().nth(max_chars) {
        None => text.chars().map(clean).collect(),
        Some((end, _)) => text[..end].chars().map(clean).chain(['…']).collect(),
    }
}

fn nul_in(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items.iter().enumerate().find_map(|(n, item)| Some(format!("/{n}{}", nul_in(item)?))),
        Value::Object(map) => map.iter().find_map(|(key, item)| {
            let token = pointer_token(key).replace('\0', "\u{fffd}");
            let below = if key.contains('\0') { String::new() } else { nul_in(item)? };
            Some(format!("/{token}{below}"))
        }),
        _ => None,
    }
}

/// W3C Trace Context, version 00: `00-<32 hex>-<16 hex>-<2 hex>`, ids not all zero. Another one is not worth a refusal.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let some = |part: &str| part.bytes().any(|byte| byte != b'0');
    matches!(parts.as_slice(), ["00", trace, span, flags]
        if hex(trace, 32) && hex(span, 16) && hex(flags, 2) && some(trace) && some(span))
}

#[cfg(test)]
mod tests;
