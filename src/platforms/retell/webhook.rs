//! Retell's webhooks: the signature, and what the events mean.
//!
//! `x-retell-signature: v=<unix ms>,d=<64 lower-case hex>`, the whole of the header and nothing more: HMAC-SHA256 over the raw body
//! followed directly by the decimal time stamp, keyed with the API key that the dashboard marks for webhooks (or the secrets of
//! the settings, where there are any). Not older and not newer than five minutes (the vendor's SDK, `lib/webhook_auth.py`).
//!
//! `call_started` is sent on connection, and so never for a call that does not connect. `call_ended` and `call_analyzed` come after
//! every end, in order; but one that keeps failing does not hold up the next, and after three repeats Retell gives up: each of the
//! two ends the call alone, and the one that comes second only adds facts.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use serde_json::Value;

use super::super::signature::{Keys, decode_hex};
use super::super::{SignatureError, UnreadableWebhook, VerifiedBy};
use super::record::{self, Ended, OnUnknown};
use crate::call::{AttemptState, CallUpdate};

const SIGNATURE_HEADER: &str = "x-retell-signature";
const FRESH: Duration = Duration::from_secs(300);
/// Milliseconds of the year 33658.
const MOST_DIGITS: usize = 15;

/// Fails closed: without a key nothing is believed.
pub fn verify(keys: &Keys, headers: &HeaderMap, body: &[u8], now: DateTime<Utc>) -> Result<VerifiedBy, SignatureError> {
    if keys.is_empty() {
        return Err(SignatureError::NoSecret);
    }
    let given = headers.get(SIGNATURE_HEADER).ok_or(SignatureError::Missing)?;
    let (stamp, tag) = parts(given.as_bytes()).ok_or(SignatureError::Mismatch)?;
    let verified = keys.verify("hmac", &[body, stamp.as_bytes()].concat(), &[tag])?;
    let at: i64 = stamp.parse().map_err(|_| SignatureError::Mismatch)?;
    let is_fresh = now.timestamp_millis().abs_diff(at) <= FRESH.as_millis() as u64;
    if is_fresh { Ok(verified) } else { Err(SignatureError::Stale) }
}

/// The time stamp as it stands there, and the tag.
fn parts(header: &[u8]) -> Option<(&str, [u8; 32])> {
    let (stamp, digest) = std::str::from_utf8(header).ok()?.strip_prefix("v=")?.split_once(",d=")?;
    let stamped = (1..=MOST_DIGITS).contains(&stamp.len()) && stamp.bytes().all(|byte| byte.is_ascii_digit());
    let lower_case = !digest.bytes().any(|byte| byte.is_ascii_uppercase());
    if stamped && lower_case { Some((stamp, decode_hex(digest.as_bytes())?)) } else { None }
}

/// See [`super::super::Platform::normalize_webhook`]. The event and the reason decide: the vendor's own sample of `call_ended` has a
/// call whose `call_status` is still `registered`. Events about transfers and transcripts say nothing of the call's state and
/// give no update, and neither do calls that came in.
pub fn normalize(body: &[u8]) -> Result<Vec<CallUpdate>, UnreadableWebhook> {
    let unreadable = |what: &str| UnreadableWebhook(what.to_owned());
    let body: Value = serde_json::from_slice(body).map_err(|_| unreadable("the body is not JSON"))?;
    let event = body.get("event").and_then(Value::as_str).ok_or_else(|| unreadable("event is missing"))?;
    let call = body.get("call").filter(|call| call.is_object());
    let call = call.ok_or_else(|| unreadable("call is missing or no object"))?;
    if !matches!(event, "call_started" | "call_ended" | "call_analyzed") {
        return Ok(Vec::new());
    }
    if record::id(call).is_none() {
        return Err(unreadable("call.call_id is missing or unreadable"));
    }
    if call.get("direction").is_some_and(|direction| direction == "inbound") {
        return Ok(Vec::new());
    }
    if event != "call_started" {
        let update = record::read(call, Ended::Yes, OnUnknown::AskAgain);
        // Final is what the analysis tells, or the call when it is asked for; events may come in any order.
        return Ok(vec![CallUpdate { early_cost: event == "call_ended", ..update }]);
    }
    let mut update = record::read(call, Ended::No, OnUnknown::AskAgain);
    update.state = Some(AttemptState::InProgress);
    update.occurred_at = update.facts.started_at;
    Ok(vec![update])
}

#[cfg(test)]
mod tests;
