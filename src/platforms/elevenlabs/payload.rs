//! Our request in ElevenLabs' words, and everything ElevenLabs would refuse about it, found before it is sent.
//!
//! `POST /v1/convai/twilio/outbound-call`, or `/v1/convai/sip-trunk/outbound-call` where the account's numbers are those of a
//! SIP trunk (vendor's Python SDK 2.78).
//!
//! | ours | ElevenLabs' |
//! |---|---|
//! | lead's number | `to_number` |
//! | attempt id | `user_id`, by which conversations can be listed, and the dynamic variable `voxd_attempt_id` |
//! | call id | the dynamic variable `voxd_call_id` |
//! | content, lead's name | the dynamic variables `content` and `name`: the agent's prompt or first message, or an override of it, says `{{content}}` |
//! | metadata | dynamic variables; objects and arrays as their JSON text, null not at all |
//! | voice_id, language, max_duration | `conversation_config_override`: `tts.voice_id`, `agent.language`, `conversation.max_duration_seconds`; the agent's security settings must allow them, or they have no effect |
//! | record_call | `call_recording_enabled` |
//! | from_number, webhook_config.events | refused: a number is named by its id, and there are no live events |

use serde_json::{Map, Value, json};

use super::super::rules::{Member, NON_EMPTY, Rule, optional, required};
use super::super::{Encoding, Payload};
use crate::call::config::Mode;
use crate::call::{CallRequest, FieldError};
use crate::text::{nearest_hint, pointer_token};

const CLIENT_DATA: &str = "conversation_initiation_client_data";
const VARIABLES: &str = "dynamic_variables";
const OVERRIDE: &str = "conversation_config_override";

/// A value of a dynamic variable.
const SCALAR: Rule = Rule::Custom(scalar);

/// What `platform_config` may hold.
const CONFIG: &[Member] = &[
    required("agent_id", NON_EMPTY),
    required("agent_phone_number_id", NON_EMPTY),
    optional(CLIENT_DATA, Rule::Shape(CLIENT_DATA_CONFIG)),
    optional("telephony_call_config", TELEPHONY),
];

const CLIENT_DATA_CONFIG: &[Member] = &[
    optional(VARIABLES, Rule::MapOf(&SCALAR)),
    optional(OVERRIDE, OVERRIDES),
    optional("custom_llm_extra_body", Rule::Object),
    optional("source_info", Rule::Object),
    optional("branch_id", NON_EMPTY),
    optional("environment", NON_EMPTY),
    optional("starting_workflow_node_id", NON_EMPTY),
];

/// The bounds of the time are not documented; the carrier has its own.
const TELEPHONY: Rule = Rule::Shape(&[
    optional("ringing_timeout_secs", Rule::Integer(1, 3600)),
    optional("twilio_call_recording_enabled", Rule::Bool),
]);

/// What of an agent a conversation may change; the members' own members are the vendor's matter where they grow.
const OVERRIDES: Rule = Rule::Shape(&[
    optional(
        "agent",
        Rule::Shape(&[
            optional("prompt", Rule::Object),
            optional("first_message", Rule::Text(0, usize::MAX)),
            optional("language", Rule::Custom(language)),
            optional("max_conversation_duration_message", Rule::Text(0, usize::MAX)),
        ]),
    ),
    optional("tts", Rule::Object),
    optional("asr", Rule::Object),
    optional("turn", Rule::Object),
    optional(
        "conversation",
        Rule::Shape(&[optional("text_only", Rule::Bool), optional("max_duration_seconds", Rule::Integer(1, 43_200))]),
    ),
]);

/// The whole request.
const FIELDS: Rule = Rule::Shape(&[
    required("agent_id", NON_EMPTY),
    required("agent_phone_number_id", NON_EMPTY),
    required("to_number", Rule::Phone),
    required(
        CLIENT_DATA,
        Rule::Shape(&[
            required("user_id", Rule::Uuid),
            required(VARIABLES, Rule::MapOf(&SCALAR)),
            optional(OVERRIDE, OVERRIDES),
            optional("custom_llm_extra_body", Rule::Object),
            optional("source_info", Rule::Object),
            optional("branch_id", NON_EMPTY),
            optional("environment", NON_EMPTY),
            optional("starting_workflow_node_id", NON_EMPTY),
        ]),
    ),
    optional("call_recording_enabled", Rule::Bool),
    optional("telephony_call_config", TELEPHONY),
]);

/// What voxd sets itself: where it would stand in `platform_config`, and what to do instead.
const OURS: &[(&str, &str)] = &[
    ("/to_number", "it is the job's lead.phone_number"),
    ("/call_recording_enabled", "set record_call instead"),
    ("/conversation_initiation_client_data/user_id", "it carries voxd's attempt id"),
    (
        "/conversation_initiation_client_data/conversation_config_override/agent/language",
        "set language in the voice configuration instead",
    ),
    ("/conversation_initiation_client_data/conversation_config_override/tts/voice_id", "set voice_id instead"),
    (
        "/conversation_initiation_client_data/conversation_config_override/conversation/max_duration_seconds",
        "set max_duration in the voice configuration instead",
    ),
    ("/user_id", "it carries voxd's attempt id"),
    ("/voice_id", "set voice_id in the voice configuration instead"),
    ("/dynamic_variables", "it belongs into conversation_initiation_client_data"),
    ("/conversation_config_override", "it belongs into conversation_initiation_client_data"),
];

/// See [`super::super::Platform::format_payload`]. `path` is the one of the account's kind of numbers.
pub fn format(request: &CallRequest, path: &str) -> Result<Payload, Vec<FieldError>> {
    let problems = problems(request);
    if !problems.is_empty() {
        return Err(problems);
    }
    let config = &request.voice_config;
    let mut fields = config.platform_config.clone();
    let mut data = taken(&mut fields, CLIENT_DATA);

    let mut variables = Map::new();
    for (key, value) in &request.metadata {
        match value {
            Value::Null => {}
            Value::Object(_) | Value::Array(_) => _ = variables.insert(key.clone(), json!(value.to_string())),
            plain => _ = variables.insert(key.clone(), plain.clone()),
        }
    }
    if !request.content.is_empty() {
        variables.insert("content".into(), json!(request.content));
    }
    if let Some(name) = &request.lead_name {
        variables.insert("name".into(), json!(name));
    }
    // The producer's own variables win.
    variables.extend(taken(&mut data, VARIABLES));
    variables.insert("voxd_attempt_id".into(), json!(request.attempt_id));
    variables.insert("voxd_call_id".into(), json!(request.call_id));
    data.insert(VARIABLES.into(), Value::Object(variables));
    data.insert("user_id".into(), json!(request.attempt_id));

    let mut changes = taken(&mut data, OVERRIDE);
    let seconds = config.max_duration.map(|minutes| json!(u64::from(minutes) * 60));
    for (part, name, value) in [
        ("tts", "voice_id", config.voice_id.as_ref().map(|voice| json!(voice))),
        ("agent", "language", config.language.as_ref().map(|language| json!(language))),
        ("conversation", "max_duration_seconds", seconds),
    ] {
        if let Some(value) = value {
            let mut inner = taken(&mut changes, part);
            inner.insert(name.into(), value);
            changes.insert(part.into(), Value::Object(inner));
        }
    }
    if !changes.is_empty() {
        data.insert(OVERRIDE.into(), Value::Object(changes));
    }
    fields.insert(CLIENT_DATA.into(), Value::Object(data));
    fields.insert("to_number".into(), json!(request.to.as_e164()));
    if let Some(record) = config.record_call {
        fields.insert("call_recording_enabled".into(), json!(record));
    }
    Ok(Payload { path: path.into(), encoding: Encoding::Json, fields })
}

/// The object under this key, to be put back; other values were found to be wrong before.
fn taken(fields: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match fields.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn problems(request: &CallRequest) -> Vec<FieldError> {
    let config = &request.voice_config;
    let mut problems = config_problems(&config.platform_config);
    let mut refuse = |pointer: &str, why: &str| problems.push(FieldError::new(pointer, why));
    if config.mode == Mode::Live {
        refuse("/mode", "elevenlabs has no media stream of voxd's, expected \"agent\"");
    }
    if config.from_number.is_some() {
        refuse(
            "/from_number",
            "elevenlabs names the calling number by its id: set platform_config.agent_phone_number_id instead",
        );
    }
    if config.webhook_config.as_ref().is_some_and(|webhook| !webhook.events.is_empty()) {
        refuse(
            "/webhook_config/events",
            "elevenlabs has no live events: what its webhooks tell is set in its workspace",
        );
    }
    for key in request.metadata.keys() {
        if let Some(why) = reserved(key) {
            refuse(&format!("/metadata/{}", pointer_token(key)), why);
        }
    }
    problems
}

fn config_problems(config: &Map<String, Value>) -> Vec<FieldError> {
    let mut problems = Vec::new();
    let whole = Value::Object(config.clone());
    Rule::Shape(CONFIG).check(&whole, "", &mut problems);
    // What voxd sets itself is told so, and not as unknown or wrong.
    problems.retain(|problem| !OURS.iter().any(|(pointer, _)| problem.pointer == *pointer));
    for (pointer, why) in OURS {
        if whole.pointer(pointer).is_some() {
            problems.push(FieldError::new(*pointer, format!("cannot be set: {why}")));
        }
    }
    let variables = whole.pointer(&format!("/{CLIENT_DATA}/{VARIABLES}")).and_then(Value::as_object);
    for key in variables.into_iter().flat_map(Map::keys) {
        if let Some(why) = reserved(key) {
            problems.push(FieldError::new(format!("/{CLIENT_DATA}/{VARIABLES}/{}", pointer_token(key)), why));
        }
    }
    // One level down: a key that belongs into the client data is the commonest mistake.
    for problem in problems.iter_mut().filter(|problem| problem.detail.starts_with("unknown key")) {
        let key = problem.pointer.trim_start_matches('/');
        if CLIENT_DATA_CONFIG.iter().any(|member| member.name == key) {
            problem.detail = format!("belongs into {CLIENT_DATA}");
        } else if !key.contains('/') {
            let hint = nearest_hint(key, CONFIG.iter().map(|member| member.name));
            problem.detail = format!("elevenlabs does not know this key{hint}");
        }
    }
    problems.into_iter().map(|problem| problem.below("/platform_config")).collect()
}

/// Names of variables that are not the producer's.
fn reserved(key: &str) -> Option<&'static str> {
    if key.starts_with("voxd_") {
        Some("keys that begin with voxd_ are voxd's own")
    } else if key.starts_with("system__") {
        Some("variables that begin with system__ are elevenlabs' own")
    } else {
        None
    }
}

/// See [`super::super::Platform::validate_payload`].
pub fn validate(payload: &Payload) -> Result<(), Vec<FieldError>> {
    let mut problems = Vec::new();
    FIELDS.check(&Value::Object(payload.fields.clone()), "", &mut problems);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn scalar(value: &Value) -> Result<(), String> {
    if value.is_string() || value.is_number() || value.is_boolean() {
        Ok(())
    } else {
        Err("a string, a number, true or false".into())
    }
}

/// The shape only: the list of languages grows, and an unknown one is refused by the answer.
fn language(value: &Value) -> Result<(), String> {
    let is_code = |text: &str| {
        let mut parts = text.split('-');
        let first = parts
            .next()
            .is_some_and(|part| matches!(part.len(), 2..=3) && part.bytes().all(|b| b.is_ascii_lowercase()));
        first && parts.all(|part| matches!(part.len(), 2..=4) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
    };
    if value.as_str().is_some_and(is_code) { Ok(()) } else { Err("a language code such as en, es, pt-br".into()) }
}

#[cfg(test)]
mod tests;
