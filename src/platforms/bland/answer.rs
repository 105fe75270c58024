//! What Bland's answer to a create request means.
//!
//! The general table: a 2xx with an id placed the call; a 2xx without one is in doubt and presumed placed; 400, 401, 402,
//! 403, 404, 418 and 422 refuse, but only in Bland's own error shape (a proxy's page proves nothing, so it is in doubt);
//! 429 was not accepted; 3xx refuses with an alarm; everything else is in doubt.
//!
//! Bland's exceptions (its error catalogue, 2026-08), told apart by text since it gives no codes:
//!
//! | answer | verdict |
//! |---|---|
//! | 400 "unable to queue call", "unable to save request body" | in doubt: a server's condition under a client's code |
//! | 400 with status "DNC Error", emergency and sensitive numbers | refused, for the number |
//! | 429 that says the number is blacklisted | refused, for the number |
//! | 429 for the same number within 10 s | not sent, again after 11 s or more. It could mean that an earlier, lost request of ours made a call; but each attempt is sent once, and the ledger lets one attempt for a number live, so the earlier request was not ours or is settled |
//! | 500 that says that `encrypted_key` is invalid | refused, for the account |
//! | codes `CALL_…` of the plan (their HTTP status is not documented) | by code |

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::super::answers::{self, LONGEST_WAIT, retry_after};
use super::super::create::{Answer, NoAnswer};
use super::super::words;
use super::super::{Placed, Scope, SendError};
use crate::call::Verdict;

const SAME_NUMBER_WAIT: Duration = Duration::from_secs(11);

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
    let says = body.as_ref().filter(|body| is_own_error(body)).map(Words::of);
    let detail = match &says {
        Some(words) => words.detail(),
        None if answer.truncated => "the answer is incomplete".into(),
        None => "the answer is not in Bland's error shape".into(),
    };
    let error = |verdict, reason: &str, scope| {
        Err(SendError::new(verdict, reason, detail.clone()).with_status(status).with_scope(scope))
    };
    let wait = || retry_after(&answer.headers, now);

    if let (400..=499, Some((verdict, reason, scope, wait))) = (status, says.as_ref().and_then(Words::plan_code)) {
        return error(verdict, reason, scope).map_err(|error| error.with_retry_after(wait));
    }
    match (status, &says) {
        (300..=399, _) => error(Verdict::Refused, "redirected", Scope::Account),
        (400, Some(says)) => {
            let (verdict, reason, scope) = says.bad_request();
            error(verdict, reason, scope)
        }
        (401, Some(_)) => error(Verdict::Refused, "auth_failure", Scope::Account),
        (402, Some(_)) => error(Verdict::Refused, "payment_required", Scope::Account),
        (403, Some(_)) => error(Verdict::Refused, "account_blocked", Scope::Account),
        (404, Some(_)) => error(Verdict::Refused, "not_found", Scope::Request),
        (418 | 422, Some(_)) => error(Verdict::Refused, "invalid_request", Scope::Request),
        (429, Some(says)) if says.contain("blacklist") => error(Verdict::Refused, "blacklisted", Scope::Number),
        (429, Some(says)) if says.are_about_the_same_number() => error(Verdict::NotSent, "same_number", Scope::Number)
            .map_err(|error| error.with_retry_after(wait().max(Some(SAME_NUMBER_WAIT)))),
        // A limiter in front of the platform may say it in any shape: nothing got past it.
        (429, _) => {
            error(Verdict::NotSent, "rate_limited", Scope::Account).map_err(|error| error.with_retry_after(wait()))
        }
        (500, Some(says)) if says.contain("encrypted_key") && says.contain("invalid") => {
            error(Verdict::Refused, "invalid_encrypted_key", Scope::Account)
        }
        (408, _) => error(Verdict::InDoubt, "timeout", Scope::Request),
        (500.., _) => error(Verdict::InDoubt, "server_error", Scope::Request),
        _ => error(Verdict::InDoubt, "unexpected_answer", Scope::Request),
    }
}

fn placed(status: u16, body: Option<&Value>) -> Result<Placed, SendError> {
    // With `status: error` beside an id the id wins: it names a call that can be asked about.
    match body.and_then(|body| words::call_id(body, "call_id")).filter(|id| *id != "active") {
        Some(id) => Ok(Placed::new(id, status)),
        None => {
            let detail = body.filter(|body| is_own_error(body)).map(|body| Words::of(body).detail());
            let detail = detail.unwrap_or_else(|| "a success without a readable call_id".into());
            Err(SendError::new(Verdict::InDoubt, "no_call_id", detail).with_status(status))
        }
    }
}

/// Bland's error shapes: `{"status":"error","message":…}`, `{"status":"DNC Error","message":…}`, `{"error":…}`,
/// `{"data":null,"errors":[{"error":CODE,"message":…}]}`.
pub fn is_own_error(body: &Value) -> bool {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    text("error").is_some()
        || body.get("errors").is_some_and(|errors| errors.as_array().is_some_and(|errors| !errors.is_empty()))
        || (text("status").is_some_and(|status| status != "success") && text("message").is_some())
}

/// The texts of an error body, lower case, for telling its cases apart.
struct Words {
    /// In the order status, error, message, errors.
    texts: Vec<String>,
}

impl Words {
    fn of(body: &Value) -> Self {
        let mut texts = Vec::new();
        for key in ["status", "error", "message"] {
            texts.extend(body.get(key).and_then(Value::as_str).map(str::to_owned));
        }
        for item in body.get("errors").and_then(Value::as_array).into_iter().flatten().take(20) {
            texts.extend(item.as_str().map(str::to_owned));
            for key in ["error", "message"] {
                texts.extend(item.get(key).and_then(Value::as_str).map(str::to_owned));
            }
        }
        Self { texts }
    }

    fn detail(&self) -> String {
        let texts: Vec<&str> = self.texts.iter().map(String::as_str).filter(|text| *text != "error").collect();
        words::detail(&texts.join(": "))
    }

    fn contain(&self, part: &str) -> bool {
        self.texts.iter().any(|text| text.to_lowercase().contains(part))
    }

    fn contain_any(&self, parts: &[&str]) -> bool {
        parts.iter().any(|part| self.contain(part))
    }

    fn are_about_the_same_number(&self) -> bool {
        self.contain_any(&["same number", "same phone number", "10 seconds", "ten seconds"])
    }

    fn bad_request(&self) -> (Verdict, &'static str, Scope) {
        if self.contain_any(&["unable to queue call", "unable to save request body"]) {
            (Verdict::InDoubt, "server_error", Scope::Request)
        } else if self.contain_any(&["dnc", "do not call", "do-not-call"]) {
            (Verdict::Refused, "do_not_call", Scope::Number)
        } else if self.contain_any(&["emergency", "sensitive number"]) {
            (Verdict::Refused, "sensitive_number", Scope::Number)
        } else if self.contain_any(&["phone number", "phone_number"]) && self.contain("invalid") {
            (Verdict::Refused, "invalid_number", Scope::Number)
        } else if self.contain("flagged") {
            (Verdict::Refused, "content_flagged", Scope::Request)
        } else {
            (Verdict::Refused, "invalid_request", Scope::Request)
        }
    }

    fn plan_code(&self) -> Option<CodeMeans> {
        PLAN_CODES.iter().find(|(code, _)| self.texts.iter().any(|text| text.contains(code))).map(|(_, means)| *means)
    }
}

type CodeMeans = (Verdict, &'static str, Scope, Option<Duration>);

const PLAN_CODES: &[(&str, CodeMeans)] = &[
    ("CALL_PLAN_DESTINATION_BLOCKED", (Verdict::Refused, "destination_blocked", Scope::Number, None)),
    ("CALL_PLAN_TRANSFER_BLOCKED", (Verdict::Refused, "transfer_blocked", Scope::Request, None)),
    ("CALL_UNPAID_INTL_BLOCK", (Verdict::Refused, "destination_blocked", Scope::Number, None)),
    (
        "CALL_RL_PLAN_CONCURRENCY",
        (Verdict::NotSent, "concurrency_limit", Scope::Account, Some(Duration::from_secs(30))),
    ),
    ("CALL_RL_PLAN_DAILY_MINUTES", (Verdict::NotSent, "daily_limit", Scope::Account, Some(LONGEST_WAIT))),
];

#[cfg(test)]
mod tests;
