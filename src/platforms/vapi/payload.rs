//! Our request in Vapi's words, and everything Vapi would refuse about it, found before it is sent.
//!
//! | ours | Vapi's |
//! |---|---|
//! | lead's number, name | `customer.number`; `customer.name` where it has at most 40 characters, and the variable `name` |
//! | content | the variable `content`, and `firstMessage` unless `platform_config` says how the call begins |
//! | voice_id | `voice`: with `assistantOverrides.voice.provider` that provider's voice, else one of Vapi's own |
//! | language | `transcriber.language`: with `assistantOverrides.transcriber.provider` that provider's, else Deepgram's |
//! | max_duration | `maxDurationSeconds` |
//! | record_call | `artifactPlan.recordingEnabled` |
//! | webhook address, events | `server`, `serverMessages` (status-update and end-of-call-report always) |
//! | metadata, attempt id, call id | `metadata` of the overrides; the attempt id also as `name` and `customer.externalId` |
//! | from_number | nothing: a number is named by its `phoneNumberId` |

use serde_json::{Map, Value, json};

use super::super::fields::{check, refused_keys};
use super::super::{Encoding, Payload};
use super::NAME;
use super::fields::{
    ANSWERED_MESSAGES, CREATE, CUSTOMER_CONFIG, LABEL_CHARS, NEEDED_MESSAGES, OVERRIDES, SERVER_MESSAGES,
};
use crate::call::config::Mode;
use crate::call::{CallRequest, FieldError};
use crate::text::{nearest_hint, pointer_token};

/// Both kinds of overrides have the same fields.
pub const OVERRIDE_KEYS: &[&str] = &["assistantOverrides", "squadOverrides"];

/// See [`super::super::Platform::format_payload`]. `credential_id` is Vapi's id of the credential by which it signs.
pub fn format(request: &CallRequest, credential_id: Option<&str>) -> Result<Payload, Vec<FieldError>> {
    let problems = problems(request);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut fields = request.voice_config.platform_config.clone();
    let of_squad = fields.contains_key("squadId") || fields.contains_key("squad");
    let overrides_key = OVERRIDE_KEYS[usize::from(of_squad)];

    let attempt_id = request.attempt_id.to_string();
    let mut customer = taken(&mut fields, "customer");
    customer.insert("number".into(), json!(request.to.as_e164()));
    customer.insert("externalId".into(), json!(attempt_id));
    if let Some(name) = request.lead_name.as_ref().filter(|name| name.chars().count() <= LABEL_CHARS) {
        customer.insert("name".into(), json!(name));
    }
    let overrides = overrides(request, taken(&mut fields, overrides_key), credential_id);
    fields.insert("customer".into(), Value::Object(customer));
    fields.insert("name".into(), json!(attempt_id));
    fields.insert(overrides_key.into(), Value::Object(overrides));
    Ok(Payload { path: "/call".into(), encoding: Encoding::Json, fields })
}

/// The object under this key, to be put back; problems were found before.
fn taken(fields: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match fields.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn overrides(request: &CallRequest, mut given: Map<String, Value>, credential_id: Option<&str>) -> Map<String, Value> {
    let config = &request.voice_config;
    let mut metadata = request.metadata.clone();
    metadata.insert("voxd_attempt_id".into(), json!(request.attempt_id));
    metadata.insert("voxd_call_id".into(), json!(request.call_id));
    given.insert("metadata".into(), Value::Object(metadata));

    // The producer's own variables win.
    let mut variables = taken(&mut given, "variableValues");
    if let Some(name) = &request.lead_name {
        variables.entry("name").or_insert_with(|| json!(name));
    }
    if !request.content.is_empty() {
        variables.entry("content").or_insert_with(|| json!(request.content));
        // Other modes have the person or the model begin.
        let we_begin = given.get("firstMessageMode").is_none_or(|mode| mode == "assistant-speaks-first");
        if we_begin && !given.contains_key("firstMessage") {
            given.insert("firstMessage".into(), json!(request.content));
        }
    }
    if !variables.is_empty() {
        given.insert("variableValues".into(), Value::Object(variables));
    }
    if let Some(voice) = &config.voice_id {
        let mut of_provider = taken(&mut given, "voice");
        of_provider.entry("provider").or_insert_with(|| json!("vapi"));
        of_provider.insert("voiceId".into(), json!(voice));
        given.insert("voice".into(), Value::Object(of_provider));
    }
    if let Some(language) = &config.language {
        let mut of_provider = taken(&mut given, "transcriber");
        of_provider.entry("provider").or_insert_with(|| json!("deepgram"));
        of_provider.insert("language".into(), json!(language));
        given.insert("transcriber".into(), Value::Object(of_provider));
    }
    if let Some(minutes) = config.max_duration {
        given.insert("maxDurationSeconds".into(), json!(u64::from(minutes) * 60));
    }
    if let Some(record) = config.record_call {
        let mut plan = taken(&mut given, "artifactPlan");
        plan.insert("recordingEnabled".into(), json!(record));
        given.insert("artifactPlan".into(), Value::Object(plan));
    }
    if let Some(url) = &request.webhook_url {
        given.insert("server".into(), server(url, credential_id));
        let mut messages: Vec<&str> = NEEDED_MESSAGES.to_vec();
        let events = config.webhook_config.as_ref().map(|webhook| webhook.events.as_slice()).unwrap_or_default();
        for event in events {
            if !messages.contains(&event.as_str()) {
                messages.push(event);
            }
        }
        given.insert("serverMessages".into(), json!(messages));
    }
    given
}

/// Vapi repeats nothing by itself, so it is asked to: six times over about two minutes, but not what can never be taken.
fn server(url: &str, credential_id: Option<&str>) -> Value {
    let mut server = json!({
        "url": url, "timeoutSeconds": 20,
        "backoffPlan": {
            "type": "exponential", "maxRetries": 6, "baseDelaySeconds": 2, "excludedStatusCodes": [400, 413],
        },
    });
    if let Some(id) = credential_id {
        server["credentialId"] = json!(id);
    }
    server
}

/// What cannot be formatted. Pointers are relative to the voice configuration.
fn problems(request: &CallRequest) -> Vec<FieldError> {
    let config = &request.voice_config;
    let given = &config.platform_config;
    let mut problems = refused_keys(given, CREATE, NAME, "/platform_config");
    for (key, fields) in [("customer", CUSTOMER_CONFIG), (OVERRIDE_KEYS[0], OVERRIDES), (OVERRIDE_KEYS[1], OVERRIDES)] {
        let pointer = format!("/platform_config/{key}");
        match given.get(key) {
            Some(Value::Object(inner)) => problems.extend(refused_keys(inner, fields, NAME, &pointer)),
            Some(_) => problems.push(FieldError::new(pointer, "expected an object")),
            None => {}
        }
    }
    for overrides in OVERRIDE_KEYS {
        for (key, standard) in [("voice", "voiceId"), ("transcriber", "language"), ("artifactPlan", "recordingEnabled")]
        {
            let Some(inner) = given.get(*overrides).and_then(|overrides| overrides.get(key)) else { continue };
            let pointer = format!("/platform_config/{overrides}/{key}");
            let ours = match standard {
                "voiceId" => ("voice_id", config.voice_id.is_some()),
                "language" => ("language", config.language.is_some()),
                _ => ("record_call", config.record_call.is_some()),
            };
            if !inner.is_object() {
                problems.push(FieldError::new(pointer, "expected an object"));
            } else if ours.1 && inner.get(standard).is_some() {
                problems.push(FieldError::new(format!("{pointer}/{standard}"), format!("stands against {}", ours.0)));
            }
        }
    }
    if config.mode == Mode::Live {
        problems.push(FieldError::new("/mode", "vapi has no media stream for phone calls, expected \"agent\""));
    }
    if config.from_number.is_some() {
        let why = "vapi calls from a number of the account by its id: set platform_config.phoneNumberId instead";
        problems.push(FieldError::new("/from_number", why));
    }
    let events = config.webhook_config.as_ref().map(|webhook| webhook.events.as_slice()).unwrap_or_default();
    for (index, event) in events.iter().enumerate() {
        let pointer = format!("/webhook_config/events/{index}");
        if ANSWERED_MESSAGES.contains(&event.as_str()) {
            problems.push(FieldError::new(pointer, format!("{event:?} wants an answer that voxd does not have")));
        } else if !SERVER_MESSAGES.contains(&event.as_str()) {
            let hint = nearest_hint(event, SERVER_MESSAGES.iter().copied());
            problems.push(FieldError::new(pointer, format!("vapi has no event {event:?}{hint}")));
        }
    }
    for key in request.metadata.keys().filter(|key| key.starts_with("voxd_")) {
        let pointer = format!("/metadata/{}", pointer_token(key));
        problems.push(FieldError::new(pointer, "keys that begin with voxd_ are voxd's own"));
    }
    problems
}

/// See [`super::super::Platform::validate_payload`].
pub fn validate(payload: &Payload) -> Result<(), Vec<FieldError>> {
    let mut problems = Vec::new();
    check(&payload.fields, CREATE, NAME, "", &mut problems);
    for key in OVERRIDE_KEYS {
        if let Some(Value::Object(overrides)) = payload.fields.get(*key) {
            check(overrides, OVERRIDES, NAME, &format!("/{key}"), &mut problems);
        }
    }
    problems.extend(together(&payload.fields));
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Rules over several fields.
fn together(fields: &Map<String, Value>) -> Vec<FieldError> {
    const AGENTS: [&str; 4] = ["assistantId", "assistant", "squadId", "squad"];
    let mut problems = Vec::new();
    let mut problem = |pointer: &str, detail: &str| problems.push(FieldError::new(pointer, detail));
    let has = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
    match AGENTS.iter().filter(|name| has(name)).count() {
        1 => {}
        0 => problem(
            "/assistantId",
            "is missing: a call needs an assistantId, assistant, squadId or squad in platform_config",
        ),
        _ => problem("/assistantId", "expected only one of assistantId, assistant, squadId, squad"),
    }
    if !has("phoneNumberId") {
        problem("/phoneNumberId", "is missing: set platform_config.phoneNumberId, the number that calls");
    }
    if !has("customer") {
        problem("/customer", "is missing");
    }
    if has("assistantVersion") && !has("assistantId") {
        problem("/assistantVersion", "needs assistantId");
    }
    if has("squadVersion") && !has("squadId") {
        problem("/squadVersion", "needs squadId");
    }
    let of_squad = has("squadId") || has("squad");
    if of_squad && has("assistantOverrides") {
        problem("/assistantOverrides", "does not go with a squad: use squadOverrides");
    }
    if !of_squad && has("squadOverrides") {
        problem("/squadOverrides", "needs squadId or squad");
    }
    problems
}

#[cfg(test)]
mod tests;
