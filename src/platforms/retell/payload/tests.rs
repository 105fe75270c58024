use uuid::Uuid;

use super::*;
use crate::call::PhoneNumber;

fn request(config: Value) -> CallRequest {
    let mut voice = json!({ "platform": "retell", "from_number": "+14155550100" });
    for (key, value) in config.as_object().unwrap() {
        voice[key] = value.clone();
    }
    CallRequest {
        call_id: Uuid::from_u128(1),
        attempt_id: Uuid::from_u128(2),
        to: PhoneNumber::parse("+14155550123").unwrap(),
        content: "Hello Ada.".into(),
        lead_name: Some("Ada".into()),
        voice_config: serde_json::from_value(voice).unwrap(),
        metadata: Map::from_iter([("campaign_id".into(), json!("123"))]),
        webhook_url: Some("https://voxd.example/webhooks/retell/2".into()),
    }
}

/// What is wrong with it, as formatted or as validated.
fn problems(config: Value) -> Vec<String> {
    let problems = match format(&request(config)) {
        Ok(payload) => validate(&payload).err().unwrap_or_default(),
        Err(problems) => problems,
    };
    problems.into_iter().map(|problem| problem.to_string()).collect()
}

#[test]
fn a_request_in_retells_words() {
    let payload = format(&request(json!({
        "voice_id": "11labs-Adrian", "language": "en", "max_duration": 5, "record_call": true,
        "webhook_config": { "events": ["call_ended", "transfer_started"] },
        "platform_config": {
            "override_agent_id": "agent_1", "override_agent_version": 3, "retell_llm_dynamic_variables": { "name": "Countess" },
            "agent_override": {
                "agent": { "ring_duration_ms": 20_000, "voicemail_option": { "action": { "type": "hangup" } } },
                "retell_llm": { "begin_message": "{{content}}" },
            },
        },
    })))
    .unwrap();
    validate(&payload).unwrap();
    assert_eq!(payload.path, "/v2/create-phone-call");
    assert_eq!(
        Value::Object(payload.fields),
        json!({
            "from_number": "+14155550100", "to_number": "+14155550123",
            "override_agent_id": "agent_1", "override_agent_version": 3,
            "metadata": { "campaign_id": "123", "voxd_attempt_id": Uuid::from_u128(2), "voxd_call_id": Uuid::from_u128(1) },
            "retell_llm_dynamic_variables": { "name": "Countess", "content": "Hello Ada." },
            "agent_override": {
                "agent": {
                    "voice_id": "11labs-Adrian", "language": "en-US", "max_call_duration_ms": 300_000,
                    "data_storage_setting": "everything", "ring_duration_ms": 20_000,
                    "voicemail_option": { "action": { "type": "hangup" } },
                    "webhook_url": "https://voxd.example/webhooks/retell/2",
                    "webhook_events": ["call_started", "call_ended", "call_analyzed", "transfer_started"],
                },
                "retell_llm": { "begin_message": "{{content}}" },
            },
        })
    );
}

#[test]
fn the_simplest_request_overrides_nothing() {
    let mut simplest = request(json!({}));
    (simplest.webhook_url, simplest.lead_name) = (None, None);
    let payload = format(&simplest).unwrap();
    validate(&payload).unwrap();
    assert!(!payload.fields.contains_key("agent_override"));
}

#[test]
fn unknown_keys_and_voxds_own_are_refused_by_name_at_every_level() {
    for (config, pointer, says) in [
        (json!({ "overide_agent_id": "a" }), "/platform_config/overide_agent_id", "override_agent_id"),
        (json!({ "from_number": "+14155550100" }), "/platform_config/from_number", "cannot be set"),
        (json!({ "metadata": {} }), "/platform_config/metadata", "cannot be set"),
        (json!({ "idempotency_key": "k" }), "/platform_config/idempotency_key", "would make all its calls one"),
        (json!({ "agent_override": 7 }), "/platform_config/agent_override", "expected an object"),
        (json!({ "agent_override": { "agnt": {} } }), "/platform_config/agent_override/agnt", "agent"),
        (
            json!({ "agent_override": { "agent": { "ring_duration": 1 } } }),
            "/platform_config/agent_override/agent/ring_duration",
            "ring_duration_ms",
        ),
        (
            json!({ "agent_override": { "agent": { "webhook_url": "https://x.example" } } }),
            "/platform_config/agent_override/agent/webhook_url",
            "cannot be set",
        ),
        (
            json!({ "agent_override": { "retell_llm": { "general_prompt": "x" } } }),
            "/platform_config/agent_override/retell_llm/general_prompt",
            "does not know",
        ),
        (
            json!({ "retell_llm_dynamic_variables": [] }),
            "/platform_config/retell_llm_dynamic_variables",
            "expected an object",
        ),
    ] {
        let problems = problems(json!({ "platform_config": config }));
        assert!(problems.len() == 1, "{problems:?}");
        assert!(problems[0].starts_with(&format!("{pointer}: ")) && problems[0].contains(says), "{problems:?}");
    }
}

#[test]
fn values_that_retell_refuses_are_found_before() {
    for (agent, says) in [
        (json!({ "ring_duration_ms": 4_999 }), "5000 to 300000"),
        (json!({ "end_call_after_silence_ms": 9_999 }), "10000"),
        (json!({ "voice_speed": 2.1 }), "0.5 to 2"),
        (json!({ "data_storage_setting": "nothing" }), "everything_except_pii"),
        (json!({ "voicemail_option": { "action": { "type": "static_text" } } }), "is missing"),
        (json!({ "voicemail_option": { "action": { "type": "hangup", "text": "x" } } }), "belongs to static_text"),
        (json!({ "voicemail_option": { "action": { "type": "shout" } } }), "one of hangup"),
        (json!({ "ivr_option": {} }), "is missing"),
    ] {
        let problems = problems(json!({ "platform_config": { "agent_override": { "agent": agent } } }));
        assert!(problems.len() == 1 && problems[0].contains(says), "{problems:?}");
    }
    for (config, pointer) in [
        (json!({ "max_duration": 121 }), "/agent_override/agent/max_call_duration_ms"),
        (json!({ "language": "es" }), "/agent_override/agent/language"),
        (
            json!({ "platform_config": { "retell_llm_dynamic_variables": { "age": 7 } } }),
            "/retell_llm_dynamic_variables/age",
        ),
        (json!({ "platform_config": { "override_agent_version": -1 } }), "/override_agent_version"),
    ] {
        let problems = problems(config);
        assert!(problems.len() == 1 && problems[0].starts_with(&format!("{pointer}: ")), "{problems:?}");
    }
}

#[test]
fn a_call_needs_a_number_of_the_account() {
    let mut without = request(json!({}));
    without.voice_config.from_number = None;
    let problems = validate(&format(&without).unwrap()).unwrap_err();
    assert_eq!(problems[0].pointer, "/from_number");
}

#[test]
fn what_retell_cannot_express_is_refused() {
    for (config, pointer) in [
        (json!({ "mode": "live" }), "/mode"),
        (json!({ "record_call": false }), "/record_call"),
        (json!({ "webhook_config": { "events": ["transcript_updated"] } }), "/webhook_config/events/0"),
        (json!({ "webhook_config": { "events": ["call_ended", "queue"] } }), "/webhook_config/events/1"),
    ] {
        let problems = problems(config);
        assert!(problems.len() == 1 && problems[0].starts_with(&format!("{pointer}: ")), "{problems:?}");
    }
    let basic = json!({ "agent_override": { "agent": { "data_storage_setting": "basic_attributes_only" } } });
    assert_eq!(problems(json!({ "record_call": false, "platform_config": basic })), Vec::<String>::new());
    assert_eq!(problems(json!({ "record_call": true, "platform_config": basic })).len(), 1);
}

#[test]
fn metadata_that_is_too_large_or_voxds_own_is_refused() {
    let mut large = request(json!({}));
    large.metadata.insert("notes".into(), json!("x".repeat(50_000)));
    assert_eq!(validate(&format(&large).unwrap()).unwrap_err()[0].pointer, "/metadata");
    let mut own = request(json!({}));
    own.metadata.insert("voxd_call_id".into(), json!("x"));
    assert_eq!(format(&own).unwrap_err()[0].pointer, "/metadata/voxd_call_id");
}
