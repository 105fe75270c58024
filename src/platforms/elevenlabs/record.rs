//! A conversation (the answer of `GET /v1/convai/conversations/{id}`, and the `data` of a `post_call_transcription` webhook)
//! in our words.
//!
//! Every member is taken as hostile: a wrong type is an absent value. All but the status may be missing.
//!
//! | ElevenLabs | ours |
//! |---|---|
//! | `initiated` | placed: there is no state of ringing |
//! | `in-progress` | in_progress |
//! | `processing` | in_progress still: the call is over, but how it ended, cost and transcript are known with `done` only, and an end is never left again |
//! | `done` with a call of the agent's tool `voicemail_detection` | voicemail |
//! | `done` | completed |
//! | `failed` | busy, no_answer or cancelled where `termination_reason` or `metadata.error` say so, else failed |
//! | either with `phone_call.call_result` (newer: `answered`, `voicemail`, `busy`, `no_answer`, `failed`) | as that says |

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::super::address;
use super::super::words::{self, storable};
use super::answer::CALL_SID;
use crate::call::{AttemptState, CallUpdate, Facts, Money};

/// The agent's tool that tells a voicemail box, by the vendor's name.
const VOICEMAIL_TOOL: &str = "voicemail_detection";
/// Texts beyond this length are cut.
const MAX_TEXT_CHARS: usize = 64 * 1024;
const MAX_SECONDS: i64 = 7 * 86_400;
/// The unit of `metadata.cost`. Credits have no fixed price, and are never added to money.
pub const CREDITS: &str = "CREDITS";

/// The update that a conversation amounts to. Without a state where its status is none that we know. `base` is where the
/// recording can be fetched.
pub fn read(record: &Value, base: &Url) -> CallUpdate {
    let state = state(record);
    let ended = state.is_some_and(AttemptState::is_outcome);
    let facts = facts(record, base, state);
    CallUpdate {
        attempt_id: attempt_id(record),
        platform_call_id: words::call_id(record, "conversation_id").map(str::to_owned),
        state,
        reason: (state == Some(AttemptState::Failed)).then(|| "provider_error".to_owned()),
        raw_status: raw_status(record),
        occurred_at: match state {
            Some(AttemptState::InProgress) => facts.started_at,
            _ if ended => facts.ended_at,
            _ => None,
        },
        facts,
        ..CallUpdate::default()
    }
}

/// Our own id: `user_id`, at the top or in what was given at the start, else the dynamic variable.
pub fn attempt_id(record: &Value) -> Option<Uuid> {
    let given = record.get("conversation_initiation_client_data");
    let variable = || given?.get("dynamic_variables")?.get("voxd_attempt_id");
    let ids = [record.get("user_id"), given.and_then(|given| given.get("user_id")), variable()];
    ids.into_iter().flatten().find_map(|id| Uuid::try_parse(id.as_str()?).ok())
}

/// Whether it says whose conversation it is.
pub fn names_a_user(record: &Value) -> bool {
    record.get("user_id").is_some_and(|id| !id.is_null()) || attempt_id(record).is_some()
}

/// The owner's Twilio account's id of the call.
pub fn call_sid(record: &Value) -> Option<&str> {
    words::call_id(record.get("metadata")?.get("phone_call")?, CALL_SID)
}

/// Whether the person's line was picked up, as far as the record shows.
pub fn was_answered(record: &Value) -> bool {
    unix(metadata(record, "accepted_time_unix_secs")).is_some() || duration(record).is_some_and(|seconds| seconds > 0)
}

/// When it began, or began to be set up.
pub fn began_at(record: &Value) -> Option<DateTime<Utc>> {
    unix(metadata(record, "accepted_time_unix_secs")).or_else(|| unix(metadata(record, "start_time_unix_secs")))
}

pub fn status(record: &Value) -> &str {
    record.get("status").and_then(Value::as_str).unwrap_or_default()
}

fn state(record: &Value) -> Option<AttemptState> {
    use AttemptState::*;
    match status(record) {
        "initiated" => Some(Placed),
        "in-progress" | "processing" => Some(InProgress),
        "done" | "failed" if call_result(record).is_some_and(|state| state != Completed) => call_result(record),
        "done" if called_tool(record, VOICEMAIL_TOOL) => Some(Voicemail),
        "done" => Some(Completed),
        "failed" => Some(failure(record)),
        _ => None,
    }
}

/// How the line ended, where the record tells (vendor's Python SDK 2.78).
pub fn call_result(record: &Value) -> Option<AttemptState> {
    match metadata(record, "phone_call")?.get("call_result")?.as_str()? {
        "answered" => Some(AttemptState::Completed),
        "voicemail" => Some(AttemptState::Voicemail),
        "busy" => Some(AttemptState::Busy),
        "no_answer" => Some(AttemptState::NoAnswer),
        "failed" => Some(AttemptState::Failed),
        _ => None,
    }
}

/// Both texts are prose whose words are not documented.
fn failure(record: &Value) -> AttemptState {
    let reason = metadata(record, "termination_reason").and_then(Value::as_str).unwrap_or_default();
    let error = error_reason(record).unwrap_or_default();
    let text = format!("{reason} {error}").to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if was_answered(record) {
        AttemptState::Failed
    } else if says(&["busy"]) {
        AttemptState::Busy
    } else if says(&["no-answer", "no answer", "not answered", "unanswered", "did not answer"]) {
        AttemptState::NoAnswer
    } else if says(&["canceled", "cancelled"]) {
        AttemptState::Cancelled
    } else {
        AttemptState::Failed
    }
}

fn called_tool(record: &Value, tool: &str) -> bool {
    let turns = record.get("transcript").and_then(Value::as_array).into_iter().flatten();
    let mut calls = turns.filter_map(|turn| turn.get("tool_calls")?.as_array()).flatten();
    calls.any(|call| ["tool_name", "name"].iter().any(|key| call.get(key).is_some_and(|name| name == tool)))
}

fn raw_status(record: &Value) -> Option<String> {
    let reason = metadata(record, "termination_reason").and_then(Value::as_str).filter(|text| !text.is_empty());
    let status = Some(status(record)).filter(|text| !text.is_empty());
    let parts = [status.map(|text| storable(text, 64)), reason.map(words::detail)];
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join(": ")).filter(|text| !text.is_empty())
}

fn facts(record: &Value, base: &Url, state: Option<AttemptState>) -> Facts {
    let ended = state.is_some_and(AttemptState::is_outcome);
    let started_at = began_at(record).filter(|_| was_answered(record));
    let seconds = duration(record).filter(|_| ended);
    let ended_at = began_at(record)
        .zip(seconds)
        .and_then(|(start, seconds)| start.checked_add_signed(TimeDelta::seconds(seconds)))
        .filter(|_| ended);
    let analysis = |key: &str| record.get("analysis").and_then(|analysis| text(analysis.get(key), MAX_TEXT_CHARS));
    Facts {
        duration_seconds: seconds.and_then(|seconds| i32::try_from(seconds).ok()),
        cost: cost(record).filter(|_| ended),
        answered_by: (state == Some(AttemptState::Voicemail)).then(|| "voicemail".to_owned()),
        ended_by: ended_by(record).filter(|_| ended).map(str::to_owned),
        started_at,
        ended_at,
        recording_url: recording(record, base).filter(|_| ended),
        transcript: transcript(record),
        summary: analysis("transcript_summary"),
        disposition: analysis("call_successful"),
        error_message: error_reason(record).map(|reason| storable(reason, 1024)),
    }
}

/// Seconds.
pub fn duration(record: &Value) -> Option<i64> {
    let value = metadata(record, "call_duration_secs")?;
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds.round() as i64))?;
    (0..=MAX_SECONDS).contains(&seconds).then_some(seconds)
}

/// US dollars where ElevenLabs tells them (`cost_fiat`, newer), else its credits.
fn cost(record: &Value) -> Option<Money> {
    let amount = |key: &str| {
        let value = metadata(record, key).filter(|value| value.is_number())?.to_string();
        let amount = Decimal::from_str(&value).or_else(|_| Decimal::from_scientific(&value)).ok()?;
        (Decimal::ZERO..Decimal::from(1_000_000)).contains(&amount).then(|| amount.round_dp(6).normalize())
    };
    let credits = || Some(Money { amount: amount("cost")?, currency: CREDITS.into() });
    amount("cost_fiat").map(Money::usd).or_else(credits)
}

/// By prose: "Call ended by remote party", "Client disconnected", "end_call tool was called".
fn ended_by(record: &Value) -> Option<&'static str> {
    let reason = metadata(record, "termination_reason")?.as_str()?.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| reason.contains(part));
    if says(&["remote party", "client", "user", "caller", "customer"]) {
        Some("user")
    } else if says(&["end_call", "agent"]) {
        Some("assistant")
    } else {
        None
    }
}

/// The address needs the API key.
fn recording(record: &Value, base: &Url) -> Option<String> {
    let id = words::call_id(record, "conversation_id")?;
    (record.get("has_audio") == Some(&Value::Bool(true)))
        .then(|| address::below(base, &["v1", "convai", "conversations", id, "audio"], &[]).into())
}

/// `[{speaker, text, at?}]`; speakers are `user`, `assistant`, or the platform's word.
fn transcript(record: &Value) -> Option<Value> {
    let start = unix(metadata(record, "start_time_unix_secs"));
    let turns = record.get("transcript")?.as_array()?.iter().filter_map(|turn| {
        // Null where the turn is a tool's.
        let said = text(turn.get("message"), MAX_TEXT_CHARS)?;
        let speaker = match text(turn.get("role"), 64)?.as_str() {
            "agent" => "assistant".to_owned(),
            other => other.to_owned(),
        };
        let offset =
            turn.get("time_in_call_secs").and_then(Value::as_i64).filter(|secs| (0..=MAX_SECONDS).contains(secs));
        Some(match start.zip(offset) {
            Some((start, offset)) => {
                json!({ "speaker": speaker, "text": said, "at": start.checked_add_signed(TimeDelta::seconds(offset)) })
            }
            None => json!({ "speaker": speaker, "text": said }),
        })
    });
    let turns: Vec<Value> = turns.collect();
    (!turns.is_empty()).then_some(Value::Array(turns))
}

fn error_reason(record: &Value) -> Option<&str> {
    metadata(record, "error")?.get("reason")?.as_str().filter(|reason| !reason.is_empty())
}

fn metadata<'a>(record: &'a Value, key: &str) -> Option<&'a Value> {
    record.get("metadata")?.get(key).filter(|value| !value.is_null())
}

fn text(value: Option<&Value>, max_chars: usize) -> Option<String> {
    value?.as_str().map(|text| storable(text, max_chars)).filter(|text| !text.is_empty())
}

/// Seconds since 1970; what Postgres can hold, with room.
pub fn unix(value: Option<&Value>) -> Option<DateTime<Utc>> {
    let seconds = value?.as_i64().filter(|seconds| (1..32_503_680_000).contains(seconds))?;
    DateTime::from_timestamp(seconds, 0)
}

#[cfg(test)]
mod tests;
