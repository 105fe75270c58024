//! Our request in Bland's words, and everything Bland would refuse about it, found before it is sent.
//!
//! [`FIELDS`] is the one list of the fields of `POST /v1/calls` (vendor reference of 2026-08). Bland refuses unknown
//! properties, so nothing goes out that is not in it.

use serde_json::{Map, Value, json};

use super::super::rules::{NON_EMPTY, Rule, WEBHOOK_URL, optional, required};
use super::super::{Encoding, Payload};
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

const MINUTES: Rule = Rule::Number(1.0, 720.0);

/// Every field, who sets it, and what Bland accepts.
const FIELDS: &[Field] = &[
    field("phone_number", Voxd("it is the job's lead.phone_number"), Rule::Phone),
    field("task", Voxd("it is made from content"), NON_EMPTY),
    field("pathway_id", Config, Rule::Uuid),
    field("pathway_version", Config, Rule::Custom(pathway_version)),
    field("start_node_id", Config, NON_EMPTY),
    field("persona_id", Config, NON_EMPTY),
    field("first_sentence", Config, NON_EMPTY),
    field("voice", Voxd("set voice_id instead"), NON_EMPTY),
    field("model", Config, Rule::OneOf(&["base", "turbo"])),
    field("language", Voxd("set language in the voice configuration instead"), Rule::Custom(language)),
    field("temperature", Config, Rule::Number(0.0, 1.0)),
    field("wait_for_greeting", Config, Rule::Bool),
    field("interruption_threshold", Config, Rule::Number(0.0, 60_000.0)),
    field("interruptibility", Config, Rule::Integer(0, 3)),
    field("block_interruptions", Config, Rule::Bool),
    field("noise_cancellation", Config, Rule::Bool),
    field("background_track", Config, Rule::Nullable(&Rule::OneOf(&["office", "cafe", "restaurant", "none"]))),
    field(
        "pronunciation_guide",
        Config,
        Rule::List(
            usize::MAX,
            &Rule::Shape(&[
                required("word", NON_EMPTY),
                required("pronunciation", NON_EMPTY),
                optional("case_sensitive", Rule::Bool),
                optional("spaced", Rule::Bool),
            ]),
        ),
    ),
    field("keywords", Config, Rule::List(20, &Rule::Custom(keyword))),
    field("from", Voxd("set from_number instead"), Rule::Phone),
    field(
        "dialing_strategy",
        Config,
        Rule::Shape(&[required("type", Rule::OneOf(&["local", "custom_pooling"])), optional("pool_id", NON_EMPTY)]),
    ),
    field("timezone", Config, Rule::Custom(timezone)),
    field("start_time", Voxd("voxd schedules calls itself: set not_before in the job"), NON_EMPTY),
    field("max_duration", Voxd("set max_duration in the voice configuration instead"), MINUTES),
    field("record", Voxd("set record_call instead"), Rule::Bool),
    field(
        "voicemail",
        Config,
        Rule::Shape(&[
            required("action", Rule::OneOf(&["hangup", "leave_message", "ignore"])),
            optional("message", NON_EMPTY),
            optional(
                "sms",
                Rule::Shape(&[
                    required("message", NON_EMPTY),
                    optional("to", Rule::Phone),
                    optional("from", Rule::Phone),
                ]),
            ),
            optional("sensitive", Rule::Bool),
        ]),
    ),
    field(
        "retry",
        Voxd("Bland would call again outside of voxd's accounting: set retry in the voice configuration"),
        Rule::Object,
    ),
    field("transfer_phone_number", Config, Rule::Phone),
    field("transfer_list", Config, Rule::MapOf(&Rule::Phone)),
    field("tools", Config, Rule::List(usize::MAX, &NON_EMPTY)),
    field("dynamic_data", Config, Rule::List(usize::MAX, &Rule::Object)),
    field("ignore_button_press", Config, Rule::Bool),
    field("precall_dtmf_sequence", Config, Rule::Custom(dtmf)),
    field("summary_prompt", Config, Rule::Text(1, 2000)),
    field("dispositions", Config, Rule::List(usize::MAX, &NON_EMPTY)),
    field("citation_schema_ids", Config, Rule::List(usize::MAX, &Rule::Uuid)),
    field(
        "post_call_evals",
        Config,
        Rule::Shape(&[optional("workbench_setup_id", NON_EMPTY), optional("workbench_setup_version_id", NON_EMPTY)]),
    ),
    field(
        "guard_rails",
        Config,
        Rule::List(
            usize::MAX,
            &Rule::Shape(&[
                required(
                    "type",
                    Rule::OneOf(&[
                        "tcpa:ai_disclosure",
                        "tcpa:self_introduction",
                        "tcpa:recording_disclosure",
                        "tcpa:opt_out",
                        "custom",
                    ]),
                ),
                required("actions", Rule::List(usize::MAX, &Rule::OneOf(&["end_call", "transfer", "move_to_node"]))),
                optional("config", Rule::Object),
            ]),
        ),
    ),
    field("stream_post_transfer_transcript", Config, Rule::Bool),
    field("request_data", Config, Rule::Object),
    field("metadata", Voxd("it carries the job's metadata and voxd's own ids"), Rule::Object),
    field("webhook", Voxd("it is voxd's own address (http.public_url)"), WEBHOOK_URL),
    field(
        "webhook_events",
        Voxd("set webhook_config.events instead"),
        Rule::List(
            usize::MAX,
            &Rule::OneOf(&[
                "queue",
                "call",
                "latency",
                "webhook",
                "tool",
                "dynamic_data",
                "citations",
                "evals",
                "post_transfer_transcript",
            ]),
        ),
    ),
];

/// Names of an account's secrets and of fields that Bland itself replaced, with what to do.
const NEVER: &[(&str, &str)] = &[
    ("encrypted_key", "a secret of the account does not belong into a job"),
    ("voice_id", "set voice_id in the voice configuration instead"),
    ("voicemail_message", "Bland replaced it: use voicemail.message"),
    ("voicemail_action", "Bland replaced it: use voicemail.action"),
];

/// See [`super::super::Platform::format_payload`]. Where a pathway or a persona brings the prompt, `content` goes to
/// `request_data.content`, so that it can be used there as `{{content}}`; the lead's name is `{{name}}`.
pub fn format(request: &CallRequest) -> Result<Payload, Vec<FieldError>> {
    let config = &request.voice_config;
    let mut problems = config_problems(&config.platform_config);
    if config.mode == Mode::Live {
        problems.push(FieldError::new("/mode", "bland_ai has no media stream, expected \"agent\""));
    }
    for key in request.metadata.keys().filter(|key| key.starts_with("voxd_")) {
        let pointer = format!("/metadata/{}", pointer_token(key));
        problems.push(FieldError::new(pointer, "keys that begin with voxd_ are voxd's own"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }

    let mut fields = config.platform_config.clone();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("phone_number", json!(request.to.as_e164()));
    if let Some(from) = &config.from_number {
        set("from", json!(from.as_e164()));
    }
    if let Some(voice) = &config.voice_id {
        set("voice", json!(voice));
    }
    if let Some(language) = &config.language {
        set("language", json!(language));
    }
    if let Some(minutes) = config.max_duration {
        set("max_duration", json!(minutes));
    }
    if let Some(record) = config.record_call {
        set("record", json!(record));
    }
    if let Some(webhook) = &request.webhook_url {
        set("webhook", json!(webhook));
        let events = config.webhook_config.as_ref().map(|webhook| webhook.events.as_slice()).unwrap_or_default();
        if !events.is_empty() {
            set("webhook_events", json!(events));
        }
    }
    let mut metadata = request.metadata.clone();
    metadata.insert("voxd_attempt_id".into(), json!(request.attempt_id));
    metadata.insert("voxd_call_id".into(), json!(request.call_id));
    set("metadata", Value::Object(metadata));
    // The reference says the default is off, the vendor's plugin that the server's is on: said explicitly, no change on
    // their side changes our calls.
    fields.entry("noise_cancellation").or_insert(json!(true));

    let prompt_is_elsewhere = ["pathway_id", "persona_id"].iter().any(|name| fields.contains_key(*name));
    let mut variables = Map::new();
    if let Some(name) = &request.lead_name {
        variables.insert("name".into(), json!(name));
    }
    if !prompt_is_elsewhere {
        fields.insert("task".into(), json!(request.content));
    } else if !request.content.is_empty() {
        variables.insert("content".into(), json!(request.content));
    }
    add_variables(&mut fields, variables);
    Ok(Payload { path: "/v1/calls".into(), encoding: Encoding::Json, fields })
}

/// The producer's own variables win.
fn add_variables(fields: &mut Map<String, Value>, variables: Map<String, Value>) {
    if variables.is_empty() {
        return;
    }
    if let Value::Object(given) = fields.entry("request_data").or_insert_with(|| json!({})) {
        for (name, value) in variables {
            given.entry(name).or_insert(value);
        }
    }
}

fn config_problems(config: &Map<String, Value>) -> Vec<FieldError> {
    let configurable = || FIELDS.iter().filter(|field| matches!(field.origin, Config)).map(|field| field.name);
    let problem = |key: &str| {
        let pointer = format!("/platform_config/{}", pointer_token(key));
        if let Some((_, why)) = NEVER.iter().find(|(name, _)| *name == key) {
            return Some(FieldError::new(pointer, format!("cannot be set: {why}")));
        }
        match FIELDS.iter().find(|field| field.name == key).map(|field| &field.origin) {
            Some(Config) => None,
            Some(Voxd(why)) => Some(FieldError::new(pointer, format!("cannot be set: {why}"))),
            None => {
                let hint = nearest_hint(key, configurable());
                Some(FieldError::new(pointer, format!("bland_ai does not know this key{hint}")))
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
            None => problems.push(FieldError::new(pointer, "bland_ai does not know this field")),
        }
    }
    if !payload.fields.contains_key("phone_number") {
        problems.push(FieldError::new("/phone_number", "is missing"));
    }
    problems.extend(contradictions(&payload.fields));
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Rules over several fields.
fn contradictions(fields: &Map<String, Value>) -> Vec<FieldError> {
    let mut problems = Vec::new();
    let has = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
    let mut problem = |pointer: &str, detail: &str| problems.push(FieldError::new(pointer, detail));

    match (has("task"), has("pathway_id"), has("persona_id")) {
        (false, false, false) => problem("/task", "is missing: a call needs a task, a pathway_id or a persona_id"),
        (true, true, _) => problem("/task", "cannot stand beside pathway_id"),
        _ => {}
    }
    for name in ["pathway_version", "start_node_id"] {
        if has(name) && !has("pathway_id") {
            problem(&format!("/{name}"), "needs pathway_id");
        }
    }
    for name in ["transfer_phone_number", "transfer_list", "tools"] {
        if has(name) && has("pathway_id") {
            problem(&format!("/{name}"), "has no effect with a pathway");
        }
        if has(name) && fields.get("model").is_some_and(|model| model == "turbo") {
            problem(&format!("/{name}"), "is not available with model turbo");
        }
    }
    if has("transfer_phone_number") && fields.get("transfer_phone_number") == fields.get("phone_number") {
        problem("/transfer_phone_number", "must differ from the called number");
    }
    if let Some(voicemail) = fields.get("voicemail") {
        let leaves_message = voicemail.get("action").is_some_and(|action| action == "leave_message");
        match (leaves_message, voicemail.get("message").is_some()) {
            (true, false) => problem("/voicemail/message", "is missing: action leave_message needs one"),
            (false, true) => problem("/voicemail/message", "has no effect without action leave_message"),
            _ => {}
        }
    }
    if fields.get("block_interruptions").is_some_and(|value| value == true)
        && fields.get("interruptibility").is_some_and(|value| value != 0)
    {
        problem("/interruptibility", "contradicts block_interruptions, which means 0");
    }
    if let Some(strategy) = fields.get("dialing_strategy") {
        let pooled = strategy.get("type").is_some_and(|kind| kind == "custom_pooling");
        if pooled != strategy.get("pool_id").is_some() {
            problem("/dialing_strategy/pool_id", "belongs to type custom_pooling, which needs it");
        }
    }
    if let Some(evals) = fields.get("post_call_evals") {
        if evals.as_object().is_some_and(|evals| evals.len() != 1) {
            problem("/post_call_evals", "expected exactly one of workbench_setup_id, workbench_setup_version_id");
        }
        if fields.get("record").is_some_and(|record| record == false) {
            problem("/post_call_evals", "records the call, but record_call is false");
        }
    }
    if has("webhook_events") && !has("webhook") {
        problem("/webhook_events", "needs webhook");
    }
    problems
}

fn pathway_version(value: &Value) -> Result<(), String> {
    let named = value.as_str().is_some_and(|text| matches!(text, "production" | "staging"));
    if named || value.as_u64().is_some() {
        Ok(())
    } else {
        Err("a version number, \"production\" or \"staging\"".into())
    }
}

/// The shape only: Bland's list grows, and an unknown code is refused by its answer.
fn language(value: &Value) -> Result<(), String> {
    let is_code = |text: &str| {
        let mut parts = text.split('-');
        let language = parts.next().is_some_and(|part| {
            matches!(part.len(), 2..=3) && part.bytes().all(|b| b.is_ascii_lowercase()) || part == "babel"
        });
        language && parts.all(|part| matches!(part.len(), 2..=4) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
    };
    match value.as_str() {
        Some("auto" | "fluent" | "babel") => Ok(()),
        Some(code) if is_code(code) => Ok(()),
        _ => Err("a language code such as en, en-US, es, babel-en, or auto, fluent, babel".into()),
    }
}

fn keyword(value: &Value) -> Result<(), String> {
    let expected = || "a word of less than 100 characters, or word:boost with a whole number".to_owned();
    let text = value.as_str().filter(|text| !text.is_empty() && text.chars().count() < 100).ok_or_else(expected)?;
    match text.rsplit_once(':') {
        Some((word, boost)) if word.is_empty() || boost.parse::<i32>().is_err() => Err(expected()),
        _ => Ok(()),
    }
}

fn timezone(value: &Value) -> Result<(), String> {
    let known = value.as_str().is_some_and(|name| name.parse::<chrono_tz::Tz>().is_ok());
    if known { Ok(()) } else { Err("an IANA time zone such as America/Los_Angeles".into()) }
}

fn dtmf(value: &Value) -> Result<(), String> {
    let valid =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '*' | '#' | 'w'));
    if value.as_str().is_some_and(valid) { Ok(()) } else { Err("digits, *, # and w (half a second)".into()) }
}

#[cfg(test)]
mod tests;
