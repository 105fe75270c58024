use super::*;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

const SID: &str = "CA00000000000000000000000000000001";

fn now() -> DateTime<Utc> {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn answer(status: u16, body: &str) -> Answer {
    Answer { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()), truncated: false }
}

fn error(status: u16, body: &str) -> SendError {
    sort(Ok(answer(status, body)), now()).unwrap_err()
}

fn coded(status: u16, code: u64) -> SendError {
    let body = format!(
        r#"{{"code":{code},"message":"no","more_info":"https://www.twilio.com/docs/errors/{code}","status":{status}}}"#
    );
    error(status, &body)
}

#[test]
fn a_success_with_a_call_sid_is_placed_and_without_one_in_doubt() {
    let placed = sort(Ok(answer(201, &format!(r#"{{"sid":"{SID}","status":"queued"}}"#))), now()).unwrap();
    assert_eq!((placed.platform_call_id.as_str(), placed.http_status), (SID, 201));
    for body in
        ["", "{}", "[]", "<html>", r#"{"sid":""}"#, r#"{"sid":7}"#, r#"{"sid":"AC00000000000000000000000000000001"}"#]
    {
        let error = error(201, body);
        assert_eq!((error.verdict, error.reason.as_str()), (Verdict::InDoubt, "no_call_id"), "{body}");
    }
    let cut = Answer { truncated: true, ..answer(201, &format!(r#"{{"sid":"{SID}"}}"#)) };
    assert_eq!(sort(Ok(cut), now()).unwrap_err().verdict, Verdict::InDoubt);
}

#[test]
fn the_code_decides_what_is_refused_and_whom_it_concerns() {
    for (status, code, reason, scope) in [
        (400, 21211, "invalid_number", Scope::Number),
        (400, 21217, "invalid_number", Scope::Number),
        (400, 13224, "invalid_number", Scope::Number),
        (400, 21216, "destination_blocked", Scope::Number),
        (403, 13225, "destination_blocked", Scope::Number),
        (400, 21215, "destination_not_permitted", Scope::Request),
        (403, 21219, "number_not_verified", Scope::Request),
        (400, 21210, "invalid_from_number", Scope::Request),
        (400, 21212, "invalid_from_number", Scope::Request),
        (400, 21205, "invalid_request", Scope::Request),
        (400, 21402, "invalid_request", Scope::Request),
        (400, 21626, "invalid_request", Scope::Request),
        (400, 99999, "invalid_request", Scope::Request),
        (401, 20003, "auth_failure", Scope::Account),
        (403, 20005, "account_blocked", Scope::Account),
        (403, 99999, "account_blocked", Scope::Account),
        (402, 99999, "payment_required", Scope::Account),
        (404, 20404, "not_found", Scope::Account),
    ] {
        let error = coded(status, code);
        assert_eq!((error.verdict, error.reason.as_str(), error.scope), (Verdict::Refused, reason, scope), "{code}");
        assert_eq!(error.detail, format!("{code}: no"));
    }
}

#[test]
fn a_refusal_in_a_strangers_words_is_doubt() {
    for status in [400, 401, 402, 403, 404, 422] {
        for body in ["", "<html>Not Found</html>", "{}", r#"{"message":"no"}"#, r#"{"code":"x","message":"no"}"#] {
            assert_eq!(error(status, body).verdict, Verdict::InDoubt, "{status} {body}");
        }
    }
}

#[test]
fn too_many_requests_were_not_processed_in_any_shape() {
    for error in [error(429, "<html>"), coded(429, 20429), coded(400, 20429)] {
        assert_eq!((error.verdict, error.scope), (Verdict::NotSent, Scope::Account));
        assert_eq!((error.reason.as_str(), error.retry_after), ("rate_limited", None));
    }
    let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static("7"))]);
    let asked = Answer { headers, ..answer(429, "") };
    assert_eq!(sort(Ok(asked), now()).unwrap_err().retry_after, Some(Duration::from_secs(7)));
}

#[test]
fn calls_at_once_at_their_limit_wait_for_one_to_end() {
    for status in [400, 403, 429] {
        let error = coded(status, 10004);
        assert_eq!((error.verdict, error.scope), (Verdict::NotSent, Scope::Account), "{status}");
    }
    assert_eq!(coded(400, 10004).retry_after, Some(CONCURRENCY_WAIT));
    // A server's failure proves nothing, whatever code stands beside it.
    assert_eq!(coded(503, 10004).verdict, Verdict::InDoubt);
}

#[test]
fn servers_failures_are_doubt_and_redirects_an_alarm() {
    for status in [500, 502, 503, 504] {
        assert_eq!(coded(status, 20500).verdict, Verdict::InDoubt, "{status}");
        assert_eq!(error(status, "<html>").verdict, Verdict::InDoubt, "{status}");
    }
    for status in [408, 409, 418, 100] {
        assert_eq!(coded(status, 21211).verdict, Verdict::InDoubt, "{status}");
    }
    let error = error(307, "");
    assert_eq!((error.verdict, error.reason.as_str(), error.scope), (Verdict::Refused, "redirected", Scope::Account));
}

#[test]
fn their_words_are_masked() {
    let error = error(400, r#"{"code":21211,"message":"Invalid 'To' Phone Number: +14155550123","status":400}"#);
    assert_eq!(error.detail, "21211: Invalid 'To' Phone Number: +…23");
}
