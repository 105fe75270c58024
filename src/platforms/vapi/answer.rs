//! What Vapi's answer to a create request means.
//!
//! The general table: a 2xx with an id placed the call; a 2xx without one is in doubt and presumed placed; 400, 401, 402, 403,
//! 404 and 422 refuse, but only in Vapi's own error shape (a proxy's page proves nothing, so it is in doubt); 429 was not
//! accepted; 3xx refuses with an alarm; everything else, 409 and 5xx above all, is in doubt.
//!
//! Vapi gives no codes, so the cases of 400 are told apart by text. At the account's limit of concurrent calls its answers
//! differ by report (vendor's docs and users' posts, 2026-08):
//!
//! | answer | verdict |
//! |---|---|
//! | 400 whose text is about concurrency | not sent, again after 30 s; the account slows |
//! | 201 with `subscriptionLimits.concurrencyBlocked` | placed, but held back. The call has an id, and the vendor's pages disagree on whether it "does not connect" or "waits until a slot becomes free": sending another one could call twice. It is looked at soon (the handle `concurrency_blocked` marks it), and what it is found to be decides, see `held_back` |
//! | 201, and the call ends by `call.start.error-subscription-concurrency-limit-reached` | placed; its end says that it was never dialled, so it is sent again (see `record`) |

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

/// Names of what is kept with the attempt.
pub const CONTROL_URL: &str = "control_url";
pub const BLOCKED: &str = "concurrency_blocked";

const MAX_URL_BYTES: usize = 2048;

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
    let says = body.as_ref().filter(|body| is_own_error(body)).map(text_of);
    let detail = match &says {
        Some(text) => words::detail(text),
        None if answer.truncated => "the answer is incomplete".into(),
        None => "the answer is not in Vapi's error shape".into(),
    };
    let error = |verdict, reason: &str, scope| {
        SendError::new(verdict, reason, detail.clone()).with_status(status).with_scope(scope)
    };
    let wait = retry_after(&answer.headers, now);
    Err(match (status, &says) {
        (300..=399, _) => error(Verdict::Refused, "redirected", Scope::Account),
        (400 | 403 | 422, Some(text)) if is_about_concurrency(text) => {
            let wait = wait.map_or(CAPACITY_WAIT, |wait| wait.max(CAPACITY_WAIT));
            error(Verdict::NotSent, "concurrency_limit", Scope::Account).with_retry_after(Some(wait))
        }
        (400 | 422, Some(text)) => {
            let (reason, scope) = bad_request(text);
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
    let call = body.and_then(|body| Some((body, words::call_id(body, "id")?)));
    let Some((body, id)) = call else {
        let detail = body.filter(|body| is_own_error(body)).map(|body| words::detail(&text_of(body)));
        let detail = detail.unwrap_or_else(|| "a success without a readable id".into());
        return Err(SendError::new(Verdict::InDoubt, "no_call_id", detail).with_status(status));
    };
    let mut placed = Placed::new(id, status);
    if let Some(url) = control_url(body) {
        placed.handles.insert(CONTROL_URL.into(), url.to_owned());
    }
    let limits = body.get("subscriptionLimits");
    placed.remaining = limits
        .and_then(|limits| limits.get("remainingConcurrentCalls")?.as_f64())
        .filter(|left| left.is_finite())
        .map(|left| left.clamp(0.0, f64::from(u32::MAX)) as u32);
    let blocked = limits.and_then(|limits| limits.get("concurrencyBlocked")?.as_bool()) == Some(true);
    if blocked {
        placed.remaining = Some(0);
        placed.handles.insert(BLOCKED.into(), "true".into());
    }
    // "Created" is not "dialled": a call may have ended before it began.
    placed.held_back = blocked || body.get("status").is_some_and(|status| status == "ended");
    Ok(placed)
}

/// Where a live call takes its commands. Whether it may be sent to is judged when it is.
pub fn control_url(call: &Value) -> Option<&str> {
    call.get("monitor")?.get("controlUrl")?.as_str().filter(|url| (1..=MAX_URL_BYTES).contains(&url.len()))
}

/// `{"message": "…" or ["…"], "error": "Bad Request", "statusCode": 400}`.
pub fn is_own_error(body: &Value) -> bool {
    let says = match body.get("message") {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(texts)) => !texts.is_empty(),
        _ => false,
    };
    says && (body.get("statusCode").is_some_and(Value::is_number) || body.get("error").is_some_and(Value::is_string))
}

fn text_of(body: &Value) -> String {
    let texts = match body.get("message") {
        Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).take(20).collect::<Vec<_>>().join("; "),
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    };
    if texts.is_empty() { body.get("error").and_then(Value::as_str).unwrap_or_default().to_owned() } else { texts }
}

fn is_about_concurrency(text: &str) -> bool {
    let text = text.to_lowercase();
    text.contains("concurren") && ["limit", "over", "exceed", "reach", "block"].iter().any(|word| text.contains(word))
}

fn bad_request(text: &str) -> (&'static str, Scope) {
    let text = text.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if says(&["customer.number", "customer number", "phone number in the e.164"]) && says(&["valid", "e.164"]) {
        ("invalid_number", Scope::Number)
    } else if says(&["daily outbound", "daily limit", "outbound-daily-limit"]) {
        ("daily_limit", Scope::Account)
    } else if says(&["credit", "wallet", "billing", "balance", "frozen"]) {
        ("payment_required", Scope::Account)
    } else if says(&["fraud"]) {
        ("account_blocked", Scope::Account)
    } else if says(&["couldn't find", "could not find", "not found", "does not exist", "doesn't exist"]) {
        ("not_found", Scope::Request)
    } else if says(&["international"]) {
        ("destination_blocked", Scope::Request)
    } else {
        ("invalid_request", Scope::Request)
    }
}

#[cfg(test)]
mod tests;
