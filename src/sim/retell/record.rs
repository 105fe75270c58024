//! A call as Retell shows it: in a record, in a listing, in webhooks.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::super::platform::{Call, End, Outcome, Standing};
use super::Retell;
use crate::clock::Monotonic;

/// US cents a talked second.
const CENTS_PER_SECOND: f64 = 0.2185;

/// A member of the overridden agent.
pub fn agent<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get("agent_override")?.get("agent")?.get(name)
}

pub fn wants_event(call: &Call, event: &str) -> bool {
    match agent(&call.request.fields, "webhook_events").and_then(Value::as_array) {
        Some(events) => events.iter().any(|wanted| wanted == event),
        None => true,
    }
}

/// As the create answer shows it, whatever became of it meanwhile.
pub fn created(call: &Call, quirks: &Retell) -> Value {
    let mut record = base(call, quirks);
    record["call_status"] = json!("registered");
    if quirks.no_line {
        no_line(&mut record);
    }
    record
}

/// As `GET /v2/get-call/{id}`, listings and webhooks show it.
pub fn record(call: &Call, now: Monotonic, quirks: &Retell, with_analysis: bool) -> Value {
    let mut record = base(call, quirks);
    if quirks.no_line {
        no_line(&mut record);
        return record;
    }
    if call.is_answered(now) {
        record["start_timestamp"] = json!(ms(call.answered_at()));
    }
    let end = match call.standing(now) {
        Standing::Ringing => {
            record["call_status"] = json!("registered");
            return record;
        }
        // A call that nobody answers is never ongoing.
        Standing::Talking => {
            record["call_status"] = json!("ongoing");
            return record;
        }
        Standing::Ended(end) => end,
    };
    let (status, reason) = ending(&end);
    record["call_status"] = json!(status);
    if let Some(reason) = reason {
        record["disconnection_reason"] = json!(reason);
    }
    record["end_timestamp"] = json!(ms(call.ended_at(&end)));
    record["duration_ms"] = json!(end.talked.as_millis() as u64);
    let cents = (end.talked.as_secs_f64() * CENTS_PER_SECOND * 10_000.0).round() / 10_000.0;
    record["call_cost"] = json!({
        "combined_cost": cents, "total_duration_seconds": end.talked.as_secs(),
        "total_duration_unit_price": CENTS_PER_SECOND,
        "product_costs": [{ "product": "elevenlabs_tts", "cost": cents, "unit_price": CENTS_PER_SECOND }],
    });
    let stores_all =
        agent(&call.request.fields, "data_storage_setting").is_none_or(|setting| setting != "basic_attributes_only");
    if end.outcome == Some(Outcome::Completed) && stores_all {
        let said = said(call);
        record["transcript"] = json!(format!("Agent: {said}\nUser: Yes, thank you.\n"));
        record["transcript_object"] = json!([
            { "role": "agent", "content": said, "words": [{ "word": "Hello", "start": 0.5, "end": 0.9 }] },
            { "role": "user", "content": "Yes, thank you.", "words": [{ "word": "Yes", "start": 3.1, "end": 3.4 }] },
        ]);
        record["recording_url"] = json!(format!("https://recordings.retell.example/{}.wav", call.id));
    }
    if with_analysis {
        record["call_analysis"] = json!({
            "call_successful": end.outcome == Some(Outcome::Completed),
            "in_voicemail": end.outcome == Some(Outcome::Voicemail),
            "call_summary": "The agent called and the person confirmed.",
            "user_sentiment": "Neutral", "custom_analysis_data": {},
        });
    }
    record
}

fn base(call: &Call, quirks: &Retell) -> Value {
    let fields = &call.request.fields;
    let mut record = json!({
        "call_id": call.id, "call_type": "phone_call", "direction": "outbound",
        "agent_id": fields.get("override_agent_id").cloned().unwrap_or(json!("agent_of_the_number")),
        "agent_version": 3, "agent_name": "Simulated",
        "from_number": fields.get("from_number"), "to_number": fields.get("to_number"),
        "data_storage_setting": agent(fields, "data_storage_setting").cloned().unwrap_or(json!("everything")),
        "opt_in_signed_url": false,
    });
    // Absent, not null, where none was given.
    for name in ["metadata", "retell_llm_dynamic_variables", "custom_sip_headers"] {
        if let Some(value) = fields.get(name).filter(|_| name != "metadata" || quirks.keeps_metadata) {
            record[name] = value.clone();
        }
    }
    record
}

fn no_line(record: &mut Value) {
    record["call_status"] = json!("error");
    record["disconnection_reason"] = json!("concurrency_limit_reached");
}

fn ending(end: &End) -> (&'static str, Option<&'static str>) {
    let Some(outcome) = end.outcome.filter(|_| !end.stopped) else { return ("ended", Some("manual_stopped")) };
    match outcome {
        Outcome::Completed => ("ended", Some("user_hangup")),
        Outcome::Voicemail => ("ended", Some("voicemail_reached")),
        Outcome::NoAnswer => ("not_connected", Some("dial_no_answer")),
        Outcome::Busy => ("not_connected", Some("dial_busy")),
        Outcome::SpamBlocked => ("not_connected", Some("marked_as_spam")),
        Outcome::NumberNotFound => ("not_connected", Some("invalid_destination")),
        Outcome::Unavailable => ("not_connected", Some("telephony_provider_unavailable")),
        Outcome::EndsUnknown => ("ended", None),
        Outcome::PlatformFailure => ("error", Some("error_retell")),
    }
}

fn said(call: &Call) -> String {
    let variables = call.request.fields.get("retell_llm_dynamic_variables");
    let content = variables.and_then(|variables| variables.get("content")).and_then(Value::as_str);
    content.unwrap_or("Hello.").chars().take(200).collect()
}

fn ms(at: DateTime<Utc>) -> i64 {
    at.timestamp_millis()
}
