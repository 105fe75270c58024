use http::{HeaderMap, HeaderValue};

use super::*;

fn sorted(status: u16, body: &str) -> Result<Placed, SendError> {
    let body = bytes::Bytes::copy_from_slice(body.as_bytes());
    sort(Ok(Answer { status, headers: HeaderMap::new(), body, truncated: false }), DateTime::UNIX_EPOCH)
}

fn refusal(status: u16, message: &str) -> (Verdict, String, Scope) {
    let body = serde_json::json!({ "status": "error", "message": message }).to_string();
    let error = sorted(status, &body).unwrap_err();
    (error.verdict, error.reason, error.scope)
}

#[test]
fn each_status_has_its_verdict() {
    use Scope::{Account, Number, Request};
    use Verdict::{InDoubt, NotSent, Refused};
    for (status, message, verdict, reason, scope) in [
        (400, "Invalid request format: agent_override", Refused, "invalid_request", Request),
        (400, "to_number is not a valid E.164 number", Refused, "invalid_number", Number),
        (400, "Contact is marked do_not_call", Refused, "do_not_call", Number),
        (401, "API key is missing or invalid.", Refused, "auth_failure", Account),
        (402, "Trial has ended, please add payment method.", Refused, "payment_required", Account),
        (403, "Forbidden", Refused, "account_blocked", Account),
        (404, "Not found", Refused, "not_found", Request),
        (422, "Cannot find requested asset under given api key.", Refused, "not_found", Request),
        (429, "Account rate limited, please throttle your requests.", NotSent, "rate_limited", Account),
        (429, "Concurrency limit reached", NotSent, "concurrency_limit", Account),
        (403, "Org concurrency limit exceeded", NotSent, "concurrency_limit", Account),
        (307, "elsewhere", Refused, "redirected", Account),
        (408, "late", InDoubt, "timeout", Request),
        (409, "conflict", InDoubt, "unexpected_answer", Request),
        (500, "An unexpected server error occurred.", InDoubt, "server_error", Request),
        (503, "Concurrency service down", InDoubt, "server_error", Request),
    ] {
        assert_eq!(refusal(status, message), (verdict, reason.to_owned(), scope), "{status} {message}");
    }
}

#[test]
fn a_proxys_page_proves_nothing() {
    for status in [400, 401, 402, 403, 404, 422] {
        for body in ["<html>", "", r#"{"error":"x"}"#, r#"{"status":"error"}"#] {
            assert_eq!(sorted(status, body).unwrap_err().verdict, Verdict::InDoubt, "{status} {body}");
        }
    }
    assert_eq!(sorted(429, "<html>").unwrap_err().verdict, Verdict::NotSent);
}

#[test]
fn a_success_needs_a_readable_id() {
    let placed = sorted(201, r#"{"call_id":"call_0001","call_status":"registered"}"#).unwrap();
    assert_eq!((placed.platform_call_id.as_str(), placed.http_status, placed.held_back), ("call_0001", 201, false));
    for body in ["", "{}", r#"{"call_id":""}"#, r#"{"call_id":"a/b"}"#, r#"{"call_id":7}"#, r#"{"call_id":"ca"#] {
        let error = sorted(201, body).unwrap_err();
        assert_eq!((error.verdict, error.reason.as_str()), (Verdict::InDoubt, "no_call_id"), "{body}");
    }
}

#[test]
fn a_call_that_is_in_error_from_the_first_is_looked_at_soon() {
    let body = r#"{"call_id":"c","call_status":"error","disconnection_reason":"concurrency_limit_reached"}"#;
    assert!(sorted(201, body).unwrap().held_back);
}

#[test]
fn a_wait_is_the_headers_and_no_shorter_than_a_line_takes_to_become_free() {
    let waits = |message: &str, header: Option<&'static str>| {
        let body = serde_json::json!({ "status": "error", "message": message }).to_string().into();
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static(value));
        }
        sort(Ok(Answer { status: 429, headers, body, truncated: false }), DateTime::UNIX_EPOCH).unwrap_err().retry_after
    };
    assert_eq!(waits("slow down", None), None);
    assert_eq!(waits("slow down", Some("7")), Some(Duration::from_secs(7)));
    assert_eq!(waits("concurrency", None), Some(CAPACITY_WAIT));
    assert_eq!(waits("concurrency", Some("7")), Some(CAPACITY_WAIT));
}
