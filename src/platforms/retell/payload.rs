//! Our request in Retell's words, and everything Retell would refuse about it, found before it is sent.
//!
//! | ours | Retell's |
//! |---|---|
//! | lead's number | `to_number` |
//! | from_number | `from_number`; Retell calls from no other, so a call needs one |
//! | content, lead's name | the dynamic variables `content` and `name`: the agent's prompt or first words say `{{content}}` |
//! | voice_id | `agent_override.agent.voice_id` |
//! | language | `agent_override.agent.language`; a bare code becomes its locale where Retell has one only (`en`: its default `en-US`) |
//! | max_duration | `agent_override.agent.max_call_duration_ms` |
//! | record_call | `agent_override.agent.data_storage_setting`: true is `everything`; false cannot be said without losing the transcript too, so it is refused unless the setting says `basic_attributes_only` |
//! | webhook address, events | `agent_override.agent.webhook_url`, `webhook_events` (started, ended and analyzed always) |
//! | metadata, attempt id, call id | `metadata` |

use serde_json::{Map, Value, json};

use super::super::fields::{check, refused_keys};
use super::super::{Encoding, Payload};
use super::NAME;
use super::fields::{AGENT, CONVERSATION_FLOW, CREATE, EVENTS, OVERRIDE, RETELL_LLM};
use crate::call::config::Mode;
use crate::call::{CallRequest, FieldError};
use crate::text::{nearest_hint, pointer_token};

/// Without these the end of a call would be learned by polling alone.
const NEEDED_EVENTS: [&str; 3] = ["call_started", "call_ended", "call_analyzed"];

/// Codes without a region, where Retell has one locale of the language only, or a default among several.
const LOCALES: &[(&str, &str)] = &[
    ("en", "en-US"),
    ("de", "de-DE"),
    ("hi", "hi-IN"),
    ("ja", "ja-JP"),
    ("zh", "zh-CN"),
    ("ru", "ru-RU"),
    ("it", "it-IT"),
    ("ko", "ko-KR"),
    ("pl", "pl-PL"),
    ("tr", "tr-TR"),
    ("vi", "vi-VN"),
    ("ro", "ro-RO"),
    ("bg", "bg-BG"),
    ("ca", "ca-ES"),
    ("th", "th-TH"),
    ("da", "da-DK"),
    ("fi", "fi-FI"),
    ("el", "el-GR"),
    ("hu", "hu-HU"),
    ("id", "id-ID"),
    ("no", "no-NO"),
    ("sk", "sk-SK"),
    ("sv", "sv-SE"),
    ("uk", "uk-UA"),
];

/// See [`super::super::Platform::format_payload`].
pub fn format(request: &CallRequest) -> Result<Payload, Vec<FieldError>> {
    let problems = problems(request);
    if !problems.is_empty() {
        return Err(problems);
    }
    let config = &request.voice_config;
    let mut fields = config.platform_config.clone();
    fields.insert("to_number".into(), json!(request.to.as_e164()));
    if let Some(from) = &config.from_number {
        fields.insert("from_number".into(), json!(from.as_e164()));
    }
    let mut metadata = request.metadata.clone();
    metadata.insert("voxd_attempt_id".into(), json!(request.attempt_id));
    metadata.insert("voxd_call_id".into(), json!(request.call_id));
    fields.insert("metadata".into(), Value::Object(metadata));

    // The producer's own variables win.
    let mut variables = taken(&mut fields, "retell_llm_dynamic_variables");
    for (name, value) in [("name", request.lead_name.as_ref()), ("content", Some(&request.content))] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            variables.entry(name).or_insert_with(|| json!(value));
        }
    }
    if !variables.is_empty() {
        fields.insert("retell_llm_dynamic_variables".into(), Value::Object(variables));
    }

    let mut overrides = taken(&mut fields, "agent_override");
    let mut agent = taken(&mut overrides, "agent");
    set_agent(&mut agent, request);
    if !agent.is_empty() {
        overrides.insert("agent".into(), Value::Object(agent));
    }
    if !overrides.is_empty() {
        fields.insert("agent_override".into(), Value::Object(overrides));
    }
    Ok(Payload { path: "/v2/create-phone-call".into(), encoding: Encoding::Json, fields })
}

fn set_agent(agent: &mut Map<String, Value>, request: &CallRequest) {
    let config = &request.voice_config;
    if let Some(voice) = &config.voice_id {
        agent.insert("voice_id".into(), json!(voice));
    }
    if let Some(language) = &config.language {
        let locale = LOCALES.iter().find(|(code, _)| code == language).map_or(language.as_str(), |(_, locale)| locale);
        agent.insert("language".into(), json!(locale));
    }
    if let Some(minutes) = config.max_duration {
        agent.insert("max_call_duration_ms".into(), json!(u64::from(minutes) * 60_000));
    }
    if config.record_call == Some(true) {
        agent.entry("data_storage_setting").or_insert_with(|| json!("everything"));
    }
    if let Some(url) = &request.webhook_url {
        agent.insert("webhook_url".into(), json!(url));
        let mut events: Vec<&str> = NEEDED_EVENTS.to_vec();
        for event in wanted_events(request) {
            if !events.contains(&event.as_str()) {
                events.push(event);
            }
        }
        agent.insert("webhook_events".into(), json!(events));
    }
}

/// The object under this key, to be put back; problems were found before.
fn taken(fields: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match fields.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn wanted_events(request: &CallRequest) -> &[String] {
    request.voice_config.webhook_config.as_ref().map(|webhook| webhook.events.as_slice()).unwrap_or_default()
}

/// What cannot be formatted. Pointers are relative to the voice configuration.
fn problems(request: &CallRequest) -> Vec<FieldError> {
    let config = &request.voice_config;
    let given = &config.platform_config;
    let mut problems = refused_keys(given, CREATE, NAME, "/platform_config");
    let mut nested = |owner: Option<&Value>, fields, pointer: &str| match owner {
        Some(Value::Object(inner)) => problems.extend(refused_keys(inner, fields, NAME, pointer)),
        Some(_) => problems.push(FieldError::new(pointer, "expected an object")),
        None => {}
    };
    let overrides = given.get("agent_override");
    nested(overrides, OVERRIDE, "/platform_config/agent_override");
    for (key, fields) in [("agent", AGENT), ("retell_llm", RETELL_LLM), ("conversation_flow", CONVERSATION_FLOW)] {
        let inner = overrides.and_then(|overrides| overrides.get(key));
        nested(inner, fields, &format!("/platform_config/agent_override/{key}"));
    }
    if given.get("retell_llm_dynamic_variables").is_some_and(|variables| !variables.is_object()) {
        problems.push(FieldError::new("/platform_config/retell_llm_dynamic_variables", "expected an object"));
    }
    if config.mode == Mode::Live {
        problems.push(FieldError::new("/mode", "retell has no media stream, expected \"agent\""));
    }
    let stored = overrides.and_then(|overrides| overrides.get("agent")?.get("data_storage_setting"));
    let basic = stored.is_some_and(|setting| setting == "basic_attributes_only");
    match config.record_call {
        Some(true) if basic => {
            problems.push(FieldError::new("/record_call", "stands against data_storage_setting basic_attributes_only"));
        }
        Some(false) if !basic => problems.push(FieldError::new(
            "/record_call",
            "retell cannot leave out the recording alone: set platform_config.agent_override.agent.data_storage_setting \
             to \"basic_attributes_only\", which leaves out the transcript too",
        )),
        _ => {}
    }
    for (index, event) in wanted_events(request).iter().enumerate() {
        let pointer = format!("/webhook_config/events/{index}");
        if event == "transcript_updated" {
            let why = "repeats of transcript_updated cannot be told apart: the transcript comes with the end";
            problems.push(FieldError::new(pointer, why));
        } else if !EVENTS.contains(&event.as_str()) {
            let hint = nearest_hint(event, EVENTS.iter().copied());
            problems.push(FieldError::new(pointer, format!("retell has no event {event:?}{hint}")));
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
    let fields = &payload.fields;
    check(fields, CREATE, NAME, "", &mut problems);
    let overrides = fields.get("agent_override").and_then(Value::as_object);
    if let Some(overrides) = overrides {
        check(overrides, OVERRIDE, NAME, "/agent_override", &mut problems);
        for (key, inner) in [("agent", AGENT), ("retell_llm", RETELL_LLM), ("conversation_flow", CONVERSATION_FLOW)] {
            if let Some(Value::Object(given)) = overrides.get(key) {
                check(given, inner, NAME, &format!("/agent_override/{key}"), &mut problems);
            }
        }
    }
    for (name, hint) in [("from_number", ": set from_number, a number of the Retell account"), ("to_number", "")] {
        if !fields.contains_key(name) {
            problems.push(FieldError::new(format!("/{name}"), format!("is missing{hint}")));
        }
    }
    if let Some(action) = overrides.and_then(|overrides| overrides.get("agent")?.get("voicemail_option")?.get("action"))
    {
        let speaks = action.get("type").is_some_and(|kind| kind == "static_text" || kind == "prompt");
        let pointer = "/agent_override/agent/voicemail_option/action/text";
        match (speaks, action.get("text").is_some()) {
            (true, false) => problems.push(FieldError::new(pointer, "is missing: this type of action needs it")),
            (false, true) => problems.push(FieldError::new(pointer, "belongs to static_text and prompt")),
            _ => {}
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

#[cfg(test)]
mod tests;
