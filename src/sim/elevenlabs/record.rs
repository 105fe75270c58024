//! A call as ElevenLabs shows it: a conversation's detail and row, and what the webhooks tell.

use serde_json::{Value, json};

use super::super::platform::{Call, End, Outcome, Standing};
use super::{ElevenLabs, carrier};
use crate::clock::Monotonic;

/// Credits for a second of talk, and what a credit costs in US dollars (made up; the vendor's prices are per plan).
const CREDITS_PER_SECOND: u64 = 8;
const DOLLARS_PER_THOUSAND: f64 = 0.2;

/// Whether the call never became a conversation.
pub fn is_failure(end: &End) -> bool {
    !end.outcome.is_some_and(Outcome::is_answered) || end.talked.is_zero()
}

fn status(call: &Call, now: Monotonic) -> &'static str {
    match call.standing(now) {
        Standing::Ringing => "initiated",
        Standing::Talking => "in-progress",
        Standing::Ended(end) if is_failure(&end) => "failed",
        Standing::Ended(_) => "done",
    }
}

/// As `GET /v1/convai/conversations/{id}` shows it.
pub fn record(call: &Call, now: Monotonic, vendor: &ElevenLabs) -> Value {
    let fields = &call.request.fields;
    let data = fields.get("conversation_initiation_client_data").cloned().unwrap_or(json!({}));
    let end = call.ended(now);
    let seconds = end.map_or(0, |end| end.talked.as_secs());
    let credits = seconds * CREDITS_PER_SECOND;
    let failed = end.filter(is_failure);
    json!({
        "agent_id": call.text("agent_id"),
        "conversation_id": call.id,
        "status": status(call, now),
        "user_id": data.get("user_id"),
        "has_audio": end.is_some() && failed.is_none(), "has_user_audio": end.is_some() && failed.is_none(),
        "has_response_audio": end.is_some() && failed.is_none(), "has_auxiliary_audio": false,
        "transcript": if failed.is_some() { json!([]) } else { transcript(call, end) },
        "metadata": {
            "start_time_unix_secs": call.created_at.timestamp(),
            "accepted_time_unix_secs": call.is_answered(now).then(|| call.answered_at().timestamp()),
            "call_duration_secs": seconds,
            "cost": end.map(|_| credits),
            "cost_fiat": end.filter(|_| vendor.tells_money).map(|_| dollars(credits)),
            "termination_reason": end.map(|end| termination_reason(&end)),
            // The vendor's codes are not documented.
            "error": failed.map(|_| json!({ "code": 1, "reason": "The call could not be connected" })),
            "phone_call": {
                "type": "twilio", "direction": "outbound", "phone_number_id": call.text("agent_phone_number_id"),
                "agent_number": "+14155550199", "external_number": call.text("to_number"), "call_sid": carrier::sid(call),
                "stream_sid": "MZ00000000000000000000000000000001",
                "call_result": end.filter(|_| vendor.tells_result).map(|end| call_result(&end)),
            },
            "conversation_initiation_source": "twilio",
            "a_field_of_tomorrow": { "nested": [1] },
        },
        "analysis": end.filter(|end| !is_failure(end)).map(|_| json!({
            "call_successful": "success", "transcript_summary": "The person confirmed.", "evaluation_criteria_results": {},
        })),
        "conversation_initiation_client_data": data,
    })
}

/// As a listing shows it: without user, number and the carrier's id.
pub fn row(call: &Call, now: Monotonic) -> Value {
    let end = call.ended(now);
    json!({
        "agent_id": call.text("agent_id"), "conversation_id": call.id, "start_time_unix_secs": call.created_at.timestamp(),
        "call_duration_secs": end.map_or(0, |end| end.talked.as_secs()), "message_count": 2, "status": status(call, now),
        "termination_reason": end.map(|end| termination_reason(&end)), "call_successful": "unknown", "direction": "outbound",
        "conversation_initiation_source": "twilio",
    })
}

pub fn user_id(call: &Call) -> Option<&str> {
    call.request.fields.get("conversation_initiation_client_data")?.get("user_id")?.as_str()
}

pub fn transcription_event(call: &Call, now: Monotonic, vendor: &ElevenLabs) -> Value {
    let data = record(call, now, vendor);
    json!({ "type": "post_call_transcription", "event_timestamp": call.created_at.timestamp() + 60, "data": data })
}

/// No `user_id` in it.
pub fn failure_event(call: &Call, end: &End) -> Value {
    let (reason, sip) = match end.outcome {
        Some(Outcome::Busy) => ("busy", "486"),
        Some(Outcome::NoAnswer) => ("no-answer", "487"),
        Some(Outcome::SpamBlocked) => ("unknown", "608"),
        Some(Outcome::NumberNotFound) => ("unknown", "404"),
        Some(Outcome::Unavailable) => ("unknown", "503"),
        _ => ("unknown", ""),
    };
    json!({
        "type": "call_initiation_failure", "event_timestamp": call.answered_at().timestamp(),
        "data": {
            "agent_id": call.text("agent_id"), "conversation_id": call.id, "failure_reason": reason,
            "metadata": { "type": "twilio", "body": {
                "CallSid": carrier::sid(call), "CallStatus": carrier::ended_as(end), "To": call.text("to_number"),
                "From": "+14155550199", "Direction": "outbound-api", "CallDuration": "0", "SipResponseCode": sip,
            } },
        },
    })
}

fn call_result(end: &End) -> &'static str {
    match end.outcome {
        Some(Outcome::Busy) => "busy",
        Some(Outcome::NoAnswer) => "no_answer",
        Some(Outcome::Voicemail) => "voicemail",
        _ if is_failure(end) => "failed",
        _ => "answered",
    }
}

fn termination_reason(end: &End) -> &'static str {
    match end.outcome {
        _ if is_failure(end) => "",
        _ if end.stopped => "Call ended by the carrier",
        Some(Outcome::Voicemail) => "end_call tool was called",
        _ => "Call ended by remote party",
    }
}

fn transcript(call: &Call, end: Option<End>) -> Value {
    let tools = |name: &str| json!([{ "type": "system", "tool_name": name, "request_id": "r1" }]);
    match end.and_then(|end| end.outcome) {
        Some(Outcome::Completed) => json!([
            { "role": "agent", "message": said(call), "time_in_call_secs": 0, "tool_calls": [], "tool_results": [] },
            { "role": "user", "message": "Yes, thank you.", "time_in_call_secs": 3, "tool_calls": [], "tool_results": [] },
        ]),
        Some(Outcome::Voicemail) => json!([
            { "role": "agent", "message": null, "time_in_call_secs": 1, "tool_calls": tools("voicemail_detection") },
        ]),
        _ => json!([]),
    }
}

/// The agent of this workspace says what `content` holds, or its first message.
fn said(call: &Call) -> String {
    let data = call.request.fields.get("conversation_initiation_client_data");
    let variable = |name: &str| data?.get("dynamic_variables")?.get(name)?.as_str();
    let content = variable("content").unwrap_or("Hello.");
    let first = data.and_then(|data| data.pointer("/conversation_config_override/agent/first_message"));
    let text = first.and_then(Value::as_str).map_or(content.to_owned(), |first| first.replace("{{content}}", content));
    text.replace("{{name}}", variable("name").unwrap_or_default()).chars().take(200).collect()
}

fn dollars(credits: u64) -> f64 {
    (credits as f64 * DOLLARS_PER_THOUSAND * 10.0).round() / 10_000.0
}
