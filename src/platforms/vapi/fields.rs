//! The fields of `POST /call` and of the overrides in it: who sets each one, and what Vapi accepts (vendor's OpenAPI
//! document of 2026-08-19).

use serde_json::Value;

use super::super::fields::Origin::{Config, Never, Voxd};
use super::super::fields::{Field, field};
use super::super::rules::{Member, NON_EMPTY, Rule, WEBHOOK_URL, optional, required};

/// The longest `name`, `customer.externalId`, `customer.name`.
pub const LABEL_CHARS: usize = 40;

const ONE_CUSTOMER: &str = "one attempt calls one person: it is the job's lead";
const NO_WORKFLOW: &str =
    "a workflow's overrides take neither metadata nor a webhook address: use an assistant or a squad";
const PROVIDER_SECRET: &str =
    "a secret of the account does not belong into a job: import the number, set phoneNumberId";

/// Of the request itself.
pub const CREATE: &[Field] = &[
    field("assistantId", Config, NON_EMPTY),
    field("assistantVersion", Config, Rule::Nullable(&NON_EMPTY)),
    field("assistant", Config, Rule::Object),
    field("assistantOverrides", Config, Rule::Object),
    field("squadId", Config, NON_EMPTY),
    field("squadVersion", Config, Rule::Nullable(&NON_EMPTY)),
    field("squad", Config, Rule::Object),
    field("squadOverrides", Config, Rule::Object),
    field("workflowId", Never(NO_WORKFLOW), Rule::Object),
    field("workflow", Never(NO_WORKFLOW), Rule::Object),
    field("workflowOverrides", Never(NO_WORKFLOW), Rule::Object),
    field("phoneNumberId", Config, NON_EMPTY),
    field("phoneNumber", Never(PROVIDER_SECRET), Rule::Object),
    field("customer", Config, CUSTOMER),
    field("customerId", Never(ONE_CUSTOMER), Rule::Object),
    field("customers", Never(ONE_CUSTOMER), Rule::Object),
    field("name", Voxd("it carries voxd's attempt id"), Rule::Text(1, LABEL_CHARS)),
    field("schedulePlan", Never("voxd schedules calls itself: set not_before in the job"), Rule::Object),
    field("transport", Config, Rule::Custom(transport)),
    field("metadata", Never("Vapi has no metadata here: the job's metadata goes to the overrides"), Rule::Object),
];

const CUSTOMER: Rule = Rule::Shape(CUSTOMER_MEMBERS);
const CUSTOMER_MEMBERS: &[Member] = &[
    required("number", Rule::Phone),
    optional("extension", Rule::Text(1, 10)),
    optional("email", Rule::Text(1, LABEL_CHARS)),
    optional("name", Rule::Text(1, LABEL_CHARS)),
    required("externalId", Rule::Text(1, LABEL_CHARS)),
];

/// Of `customer`, when it stands in `platform_config`.
pub const CUSTOMER_CONFIG: &[Field] = &[
    field("number", Voxd("it is the job's lead.phone_number"), Rule::Phone),
    field("name", Voxd("it is the job's lead.name"), NON_EMPTY),
    field("externalId", Voxd("it carries voxd's attempt id"), NON_EMPTY),
    field("sipUri", Never(ONE_CUSTOMER), NON_EMPTY),
    field("numberE164CheckEnabled", Never("voxd calls numbers in E.164 only"), Rule::Bool),
    field("assistantOverrides", Never("set assistantOverrides beside customer"), Rule::Object),
    field("squadOverrides", Never("set squadOverrides beside customer"), Rule::Object),
    field("extension", Config, NON_EMPTY),
    field("email", Config, NON_EMPTY),
];

const SPEECH_MODES: &[&str] =
    &["assistant-speaks-first", "assistant-speaks-first-with-model-generated-message", "assistant-waits-for-user"];

/// Of `assistantOverrides` and `squadOverrides`.
pub const OVERRIDES: &[Field] = &[
    field("metadata", Voxd("it carries the job's metadata and voxd's own ids"), Rule::Object),
    field("variableValues", Config, Rule::Object),
    field("model", Config, PROVIDED),
    field("voice", Config, PROVIDED),
    field("transcriber", Config, PROVIDED),
    field("firstMessage", Config, Rule::Text(0, usize::MAX)),
    field("firstMessageMode", Config, Rule::OneOf(SPEECH_MODES)),
    field("firstMessageInterruptionsEnabled", Config, Rule::Bool),
    field("voicemailDetection", Config, Rule::Custom(voicemail_detection)),
    field("voicemailMessage", Config, Rule::Text(0, 1000)),
    field("endCallMessage", Config, Rule::Text(0, 1000)),
    field("endCallPhrases", Config, Rule::List(usize::MAX, &Rule::Text(1, 140))),
    field("maxDurationSeconds", Voxd("set max_duration in the voice configuration instead"), Rule::Integer(10, 43_200)),
    field("serverMessages", Voxd("set webhook_config.events instead"), Rule::List(32, &Rule::OneOf(SERVER_MESSAGES))),
    field("clientMessages", Config, Rule::List(64, &NON_EMPTY)),
    field("server", Voxd("it is voxd's own address (http.public_url)"), SERVER),
    field("artifactPlan", Config, Rule::Custom(artifact_plan)),
    field("analysisPlan", Config, Rule::Object),
    field("monitorPlan", Config, MONITOR_PLAN),
    field("compliancePlan", Config, Rule::Object),
    field("observabilityPlan", Config, Rule::Object),
    field("startSpeakingPlan", Config, Rule::Object),
    field("stopSpeakingPlan", Config, Rule::Object),
    field("keypadInputPlan", Config, Rule::Object),
    field("backgroundSpeechDenoisingPlan", Config, Rule::Object),
    field("backgroundSound", Config, NON_EMPTY),
    field("modelOutputInMessagesEnabled", Config, Rule::Bool),
    field("transportConfigurations", Config, Rule::List(16, &TRANSPORT_CONFIGURATION)),
    field("tools:append", Config, Rule::List(64, &Rule::Object)),
    field("hooks", Config, Rule::List(64, &Rule::Object)),
    field("name", Config, Rule::Text(1, LABEL_CHARS)),
    field("credentialIds", Config, Rule::List(64, &NON_EMPTY)),
    field("credentials", Never("secrets do not belong into a job: use credentialIds"), Rule::Object),
];

const PROVIDED: Rule = Rule::Custom(provided);

const SERVER: Rule = Rule::Shape(&[
    required("url", WEBHOOK_URL),
    optional("timeoutSeconds", Rule::Integer(1, 300)),
    optional("credentialId", NON_EMPTY),
    optional(
        "backoffPlan",
        Rule::Shape(&[
            required("type", Rule::OneOf(&["fixed", "exponential"])),
            optional("maxRetries", Rule::Integer(0, 10)),
            optional("baseDelaySeconds", Rule::Number(0.0, 10.0)),
            optional("excludedStatusCodes", Rule::List(64, &Rule::Integer(400, 599))),
        ]),
    ),
]);

const MONITOR_PLAN: Rule = Rule::Shape(&[
    optional("listenEnabled", Rule::Bool),
    optional("listenAuthenticationEnabled", Rule::Bool),
    optional("controlEnabled", Rule::Bool),
    optional("controlAuthenticationEnabled", Rule::Bool),
    optional("monitorIds", Rule::List(64, &NON_EMPTY)),
]);

const TRANSPORT_CONFIGURATION: Rule = Rule::Shape(&[
    required("provider", Rule::OneOf(&["twilio"])),
    optional("timeout", Rule::Number(1.0, 600.0)),
    optional("record", Rule::Bool),
    optional("recordingChannels", Rule::OneOf(&["mono", "dual"])),
]);

/// What voxd needs, always asked for.
pub const NEEDED_MESSAGES: &[&str] = &["status-update", "end-of-call-report"];

/// Messages that want nothing back.
pub const SERVER_MESSAGES: &[&str] = &[
    "status-update",
    "end-of-call-report",
    "assistant.started",
    "assistant.speechStarted",
    "call.artifact.upload",
    "call.delete.failed",
    "call.deleted",
    "conversation-update",
    "hang",
    "language-changed",
    "language-change-detected",
    "model-output",
    "speech-update",
    "transcript",
    "transcript[transcriptType=\"final\"]",
    "transfer-update",
    "user-interrupted",
    "voice-input",
];

/// Messages that Vapi waits upon, with content that voxd does not have; their tools need servers of their own.
pub const ANSWERED_MESSAGES: &[&str] = &[
    "assistant-request",
    "function-call",
    "handoff-destination-request",
    "knowledge-base-request",
    "phone-call-control",
    "tool-calls",
    "transfer-destination-request",
    "voice-request",
    "call.endpointing.request",
];

/// An object that names its provider; the rest is the provider's own and long.
fn provided(value: &Value) -> Result<(), String> {
    let named = value.get("provider").and_then(Value::as_str).is_some_and(|provider| !provider.is_empty());
    if named { Ok(()) } else { Err("an object with its provider".into()) }
}

/// A phone call: the WebSocket transport takes no phone number.
fn transport(value: &Value) -> Result<(), String> {
    match value.as_object() {
        Some(transport) if transport.get("provider").is_none_or(|provider| provider != "vapi.websocket") => Ok(()),
        _ => Err("an object whose provider is one for phone calls".into()),
    }
}

/// `off`, or a detector; `beepMaxAwaitSeconds` is at most 30 with Vapi's own and 60 with others.
fn voicemail_detection(value: &Value) -> Result<(), String> {
    const EXPECTED: &str = "\"off\", or an object with provider vapi, google, openai or twilio";
    if value == "off" {
        return Ok(());
    }
    let provider = value.get("provider").and_then(Value::as_str).ok_or(EXPECTED)?;
    let longest = match provider {
        "vapi" => 30.0,
        "google" | "openai" | "twilio" => 60.0,
        _ => return Err(EXPECTED.into()),
    };
    let in_range = |seconds: &Value| seconds.as_f64().is_some_and(|seconds| (0.0..=longest).contains(&seconds));
    if !value.get("beepMaxAwaitSeconds").is_none_or(in_range) {
        return Err(format!("beepMaxAwaitSeconds from 0 to {longest} with provider {provider}"));
    }
    match value.get("type").map(Value::as_str) {
        None | Some(Some("audio" | "transcript")) => Ok(()),
        Some(_) => Err("type audio or transcript".into()),
    }
}

fn artifact_plan(value: &Value) -> Result<(), String> {
    let plan = value.as_object().ok_or("an object")?;
    if plan.get("recordingEnabled").is_none_or(Value::is_boolean) {
        Ok(())
    } else {
        Err("recordingEnabled true or false".into())
    }
}
