use super::*;
use http::HeaderValue;
use serde_json::json;

/// A vector made once with another implementation of HMAC-SHA256.
const SECRET: &str = "bland-test-secret";
const BODY: &[u8] = br#"{"call_id":"11111111-2222-3333-4444-555555555555","status":"completed"}"#;
const SIGNATURE: &str = "d7cc99ef92c468091b8a11b410def97f8298833cb0b069b25a40dd9c00d32a69";

fn verify(secrets: &[&str], signature: Option<&str>, body: &[u8]) -> Result<VerifiedBy, SignatureError> {
    let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    let mut headers = HeaderMap::new();
    if let Some(signature) = signature {
        headers.insert("X-Webhook-Signature", HeaderValue::from_str(signature).unwrap());
    }
    Verifier::new(&secrets).verify(&headers, body)
}

#[test]
fn the_raw_body_is_what_is_signed() {
    assert_eq!(verify(&[SECRET], Some(SIGNATURE), BODY), Ok(VerifiedBy("hmac".into())));
    let spaced = [BODY, b" "].concat();
    assert_eq!(verify(&[SECRET], Some(SIGNATURE), &spaced), Err(SignatureError::Mismatch));
}

#[test]
fn one_of_several_secrets_verifies_and_is_named() {
    assert_eq!(verify(&["new", SECRET], Some(SIGNATURE), BODY), Ok(VerifiedBy("hmac#2".into())));
    assert_eq!(verify(&["new", "newer"], Some(SIGNATURE), BODY), Err(SignatureError::Mismatch));
}

#[test]
fn verification_fails_closed() {
    assert_eq!(verify(&[], Some(SIGNATURE), BODY), Err(SignatureError::NoSecret));
    assert_eq!(verify(&[""], Some(SIGNATURE), BODY), Err(SignatureError::NoSecret));
    assert_eq!(verify(&[SECRET], None, BODY), Err(SignatureError::Missing));
    for wrong in ["", "00", "zz", &SIGNATURE[..62], &format!("{SIGNATURE}00"), &format!("sha256={SIGNATURE}")] {
        assert_eq!(verify(&[SECRET], Some(wrong), BODY), Err(SignatureError::Mismatch), "{wrong}");
    }
}

fn states(body: Value) -> Vec<Option<AttemptState>> {
    normalize(body.to_string().as_bytes()).unwrap().into_iter().map(|update| update.state).collect()
}

#[test]
fn the_record_after_the_call_is_its_end() {
    let body = json!({ "call_id": "c-1", "status": "completed", "completed": true, "answered_by": "human" });
    assert_eq!(states(body), [Some(AttemptState::Completed)]);
    let older_name = json!({ "c_id": "c-1", "status": "busy" });
    assert_eq!(states(older_name), [Some(AttemptState::Busy)]);
}

#[test]
fn live_events_are_hints() {
    let event = |category: &str, message: &str| {
        states(json!({ "call_id": "c-1", "category": category, "message": message, "log_level": "info" }))
    };
    assert_eq!(event("queue", "Call enqueued"), [Some(AttemptState::Placed)]);
    assert_eq!(event("call", "Call connected"), [Some(AttemptState::InProgress)]);
    assert_eq!(event("call", "Call disconnected"), []);
    assert_eq!(event("call", "Call not connected"), []);
    assert_eq!(event("latency", "connected in 300 ms"), []);
}

#[test]
fn what_follows_the_record_is_no_second_end() {
    assert_eq!(states(json!({ "call_id": "c-1", "event_type": "citations", "citations": [] })), []);
    assert_eq!(
        states(json!({ "call_id": "c-1", "event_type": "multiple", "contents": [], "status": "completed" })),
        []
    );
    assert_eq!(states(json!({ "call_id": "c-1", "evals": {} })), []);
}

#[test]
fn bodies_that_are_no_webhook_are_unreadable() {
    for body in ["", "x", "[]", "null", "{}", r#"{"status":"completed"}"#, r#"{"call_id":7}"#, r#"{"call_id":"../x"}"#]
    {
        assert!(normalize(body.as_bytes()).is_err(), "{body}");
    }
    assert!(normalize(&[0xff, 0xfe]).is_err());
    assert!(normalize("[".repeat(100_000).as_bytes()).is_err());
}
