//! Bland's webhooks: the signature over the raw body, and what the bodies mean.
//!
//! `X-Webhook-Signature` is the lower-case hex HMAC-SHA256 of the body. There is no timestamp, so a replay is told only by
//! its content (the inbox does). Two kinds of body arrive at one address: the call record after the end of the call, and
//! live log lines (if subscribed), whose texts are no contract and serve as hints only.

use aws_lc_rs::hmac;
use http::HeaderMap;
use serde_json::Value;

use super::super::{SignatureError, UnreadableWebhook, VerifiedBy, words};
use super::record::{self, OnUnknown};
use crate::call::{AttemptState, CallUpdate};
use crate::config::Secret;

const SIGNATURE_HEADER: &str = "x-webhook-signature";

/// One key per secret, made once.
pub struct Verifier {
    keys: Vec<hmac::Key>,
}

impl Verifier {
    pub fn new(secrets: &[Secret]) -> Self {
        let keys = secrets.iter().filter(|secret| !secret.is_empty());
        Self { keys: keys.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes())).collect() }
    }

    /// Fails closed: without a secret nothing is believed.
    pub fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<VerifiedBy, SignatureError> {
        if self.keys.is_empty() {
            return Err(SignatureError::NoSecret);
        }
        let given = headers.get(SIGNATURE_HEADER).ok_or(SignatureError::Missing)?;
        let tag = decode_hex(given.as_bytes()).ok_or(SignatureError::Mismatch)?;
        // Every key is tried, in constant time each, so that time does not tell which one matched.
        let mut matched = None;
        for (index, key) in self.keys.iter().enumerate() {
            if hmac::verify(key, body, &tag).is_ok() && matched.is_none() {
                matched = Some(index);
            }
        }
        match matched {
            Some(0) => Ok(VerifiedBy("hmac".into())),
            Some(index) => Ok(VerifiedBy(format!("hmac#{}", index + 1))),
            None => Err(SignatureError::Mismatch),
        }
    }
}

/// 64 hex digits.
fn decode_hex(text: &[u8]) -> Option<[u8; 32]> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let mut out = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
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
