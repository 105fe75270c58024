use super::*;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde_json::json;

fn now() -> DateTime<Utc> {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn answer(status: u16, body: impl ToString) -> Answer {
    Answer { status, headers: HeaderMap::new(), body: Bytes::from(body.to_string()), truncated: false }
}

fn sorted(status: u16, body: impl ToString) -> Result<Placed, SendError> {
    sort(Ok(answer(status, body)), now())
}

fn judged(status: u16, body: impl ToString) -> (Verdict, String, Scope) {
    let error = sorted(status, body).unwrap_err();
    assert_eq!(error.http_status, Some(status));
    (error.verdict, error.reason, error.scope)
}

fn coded(code: &str) -> Value {
    json!({ "detail": { "status": code, "message": "words" } })
}

fn refused(reason: &str, scope: Scope) -> (Verdict, String, Scope) {
    (Verdict::Refused, reason.into(), scope)
}

fn in_doubt(reason: &str) -> (Verdict, String, Scope) {
    (Verdict::InDoubt, reason.into(), Scope::Request)
}

#[test]
fn a_conversation_id_placed_the_call_and_the_carriers_id_is_kept() {
    let placed =
        sorted(200, json!({ "success": true, "message": "Success", "conversation_id": "conv_1", "callSid": "CA01" }))
            .unwrap();
    assert_eq!((placed.platform_call_id.as_str(), placed.http_status), ("conv_1", 200));
    assert_eq!(placed.handles, [(CALL_SID.to_owned(), "CA01".to_owned())].into());
    let trunk = json!({ "success": true, "conversation_id": "conv_1", "sip_call_id": "a1@trunk.example" });
    assert_eq!(sorted(200, trunk).unwrap().handles[SIP_CALL_ID], "a1@trunk.example");
    // The id wins over the word beside it.
    assert!(sorted(200, json!({ "success": false, "message": "m", "conversation_id": "conv_1" })).is_ok());
}

#[test]
fn a_success_that_says_no_and_names_no_call_is_a_refusal() {
    for body in [
        json!({ "success": false, "message": "Twilio: number not verified", "conversation_id": null, "callSid": null }),
        json!({ "success": false, "message": "" }),
        json!({ "success": false, "message": "x", "sip_call_id": null }),
    ] {
        assert_eq!(judged(200, &body), refused("provider_rejected", Scope::Request), "{body}");
    }
    let error = sorted(200, json!({ "success": false, "message": "cannot call +14155550123" })).unwrap_err();
    assert_eq!(error.detail, "cannot call +…23");
}

#[test]
fn a_success_that_is_not_clearly_a_no_is_in_doubt() {
    for body in [
        json!({ "success": false, "message": "Request to Twilio timed out", "conversation_id": null, "callSid": null }),
        json!({ "success": false, "message": "x", "conversation_id": null, "callSid": "CA01" }),
        json!({ "success": false, "message": "x", "conversation_id": "../x", "callSid": null }),
        json!({ "success": true, "message": "Success", "conversation_id": null, "callSid": null }),
        json!({ "success": "false", "message": "x" }),
        json!({ "message": "x" }),
        json!([]),
        json!("no"),
    ] {
        assert_eq!(judged(200, &body), in_doubt("no_call_id"), "{body}");
    }
    assert_eq!(judged(200, "<html>"), in_doubt("no_call_id"));
    let cut = Answer { truncated: true, ..answer(200, json!({ "success": false, "message": "x" })) };
    assert_eq!(sort(Ok(cut), now()).unwrap_err().verdict, Verdict::InDoubt);
    let carrier = sorted(200, json!({ "success": true, "callSid": "CA01" })).unwrap_err();
    assert!(carrier.detail.contains("CA01"), "{carrier:?}");
}

#[test]
fn refusals_are_told_apart_by_code_and_field() {
    let field = |name: &str| json!({ "detail": [{ "loc": ["body", name], "msg": "bad", "type": "value_error" }] });
    for (status, body, expected) in [
        (422, field("to_number"), refused("invalid_number", Scope::Number)),
        (422, field("agent_id"), refused("invalid_request", Scope::Request)),
        (400, json!({ "detail": "Bad request" }), refused("invalid_request", Scope::Request)),
        (401, coded("invalid_api_key"), refused("auth_failure", Scope::Account)),
        (401, coded("quota_exceeded"), refused("payment_required", Scope::Account)),
        (400, coded("quota_exceeded"), refused("payment_required", Scope::Account)),
        (403, coded("missing_permissions"), refused("auth_failure", Scope::Account)),
        (401, coded("detected_unusual_activity"), refused("account_blocked", Scope::Account)),
        (402, coded("x"), refused("payment_required", Scope::Account)),
        (403, coded("x"), refused("account_blocked", Scope::Account)),
        (404, coded("document_not_found"), refused("not_found", Scope::Request)),
    ] {
        assert_eq!(judged(status, &body), expected, "{status} {body}");
    }
}

#[test]
fn a_refusal_in_anothers_words_proves_nothing() {
    for status in [400, 401, 402, 403, 404, 422] {
        for body in ["<html>", "", "{}", r#"{"error":"x"}"#, r#"{"detail":[]}"#, r#"{"detail":{}}"#, r#"{"detail":7}"#]
        {
            assert_eq!(judged(status, body), in_doubt("unexpected_answer"), "{status} {body}");
        }
    }
}

#[test]
fn above_the_limit_nothing_was_sent() {
    let not_sent = |reason: &str| (Verdict::NotSent, reason.to_owned(), Scope::Account);
    assert_eq!(judged(429, coded("too_many_concurrent_requests")), not_sent("concurrency_limit"));
    assert_eq!(judged(429, coded("system_busy")), not_sent("rate_limited"));
    assert_eq!(judged(429, "<html>"), not_sent("rate_limited"));
    let mut later = answer(429, coded("system_busy"));
    later.headers.insert("retry-after", HeaderValue::from_static("7"));
    assert_eq!(sort(Ok(later), now()).unwrap_err().retry_after, Some(std::time::Duration::from_secs(7)));
}

#[test]
fn what_may_have_made_a_call_is_in_doubt() {
    for (status, reason) in [
        (408, "timeout"),
        (409, "unexpected_answer"),
        (425, "unexpected_answer"),
        (500, "server_error"),
        (504, "server_error"),
    ] {
        assert_eq!(judged(status, coded("x")), in_doubt(reason), "{status}");
    }
    assert_eq!(judged(307, ""), refused("redirected", Scope::Account));
}

#[test]
fn no_body_makes_it_panic() {
    let mut random = fastrand::Rng::with_seed(3);
    let parts = [
        r#"{"detail":"#,
        "[",
        "]",
        "{",
        "}",
        r#""loc""#,
        ":",
        ",",
        "null",
        "true",
        "1e999",
        r#""conversation_id""#,
        r#""success""#,
        "\"",
        "\\u0000",
    ];
    for _ in 0..3000 {
        let text: String = (0..random.usize(0..12)).map(|_| parts[random.usize(0..parts.len())]).collect();
        for status in [200, 400, 422, 429, 500] {
            let _ = sorted(status, &text);
        }
    }
}
