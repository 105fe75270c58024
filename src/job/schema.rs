//! The JSON Schema of a job event, and the shapes that name unknown and missing fields.
//!
//! What a schema cannot say (a time zone that exists, a number's possible length for its country, `expires_at` after
//! `not_before`, sizes in bytes, NUL characters) the parser refuses all the same.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::event::{CallData, CancelData};
use super::parse::MAX_NAME_CHARS;
use super::speech::{SynthesizeData, TranscribeData};
use crate::call::{FieldError, VoiceConfig};
use crate::text::{nearest_hint, pointer_token};

/// JSON Schema (draft 2020-12) of the event as it stands raw on a queue.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let call = generator.subschema_for::<CallData>();
    let cancel = generator.subschema_for::<CancelData>();
    let transcribe = generator.subschema_for::<TranscribeData>();
    let synthesize = generator.subschema_for::<SynthesizeData>();
    let variant = |event_type: &str, title: &str, data: Value| json!({ "title": title, "properties": { "type": { "const": event_type }, "data": data } });
    let variants = json!([
        variant("voice.call.requested", "Place a call", call.to_value()),
        variant("voice.call.cancel_requested", "Cancel a scheduled call or end a live one", cancel.to_value()),
        variant("voice.audio.transcribe_requested", "Transcribe audio", transcribe.to_value()),
        variant("voice.speech.synthesize_requested", "Synthesize speech", synthesize.to_value()),
    ]);
    let name =
        |what: &str| json!({ "type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS, "description": what });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "voxd job event",
        "description": "CloudEvents 1.0 in structured JSON. source and id name the job for ever; an absent source is the empty one.",
        "type": "object",
        "required": ["id", "type", "data"],
        "properties": {
            "specversion": { "const": "1.0" },
            "id": name("Unique within its source"),
            "source": name("Who asks"),
            "type": name("What is asked"),
            "traceparent": { "description": "W3C trace context, passed on; one that cannot be read is ignored" },
            "data": { "type": "object" },
            "data_base64": false
        },
        "oneOf": variants,
        "$defs": generator.take_definitions(true)
    })
}

/// JSON Schema of the data of `voice.call.requested`, complete in itself.
pub fn call_data_schema() -> Value {
    call_shape().clone()
}

/// JSON Schema of a voice configuration, complete in itself.
pub fn voice_config_schema() -> Value {
    config_shape().clone()
}

pub(super) fn call_shape() -> &'static Value {
    static SHAPE: LazyLock<Value> = LazyLock::new(shape::<CallData>);
    &SHAPE
}

pub(super) fn config_shape() -> &'static Value {
    static SHAPE: LazyLock<Value> = LazyLock::new(shape::<VoiceConfig>);
    &SHAPE
}

pub(super) fn cancel_shape() -> &'static Value {
    static SHAPE: LazyLock<Value> = LazyLock::new(shape::<CancelData>);
    &SHAPE
}

pub(super) fn transcribe_shape() -> &'static Value {
    static SHAPE: LazyLock<Value> = LazyLock::new(shape::<TranscribeData>);
    &SHAPE
}

pub(super) fn synthesize_shape() -> &'static Value {
    static SHAPE: LazyLock<Value> = LazyLock::new(shape::<SynthesizeData>);
    &SHAPE
}

fn shape<T: schemars::JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// Fields of `value` that `shape` does not know, then fields that it demands and that are not there.
pub(super) fn misshapen(value: &Value, shape: &Value, pointer: &str, problems: &mut Vec<FieldError>) {
    let (Some(object), Some(shape)) = (value.as_object(), object_shape(shape)) else { return };
    let Some(known) = shape["properties"].as_object() else { return };
    let closed = shape.get("additionalProperties") == Some(&Value::Bool(false));
    for field in object.keys().filter(|field| closed && !known.contains_key(*field)) {
        let names = known.keys().map(String::as_str);
        let hint = nearest_hint(field, names.clone());
        let detail = format!("unknown field{hint}, expected one of {}", names.collect::<Vec<_>>().join(", "));
        problems.push(FieldError::new(format!("{pointer}/{}", pointer_token(field)), detail));
    }
    for field in shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(field) {
            let what =
                known[field]["description"].as_str().map(|text| format!(", expected: {text}")).unwrap_or_default();
            problems.push(FieldError::new(format!("{pointer}/{field}"), format!("is missing{what}")));
        }
    }
    for (field, inner) in known {
        if let Some(value) = object.get(field) {
            misshapen(value, inner, &format!("{pointer}/{}", pointer_token(field)), problems);
        }
    }
}

/// The shape that an object would have to fit: the schema itself, or its one alternative that speaks of an object.
fn object_shape(shape: &Value) -> Option<&Value> {
    if shape.get("properties").is_some() {
        return Some(shape);
    }
    let alternatives = shape.get("anyOf").or_else(|| shape.get("oneOf"))?.as_array()?;
    alternatives.iter().find_map(object_shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_know_the_nested_fields() {
        let mut problems = Vec::new();
        let data = json!({ "lead": { "phone_nmber": "x" }, "voice_config": { "platform": "p", "retry": { "max_attemps": 1, "on": [] } } });
        misshapen(&data, call_shape(), "", &mut problems);
        let found: Vec<_> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(
            found,
            [
                "/lead/phone_nmber",
                "/lead/phone_number",
                "/voice_config/retry/max_attemps",
                "/voice_config/retry/max_attempts"
            ]
        );
        assert!(problems[0].detail.contains("did you mean \"phone_number\"?"), "{}", problems[0].detail);
    }
}
