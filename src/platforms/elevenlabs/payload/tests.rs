use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::call::PhoneNumber;

const PATH: &str = "/v1/convai/twilio/outbound-call";

fn request(change: Value) -> CallRequest {
    let mut config = json!({ "platform": "elevenlabs", "platform_config": { "agent_id": "agent_1", "agent_phone_number_id": "phnum_1" } });
    for (key, value) in change.as_object().unwrap() {
        match (config.get_mut(key).and_then(Value::as_object_mut), value.as_object()) {
            (Some(into), Some(more)) => into.extend(more.clone()),
            _ => config[key] = value.clone(),
        }
    }
    CallRequest {
        call_id: Uuid::from_u128(2),
        attempt_id: Uuid::from_u128(1),
        to: PhoneNumber::parse("+14155550123").unwrap(),
        content: "Your appointment is tomorrow.".into(),
        lead_name: Some("Ada".into()),
        voice_config: serde_json::from_value(config).unwrap(),
        metadata: serde_json::from_value(
            json!({ "campaign_id": "123", "tries": 2, "vip": true, "tags": ["a"], "none": null }),
        )
        .unwrap(),
        webhook_url: Some("https://voxd.example/webhooks/elevenlabs/1".into()),
    }
}

fn refused(change: Value) -> Vec<String> {
    format(&request(change), PATH).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_request_is_put_in_elevenlabs_words() {
    let given = json!({
        "voice_id": "EXAVITQu4vr4xnSDxMaL", "language": "en", "max_duration": 5, "record_call": true,
        "platform_config": {
            "telephony_call_config": { "ringing_timeout_secs": 30 },
            "conversation_initiation_client_data": {
                "dynamic_variables": { "campaign_id": "of the producer", "shop": "north" },
                "conversation_config_override": { "agent": { "first_message": "{{content}}" }, "tts": { "stability": 0.5 } },
            },
        },
    });
    let payload = format(&request(given), PATH).unwrap();
    validate(&payload).unwrap();
    assert_eq!(payload.path, PATH);
    assert_eq!(
        Value::Object(payload.fields),
        json!({
            "agent_id": "agent_1", "agent_phone_number_id": "phnum_1", "to_number": "+14155550123",
            "call_recording_enabled": true, "telephony_call_config": { "ringing_timeout_secs": 30 },
            "conversation_initiation_client_data": {
                "user_id": "00000000-0000-0000-0000-000000000001",
                "dynamic_variables": {
                    "content": "Your appointment is tomorrow.", "name": "Ada", "campaign_id": "of the producer", "shop": "north",
                    "tries": 2, "vip": true, "tags": "[\"a\"]",
                    "voxd_attempt_id": "00000000-0000-0000-0000-000000000001", "voxd_call_id": "00000000-0000-0000-0000-000000000002",
                },
                "conversation_config_override": {
                    "agent": { "first_message": "{{content}}", "language": "en" },
                    "conversation": { "max_duration_seconds": 300 },
                    "tts": { "stability": 0.5, "voice_id": "EXAVITQu4vr4xnSDxMaL" },
                },
            },
        })
    );
}

#[test]
fn what_elevenlabs_cannot_say_is_refused_and_not_dropped() {
    for (change, says) in [
        (json!({ "from_number": "+14155550100" }), "/from_number: elevenlabs names the calling number by its id"),
        (json!({ "webhook_config": { "events": ["call"] } }), "/webhook_config/events: elevenlabs has no live events"),
        (json!({ "mode": "live" }), "/mode: elevenlabs has no media stream"),
    ] {
        let problems = refused(change);
        assert!(problems.len() == 1 && problems[0].starts_with(says), "{problems:?}");
    }
}

#[test]
fn unknown_keys_and_voxds_own_are_named() {
    for (config, expected) in [
        (
            json!({ "agent_idd": "x" }),
            r#"/platform_config/agent_idd: elevenlabs does not know this key (did you mean "agent_id"?)"#,
        ),
        (
            json!({ "to_number": "+14155550123" }),
            "/platform_config/to_number: cannot be set: it is the job's lead.phone_number",
        ),
        (
            json!({ "call_recording_enabled": true }),
            "/platform_config/call_recording_enabled: cannot be set: set record_call instead",
        ),
        (json!({ "branch_id": "b" }), "/platform_config/branch_id: belongs into conversation_initiation_client_data"),
        (
            json!({ "telephony_call_config": { "ringing_timeout_secs": "30" } }),
            r#"/platform_config/telephony_call_config/ringing_timeout_secs: "30", expected a whole number from 1 to 3600"#,
        ),
        (
            json!({ "conversation_initiation_client_data": { "user_id": "me" } }),
            "/platform_config/conversation_initiation_client_data/user_id: cannot be set: it carries voxd's attempt id",
        ),
        (
            json!({ "conversation_initiation_client_data": { "dynamic_variables": { "voxd_call_id": "x" } } }),
            "/platform_config/conversation_initiation_client_data/dynamic_variables/voxd_call_id: keys that begin with voxd_ are voxd's own",
        ),
        (
            json!({ "conversation_initiation_client_data": { "dynamic_variables": { "a": [1] } } }),
            "/platform_config/conversation_initiation_client_data/dynamic_variables/a: [1], expected a string, a number, true or false",
        ),
        (
            json!({ "conversation_initiation_client_data": { "conversation_config_override": { "tts": { "voice_id": "x" } } } }),
            "/platform_config/conversation_initiation_client_data/conversation_config_override/tts/voice_id: cannot be set: set voice_id instead",
        ),
        (
            json!({ "conversation_initiation_client_data": { "conversation_config_override": { "agent": { "frist_message": "x" } } } }),
            r#"/platform_config/conversation_initiation_client_data/conversation_config_override/agent/frist_message: unknown key (did you mean "first_message"?)"#,
        ),
    ] {
        assert_eq!(refused(json!({ "platform_config": config })), [expected]);
    }
}

#[test]
fn a_call_without_an_agent_is_refused_by_the_field_that_is_missing() {
    let mut bare = request(json!({}));
    bare.voice_config.platform_config.clear();
    let problems: Vec<String> = format(&bare, PATH).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        ["/platform_config/agent_id: is missing", "/platform_config/agent_phone_number_id: is missing"]
    );
}

#[test]
fn metadata_that_would_shadow_our_own_or_the_systems_is_refused() {
    let mut request = request(json!({}));
    request.metadata.insert("voxd_attempt_id".into(), json!("x"));
    request.metadata.insert("system__caller_id".into(), json!("x"));
    let problems = format(&request, PATH).unwrap_err();
    assert_eq!(
        problems.iter().map(|problem| problem.pointer.as_str()).collect::<Vec<_>>(),
        ["/metadata/system__caller_id", "/metadata/voxd_attempt_id"]
    );
}

#[test]
fn a_payload_is_checked_as_it_goes_out() {
    let mut payload = format(&request(json!({ "language": "english" })), PATH).unwrap();
    let problems = validate(&payload).unwrap_err();
    assert_eq!(problems[0].pointer, "/conversation_initiation_client_data/conversation_config_override/agent/language");
    payload.fields.remove("to_number");
    assert!(validate(&payload).unwrap_err().iter().any(|problem| problem.pointer == "/to_number"));
}
