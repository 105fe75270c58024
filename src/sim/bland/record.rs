//! A call as Bland shows it: in a record, in a listing, in the post-call webhook.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::super::platform::{Call, Outcome, Phase};
use crate::clock::Monotonic;

/// US dollars per talked minute, and the least that an attempt costs (the vendor's price page of 2025-12).
const PRICE_PER_MINUTE: f64 = 0.14;
const LEAST_PRICE: f64 = 0.015;

pub fn wants_event(call: &Call, event: &str) -> bool {
    let events = call.request.fields.get("webhook_events").and_then(Value::as_array);
    events.is_some_and(|events| events.iter().any(|wanted| wanted == event))
}

/// As `GET /v1/calls/{id}` and the post-call webhook show it.
pub fn record(call: &Call, now: Monotonic) -> Value {
    let mut record = row(call, now, false);
    let fields = &call.request.fields;
    let given = |name: &str| fields.get(name).cloned().unwrap_or(Value::Null);
    record["metadata"] = given("metadata");
    record["request_data"] = given("request_data");
    record["max_duration"] = fields.get("max_duration").cloned().unwrap_or(json!(30));
    record["pathway_id"] = given("pathway_id");
    record["record"] = json!(fields.get("record") == Some(&json!(true)));
    record["c_id"] = json!(call.id);
    record["variables"] = json!({});
    record["endpoint_url"] = json!("api.prod.bland.ai");
    record["isRetry"] = json!(false);
    record["transcripts"] = json!([]);
    record["concatenated_transcript"] = json!("");
    if let Some(ended) = ended(call, now)
        && ended.seconds > 0.0
        && call.script.outcome == Outcome::Completed
    {
        let at = |seconds: i64| stamp(call.answered_at() + TimeDelta::seconds(seconds));
        record["transcripts"] = json!([
            { "id": 1, "user": "assistant", "text": said(call), "created_at": at(1) },
            { "id": 2, "user": "user", "text": "Yes, thank you.", "created_at": at(3) },
            { "id": 3, "user": "agent-action", "text": "Ended call", "created_at": at(5) },
        ]);
        record["concatenated_transcript"] = json!(format!("assistant: {} \n user: Yes, thank you. \n ", said(call)));
        record["summary"] = json!("The person confirmed.");
        record["disposition_tag"] = json!("COMPLETED_ACTION");
        if record["record"] == json!(true) {
            record["recording_url"] = json!(format!("https://api.bland.ai/v1/recordings/{}", call.id));
        }
    }
    record
}

/// As a listing shows it: without transcripts and, as in the vendor's sample, without metadata.
pub fn row(call: &Call, now: Monotonic, without_country: bool) -> Value {
    let to = call.text("phone_number");
    let ended = ended(call, now);
    let queue_status = match (call.playback.phase(now), ended) {
        (_, Some(ended)) => ended.queue_status,
        (Phase::Ringing, _) => "allocated",
        (_, _) => "started",
    };
    let end_at = |seconds: f64| stamp(call.answered_at() + TimeDelta::milliseconds((seconds * 1000.0) as i64));
    json!({
        "call_id": call.id,
        "to": if without_country { to.strip_prefix("+1").unwrap_or(to) } else { to },
        "from": call.request.fields.get("from").cloned().unwrap_or(json!("+14155550199")),
        "inbound": false,
        "batch_id": null,
        "created_at": stamp(call.created_at),
        "started_at": call.is_answered(now).then(|| stamp(call.answered_at())),
        "end_at": ended.map(|ended| end_at(ended.seconds)),
        "completed": ended.is_some_and(|ended| ended.queue_status != "call_error"),
        "queue_status": queue_status,
        "status": ended.map(|ended| ended.status),
        "answered_by": ended.and_then(|ended| ended.answered_by),
        "error_message": ended.and_then(|ended| ended.error_message),
        "call_length": ended.map_or(0.0, |ended| ended.seconds / 60.0),
        "corrected_duration": ended.map(|ended| format!("{}", ended.seconds.round())),
        "price": ended.map_or(0.0, |ended| round4((ended.seconds / 60.0 * PRICE_PER_MINUTE).max(LEAST_PRICE))),
        "call_ended_by": ended.and_then(|ended| ended.ended_by),
    })
}

fn said(call: &Call) -> String {
    let task = call.text("task");
    if task.is_empty() { "Hello.".into() } else { task.chars().take(200).collect() }
}

fn ended(call: &Call, now: Monotonic) -> Option<Ended> {
    let end = call.ended(now)?;
    let none = Ended {
        status: "completed",
        queue_status: "complete",
        answered_by: None,
        error_message: None,
        ended_by: None,
        seconds: 0.0,
    };
    let failed = |message| Ended { status: "failed", error_message: Some(message), ..none };
    let seconds = end.talked.as_secs_f64();
    let by = if end.stopped { "ASSISTANT" } else { "USER" };
    let Some(outcome) = end.outcome else { return Some(Ended { status: "canceled", ..none }) };
    Some(match outcome {
        Outcome::Completed => Ended { answered_by: Some("human"), ended_by: Some(by), seconds, ..none },
        Outcome::Voicemail => Ended { answered_by: Some("voicemail"), ended_by: Some("ASSISTANT"), seconds, ..none },
        Outcome::NoAnswer => Ended { status: "no-answer", answered_by: Some("no-answer"), ..none },
        Outcome::Busy => {
            Ended { status: "busy", error_message: Some("Call failed. SIP 486: The number is busy."), ..none }
        }
        Outcome::SpamBlocked => failed("Call failed. SIP 608: The call was blocked by the carrier as spam."),
        Outcome::NumberNotFound => failed("Call failed. SIP 404: The number was not found."),
        Outcome::Unavailable => failed("Call failed. SIP 480: The number is temporarily unavailable."),
        Outcome::EndsUnknown => Ended { status: "unknown", error_message: Some("unknown"), ..none },
        Outcome::PlatformFailure => {
            Ended { queue_status: "call_error", error_message: Some("Unable to start call."), ..failed("") }
        }
    })
}

#[derive(Clone, Copy)]
struct Ended {
    status: &'static str,
    queue_status: &'static str,
    answered_by: Option<&'static str>,
    error_message: Option<&'static str>,
    ended_by: Option<&'static str>,
    seconds: f64,
}

fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, false)
}

fn round4(amount: f64) -> f64 {
    (amount * 10_000.0).round() / 10_000.0
}
