//! What Retell's answer to a create request means.
//!
//! The general table: a 2xx with a `call_id` placed the call (201 is documented); a 2xx without one is in doubt and presumed
//! placed; 400, 401, 402, 403, 404 and 422 refuse, but only in Retell's own error shape (a proxy's page proves nothing, so it is in
//! doubt); 429 was not accepted; 3xx refuses with an alarm; everything else, 500 above all, is in doubt.
//!
//! Retell gives no codes and documents no `Retry-After`. At the account's limit of concurrent calls its pages know two answers
//! (deploy/concurrency, 2026-08), and both are taken:
//!
//! | answer | verdict |
//! |---|---|
//! | 429 (or another refusal) whose text is about concurrency | not sent, again after 30 s; the account slows |
//! | 201 whose call is already at `error` or `not_connected` | placed, looked at soon; `concurrency_limit_reached` says that it was never dialled, and it is sent again (see `ending`) |

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::super::answers::{no_answer, retry_after};
use super::super::create::{Answer, NoAnswer};
use super::super::words;
use super::super::{Placed, Scope, SendError};
use crate::call::Verdict;

/// Before a call is tried again at an account whose lines are all taken.
pub const CAPACITY_WAIT: Duration = Duration::from_secs(30);

/// Pure; `now` is for a `Retry-After` that is a date.
pub fn sort(answer: Result<Answer, NoAnswer>, now: DateTime<Utc>) -> Result<Placed, SendError> {
    match answer {
        Ok(answer) => sort_answer(&answer, now),
        Err(none) => Err(no_answer(none)),
    }
}

fn sort_answer(answer: &Answer, now: DateTime<Utc>) -> Result<Placed, SendError> {
    let body = if answer.truncated { None } else { serde_json::from_slice::<Value>(&answer.body).ok() };
    let status = answer.status;
    if (200..300).contains(&status) {
        return placed(status, body.as_ref());
    }
    let says = body.as_ref().filter(|body| is_own_error(body)).map(message);
    let detail = match says {
        Some(text) => words::detail(text),
        None if answer.truncated => "the answer is incomplete".into(),
        None => "the answer is not in Retell's error shape".into(),
    };
    let error = |verdict, reason: &str, scope| {
        SendError::new(verdict, reason, detail.clone()).with_status(status).with_scope(scope)
    };
    let wait = retry_after(&answer.headers, now);
    Err(match (status, says) {
        (300..=399, _) => error(Verdict::Refused, "redirected", Scope::Account),
        (400 | 403 | 422 | 429, Some(text)) if is_about_concurrency(text) => {
            let wait = wait.map_or(CAPACITY_WAIT, |wait| wait.max(CAPACITY_WAIT));
            error(Verdict::NotSent, "concurrency_limit", Scope::Account).with_retry_after(Some(wait))
        }
        (400 | 422, Some(text)) => {
            let (reason, scope) = bad_request(status, text);
            error(Verdict::Refused, reason, scope)
        }
        (401, Some(_)) => error(Verdict::Refused, "auth_failure", Scope::Account),
        (402, Some(_)) => error(Verdict::Refused, "payment_required", Scope::Account),
        (403, Some(_)) => error(Verdict::Refused, "account_blocked", Scope::Account),
        (404, Some(_)) => error(Verdict::Refused, "not_found", Scope::Request),
        // A limiter in front of the platform may say it in any shape: nothing got past it.
        (429, _) => error(Verdict::NotSent, "rate_limited", Scope::Account).with_retry_after(wait),
        (408, _) => error(Verdict::InDoubt, "timeout", Scope::Request),
        (500.., _) => error(Verdict::InDoubt, "server_error", Scope::Request),
        _ => error(Verdict::InDoubt, "unexpected_answer", Scope::Request),
    })
}

fn placed(status: u16, body: Option<&Value>) -> Result<Placed, SendError> {
    let call = body.and_then(|body| Some((body, words::call_id(body, "call_id")?)));
    let Some((body, id)) = call else {
        let detail = body.filter(|body| is_own_error(body)).map(|body| words::detail(message(body)));
        let detail = detail.unwrap_or_else(|| "a success without a readable call_id".into());
        return Err(SendError::new(Verdict::InDoubt, "no_call_id", detail).with_status(status));
    };
    let mut placed = Placed::new(id, status);
    placed.held_back = body.get("call_status").is_some_and(|status| status == "error" || status == "not_connected");
    Ok(placed)
}

/// `{"status": "error", "message": "…"}`.
pub fn is_own_error(body: &Value) -> bool {
    body.get("status").is_some_and(|status| status == "error") && body.get("message").is_some_and(Value::is_string)
}

fn message(body: &Value) -> &str {
    body.get("message").and_then(Value::as_str).unwrap_or_default()
}

fn is_about_concurrency(text: &str) -> bool {
    text.to_lowercase().contains("concurren")
}

/// 422 is documented for an asset (agent, number) that this key does not have.
fn bad_request(status: u16, text: &str) -> (&'static str, Scope) {
    let text = text.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    // The account's own list, where the request asks for it (`honor_internal_dnc`).
    if says(&["do_not_call", "do not call", "do-not-call"]) {
        ("do_not_call", Scope::Number)
    } else if says(&["to_number", "destination", "called number"])
        && !says(&["from_number", "override_agent", "agent_id"])
    {
        ("invalid_number", Scope::Number)
    } else if status == 422 || says(&["not found", "not exist"]) {
        ("not_found", Scope::Request)
    } else {
        ("invalid_request", Scope::Request)
    }
}

#[cfg(test)]
mod tests;
