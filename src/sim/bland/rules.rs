//! Which create requests Bland refuses with 400, by the vendor's reference. Written apart from voxd's own formatter on
//! purpose: the two check each other.

use serde_json::{Map, Value};

const PROPERTIES: &[&str] = &[
    "phone_number",
    "task",
    "pathway_id",
    "pathway_version",
    "start_node_id",
    "persona_id",
    "first_sentence",
    "voice",
    "model",
    "language",
    "temperature",
    "wait_for_greeting",
    "interruption_threshold",
    "interruptibility",
    "block_interruptions",
    "noise_cancellation",
    "background_track",
    "pronunciation_guide",
    "keywords",
    "from",
    "dialing_strategy",
    "timezone",
    "start_time",
    "max_duration",
    "record",
    "voicemail",
    "retry",
    "transfer_phone_number",
    "transfer_list",
    "tools",
    "dynamic_data",
    "ignore_button_press",
    "precall_dtmf_sequence",
    "summary_prompt",
    "dispositions",
    "citation_schema_ids",
    "post_call_evals",
    "guard_rails",
    "stream_post_transfer_transcript",
    "request_data",
    "metadata",
    "webhook",
    "webhook_events",
];

const LANGUAGES: &[&str] = &[
    "auto", "fluent", "babel", "babel-en", "en", "en-US", "en-GB", "en-AU", "en-NZ", "en-IN", "es", "es-419", "fr",
    "fr-CA", "de", "el", "hi", "hu", "id", "it", "ja", "ko", "nl", "pl", "pt", "pt-BR", "pt-PT", "ro", "ru", "sv",
    "tr", "vi", "zh",
];

const EVENTS: &[&str] =
    &["queue", "call", "latency", "webhook", "tool", "dynamic_data", "citations", "evals", "post_transfer_transcript"];

/// In the vendor's manner: sentences, the first one also serves as the message.
pub fn problems(request: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    for name in request.keys().filter(|name| !PROPERTIES.contains(&name.as_str())) {
        found.push(format!("Request body must NOT have additional properties: {name}"));
    }
    let mut must = |name: &str, holds: fn(&Value) -> bool, rule: &str| {
        if let Some(value) = request.get(name)
            && !holds(value)
        {
            found.push(format!("{name} {rule}"));
        }
    };
    for name in [
        "wait_for_greeting",
        "block_interruptions",
        "noise_cancellation",
        "record",
        "ignore_button_press",
        "stream_post_transfer_transcript",
    ] {
        must(name, Value::is_boolean, "must be boolean");
    }
    for name in ["task", "start_node_id", "persona_id", "first_sentence", "voice", "precall_dtmf_sequence"] {
        must(name, |value| value.as_str().is_some_and(|text| !text.is_empty()), "must be a non-empty string");
    }
    for name in
        ["request_data", "metadata", "retry", "transfer_list", "voicemail", "dialing_strategy", "post_call_evals"]
    {
        must(name, Value::is_object, "must be object");
    }
    for name in ["pronunciation_guide", "tools", "dynamic_data", "dispositions", "citation_schema_ids", "guard_rails"] {
        must(name, Value::is_array, "must be array");
    }
    for name in ["phone_number", "from", "transfer_phone_number"] {
        must(name, is_phone_number, "must be a valid phone number");
    }
    must("pathway_id", |value| value.as_str().is_some_and(|id| uuid::Uuid::try_parse(id).is_ok()), "must be a uuid");
    must("pathway_version", |v| v.is_u64() || v == "production" || v == "staging", "must be a version");
    must("model", |value| value == "base" || value == "turbo", "must be one of base, turbo");
    must("language", |value| is_one_of(value, LANGUAGES), "is not a supported language");
    must("temperature", |value| is_between(value, 0.0, 1.0), "must be between 0 and 1");
    must("interruption_threshold", Value::is_number, "must be number");
    must("interruptibility", |value| value.as_u64().is_some_and(|level| level <= 3), "must be an integer from 0 to 3");
    must("max_duration", |value| is_between(value, 1.0, 720.0), "must be between 1 and 720 minutes");
    must(
        "timezone",
        |value| value.as_str().is_some_and(|name| name.contains('/') || name == "UTC"),
        "must be a timezone",
    );
    must(
        "summary_prompt",
        |v| v.as_str().is_some_and(|text| text.chars().count() <= 2000),
        "is longer than 2000 characters",
    );
    must("keywords", are_keywords, "must be at most 20 words of less than 100 characters");
    must(
        "background_track",
        |value| value.is_null() || is_one_of(value, &["office", "cafe", "restaurant", "none"]),
        "must be null, office, cafe, restaurant or none",
    );
    must(
        "webhook",
        // The vendor wants https. A simulator has nobody else to call than its own machine.
        |value| value.as_str().is_some_and(|url| url.starts_with("https://") || is_loopback(url)),
        "must start with https://",
    );
    must(
        "webhook_events",
        |value| value.as_array().is_some_and(|events| events.iter().all(|event| is_one_of(event, EVENTS))),
        "has an unknown event",
    );
    found.extend(together(request));
    found
}

fn together(request: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    let has = |name: &str| request.contains_key(name);
    if !has("phone_number") {
        found.push("phone_number is required".to_owned());
    }
    if !has("task") && !has("pathway_id") && !has("persona_id") {
        found.push("task is required when pathway_id is not given".to_owned());
    }
    if has("task") && has("pathway_id") {
        found.push("task cannot be used with pathway_id".to_owned());
    }
    if has("transfer_phone_number") && request.get("transfer_phone_number") == request.get("phone_number") {
        found.push("transfer_phone_number must differ from phone_number".to_owned());
    }
    if let Some(voicemail) = request.get("voicemail").and_then(Value::as_object) {
        let action = voicemail.get("action").and_then(Value::as_str).unwrap_or("hangup");
        if !["hangup", "leave_message", "ignore"].contains(&action) {
            found.push("voicemail.action must be one of hangup, leave_message, ignore".to_owned());
        }
        if action == "leave_message" && !voicemail.get("message").is_some_and(Value::is_string) {
            found.push("voicemail.message is required for leave_message".to_owned());
        }
    }
    found
}

fn is_one_of(value: &Value, known: &[&str]) -> bool {
    value.as_str().is_some_and(|text| known.contains(&text))
}

fn is_between(value: &Value, least: f64, most: f64) -> bool {
    value.as_f64().is_some_and(|number| (least..=most).contains(&number))
}

fn is_phone_number(value: &Value) -> bool {
    value.as_str().is_some_and(|text| {
        let digits = text.strip_prefix('+').unwrap_or_default();
        (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn are_keywords(value: &Value) -> bool {
    let short = |word: &Value| word.as_str().is_some_and(|word| word.chars().count() < 100);
    value.as_array().is_some_and(|words| words.len() <= 20 && words.iter().all(short))
}

fn is_loopback(url: &str) -> bool {
    ["http://127.", "http://localhost:", "http://localhost/", "http://[::1]"].iter().any(|start| url.starts_with(start))
}
