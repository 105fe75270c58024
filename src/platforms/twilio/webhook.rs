//! What Twilio posts about a call: status callbacks, the verdict of asynchronous answering machine detection, recordings.
//!
//! All are forms to one address, told apart by their parameters (docs of 2026-08; new parameters appear without notice). Events
//! may come in any order (`SequenceNumber` says the right one): every state of ours only moves forward, so an older event moves
//! nothing. The address, which is signed, names the attempt.

use std::collections::HashMap;

use serde_json::{Map, Value};
use url::form_urlencoded;

use super::super::UnreadableWebhook;
use super::super::words::{self, storable};
use super::record;
use crate::call::{AttemptState, CallUpdate, Facts};

/// Parameters beyond this are not looked at; Twilio sends about forty.
const MAX_PARAMETERS: usize = 500;

/// The first value of each name.
struct Parameters(HashMap<String, String>);

impl Parameters {
    /// A form, or the same names as a JSON object (for addresses with `bodySHA256`).
    fn of(body: &[u8]) -> Self {
        let mut all = HashMap::new();
        match serde_json::from_slice::<Map<String, Value>>(body) {
            Ok(members) => {
                for (name, value) in members.into_iter().take(MAX_PARAMETERS) {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    all.insert(name, text);
                }
            }
            Err(_) => {
                for (name, value) in form_urlencoded::parse(body).take(MAX_PARAMETERS) {
                    all.entry(name.into_owned()).or_insert_with(|| value.into_owned());
                }
            }
        }
        Self(all)
    }

    /// Empty where it is absent.
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.trim())
    }
}

/// See [`super::super::Platform::normalize_webhook`]. `account_sid` is ours.
pub fn normalize(body: &[u8], account_sid: &str) -> Result<Vec<CallUpdate>, UnreadableWebhook> {
    let unreadable = |what: &str| UnreadableWebhook(what.to_owned());
    let told = Parameters::of(body);
    if !record::is_call_sid(told.get("CallSid")) {
        return Err(unreadable("CallSid is missing or unreadable"));
    }
    // Subaccounts sign with their own tokens; this is a check on our own configuration.
    if told.get("AccountSid") != account_sid {
        return Err(unreadable("AccountSid is not ours"));
    }
    let update = CallUpdate { platform_call_id: Some(told.get("CallSid").to_owned()), ..CallUpdate::default() };
    Ok(vec![if !told.get("CallStatus").is_empty() {
        status(&told, update)
    } else {
        // A recording, the detection's verdict, or something new: facts at most.
        let facts = Facts {
            answered_by: record::answered_by(told.get("AnsweredBy")),
            recording_url: recording(&told),
            ..Facts::default()
        };
        CallUpdate { facts, ..update }
    }])
}

fn status(told: &Parameters, update: CallUpdate) -> CallUpdate {
    let answered_by = record::answered_by(told.get("AnsweredBy"));
    let known = record::state(told.get("CallStatus"), answered_by.as_deref());
    let (state, reason) = known.map_or((None, None), |(state, reason)| (Some(state), reason));
    let reason = match state {
        Some(AttemptState::Failed) if reason != Some("fax") => Some(failure(told)),
        _ => reason,
    };
    let at = record::time(told.get("Timestamp"));
    let ended = state.is_some_and(AttemptState::is_outcome);
    CallUpdate {
        state,
        reason: reason.map(str::to_owned),
        raw_status: raw_status(told),
        occurred_at: at,
        facts: Facts {
            // `Duration` is in minutes, rounded up.
            duration_seconds: record::seconds(told.get("CallDuration")).filter(|_| ended),
            ended_at: at.filter(|_| ended),
            started_at: at.filter(|_| state == Some(AttemptState::InProgress)),
            answered_by,
            recording_url: recording(told),
            error_message: Some(words::detail(told.get("ErrorMessage"))).filter(|text| !text.is_empty()),
            ..Facts::default()
        },
        ..update
    }
}

/// Why a call failed: by Twilio's code where one stands, else by the carrier's SIP code.
fn failure(told: &Parameters) -> &'static str {
    match (told.get("ErrorCode"), told.get("SipResponseCode")) {
        ("22005", _) => "queue_timeout",
        ("10004", _) => "concurrency_limit",
        ("13224", _) | (_, "404" | "484") => "invalid_number",
        ("13225", _) => "destination_blocked",
        (_, "603") => "declined",
        (_, "607" | "608") => "spam_blocked",
        (_, "480") => "unavailable",
        (_, code) if code.len() == 3 && code.starts_with('5') => "carrier_error",
        _ => "provider_error",
    }
}

fn raw_status(told: &Parameters) -> Option<String> {
    let mut raw = record::raw_status(told.get("CallStatus"), told.get("AnsweredBy"))?;
    for (name, key) in [("sip", "SipResponseCode"), ("error", "ErrorCode"), ("sequence", "SequenceNumber")] {
        if !told.get(key).is_empty() {
            raw.push_str(&format!(" {name}={}", storable(told.get(key), 16)));
        }
    }
    Some(raw)
}

/// `RecordingStatus` stands in the recording's own callback; its media exists from `completed` on.
fn recording(told: &Parameters) -> Option<String> {
    let there = matches!(told.get("RecordingStatus"), "" | "completed");
    let url = told.get("RecordingUrl");
    (there && url.starts_with("https://")).then(|| storable(url, 2048))
}

#[cfg(test)]
mod tests;
