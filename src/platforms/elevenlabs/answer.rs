//! What ElevenLabs' answer to an outbound-call request means.
//!
//! Only 200 and 422 are documented for this endpoint; other errors come in the general API's style, `{"detail": …}` with a text,
//! an object `{status, message}` or an array of field errors. A refusal is believed in that shape only.
//!
//! | answer | verdict |
//! |---|---|
//! | 200 with a `conversation_id` | placed |
//! | 200 with `success: false` and neither `conversation_id` nor a carrier's id | refused: the vendor's model (`TwilioOutboundCallResponse`) has `success` and `message` always and the ids null where the carrier took no call. One that says that something did not answer in time stays in doubt: the carrier may have dialled |
//! | 200 with a carrier's id alone, or with nothing | in doubt, presumed placed |
//! | 422 that names `to_number` | refused, for the number |
//! | 400, 401, 402, 403, 404, 422 | refused; 401, 402, 403 and what speaks of quota, key or permission: for the account |
//! | 429 (`too_many_concurrent_requests`, `system_busy`) | not sent: above the account's limit calls are rejected |
//! | 3xx | refused, with an alarm |
//! | everything else | in doubt |

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::super::answers::{self, retry_after};
use super::super::create::{Answer, NoAnswer};
use super::super::{Placed, Scope, SendError, words};
use crate::call::Verdict;

/// The handle under which the carrier's id of the call is kept.
pub const CALL_SID: &str = "call_sid";
pub const SIP_CALL_ID: &str = "sip_call_id";

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
        return accepted(status, body.as_ref());
    }
    let says = body.as_ref().and_then(Words::of);
    let detail = match &says {
        Some(words) => words::detail(&words.text),
        None if answer.truncated => "the answer is incomplete".into(),
        None => "the answer is not in ElevenLabs' error shape".into(),
    };
    let error = |verdict, reason: &str, scope| {
        Err(SendError::new(verdict, reason, detail.clone()).with_status(status).with_scope(scope))
    };
    match (status, &says) {
        (300..=399, _) => error(Verdict::Refused, "redirected", Scope::Account),
        // A limiter in front of the platform may say it in any shape: nothing got past it.
        (429, says) => {
            let busy = says.as_ref().is_some_and(|says| says.code.contains("concurrent"));
            let reason = if busy { "concurrency_limit" } else { "rate_limited" };
            error(Verdict::NotSent, reason, Scope::Account)
                .map_err(|error| error.with_retry_after(retry_after(&answer.headers, now)))
        }
        (400..=404 | 422, Some(says)) => {
            let (reason, scope) = says.refusal(status);
            error(Verdict::Refused, reason, scope)
        }
        (408, _) => error(Verdict::InDoubt, "timeout", Scope::Request),
        (500.., _) => error(Verdict::InDoubt, "server_error", Scope::Request),
        _ => error(Verdict::InDoubt, "unexpected_answer", Scope::Request),
    }
}

fn accepted(status: u16, body: Option<&Value>) -> Result<Placed, SendError> {
    let id = |key: &str| body.and_then(|body| words::call_id(body, key));
    let carriers = [(CALL_SID, id("callSid").or_else(|| id("call_sid"))), (SIP_CALL_ID, sip_call_id(body))];
    // With `success: false` beside an id the id wins: it names a call that can be asked about.
    if let Some(conversation) = id("conversation_id") {
        let mut placed = Placed::new(conversation, status);
        let known = carriers.iter().filter_map(|(name, id)| Some(((*name).to_owned(), (*id)?.to_owned())));
        placed.handles.extend(known);
        return Ok(placed);
    }
    let message = body.and_then(|body| body.get("message")).and_then(Value::as_str).unwrap_or_default();
    let said_no = body.and_then(|body| body.get("success")) == Some(&Value::Bool(false));
    // An id that cannot be read is one all the same.
    let no_ids = ["conversation_id", "callSid", "call_sid", "sip_call_id"]
        .iter()
        .all(|key| body.and_then(|body| body.get(key)).is_none_or(Value::is_null));
    let error = |verdict, reason, detail: String| Err(SendError::new(verdict, reason, detail).with_status(status));
    if said_no && no_ids && !is_about_time(message) {
        return error(Verdict::Refused, "provider_rejected", words::detail(message));
    }
    let detail = match carriers.iter().find_map(|(_, id)| *id) {
        Some(carrier) => format!("no conversation_id; the carrier's id is {carrier}"),
        None if message.is_empty() => "a success without a readable conversation_id".into(),
        None => words::detail(message),
    };
    error(Verdict::InDoubt, "no_call_id", detail)
}

/// SIP call ids may hold an `@` and more; it goes into no path.
fn sip_call_id(body: Option<&Value>) -> Option<&str> {
    let id = body?.get("sip_call_id")?.as_str()?;
    ((1..=256).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())).then_some(id)
}

fn is_about_time(message: &str) -> bool {
    let message = message.to_lowercase();
    ["timed out", "timeout", "time-out", "time out", "deadline"].iter().any(|words| message.contains(words))
}

/// ElevenLabs' error shape: a `detail`.
pub fn is_own_error(body: &Value) -> bool {
    Words::of(body).is_some()
}

/// What an error body says.
struct Words {
    /// `detail.status`, or the type of the first field error; lower case.
    code: String,
    text: String,
    /// A field error that names the called number.
    about_number: bool,
}

impl Words {
    fn of(body: &Value) -> Option<Self> {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        match body.get("detail")? {
            Value::String(text) => Some(Self { code: String::new(), text: text.clone(), about_number: false }),
            detail @ Value::Object(_) => {
                let code = [text(detail, "status"), text(detail, "code"), text(detail, "type")];
                let code = code.into_iter().find(|code| !code.is_empty()).unwrap_or_default();
                let message = text(detail, "message");
                if code.is_empty() && message.is_empty() {
                    return None;
                }
                Some(Self { text: format!("{code}: {message}"), code: code.to_lowercase(), about_number: false })
            }
            Value::Array(errors) => {
                let first = errors.first()?;
                let place = |error: &Value| -> Vec<String> {
                    let parts = error.get("loc").and_then(Value::as_array).into_iter().flatten();
                    parts.map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned)).collect()
                };
                let texts: Vec<String> = errors
                    .iter()
                    .take(10)
                    .map(|error| format!("{}: {}", place(error).join("."), text(error, "msg")))
                    .collect();
                let about_number =
                    errors.iter().take(10).any(|error| place(error).iter().any(|part| part == "to_number"));
                Some(Self { code: text(first, "type").to_lowercase(), text: texts.join("; "), about_number })
            }
            _ => None,
        }
    }

    fn refusal(&self, status: u16) -> (&'static str, Scope) {
        let says = |parts: &[&str]| parts.iter().any(|part| self.code.contains(part));
        if says(&["quota", "payment", "insufficient_credits"]) {
            ("payment_required", Scope::Account)
        } else if says(&["invalid_api_key", "missing_permissions", "needs_authorization", "unauthorized"]) {
            ("auth_failure", Scope::Account)
        } else if says(&["unusual_activity", "account_", "subscription"]) {
            ("account_blocked", Scope::Account)
        } else if self.about_number {
            ("invalid_number", Scope::Number)
        } else {
            match status {
                401 => ("auth_failure", Scope::Account),
                402 => ("payment_required", Scope::Account),
                403 => ("account_blocked", Scope::Account),
                404 => ("not_found", Scope::Request),
                _ => ("invalid_request", Scope::Request),
            }
        }
    }
}

#[cfg(test)]
mod tests;
