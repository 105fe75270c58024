//! What Twilio's answer to a create request means.
//!
//! The general table: a 2xx with a call SID placed the call; a 2xx without one is in doubt and presumed placed; 400, 401, 402,
//! 403, 404 and 422 refuse, but only in Twilio's own error shape (a proxy's page proves nothing, so it is in doubt); 429 was
//! not accepted; 3xx refuses with an alarm; everything else is in doubt.
//!
//! Twilio's errors are `{"code": 21211, "message": …, "more_info": …, "status": 400}`; the code decides, never the text
//! (api/errors, 2026-08). Which HTTP status stands beside a code is not documented for all: any 4xx will do.
//!
//! | code | verdict |
//! |---|---|
//! | 20429 | not sent: "the request was not processed" |
//! | 10004 | not sent: the account's calls at once are at their limit |
//! | 21211, 21217, 13224 | refused, for the number: it is none |
//! | 21216, 13225 | refused, for the number: it may not be called |
//! | 21215, 21219 | refused, for the request: the account's geographic permissions, a trial account's unverified number |
//! | 20003, 20005, 20404 | refused, for the account: credentials, suspended, no such account |
//! | any other | refused, for the request (`From`, addresses, parameters) |

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::super::answers::{self, retry_after};
use super::super::create::{Answer, NoAnswer};
use super::super::words;
use super::super::{Placed, Scope, SendError};
use super::record;
use crate::call::Verdict;

/// Calls at once are at their limit: a call has to end first.
const CONCURRENCY_WAIT: Duration = Duration::from_secs(30);

/// Pure; `now` is for a `Retry-After` that is a date.
pub fn sort(answer: Result<Answer, NoAnswer>, now: DateTime<Utc>) -> Result<Placed, SendError> {
    match answer {
        Ok(answer) => sort_answer(&answer, now),
        Err(none) => Err(answers::no_answer(none)),
    }
}

fn sort_answer(answer: &Answer, now: DateTime<Utc>) -> Result<Placed, SendError> {
    let body = if answer.truncated { None } else { serde_json::from_slice::<Value>(&answer.body).ok() };
    let status = answer.status;
    if (200..300).contains(&status) {
        return placed(status, body.as_ref());
    }
    let code = body.as_ref().and_then(error_code);
    let detail = match (&body, code) {
        (Some(body), Some(code)) => format!("{code}: {}", message(body)),
        _ if answer.truncated => "the answer is incomplete".into(),
        _ => "the answer is not in Twilio's error shape".into(),
    };
    let (verdict, reason, scope) = match (status, code) {
        (300..=399, _) => (Verdict::Refused, "redirected", Scope::Account),
        // A limiter in front of the platform may say it in any shape: nothing got past it.
        (429, _) | (400..=499, Some(20429)) => (Verdict::NotSent, "rate_limited", Scope::Account),
        (408, _) => (Verdict::InDoubt, "timeout", Scope::Request),
        (409, _) => (Verdict::InDoubt, "unexpected_answer", Scope::Request),
        (400..=499, Some(10004)) => (Verdict::NotSent, "concurrency_limit", Scope::Account),
        (400 | 401 | 402 | 403 | 404 | 422, Some(code)) => refused(status, code),
        (500.., _) => (Verdict::InDoubt, "server_error", Scope::Request),
        _ => (Verdict::InDoubt, "unexpected_answer", Scope::Request),
    };
    let wait = match (verdict, reason) {
        (Verdict::NotSent, "concurrency_limit") => retry_after(&answer.headers, now).or(Some(CONCURRENCY_WAIT)),
        // Documented by Twilio for another API only; honoured where it stands.
        (Verdict::NotSent, _) => retry_after(&answer.headers, now),
        _ => None,
    };
    Err(SendError::new(verdict, reason, detail).with_status(status).with_scope(scope).with_retry_after(wait))
}

fn refused(status: u16, code: u64) -> (Verdict, &'static str, Scope) {
    let (reason, scope) = match (code, status) {
        (21211 | 21217 | 13224, _) => ("invalid_number", Scope::Number),
        (21216 | 13225, _) => ("destination_blocked", Scope::Number),
        // Permissions of this account: another platform may call there.
        (21215, _) => ("destination_not_permitted", Scope::Request),
        (21219, _) => ("number_not_verified", Scope::Request),
        (21210 | 21212, _) => ("invalid_from_number", Scope::Request),
        (20003, _) | (_, 401) => ("auth_failure", Scope::Account),
        (20005, _) | (_, 403) => ("account_blocked", Scope::Account),
        (_, 402) => ("payment_required", Scope::Account),
        (20404, _) | (_, 404) => ("not_found", Scope::Account),
        _ => ("invalid_request", Scope::Request),
    };
    (Verdict::Refused, reason, scope)
}

fn placed(status: u16, body: Option<&Value>) -> Result<Placed, SendError> {
    match body.and_then(record::sid) {
        Some(sid) => Ok(Placed::new(sid, status)),
        None => {
            let detail = "a success without a readable call SID";
            Err(SendError::new(Verdict::InDoubt, "no_call_id", detail).with_status(status))
        }
    }
}

/// The code of an error in Twilio's own shape; a number or, tolerated, a text that is one.
pub fn error_code(body: &Value) -> Option<u64> {
    let code = body.get("code")?;
    body.get("message")?.as_str()?;
    code.as_u64().or_else(|| code.as_str()?.parse().ok())
}

pub fn is_own_error(body: &Value) -> bool {
    error_code(body).is_some()
}

/// Their words, masked and bounded.
pub fn message(body: &Value) -> String {
    words::detail(body.get("message").and_then(Value::as_str).unwrap_or_default())
}

#[cfg(test)]
mod tests;
