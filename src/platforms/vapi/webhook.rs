//! Vapi's webhooks: how they are verified, and what they mean.
//!
//! The kind of credential is a setting (`webhook_auth`), since Vapi lets the customer choose:
//!
//! | setting | on the wire |
//! |---|---|
//! | `hmac` | `x-signature`: hex HMAC-SHA256 over `{timestamp}.{body}`, the time stamp in `x-timestamp` (seconds or milliseconds: not documented, told by its size; not older or newer than five minutes); without that header, over the body alone (`includeTimestamp: false`) |
//! | `bearer` | `Authorization: Bearer <secret>` |
//! | `secret` | `X-Vapi-Secret: <secret>` |

use std::time::Duration;

use aws_lc_rs::{constant_time, digest, hmac};
use chrono::{DateTime, Utc};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::Value;

use super::super::signature::decode_hex;
use super::super::{SignatureError, UnreadableWebhook, VerifiedBy, words};
use super::record::{self, OnUnknown};
use crate::call::CallUpdate;
use crate::config::{Secret, WebhookAuth};

/// The second is a name of the community's, no default of the vendor's; it costs nothing to know it.
const SIGNATURE_HEADERS: [&str; 2] = ["x-signature", "x-vapi-signature"];
const TIMESTAMP_HEADER: &str = "x-timestamp";
const SECRET_HEADER: &str = "x-vapi-secret";
const FRESH: Duration = Duration::from_secs(300);

pub struct Verifier {
    auth: WebhookAuth,
    secrets: Vec<Secret>,
}

impl Verifier {
    pub fn new(auth: WebhookAuth, secrets: &[Secret]) -> Self {
        Self { auth, secrets: secrets.iter().filter(|secret| !secret.is_empty()).cloned().collect() }
    }

    /// Fails closed: without a secret nothing is believed.
    pub fn verify(&self, headers: &HeaderMap, body: &[u8], now: DateTime<Utc>) -> Result<VerifiedBy, SignatureError> {
        if self.secrets.is_empty() {
            return Err(SignatureError::NoSecret);
        }
        match self.auth {
            WebhookAuth::Hmac => self.signed(headers, body, now),
            WebhookAuth::Bearer => {
                let given = headers.get(AUTHORIZATION).ok_or(SignatureError::Missing)?.as_bytes();
                let (scheme, token) = given.split_at_checked(7).ok_or(SignatureError::Mismatch)?;
                if !scheme.eq_ignore_ascii_case(b"bearer ") {
                    return Err(SignatureError::Mismatch);
                }
                self.any("bearer", |secret| is_same(secret, token))
            }
            WebhookAuth::Secret => {
                let given = headers.get(SECRET_HEADER).ok_or(SignatureError::Missing)?.as_bytes();
                self.any("secret", |secret| is_same(secret, given))
            }
        }
    }

    fn signed(&self, headers: &HeaderMap, body: &[u8], now: DateTime<Utc>) -> Result<VerifiedBy, SignatureError> {
        let given = SIGNATURE_HEADERS.iter().find_map(|name| headers.get(*name)).ok_or(SignatureError::Missing)?;
        let given = given.as_bytes();
        let tag = decode_hex(given.strip_prefix(b"sha256=").unwrap_or(given)).ok_or(SignatureError::Mismatch)?;
        let stamp = headers.get(TIMESTAMP_HEADER).map(http::HeaderValue::as_bytes);
        let verified = self.any("hmac", |secret| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            let signed = stamp.map_or_else(|| body.to_vec(), |stamp| [stamp, b".", body].concat());
            hmac::verify(&key, &signed, &tag).is_ok()
        })?;
        match stamp {
            Some(stamp) if !is_fresh(stamp, now) => Err(SignatureError::Stale),
            _ => Ok(verified),
        }
    }

    /// Every secret is tried, so that time does not tell which one matched.
    fn any(&self, scheme: &str, matches: impl Fn(&[u8]) -> bool) -> Result<VerifiedBy, SignatureError> {
        let mut matched = None;
        for (index, secret) in self.secrets.iter().enumerate() {
            if matches(secret.expose().as_bytes()) && matched.is_none() {
                matched = Some(index);
            }
        }
        match matched {
            Some(0) => Ok(VerifiedBy(scheme.into())),
            Some(index) => Ok(VerifiedBy(format!("{scheme}#{}", index + 1))),
            None => Err(SignatureError::Mismatch),
        }
    }
}

/// In constant time, also for the length.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (digest::digest(&digest::SHA256, a), digest::digest(&digest::SHA256, b));
    constant_time::verify_slices_are_equal(a.as_ref(), b.as_ref()).is_ok()
}

/// Seconds have ten digits until the year 2286, milliseconds thirteen since 2001.
fn is_fresh(stamp: &[u8], now: DateTime<Utc>) -> bool {
    let Some(number) = std::str::from_utf8(stamp).ok().and_then(|text| text.trim().parse::<i64>().ok()) else {
        return false;
    };
    let milliseconds = if number < 100_000_000_000 { number.saturating_mul(1000) } else { number };
    now.timestamp_millis().abs_diff(milliseconds) <= FRESH.as_millis() as u64
}

/// See [`super::super::Platform::normalize_webhook`]. `hang` is a delay of the assistant's, not a hang-up; like all other
/// types that say nothing of the call's state it gives no update.
pub fn normalize(body: &[u8]) -> Result<Vec<CallUpdate>, UnreadableWebhook> {
    let unreadable = |what: &str| UnreadableWebhook(what.to_owned());
    let body: Value = serde_json::from_slice(body).map_err(|_| unreadable("the body is not JSON"))?;
    let message = body.get("message").filter(|message| message.is_object());
    let message = message.ok_or_else(|| unreadable("message is missing or no object"))?;
    let kind = message.get("type").and_then(Value::as_str).ok_or_else(|| unreadable("message.type is missing"))?;
    if !matches!(kind, "status-update" | "end-of-call-report") {
        return Ok(Vec::new());
    }
    let id = message.get("call").and_then(|call| words::call_id(call, "id"));
    if id.is_none() {
        return Err(unreadable("message.call.id is missing or unreadable"));
    }
    let mut update = if kind == "status-update" { status_update(message) } else { report(message) };
    let told_at = message.get("timestamp").and_then(Value::as_f64).and_then(record::epoch_ms);
    update.occurred_at = update.occurred_at.or(told_at);
    Ok(vec![update])
}

/// What it says stands beside the call, whose own members may be older.
fn status_update(message: &Value) -> CallUpdate {
    let call = with(message, &["status", "endedReason", "startedAt", "endedAt", "customer"]);
    let mut update = record::read(&call, OnUnknown::AskAgain);
    // Not final before the report.
    update.facts.cost = None;
    // Who was busy shows only in what went before, which the report and the call itself tell.
    let forwarding =
        call.get("endedReason").and_then(Value::as_str).is_some_and(|why| why.starts_with("call.forwarding."));
    if forwarding && update.facts.started_at.is_none() {
        (update.state, update.reason) = (None, None);
    }
    update
}

/// After the call and its processing: it ends the call too, where the status update was lost.
fn report(message: &Value) -> CallUpdate {
    let keys = [
        "endedReason",
        "endedMessage",
        "startedAt",
        "endedAt",
        "cost",
        "costs",
        "costBreakdown",
        "artifact",
        "analysis",
        "transcript",
        "messages",
        "recordingUrl",
        "summary",
        "customer",
    ];
    let mut call = with(message, &keys);
    call["status"] = Value::from("ended");
    // The report's cost is final, with a breakdown or without.
    if message.get("cost").is_some() && call.get("costs").is_none() {
        call["costs"] = Value::Array(Vec::new());
    }
    record::read(&call, OnUnknown::AskAgain)
}

/// The message's call with these members of the message laid over it.
fn with(message: &Value, keys: &[&str]) -> Value {
    let mut call = message.get("call").and_then(Value::as_object).cloned().unwrap_or_default();
    for key in keys {
        // The call's customer is the fuller one.
        if let Some(value) = message.get(*key).filter(|value| !value.is_null())
            && !(*key == "customer" && call.contains_key("customer"))
        {
            call.insert((*key).to_owned(), value.clone());
        }
    }
    Value::Object(call)
}

/// The body without the secrets that Vapi echoes (`call.phoneNumber` with its Twilio credentials, inline server secrets), or
/// `None` where there are none.
pub fn without_secrets(body: &[u8]) -> Option<Vec<u8>> {
    let mut body: Value = serde_json::from_slice(body).ok()?;
    mask(&mut body).then(|| body.to_string().into_bytes())
}

/// Whether anything was masked.
fn mask(value: &mut Value) -> bool {
    match value {
        Value::Object(members) => members.iter_mut().fold(false, |masked, (name, member)| {
            let name = name.to_lowercase();
            let secret = ["authtoken", "apikey", "apisecret", "secret", "password", "privatekey"]
                .iter()
                .any(|ending| name.ends_with(ending));
            if secret && member.as_str().is_some_and(|text| !text.is_empty()) {
                *member = Value::from("[redacted]");
                return true;
            }
            mask(member) || masked
        }),
        Value::Array(items) => items.iter_mut().filter_map(|item| mask(item).then_some(())).count() > 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
