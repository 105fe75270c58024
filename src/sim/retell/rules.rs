//! What Retell refuses about a create request, by its own reference.

use serde_json::{Map, Value};

const FIELDS: &[&str] = &[
    "from_number",
    "to_number",
    "override_agent_id",
    "override_agent_version",
    "agent_override",
    "retell_llm_dynamic_variables",
    "metadata",
    "custom_sip_headers",
    "ignore_e164_validation",
    "honor_internal_dnc",
    "idempotency_key",
];

const EVENTS: &[&str] = &[
    "call_started",
    "call_ended",
    "call_analyzed",
    "transcript_updated",
    "transfer_started",
    "transfer_bridged",
    "transfer_cancelled",
    "transfer_ended",
];

/// Whole numbers of the overridden agent, with their bounds.
const INTEGERS: &[(&str, i64, i64)] = &[
    ("ring_duration_ms", 5_000, 300_000),
    ("max_call_duration_ms", 60_000, 7_200_000),
    ("end_call_after_silence_ms", 10_000, i64::MAX),
    ("data_storage_retention_days", 1, 730),
    ("begin_message_delay_ms", 0, 5_000),
];

/// The first thing that is wrong.
pub fn problem(fields: &Map<String, Value>) -> Option<String> {
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Some(format!("{unknown} is not a known property"));
    }
    for name in ["from_number", "to_number"] {
        match fields.get(name).and_then(Value::as_str) {
            Some(number) if is_e164(number) => {}
            Some(_) => return Some(format!("{name} is not in E.164 format")),
            None => return Some(format!("{name} is required")),
        }
    }
    for name in ["retell_llm_dynamic_variables", "custom_sip_headers"] {
        let strings = |value: &Value| value.as_object().is_some_and(|map| map.values().all(Value::is_string));
        if fields.get(name).is_some_and(|value| !strings(value)) {
            return Some(format!("{name} must map strings to strings"));
        }
    }
    for name in ["metadata", "agent_override"] {
        if fields.get(name).is_some_and(|value| !value.is_object()) {
            return Some(format!("{name} must be an object"));
        }
    }
    if fields.get("metadata").is_some_and(|metadata| metadata.to_string().len() > 50_000) {
        return Some("metadata is larger than 50 kB".into());
    }
    let overrides = fields.get("agent_override")?.as_object()?;
    if let Some(unknown) =
        overrides.keys().find(|name| !["agent", "retell_llm", "conversation_flow"].contains(&name.as_str()))
    {
        return Some(format!("agent_override.{unknown} is not a known property"));
    }
    agent_problem(overrides.get("agent")?.as_object()?)
}

fn agent_problem(agent: &Map<String, Value>) -> Option<String> {
    for (name, least, most) in INTEGERS {
        let fits = |value: &Value| value.is_null() || value.as_i64().is_some_and(|n| (*least..=*most).contains(&n));
        if agent.get(*name).is_some_and(|value| !fits(value)) {
            return Some(format!("agent_override.agent.{name} is out of range"));
        }
    }
    let storage = ["everything", "everything_except_pii", "basic_attributes_only"];
    let is_of = |known: &[&str], value: &Value| value.as_str().is_some_and(|text| known.contains(&text));
    if agent.get("data_storage_setting").is_some_and(|value| !is_of(&storage, value)) {
        return Some("agent_override.agent.data_storage_setting is not a known value".into());
    }
    if let Some(events) = agent.get("webhook_events")
        && !events.as_array().is_some_and(|events| events.iter().all(|event| is_of(EVENTS, event)))
    {
        return Some("agent_override.agent.webhook_events has an unknown event".into());
    }
    let locale = |value: &Value| value.as_str().is_some_and(|text| text == "multi" || text.contains('-'));
    if agent.get("language").is_some_and(|value| !locale(value) && !value.is_array()) {
        return Some("agent_override.agent.language is not a known locale".into());
    }
    None
}

fn is_e164(number: &str) -> bool {
    let digits = number.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}
