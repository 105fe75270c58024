//! Which create requests Vapi refuses with 400, by the vendor's schema. Written apart from voxd's own formatter on purpose:
//! the two check each other.

use serde_json::{Map, Value};

use super::{ASSISTANT_ID, CREDENTIAL_ID, PHONE_NUMBER_ID, SQUAD_ID};

pub const NOT_A_NUMBER: &str = "customer.number must be a valid phone number in the E.164 format. Hot tip, you may be missing a country code (Eg. US: +1).";

const PROPERTIES: &[&str] = &[
    "assistantId",
    "assistantVersion",
    "assistant",
    "assistantOverrides",
    "squadId",
    "squad",
    "squadOverrides",
    "workflowId",
    "workflow",
    "workflowOverrides",
    "phoneNumberId",
    "phoneNumber",
    "customerId",
    "customer",
    "customers",
    "name",
    "schedulePlan",
    "transport",
];

const OF_CUSTOMER: &[&str] =
    &["number", "extension", "sipUri", "name", "email", "externalId", "numberE164CheckEnabled", "assistantOverrides"];

const OF_OVERRIDES: &[&str] = &[
    "transcriber",
    "model",
    "voice",
    "firstMessage",
    "firstMessageInterruptionsEnabled",
    "firstMessageMode",
    "voicemailDetection",
    "clientMessages",
    "serverMessages",
    "maxDurationSeconds",
    "backgroundSound",
    "modelOutputInMessagesEnabled",
    "transportConfigurations",
    "observabilityPlan",
    "credentials",
    "hooks",
    "tools:append",
    "variableValues",
    "name",
    "voicemailMessage",
    "endCallMessage",
    "endCallPhrases",
    "compliancePlan",
    "metadata",
    "backgroundSpeechDenoisingPlan",
    "analysisPlan",
    "artifactPlan",
    "startSpeakingPlan",
    "stopSpeakingPlan",
    "monitorPlan",
    "credentialIds",
    "server",
    "keypadInputPlan",
];

const OF_SERVER: &[&str] = &[
    "url",
    "timeoutSeconds",
    "credentialId",
    "secret",
    "headers",
    "staticIpAddressesEnabled",
    "backoffPlan",
    "encryptedPaths",
];

const MESSAGES: &[&str] = &[
    "assistant.started",
    "call.deleted",
    "conversation-update",
    "end-of-call-report",
    "function-call",
    "hang",
    "language-changed",
    "language-change-detected",
    "model-output",
    "phone-call-control",
    "speech-update",
    "status-update",
    "transcript",
    "transcript[transcriptType=\"final\"]",
    "tool-calls",
    "transfer-destination-request",
    "handoff-destination-request",
    "transfer-update",
    "user-interrupted",
    "voice-input",
];

const SPEECH_MODES: &[&str] =
    &["assistant-speaks-first", "assistant-speaks-first-with-model-generated-message", "assistant-waits-for-user"];

/// In the vendor's manner: a sentence for each problem.
pub fn problems(request: &Map<String, Value>) -> Vec<String> {
    let mut found = strangers(request, PROPERTIES, "");
    let has = |name: &str| request.get(name).is_some_and(|value| !value.is_null());
    if !["assistantId", "assistant", "squadId", "squad", "workflowId", "workflow"].iter().any(|name| has(name)) {
        found.push("One of assistant, assistantId, squad, squadId, workflow, workflowId must be provided.".into());
    }
    for (name, known, what) in [
        ("assistantId", ASSISTANT_ID, "Assistant"),
        ("squadId", SQUAD_ID, "Squad"),
        ("phoneNumberId", PHONE_NUMBER_ID, "Phone Number"),
    ] {
        match request.get(name).map(Value::as_str) {
            None => {}
            Some(Some(id)) if id == known => {}
            Some(Some(id)) if uuid::Uuid::try_parse(id).is_ok() => found.push(format!("Couldn't Find {what}.")),
            Some(_) => found.push(format!("{name} must be a UUID")),
        }
    }
    if !has("phoneNumberId") && !has("phoneNumber") {
        found.push("Need Either `phoneNumberId` Or `phoneNumber`.".into());
    }
    label(request, "name", "name", &mut found);
    match request.get("customer") {
        Some(Value::Object(customer)) => of_customer(customer, &mut found),
        _ => found.push("Need Either `customerId` Or `customer`.".into()),
    }
    for name in ["assistantOverrides", "squadOverrides"] {
        match request.get(name) {
            Some(Value::Object(overrides)) => of_overrides(overrides, name, &mut found),
            Some(_) => found.push(format!("{name} must be an object")),
            None => {}
        }
    }
    found
}

fn strangers(given: &Map<String, Value>, known: &[&str], path: &str) -> Vec<String> {
    let strangers = given.keys().filter(|name| !known.contains(&name.as_str()));
    strangers.map(|name| format!("{path}property {name} should not exist")).collect()
}

fn label(owner: &Map<String, Value>, key: &str, path: &str, found: &mut Vec<String>) {
    if owner.get(key).is_some_and(|value| value.as_str().is_none_or(|text| text.chars().count() > 40)) {
        found.push(format!("{path} must be shorter than or equal to 40 characters"));
    }
}

fn of_customer(customer: &Map<String, Value>, found: &mut Vec<String>) {
    found.extend(strangers(customer, OF_CUSTOMER, "customer."));
    let digits = customer.get("number").and_then(Value::as_str).and_then(|number| number.strip_prefix('+'));
    if !digits.is_some_and(|digits| (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())) {
        found.push(NOT_A_NUMBER.into());
    }
    for key in ["name", "email", "externalId"] {
        label(customer, key, &format!("customer.{key}"), found);
    }
    if customer.get("extension").is_some_and(|value| value.as_str().is_none_or(|text| text.len() > 10)) {
        found.push("customer.extension must be shorter than or equal to 10 characters".into());
    }
}

fn of_overrides(overrides: &Map<String, Value>, path: &str, found: &mut Vec<String>) {
    found.extend(strangers(overrides, OF_OVERRIDES, &format!("{path}.")));
    let mut must = |name: &str, holds: &dyn Fn(&Value) -> bool, rule: &str| {
        if overrides.get(name).is_some_and(|value| !holds(value)) {
            found.push(format!("{path}.{name} {rule}"));
        }
    };
    let shorter = |most: usize| move |value: &Value| value.as_str().is_some_and(|text| text.chars().count() <= most);
    let provided = |value: &Value| value.get("provider").is_some_and(Value::is_string);
    for name in ["metadata", "variableValues", "artifactPlan", "analysisPlan", "monitorPlan"] {
        must(name, &Value::is_object, "must be an object");
    }
    for name in ["model", "voice", "transcriber"] {
        must(name, &provided, "must have a provider");
    }
    must("firstMessage", &Value::is_string, "must be a string");
    must("firstMessageMode", &|value| is_one_of(value, SPEECH_MODES), "must be one of the known modes");
    must("voicemailMessage", &shorter(1000), "must be shorter than or equal to 1000 characters");
    must("endCallMessage", &shorter(1000), "must be shorter than or equal to 1000 characters");
    must("maxDurationSeconds", &|value| is_between(value, 10.0, 43_200.0), "must not be greater than 43200");
    must(
        "serverMessages",
        &|value| value.as_array().is_some_and(|list| list.iter().all(|message| is_one_of(message, MESSAGES))),
        "each value must be one of the known messages",
    );
    if let Some(server) = overrides.get("server") {
        of_server(server, &format!("{path}.server"), found);
    }
}

fn of_server(server: &Value, path: &str, found: &mut Vec<String>) {
    let Some(server) = server.as_object() else { return found.push(format!("{path} must be an object")) };
    found.extend(strangers(server, OF_SERVER, &format!("{path}.")));
    let url = server.get("url").and_then(Value::as_str).unwrap_or_default();
    // The vendor wants https. A simulator has nobody else to call than its own machine.
    if !url.starts_with("https://") && !is_loopback(url) {
        found.push(format!("{path}.url must be a URL address"));
    }
    if server.get("timeoutSeconds").is_some_and(|value| !is_between(value, 1.0, 300.0)) {
        found.push(format!("{path}.timeoutSeconds must not be greater than 300"));
    }
    if server.get("credentialId").is_some_and(|id| id != CREDENTIAL_ID) {
        found.push("Couldn't Find Credential.".into());
    }
    let Some(plan) = server.get("backoffPlan") else { return };
    if plan.get("type").is_none_or(|kind| !is_one_of(kind, &["fixed", "exponential"]))
        || plan.get("maxRetries").is_some_and(|value| !is_between(value, 0.0, 10.0))
        || plan.get("baseDelaySeconds").is_some_and(|value| !is_between(value, 0.0, 10.0))
    {
        found.push(format!("{path}.backoffPlan is not valid"));
    }
}

fn is_one_of(value: &Value, known: &[&str]) -> bool {
    value.as_str().is_some_and(|text| known.contains(&text))
}

fn is_between(value: &Value, least: f64, most: f64) -> bool {
    value.as_f64().is_some_and(|number| (least..=most).contains(&number))
}

fn is_loopback(url: &str) -> bool {
    ["http://127.", "http://localhost:", "http://localhost/", "http://[::1]"].iter().any(|start| url.starts_with(start))
}
