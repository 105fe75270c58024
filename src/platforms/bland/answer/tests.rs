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

/// Verdict, reason and scope of an answer that is no call.
fn judged(status: u16, body: &str) -> (Verdict, String, Scope) {
    let error = sorted(status, body).unwrap_err();
    assert_eq!(error.http_status, Some(status));
    (error.verdict, error.reason, error.scope)
}

fn says(message: &str) -> String {
    json!({ "status": "error", "message": message }).to_string()
}

fn refused(reason: &str, scope: Scope) -> (Verdict, String, Scope) {
    (Verdict::Refused, reason.into(), scope)
}

fn in_doubt(reason: &str) -> (Verdict, String, Scope) {
    (Verdict::InDoubt, reason.into(), Scope::Request)
}

fn not_sent(reason: &str, scope: Scope) -> (Verdict, String, Scope) {
    (Verdict::NotSent, reason.into(), scope)
}

#[test]
fn a_success_with_an_id_placed_the_call() {
    let placed = sorted(200, r#"{"status":"success","call_id":"3f0c-1","batch_id":null}"#).unwrap();
    assert_eq!((placed.platform_call_id.as_str(), placed.http_status), ("3f0c-1", 200));
    // The id wins over the word beside it.
    assert!(sorted(200, r#"{"status":"error","message":"m","call_id":"3f0c-1"}"#).is_ok());
}

#[test]
fn a_success_without_a_readable_id_is_in_doubt() {
    for body in [
        "",
        "{}",
        "[]",
        "null",
        "<html>",
        r#"{"call_id":null}"#,
        r#"{"call_id":7}"#,
        r#"{"call_id":""}"#,
        r#"{"call_id":"../x"}"#,
        r#"{"call_id":"a b"}"#,
        r#"{"status":"error","message":"no"}"#,
        "{\"call_id\":\"abc",
    ] {
        assert_eq!(judged(200, body), in_doubt("no_call_id"), "{body}");
    }
    let cut = Answer { truncated: true, ..answer(200, r#"{"call_id":"abc"}"#) };
    assert_eq!(sort(Ok(cut), now()).unwrap_err().reason, "no_call_id");
}

#[test]
fn a_refusal_counts_only_in_blands_own_words() {
    for status in [400, 401, 402, 403, 404, 418, 422] {
        assert_eq!(judged(status, &says("no")).0, Verdict::Refused, "{status}");
        for foreign in ["", "<html>", "[]", "{}", r#"{"message":"no"}"#, r#"{"errors":[]}"#, "\"no\""] {
            assert_eq!(judged(status, foreign), in_doubt("unexpected_answer"), "{status} {foreign}");
        }
        let cut = Answer { truncated: true, ..answer(status, &says("no")) };
        assert_eq!(sort(Ok(cut), now()).unwrap_err().verdict, Verdict::InDoubt, "{status}");
    }
}

#[test]
fn statuses_have_their_reason_and_scope() {
    assert_eq!(judged(400, &says("temperature must be <= 1")), refused("invalid_request", Scope::Request));
    assert_eq!(
        judged(401, r#"{"data":null,"errors":[{"error":"AUTH_FAILURE","message":"m"}]}"#),
        refused("auth_failure", Scope::Account)
    );
    assert_eq!(judged(402, &says("no balance")), refused("payment_required", Scope::Account));
    assert_eq!(judged(403, &says("flagged")), refused("account_blocked", Scope::Account));
    assert_eq!(judged(404, &says("Pathway not found")), refused("not_found", Scope::Request));
    assert_eq!(judged(418, r#"{"error":"OBJECTIVE_VALIDATION_ERROR"}"#), refused("invalid_request", Scope::Request));
    for status in [301, 302, 303, 307, 308] {
        assert_eq!(judged(status, ""), refused("redirected", Scope::Account));
    }
    assert_eq!(judged(408, &says("m")), in_doubt("timeout"));
    for status in [405, 409, 410, 413, 425, 499] {
        assert_eq!(judged(status, &says("m")), in_doubt("unexpected_answer"), "{status}");
    }
    for status in [500, 502, 503, 504, 599] {
        assert_eq!(judged(status, &says("m")), in_doubt("server_error"), "{status}");
    }
}

#[test]
fn the_ambiguous_400_is_in_doubt() {
    assert_eq!(judged(400, &says("Unable to queue call")), in_doubt("server_error"));
    assert_eq!(judged(400, r#"{"error":"unable to save request body"}"#), in_doubt("server_error"));
}

#[test]
fn refusals_of_a_number_are_told_apart() {
    assert_eq!(judged(400, r#"{"status":"DNC Error","message":"m"}"#), refused("do_not_call", Scope::Number));
    assert_eq!(judged(400, &says("Emergency numbers cannot be called")), refused("sensitive_number", Scope::Number));
    assert_eq!(judged(400, &says("Invalid phone number")), refused("invalid_number", Scope::Number));
    assert_eq!(judged(400, &says("content was flagged")), refused("content_flagged", Scope::Request));
    assert_eq!(judged(429, &says("The number is BLACKLISTED")), refused("blacklisted", Scope::Number));
}

#[test]
fn the_permanent_500_is_refused() {
    assert_eq!(judged(500, &says("Invalid encrypted_key")), refused("invalid_encrypted_key", Scope::Account));
    assert_eq!(judged(500, "Invalid encrypted_key"), in_doubt("server_error"));
}

#[test]
fn a_rate_limit_is_not_sent_for_the_account() {
    for body in [says("slow down"), String::new(), "<html>".into()] {
        assert_eq!(judged(429, &body), not_sent("rate_limited", Scope::Account));
        assert_eq!(sorted(429, &body).unwrap_err().retry_after, None);
    }
}

#[test]
fn the_same_number_within_ten_seconds_waits_for_that_number_only() {
    for (given, expected) in [(None, 11), (Some("2"), 11), (Some("60"), 60)] {
        let mut answer = answer(429, &says("Same phone number was called in the last 10 seconds"));
        if let Some(given) = given {
            answer.headers.insert("retry-after", HeaderValue::from_static(given));
        }
        let error = sort(Ok(answer), now()).unwrap_err();
        assert_eq!(
            (error.verdict, error.reason.as_str(), error.scope),
            (Verdict::NotSent, "same_number", Scope::Number)
        );
        assert_eq!(error.retry_after, Some(Duration::from_secs(expected)));
    }
}

#[test]
fn retry_after_is_clamped_and_may_be_a_date() {
    for (given, expected) in [
        ("2", Some(2000)),
        ("1.5", Some(1500)),
        ("0", Some(1000)),
        ("-7", Some(1000)),
        ("86400", Some(300_000)),
        ("1e300", Some(300_000)),
        ("NaN", None),
        ("soon", None),
        ("Sat, 21 Nov 2026 10:00:30 GMT", Some(30_000)),
        ("Sat, 21 Nov 2026 09:00:00 GMT", Some(1000)),
        ("Sun, 22 Nov 2026 10:00:00 GMT", Some(300_000)),
    ] {
        let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static(given))]);
        assert_eq!(retry_after(&headers, now()), expected.map(Duration::from_millis), "{given}");
    }
}

#[test]
fn plan_codes_count_under_any_client_status() {
    for status in [400, 402, 403, 429] {
        let body = |code: &str| json!({ "data": null, "errors": [{ "error": code, "message": "m" }] }).to_string();
        assert_eq!(
            judged(status, &body("CALL_PLAN_DESTINATION_BLOCKED")),
            refused("destination_blocked", Scope::Number)
        );
        assert_eq!(judged(status, &body("CALL_UNPAID_INTL_BLOCK")), refused("destination_blocked", Scope::Number));
        assert_eq!(judged(status, &body("CALL_PLAN_TRANSFER_BLOCKED")), refused("transfer_blocked", Scope::Request));
        assert_eq!(judged(status, &body("CALL_RL_PLAN_CONCURRENCY")), not_sent("concurrency_limit", Scope::Account));
        assert_eq!(judged(status, &body("CALL_RL_PLAN_DAILY_MINUTES")), not_sent("daily_limit", Scope::Account));
    }
}

#[test]
fn what_never_left_is_not_sent_and_what_may_have_is_in_doubt() {
    let not_sent = NoAnswer::NotSent { reason: "connect_failed", detail: "refused".into() };
    let error = sort(Err(not_sent), now()).unwrap_err();
    assert_eq!((error.verdict, error.scope, error.http_status), (Verdict::NotSent, Scope::Account, None));
    let error = sort(Err(NoAnswer::InDoubt { reason: "timeout", detail: "t".into() }), now()).unwrap_err();
    assert_eq!((error.verdict, error.reason.as_str()), (Verdict::InDoubt, "timeout"));
}

#[test]
fn details_carry_the_platforms_words_without_numbers() {
    let error = sorted(400, &says("Invalid phone number +14155550123")).unwrap_err();
    assert_eq!(error.detail, "Invalid phone number +…23");
}

proptest::proptest! {
    #[test]
    fn no_answer_panics_and_only_a_success_places(status in 200u16..600, body in ".{0,200}|\\{\"(status|error|message|call_id|errors)\":(\"[a-z-]{0,9}\"|7|null|\\[\\{\\}\\])\\}") {
        match sorted(status, &body) {
            Ok(placed) => proptest::prop_assert!(status < 300 && body.contains(&placed.platform_call_id)),
            Err(error) => {
                proptest::prop_assert!(error.verdict != Verdict::Placed);
                // What may have been accepted is never sent again: only 429 and the plan's limits were not.
                proptest::prop_assert!(error.verdict != Verdict::NotSent || status == 429);
            }
        }
    }
}
