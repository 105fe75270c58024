use http::HeaderValue;
use serde_json::json;

use super::*;
use crate::config::Secret;

/// The vendor's own vector (`tests/test_webhook_auth.py`).
const KEY: &str = "test-api-key";
const BODY: &[u8] = br#"{"event":"call_ended"}"#;
const AT: i64 = 1_700_000_000_000;
const DIGEST: &str = "07024cabe7dd8f6d1c6e4a8324ca92c812e6ad4a7ee506c04f7e462e3321823e";

fn verified(header: &str, body: &[u8], now_ms: i64, keys: &[&str]) -> Result<String, SignatureError> {
    let secrets: Vec<Secret> = keys.iter().map(|key| Secret::new(*key)).collect();
    let headers = HeaderMap::from_iter([(
        http::HeaderName::from_static(SIGNATURE_HEADER),
        HeaderValue::from_bytes(header.as_bytes()).unwrap(),
    )]);
    let now = DateTime::from_timestamp_millis(now_ms).unwrap();
    verify(&Keys::new(&secrets), &headers, body, now).map(|by| by.0)
}

#[test]
fn the_vendors_vector_verifies() {
    let header = format!("v={AT},d={DIGEST}");
    assert_eq!(verified(&header, BODY, AT, &[KEY]), Ok("hmac".into()));
    assert_eq!(verified(&header, BODY, AT, &["older", KEY]), Ok("hmac#2".into()));
    assert_eq!(verified(&header, BODY, AT, &["another"]), Err(SignatureError::Mismatch));
    assert_eq!(verified(&header, BODY, AT, &[""]), Err(SignatureError::NoSecret));
    assert_eq!(verified(&header, br#"{"event": "call_ended"}"#, AT, &[KEY]), Err(SignatureError::Mismatch));
    let none = verify(&Keys::new(&[Secret::new(KEY)]), &HeaderMap::new(), BODY, DateTime::UNIX_EPOCH);
    assert_eq!(none, Err(SignatureError::Missing));
}

#[test]
fn a_signature_is_fresh_for_five_minutes_both_ways() {
    let header = format!("v={AT},d={DIGEST}");
    for (shift, fresh) in [(-300_001, false), (-300_000, true), (0, true), (300_000, true), (300_001, false)] {
        let expected = if fresh { Ok("hmac".into()) } else { Err(SignatureError::Stale) };
        assert_eq!(verified(&header, BODY, AT + shift, &[KEY]), expected, "{shift}");
    }
}

#[test]
fn the_header_must_be_the_whole_pattern() {
    for header in [
        format!("v={AT},d={}", DIGEST.to_uppercase()),
        format!(" v={AT},d={DIGEST}"),
        format!("v={AT},d={DIGEST},x=1"),
        format!("v={AT}, d={DIGEST}"),
        format!("d={DIGEST},v={AT}"),
        format!("v=-{AT},d={DIGEST}"),
        format!("v=+{AT},d={DIGEST}"),
        format!("v=,d={DIGEST}"),
        format!("v=9999999999999999999999,d={DIGEST}"),
        format!("v={AT},d={}", &DIGEST[..62]),
        DIGEST.to_owned(),
        "v=ä,d=ä".to_owned(),
        String::new(),
    ] {
        assert_eq!(verified(&header, BODY, AT, &[KEY]), Err(SignatureError::Mismatch), "{header}");
    }
}

#[test]
fn the_time_stamp_is_signed_too() {
    let header = format!("v={},d={DIGEST}", AT + 1);
    assert_eq!(verified(&header, BODY, AT, &[KEY]), Err(SignatureError::Mismatch));
}

fn normalized(event: &str, call: Value) -> Vec<CallUpdate> {
    normalize(json!({ "event": event, "call": call }).to_string().as_bytes()).unwrap()
}

#[test]
fn the_event_and_the_reason_decide_not_the_status_of_the_sample() {
    let call = json!({
        "call_id": "call_1", "call_status": "registered", "direction": "outbound", "disconnection_reason": "user_hangup",
        "start_timestamp": 1_788_084_009_000i64, "end_timestamp": 1_788_084_074_000i64, "duration_ms": 65_000,
    });
    let update = normalized("call_ended", call).remove(0);
    assert_eq!((update.state, update.facts.duration_seconds), (Some(AttemptState::Completed), Some(65)));
}

#[test]
fn a_call_that_never_connects_ends_without_having_started() {
    for event in ["call_ended", "call_analyzed"] {
        let call = json!({ "call_id": "c", "call_status": "not_connected", "disconnection_reason": "dial_busy" });
        let update = normalized(event, call).remove(0);
        assert_eq!((update.state, update.facts.started_at), (Some(AttemptState::Busy), None), "{event}");
    }
}

#[test]
fn the_analysis_after_the_end_tells_the_same_end_and_adds_its_facts() {
    let mut call = json!({ "call_id": "c", "call_status": "ended", "disconnection_reason": "agent_hangup" });
    let ended = normalized("call_ended", call.clone()).remove(0);
    call["call_analysis"] = json!({ "call_summary": "They agreed.", "call_successful": true, "in_voicemail": false });
    let analyzed = normalized("call_analyzed", call).remove(0);
    assert_eq!((ended.state, &ended.reason), (analyzed.state, &analyzed.reason));
    assert_eq!((ended.early_cost, analyzed.early_cost), (true, false));
    assert_eq!(ended.facts.summary, None);
    assert_eq!(analyzed.facts.summary.as_deref(), Some("They agreed."));
    assert_eq!(analyzed.facts.disposition.as_deref(), Some("successful"));
}

#[test]
fn a_start_is_in_progress_whatever_the_status_says() {
    let call = json!({ "call_id": "c", "call_status": "registered", "start_timestamp": 1_788_084_009_000i64 });
    let update = normalized("call_started", call).remove(0);
    assert_eq!(update.state, Some(AttemptState::InProgress));
    assert_eq!(update.occurred_at, DateTime::from_timestamp(1_788_084_009, 0));
}

#[test]
fn other_events_and_incoming_calls_say_nothing() {
    for event in
        ["transcript_updated", "transfer_started", "transfer_bridged", "transfer_cancelled", "transfer_ended", "new"]
    {
        assert_eq!(normalized(event, json!({ "call_id": "c", "call_status": "ongoing" })), [], "{event}");
    }
    let incoming = json!({ "call_id": "c", "direction": "inbound", "disconnection_reason": "user_hangup" });
    assert_eq!(normalized("call_ended", incoming), []);
}

#[test]
fn what_cannot_be_read_is_said() {
    for body in
        ["", "[]", "{}", r#"{"event":"call_ended"}"#, r#"{"event":"call_ended","call":{}}"#, r#"{"event":1,"call":{}}"#]
    {
        assert!(normalize(body.as_bytes()).is_err(), "{body}");
    }
}
