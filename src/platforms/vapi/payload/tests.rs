use super::*;
use crate::call::PhoneNumber;
use uuid::Uuid;

fn request(config: Value) -> CallRequest {
    let mut whole = json!({ "platform": "vapi" });
    whole.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    CallRequest {
        call_id: Uuid::from_u128(1),
        attempt_id: Uuid::from_u128(2),
        to: PhoneNumber::parse("+14155550123").unwrap(),
        content: "Hello Ada.".into(),
        lead_name: None,
        voice_config: serde_json::from_value(whole).unwrap(),
        metadata: Map::from_iter([("campaign_id".into(), json!("123"))]),
        webhook_url: Some("https://hooks.example.com/webhooks/vapi/2".into()),
    }
}

fn with_platform_config(config: Value) -> CallRequest {
    let mut whole = json!({ "assistantId": "a-1", "phoneNumberId": "p-1" });
    whole.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    request(json!({ "platform_config": whole }))
}

fn texts(problems: Vec<FieldError>) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// What `format` says.
fn unformattable(request: &CallRequest) -> Vec<String> {
    texts(format(request, None).unwrap_err())
}

/// What `validate` says of a request that formats.
fn refused(config: Value) -> Vec<String> {
    texts(validate(&format(&with_platform_config(config), None).unwrap()).err().unwrap_or_default())
}

fn refused_overrides(overrides: Value) -> Vec<String> {
    refused(json!({ "assistantOverrides": overrides }))
}

fn overrides(request: &CallRequest) -> Value {
    format(request, None).unwrap().fields["assistantOverrides"].clone()
}

#[test]
fn the_whole_request_in_vapis_words() {
    let mut request = request(json!({
        "voice_id": "Elliot", "language": "en", "max_duration": 5, "record_call": true,
        "platform_config": {
            "assistantId": "a-1", "assistantVersion": "v3", "phoneNumberId": "p-1", "customer": { "extension": "42" },
            "assistantOverrides": {
                "variableValues": { "city": "Rome" }, "voicemailMessage": "", "artifactPlan": { "pcapEnabled": false },
                "transcriber": { "provider": "gladia" },
            },
        },
        "webhook_config": { "url": "https://example.com/voice-events", "events": ["hang", "status-update"] },
    }));
    request.lead_name = Some("Ada".into());
    let payload = format(&request, Some("cred-1")).unwrap();
    assert_eq!(validate(&payload), Ok(()));
    assert_eq!((payload.path.as_str(), payload.encoding), ("/call", Encoding::Json));
    let attempt_id = Uuid::from_u128(2);
    let expected = json!({
        "assistantId": "a-1", "assistantVersion": "v3", "phoneNumberId": "p-1", "name": attempt_id,
        "customer": { "number": "+14155550123", "name": "Ada", "externalId": attempt_id, "extension": "42" },
        "assistantOverrides": {
            "metadata": { "campaign_id": "123", "voxd_attempt_id": attempt_id, "voxd_call_id": Uuid::from_u128(1) },
            "variableValues": { "city": "Rome", "name": "Ada", "content": "Hello Ada." },
            "firstMessage": "Hello Ada.",
            "voice": { "provider": "vapi", "voiceId": "Elliot" },
            "transcriber": { "provider": "gladia", "language": "en" },
            "maxDurationSeconds": 300, "voicemailMessage": "",
            "artifactPlan": { "pcapEnabled": false, "recordingEnabled": true },
            "serverMessages": ["status-update", "end-of-call-report", "hang"],
            "server": {
                "url": "https://hooks.example.com/webhooks/vapi/2", "timeoutSeconds": 20, "credentialId": "cred-1",
                "backoffPlan": {
                    "type": "exponential", "maxRetries": 6, "baseDelaySeconds": 2, "excludedStatusCodes": [400, 413],
                },
            },
        },
    });
    assert_eq!(Value::Object(payload.fields), expected);
}

#[test]
fn content_is_said_first_unless_the_job_says_how_the_call_begins() {
    assert_eq!(overrides(&with_platform_config(json!({})))["firstMessage"], "Hello Ada.");
    for (given, says) in [
        (json!({ "firstMessage": "Hi." }), json!("Hi.")),
        (json!({ "firstMessageMode": "assistant-speaks-first" }), json!("Hello Ada.")),
        (json!({ "firstMessageMode": "assistant-waits-for-user" }), Value::Null),
        (json!({ "firstMessageMode": "assistant-speaks-first-with-model-generated-message" }), Value::Null),
    ] {
        let overrides = overrides(&with_platform_config(json!({ "assistantOverrides": given })));
        assert_eq!(overrides.get("firstMessage").unwrap_or(&Value::Null), &says, "{given}");
        assert_eq!(overrides["variableValues"]["content"], "Hello Ada.", "it is there as a variable in any case");
    }
}

#[test]
fn a_squad_has_overrides_of_its_own_name() {
    let squad = request(json!({ "platform_config": { "squadId": "s-1", "phoneNumberId": "p-1" } }));
    let payload = format(&squad, None).unwrap();
    assert_eq!(validate(&payload), Ok(()));
    assert_eq!(payload.fields["squadOverrides"]["metadata"]["voxd_attempt_id"], json!(Uuid::from_u128(2)));
    assert!(!payload.fields.contains_key("assistantOverrides"));
}

#[test]
fn without_a_public_address_no_webhook_is_asked_for() {
    let mut request = with_platform_config(json!({}));
    request.webhook_url = None;
    let overrides = overrides(&request);
    assert!(overrides.get("server").is_none() && overrides.get("serverMessages").is_none());
}

#[test]
fn labels_of_forty_characters_carry_our_id_and_a_longer_name_is_only_a_variable() {
    let mut request = with_platform_config(json!({}));
    request.lead_name = Some("x".repeat(41));
    let payload = format(&request, None).unwrap();
    assert_eq!(validate(&payload), Ok(()));
    assert!(payload.fields["customer"].get("name").is_none());
    assert_eq!(payload.fields["assistantOverrides"]["variableValues"]["name"].as_str().map(str::len), Some(41));
    assert_eq!(payload.fields["name"].as_str().map(str::len), Some(36));
}

#[test]
fn what_vapi_cannot_express_is_refused_and_names_what_to_do() {
    let problem = |config: Value| unformattable(&request(config)).join("\n");
    assert!(problem(json!({ "from_number": "+14155550100" })).contains(
        "/from_number: vapi calls from a number of the account by its id: set platform_config.phoneNumberId"
    ));
    assert!(problem(json!({ "mode": "live" })).starts_with("/mode: "));
    assert!(
        problem(json!({ "webhook_config": { "events": ["tool-calls"] } }))
            .contains("/webhook_config/events/0: \"tool-calls\" wants an answer")
    );
    assert!(problem(json!({ "webhook_config": { "events": ["hung"] } })).contains("vapi has no event \"hung\""));
}

#[test]
fn unknown_keys_and_voxds_own_are_refused_by_name_at_every_level() {
    for (config, expected) in [
        (
            json!({ "assistantID": "a" }),
            "/platform_config/assistantID: vapi does not know this key (did you mean \"assistantId\"?)",
        ),
        (json!({ "name": "x" }), "/platform_config/name: cannot be set: it carries voxd's attempt id"),
        (
            json!({ "metadata": {} }),
            "/platform_config/metadata: cannot be set: Vapi has no metadata here: the job's metadata goes to the overrides",
        ),
        (
            json!({ "customer": { "number": "+14155550199" } }),
            "/platform_config/customer/number: cannot be set: it is the job's lead.phone_number",
        ),
        (
            json!({ "customers": [] }),
            "/platform_config/customers: cannot be set: one attempt calls one person: it is the job's lead",
        ),
        (
            json!({ "assistantOverrides": { "firstMesage": "x" } }),
            "/platform_config/assistantOverrides/firstMesage: vapi does not know this key (did you mean \"firstMessage\"?)",
        ),
        (
            json!({ "assistantOverrides": { "server": {} } }),
            "/platform_config/assistantOverrides/server: cannot be set: it is voxd's own address (http.public_url)",
        ),
        (json!({ "assistantOverrides": 1 }), "/platform_config/assistantOverrides: expected an object"),
    ] {
        assert_eq!(unformattable(&with_platform_config(config)), [expected]);
    }
    for secret in ["phoneNumber", "schedulePlan", "customerId", "workflowId"] {
        let problems = unformattable(&with_platform_config(json!({ secret: {} })));
        assert!(problems[0].starts_with(&format!("/platform_config/{secret}: cannot be set: ")), "{problems:?}");
    }
}

#[test]
fn one_thing_said_twice_is_refused() {
    let mut request =
        with_platform_config(json!({ "assistantOverrides": { "voice": { "provider": "11labs", "voiceId": "x" } } }));
    assert!(format(&request, None).is_ok());
    request.voice_config.voice_id = Some("maya".into());
    assert_eq!(unformattable(&request), ["/platform_config/assistantOverrides/voice/voiceId: stands against voice_id"]);
}

#[test]
fn a_call_needs_one_agent_and_a_number_to_call_from() {
    let nothing = format(&request(json!({})), None).unwrap();
    assert_eq!(
        texts(validate(&nothing).unwrap_err()),
        [
            "/assistantId: is missing: a call needs an assistantId, assistant, squadId or squad in platform_config",
            "/phoneNumberId: is missing: set platform_config.phoneNumberId, the number that calls",
        ]
    );
    assert_eq!(
        refused(json!({ "assistant": {} })),
        ["/assistantId: expected only one of assistantId, assistant, squadId, squad"]
    );
    assert_eq!(refused(json!({ "squadOverrides": {} })), ["/squadOverrides: needs squadId or squad"]);
}

#[test]
fn each_fields_range_is_checked_before_it_is_sent() {
    for (field, fine, bad) in [
        ("voicemailMessage", json!("x".repeat(1000)), json!("x".repeat(1001))),
        ("endCallMessage", json!(""), json!("x".repeat(1001))),
        ("endCallPhrases", json!(["x".repeat(140)]), json!(["x".repeat(141)])),
        ("firstMessageMode", json!("assistant-waits-for-user"), json!("waits")),
        (
            "voicemailDetection",
            json!({ "provider": "vapi", "beepMaxAwaitSeconds": 30 }),
            json!({ "provider": "vapi", "beepMaxAwaitSeconds": 31 }),
        ),
        (
            "voicemailDetection",
            json!({ "provider": "google", "beepMaxAwaitSeconds": 60 }),
            json!({ "provider": "bland" }),
        ),
        ("voicemailDetection", json!("off"), json!("on")),
        (
            "transportConfigurations",
            json!([{ "provider": "twilio", "timeout": 600 }]),
            json!([{ "provider": "twilio", "timeout": 601 }]),
        ),
        ("model", json!({ "provider": "openai" }), json!({ "model": "gpt" })),
        ("monitorPlan", json!({ "controlEnabled": true }), json!({ "controlEnabled": "yes" })),
    ] {
        assert_eq!(refused_overrides(json!({ field: fine })), Vec::<String>::new(), "{field}");
        let problems = refused_overrides(json!({ field: bad }));
        assert!(
            problems.len() == 1 && problems[0].starts_with(&format!("/assistantOverrides/{field}")),
            "{problems:?}"
        );
    }
    assert!(refused(json!({ "transport": { "provider": "vapi.websocket" } }))[0].starts_with("/transport: "));
    assert!(refused(json!({ "customer": { "extension": "12345678901" } }))[0].starts_with("/customer/extension: "));
    let mut longest = with_platform_config(json!({}));
    longest.voice_config.max_duration = Some(720);
    assert_eq!(validate(&format(&longest, None).unwrap()), Ok(()));
}

#[test]
fn the_webhook_address_is_https_or_loopback() {
    let mut request = with_platform_config(json!({}));
    request.webhook_url = Some("http://example.com/webhooks/vapi/2".into());
    let problems = texts(validate(&format(&request, None).unwrap()).unwrap_err());
    assert!(problems[0].starts_with("/assistantOverrides/server/url: "), "{problems:?}");
}
