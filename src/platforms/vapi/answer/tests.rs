use super::*;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde_json::json;

fn now() -> DateTime<Utc> {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn answer(status: u16, body: &str) -> Answer {
    Answer { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()), truncated: false }
}

fn sorted(status: u16, body: &str) -> Result<Placed, SendError> {
    sort(Ok(answer(status, body)), now())
}

fn judged(status: u16, body: &str) -> (Verdict, String, Scope) {
    let error = sorted(status, body).unwrap_err();
    assert_eq!(error.http_status, Some(status));
    (error.verdict, error.reason, error.scope)
}

fn says(status: u16, message: Value) -> String {
    json!({ "message": message, "error": "Bad Request", "statusCode": status }).to_string()
}

fn call(changes: Value) -> String {
    let mut call = json!({
        "id": "0197e000-0000-7000-8000-000000000001", "orgId": "o", "status": "queued",
        "monitor": { "listenUrl": "wss://listen.example.test/x", "controlUrl": "https://control.example.test/x" },
        "subscriptionLimits": { "concurrencyBlocked": false, "concurrencyLimit": 10, "remainingConcurrentCalls": 9 },
    });
    call.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    call.to_string()
}

#[test]
fn a_success_with_an_id_placed_the_call_and_tells_the_lines_left() {
    let placed = sorted(201, &call(json!({}))).unwrap();
    assert_eq!((placed.platform_call_id.as_str(), placed.http_status), ("0197e000-0000-7000-8000-000000000001", 201));
    assert_eq!((placed.remaining, placed.held_back), (Some(9), false));
    assert_eq!(placed.handles.get(CONTROL_URL).map(String::as_str), Some("https://control.example.test/x"));
    assert!(!placed.handles.contains_key(BLOCKED));
    let bare = sorted(200, r#"{"id":"c-1"}"#).unwrap();
    assert_eq!((bare.remaining, bare.held_back, bare.handles.len()), (None, false, 0));
}

#[test]
fn a_201_is_not_dialled_where_the_limit_of_calls_blocks_it() {
    let blocked = sorted(201, &call(json!({ "subscriptionLimits": { "concurrencyBlocked": true } }))).unwrap();
    assert_eq!((blocked.held_back, blocked.remaining), (true, Some(0)));
    assert!(blocked.handles.contains_key(BLOCKED));
    let ended = sorted(201, &call(json!({ "status": "ended" }))).unwrap();
    assert!(ended.held_back && !ended.handles.contains_key(BLOCKED));
}

#[test]
fn a_success_without_a_readable_id_is_in_doubt() {
    for body in
        ["", "{}", "[]", "<html>", r#"{"id":7}"#, r#"{"id":"../x"}"#, r#"{"results":[{"id":"c-1"}],"errors":[]}"#]
    {
        assert_eq!(judged(201, body), (Verdict::InDoubt, "no_call_id".into(), Scope::Request), "{body}");
    }
}

#[test]
fn over_the_limit_of_calls_nothing_was_placed() {
    for text in ["Over Concurrency Limit", "Your concurrency limit was reached.", "Concurrent calls limit exceeded"] {
        let error = sorted(400, &says(400, json!(text))).unwrap_err();
        assert_eq!(
            (error.verdict, error.reason.as_str(), error.scope),
            (Verdict::NotSent, "concurrency_limit", Scope::Account)
        );
        assert_eq!(error.retry_after, Some(CAPACITY_WAIT));
    }
    // In nobody's shape it proves nothing.
    assert_eq!(judged(400, "Over Concurrency Limit").0, Verdict::InDoubt);
}

#[test]
fn refusals_are_told_apart_by_their_text_whether_one_or_several() {
    let number = "customer.number must be a valid phone number in the E.164 format.";
    for (status, message, reason, scope) in [
        (400, json!(number), "invalid_number", Scope::Number),
        (400, json!([number, "name must be shorter"]), "invalid_number", Scope::Number),
        (400, json!("assistantOverrides.property x should not exist"), "invalid_request", Scope::Request),
        (400, json!(["phoneNumberId must be a UUID"]), "invalid_request", Scope::Request),
        (400, json!("Couldn't Find Assistant."), "not_found", Scope::Request),
        (400, json!("Wallet Balance is -0.61. Purchase More Credits."), "payment_required", Scope::Account),
        (400, json!("Daily outbound call limit reached."), "daily_limit", Scope::Account),
        (401, json!("Invalid Key."), "auth_failure", Scope::Account),
        (402, json!("Payment required."), "payment_required", Scope::Account),
        (403, json!("Forbidden resource"), "account_blocked", Scope::Account),
        (404, json!("Not Found"), "not_found", Scope::Request),
        (422, json!("no"), "invalid_request", Scope::Request),
    ] {
        assert_eq!(judged(status, &says(status, message)), (Verdict::Refused, reason.into(), scope));
    }
}

#[test]
fn a_proxys_page_proves_nothing() {
    for status in [400, 401, 402, 403, 404, 422] {
        for body in ["<html>", "", r#"{"message":"x"}"#, r#"{"error":"x"}"#, "[]"] {
            assert_eq!(judged(status, body).0, Verdict::InDoubt, "{status} {body}");
        }
    }
}

#[test]
fn what_the_sdks_would_repeat_is_in_doubt_but_for_429() {
    for status in [408, 409, 500, 502, 503, 504] {
        let body = says(status, json!("Internal server error"));
        assert_eq!(judged(status, &body).0, Verdict::InDoubt, "{status}");
    }
    assert_eq!(judged(429, "slow down"), (Verdict::NotSent, "rate_limited".into(), Scope::Account));
    let mut limited = answer(429, "");
    limited.headers.insert("retry-after", HeaderValue::from_static("7"));
    assert_eq!(sort(Ok(limited), now()).unwrap_err().retry_after, Some(Duration::from_secs(7)));
    assert_eq!(judged(307, ""), (Verdict::Refused, "redirected".into(), Scope::Account));
}

#[test]
fn a_cut_off_answer_is_in_doubt_whatever_it_began_with() {
    for status in [201, 400] {
        let cut = Answer { truncated: true, ..answer(status, &call(json!({}))) };
        assert_eq!(sort(Ok(cut), now()).unwrap_err().verdict, Verdict::InDoubt);
    }
}

#[test]
fn details_hold_no_number() {
    let error = sorted(400, &says(400, json!("customer.number +14155550123 is not valid"))).unwrap_err();
    assert!(!error.detail.contains("4155550123"), "{}", error.detail);
}
