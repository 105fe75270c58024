//! Bland's webhooks: the signature over the raw body, and what the bodies mean.
//!
//! `X-Webhook-Signature` is the lower-case hex HMAC-SHA256 of the body. There is no timestamp, so a replay is told only by
//! its content (the inbox does). Two kinds of body arrive at one address: the call record after the end of the call, and
//! live log lines (if subscribed), whose texts are no contract and serve as hints only.

use http::HeaderMap;
use serde_json::Value;

use super::super::signature::{Keys, decode_hex};
use super::super::{SignatureError, UnreadableWebhook, VerifiedBy, words};
use super::record::{self, OnUnknown};
use crate::call::{AttemptState, CallUpdate};
use crate::config::Secret;

const SIGNATURE_HEADER: &str = "x-webhook-signature";

pub struct Verifier(Keys);

impl Verifier {
    pub fn new(secrets: &[Secret]) -> Self {
        Self(Keys::new(secrets))
    }

    /// Fails closed: without a secret nothing is believed.
    pub fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<VerifiedBy, SignatureError> {
        if self.0.is_empty() {
            return Err(SignatureError::NoSecret);
        }
        let given = headers.get(SIGNATURE_HEADER).ok_or(SignatureError::Missing)?;
        let tag = decode_hex(given.as_bytes()).ok_or(SignatureError::Mismatch)?;
        self.0.verify("hmac", body, &[tag])
    }
}

/// See [`super::super::Platform::normalize_webhook`]. Bodies that follow the record (citations, evals) are no second end:
/// they give no update.
pub fn normalize(body: &[u8]) -> Result<Vec<CallUpdate>, UnreadableWebhook> {
    let unreadable = |what: &str| UnreadableWebhook(what.to_owned());
    let body: Value = serde_json::from_slice(body).map_err(|_| unreadable("the body is not JSON"))?;
    if !body.is_object() {
        return Err(unreadable("the body is not an object"));
    }
    let id = record::id(&body).ok_or_else(|| unreadable("call_id is missing or unreadable"))?;
    if body.get("event_type").is_some_and(|kind| !kind.is_null()) {
        return Ok(Vec::new());
    }
    if record::has_state(&body) {
        return Ok(vec![record::read(&body, OnUnknown::AskAgain)]);
    }
    Ok(hint(&body).map(|state| in_call(id, state, &body)).into_iter().collect())
}

fn hint(event: &Value) -> Option<AttemptState> {
    let text = |key: &str| event.get(key).and_then(Value::as_str).map(str::to_lowercase);
    let message = text("message")?;
    match text("category")?.as_str() {
        "queue" if message.contains("enqueued") => Some(AttemptState::Placed),
        // "disconnected" contains "connected".
        "call" if message.contains("connected") && !message.contains("disconnected") && !message.contains("not ") => {
            Some(AttemptState::InProgress)
        }
        _ => None,
    }
}

fn in_call(id: &str, state: AttemptState, event: &Value) -> CallUpdate {
    CallUpdate {
        attempt_id: record::attempt_id(event),
        platform_call_id: Some(id.to_owned()),
        state: Some(state),
        raw_status: event.get("message").and_then(Value::as_str).map(words::detail),
        ..CallUpdate::default()
    }
}

#[cfg(test)]
mod tests;
