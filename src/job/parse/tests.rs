use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::job::VoiceConfigRef;

/// The contract's example.
fn example() -> Value {
    json!({
        "specversion": "1.0", "source": "crm", "id": "lead-42-welcome", "type": "voice.call.requested",
        "data": {
            "content": "Hello Ada, this is a reminder of your appointment tomorrow at ten.",
            "message_type": "regular",
            "lead": { "id": "lead-42", "phone_number": "+14155550123", "name": "Ada", "timezone": "America/Los_Angeles" },
            "user": { "id": "user-7" },
            "voice_config": "appointment-reminder",
            "metadata": { "campaign_id": "123" },
            "not_before": "2026-11-21T17:00:00Z", "expires_at": "2026-11-22T01:00:00Z"
        }
    })
}

fn inline_config() -> Value {
    json!({
        "platform": "bland_ai", "fallback_platforms": ["vapi"], "from_number": "+14155550100",
        "content": "Default call content", "voice_id": "maya", "language": "en", "max_duration": 5, "record_call": true,
        "platform_config": { "temperature": 0.7, "model": "base", "wait_for_greeting": true, "block_interruptions": false },
        "webhook_config": { "url": "https://example.com/voice-events", "events": ["call", "latency", "webhook"] },
        "mode": "agent", "redial": "never",
        "retry": { "max_attempts": 3, "on": ["no_answer", "busy"], "backoff": { "initial": "5m", "factor": 2.0, "max": "2h" } },
        "calling_window": { "from": "09:00", "to": "20:00", "days": ["mon", "tue", "wed", "thu", "fri"] }
    })
}

/// The example with the value at `pointer` replaced, added, or (by `None`) taken out.
fn with(pointer: &str, value: impl Into<Option<Value>>) -> Value {
    let mut event = example();
    if pointer.starts_with("/data/voice_config/") {
        event["data"]["voice_config"] = inline_config();
    }
    change(&mut event, pointer, value.into());
    event
}

fn change(event: &mut Value, pointer: &str, value: Option<Value>) {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(field.to_owned(), value),
        None => parent.remove(field),
    };
}

fn event_of(event_type: &str, data: Value) -> Value {
    json!({ "id": "e-1", "type": event_type, "data": data })
}

fn parsed(event: &Value) -> Result<Job, Rejection> {
    parse(event.to_string().as_bytes())
}

fn attribute(body: &[u8]) -> (RejectReason, String) {
    let rejection = parse(body).unwrap_err();
    (rejection.reason, rejection.detail_attribute())
}

fn sns(event: &Value) -> Value {
    json!({ "Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:us-east-1:1:t", "Message": event.to_string() })
}

#[test]
fn the_contracts_example_is_a_call() {
    let job = parsed(&example()).unwrap();
    assert_eq!((job.key.source.as_str(), job.key.id.as_str()), ("crm", "lead-42-welcome"));
    let JobKind::Call(call) = job.kind else { panic!("not a call") };
    assert_eq!(call.lead.phone_number.as_e164(), "+14155550123");
    assert!(matches!(call.voice_config, VoiceConfigRef::Name(name) if name == "appointment-reminder"));
    assert!(parsed(&with("/data/voice_config", inline_config())).is_ok());
}

#[test]
fn one_job_in_every_envelope() {
    let raw = parsed(&example()).unwrap();
    let bridge = |detail: Value| {
        json!({ "version": "0", "id": "lead-42-welcome", "source": "crm", "account": "1",
        "detail-type": "voice.call.requested", "detail": detail })
    };
    for enveloped in [sns(&example()), bridge(example()), bridge(example()["data"].clone())] {
        let job = parsed(&enveloped).unwrap();
        assert_eq!((job.key, job.content_hash), (raw.key.clone(), raw.content_hash));
    }
}

#[test]
fn pointers_lead_into_the_message_as_it_came() {
    let bad = with("/data/lead/phone_number", json!("4155550123"));
    let bridge = json!({ "id": "e-1", "source": "crm", "detail-type": "voice.call.requested", "detail": bad["data"] });
    for (message, pointer) in [
        (bad.clone(), "/data/lead/phone_number"),
        (sns(&bad), "/Message/data/lead/phone_number"),
        (json!({ "detail-type": "x", "detail": bad }), "/detail/data/lead/phone_number"),
        (bridge, "/detail/lead/phone_number"),
    ] {
        let rejection = parsed(&message).unwrap_err();
        assert_eq!((rejection.reason, rejection.field_path.as_str()), (RejectReason::Schema, pointer));
        assert_eq!(rejection.source.as_deref(), Some("crm"));
        assert!(rejection.event_id.is_some());
    }
}

#[test]
fn each_reason_has_its_words() {
    let too_large = vec![b' '; read::MAX_MESSAGE_BYTES + 1];
    let typo = with("/type", json!("voice.call.reqested")).to_string();
    let unknown_field = with("/data/lead/phone_nmber", json!("x")).to_string();
    for (body, reason, says) in [
        (&b"{\"id\": \"\xff\"}"[..], RejectReason::NotUtf8, ": byte 8 is not valid UTF-8, expected a message in UTF-8"),
        (b"hello", RejectReason::NotJson, ": expected value at line 1 column 1, expected a JSON object"),
        (
            unknown_field.as_bytes(),
            RejectReason::Schema,
            "/data/lead/phone_nmber: unknown field (did you mean \"phone_number\"?), expected one of id, name, phone_number, timezone",
        ),
        (
            typo.as_bytes(),
            RejectReason::UnknownType,
            "/type: \"voice.call.reqested\" is not a known type (did you mean \"voice.call.requested\"?), expected one of \
             voice.call.requested, voice.call.cancel_requested, voice.audio.transcribe_requested, voice.speech.synthesize_requested",
        ),
        (&too_large, RejectReason::TooLarge, ": the message has 1048577 bytes, expected at most 1048576"),
    ] {
        assert_eq!(attribute(body), (reason, says.to_owned()));
    }
}

#[test]
fn a_reused_key_is_told_by_its_place() {
    let job = parsed(&sns(&example())).unwrap();
    let rejection = Rejection::key_reused(job.key.clone(), job.pointer("id"));
    assert_eq!(rejection.reason.as_str(), "key_reused");
    assert_eq!(
        rejection.detail_attribute(),
        "/Message/id: source \"crm\" and id \"lead-42-welcome\" came before with another type or data, expected a new id for a new job"
    );
}

#[test]
fn a_misspelt_option_names_the_one_that_was_meant() {
    for (event, says) in [
        (
            with("/data/contnt", json!("x")),
            "/data/contnt: unknown field (did you mean \"content\"?), expected one of content, ",
        ),
        (
            with("/data/voice_config/max_durration", json!(5)),
            "/data/voice_config/max_durration: unknown field (did you mean \"max_duration\"?), expected one of calling_window, ",
        ),
        (
            {
                let mut event = with("/data/lead/phone_number", None);
                change(&mut event, "/data/lead/phone_nmber", Some(json!("+14155550123")));
                event
            },
            "/data/lead/phone_nmber: unknown field (did you mean \"phone_number\"?), expected one of id, name, phone_number, timezone \
             (and 1 more problem)",
        ),
    ] {
        let text = parsed(&event).unwrap_err().detail_attribute();
        assert!(text.starts_with(says), "{text}");
    }
    let mut event = with("/data", None);
    change(&mut event, "/dta", Some(example()["data"].clone()));
    assert_eq!(
        attribute(event.to_string().as_bytes()).1,
        "/data: is missing (\"dta\" is there: misspelt?), expected an object"
    );
}

/// What is accepted and what is not, and whether the JSON Schema can tell.
fn table() -> Vec<(Value, Option<&'static str>, bool)> {
    let good = |event: Value| (event, None, true);
    let bad = |event: Value, says| (event, Some(says), true);
    // Beyond what the schema says.
    let worse = |event: Value, says| (event, Some(says), false);
    let cancel = |data: Value| event_of("voice.call.cancel_requested", data);
    let transcribe = |data: Value| event_of("voice.audio.transcribe_requested", data);
    let synthesize = |data: Value| event_of("voice.speech.synthesize_requested", data);
    let id = "0190a5f0-0000-7000-8000-000000000000";
    vec![
        good(example()),
        good(with("/data/voice_config", inline_config())),
        good(with("/source", None)),
        good(with("/specversion", None)),
        good(with("/someextension", json!("x"))),
        good(with("/data/content", None)),
        good(with("/data/message_type", None)),
        good(with("/data/user", None)),
        good(with("/data/lead/timezone", None)),
        good(with("/data/metadata", json!({ "a": [1, { "b": null }] }))),
        good(with("/data/expires_at", None)),
        good(cancel(json!({ "call_id": id }))),
        good(cancel(json!({ "source": "crm", "id": "lead-42-welcome", "reason": "came in" }))),
        good(cancel(json!({ "id": "lead-42-welcome" }))),
        good(transcribe(json!({ "audio": "AAAA", "format": "mulaw" }))),
        good(transcribe(
            json!({ "audio_url": "https://example.com/a.wav", "language": "en-US", "phrases": [{ "text": "voxd" }] }),
        )),
        good(transcribe(json!({ "audio_url": "s3://bucket/a/b.wav", "channel": "left", "words": false }))),
        good(synthesize(json!({ "text": "Hello", "voice": "alloy", "format": "opus", "sample_rate": 24000 }))),
        good(synthesize(json!({ "ssml": "<speak>Hello</speak>", "output_url": "s3://bucket/hello.wav" }))),
        bad(with("/id", None), "/id: is missing, expected text that names the event for ever"),
        bad(with("/id", json!("")), "/id: is empty, expected text of 1 to 256 characters"),
        bad(with("/id", json!(7)), "/id: is not text, expected text of 1 to 256 characters"),
        bad(with("/id", json!("x".repeat(257))), "/id: has 257 characters, expected text of 1 to 256 characters"),
        bad(with("/source", json!("")), "/source: is empty, expected text of 1 to 256 characters"),
        bad(with("/type", None), "/type: is missing, expected one of voice.call.requested"),
        bad(with("/type", json!("voice.call")), "/type: \"voice.call\" is not a known type"),
        bad(with("/specversion", json!("0.3")), "/specversion: is \"0.3\", expected \"1.0\""),
        bad(with("/data", None), "/data: is missing, expected an object"),
        bad(with("/data", json!("{}")), "/data: is not an object, expected an object"),
        bad(with("/data_base64", json!("e30=")), "/data_base64: is binary data, expected the object in data"),
        bad(with("/data/lead", None), "/data/lead: is missing"),
        bad(with("/data/lead/phone_number", None), "/data/lead/phone_number: is missing"),
        bad(with("/data/lead/phone_number", json!("415")), "/data/lead/phone_number: \"•••\" must begin with +"),
        worse(with("/data/lead/phone_number", json!("+1415555")), "/data/lead/phone_number: "),
        bad(with("/data/lead/phone_number", json!(14155550123u64)), "/data/lead/phone_number: invalid type: integer"),
        worse(
            with("/data/lead/timezone", json!("America/Los_Angles")),
            "/data/lead/timezone: \"America/Los_Angles\" is not an IANA time zone (did you mean \"America/Los_Angeles\"?), expected",
        ),
        bad(with("/data/lead/id", json!("")), "/data/lead/id: is empty"),
        bad(with("/data/content", json!("")), "/data/content: is empty"),
        bad(with("/data/content", json!("x".repeat(50_001))), "/data/content: has 50001 characters"),
        bad(with("/data/message_type", json!("x".repeat(65))), "/data/message_type: has 65 characters"),
        bad(with("/data/user", json!({})), "/data/user/id: is missing"),
        bad(with("/data/metadata", json!([])), "/data/metadata: invalid type: sequence, expected a map"),
        worse(
            with("/data/metadata", json!({ "a": "x".repeat(16 * 1024) })),
            "/data/metadata: has 16392 bytes, expected at most 16384",
        ),
        bad(with("/data/not_before", json!("tomorrow")), "/data/not_before: "),
        worse(
            with("/data/expires_at", json!("2026-11-21T17:00:00Z")),
            "/data/expires_at: is not after not_before, expected a later time",
        ),
        worse(
            with("/data/not_before", json!("0001-01-01T00:00:00Z")),
            "/data/not_before: is in the year 1, expected 1970 to 9999",
        ),
        bad(with("/data/voice_config", None), "/data/voice_config: is missing"),
        bad(with("/data/voice_config", json!("")), "/data/voice_config: is empty"),
        bad(
            with("/data/voice_config", json!(5)),
            "/data/voice_config: invalid type: integer `5`, expected the name of a stored",
        ),
        bad(with("/data/voice_config/platform", None), "/data/voice_config/platform: is missing"),
        bad(
            with("/data/voice_config/max_duration", json!("5")),
            "/data/voice_config/max_duration: invalid type: string",
        ),
        bad(
            with("/data/voice_config/max_duration", json!(-1)),
            "/data/voice_config/max_duration: invalid value: integer `-1`",
        ),
        bad(
            with("/data/voice_config/max_duration", json!(721)),
            "/data/voice_config/max_duration: 721 is out of range",
        ),
        bad(
            with("/data/voice_config/max_duration", json!(2.5)),
            "/data/voice_config/max_duration: invalid type: floating point",
        ),
        bad(
            with("/data/voice_config/mode", json!("robot")),
            "/data/voice_config/mode: unknown variant `robot`, expected `agent` or `live`",
        ),
        bad(
            with("/data/voice_config/retry/max_attempts", json!(0)),
            "/data/voice_config/retry/max_attempts: 0 is out of range",
        ),
        bad(with("/data/voice_config/retry/on", json!(["never"])), "/data/voice_config/retry/on/0: unknown variant"),
        worse(
            with("/data/voice_config/retry/backoff/initial", json!("1000000y")),
            "/data/voice_config/retry/backoff/initial: ",
        ),
        worse(
            with("/data/voice_config/retry/backoff/initial", json!("soon")),
            "/data/voice_config/retry/backoff/initial: \"soon\"",
        ),
        worse(
            with("/data/voice_config/calling_window/from", json!("9am")),
            "/data/voice_config/calling_window/from: \"9am\"",
        ),
        worse(
            with("/data/voice_config/calling_window/to", json!("08:00")),
            "/data/voice_config/calling_window/to: must be later",
        ),
        worse(
            with("/data/voice_config/webhook_config/url", json!("ftp://example.com/")),
            "/data/voice_config/webhook_config/url: has the scheme \"ftp\", expected https",
        ),
        worse(
            with("/data/voice_config/fallback_platforms", json!(["vapi", "bland_ai"])),
            "/data/voice_config/fallback_platforms/1: \"bland_ai\" is named twice",
        ),
        worse(
            with("/data/content", json!("a\u{0}b")),
            "/data/content: holds a NUL character (\\u0000), which cannot be stored",
        ),
        bad(cancel(json!({})), "/data/id: is missing, expected call_id, or the id (and source) of the job"),
        bad(cancel(json!({ "source": "crm" })), "/data/id: is missing"),
        bad(cancel(json!({ "call_id": "7" })), "/data/call_id: "),
        bad(cancel(json!({ "call_id": id, "id": "x" })), "/data/call_id: stands beside source or id"),
        bad(cancel(json!({ "call": id })), "/data/call: unknown field (did you mean \"call_id\"?)"),
        bad(event_of("voice.audio.transcribe_requested", json!([])), "/data: is not an object"),
        bad(transcribe(json!({})), "/data/audio: is missing, expected audio (base64) or audio_url"),
        bad(transcribe(json!({ "audio": "AAAA", "audio_url": "s3://b/k" })), "/data/audio_url: stands beside audio"),
        bad(transcribe(json!({ "audio": "AAAA", "format": "mp3" })), "/data/format: unknown variant `mp3`"),
        bad(transcribe(json!({ "audio": "AAAA", "lang": "en" })), "/data/lang: unknown field"),
        worse(transcribe(json!({ "audio": "AAA*" })), "/data/audio: is not base64"),
        worse(transcribe(json!({ "audio_url": "ftp://example.com/a.wav" })), "/data/audio_url: is no address"),
        worse(transcribe(json!({ "audio_url": "s3://bucket" })), "/data/audio_url: is no address"),
        worse(transcribe(json!({ "audio": "AAAA", "format": "pcm16", "sample_rate": 1 })), "/data/sample_rate: is 1"),
        worse(
            transcribe(json!({ "audio": "AAAA", "phrases": [{ "text": "x", "boost": 21 }] })),
            "/data/phrases/0/boost: is 21",
        ),
        bad(synthesize(json!({})), "/data/text: is missing, expected text or ssml"),
        bad(synthesize(json!({ "text": "x", "ssml": "y" })), "/data/ssml: stands beside text"),
        worse(synthesize(json!({ "text": "x", "speaking_rate": 3 })), "/data/speaking_rate: is 3"),
        worse(synthesize(json!({ "text": "x", "output_url": "https://example.com/" })), "/data/output_url: is not"),
        worse(
            synthesize(json!({ "text": "x", "format": "opus", "sample_rate": 44100 })),
            "/data/sample_rate: is 44100",
        ),
    ]
}

#[test]
fn the_parser_says_what_is_wrong_and_where() {
    for (event, says, _) in table() {
        match (parsed(&event), says) {
            (Ok(_), None) => {}
            (Err(rejection), Some(says)) => {
                let text = rejection.detail_attribute();
                assert!(text.starts_with(says), "expected {says:?}\n    in {text:?}");
            }
            (found, says) => panic!("{event}: {found:?} where {says:?} was expected"),
        }
    }
}

#[test]
fn the_schema_agrees_with_the_parser() {
    let schema = crate::job::schema();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    for (event, says, schema_can_tell) in table() {
        let valid = validator.is_valid(&event);
        assert_eq!(valid, says.is_none() || !schema_can_tell, "{event}");
    }
}

#[test]
fn data_alone_is_judged_with_pointers_of_its_own() {
    let key = JobKey { source: "api".into(), id: "k".into() };
    let job = call_from_data(key.clone(), example()["data"].clone()).unwrap();
    assert_eq!(job.content_hash, parsed(&example()).unwrap().content_hash);
    let mut data = example()["data"].clone();
    data["lead"]["timezone"] = json!("Nowhere");
    data["content"] = json!("");
    let problems = call_from_data(key.clone(), data).unwrap_err();
    let pointers: Vec<_> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
    assert_eq!(pointers, ["/content", "/lead/timezone"]);
    let nul = call_from_data(key, json!({ "metadata": { "a": ["\u{0}"] } })).unwrap_err();
    assert_eq!(nul[0].pointer, "/metadata/a/0");
}

#[test]
fn the_producers_trace_is_taken_where_it_can_be_read() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(parsed(&with("/traceparent", json!(trace))).unwrap().traceparent.as_deref(), Some(trace));
    for odd in ["", "x", "00-0-0-0", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
        assert_eq!(parsed(&with("/traceparent", json!(odd))).unwrap().traceparent, None);
    }
}

#[test]
fn a_rejection_never_carries_what_cannot_be_stored_or_sent() {
    let long = "k".repeat(5000);
    let event = with(&format!("/data/{long}"), json!(1));
    let rejection = parsed(&event).unwrap_err();
    assert!(rejection.field_path.chars().count() <= 257 && rejection.detail.chars().count() <= 601);
    let rejection = parsed(&with("/data/a\u{0}b", json!(1))).unwrap_err();
    assert_eq!(rejection.field_path, "/data/a\u{fffd}b");
    assert_eq!(rejection.event_id.as_deref(), Some("lead-42-welcome"));
    let rejection = parse(br#"{"id":"a\u0000","source":"crm","type":"t","data":{}}"#).unwrap_err();
    assert_eq!((rejection.event_id, rejection.source.as_deref()), (None, Some("crm")));
}

proptest! {
    #[test]
    fn no_bytes_at_all_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&body);
    }

    #[test]
    fn no_damaged_event_makes_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), inline in any::<bool>()) {
        let event = if inline { with("/data/voice_config", inline_config()) } else { example() };
        let mut body = event.to_string().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        if let Err(rejection) = parse(&body) {
            prop_assert!(!rejection.detail.is_empty());
        }
    }
}
