//! Which create requests Twilio refuses with 400, by the vendor's reference. Written apart from voxd's own formatter on
//! purpose: the two check each other. Where no code of its own is documented, 20001 (invalid parameter) stands.

use serde_json::{Map, Value};

const PARAMETERS: &[&str] = &[
    "To",
    "From",
    "Url",
    "Twiml",
    "ApplicationSid",
    "Method",
    "FallbackUrl",
    "FallbackMethod",
    "StatusCallback",
    "StatusCallbackEvent",
    "StatusCallbackMethod",
    "SendDigits",
    "Timeout",
    "Record",
    "RecordingChannels",
    "RecordingStatusCallback",
    "RecordingStatusCallbackMethod",
    "RecordingStatusCallbackEvent",
    "SipAuthUsername",
    "SipAuthPassword",
    "MachineDetection",
    "MachineDetectionTimeout",
    "Trim",
    "CallerId",
    "MachineDetectionSpeechThreshold",
    "MachineDetectionSpeechEndThreshold",
    "MachineDetectionSilenceTimeout",
    "AsyncAmd",
    "AsyncAmdStatusCallback",
    "AsyncAmdStatusCallbackMethod",
    "Byoc",
    "CallReason",
    "CallToken",
    "RecordingTrack",
    "TimeLimit",
    "ClientNotificationUrl",
];
/// Their parameters may come several times.
const REPEATED: &[&str] = &["StatusCallbackEvent", "RecordingStatusCallbackEvent"];

/// A code and its text.
type Problem = (u32, String);

/// The first thing wrong, as Twilio answers it.
pub fn problem(fields: &Map<String, Value>) -> Option<Problem> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    for (name, value) in fields {
        if !PARAMETERS.contains(&name.as_str()) {
            return Some((20001, format!("Unknown parameter {name}")));
        }
        if value.is_array() && !REPEATED.contains(&name.as_str()) {
            return Some((20001, format!("Parameter {name} given several times")));
        }
    }
    if text("To").is_empty() {
        return Some((21201, "No 'To' number is specified".into()));
    }
    if !is_number(text("To")) {
        return Some((21211, "The 'To' number is not a valid phone number.".into()));
    }
    if text("From").is_empty() {
        return Some((21213, "No 'From' number is specified".into()));
    }
    if !is_number(text("From")) {
        return Some((
            21212,
            "The 'From' number is not a valid phone number, shortcode, or alphanumeric sender ID.".into(),
        ));
    }
    if ["Url", "Twiml", "ApplicationSid"].iter().all(|name| text(name).is_empty()) {
        return Some((21205, "Url parameter is required.".into()));
    }
    addresses(fields).or_else(|| events(fields)).or_else(|| values(fields))
}

fn addresses(fields: &Map<String, Value>) -> Option<Problem> {
    let bad = |name: &str| {
        let given = fields.get(name)?.as_str()?;
        let url = url::Url::parse(given).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let host = url.as_ref().and_then(url::Url::host_str).unwrap_or_default();
        (host.is_empty() || host.contains('_')).then_some(())
    };
    for (name, code) in [("Url", 21205), ("FallbackUrl", 21205), ("StatusCallback", 21609)] {
        if bad(name).is_some() {
            return Some((code, format!("{name} is not a valid URL")));
        }
    }
    ["AsyncAmdStatusCallback", "RecordingStatusCallback"]
        .iter()
        .find(|name| bad(name).is_some())
        .map(|name| (20001, format!("{name} is not a valid URL")))
}

fn events(fields: &Map<String, Value>) -> Option<Problem> {
    let all = |name: &str| match fields.get(name) {
        Some(Value::Array(values)) => values.clone(),
        Some(single) => vec![single.clone()],
        None => Vec::new(),
    };
    let unknown = |name: &str, known: &[&str]| {
        all(name).iter().any(|value| !value.as_str().is_some_and(|text| known.contains(&text)))
    };
    if unknown("StatusCallbackEvent", &["initiated", "ringing", "answered", "completed"]) {
        return Some((21626, "Invalid or unsupported status callback event".into()));
    }
    unknown("RecordingStatusCallbackEvent", &["in-progress", "completed", "absent"])
        .then(|| (20001, "Invalid RecordingStatusCallbackEvent".into()))
}

fn values(fields: &Map<String, Value>) -> Option<Problem> {
    let given = |name: &str| fields.get(name).and_then(Value::as_str);
    let between = |name: &str, least: u32, most: u32| {
        given(name).is_some_and(|text| !text.parse().is_ok_and(|number: u32| (least..=most).contains(&number)))
    };
    let none_of = |name: &str, known: &[&str]| given(name).is_some_and(|text| !known.contains(&text));
    let digits = |text: &str| {
        (1..=32).contains(&text.len()) && text.chars().all(|c| c.is_ascii_digit() || "ABCD#*wW".contains(c))
    };
    let wrong = [
        ("Twiml", given("Twiml").is_some_and(|text| text.chars().count() > 4000 || !text.contains("<Response"))),
        ("Timeout", between("Timeout", 1, 600)),
        ("TimeLimit", between("TimeLimit", 1, u32::MAX)),
        ("SendDigits", given("SendDigits").is_some_and(|text| !digits(text))),
        ("Record", none_of("Record", &["true", "false"])),
        ("AsyncAmd", none_of("AsyncAmd", &["true", "false"])),
        ("MachineDetection", none_of("MachineDetection", &["Enable", "DetectMessageEnd"])),
        ("MachineDetectionSpeechThreshold", between("MachineDetectionSpeechThreshold", 1000, 6000)),
        ("MachineDetectionSpeechEndThreshold", between("MachineDetectionSpeechEndThreshold", 500, 5000)),
        ("MachineDetectionSilenceTimeout", between("MachineDetectionSilenceTimeout", 2000, 10_000)),
        ("Method", none_of("Method", &["GET", "POST"])),
        ("FallbackMethod", none_of("FallbackMethod", &["GET", "POST"])),
        ("StatusCallbackMethod", none_of("StatusCallbackMethod", &["GET", "POST"])),
        ("RecordingChannels", none_of("RecordingChannels", &["mono", "dual"])),
        ("RecordingTrack", none_of("RecordingTrack", &["inbound", "outbound", "both"])),
        ("Trim", none_of("Trim", &["trim-silence", "do-not-trim"])),
    ];
    wrong.iter().find(|(_, wrong)| *wrong).map(|(name, _)| (20001, format!("Invalid parameter {name}")))
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}
