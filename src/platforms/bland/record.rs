//! Bland's call record (the answer of `GET /v1/calls/{id}`, and the body of the post-call webhook) in our words.
//!
//! Every member is taken as hostile: a wrong type is an absent value.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::words::{self, storable};
use crate::call::{AttemptState, CallUpdate, Facts, Money};

/// Texts beyond this length are cut (a transcript's single utterance, a summary).
const MAX_TEXT_CHARS: usize = 64 * 1024;
/// A call of 12 hours is the longest that Bland allows; this is far beyond.
const MAX_SECONDS: f64 = 7.0 * 86_400.0;

/// What to make of `status: unknown`, which Bland may correct a moment later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknown {
    /// Not believed yet: no state, so that the call is asked for again.
    AskAgain,
    /// Said twice: the call failed.
    Failed,
}

/// The update that a record amounts to. Without a state where the record has none that we know.
pub fn read(record: &Value, unknown: OnUnknown) -> CallUpdate {
    let (state, reason) = state(record, unknown).map_or((None, None), |(state, reason)| (Some(state), reason));
    let facts = facts(record, state.is_some_and(AttemptState::is_outcome));
    CallUpdate {
        attempt_id: attempt_id(record),
        platform_call_id: id(record).map(str::to_owned),
        state,
        reason: reason.map(str::to_owned),
        raw_status: raw_status(record),
        occurred_at: match state {
            Some(state) if state.is_outcome() => facts.ended_at,
            Some(AttemptState::InProgress) => facts.started_at,
            _ => None,
        },
        // Bland's built-in disposition; a tag of the customer's own making may mean anything.
        opt_out: facts.disposition.as_deref() == Some("DO_NOT_CONTACT"),
        facts,
        ..CallUpdate::default()
    }
}

/// `call_id`, or its older name `c_id`.
pub fn id(record: &Value) -> Option<&str> {
    words::call_id(record, "call_id").or_else(|| words::call_id(record, "c_id"))
}

/// Our own id, from the metadata that Bland echoes.
pub fn attempt_id(record: &Value) -> Option<Uuid> {
    Uuid::try_parse(record.get("metadata")?.get("voxd_attempt_id")?.as_str()?).ok()
}

/// Whether the record speaks of a call's state at all (in-call events, citations and evals do not).
pub fn has_state(record: &Value) -> bool {
    ["status", "completed", "queue_status"].iter().any(|key| record.get(key).is_some_and(|value| !value.is_null()))
}

/// The rows of the mapping table, from top to bottom.
fn state(record: &Value, unknown: OnUnknown) -> Option<(AttemptState, Option<&'static str>)> {
    use AttemptState::*;
    let status = lower(record, "status");
    let queue_status = lower(record, "queue_status");
    let answered_by = lower(record, "answered_by");
    let completed = record.get("completed").and_then(Value::as_bool) == Some(true);
    let failure = Failure::of(record);

    // `completed` wins over `queue_status` where they disagree.
    match queue_status.as_str() {
        "new" | "queued" | "allocated" if !completed && status.is_empty() => return Some((Placed, None)),
        "started" if !completed => return Some((InProgress, None)),
        "pre_queue_error" | "queue_error" => return Some((Failed, Some("provider_rejected"))),
        "call_error" => return Some((Failed, Some("provider_error"))),
        _ => {}
    }
    match status.as_str() {
        "canceled" | "cancelled" => Some((Cancelled, None)),
        "busy" => Some((Busy, None)),
        "no-answer" => Some((NoAnswer, None)),
        // The vendor's own sample has an error text beside `completed`: a text alone proves nothing.
        "failed" if failure == Failure::Busy => Some((Busy, None)),
        "completed" | "failed" if answered_by == "no-answer" => Some((NoAnswer, None)),
        "completed" => {
            let reason = (queue_status == "complete_error").then_some("post_processing_error");
            Some((if answered_by == "voicemail" { Voicemail } else { Completed }, reason))
        }
        "failed" => Some((Failed, Some(failure.reason()))),
        "" if !completed => None,
        // `unknown`, a word that we do not know, or an end without a word.
        _ => (unknown == OnUnknown::Failed && (completed || status == "unknown")).then_some((Failed, Some("unknown"))),
    }
}

/// What `error_message` says, by the SIP code in it or by its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Busy,
    InvalidNumber,
    Unavailable,
    SpamBlocked,
    Other,
}

impl Failure {
    fn of(record: &Value) -> Self {
        let text = lower(record, "error_message");
        let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        if says(&["486", "busy"]) {
            Failure::Busy
        } else if says(&["608", "spam"]) {
            Failure::SpamBlocked
        } else if says(&["404", "number not found", "not found"]) {
            Failure::InvalidNumber
        } else if says(&["480", "unavailable"]) {
            Failure::Unavailable
        } else {
            Failure::Other
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Failure::Busy => "busy",
            Failure::InvalidNumber => "invalid_number",
            Failure::Unavailable => "unavailable",
            Failure::SpamBlocked => "spam_blocked",
            Failure::Other => "provider_error",
        }
    }
}

/// The platform's own words for the state: status, queue_status and answered_by, as far as they stand.
fn raw_status(record: &Value) -> Option<String> {
    let parts = ["status", "queue_status", "answered_by"]
        .iter()
        .filter_map(|key| record.get(key)?.as_str().map(|text| format!("{key}={}", storable(text, 64))));
    Some(parts.collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
}

fn facts(record: &Value, ended: bool) -> Facts {
    let started_at = time(record, "started_at");
    let duration = seconds(record).filter(|_| ended);
    // `end_at` is described as the automatic cut-off; start and duration say it better.
    let ended_at = match (started_at, duration) {
        (Some(start), Some(seconds)) => start.checked_add_signed(TimeDelta::milliseconds((seconds * 1000.0) as i64)),
        _ => time(record, "end_at"),
    };
    Facts {
        duration_seconds: duration.map(|seconds| seconds.round() as i32),
        cost: price(record).filter(|_| ended).map(Money::usd),
        answered_by: text(record, "answered_by", 64),
        ended_by: text(record, "call_ended_by", 64).map(|who| who.to_lowercase()),
        started_at,
        ended_at: ended_at.filter(|_| ended),
        recording_url: text(record, "recording_url", 2048)
            .filter(|url| url.starts_with("https://") || url.starts_with("http://")),
        transcript: transcript(record),
        summary: text(record, "summary", MAX_TEXT_CHARS),
        disposition: text(record, "disposition_tag", 256),
        error_message: text(record, "error_message", 1024),
    }
}

/// `corrected_duration` (seconds, a string), else `call_length` (minutes).
fn seconds(record: &Value) -> Option<f64> {
    let seconds =
        number(record, "corrected_duration").or_else(|| number(record, "call_length").map(|minutes| minutes * 60.0));
    seconds.filter(|seconds| (0.0..=MAX_SECONDS).contains(seconds))
}

/// US dollars.
fn price(record: &Value) -> Option<Decimal> {
    let value = record.get("price")?;
    let text = value.as_str().map(str::to_owned).or_else(|| value.is_number().then(|| value.to_string()))?;
    let price = Decimal::from_str(text.trim()).or_else(|_| Decimal::from_scientific(text.trim())).ok()?;
    (Decimal::ZERO..Decimal::from(1_000_000)).contains(&price).then(|| price.round_dp(6).normalize())
}

/// `[{speaker, text, at?}]`; speakers are `user`, `assistant`, or the platform's word (`agent-action`).
fn transcript(record: &Value) -> Option<Value> {
    let turns = record.get("transcripts")?.as_array()?.iter().filter_map(|turn| {
        let said = text(turn, "text", MAX_TEXT_CHARS)?;
        let speaker = match text(turn, "user", 64)?.as_str() {
            "robot" => "assistant".to_owned(),
            other => other.to_owned(),
        };
        Some(match time(turn, "created_at") {
            Some(at) => json!({ "speaker": speaker, "text": said, "at": at }),
            None => json!({ "speaker": speaker, "text": said }),
        })
    });
    let turns: Vec<Value> = turns.collect();
    (!turns.is_empty()).then_some(Value::Array(turns))
}

fn text(record: &Value, key: &str, max_chars: usize) -> Option<String> {
    record.get(key)?.as_str().map(|text| storable(text, max_chars)).filter(|text| !text.is_empty())
}

fn lower(record: &Value, key: &str) -> String {
    record.get(key).and_then(Value::as_str).unwrap_or_default().trim().to_lowercase()
}

/// A number, or a text that is one.
fn number(record: &Value, key: &str) -> Option<f64> {
    let value = record.get(key)?;
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number| number.is_finite())
}

fn time(record: &Value, key: &str) -> Option<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc3339(record.get(key)?.as_str()?).ok()?.with_timezone(&Utc);
    // What Postgres can hold, with room.
    (DateTime::UNIX_EPOCH..DateTime::from_timestamp(32_503_680_000, 0)?).contains(&at).then_some(at)
}

#[cfg(test)]
mod tests;
