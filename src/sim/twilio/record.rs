//! A call as Twilio shows it, and what Twilio posts about it.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::super::platform::{Call, End, Moment, Outcome, Standing};
use super::{ACCOUNT_SID, Twilio};
use crate::clock::Monotonic;

/// US dollars per started minute (list price of 2026, outbound within the US).
const CENTS_PER_MINUTE: f64 = 1.4;

/// As `GET …/Calls/{sid}.json` and listings show it. Numbers are texts; whatever is not known yet is null.
pub fn resource(twilio: &Twilio, call: &Call, now: Monotonic) -> Value {
    let end = call.ended(now);
    let status = status(twilio, call, now);
    let uri = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Calls/{}", call.id);
    let seconds = end.map(|end| end.talked.as_secs()).filter(|_| status == "completed");
    let dialled = status != "queued" && !(status == "canceled" && was_queued_only(twilio, call));
    let rated = seconds.filter(|_| now >= call.playback.end() + twilio.price_lag);
    let price = rated.map(|seconds| format!("-{:.5}", seconds.div_ceil(60) as f64 * CENTS_PER_MINUTE / 100.0));
    json!({
        "sid": call.id, "account_sid": ACCOUNT_SID, "api_version": "2010-04-01", "status": status,
        "direction": "outbound-api", "to": call.text("To"), "from": call.text("From"),
        "to_formatted": call.text("To"), "from_formatted": call.text("From"),
        "date_created": stamp(call.created_at), "date_updated": stamp(call.created_at),
        "start_time": dialled.then(|| stamp(call.created_at)),
        "end_time": end.map(|end| stamp(call.ended_at(&end))),
        "duration": seconds.map(|seconds| seconds.to_string()),
        "price": price, "price_unit": "USD",
        "answered_by": answered_by(call).filter(|_| call.is_answered(now)),
        "queue_time": twilio.queue.as_millis().to_string(), "parent_call_sid": null,
        "phone_number_sid": "PN00000000000000000000000000000001",
        "forwarded_from": null, "caller_name": null, "group_sid": null, "trunk_sid": null, "annotation": null,
        "uri": format!("{uri}.json"), "subresource_uris": { "recordings": format!("{uri}/Recordings.json") },
    })
}

pub fn status(twilio: &Twilio, call: &Call, now: Monotonic) -> &'static str {
    match call.standing(now) {
        Standing::Ringing if now < call.playback.created() + twilio.queue => "queued",
        Standing::Ringing => "ringing",
        Standing::Talking => "in-progress",
        Standing::Ended(end) => match end.outcome {
            None => "canceled",
            Some(Outcome::Completed | Outcome::Voicemail) => "completed",
            Some(Outcome::NoAnswer) => "no-answer",
            Some(Outcome::Busy) => "busy",
            Some(_) => "failed",
        },
    }
}

/// It was taken back before it was dialled, and so has no start.
fn was_queued_only(twilio: &Twilio, call: &Call) -> bool {
    call.playback.end() < call.playback.created() + twilio.queue
}

/// What is posted, each with the parameter that holds its address.
pub fn callbacks(
    twilio: &Twilio,
    call: &Call,
    moment: Moment,
    now: Monotonic,
) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let end = call.ended(now);
    let answered = call.script.outcome.is_answered() && end.is_none_or(|end| end.outcome.is_some());
    match moment {
        Moment::Queued => event(call, "initiated", "initiated", 0, call.created_at, Vec::new()),
        Moment::Ringing if status(twilio, call, now) == "queued" => Vec::new(),
        Moment::Ringing => event(call, "ringing", "ringing", 1, call.created_at, Vec::new()),
        Moment::Answered => {
            let mut all = event(call, "answered", "in-progress", 2, call.answered_at(), Vec::new());
            all.extend(detection(call));
            all
        }
        Moment::Ended => match end {
            Some(end) => ended(call, &end, status(twilio, call, now)),
            None => Vec::new(),
        },
        Moment::Analyzed if answered && call.text("Record") == "true" => vec![recording(call)],
        Moment::Analyzed => Vec::new(),
    }
}

/// The parameters that every callback has.
pub fn told(call: &Call) -> Vec<(&'static str, String)> {
    vec![
        ("CallSid", call.id.clone()),
        ("AccountSid", ACCOUNT_SID.into()),
        ("From", call.text("From").into()),
        ("To", call.text("To").into()),
        ("Caller", call.text("From").into()),
        ("Called", call.text("To").into()),
        ("Direction", "outbound-api".into()),
        ("ApiVersion", "2010-04-01".into()),
        // New parameters appear without notice; white space in a value is signed as it is.
        ("ToCity", " SAN FRANCISCO ".into()),
    ]
}

/// A status callback, where the call asked for this event.
fn event(
    call: &Call,
    name: &str,
    status: &str,
    sequence: u32,
    at: DateTime<Utc>,
    more: Vec<(&'static str, String)>,
) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    if !asked_for(call, name) {
        return Vec::new();
    }
    let mut told = told(call);
    told.extend([
        ("CallStatus", status.to_owned()),
        ("Timestamp", stamp(at)),
        ("CallbackSource", "call-progress-events".into()),
        ("SequenceNumber", sequence.to_string()),
    ]);
    told.extend(more);
    vec![("StatusCallback", told)]
}

/// Twilio tells the end alone unless it is asked for more.
fn asked_for(call: &Call, event: &str) -> bool {
    match call.request.fields.get("StatusCallbackEvent") {
        Some(Value::Array(events)) => events.iter().any(|asked| asked == event),
        Some(single) => single == event,
        None => event == "completed",
    }
}

fn ended(call: &Call, end: &End, status: &str) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let sip = match end.outcome {
        Some(Outcome::Completed | Outcome::Voicemail) => "200",
        Some(Outcome::Busy) => "486",
        Some(Outcome::NoAnswer) | None => "487",
        Some(Outcome::SpamBlocked) => "608",
        Some(Outcome::NumberNotFound) => "404",
        Some(Outcome::Unavailable) => "480",
        Some(Outcome::PlatformFailure) => "500",
        Some(Outcome::EndsUnknown) => "",
    };
    let mut more = vec![
        ("CallDuration", end.talked.as_secs().to_string()),
        ("Duration", end.talked.as_secs().div_ceil(60).to_string()),
        ("SipResponseCode", sip.to_owned()),
    ];
    if status == "completed"
        && let Some(by) = answered_by(call)
    {
        more.push(("AnsweredBy", by.into()));
    }
    event(call, "completed", status, 3, call.ended_at(end), more)
}

fn answered_by(call: &Call) -> Option<&'static str> {
    let kind = call.text("MachineDetection");
    match (call.script.outcome, kind) {
        (_, "") => None,
        (Outcome::Voicemail, "Enable") => Some("machine_start"),
        (Outcome::Voicemail, _) => Some("machine_end_beep"),
        _ => Some("human"),
    }
}

/// Synchronous detection has no callback of its own.
fn detection(call: &Call) -> Option<(&'static str, Vec<(&'static str, String)>)> {
    let by = answered_by(call).filter(|_| call.text("AsyncAmd") == "true")?;
    let told = vec![
        ("CallSid", call.id.clone()),
        ("AccountSid", ACCOUNT_SID.into()),
        ("AnsweredBy", by.into()),
        ("MachineDetectionDuration", "3400".into()),
    ];
    (!call.text("AsyncAmdStatusCallback").is_empty()).then_some(("AsyncAmdStatusCallback", told))
}

fn recording(call: &Call) -> (&'static str, Vec<(&'static str, String)>) {
    let sid = format!("RE{:032x}", call.seq);
    let told = vec![
        ("RecordingUrl", format!("https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings/{sid}")),
        ("RecordingSid", sid),
        ("RecordingStatus", "completed".into()),
        ("RecordingDuration", "6".into()),
        ("RecordingChannels", "1".into()),
        ("RecordingSource", "OutboundAPI".into()),
        ("CallSid", call.id.clone()),
        ("AccountSid", ACCOUNT_SID.into()),
    ];
    ("RecordingStatusCallback", told)
}

/// RFC 2822, whole seconds.
pub fn stamp(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S +0000").to_string()
}
