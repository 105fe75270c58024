use super::*;
use proptest::prelude::*;

fn update(record: Value) -> CallUpdate {
    read(&record, OnUnknown::AskAgain)
}

fn state_of(record: Value) -> (Option<AttemptState>, Option<String>) {
    let update = update(record);
    (update.state, update.reason)
}

fn sample() -> Value {
    json!({
        "call_id": "3f0c2a0e-0000-4000-8000-000000000001", "c_id": "3f0c2a0e-0000-4000-8000-000000000001",
        "status": "completed", "completed": true, "queue_status": "complete", "answered_by": "human",
        "to": "+15550100002", "from": "+15550100001", "inbound": false, "batch_id": null,
        "created_at": "2026-08-30T10:00:00.000+00:00", "started_at": "2026-08-30T10:00:07.000Z",
        "end_at": "2026-08-30T10:10:07.000Z", "call_length": 1.083, "corrected_duration": "65", "max_duration": 10,
        "price": 0.13, "error_message": null, "call_ended_by": "USER", "disposition_tag": "COMPLETED_ACTION",
        "record": true, "recording_url": "https://api.bland.ai/v1/recordings/3f0c2a0e-0000-4000-8000-000000000001",
        "metadata": { "voxd_attempt_id": "00000000-0000-0000-0000-000000000002", "tenant_id": "t_7" }, "variables": {},
        "summary": "Appointment confirmed.", "concatenated_transcript": "assistant: Hello \n user: Yes \n ",
        "transcripts": [
            { "id": 1, "user": "robot", "text": "Hello", "created_at": "2026-08-30T10:00:08.000+00:00" },
            { "id": 2, "user": "user", "text": "Yes\u{0}" },
            { "id": 3, "user": 7, "text": "?" },
        ],
        "isRetry": false
    })
}

#[test]
fn a_whole_record_is_read() {
    let update = update(sample());
    assert_eq!(update.attempt_id, Some(Uuid::from_u128(2)));
    assert_eq!(update.platform_call_id.as_deref(), Some("3f0c2a0e-0000-4000-8000-000000000001"));
    assert_eq!((update.state, update.reason), (Some(AttemptState::Completed), None));
    assert_eq!(update.raw_status.as_deref(), Some("status=completed queue_status=complete answered_by=human"));
    let facts = update.facts;
    assert_eq!(facts.duration_seconds, Some(65));
    assert_eq!(facts.cost, Some(Money::usd("0.13".parse().unwrap())));
    assert_eq!((facts.answered_by.as_deref(), facts.ended_by.as_deref()), (Some("human"), Some("user")));
    // Start and duration, not the cut-off that `end_at` may be.
    assert_eq!(facts.ended_at, Some("2026-08-30T10:01:12Z".parse().unwrap()));
    assert_eq!(update.occurred_at, facts.ended_at);
    assert_eq!(facts.summary.as_deref(), Some("Appointment confirmed."));
    assert_eq!(facts.disposition.as_deref(), Some("COMPLETED_ACTION"));
    assert!(facts.recording_url.is_some() && facts.error_message.is_none());
    let turns = json!([
        { "speaker": "assistant", "text": "Hello", "at": "2026-08-30T10:00:08Z" },
        { "speaker": "user", "text": "Yes" },
    ]);
    assert_eq!(facts.transcript, Some(turns));
}

#[test]
fn the_mapping_table_row_by_row() {
    use AttemptState::*;
    let rows = [
        (json!({ "queue_status": "new" }), Some(Placed), None),
        (json!({ "queue_status": "queued", "status": null, "completed": false }), Some(Placed), None),
        (json!({ "queue_status": "allocated" }), Some(Placed), None),
        (json!({ "queue_status": "started", "completed": false }), Some(InProgress), None),
        (json!({ "queue_status": "pre_queue_error" }), Some(Failed), Some("provider_rejected")),
        (json!({ "queue_status": "queue_error" }), Some(Failed), Some("provider_rejected")),
        (json!({ "queue_status": "call_error", "status": "failed" }), Some(Failed), Some("provider_error")),
        (json!({ "status": "canceled" }), Some(Cancelled), None),
        (json!({ "status": "busy" }), Some(Busy), None),
        (json!({ "status": "failed", "error_message": "Call failed. SIP 486 busy here" }), Some(Busy), None),
        (json!({ "status": "no-answer" }), Some(NoAnswer), None),
        (json!({ "status": "completed", "answered_by": "no-answer" }), Some(NoAnswer), None),
        (json!({ "status": "completed", "answered_by": "voicemail" }), Some(Voicemail), None),
        (json!({ "status": "completed", "answered_by": "unknown" }), Some(Completed), None),
        (json!({ "status": "completed", "answered_by": null }), Some(Completed), None),
        (
            json!({ "status": "completed", "queue_status": "complete_error" }),
            Some(Completed),
            Some("post_processing_error"),
        ),
        (json!({ "status": "failed", "error_message": "Call failed. 404" }), Some(Failed), Some("invalid_number")),
        (json!({ "status": "failed", "error_message": "temporarily unavailable" }), Some(Failed), Some("unavailable")),
        (json!({ "status": "failed", "error_message": "608: blocked as spam" }), Some(Failed), Some("spam_blocked")),
        (json!({ "status": "failed", "error_message": "Call failed." }), Some(Failed), Some("provider_error")),
        (json!({ "status": "failed", "error_message": null }), Some(Failed), Some("provider_error")),
        (json!({ "status": "unknown" }), None, None),
        (json!({ "status": "brand-new-word" }), None, None),
        (json!({}), None, None),
    ];
    for (record, state, reason) in rows {
        assert_eq!(state_of(record.clone()), (state, reason.map(str::to_owned)), "{record}");
    }
}

#[test]
fn completed_wins_over_the_queue_status() {
    let record = json!({ "completed": true, "queue_status": "started", "status": "completed" });
    assert_eq!(state_of(record).0, Some(AttemptState::Completed));
}

#[test]
fn an_error_text_beside_completed_proves_nothing() {
    let record = json!({ "status": "completed", "error_message": "Call failed. 486" });
    assert_eq!(state_of(record).0, Some(AttemptState::Completed));
}

#[test]
fn unknown_counts_when_it_is_said_twice() {
    let record = json!({ "status": "unknown", "completed": true });
    assert_eq!(read(&record, OnUnknown::AskAgain).state, None);
    let second = read(&record, OnUnknown::Failed);
    assert_eq!((second.state, second.reason.as_deref()), (Some(AttemptState::Failed), Some("unknown")));
    // A running call without any word is not failed by being looked at twice.
    assert_eq!(read(&json!({}), OnUnknown::Failed).state, None);
}

#[test]
fn durations_come_in_seconds_or_minutes_as_text_or_number() {
    let seconds = |record: Value| seconds(&record);
    assert_eq!(seconds(json!({ "corrected_duration": "65", "call_length": 9.0 })), Some(65.0));
    assert_eq!(seconds(json!({ "corrected_duration": 65 })), Some(65.0));
    assert_eq!(seconds(json!({ "call_length": 1.5 })), Some(90.0));
    for bad in [json!("NaN"), json!("inf"), json!("-1"), json!(1e300), json!("x"), json!([1])] {
        assert_eq!(seconds(json!({ "corrected_duration": bad })), None, "{bad}");
    }
}

#[test]
fn prices_are_decimals() {
    let price = |value: Value| price(&json!({ "price": value })).map(|price| price.to_string());
    assert_eq!(price(json!(0.13)).as_deref(), Some("0.13"));
    assert_eq!(price(json!("0.015")).as_deref(), Some("0.015"));
    assert_eq!(price(json!(1e-4)).as_deref(), Some("0.0001"));
    assert_eq!(price(json!(0)).as_deref(), Some("0"));
    for bad in [json!(-1), json!(1e300), json!("free"), json!(null), json!({})] {
        assert_eq!(price(bad.clone()), None, "{bad}");
    }
}

#[test]
fn facts_of_the_end_wait_for_the_end() {
    let running = update(
        json!({ "queue_status": "started", "price": 0.0, "corrected_duration": "0", "end_at": "2026-08-30T10:10:07Z" }),
    );
    assert_eq!((running.facts.duration_seconds, running.facts.cost, running.facts.ended_at), (None, None, None));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!("completed")),
        Just(json!("failed")),
        Just(json!("9999-12-31T23:59:59Z")),
        Just(json!("-1")),
    ];
    let keys = prop::sample::select(vec![
        "call_id",
        "c_id",
        "status",
        "queue_status",
        "completed",
        "answered_by",
        "error_message",
        "price",
        "corrected_duration",
        "call_length",
        "started_at",
        "end_at",
        "transcripts",
        "metadata",
        "voxd_attempt_id",
        "text",
        "user",
        "created_at",
        "category",
        "message",
        "recording_url",
    ]);
    leaf.prop_recursive(3, 40, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..10).prop_map(|pairs| Value::Object(
                pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn hostile_records_never_panic_and_never_leave_the_rules(record in any_json()) {
        for unknown in [OnUnknown::AskAgain, OnUnknown::Failed] {
            let update = read(&record, unknown);
            prop_assert!(!serde_json::to_string(&update).unwrap().contains("\\u0000"));
            prop_assert!(update.facts.duration_seconds.is_none_or(|seconds| seconds >= 0));
        }
        let _ = super::super::webhook::normalize(record.to_string().as_bytes());
    }
}

#[test]
fn the_built_in_tag_of_an_opt_out_is_one() {
    let tagged =
        |tag: &str| update(json!({ "call_id": "c", "status": "completed", "completed": true, "disposition_tag": tag }));
    assert!(tagged("DO_NOT_CONTACT").opt_out);
    assert!(!tagged("NOT_INTERESTED").opt_out);
}
