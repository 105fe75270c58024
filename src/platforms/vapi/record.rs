//! Vapi's Call object (the answer of `GET /call/{id}`, a row of `GET /call`, and `message.call` of webhooks) in our words.
//!
//! Every member is taken as hostile: a wrong type is an absent value.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use std::str::FromStr;
use uuid::Uuid;

use super::super::words::{self, storable};
use super::payload::OVERRIDE_KEYS;
use super::reason::{self, Ending};
use crate::call::{AttemptState, CallUpdate, Facts, Money};

/// Texts beyond this length are cut (a transcript's single utterance, a summary).
const MAX_TEXT_CHARS: usize = 64 * 1024;
/// More turns than a call of 12 hours, the longest that Vapi allows, can have.
const MAX_TURNS: usize = 20_000;
/// Far beyond the longest call.
const MAX_SECONDS: i64 = 7 * 86_400;

/// What to make of an end without a reason, which Vapi may add a moment later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknown {
    /// Not believed yet: no state, so that the call is asked for again.
    AskAgain,
    /// Said twice: the call failed.
    Failed,
}

/// The update that a call amounts to. Without a state where it has none that we know.
pub fn read(call: &Value, unknown: OnUnknown) -> CallUpdate {
    let ending = ending(call, unknown);
    let state = ending.map_or_else(|| live_state(call), |ending| Some(ending.state));
    let facts = facts(call, ending.as_ref());
    CallUpdate {
        attempt_id: attempt_id(call),
        platform_call_id: words::call_id(call, "id").map(str::to_owned),
        state,
        reason: ending.map_or_else(|| unknown_status(call), |ending| ending.reason).map(str::to_owned),
        raw_status: raw_status(call),
        occurred_at: if ending.is_some() { facts.ended_at } else { facts.started_at },
        resend_after: ending.and_then(|ending| ending.resend_after),
        facts,
        ..CallUpdate::default()
    }
}

/// Our own id: in the metadata of the overrides, else in one of its two other copies.
pub fn attempt_id(call: &Value) -> Option<Uuid> {
    let of_metadata = |owner: &Value| uuid(owner.get("metadata")?, "voxd_attempt_id");
    OVERRIDE_KEYS
        .iter()
        .find_map(|key| of_metadata(call.get(*key)?))
        .or_else(|| of_metadata(call))
        .or_else(|| uuid(call.get("customer")?, "externalId"))
        .or_else(|| uuid(call, "name"))
}

/// Whether the call shows any of the places in which we put our id: a call without them may still be ours.
pub fn shows_owner(call: &Value) -> bool {
    let is_there = |owner: Option<&Value>, key: &str| {
        owner.is_some_and(|owner| owner.get(key).is_some_and(|value| !value.is_null()))
    };
    OVERRIDE_KEYS.iter().any(|key| is_there(call.get(*key), "metadata"))
        || is_there(call.get("customer"), "externalId")
        || is_there(Some(call), "name")
}

pub fn status(call: &Value) -> &str {
    call.get("status").and_then(Value::as_str).unwrap_or_default()
}

/// It waits at Vapi, and no carrier has heard of it.
pub fn is_undialled(call: &Value) -> bool {
    let carrier = call.get("phoneCallProviderId").and_then(Value::as_str).unwrap_or_default();
    matches!(status(call), "queued" | "scheduled") && carrier.is_empty() && time(call, "startedAt").is_none()
}

fn ending(call: &Value, unknown: OnUnknown) -> Option<Ending> {
    if status(call) != "ended" {
        return None;
    }
    match call.get("endedReason").and_then(Value::as_str).filter(|reason| !reason.is_empty()) {
        Some(reason) => Some(reason::read(reason, time(call, "startedAt").is_some())),
        None => (unknown == OnUnknown::Failed).then(|| reason::read("", false)),
    }
}

/// A word that the vendor did not document; its state is not guessed.
fn unknown_status(call: &Value) -> Option<&'static str> {
    let silent = matches!(status(call), "" | "ended" | "not-found" | "deletion-failed");
    (!silent && live_state(call).is_none()).then_some("unknown")
}

/// `not-found` and `deletion-failed` say nothing of the call itself.
fn live_state(call: &Value) -> Option<AttemptState> {
    match status(call) {
        "scheduled" | "queued" => Some(AttemptState::Placed),
        "ringing" => Some(AttemptState::Ringing),
        "in-progress" | "forwarding" => Some(AttemptState::InProgress),
        _ => None,
    }
}

/// The platform's own words for the state, as far as they stand.
fn raw_status(call: &Value) -> Option<String> {
    let parts = ["status", "endedReason"]
        .iter()
        .filter_map(|key| call.get(*key)?.as_str().map(|text| format!("{key}={}", storable(text, 128))));
    Some(parts.collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
}

fn facts(call: &Value, ending: Option<&Ending>) -> Facts {
    let started_at = time(call, "startedAt");
    let Some(ending) = ending else { return Facts { started_at, ..Facts::default() } };
    let ended_at = time(call, "endedAt");
    let artifact = call.get("artifact").unwrap_or(&Value::Null);
    let analysis = call.get("analysis").unwrap_or(&Value::Null);
    Facts {
        duration_seconds: started_at.zip(ended_at).and_then(|(start, end)| seconds(start, end)),
        cost: cost(call),
        // Vapi tells a machine where detection is on; that it told none proves no human.
        answered_by: (ending.state == AttemptState::Voicemail).then(|| "voicemail".to_owned()),
        ended_by: ending.ended_by.map(str::to_owned),
        started_at,
        ended_at,
        recording_url: recording(artifact).or_else(|| address(call, "recordingUrl")),
        transcript: turns(artifact).or_else(|| turns(call)),
        summary: text(analysis, "summary", MAX_TEXT_CHARS).or_else(|| text(call, "summary", MAX_TEXT_CHARS)),
        disposition: text(analysis, "successEvaluation", 256),
        error_message: text(call, "endedMessage", 1024),
    }
}

/// To the nearest second. Vapi gives no duration.
fn seconds(start: DateTime<Utc>, end: DateTime<Utc>) -> Option<i32> {
    let milliseconds = (end - start).num_milliseconds();
    let seconds = (milliseconds + 500).div_euclid(1000);
    (0..=MAX_SECONDS).contains(&seconds).then_some(seconds as i32)
}

/// US dollars. It is 0 from the call's creation on and final with its breakdown only.
fn cost(call: &Value) -> Option<Money> {
    let value = call.get("cost")?;
    let text = value.as_str().map(str::to_owned).or_else(|| value.is_number().then(|| value.to_string()))?;
    let cost = Decimal::from_str(text.trim()).or_else(|_| Decimal::from_scientific(text.trim())).ok()?;
    let is_final = ["costBreakdown", "costs"].iter().any(|key| call.get(*key).is_some_and(|value| !value.is_null()));
    let in_range = (Decimal::ZERO..Decimal::from(1_000_000)).contains(&cost);
    (in_range && (is_final || !cost.is_zero())).then(|| Money::usd(cost.round_dp(6).normalize()))
}

/// The stable address; presigned ones change with each answer and run out.
fn recording(artifact: &Value) -> Option<String> {
    let nested = || address(artifact.get("recording")?.get("mono")?, "combinedUrl");
    address(artifact, "recordingUrl").or_else(nested).or_else(|| address(artifact, "stereoRecordingUrl"))
}

fn address(owner: &Value, key: &str) -> Option<String> {
    text(owner, key, 2048).filter(|url| url.starts_with("https://") || url.starts_with("http://"))
}

/// `[{speaker, text, at?}]`, from `messages` or, where there are none, from the text `transcript`.
fn turns(owner: &Value) -> Option<Value> {
    let messages = owner.get("messages").and_then(Value::as_array).into_iter().flatten().take(MAX_TURNS);
    let turns: Vec<Value> = messages.filter_map(turn).collect();
    if !turns.is_empty() {
        return Some(Value::Array(turns));
    }
    let text = text(owner, "transcript", 4 * MAX_TEXT_CHARS)?;
    let mut turns: Vec<(&str, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()).take(MAX_TURNS) {
        let said = ["AI: ", "Assistant: ", "Bot: "].iter().find_map(|who| line.strip_prefix(who));
        let heard = ["User: ", "Customer: "].iter().find_map(|who| line.strip_prefix(who));
        match (said, heard, turns.last_mut()) {
            (Some(said), _, _) => turns.push(("assistant", said.trim().to_owned())),
            (_, Some(heard), _) => turns.push(("user", heard.trim().to_owned())),
            (_, _, Some((_, last))) => *last = format!("{last}\n{}", line.trim()),
            _ => turns.push(("unknown", line.trim().to_owned())),
        }
    }
    let turns: Vec<Value> = turns.into_iter().map(|(who, said)| json!({ "speaker": who, "text": said })).collect();
    (!turns.is_empty()).then_some(Value::Array(turns))
}

/// A person's or the assistant's words. The system's message is the prompt, tools' messages are no speech.
fn turn(message: &Value) -> Option<Value> {
    let speaker = match message.get("role")?.as_str()? {
        "bot" | "assistant" | "ai" => "assistant",
        "user" | "customer" => "user",
        _ => return None,
    };
    let said = text(message, "message", MAX_TEXT_CHARS).or_else(|| text(message, "content", MAX_TEXT_CHARS))?;
    let at = message.get("time").and_then(Value::as_f64).and_then(epoch_ms);
    Some(match at {
        Some(at) => json!({ "speaker": speaker, "text": said, "at": at }),
        None => json!({ "speaker": speaker, "text": said }),
    })
}

fn text(owner: &Value, key: &str, max_chars: usize) -> Option<String> {
    owner.get(key)?.as_str().map(|text| storable(text, max_chars)).filter(|text| !text.trim().is_empty())
}

fn uuid(owner: &Value, key: &str) -> Option<Uuid> {
    Uuid::try_parse(owner.get(key)?.as_str()?).ok()
}

pub fn time(owner: &Value, key: &str) -> Option<DateTime<Utc>> {
    plausible(DateTime::parse_from_rfc3339(owner.get(key)?.as_str()?).ok()?.with_timezone(&Utc))
}

pub fn epoch_ms(ms: f64) -> Option<DateTime<Utc>> {
    if !ms.is_finite() || ms.abs() > 1e15 {
        return None;
    }
    plausible(DateTime::from_timestamp_millis(ms as i64)?)
}

/// What Postgres can hold, with room.
fn plausible(at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    (DateTime::UNIX_EPOCH..DateTime::from_timestamp(32_503_680_000, 0)?).contains(&at).then_some(at)
}

#[cfg(test)]
mod tests;
