use super::*;

fn update(call: Value) -> CallUpdate {
    read(&call, OnUnknown::AskAgain)
}

const ATTEMPT: &str = "00000000-0000-0000-0000-000000000002";

#[test]
fn our_id_is_found_in_each_of_its_copies_the_metadata_first() {
    let ours = Some(Uuid::from_u128(2));
    let other = Uuid::from_u128(9).to_string();
    for call in [
        json!({ "assistantOverrides": { "metadata": { "voxd_attempt_id": ATTEMPT } }, "name": other }),
        json!({ "squadOverrides": { "metadata": { "voxd_attempt_id": ATTEMPT } } }),
        json!({ "assistantOverrides": { "metadata": {} }, "customer": { "externalId": ATTEMPT } }),
        json!({ "customer": { "externalId": 7 }, "name": ATTEMPT }),
    ] {
        assert_eq!(attempt_id(&call), ours, "{call}");
        assert!(shows_owner(&call));
    }
    assert!(!shows_owner(&json!({ "customer": { "number": "+14155550123" }, "name": null })));
    assert_eq!(attempt_id(&json!({ "name": "Ada's call" })), None);
}

#[test]
fn an_end_without_a_reason_counts_only_when_it_is_said_twice() {
    let call = json!({ "id": "c-1", "status": "ended" });
    assert_eq!(read(&call, OnUnknown::AskAgain).state, None);
    let failed = read(&call, OnUnknown::Failed);
    assert_eq!((failed.state, failed.reason.as_deref()), (Some(AttemptState::Failed), Some("unknown")));
}

#[test]
fn an_unknown_reason_is_kept_as_it_came() {
    let update = update(json!({ "id": "c-1", "status": "ended", "endedReason": "abducted-by-aliens" }));
    assert_eq!((update.state, update.reason.as_deref()), (Some(AttemptState::Failed), Some("unknown")));
    assert_eq!(update.raw_status.as_deref(), Some("status=ended endedReason=abducted-by-aliens"));
}

#[test]
fn a_call_that_found_no_line_is_to_be_sent_again() {
    let reason = "call.start.error-subscription-concurrency-limit-reached";
    let update = update(json!({ "id": "c-1", "status": "ended", "endedReason": reason }));
    assert_eq!((update.state, update.reason.as_deref()), (Some(AttemptState::Failed), Some("provider_capacity")));
    assert!(update.resend_after.is_some());
}

#[test]
fn the_cost_is_final_with_its_breakdown_only() {
    let cost = |call: Value| cost(&call).map(|cost| cost.amount.to_string());
    assert_eq!(cost(json!({ "cost": 0 })), None);
    assert_eq!(cost(json!({ "cost": 0, "costBreakdown": { "total": 0 } })).as_deref(), Some("0"));
    assert_eq!(cost(json!({ "cost": 0.1 })).as_deref(), Some("0.1"));
    assert_eq!(cost(json!({ "cost": "1e-3" })).as_deref(), Some("0.001"));
    for hostile in [json!(-1), json!(1e300), json!("NaN"), json!([]), Value::Null] {
        assert_eq!(cost(json!({ "cost": hostile, "costs": [] })), None, "{hostile}");
    }
    let live = update(json!({ "id": "c-1", "status": "in-progress", "cost": 0.4, "costs": [] }));
    assert_eq!(live.facts.cost, None);
}

#[test]
fn the_duration_is_the_difference_of_two_times() {
    let seconds = |start: &str, end: &str| {
        update(json!({ "id": "c", "status": "ended", "endedReason": "voicemail", "startedAt": start, "endedAt": end }))
            .facts
            .duration_seconds
    };
    assert_eq!(seconds("2026-08-30T10:00:09.000Z", "2026-08-30T10:01:14.600Z"), Some(66));
    assert_eq!(seconds("2026-08-30T10:00:09Z", "2026-08-30T10:00:08Z"), None);
    assert_eq!(seconds("2026-08-30T10:00:09Z", "9999-12-31T23:59:59Z"), None);
    assert_eq!(seconds("yesterday", "2026-08-30T10:00:08Z"), None);
}

#[test]
fn the_transcript_is_what_was_said_and_not_the_prompt() {
    let call = json!({ "id": "c", "status": "ended", "endedReason": "customer-ended-call", "artifact": { "messages": [
        { "role": "system", "message": "You are a secret agent." },
        { "role": "bot", "message": "Hello.", "time": 1_788_084_010_000_u64 },
        { "role": "user", "message": "Hi.", "time": "late" },
        { "role": "tool_calls", "message": "x" }, { "role": "user", "message": "" }, 7, null,
    ] } });
    let said = json!([
        { "speaker": "assistant", "text": "Hello.", "at": "2026-08-30T09:20:10Z" }, { "speaker": "user", "text": "Hi." },
    ]);
    let transcript = update(call).facts.transcript.unwrap();
    assert_eq!(
        (transcript[0]["speaker"].clone(), transcript[1].clone()),
        (said[0]["speaker"].clone(), said[1].clone())
    );
    assert!(transcript[0]["at"].is_string() && transcript.as_array().unwrap().len() == 2);
    let text = turns(&json!({ "transcript": "(music)\nAI: One\ntwo\nUser: Three" })).unwrap();
    assert_eq!(
        text,
        json!([
            { "speaker": "unknown", "text": "(music)" }, { "speaker": "assistant", "text": "One\ntwo" },
            { "speaker": "user", "text": "Three" },
        ])
    );
}

#[test]
fn only_a_call_no_carrier_has_heard_of_is_undialled() {
    assert!(is_undialled(&json!({ "status": "queued" })));
    assert!(!is_undialled(&json!({ "status": "queued", "phoneCallProviderId": "CA1" })));
    assert!(!is_undialled(&json!({ "status": "queued", "startedAt": "2026-08-30T10:00:09Z" })));
    assert!(!is_undialled(&json!({ "status": "ringing" })) && !is_undialled(&json!({})));
}

proptest::proptest! {
    #[test]
    fn no_value_of_any_member_is_too_strange(member in "status|endedReason|cost|costs|artifact|analysis|startedAt|customer|name|assistantOverrides", text in ".{0,40}", number in proptest::num::f64::ANY) {
        for value in [json!(text), json!(number), json!([text]), json!({ &text: number }), Value::Null, json!({ "messages": [text], "metadata": text, "transcript": text })] {
            let mut call = json!({ "id": "c-1", "status": "ended" });
            call[&member] = value;
            read(&call, OnUnknown::Failed);
        }
    }
}
