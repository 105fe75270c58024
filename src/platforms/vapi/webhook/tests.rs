use super::*;
use http::HeaderValue;
use serde_json::json;

use crate::call::AttemptState;

/// Made once with another implementation of HMAC-SHA256.
const SECRET: &str = "vapi-test-secret";
const BODY: &[u8] = br#"{"message":{"type":"status-update","status":"ringing"}}"#;
const STAMP: &str = "1767225600000";
const SIGNATURE: &str = "792aa019a1372087bd4ef7452f7dd54b64f26d3d373b97e087b305e12be7ae3c";
const OF_BODY_ONLY: &str = "5c1df6647b1b460dea5548e842e45ed439dcbd598a83126a0b30a7e4e0e964df";

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600 + seconds, 0).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect()
}

fn verifier(auth: WebhookAuth, secrets: &[&str]) -> Verifier {
    Verifier::new(auth, &secrets.iter().map(|secret| Secret::new(*secret)).collect::<Vec<_>>())
}

fn signed(pairs: &[(&'static str, &str)], seconds: i64) -> Result<VerifiedBy, SignatureError> {
    verifier(WebhookAuth::Hmac, &["new", SECRET]).verify(&headers(pairs), BODY, at(seconds))
}

#[test]
fn the_vectors_verify_with_and_without_a_time_stamp() {
    let second = Ok(VerifiedBy("hmac#2".into()));
    assert_eq!(signed(&[("x-signature", SIGNATURE), ("x-timestamp", STAMP)], 0), second);
    assert_eq!(signed(&[("x-vapi-signature", SIGNATURE), ("x-timestamp", STAMP)], 0), second);
    assert_eq!(
        signed(&[("x-signature", &format!("sha256={}", SIGNATURE.to_uppercase())), ("x-timestamp", STAMP)], 0),
        second
    );
    assert_eq!(signed(&[("x-signature", OF_BODY_ONLY)], 0), second);
    let first = verifier(WebhookAuth::Hmac, &[SECRET]);
    let pairs = headers(&[("x-signature", SIGNATURE), ("x-timestamp", STAMP)]);
    assert_eq!(first.verify(&pairs, BODY, at(0)), Ok(VerifiedBy("hmac".into())));
}

#[test]
fn the_time_stamp_is_part_of_what_is_signed() {
    assert_eq!(signed(&[("x-signature", SIGNATURE)], 0), Err(SignatureError::Mismatch), "it was taken away");
    let moved = [("x-signature", SIGNATURE), ("x-timestamp", "1767225600001")];
    assert_eq!(signed(&moved, 0), Err(SignatureError::Mismatch));
    assert_eq!(signed(&[("x-signature", OF_BODY_ONLY), ("x-timestamp", STAMP)], 0), Err(SignatureError::Mismatch));
}

#[test]
fn old_and_future_signatures_are_stale() {
    let pairs = [("x-signature", SIGNATURE), ("x-timestamp", STAMP)];
    for (seconds, fresh) in [(-301, false), (-300, true), (300, true), (301, false)] {
        assert_eq!(signed(&pairs, seconds).is_ok(), fresh, "{seconds}");
    }
    assert_eq!(signed(&pairs, 301), Err(SignatureError::Stale));
}

#[test]
fn a_time_stamp_in_seconds_is_told_by_its_size() {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = |stamp: &str| -> String {
        let tag = hmac::sign(&key, &[stamp.as_bytes(), b".", BODY].concat());
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    for (stamp, verdict) in [
        ("1767225600", Ok(VerifiedBy("hmac#2".into()))),
        ("1767225900", Ok(VerifiedBy("hmac#2".into()))),
        ("1767225901", Err(SignatureError::Stale)),
        ("tomorrow", Err(SignatureError::Stale)),
        ("9223372036854775807", Err(SignatureError::Stale)),
        ("-1", Err(SignatureError::Stale)),
    ] {
        assert_eq!(signed(&[("x-signature", &tag(stamp)), ("x-timestamp", stamp)], 0), verdict, "{stamp}");
    }
}

#[test]
fn verification_fails_closed() {
    for auth in [WebhookAuth::Hmac, WebhookAuth::Bearer, WebhookAuth::Secret] {
        let all = headers(&[("x-signature", SIGNATURE), ("authorization", "Bearer "), ("x-vapi-secret", "")]);
        for secrets in [&[][..], &[""]] {
            assert_eq!(verifier(auth, secrets).verify(&all, BODY, at(0)), Err(SignatureError::NoSecret));
        }
        assert_eq!(verifier(auth, &[SECRET]).verify(&HeaderMap::new(), BODY, at(0)), Err(SignatureError::Missing));
        assert_eq!(verifier(auth, &[SECRET]).verify(&all, BODY, at(0)), Err(SignatureError::Mismatch), "{auth:?}");
    }
    for wrong in ["", "00", "zz", &SIGNATURE[..62], &format!("{SIGNATURE}00")] {
        assert_eq!(
            signed(&[("x-signature", wrong), ("x-timestamp", STAMP)], 0),
            Err(SignatureError::Mismatch),
            "{wrong}"
        );
    }
}

#[test]
fn a_bearer_token_and_a_plain_secret_verify_only_as_such() {
    let bearer = verifier(WebhookAuth::Bearer, &["old", "token"]);
    for value in ["Bearer token", "bearer token"] {
        let given = headers(&[("authorization", value)]);
        assert_eq!(bearer.verify(&given, BODY, at(0)), Ok(VerifiedBy("bearer#2".into())));
    }
    for value in ["token", "Bearer", "Bearer toke", "Bearer token2", "Basic token"] {
        let given = headers(&[("authorization", value)]);
        assert_eq!(bearer.verify(&given, BODY, at(0)), Err(SignatureError::Mismatch), "{value}");
    }
    let plain = verifier(WebhookAuth::Secret, &["token"]);
    assert_eq!(plain.verify(&headers(&[("x-vapi-secret", "token")]), BODY, at(0)), Ok(VerifiedBy("secret".into())));
    assert_eq!(plain.verify(&headers(&[("authorization", "Bearer token")]), BODY, at(0)), Err(SignatureError::Missing));
}

fn read(message: Value) -> Vec<CallUpdate> {
    normalize(json!({ "message": message }).to_string().as_bytes()).unwrap()
}

fn call(changes: Value) -> Value {
    let mut call = json!({
        "id": "c-1", "type": "outboundPhoneCall", "status": "queued",
        "assistantOverrides": { "metadata": { "voxd_attempt_id": "00000000-0000-0000-0000-000000000002" } },
    });
    call.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    call
}

#[test]
fn status_updates_move_the_call_by_the_messages_own_status() {
    for (status, state) in [
        ("scheduled", Some(AttemptState::Placed)),
        ("queued", Some(AttemptState::Placed)),
        ("ringing", Some(AttemptState::Ringing)),
        ("in-progress", Some(AttemptState::InProgress)),
        ("forwarding", Some(AttemptState::InProgress)),
        ("not-found", None),
        ("deletion-failed", None),
        ("teleported", None),
    ] {
        let message = json!({ "type": "status-update", "status": status, "timestamp": 1_788_084_003_120_u64, "call": call(json!({})) });
        let update = read(message).remove(0);
        assert_eq!((update.state, update.platform_call_id.as_deref()), (state, Some("c-1")), "{status}");
        assert_eq!(update.reason.as_deref(), (status == "teleported").then_some("unknown"));
        assert_eq!(update.attempt_id, Some(uuid::Uuid::from_u128(2)));
        assert_eq!(update.raw_status.as_deref(), Some(format!("status={status}").as_str()));
        assert_eq!(update.occurred_at.map(|at| at.timestamp_millis()), Some(1_788_084_003_120));
    }
}

#[test]
fn an_end_is_read_from_its_reason_and_its_cost_is_not_final() {
    let message = json!({
        "type": "status-update", "status": "ended", "endedReason": "customer-busy",
        "call": call(json!({ "cost": 0.01, "costBreakdown": {} })),
    });
    let update = read(message).remove(0);
    assert_eq!((update.state, update.facts.cost), (Some(AttemptState::Busy), None));
    let without_reason = json!({ "type": "status-update", "status": "ended", "call": call(json!({})) });
    assert_eq!(read(without_reason).remove(0).state, None, "the call itself is asked");
}

#[test]
fn a_transfer_that_failed_is_left_to_the_report_where_nothing_tells_whether_the_person_had_answered() {
    let ended = |call: Value| json!({ "type": "status-update", "status": "ended", "endedReason": "call.forwarding.operator-busy", "call": call });
    assert_eq!(read(ended(call(json!({})))).remove(0).state, None);
    let answered = call(json!({ "startedAt": "2026-08-30T10:00:09.000Z" }));
    assert_eq!(read(ended(answered)).remove(0).state, Some(AttemptState::Completed));
}

#[test]
fn the_report_tells_cost_duration_transcript_and_the_end_too() {
    let update = read(json!({
        "type": "end-of-call-report", "timestamp": 1_788_084_082_000_u64, "endedReason": "customer-ended-call",
        "startedAt": "2026-08-30T10:00:09.000Z", "endedAt": "2026-08-30T10:01:14.000Z",
        "cost": 0.1412, "costs": [{ "type": "vapi", "subType": "normal", "minutes": 1.08, "cost": 0.0542 }],
        "artifact": { "transcript": "AI: Hello\nUser: Hi\n", "messages": [], "recordingUrl": "https://storage.example.test/r.wav" },
        "analysis": { "summary": "Confirmed.", "successEvaluation": "true" },
        "call": call(json!({ "status": "in-progress" })),
    }))
    .remove(0);
    assert_eq!((update.state, update.reason.as_deref()), (Some(AttemptState::Completed), Some("customer_hangup")));
    let facts = update.facts;
    assert_eq!((facts.duration_seconds, facts.ended_by.as_deref()), (Some(65), Some("user")));
    assert_eq!(facts.cost.map(|cost| (cost.amount.to_string(), cost.currency)), Some(("0.1412".into(), "USD".into())));
    assert_eq!(facts.recording_url.as_deref(), Some("https://storage.example.test/r.wav"));
    assert_eq!((facts.summary.as_deref(), facts.disposition.as_deref()), (Some("Confirmed."), Some("true")));
    let turns = json!([{ "speaker": "assistant", "text": "Hello" }, { "speaker": "user", "text": "Hi" }]);
    assert_eq!(facts.transcript, Some(turns));
}

#[test]
fn hang_is_not_a_hang_up_and_other_types_say_nothing_of_the_state() {
    for kind in ["hang", "speech-update", "conversation-update", "tool-calls", "call.artifact.upload", "brand-new"] {
        let message = json!({ "type": kind, "status": "ended", "endedReason": "voicemail", "call": call(json!({ "status": "ended" })) });
        assert_eq!(read(message), Vec::new(), "{kind}");
    }
}

#[test]
fn what_is_not_documented_is_unreadable() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"message":[]}"#,
        r#"{"message":{"status":"ended"}}"#,
        r#"{"message":{"type":"status-update","status":"ended"}}"#,
        r#"{"message":{"type":"status-update","call":{"id":"../x"}}}"#,
    ] {
        assert!(normalize(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn the_same_report_with_other_presigned_addresses_says_the_same() {
    let report = |presigned: &str| {
        read(json!({
            "type": "end-of-call-report", "endedReason": "voicemail", "cost": 0,
            "artifact": { "recordingUrl": "https://s.example.test/r.wav", "presignedRecordingUrl": presigned }, "call": call(json!({})),
        }))
    };
    assert_eq!(report("https://s.example.test/r.wav?X-Sig=1"), report("https://s.example.test/r.wav?X-Sig=2"));
    assert_eq!(
        report("x").remove(0).facts.cost.map(|cost| cost.amount.is_zero()),
        Some(true),
        "a report's 0 is a cost"
    );
}

#[test]
fn echoed_credentials_are_not_kept() {
    let body = json!({ "message": { "type": "status-update", "call": {
        "id": "c-1", "phoneNumber": { "twilioAccountSid": "AC1", "twilioAuthToken": "t0p", "twilioApiSecret": "s3cret" },
        "assistant": { "server": { "url": "https://x.example", "secret": "hush" } }, "tokens": 12,
    } } });
    let kept = String::from_utf8(without_secrets(body.to_string().as_bytes()).unwrap()).unwrap();
    for secret in ["t0p", "s3cret", "hush"] {
        assert!(!kept.contains(secret), "{kept}");
    }
    assert!(kept.contains("AC1") && kept.contains("\"tokens\":12"));
    assert_eq!(without_secrets(BODY), None, "nothing to hide: kept byte for byte");
    assert_eq!(without_secrets(b"not json"), None);
}
