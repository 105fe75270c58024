use super::*;
use crate::call::PhoneNumber;
use uuid::Uuid;

const PATH: &str = "/2010-04-01/Accounts/AC00000000000000000000000000000001/Calls.json";

fn request(config: Value) -> CallRequest {
    let mut whole = json!({ "platform": "twilio", "from_number": "+14155550100" });
    whole.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    CallRequest {
        call_id: Uuid::from_u128(1),
        attempt_id: Uuid::from_u128(2),
        to: PhoneNumber::parse("+14155550123").unwrap(),
        content: "Hello Ada.".into(),
        lead_name: Some("Ada".into()),
        voice_config: serde_json::from_value(whole).unwrap(),
        metadata: Map::from_iter([("campaign_id".into(), json!("123"))]),
        webhook_url: Some("https://hooks.example.com/webhooks/twilio/2".into()),
    }
}

fn with_platform_config(config: Value) -> CallRequest {
    request(json!({ "platform_config": config }))
}

fn formatted(request: &CallRequest) -> Payload {
    let payload = format(request, PATH.into()).unwrap();
    assert_eq!(validate(&payload), Ok(()));
    payload
}

/// What `format` says.
fn not_formatted(request: &CallRequest) -> Vec<String> {
    format(request, PATH.into()).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

/// What `validate` says of a request that formats.
fn refused(config: Value) -> Vec<String> {
    let payload = format(&with_platform_config(config), PATH.into()).unwrap();
    validate(&payload).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn the_whole_request_in_twilios_words() {
    let payload = formatted(&request(json!({
        "voice_id": "Polly.Joanna", "language": "en-US", "max_duration": 5, "record_call": true,
        "platform_config": { "Timeout": 30, "MachineDetection": "DetectMessageEnd", "AsyncAmd": "true", "Trim": "do-not-trim" },
        "webhook_config": { "url": "https://example.com/voice-events", "events": ["ringing", "completed"] },
    })));
    assert_eq!((payload.path.as_str(), payload.encoding), (PATH, Encoding::Form));
    let callback = "https://hooks.example.com/webhooks/twilio/2#rc=3&rp=5xx,ct,rt";
    let expected = json!({
        "To": "+14155550123", "From": "+14155550100", "TimeLimit": 300, "Record": true, "Timeout": 30, "Trim": "do-not-trim",
        "Twiml": "<Response><Say voice=\"Polly.Joanna\" language=\"en-US\">Hello Ada.</Say></Response>",
        "MachineDetection": "DetectMessageEnd", "AsyncAmd": "true",
        "StatusCallback": callback, "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
        "AsyncAmdStatusCallback": callback,
        "RecordingStatusCallback": callback, "RecordingStatusCallbackEvent": ["completed", "absent"],
    });
    assert_eq!(Value::Object(payload.fields), expected);
}

#[test]
fn the_form_repeats_the_event_and_escapes_the_callback_whole() {
    let (body, media_type) = formatted(&request(json!({}))).encode();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert_eq!(media_type, "application/x-www-form-urlencoded");
    for part in [
        "To=%2B14155550123",
        "StatusCallbackEvent=initiated&StatusCallbackEvent=ringing&StatusCallbackEvent=answered&StatusCallbackEvent=completed",
        "StatusCallback=https%3A%2F%2Fhooks.example.com%2Fwebhooks%2Ftwilio%2F2%23rc%3D3%26rp%3D5xx%2Cct%2Crt",
    ] {
        assert!(body.split('&').collect::<Vec<_>>().join("&").contains(part), "{part} in {body}");
    }
}

#[test]
fn without_a_public_address_no_callback_is_asked_for() {
    let mut request = request(json!({ "record_call": true }));
    request.webhook_url = None;
    let payload = formatted(&request);
    assert!(payload.fields.keys().all(|name| !name.contains("Callback")), "{:?}", payload.fields);
}

#[test]
fn own_twiml_or_an_address_take_the_place_of_the_content_in_either_spelling() {
    for key in ["Twiml", "twiml"] {
        let own = "<Response><Say>{{name}}: {{content}}</Say></Response>";
        let payload = formatted(&with_platform_config(json!({ key: own })));
        assert_eq!(payload.fields["Twiml"], "<Response><Say>Ada: Hello Ada.</Say></Response>");
        assert!(!payload.fields.contains_key("twiml"));
    }
    for key in ["Url", "url"] {
        let payload =
            formatted(&with_platform_config(json!({ key: "https://twiml.example.com/a?b=c", "Method": "GET" })));
        assert_eq!(payload.fields["Url"], "https://twiml.example.com/a?b=c");
        assert!(!payload.fields.contains_key("Twiml") && !payload.fields.contains_key("url"));
    }
    let mut silent = with_platform_config(json!({ "Url": "https://twiml.example.com/" }));
    silent.content.clear();
    formatted(&silent);
    silent.voice_config.platform_config.clear();
    assert_eq!(not_formatted(&silent).len(), 1, "nothing to say");
    let both = with_platform_config(json!({ "url": "https://a.example/", "Url": "https://b.example/" }));
    assert_eq!(not_formatted(&both), ["/platform_config/url: stands beside Url"]);
}

#[test]
fn what_twilio_cannot_do_is_refused_by_name() {
    let mut nobody = request(json!({}));
    nobody.voice_config.from_number = None;
    assert_eq!(not_formatted(&nobody), ["/from_number: is missing: Twilio calls only from a number of the account"]);
    assert!(not_formatted(&request(json!({ "mode": "live" })))[0].starts_with("/mode: "));
    let events = request(json!({ "webhook_config": { "events": ["completed", "transcript"] } }));
    assert_eq!(
        not_formatted(&events),
        [
            "/webhook_config/events/1: twilio has no event \"transcript\", expected one of initiated, ringing, answered, completed"
        ]
    );
    let twiml =
        json!({ "voice_id": "Polly.Joanna", "language": "en-US", "platform_config": { "Url": "https://a.example/" } });
    assert_eq!(
        not_formatted(&request(twiml)),
        ["/voice_id: has no effect beside Url: say it there", "/language: has no effect beside Url: say it there"]
    );
}

#[test]
fn unknown_keys_and_keys_that_voxd_sets_are_refused_with_a_pointer() {
    for (config, problem) in [
        (json!({ "Timeot": 5 }), "/platform_config/Timeot: twilio does not know this key (did you mean \"Timeout\"?)"),
        (
            json!({ "timeout": 5 }),
            "/platform_config/timeout: twilio does not know this key (did you mean \"Timeout\"?)",
        ),
        (json!({ "To": "+14155550123" }), "/platform_config/To: cannot be set: it is the job's lead.phone_number"),
        (
            json!({ "StatusCallback": "https://x.example" }),
            "/platform_config/StatusCallback: cannot be set: it is voxd's own address (http.public_url)",
        ),
        (
            json!({ "ApplicationSid": "AP1" }),
            "/platform_config/ApplicationSid: cannot be set: Twilio would ignore the status callback with it, and voxd hear \
             nothing: set Url",
        ),
    ] {
        assert_eq!(not_formatted(&with_platform_config(config)), [problem]);
    }
    for key in ["From", "TimeLimit", "Record", "AsyncAmdStatusCallback", "SipAuthPassword", "StatusCallbackEvent"] {
        assert!(not_formatted(&with_platform_config(json!({ key: "x" })))[0].contains("cannot be set"), "{key}");
    }
}

#[test]
fn values_that_twilio_would_refuse_are_found_before() {
    for (config, pointer) in [
        (json!({ "Timeout": 601 }), "/Timeout"),
        (json!({ "Timeout": "30" }), "/Timeout"),
        (json!({ "Url": "twiml.example.com" }), "/Url"),
        (json!({ "Url": "https://my_host.example.com/" }), "/Url"),
        (json!({ "twiml": "Hello" }), "/Twiml"),
        (json!({ "Twiml": 5 }), "/Twiml"),
        (json!({ "Twiml": format!("<Response>{}</Response>", "x".repeat(4000)) }), "/Twiml"),
        (json!({ "Twiml": "<Response/>", "Url": "https://a.example/" }), "/Twiml"),
        (json!({ "SendDigits": "1234x" }), "/SendDigits"),
        (json!({ "SendDigits": "1".repeat(33) }), "/SendDigits"),
        (json!({ "SendDigits": "1", "MachineDetection": "Enable" }), "/SendDigits"),
        (json!({ "MachineDetection": "enable" }), "/MachineDetection"),
        (json!({ "MachineDetection": "Enable", "AsyncAmd": "yes" }), "/AsyncAmd"),
        (
            json!({ "MachineDetection": "Enable", "MachineDetectionSpeechThreshold": 999 }),
            "/MachineDetectionSpeechThreshold",
        ),
        (
            json!({ "MachineDetection": "Enable", "MachineDetectionSilenceTimeout": 10_001 }),
            "/MachineDetectionSilenceTimeout",
        ),
        (json!({ "MachineDetectionTimeout": 30 }), "/MachineDetectionTimeout"),
        (json!({ "AsyncAmd": true }), "/AsyncAmd"),
        (json!({ "RecordingChannels": "dual" }), "/RecordingChannels"),
        (json!({ "Method": "GET" }), "/Method"),
        (json!({ "FallbackMethod": "GET" }), "/FallbackMethod"),
    ] {
        let problems = refused(config.clone());
        assert!(problems.len() == 1 && problems[0].starts_with(&format!("{pointer}: ")), "{config}: {problems:?}");
    }
    let mut itself = request(json!({}));
    itself.to = PhoneNumber::parse("+14155550100").unwrap();
    assert!(validate(&format(&itself, PATH.into()).unwrap()).is_err());
    // A public address that Twilio would not call back.
    let mut underscore = request(json!({}));
    underscore.webhook_url = Some("https://my_host.example.com/webhooks/twilio/2".into());
    let problems = validate(&format(&underscore, PATH.into()).unwrap()).unwrap_err();
    assert_eq!(problems[0].pointer, "/StatusCallback");
}
