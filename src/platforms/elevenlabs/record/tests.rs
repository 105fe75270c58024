use super::*;

fn base() -> Url {
    "https://api.elevenlabs.io".parse().unwrap()
}

fn done() -> Value {
    json!({
        "agent_id": "agent_0001", "conversation_id": "conv_0001", "status": "done", "user_id": "00000000-0000-0000-0000-000000000001",
        "has_audio": true,
        "transcript": [
            { "role": "agent", "message": "Hello", "time_in_call_secs": 0, "tool_calls": [], "tool_results": [] },
            { "role": "agent", "message": null, "tool_calls": [{ "tool_name": "end_call" }] },
            { "role": "user", "message": "Yes, thank you.", "time_in_call_secs": 3 },
        ],
        "metadata": {
            "start_time_unix_secs": 1788084009, "accepted_time_unix_secs": 1788084012, "call_duration_secs": 65, "cost": 540,
            "cost_fiat": 0.11, "termination_reason": "Call ended by remote party", "error": null,
            "phone_call": { "type": "twilio", "external_number": "+15550100002", "call_sid": "CA01" },
        },
        "analysis": { "call_successful": "success", "transcript_summary": "Confirmed." },
        "conversation_initiation_client_data": { "dynamic_variables": { "voxd_attempt_id": "00000000-0000-0000-0000-000000000001" } },
    })
}

fn with(pointer: &str, value: Value) -> Value {
    let mut record = done();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    record.pointer_mut(parent).unwrap()[key] = value;
    record
}

fn state_of(record: &Value) -> Option<AttemptState> {
    read(record, &base()).state
}

#[test]
fn an_ended_conversation_is_read_whole() {
    let update = read(&done(), &base());
    assert_eq!(update.attempt_id, Some(Uuid::from_u128(1)));
    assert_eq!(update.platform_call_id.as_deref(), Some("conv_0001"));
    assert_eq!((update.state, update.reason), (Some(AttemptState::Completed), None));
    assert_eq!(update.raw_status.as_deref(), Some("done: Call ended by remote party"));
    let facts = update.facts;
    assert_eq!(facts.duration_seconds, Some(65));
    assert_eq!(facts.cost, Some(Money::usd("0.11".parse().unwrap())));
    assert_eq!(facts.ended_by.as_deref(), Some("user"));
    assert_eq!(facts.answered_by, None, "nobody says whether it was a person");
    assert_eq!(facts.started_at.unwrap().timestamp(), 1788084012);
    assert_eq!(facts.ended_at.unwrap().timestamp(), 1788084012 + 65);
    assert_eq!(update.occurred_at, facts.ended_at);
    assert_eq!(
        facts.recording_url.as_deref(),
        Some("https://api.elevenlabs.io/v1/convai/conversations/conv_0001/audio")
    );
    assert_eq!((facts.summary.as_deref(), facts.disposition.as_deref()), (Some("Confirmed."), Some("success")));
    assert_eq!(
        facts.transcript.unwrap(),
        json!([
            { "speaker": "assistant", "text": "Hello", "at": "2026-08-30T10:00:09Z" },
            { "speaker": "user", "text": "Yes, thank you.", "at": "2026-08-30T10:00:12Z" },
        ])
    );
    assert_eq!(call_sid(&done()), Some("CA01"));
}

#[test]
fn cost_is_credits_where_no_money_is_told_and_the_two_never_mix() {
    let cost = |record: &Value| read(record, &base()).facts.cost;
    let credits = |amount: i64| Some(Money { amount: amount.into(), currency: "CREDITS".into() });
    assert_eq!(cost(&with("/metadata/cost_fiat", Value::Null)), credits(540));
    assert_eq!(
        cost(&with("/metadata/cost_fiat", json!("0.11"))),
        credits(540),
        "money as a text is not what is documented"
    );
    assert_eq!(cost(&with("/metadata/cost_fiat", json!(-1))), credits(540));
    assert_eq!(cost(&with("/metadata/cost_fiat", json!(1e-7))), Some(Money::usd(Decimal::ZERO)));
    assert_eq!(
        cost(&with("/metadata/cost_fiat", json!(0.30000000000000004))),
        Some(Money::usd("0.3".parse().unwrap()))
    );
    let mut neither = with("/metadata/cost_fiat", Value::Null);
    neither["metadata"]["cost"] = json!("540");
    assert_eq!(cost(&neither), None);
    assert!(crate::config::is_currency(CREDITS), "the ledger takes this unit");
}

#[test]
fn what_is_not_over_has_no_end() {
    for (status, state) in [
        ("initiated", Some(AttemptState::Placed)),
        ("in-progress", Some(AttemptState::InProgress)),
        ("processing", Some(AttemptState::InProgress)),
        ("a new word", None),
    ] {
        let update = read(&with("/status", json!(status)), &base());
        assert_eq!(update.state, state, "{status}");
        assert_eq!(
            (update.facts.cost, update.facts.ended_at, update.facts.duration_seconds),
            (None, None, None),
            "{status}"
        );
        assert!(update.raw_status.unwrap().starts_with(status));
    }
}

#[test]
fn voicemail_shows_as_a_call_of_the_agents_tool() {
    let record =
        with("/transcript", json!([{ "role": "agent", "tool_calls": [{ "tool_name": "voicemail_detection" }] }]));
    let update = read(&record, &base());
    assert_eq!((update.state, update.facts.answered_by.as_deref()), (Some(AttemptState::Voicemail), Some("voicemail")));
    let only_said =
        with("/transcript", json!([{ "role": "agent", "message": "voicemail_detection", "tool_calls": [{}] }]));
    assert_eq!(state_of(&only_said), Some(AttemptState::Completed));
}

#[test]
fn failures_are_told_apart_by_their_prose() {
    for (reason, error, state) in [
        ("Line busy", Value::Null, AttemptState::Busy),
        ("", json!({ "code": 1, "reason": "no-answer" }), AttemptState::NoAnswer),
        ("Call was not answered", Value::Null, AttemptState::NoAnswer),
        ("canceled", Value::Null, AttemptState::Cancelled),
        ("", json!({ "code": 1, "reason": "LLM error" }), AttemptState::Failed),
    ] {
        let record = json!({ "conversation_id": "c", "status": "failed", "metadata": { "termination_reason": reason, "error": error } });
        assert_eq!(state_of(&record), Some(state), "{reason} {error}");
    }
    // Somebody did answer: the words are about something else.
    let mut answered = with("/status", json!("failed"));
    answered["metadata"]["termination_reason"] = json!("model is busy");
    let update = read(&answered, &base());
    assert_eq!((update.state, update.reason.as_deref()), (Some(AttemptState::Failed), Some("provider_error")));
}

#[test]
fn the_lines_result_wins_where_it_is_told() {
    for (status, result, state) in [
        ("done", "answered", AttemptState::Completed),
        ("done", "voicemail", AttemptState::Voicemail),
        ("failed", "busy", AttemptState::Busy),
        ("failed", "no_answer", AttemptState::NoAnswer),
        ("failed", "failed", AttemptState::Failed),
        ("failed", "answered", AttemptState::Failed),
        ("done", "a new word", AttemptState::Completed),
        ("in-progress", "answered", AttemptState::InProgress),
    ] {
        let mut record = with("/status", json!(status));
        record["metadata"]["phone_call"]["call_result"] = json!(result);
        assert_eq!(state_of(&record), Some(state), "{status} {result}");
    }
}

#[test]
fn the_attempt_is_found_in_each_place() {
    let mut record = with("/user_id", Value::Null);
    assert_eq!(attempt_id(&record), Some(Uuid::from_u128(1)), "by the dynamic variable");
    record["conversation_initiation_client_data"] = json!({ "user_id": Uuid::from_u128(7) });
    assert_eq!(attempt_id(&record), Some(Uuid::from_u128(7)));
    assert_eq!(attempt_id(&json!({ "user_id": "somebody else's" })), None);
    assert!(names_a_user(&json!({ "user_id": "somebody else's" })) && !names_a_user(&json!({ "user_id": null })));
}

#[test]
fn wrong_types_are_absent_values() {
    for junk in [json!(null), json!(7), json!("x"), json!([]), json!({}), json!([[[]]]), json!(1e300), json!(-1)] {
        for pointer in [
            "/status",
            "/user_id",
            "/transcript",
            "/metadata",
            "/analysis",
            "/conversation_initiation_client_data",
            "/has_audio",
            "/conversation_id",
            "/metadata/cost",
            "/metadata/cost_fiat",
            "/metadata/error",
            "/metadata/phone_call",
            "/metadata/start_time_unix_secs",
            "/metadata/accepted_time_unix_secs",
            "/metadata/call_duration_secs",
            "/metadata/termination_reason",
            "/transcript/0",
            "/transcript/0/role",
            "/transcript/0/tool_calls",
        ] {
            let mut record = done();
            *record.pointer_mut(pointer).unwrap() = junk.clone();
            let update = read(&record, &base());
            assert!(update.facts.duration_seconds.is_none_or(|seconds| seconds >= 0), "{pointer} {junk}");
        }
    }
}
