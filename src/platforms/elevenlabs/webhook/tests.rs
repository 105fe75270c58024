use aws_lc_rs::hmac;
use http::HeaderValue;
use serde_json::json;
use uuid::Uuid;

use super::*;

const SECRET: &str = "wsec_test";
const STAMP: i64 = 1_767_225_600;
const BODY: &str = r#"{"type":"post_call_transcription","event_timestamp":1767225600,"data":{"agent_id":"agent_x","conversation_id":"conv_x"}}"#;
const TAG: &str = "4adf8dc9050e4219e7044c9170226deb5495573fe47f6ee2490eb71ff4e2b8a9";

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn verify(secrets: &[&str], header: Option<&str>, body: &str, now: i64) -> Result<VerifiedBy, SignatureError> {
    let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    let headers =
        header.map(|value| (http::HeaderName::from_static(SIGNATURE_HEADER), HeaderValue::from_str(value).unwrap()));
    Verifier::new(&secrets).verify(&headers.into_iter().collect(), body.as_bytes(), at(now))
}

fn header() -> String {
    format!("t={STAMP},v0={TAG}")
}

fn updates(body: Value) -> Vec<CallUpdate> {
    normalize(body.to_string().as_bytes(), &"https://api.elevenlabs.io".parse().unwrap()).unwrap()
}

fn failed(reason: &str, metadata: Value) -> CallUpdate {
    let data = json!({ "agent_id": "a", "conversation_id": "conv_2", "failure_reason": reason, "metadata": metadata });
    updates(json!({ "type": "call_initiation_failure", "event_timestamp": 1788084040, "data": data })).remove(0)
}

#[test]
fn the_vendors_scheme_verifies() {
    assert_eq!(verify(&[SECRET], Some(&header()), BODY, STAMP), Ok(VerifiedBy("hmac".into())));
    assert_eq!(verify(&["new", SECRET], Some(&header()), BODY, STAMP), Ok(VerifiedBy("hmac#2".into())));
    let spaced = format!("t={STAMP}, v0={}", TAG.to_uppercase());
    assert_eq!(verify(&[SECRET], Some(&spaced), BODY, STAMP), Ok(VerifiedBy("hmac".into())));
    // One of several signatures is enough, as while a secret is being changed.
    let two = format!("t={STAMP},v0={},v0={TAG},v1=x", "0".repeat(64));
    assert!(verify(&[SECRET], Some(&two), BODY, STAMP).is_ok());
}

#[test]
fn what_is_not_signed_so_is_refused() {
    use SignatureError::*;
    assert_eq!(verify(&[], Some(&header()), BODY, STAMP), Err(NoSecret));
    assert_eq!(verify(&[""], Some(&header()), BODY, STAMP), Err(NoSecret));
    assert_eq!(verify(&[SECRET], None, BODY, STAMP), Err(Missing));
    assert_eq!(verify(&["other"], Some(&header()), BODY, STAMP), Err(Mismatch));
    assert_eq!(verify(&[SECRET], Some(&header()), &BODY.replace("conv_x", "conv_y"), STAMP), Err(Mismatch));
    let other_stamp = header().replace("1767225600", "1767225601");
    assert_eq!(verify(&[SECRET], Some(&other_stamp), BODY, STAMP), Err(Mismatch), "the stamp is signed, too");
    for junk in [
        "",
        "t=",
        "v0=",
        TAG,
        "t=1767225600",
        &format!("v0={TAG}"),
        &format!("t={STAMP},v0={}", &TAG[1..]),
        &format!("t={STAMP},v1={TAG}"),
    ] {
        assert_eq!(verify(&[SECRET], Some(junk), BODY, STAMP), Err(Mismatch), "{junk}");
    }
}

#[test]
fn stamps_are_fresh_for_thirty_minutes_and_five_ahead() {
    for (now, fresh) in [(STAMP + 1800, true), (STAMP + 1801, false), (STAMP - 300, true), (STAMP - 301, false)] {
        let expected = if fresh { Ok(VerifiedBy("hmac".into())) } else { Err(SignatureError::Stale) };
        assert_eq!(verify(&[SECRET], Some(&header()), BODY, now), expected, "{}", now - STAMP);
    }
    // A stamp that is no time, well signed.
    for stamp in ["x", "99999999999999999999", "-9223372036854775808"] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let tag = hmac::sign(&key, format!("{stamp}.{BODY}").as_bytes());
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(verify(&[SECRET], Some(&format!("t={stamp},v0={hex}")), BODY, STAMP), Err(SignatureError::Stale));
    }
}

#[test]
fn a_transcription_is_the_conversation() {
    let id = Uuid::from_u128(5);
    let told = updates(json!({
        "type": "post_call_transcription", "event_timestamp": 1,
        "data": { "conversation_id": "conv_1", "status": "done", "user_id": id, "metadata": { "cost": 3 } },
    }));
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].attempt_id, told[0].platform_call_id.as_deref()), (Some(id), Some("conv_1")));
    assert_eq!(told[0].state, Some(AttemptState::Completed));
}

#[test]
fn a_failure_names_the_conversation_alone_and_is_sorted_by_reason() {
    let twilio = |status: &str, sip: &str| json!({ "type": "twilio", "body": { "CallStatus": status, "SipResponseCode": sip, "To": "+15550100002" } });
    let trunk = |sip: u64| json!({ "type": "sip", "sip_status_code": sip, "error_reason": "no route to +14155550123" });
    for (reason, metadata, state, why) in [
        ("busy", twilio("busy", "486"), AttemptState::Busy, None),
        ("no-answer", twilio("no-answer", "487"), AttemptState::NoAnswer, None),
        ("unknown", twilio("canceled", ""), AttemptState::Cancelled, None),
        ("unknown", twilio("busy", ""), AttemptState::Busy, None),
        ("unknown", twilio("failed", "404"), AttemptState::Failed, Some("invalid_number")),
        ("unknown", twilio("failed", "608"), AttemptState::Failed, Some("spam_blocked")),
        ("unknown", trunk(486), AttemptState::Busy, None),
        ("unknown", trunk(480), AttemptState::NoAnswer, None),
        ("unknown", trunk(408), AttemptState::NoAnswer, None),
        ("unknown", trunk(487), AttemptState::NoAnswer, None),
        ("unknown", trunk(603), AttemptState::NoAnswer, Some("declined")),
        ("unknown", trunk(503), AttemptState::Failed, Some("provider_error")),
        ("a new word", Value::Null, AttemptState::Failed, Some("provider_error")),
    ] {
        let update = failed(reason, metadata.clone());
        assert_eq!((update.state, update.reason.as_deref()), (Some(state), why), "{reason} {metadata}");
        assert_eq!((update.attempt_id, update.platform_call_id.as_deref()), (None, Some("conv_2")));
        assert_eq!(update.occurred_at, Some(at(1788084040)));
        assert!(!format!("{update:?}").contains("5550"), "no dialable number: {update:?}");
    }
    assert_eq!(
        failed("no-answer", twilio("no-answer", "487")).raw_status.as_deref(),
        Some("failure_reason=no-answer CallStatus=no-answer sip=487")
    );
}

#[test]
fn audio_is_ignored_politely_and_a_new_event_is_kept_by_its_name() {
    let audio = json!({ "type": "post_call_audio", "data": { "agent_id": "a", "conversation_id": "conv_1", "full_audio": "AAAA" } });
    assert_eq!(updates(audio), []);
    let new = updates(json!({ "type": "call_ringing", "data": { "conversation_id": "conv_1" } }));
    assert_eq!((new[0].state, new[0].raw_status.as_deref()), (None, Some("event call_ringing")));
    assert_eq!(updates(json!({ "type": "workspace_event", "data": {} })), []);
}

#[test]
fn what_is_not_documented_is_unreadable_and_never_panics() {
    for body in [
        "",
        "[]",
        "7",
        "{}",
        r#"{"type":7,"data":{}}"#,
        r#"{"type":"post_call_transcription"}"#,
        r#"{"type":"post_call_transcription","data":[]}"#,
        r#"{"type":"call_initiation_failure","data":{}}"#,
        r#"{"type":"post_call_transcription","data":{"conversation_id":"../x"}}"#,
    ] {
        assert!(normalize(body.as_bytes(), &"https://x.example".parse().unwrap()).is_err(), "{body}");
    }
}
