use super::*;
use crate::call::PhoneNumber;
use uuid::Uuid;

fn request(config: Value) -> CallRequest {
    let mut whole = json!({ "platform": "bland_ai" });
    whole.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    CallRequest {
        call_id: Uuid::from_u128(1),
        attempt_id: Uuid::from_u128(2),
        to: PhoneNumber::parse("+14155550123").unwrap(),
        content: "Hello Ada.".into(),
        lead_name: None,
        voice_config: serde_json::from_value(whole).unwrap(),
        metadata: Map::from_iter([("campaign_id".into(), json!("123"))]),
        webhook_url: Some("https://hooks.example.com/webhooks/bland_ai/2".into()),
    }
}

fn with_platform_config(config: Value) -> CallRequest {
    request(json!({ "platform_config": config }))
}

/// What `validate` says of a request that formats.
fn refused(config: Value) -> Vec<String> {
    let payload = format(&with_platform_config(config)).unwrap();
    validate(&payload).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn the_whole_request_in_blands_words() {
    let mut request = request(json!({
        "from_number": "+14155550100", "voice_id": "maya", "language": "en", "max_duration": 5, "record_call": true,
        "platform_config": { "temperature": 0.7, "model": "base", "wait_for_greeting": true, "block_interruptions": false },
        "webhook_config": { "url": "https://example.com/voice-events", "events": ["call", "latency", "webhook"] },
    }));
    request.lead_name = Some("Ada".into());
    let payload = format(&request).unwrap();
    assert_eq!(validate(&payload), Ok(()));
    assert_eq!((payload.path.as_str(), payload.encoding), ("/v1/calls", Encoding::Json));
    let expected = json!({
        "phone_number": "+14155550123", "from": "+14155550100", "task": "Hello Ada.", "voice": "maya", "language": "en",
        "max_duration": 5, "record": true, "temperature": 0.7, "model": "base", "wait_for_greeting": true,
        "block_interruptions": false, "noise_cancellation": true,
        "webhook": "https://hooks.example.com/webhooks/bland_ai/2", "webhook_events": ["call", "latency", "webhook"],
        "request_data": { "name": "Ada" },
        "metadata": {
            "campaign_id": "123", "voxd_attempt_id": Uuid::from_u128(2), "voxd_call_id": Uuid::from_u128(1),
        },
    });
    assert_eq!(Value::Object(payload.fields), expected);
}

#[test]
fn without_a_public_address_no_webhook_is_asked_for() {
    let mut request = request(json!({ "webhook_config": { "events": ["call"] } }));
    request.webhook_url = None;
    let payload = format(&request).unwrap();
    assert_eq!(validate(&payload), Ok(()));
    assert!(!payload.fields.contains_key("webhook") && !payload.fields.contains_key("webhook_events"));
}

#[test]
fn with_a_pathway_or_a_persona_the_content_is_a_variable() {
    for config in [json!({ "pathway_id": Uuid::from_u128(3) }), json!({ "persona_id": "p-1" })] {
        let payload = format(&with_platform_config(config)).unwrap();
        assert_eq!(validate(&payload), Ok(()));
        assert!(!payload.fields.contains_key("task"));
        assert_eq!(payload.fields["request_data"], json!({ "content": "Hello Ada." }));
    }
}

#[test]
fn a_producers_variables_win() {
    let mut request = with_platform_config(json!({ "request_data": { "name": "Countess" } }));
    request.lead_name = Some("Ada".into());
    assert_eq!(format(&request).unwrap().fields["request_data"], json!({ "name": "Countess" }));
}

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    let problems = format(&with_platform_config(json!({ "temprature": 0.7, "zzz": 1 }))).unwrap_err();
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            r#"/platform_config/temprature: bland_ai does not know this key (did you mean "temperature"?)"#,
            "/platform_config/zzz: bland_ai does not know this key",
        ]
    );
}

#[test]
fn keys_that_voxd_sets_are_refused_with_the_reason() {
    for (key, says) in [
        ("phone_number", "lead.phone_number"),
        ("task", "content"),
        ("voice", "voice_id"),
        ("voice_id", "in the voice configuration"),
        ("language", "in the voice configuration"),
        ("from", "from_number"),
        ("max_duration", "in the voice configuration"),
        ("record", "record_call"),
        ("retry", "outside of voxd's accounting"),
        ("start_time", "not_before"),
        ("metadata", "voxd's own ids"),
        ("webhook", "http.public_url"),
        ("webhook_events", "webhook_config.events"),
        ("encrypted_key", "secret"),
        ("voicemail_message", "voicemail.message"),
    ] {
        let config = Value::Object(Map::from_iter([(key.to_owned(), json!("x"))]));
        let problems = format(&with_platform_config(config)).unwrap_err();
        assert_eq!((problems.len(), problems[0].pointer.as_str()), (1, &*format!("/platform_config/{key}")));
        assert!(problems[0].detail.starts_with("cannot be set: ") && problems[0].detail.contains(says), "{problems:?}");
    }
}

#[test]
fn a_producer_cannot_set_our_metadata_keys() {
    let mut request = request(json!({}));
    request.metadata.insert("voxd_attempt_id".into(), json!("mine"));
    let problems = format(&request).unwrap_err();
    assert_eq!(problems[0].pointer, "/metadata/voxd_attempt_id");
}

#[test]
fn live_mode_is_refused() {
    assert_eq!(format(&request(json!({ "mode": "live" }))).unwrap_err()[0].pointer, "/mode");
}

#[test]
fn every_field_has_its_rule() {
    let uuid = Uuid::from_u128(3);
    let long = "x".repeat(2001);
    let cases = [
        (json!({ "pathway_id": "abc" }), "/pathway_id: "),
        (json!({ "pathway_id": uuid, "pathway_version": "latest" }), "/pathway_version: "),
        (json!({ "pathway_id": uuid, "start_node_id": "" }), "/start_node_id: "),
        (json!({ "first_sentence": 5 }), "/first_sentence: "),
        (json!({ "model": "enhanced" }), "/model: "),
        (json!({ "temperature": 1.2 }), "/temperature: "),
        (json!({ "temperature": "0.7" }), "/temperature: "),
        (json!({ "wait_for_greeting": "yes" }), "/wait_for_greeting: "),
        (json!({ "interruption_threshold": -1 }), "/interruption_threshold: "),
        (json!({ "interruptibility": 4 }), "/interruptibility: "),
        (json!({ "background_track": "jungle" }), "/background_track: "),
        (json!({ "pronunciation_guide": [{ "word": "a" }] }), "/pronunciation_guide/0/pronunciation: "),
        (json!({ "keywords": vec!["a"; 21] }), "/keywords: "),
        (json!({ "keywords": ["x".repeat(100)] }), "/keywords/0: "),
        (json!({ "keywords": ["word:often"] }), "/keywords/0: "),
        (json!({ "dialing_strategy": { "type": "remote" } }), "/dialing_strategy/type: "),
        (json!({ "timezone": "Mars/Olympus" }), "/timezone: "),
        (json!({ "voicemail": { "action": "leave_message_and_sms", "message": "m" } }), "/voicemail/action: "),
        (json!({ "voicemail": { "acton": "hangup" } }), "/voicemail/acton: "),
        (json!({ "transfer_phone_number": "5550123" }), "/transfer_phone_number: "),
        (json!({ "transfer_list": { "default": "nobody" } }), "/transfer_list/default: "),
        (json!({ "tools": [7] }), "/tools/0: "),
        (json!({ "dynamic_data": ["x"] }), "/dynamic_data/0: "),
        (json!({ "precall_dtmf_sequence": "12a" }), "/precall_dtmf_sequence: "),
        (json!({ "summary_prompt": long }), "/summary_prompt: "),
        (json!({ "dispositions": [""] }), "/dispositions/0: "),
        (json!({ "citation_schema_ids": ["x"] }), "/citation_schema_ids/0: "),
        (json!({ "post_call_evals": {} }), "/post_call_evals: "),
        (json!({ "guard_rails": [{ "type": "tcpa", "actions": [] }] }), "/guard_rails/0/type: "),
        (json!({ "guard_rails": [{ "type": "custom", "actions": ["shout"] }] }), "/guard_rails/0/actions/0: "),
        (json!({ "request_data": [] }), "/request_data: "),
    ];
    for (config, begins) in cases {
        let problems = refused(config.clone());
        assert!(problems.iter().any(|problem| problem.starts_with(begins)), "{config}: {problems:?}");
    }
}

#[test]
fn fields_that_contradict_each_other_are_refused() {
    let uuid = Uuid::from_u128(3);
    let cases = [
        (json!({ "voicemail": { "action": "leave_message" } }), "/voicemail/message: is missing"),
        (json!({ "voicemail": { "action": "hangup", "message": "m" } }), "/voicemail/message: has no effect"),
        (json!({ "pathway_version": 2 }), "/pathway_version: needs pathway_id"),
        (json!({ "start_node_id": "n" }), "/start_node_id: needs pathway_id"),
        (json!({ "pathway_id": uuid, "tools": ["TL-1"] }), "/tools: has no effect with a pathway"),
        (json!({ "model": "turbo", "tools": ["TL-1"] }), "/tools: is not available with model turbo"),
        (json!({ "transfer_phone_number": "+14155550123" }), "/transfer_phone_number: must differ"),
        (json!({ "block_interruptions": true, "interruptibility": 2 }), "/interruptibility: contradicts"),
        (json!({ "dialing_strategy": { "type": "custom_pooling" } }), "/dialing_strategy/pool_id: belongs to"),
        (json!({ "dialing_strategy": { "type": "local", "pool_id": "p" } }), "/dialing_strategy/pool_id: belongs to"),
    ];
    for (config, begins) in cases {
        let problems = refused(config.clone());
        assert!(problems.len() == 1 && problems[0].starts_with(begins), "{config}: {problems:?}");
    }
}

#[test]
fn valid_values_of_every_field_pass() {
    let config = json!({
        "first_sentence": "Hi.", "model": "base", "temperature": 1, "wait_for_greeting": true,
        "interruption_threshold": 200, "interruptibility": 0, "block_interruptions": true, "noise_cancellation": false,
        "background_track": null, "keywords": ["voxd", "Ada:3"], "timezone": "Europe/Berlin",
        "pronunciation_guide": [{ "word": "API", "pronunciation": "A P I", "case_sensitive": true, "spaced": false }],
        "dialing_strategy": { "type": "custom_pooling", "pool_id": "p" },
        "voicemail": { "action": "leave_message", "message": "Call back.", "sensitive": true, "sms": { "message": "m" } },
        "transfer_phone_number": "+14155550199", "transfer_list": { "default": "+14155550199" },
        "tools": ["TL-1", "KB-2"], "dynamic_data": [{}], "ignore_button_press": true, "precall_dtmf_sequence": "1w2*#",
        "summary_prompt": "Short.", "dispositions": ["YES", "NO"], "citation_schema_ids": [Uuid::from_u128(4)],
        "post_call_evals": { "workbench_setup_id": "w" }, "stream_post_transfer_transcript": false,
        "guard_rails": [{ "type": "tcpa:opt_out", "actions": ["end_call"], "config": {} }], "request_data": { "a": 1 },
    });
    assert_eq!(refused(config), [""; 0]);
}

#[test]
fn evals_record_the_call() {
    let request = request(json!({
        "record_call": false, "platform_config": { "post_call_evals": { "workbench_setup_id": "w" } },
    }));
    let problems = validate(&format(&request).unwrap()).unwrap_err();
    assert_eq!(problems[0].pointer, "/post_call_evals");
}

#[test]
fn an_empty_task_is_refused() {
    let mut request = request(json!({}));
    request.content.clear();
    assert_eq!(validate(&format(&request).unwrap()).unwrap_err()[0].pointer, "/task");
}

#[test]
fn webhooks_go_over_https_or_to_this_machine() {
    let refused = |url: &str| {
        let mut request = request(json!({}));
        request.webhook_url = Some(url.into());
        validate(&format(&request).unwrap()).is_err()
    };
    for fine in ["https://example.com/x", "http://127.0.0.1:8000/x", "http://localhost:1/x", "http://[::1]/x"] {
        assert!(!refused(fine), "{fine}");
    }
    for bad in ["http://example.com/x", "http://10.0.0.1/x", "ftp://localhost/x", "http://localhost.example.com/", "x"]
    {
        assert!(refused(bad), "{bad}");
    }
}

#[test]
fn languages_are_checked_by_shape() {
    let refused = |code: &str| validate(&format(&request(json!({ "language": code }))).unwrap()).is_err();
    for fine in ["en", "en-US", "es-419", "babel", "babel-en", "auto", "fluent"] {
        assert!(!refused(fine), "{fine}");
    }
    for bad in ["english", "EN", "en_US", "", "en-"] {
        assert!(refused(bad), "{bad}");
    }
}

#[test]
fn unknown_events_are_refused() {
    let request = request(json!({ "webhook_config": { "events": ["calls"] } }));
    let problems = validate(&format(&request).unwrap()).unwrap_err();
    assert_eq!(problems[0].pointer, "/webhook_events/0");
    assert!(problems[0].detail.contains("did you mean \"call\"?"), "{problems:?}");
}
