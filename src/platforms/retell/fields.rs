//! The fields of `POST /v2/create-phone-call` and of the overrides in it: who sets each one, and what Retell accepts (the vendor's
//! SDK, `types/call_create_phone_call_params.py`, 5.60 of 2026-07-31 to 6.2 of 2026-11). Lists of models and voices grow by the month and are left to
//! Retell's answer.

use serde_json::Value;

use super::super::fields::Origin::{Config, Never, Voxd};
use super::super::fields::{Field, field};
use super::super::rules::{NON_EMPTY, Rule, WEBHOOK_URL, optional, required};

/// Events that Retell has, beside the three that voxd always asks for.
pub const EVENTS: &[&str] = &[
    "call_started",
    "call_ended",
    "call_analyzed",
    "transfer_started",
    "transfer_bridged",
    "transfer_cancelled",
    "transfer_ended",
];

const ANY: usize = usize::MAX;
const TEXT: Rule = Rule::Text(0, ANY);
const MAYBE_TEXT: Rule = Rule::Nullable(&TEXT);
const TEXTS: Rule = Rule::Nullable(&Rule::List(ANY, &NON_EMPTY));
const OBJECTS: Rule = Rule::Nullable(&Rule::List(ANY, &Rule::Object));
const MAYBE_OBJECT: Rule = Rule::Nullable(&Rule::Object);
const SHARE: Rule = Rule::Number(0.0, 1.0);
const UP_TO_TWO: Rule = Rule::Number(0.0, 2.0);

/// Of the request itself.
pub const CREATE: &[Field] = &[
    field("from_number", Voxd("set from_number in the voice configuration instead"), Rule::Phone),
    field("to_number", Voxd("it is the job's lead.phone_number"), Rule::Phone),
    field("override_agent_id", Config, NON_EMPTY),
    field("override_agent_version", Config, Rule::Custom(version)),
    field("agent_override", Config, Rule::Object),
    field("retell_llm_dynamic_variables", Config, Rule::MapOf(&TEXT)),
    field("metadata", Voxd("it carries the job's metadata and voxd's own ids"), Rule::Custom(metadata)),
    field("custom_sip_headers", Config, Rule::MapOf(&TEXT)),
    field("ignore_e164_validation", Config, Rule::Bool),
    field("honor_internal_dnc", Config, Rule::Bool),
    field(
        "idempotency_key",
        Never(
            "one request goes out for each attempt, and a key that stands in a configuration would make all its calls one",
        ),
        NON_EMPTY,
    ),
];

/// Members of `agent_override`.
pub const OVERRIDE: &[Field] = &[
    field("agent", Config, Rule::Object),
    field("retell_llm", Config, Rule::Object),
    field("conversation_flow", Config, Rule::Object),
];

/// Members of `agent_override.agent`.
pub const AGENT: &[Field] = &[
    field("agent_name", Config, MAYBE_TEXT),
    field("allow_dtmf_interruption", Config, Rule::Bool),
    field("allow_user_dtmf", Config, Rule::Bool),
    field("ambient_sound", Config, Rule::Nullable(&NON_EMPTY)),
    field("ambient_sound_volume", Config, UP_TO_TWO),
    field("backchannel_frequency", Config, SHARE),
    field("backchannel_words", Config, TEXTS),
    field("begin_message_delay_ms", Config, Rule::Integer(0, 5_000)),
    field("boosted_keywords", Config, TEXTS),
    field("call_screening_option", Config, MAYBE_OBJECT),
    field("contact_memory_config", Config, Rule::Object),
    field("custom_stt_config", Config, MAYBE_OBJECT),
    field("data_storage_retention_days", Config, Rule::Nullable(&Rule::Integer(1, 730))),
    field(
        "data_storage_setting",
        Config,
        Rule::OneOf(&["everything", "everything_except_pii", "basic_attributes_only"]),
    ),
    field("denoising_enhancement_level", Config, Rule::Nullable(&SHARE)),
    field("denoising_mode", Config, NON_EMPTY),
    field("enable_backchannel", Config, Rule::Bool),
    field("enable_dnc_detection", Config, Rule::Bool),
    field("enable_dynamic_responsiveness", Config, Rule::Bool),
    field("enable_dynamic_voice_speed", Config, Rule::Bool),
    field("enable_expressive_mode", Config, Rule::Bool),
    field("end_call_after_silence_ms", Config, Rule::Integer(10_000, i64::MAX)),
    field("expressive_emotion_tags", Config, Rule::List(ANY, &NON_EMPTY)),
    field("expressive_mode_prompt", Config, MAYBE_TEXT),
    field("fallback_voice_ids", Config, TEXTS),
    field("guardrail_config", Config, Rule::Object),
    field("handbook_config", Config, Rule::Object),
    field("interruption_sensitivity", Config, SHARE),
    field("ivr_option", Config, Rule::Nullable(&IVR)),
    field("language", Voxd("set language in the voice configuration instead"), Rule::Custom(locale)),
    field(
        "max_call_duration_ms",
        Voxd("set max_duration in the voice configuration instead"),
        Rule::Custom(call_duration),
    ),
    field("opt_in_signed_url", Config, Rule::Bool),
    field("pii_config", Config, Rule::Object),
    field("post_call_analysis_data", Config, OBJECTS),
    field("post_call_analysis_model", Config, Rule::Nullable(&NON_EMPTY)),
    field("post_session_tools", Config, OBJECTS),
    field("pre_session_tools", Config, OBJECTS),
    field("pronunciation_dictionary", Config, Rule::Nullable(&Rule::List(ANY, &PRONUNCIATION))),
    field("reminder_max_count", Config, Rule::Integer(0, i64::MAX)),
    field("reminder_trigger_ms", Config, Rule::Number(1.0, f64::MAX)),
    field("response_engine", Config, Rule::Object),
    field("responsiveness", Config, SHARE),
    field("ring_duration_ms", Config, Rule::Integer(5_000, 300_000)),
    field("signed_url_expiration_ms", Config, Rule::Nullable(&Rule::Integer(1, i64::MAX))),
    field("stt_mode", Config, Rule::OneOf(&["fast", "accurate", "custom"])),
    field("timezone", Config, MAYBE_TEXT),
    field("user_dtmf_options", Config, MAYBE_OBJECT),
    field("version_description", Never("a call makes no version of its agent"), TEXT),
    field("version_title", Never("a call makes no version of its agent"), TEXT),
    field("vocab_specialization", Config, Rule::OneOf(&["general", "medical"])),
    field("voice_id", Voxd("set voice_id in the voice configuration instead"), NON_EMPTY),
    field("voice_model", Config, Rule::Nullable(&NON_EMPTY)),
    field("voice_speed", Config, Rule::Number(0.5, 2.0)),
    field("voice_temperature", Config, UP_TO_TWO),
    field("voicemail_option", Config, Rule::Nullable(&VOICEMAIL)),
    field("volume", Config, UP_TO_TWO),
    field(
        "webhook_events",
        Voxd("set webhook_config.events in the voice configuration instead"),
        Rule::List(ANY, &Rule::OneOf(EVENTS)),
    ),
    field("webhook_timeout_ms", Config, Rule::Integer(1_000, 60_000)),
    field("webhook_url", Voxd("it is voxd's own address (http.public_url)"), WEBHOOK_URL),
];

/// Members of `agent_override.retell_llm`. The agent's prompt cannot be replaced for one call.
pub const RETELL_LLM: &[Field] = &[
    field("backup_model", Config, MAYBE_OBJECT),
    field("begin_after_user_silence_ms", Config, Rule::Nullable(&Rule::Integer(0, i64::MAX))),
    field("begin_message", Config, MAYBE_TEXT),
    field("kb_config", Config, MAYBE_OBJECT),
    field("knowledge_base_ids", Config, TEXTS),
    field("model", Config, Rule::Nullable(&NON_EMPTY)),
    field("model_config", Config, Rule::Object),
    field("model_high_priority", Config, Rule::Nullable(&Rule::Bool)),
    field("model_temperature", Config, SHARE),
    field("model_ultrafast", Config, Rule::Nullable(&Rule::Bool)),
    field("s2s_model", Config, Rule::Nullable(&NON_EMPTY)),
    field("start_speaker", Config, Rule::OneOf(&["user", "agent"])),
    field("tool_call_strict_mode", Config, Rule::Nullable(&Rule::Bool)),
];

/// Members of `agent_override.conversation_flow`.
pub const CONVERSATION_FLOW: &[Field] = &[
    field("backup_model", Config, MAYBE_OBJECT),
    field("begin_after_user_silence_ms", Config, Rule::Nullable(&Rule::Integer(0, i64::MAX))),
    field("kb_config", Config, Rule::Object),
    field("knowledge_base_ids", Config, TEXTS),
    field("model_choice", Config, Rule::Object),
    field("model_config", Config, Rule::Object),
    field("model_temperature", Config, Rule::Nullable(&SHARE)),
    field("start_speaker", Config, Rule::OneOf(&["user", "agent"])),
    field("tool_call_strict_mode", Config, Rule::Nullable(&Rule::Bool)),
];

const VOICEMAIL: Rule = Rule::Shape(&[
    required(
        "action",
        Rule::Shape(&[
            required("type", Rule::OneOf(&["hangup", "static_text", "prompt", "bridge_transfer"])),
            optional("text", NON_EMPTY),
        ]),
    ),
    optional("detection_prompt", MAYBE_TEXT),
]);

const IVR: Rule = Rule::Shape(&[
    required("action", Rule::Shape(&[required("type", Rule::OneOf(&["hangup"]))])),
    optional("detection_prompt", MAYBE_TEXT),
]);

const PRONUNCIATION: Rule = Rule::Shape(&[
    required("word", NON_EMPTY),
    required("alphabet", Rule::OneOf(&["ipa", "cmu", "pinyin", "jyutping"])),
    required("phoneme", NON_EMPTY),
]);

/// The largest that the vendor takes, as its update endpoints say it.
const METADATA_BYTES: usize = 50_000;

fn metadata(value: &Value) -> Result<(), String> {
    let fits = value.is_object() && value.to_string().len() <= METADATA_BYTES;
    if fits { Ok(()) } else { Err(format!("an object of at most {METADATA_BYTES} bytes")) }
}

fn version(value: &Value) -> Result<(), String> {
    let tag = value.as_str().is_some_and(|tag| !tag.is_empty());
    if tag || value.as_u64().is_some() { Ok(()) } else { Err("a version number or a tag".into()) }
}

fn call_duration(value: &Value) -> Result<(), String> {
    let fits = value.as_i64().is_some_and(|ms| (60_000..=7_200_000).contains(&ms));
    if fits { Ok(()) } else { Err("60000 to 7200000: a max_duration of 1 to 120 minutes".into()) }
}

/// The shape only: Retell's list grows, and an unknown locale is refused by its answer.
fn locale(value: &Value) -> Result<(), String> {
    let is_locale = |text: &str| {
        text.split_once('-').is_some_and(|(language, region)| {
            (2..=3).contains(&language.len())
                && language.bytes().all(|byte| byte.is_ascii_lowercase())
                && (2..=4).contains(&region.len())
                && region.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        })
    };
    match value.as_str() {
        Some("multi") => Ok(()),
        Some(text) if is_locale(text) => Ok(()),
        _ => Err("a locale such as en-US, es-419, de-DE".into()),
    }
}
