//! A call as Vapi shows it: in the create answer, in a record, in webhooks.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::super::platform::{Call, End, Outcome, Standing};
use super::{AtLimit, HOST_KEY, Vapi};
use crate::clock::{self, Monotonic};

/// US dollars per talked minute: the vendor's fee, and what model, voice, transcriber and carrier take.
const FEE_PER_MINUTE: f64 = 0.05;
const OTHERS_PER_MINUTE: f64 = 0.09;

const NO_LINE: &str = "call.start.error-subscription-concurrency-limit-reached";

/// Whichever of the two this call has.
pub fn overrides(call: &Call) -> Option<&Value> {
    ["assistantOverrides", "squadOverrides"].iter().find_map(|key| call.request.fields.get(*key))
}

/// Whether a message goes out. Without a list of its own a call gets these and many more.
pub fn wants(call: &Call, message: &str) -> bool {
    let asked = overrides(call).and_then(|overrides| overrides.get("serverMessages")?.as_array());
    asked.is_none_or(|asked| asked.iter().any(|wanted| wanted == message))
}

/// Right after its creation.
pub fn created(vendor: &Vapi, call: &Call) -> Value {
    let mut record = record(vendor, call, clock::monotonic());
    record["status"] = json!("queued");
    record["cost"] = json!(0);
    for later in ["startedAt", "endedAt", "endedReason", "artifact", "analysis", "costs", "costBreakdown"] {
        if let Some(record) = record.as_object_mut() {
            record.remove(later);
        }
    }
    record
}

/// As `GET /call/{id}` shows it.
pub fn record(vendor: &Vapi, call: &Call, now: Monotonic) -> Value {
    let fields = &call.request.fields;
    let host = call.text(HOST_KEY);
    let mut record = json!({
        "id": call.id, "orgId": "0a1b2c3d-0000-4000-8000-0000000000ff", "type": "outboundPhoneCall",
        "status": status(vendor, call, now), "createdAt": stamp(call.created_at), "updatedAt": stamp(call.created_at), "cost": 0,
        "phoneCallProvider": "twilio", "phoneCallTransport": "pstn",
        "monitor": { "listenUrl": format!("ws://{host}/listen/{}", call.id), "controlUrl": format!("http://{host}/control/{}", call.id) },
    });
    for (key, value) in fields.iter().filter(|(key, _)| *key != HOST_KEY) {
        record[key.as_str()] = value.clone();
    }
    if let Some(name) = vendor.seen().names.get(&call.id) {
        record["name"] = json!(name);
    }
    if !vendor.limit_of(call).never_dials() {
        record["phoneCallProviderId"] = json!(format!("CA{:032x}", call.seq));
    }
    if call.is_answered(now) && !vendor.limit_of(call).never_dials() {
        record["startedAt"] = json!(stamp(call.answered_at()));
    }
    if let Some((reason, end)) = ended(vendor, call, now) {
        let record = &mut record;
        for (key, value) in at_end(call, reason, &end) {
            record[key] = value;
        }
    }
    record
}

fn at_end(call: &Call, reason: &str, end: &End) -> Vec<(&'static str, Value)> {
    let minutes = end.talked.as_secs_f64() / 60.0;
    let (fee, others) = (round4(minutes * FEE_PER_MINUTE), round4(minutes * OTHERS_PER_MINUTE));
    let total = round4(fee + others);
    let mut facts = vec![
        ("endedReason", json!(reason)),
        ("endedAt", json!(stamp(call.ended_at(end)))),
        ("updatedAt", json!(stamp(call.ended_at(end)))),
        ("cost", json!(total)),
        (
            "costs",
            json!([{ "type": "vapi", "subType": "normal", "minutes": round4(minutes), "cost": fee }, { "type": "model", "cost": others }]),
        ),
        ("costBreakdown", json!({ "transport": 0, "stt": 0, "llm": others, "tts": 0, "vapi": fee, "total": total })),
    ];
    if end.outcome == Some(Outcome::Completed) && !end.talked.is_zero() {
        let at = |seconds: i64| (call.answered_at() + TimeDelta::seconds(seconds)).timestamp_millis();
        let said = overrides(call).and_then(|overrides| overrides.get("firstMessage")?.as_str()).unwrap_or("Hello.");
        let mut artifact = json!({
            "messages": [
                { "role": "system", "message": "You are a friendly assistant.", "time": at(0), "secondsFromStart": 0 },
                { "role": "bot", "message": said, "time": at(1), "secondsFromStart": 1 },
                { "role": "user", "message": "Yes, thank you.", "time": at(3), "secondsFromStart": 3 },
            ],
            "transcript": format!("AI: {said}\nUser: Yes, thank you.\n"),
        });
        let plan = overrides(call).and_then(|overrides| overrides.get("artifactPlan")?.get("recordingEnabled"));
        if plan != Some(&json!(false)) {
            artifact["recordingUrl"] = json!(format!("https://storage.vapi.ai/{}-mono.wav", call.id));
            let presigned = format!("https://storage.vapi.ai/{}.wav?X-Signature={}", call.id, uuid::Uuid::new_v4());
            artifact["presignedRecordingUrl"] = json!(presigned);
        }
        facts.push(("artifact", artifact));
        facts.push(("analysis", json!({ "summary": "The person confirmed.", "successEvaluation": "true" })));
    }
    facts
}

fn status(vendor: &Vapi, call: &Call, now: Monotonic) -> &'static str {
    if vendor.limit_of(call) == AtLimit::BlockedAndQueued {
        return "queued";
    }
    if ended(vendor, call, now).is_some() {
        return "ended";
    }
    match call.standing(now) {
        Standing::Talking => "in-progress",
        _ => "ringing",
    }
}

fn ended(vendor: &Vapi, call: &Call, now: Monotonic) -> Option<(&'static str, End)> {
    let nothing = End { outcome: None, talked: std::time::Duration::ZERO, stopped: false };
    match vendor.limit_of(call) {
        AtLimit::BlockedAndQueued => return None,
        AtLimit::BlockedAndEnded | AtLimit::Ended => return Some((NO_LINE, nothing)),
        _ => {}
    }
    let end = call.ended(now)?;
    let reason = match end.outcome {
        None => "manually-canceled",
        Some(Outcome::Completed) if end.stopped => "assistant-ended-call",
        Some(Outcome::Completed) => "customer-ended-call",
        Some(Outcome::Voicemail) => "voicemail",
        Some(Outcome::NoAnswer) => "customer-did-not-answer",
        Some(Outcome::Busy) => "customer-busy",
        Some(Outcome::SpamBlocked) => "call.in-progress.error-providerfault-outbound-sip-403-forbidden",
        Some(Outcome::NumberNotFound) => "twilio-reported-customer-misdialed",
        Some(Outcome::Unavailable) => "twilio-failed-to-connect-call",
        // New values come every month.
        Some(Outcome::EndsUnknown) => "call.in-progress.ended-as-of-next-month",
        Some(Outcome::PlatformFailure) => "worker-shutdown",
    };
    Some((reason, end))
}

/// `message.call` of webhooks: who it is and where it stood, and the number's credentials, which Vapi echoes.
fn brief(vendor: &Vapi, call: &Call, status: &str) -> Value {
    let whole = created(vendor, call);
    let mut brief = json!({
        "status": status,
        "phoneNumber": { "twilioPhoneNumber": "+14155550199", "twilioAccountSid": "AC0", "twilioAuthToken": "simulated-twilio-token" },
    });
    for key in
        ["id", "orgId", "type", "createdAt", "customer", "name", "assistantOverrides", "squadOverrides", "monitor"]
    {
        if let Some(value) = whole.get(key) {
            brief[key] = value.clone();
        }
    }
    brief
}

pub fn status_update(vendor: &Vapi, call: &Call, status: &str, now: Monotonic) -> Value {
    let mut message = json!({
        "type": "status-update", "status": status, "timestamp": clock::now().timestamp_millis(),
        "call": brief(vendor, call, status), "customer": call.request.fields.get("customer"), "artifact": { "messages": [] },
    });
    if status == "ended" {
        message["endedReason"] = json!(ended(vendor, call, now).map(|(reason, _)| reason));
    }
    json!({ "message": message })
}

pub fn report(vendor: &Vapi, call: &Call, now: Monotonic) -> Value {
    let whole = record(vendor, call, now);
    let mut message = json!({
        "type": "end-of-call-report", "timestamp": clock::now().timestamp_millis(), "call": brief(vendor, call, "ended"),
    });
    for key in
        ["endedReason", "startedAt", "endedAt", "cost", "costs", "costBreakdown", "artifact", "analysis", "customer"]
    {
        if let Some(value) = whole.get(key) {
            message[key] = value.clone();
        }
    }
    json!({ "message": message })
}

pub fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn round4(amount: f64) -> f64 {
    (amount * 10_000.0).round() / 10_000.0
}
