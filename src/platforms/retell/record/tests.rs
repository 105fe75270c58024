use super::*;

fn polled(call: Value) -> CallUpdate {
    read(&call, Ended::ByStatus, OnUnknown::AskAgain)
}

fn whole_call() -> Value {
    json!({
        "call_id": "call_0001", "call_status": "ended", "direction": "outbound",
        "start_timestamp": 1_788_084_009_000i64, "end_timestamp": 1_788_084_074_400i64, "duration_ms": 65_400,
        "disconnection_reason": "user_hangup", "transcript": "Agent: Hello\nUser: Hi\nthere\n",
        "transcript_object": [
            { "role": "agent", "content": "Hello", "words": [{ "word": "Hello", "start": 0.5, "end": 0.9 }] },
            { "role": "user", "content": "Hi there" }, { "role": "transfer_target", "content": "Yes?" },
        ],
        "recording_url": "https://recordings.example/1.wav",
        "call_cost": { "combined_cost": 14.2, "total_duration_seconds": 65 },
        "call_analysis": { "call_summary": "Short.", "call_successful": false, "user_sentiment": "Neutral" },
        "metadata": { "voxd_attempt_id": "3f0c2a0e-0000-4000-8000-000000000001" },
    })
}

#[test]
fn a_whole_call_is_read() {
    let update = polled(whole_call());
    assert_eq!(update.attempt_id, Uuid::try_parse("3f0c2a0e-0000-4000-8000-000000000001").ok());
    assert_eq!(update.platform_call_id.as_deref(), Some("call_0001"));
    assert_eq!((update.state, update.reason.as_deref()), (Some(AttemptState::Completed), Some("customer_hangup")));
    assert_eq!(update.raw_status.as_deref(), Some("call_status=ended disconnection_reason=user_hangup"));
    let facts = update.facts;
    assert_eq!((facts.duration_seconds, facts.ended_by.as_deref()), (Some(65), Some("user")));
    assert_eq!(facts.cost, Some(Money::usd("0.142".parse().unwrap())));
    assert_eq!(
        facts.transcript,
        Some(json!([
            { "speaker": "assistant", "text": "Hello", "at": "2026-08-30T10:00:09.500Z" },
            { "speaker": "user", "text": "Hi there" }, { "speaker": "transfer_target", "text": "Yes?" },
        ]))
    );
    assert_eq!(facts.ended_at, update.occurred_at);
    assert_eq!(facts.disposition.as_deref(), Some("unsuccessful"));
    assert_eq!((facts.answered_by, facts.error_message), (None, None));
}

#[test]
fn costs_are_cents_and_never_floats() {
    let cost = |combined: Value| {
        polled(json!({ "call_status": "ended", "disconnection_reason": "inactivity", "call_cost": { "combined_cost": combined } }))
            .facts
            .cost
            .map(|cost| cost.to_string())
    };
    for (combined, expected) in [
        (json!(70), Some("0.7 USD")),
        (json!(0), Some("0 USD")),
        (json!(0.1), Some("0.001 USD")),
        (json!(7.6000000000000005), Some("0.076 USD")),
        (json!(1e-3), Some("0.00001 USD")),
        (json!("14.2"), Some("0.142 USD")),
        (json!(-1), None),
        (json!(1e12), None),
        (json!("NaN"), None),
        (json!([]), None),
    ] {
        assert_eq!(cost(combined.clone()).as_deref(), expected, "{combined}");
    }
}

#[test]
fn live_states_are_told_by_the_status_alone() {
    let state = |status: &str| polled(json!({ "call_status": status, "disconnection_reason": "user_hangup" })).state;
    assert_eq!(state("registered"), Some(AttemptState::Placed));
    assert_eq!(state("ongoing"), Some(AttemptState::InProgress));
    assert_eq!(state("on-hold"), None);
    assert_eq!(polled(json!({})).state, None);
}

#[test]
fn an_end_without_a_reason_counts_when_it_is_said_twice() {
    let call = json!({ "call_status": "ended" });
    assert_eq!(polled(call.clone()).state, None);
    let again = read(&call, Ended::ByStatus, OnUnknown::Failed);
    assert_eq!((again.state, again.reason.as_deref()), (Some(AttemptState::Failed), Some("unknown")));
}

#[test]
fn unknown_reasons_fail_and_keep_their_word() {
    let update = polled(json!({ "call_status": "ended", "disconnection_reason": "abducted" }));
    assert_eq!((update.state, update.reason.as_deref()), (Some(AttemptState::Failed), Some("unknown")));
    assert_eq!(update.raw_status.as_deref(), Some("call_status=ended disconnection_reason=abducted"));
    assert_eq!(update.facts.error_message.as_deref(), Some("abducted"));
}

#[test]
fn a_voicemail_found_by_the_analysis_is_one() {
    let call = json!({
        "call_status": "ended", "disconnection_reason": "agent_hangup", "call_analysis": { "in_voicemail": true },
    });
    let update = polled(call);
    assert_eq!(update.state, Some(AttemptState::Voicemail));
    assert_eq!(update.facts.answered_by.as_deref(), Some("voicemail"));
}

#[test]
fn a_transcript_that_is_text_only_is_taken_apart() {
    let mut call = whole_call();
    call["transcript_object"] = json!([]);
    assert_eq!(
        polled(call).facts.transcript,
        Some(json!([{ "speaker": "assistant", "text": "Hello" }, { "speaker": "user", "text": "Hi\nthere" }]))
    );
}

#[test]
fn hostile_members_are_absent_ones() {
    let call = json!({
        "call_id": "a/b", "call_status": "ended", "disconnection_reason": "agent_hangup", "start_timestamp": i64::MAX,
        "end_timestamp": -5, "duration_ms": 1e300, "call_cost": 7, "transcript_object": { "a": 1 }, "transcript": 9,
        "recording_url": "javascript:x", "call_analysis": [1], "metadata": "x",
    });
    let update = polled(call);
    assert_eq!((update.platform_call_id, update.attempt_id), (None, None));
    assert_eq!(update.facts, Facts { ended_by: Some("assistant".into()), ..Facts::default() });
    for odd in [json!(null), json!([]), json!("text"), json!({ "call_analysis": { "in_voicemail": "yes" } })] {
        polled(odd);
    }
}
