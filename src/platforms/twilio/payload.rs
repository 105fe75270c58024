//! Our request in Twilio's words, and everything Twilio would refuse about it, found before it is sent.
//!
//! [`FIELDS`] is the one list of the parameters of `POST …/Calls.json` (twilio-oai of 2026-04, docs of 2026-08). Nothing goes
//! out that is not in it. The request is a form: lists repeat their key (`StatusCallbackEvent`).

use serde_json::{Map, Value, json};

use super::super::rules::{NON_EMPTY, Rule};
use super::super::{Encoding, Payload};
use super::twiml::{self, MAX_TWIML_CHARS};
use crate::call::config::Mode;
use crate::call::{CallRequest, FieldError};
use crate::text::{nearest_hint, pointer_token};

/// Where a field's value comes from.
enum Origin {
    /// From `platform_config`, under the vendor's own name.
    Config,
    /// voxd sets it; the text says from what, or why never.
    Voxd(&'static str),
}
use Origin::{Config, Voxd};

struct Field {
    name: &'static str,
    origin: Origin,
    rule: Rule,
}

const fn field(name: &'static str, origin: Origin, rule: Rule) -> Field {
    Field { name, origin, rule }
}

const METHOD: Rule = Rule::OneOf(&["GET", "POST"]);
const OWN_ADDRESS: Origin = Voxd("it is voxd's own address (http.public_url)");
/// The events that a status callback can be asked for. voxd asks for all four: without them only the end is told.
pub const EVENTS: &[&str] = &["initiated", "ringing", "answered", "completed"];

/// Every field, who sets it, and what Twilio accepts.
const FIELDS: &[Field] = &[
    field("To", Voxd("it is the job's lead.phone_number"), Rule::Phone),
    field("From", Voxd("set from_number instead"), Rule::Phone),
    field("Twiml", Config, Rule::Text(1, MAX_TWIML_CHARS)),
    field("Url", Config, Rule::Custom(address)),
    field("Method", Config, METHOD),
    field("FallbackUrl", Config, Rule::Custom(address)),
    field("FallbackMethod", Config, METHOD),
    field("StatusCallback", OWN_ADDRESS, Rule::Custom(address)),
    field("StatusCallbackMethod", OWN_ADDRESS, METHOD),
    field("StatusCallbackEvent", Voxd("voxd asks for all of them"), Rule::List(EVENTS.len(), &Rule::OneOf(EVENTS))),
    field("Timeout", Config, Rule::Integer(1, 600)),
    field("TimeLimit", Voxd("set max_duration in the voice configuration instead"), Rule::Integer(1, 720 * 60)),
    field("SendDigits", Config, Rule::Custom(send_digits)),
    field("MachineDetection", Config, Rule::OneOf(&["Enable", "DetectMessageEnd"])),
    field("AsyncAmd", Config, Rule::Custom(boolean)),
    field("AsyncAmdStatusCallback", OWN_ADDRESS, Rule::Custom(address)),
    field("AsyncAmdStatusCallbackMethod", OWN_ADDRESS, METHOD),
    // The reference gives the default only; beyond the longest ring time it has no meaning.
    field("MachineDetectionTimeout", Config, Rule::Integer(1, 600)),
    field("MachineDetectionSpeechThreshold", Config, Rule::Integer(1000, 6000)),
    field("MachineDetectionSpeechEndThreshold", Config, Rule::Integer(500, 5000)),
    field("MachineDetectionSilenceTimeout", Config, Rule::Integer(2000, 10_000)),
    field("Record", Voxd("set record_call instead"), Rule::Bool),
    field("RecordingChannels", Config, Rule::OneOf(&["mono", "dual"])),
    field("RecordingTrack", Config, Rule::OneOf(&["inbound", "outbound", "both"])),
    field("RecordingStatusCallback", OWN_ADDRESS, Rule::Custom(address)),
    field("RecordingStatusCallbackMethod", OWN_ADDRESS, METHOD),
    field(
        "RecordingStatusCallbackEvent",
        Voxd("voxd asks for completed and absent"),
        Rule::List(3, &Rule::OneOf(&["in-progress", "completed", "absent"])),
    ),
    field("Trim", Config, Rule::OneOf(&["trim-silence", "do-not-trim"])),
    field("Byoc", Config, NON_EMPTY),
    field("CallerId", Config, NON_EMPTY),
    field("CallReason", Config, Rule::Text(1, 50)),
    field("CallToken", Config, NON_EMPTY),
    field("ClientNotificationUrl", Config, Rule::Custom(address)),
];

/// What never goes out, with what to do.
const NEVER: &[(&str, &str)] = &[
    ("ApplicationSid", "Twilio would ignore the status callback with it, and voxd hear nothing: set Url"),
    ("SipAuthUsername", "voxd calls phone numbers only"),
    ("SipAuthPassword", "a secret does not belong into a job"),
];

/// Our own spelling of two keys, as voxd's contract names them.
const SPELLINGS: &[(&str, &str)] = &[("twiml", "Twiml"), ("url", "Url")];

/// Retries of a callback: three, also after a 5xx of ours (Twilio's default is one, after a failed connect only). The
/// fragment is neither sent nor signed (connection overrides).
const CONNECTION_OVERRIDES: &str = "#rc=3&rp=5xx,ct,rt";

/// See [`super::super::Platform::format_payload`]. `content` becomes `<Say>`, in the voice and language of the configuration.
/// Where `platform_config` brings `Twiml`, the call follows that, with `{{content}}` and `{{name}}` filled in; where it brings
/// `Url`, what that answers.
/// `path` is where the account's calls are created.
pub fn format(request: &CallRequest, path: String) -> Result<Payload, Vec<FieldError>> {
    let config = &request.voice_config;
    let mut problems = Vec::new();
    let mut fields = own_spelling(&config.platform_config, &mut problems);
    problems.extend(config_problems(&config.platform_config));
    if config.mode == Mode::Live {
        problems.push(FieldError::new("/mode", "twilio cannot be given a live session yet, expected \"agent\""));
    }
    if config.from_number.is_none() {
        problems.push(FieldError::new("/from_number", "is missing: Twilio calls only from a number of the account"));
    }
    for (index, event) in config.webhook_config.iter().flat_map(|webhook| &webhook.events).enumerate() {
        if !EVENTS.contains(&event.as_str()) {
            let hint = nearest_hint(event, EVENTS.iter().copied());
            let detail = format!("twilio has no event {event:?}, expected one of {}{hint}", EVENTS.join(", "));
            problems.push(FieldError::new(format!("/webhook_config/events/{index}"), detail));
        }
    }
    let brings_own = ["Twiml", "Url"].into_iter().find(|name| fields.contains_key(*name));
    match brings_own {
        Some(key) => {
            for (name, value) in [("voice_id", &config.voice_id), ("language", &config.language)] {
                if value.is_some() {
                    problems
                        .push(FieldError::new(format!("/{name}"), format!("has no effect beside {key}: say it there")));
                }
            }
            if let Some(Value::String(text)) = fields.get_mut("Twiml") {
                *text = twiml::fill(text, &request.content, request.lead_name.as_deref());
            }
        }
        None => match twiml::say(&request.content, config.voice_id.as_deref(), config.language.as_deref()) {
            Ok(say) => _ = fields.insert("Twiml".into(), json!(say)),
            Err(problem) => problems.push(problem),
        },
    }
    if !problems.is_empty() {
        return Err(problems);
    }

    let mut set = |name: &str, value: Value| _ = fields.insert(name.to_owned(), value);
    set("To", json!(request.to.as_e164()));
    if let Some(from) = &config.from_number {
        set("From", json!(from.as_e164()));
    }
    if let Some(minutes) = config.max_duration {
        set("TimeLimit", json!(minutes * 60));
    }
    if let Some(record) = config.record_call {
        set("Record", json!(record));
    }
    if let Some(webhook) = &request.webhook_url {
        let callback = json!(format!("{webhook}{CONNECTION_OVERRIDES}"));
        set("StatusCallback", callback.clone());
        set("StatusCallbackEvent", json!(EVENTS));
        if config.record_call == Some(true) {
            set("RecordingStatusCallback", callback.clone());
            set("RecordingStatusCallbackEvent", json!(["completed", "absent"]));
        }
        if config.platform_config.get("AsyncAmd").is_some_and(is_true) {
            set("AsyncAmdStatusCallback", callback);
        }
    }
    Ok(Payload { path, encoding: Encoding::Form, fields })
}

/// `platform_config` under Twilio's names. A key in both spellings is an error.
fn own_spelling(config: &Map<String, Value>, problems: &mut Vec<FieldError>) -> Map<String, Value> {
    let mut fields = config.clone();
    for (ours, theirs) in SPELLINGS {
        if let Some(value) = fields.remove(*ours)
            && fields.insert((*theirs).to_owned(), value).is_some()
        {
            problems.push(FieldError::new(format!("/platform_config/{ours}"), format!("stands beside {theirs}")));
        }
    }
    fields
}

fn config_problems(config: &Map<String, Value>) -> Vec<FieldError> {
    let configurable = || FIELDS.iter().filter(|field| matches!(field.origin, Config)).map(|field| field.name);
    let problem = |key: &str| {
        let pointer = format!("/platform_config/{}", pointer_token(key));
        if let Some((_, why)) = NEVER.iter().find(|(name, _)| *name == key) {
            return Some(FieldError::new(pointer, format!("cannot be set: {why}")));
        }
        if SPELLINGS.iter().any(|(ours, _)| *ours == key) {
            return None;
        }
        match FIELDS.iter().find(|field| field.name == key).map(|field| &field.origin) {
            Some(Config) => None,
            Some(Voxd(why)) => Some(FieldError::new(pointer, format!("cannot be set: {why}"))),
            None => {
                let hint = nearest_hint(key, configurable());
                Some(FieldError::new(pointer, format!("twilio does not know this key{hint}")))
            }
        }
    };
    config.keys().filter_map(|key| problem(key)).collect()
}

/// See [`super::super::Platform::validate_payload`].
pub fn validate(payload: &Payload) -> Result<(), Vec<FieldError>> {
    let mut problems = Vec::new();
    for (name, value) in &payload.fields {
        let pointer = format!("/{}", pointer_token(name));
        match FIELDS.iter().find(|field| field.name == name) {
            Some(field) => field.rule.check(value, &pointer, &mut problems),
            None => problems.push(FieldError::new(pointer, "twilio does not know this field")),
        }
    }
    for name in ["To", "From"] {
        if !payload.fields.contains_key(name) {
            problems.push(FieldError::new(format!("/{name}"), "is missing"));
        }
    }
    problems.extend(contradictions(&payload.fields));
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Rules over several fields.
fn contradictions(fields: &Map<String, Value>) -> Vec<FieldError> {
    let mut problems = Vec::new();
    let has = |name: &str| fields.contains_key(name);
    let mut problem = |pointer: String, detail: &str| problems.push(FieldError::new(pointer, detail));

    match (has("Twiml"), has("Url")) {
        (false, false) => problem("/Twiml".into(), "is missing: a call needs Twiml or Url"),
        (true, true) => problem("/Twiml".into(), "has no effect beside Url, which Twilio prefers"),
        _ => {}
    }
    if let Some(Value::String(text)) = fields.get("Twiml")
        && !text.contains("<Response")
    {
        problem("/Twiml".into(), "is no TwiML: it has no <Response>");
    }
    if has("Method") && !has("Url") {
        problem("/Method".into(), "needs Url");
    }
    if has("FallbackMethod") && !has("FallbackUrl") {
        problem("/FallbackMethod".into(), "needs FallbackUrl");
    }
    if has("MachineDetection") && has("SendDigits") {
        problem("/SendDigits".into(), "switches MachineDetection off");
    }
    for (name, _) in
        fields.iter().filter(|(name, _)| name.starts_with("MachineDetection") && *name != "MachineDetection")
    {
        if !has("MachineDetection") {
            problem(format!("/{name}"), "needs MachineDetection");
        }
    }
    if has("AsyncAmd") && !has("MachineDetection") {
        problem("/AsyncAmd".into(), "needs MachineDetection");
    }
    for name in ["RecordingChannels", "RecordingTrack", "Trim"] {
        if has(name) && !fields.get("Record").is_some_and(is_true) {
            problem(format!("/{name}"), "needs record_call");
        }
    }
    if has("To") && fields.get("To") == fields.get("From") {
        problem("/From".into(), "must differ from the called number");
    }
    problems
}

fn is_true(value: &Value) -> bool {
    value == &json!(true) || value == &json!("true")
}

/// Twilio's reference has `AsyncAmd` as a text; a producer may write either.
fn boolean(value: &Value) -> Result<(), String> {
    let fine = value.is_boolean() || matches!(value.as_str(), Some("true" | "false"));
    if fine { Ok(()) } else { Err("true or false".into()) }
}

fn send_digits(value: &Value) -> Result<(), String> {
    let valid = |text: &str| {
        (1..=32).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_digit() || matches!(c, 'A'..='D' | '#' | '*' | 'w' | 'W'))
    };
    let expected = "1 to 32 of 0-9, A-D, #, *, w (half a second), W (a second)";
    if value.as_str().is_some_and(valid) { Ok(()) } else { Err(expected.into()) }
}

/// An absolute address. Twilio refuses a host with an underscore, and one that it cannot reach (error 21609) only later.
fn address(value: &Value) -> Result<(), String> {
    let url = value.as_str().and_then(|text| url::Url::parse(text).ok());
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    match url.as_ref().and_then(url::Url::host_str) {
        Some(host) if host.contains('_') => Err("an address whose host has no underscore".into()),
        Some(_) => Ok(()),
        None => Err("an absolute http(s) address".into()),
    }
}

#[cfg(test)]
mod tests;
