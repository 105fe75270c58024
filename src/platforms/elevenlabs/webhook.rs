//! ElevenLabs' webhooks: the signature, and what the events mean.
//!
//! `ElevenLabs-Signature: t=<unix seconds>,v0=<hex>`: HMAC-SHA256 over `<t>.<raw body>` by the webhook's secret (`wsec_…`). The
//! vendor's SDK takes stamps up to 30 minutes old, so retries may carry their first one; we also refuse stamps of more than
//! five minutes ahead.
//!
//! The address is the workspace's or the agent's, not the call's. So several installations may see each other's events, and a
//! `call_initiation_failure` carries no id of ours: it is told by its `conversation_id`. There is no event of ringing or
//! answering, and only transcriptions are ever sent again: what webhooks miss, polling finds.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use serde_json::Value;
use url::Url;

use super::super::signature::{Keys, decode_hex};
use super::super::words::{self, storable};
use super::super::{SignatureError, UnreadableWebhook, VerifiedBy};
use super::record;
use crate::call::{AttemptState, CallUpdate};
use crate::config::Secret;

const SIGNATURE_HEADER: &str = "elevenlabs-signature";
const MAX_AGE: Duration = Duration::from_secs(30 * 60);
const MAX_AHEAD: Duration = Duration::from_secs(5 * 60);
/// Signatures in one header beyond this are not looked at.
const MAX_SIGNATURES: usize = 8;

pub struct Verifier(Keys);

impl Verifier {
    pub fn new(secrets: &[Secret]) -> Self {
        Self(Keys::new(secrets))
    }

    /// Without a secret no webhook is ever believed, so nothing is to be waited for.
    pub fn is_silent(&self) -> bool {
        self.0.is_empty()
    }

    /// Fails closed: without a secret nothing is believed.
    pub fn verify(&self, headers: &HeaderMap, body: &[u8], now: DateTime<Utc>) -> Result<VerifiedBy, SignatureError> {
        if self.0.is_empty() {
            return Err(SignatureError::NoSecret);
        }
        let given = headers.get(SIGNATURE_HEADER).ok_or(SignatureError::Missing)?;
        let given = given.to_str().map_err(|_| SignatureError::Mismatch)?;
        let part = |name: &'static str| {
            given.split(',').filter_map(move |part| part.trim().split_once('=').filter(|(key, _)| *key == name))
        };
        let stamp = part("t").next().ok_or(SignatureError::Mismatch)?.1;
        let tags: Vec<[u8; 32]> =
            part("v0").filter_map(|(_, hex)| decode_hex(hex.as_bytes())).take(MAX_SIGNATURES).collect();
        let signed = [stamp.as_bytes(), b".", body].concat();
        let verified = self.0.verify("hmac", &signed, &tags)?;
        if is_fresh(stamp, now) { Ok(verified) } else { Err(SignatureError::Stale) }
    }
}

fn is_fresh(stamp: &str, now: DateTime<Utc>) -> bool {
    let Some(at) = stamp.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0)) else { return false };
    let age = now.signed_duration_since(at);
    age.to_std().map_or_else(|_| (-age).to_std().is_ok_and(|ahead| ahead <= MAX_AHEAD), |age| age <= MAX_AGE)
}

/// See [`super::super::Platform::normalize_webhook`]. Audio, and events that we do not know, give no update.
pub fn normalize(body: &[u8], base: &Url) -> Result<Vec<CallUpdate>, UnreadableWebhook> {
    let unreadable = |what: &str| UnreadableWebhook(what.to_owned());
    let body: Value = serde_json::from_slice(body).map_err(|_| unreadable("the body is not JSON"))?;
    let kind = body.get("type").and_then(Value::as_str).ok_or_else(|| unreadable("type is missing"))?;
    let data = body.get("data").filter(|data| data.is_object()).ok_or_else(|| unreadable("data is not an object"))?;
    let id = || {
        words::call_id(data, "conversation_id").ok_or_else(|| unreadable("conversation_id is missing or unreadable"))
    };
    match kind {
        "post_call_transcription" => {
            id()?;
            Ok(vec![record::read(data, base)])
        }
        "call_initiation_failure" => {
            let occurred_at = record::unix(body.get("event_timestamp"));
            Ok(vec![CallUpdate { platform_call_id: Some(id()?.to_owned()), occurred_at, ..failure(data) }])
        }
        "post_call_audio" => Ok(Vec::new()),
        other => Ok(words::call_id(data, "conversation_id")
            .map(|id| CallUpdate {
                attempt_id: record::attempt_id(data),
                platform_call_id: Some(id.to_owned()),
                raw_status: Some(format!("event {}", storable(other, 64))),
                ..CallUpdate::default()
            })
            .into_iter()
            .collect()),
    }
}

/// By `failure_reason`; where that is `unknown`, by the carrier's words.
fn failure(data: &Value) -> CallUpdate {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_lowercase();
    let said = text(data.get("failure_reason"));
    let carrier = data.get("metadata");
    let body = carrier.and_then(|carrier| carrier.get("body")).or(carrier);
    let of = |key: &str| body.and_then(|body| body.get(key));
    let call_status = text(of("CallStatus"));
    let sip = sip_code(of("SipResponseCode").or_else(|| of("sip_status_code")));
    let (state, reason) = match (said.as_str(), call_status.as_str()) {
        ("busy", _) => (AttemptState::Busy, None),
        ("no-answer" | "no_answer", _) => (AttemptState::NoAnswer, None),
        (_, "busy") => (AttemptState::Busy, None),
        (_, "no-answer") => (AttemptState::NoAnswer, None),
        (_, "canceled") => (AttemptState::Cancelled, None),
        _ => of_sip(sip),
    };
    let raw = [
        ("failure_reason", said),
        ("CallStatus", call_status),
        ("sip", sip.map_or_else(String::new, |code| code.to_string())),
    ];
    let raw: Vec<String> = raw
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| format!("{name}={}", storable(text, 64)))
        .collect();
    let error = of("error_reason").and_then(Value::as_str).map(words::detail);
    CallUpdate {
        state: Some(state),
        reason: reason.map(str::to_owned),
        raw_status: Some(raw.join(" ")).filter(|text| !text.is_empty()),
        facts: crate::call::Facts { error_message: error, ..crate::call::Facts::default() },
        ..CallUpdate::default()
    }
}

/// A number, or a text that is one.
fn sip_code(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn of_sip(code: Option<u64>) -> (AttemptState, Option<&'static str>) {
    match code {
        Some(486 | 600) => (AttemptState::Busy, None),
        Some(603) => (AttemptState::NoAnswer, Some("declined")),
        Some(408 | 480 | 487) => (AttemptState::NoAnswer, None),
        Some(404 | 410 | 484 | 604) => (AttemptState::Failed, Some("invalid_number")),
        Some(607 | 608) => (AttemptState::Failed, Some("spam_blocked")),
        _ => (AttemptState::Failed, Some("provider_error")),
    }
}

#[cfg(test)]
mod tests;
