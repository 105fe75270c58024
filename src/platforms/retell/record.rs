//! Retell's call object (the answer of `GET /v2/get-call/{id}`, an item of `POST /v3/list-calls`, and `call` of webhooks) in our words.
//!
//! Every member is taken as hostile: a wrong type is an absent value. Times are milliseconds since 1970; costs are cents.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::words::{self, storable};
use super::ending::{self, Ending};
use crate::call::{AttemptState, CallUpdate, Facts, Money};

/// Texts beyond this length are cut (a transcript's single utterance, a summary).
const MAX_TEXT_CHARS: usize = 64 * 1024;
/// More turns than a call of two hours, the longest that Retell allows, can have.
const MAX_TURNS: usize = 20_000;
/// Far beyond the longest call.
const MAX_SECONDS: i64 = 7 * 86_400;

/// Whether the call has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// An event says so.
    Yes,
    No,
    /// Its own `call_status` says it.
    ByStatus,
}

/// What to make of an end without a reason, which Retell may add a moment later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknown {
    /// Not believed yet: no state, so that the call is asked for again.
    AskAgain,
    /// Said twice: the call failed.
    Failed,
}

/// The update that a call amounts to. Without a state where it has none that we know.
pub fn read(call: &Value, ended: Ended, unknown: OnUnknown) -> CallUpdate {
    let status = call.get("call_status").and_then(Value::as_str).unwrap_or_default();
    let has_ended = match ended {
        Ended::Yes => true,
        Ended::No => false,
        Ended::ByStatus => matches!(status, "ended" | "not_connected" | "error"),
    };
    let ending = if has_ended { ending(call, unknown) } else { None };
    let live = match status {
        _ if has_ended => None,
        "registered" => Some(AttemptState::Placed),
        "ongoing" => Some(AttemptState::InProgress),
        _ => None,
    };
    let facts = facts(call, ending.as_ref());
    CallUpdate {
        attempt_id: attempt_id(call),
        platform_call_id: id(call).map(str::to_owned),
        state: ending.map_or(live, |ending| Some(ending.state)),
        reason: ending.and_then(|ending| ending.reason).map(str::to_owned),
        raw_status: raw_status(call),
        occurred_at: if has_ended { facts.ended_at } else { facts.started_at },
        opt_out: ending.is_some_and(|ending| ending.opt_out),
        resend_after: ending.and_then(|ending| ending.resend_after),
        early_cost: false,
        facts,
    }
}

pub fn id(call: &Value) -> Option<&str> {
    words::call_id(call, "call_id")
}

/// Our own id, from the metadata that Retell echoes (absent where none was given).
pub fn attempt_id(call: &Value) -> Option<Uuid> {
    Uuid::try_parse(call.get("metadata")?.get("voxd_attempt_id")?.as_str()?).ok()
}

fn ending(call: &Value, unknown: OnUnknown) -> Option<Ending> {
    let word = call.get("disconnection_reason").and_then(Value::as_str).unwrap_or_default();
    if word.trim().is_empty() && unknown == OnUnknown::AskAgain {
        return None;
    }
    let read = ending::read(word, has_talked(call));
    // Found by listening again, which may come after the end was told.
    let machine = in_voicemail(call) && read.state == AttemptState::Completed;
    Some(if machine { Ending { state: AttemptState::Voicemail, reason: None, ..read } } else { read })
}

fn has_talked(call: &Value) -> bool {
    time(call, "start_timestamp").is_some() || duration_ms(call).is_some_and(|ms| ms > 0)
}

fn analysis<'a>(call: &'a Value, key: &str) -> Option<&'a Value> {
    call.get("call_analysis")?.get(key)
}

fn in_voicemail(call: &Value) -> bool {
    analysis(call, "in_voicemail").and_then(Value::as_bool) == Some(true)
}

/// The platform's own words for the state, as far as they stand.
fn raw_status(call: &Value) -> Option<String> {
    let parts = ["call_status", "disconnection_reason"]
        .iter()
        .filter_map(|key| call.get(*key)?.as_str().map(|text| format!("{key}={}", storable(text, 128))));
    Some(parts.collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
}

fn facts(call: &Value, ending: Option<&Ending>) -> Facts {
    let started_at = time(call, "start_timestamp");
    let Some(ending) = ending else { return Facts { started_at, ..Facts::default() } };
    let voicemail = ending.state == AttemptState::Voicemail || in_voicemail(call);
    let word = text(call, "disconnection_reason", 128);
    Facts {
        duration_seconds: duration(call),
        cost: cost(call),
        // That it was no voicemail proves no human: a menu speaks too.
        answered_by: voicemail.then(|| "voicemail".to_owned()),
        ended_by: ending.ended_by.map(str::to_owned),
        started_at,
        ended_at: time(call, "end_timestamp"),
        recording_url: address(call, "recording_url").or_else(|| address(call, "scrubbed_recording_url")),
        transcript: turns(call).or_else(|| turns_of_text(call)),
        summary: call.get("call_analysis").and_then(|analysis| text(analysis, "call_summary", MAX_TEXT_CHARS)),
        disposition: analysis(call, "call_successful")
            .and_then(Value::as_bool)
            .map(|successful| if successful { "successful" } else { "unsuccessful" }.to_owned()),
        error_message: word.filter(|_| ending.state == AttemptState::Failed),
    }
}

fn duration_ms(call: &Value) -> Option<i64> {
    let span = || Some((time(call, "end_timestamp")? - time(call, "start_timestamp")?).num_milliseconds());
    call.get("duration_ms").and_then(whole).or_else(span)
}

/// To the nearest second.
fn duration(call: &Value) -> Option<i32> {
    let seconds = duration_ms(call)?.checked_add(500)?.div_euclid(1000);
    (0..=MAX_SECONDS).contains(&seconds).then_some(seconds as i32)
}

/// `call_cost.combined_cost` is in US cents, with fractions.
fn cost(call: &Value) -> Option<Money> {
    let value = call.get("call_cost")?.get("combined_cost")?;
    let text = value.as_str().map(str::to_owned).or_else(|| value.is_number().then(|| value.to_string()))?;
    let cents = Decimal::from_str(text.trim()).or_else(|_| Decimal::from_scientific(text.trim())).ok()?;
    let in_range = (Decimal::ZERO..Decimal::from(100_000_000)).contains(&cents);
    in_range.then(|| Money::usd((cents / Decimal::ONE_HUNDRED).round_dp(6).normalize()))
}

/// `[{speaker, text, at?}]` from `transcript_object`; a word's start is in seconds since the call's.
fn turns(call: &Value) -> Option<Value> {
    let began = time(call, "start_timestamp");
    let turns = call.get("transcript_object")?.as_array()?.iter().take(MAX_TURNS).filter_map(|turn| {
        let said = text(turn, "content", MAX_TEXT_CHARS)?;
        let speaker = match text(turn, "role", 64)?.as_str() {
            "agent" => "assistant".to_owned(),
            other => other.to_owned(),
        };
        let first = turn.get("words").and_then(|words| words.get(0)?.get("start")?.as_f64());
        let offset = first.filter(|seconds| (0.0..MAX_SECONDS as f64).contains(seconds));
        let at = began
            .zip(offset)
            .and_then(|(began, seconds)| began.checked_add_signed(TimeDelta::milliseconds((seconds * 1000.0) as i64)));
        Some(match at {
            Some(at) => json!({ "speaker": speaker, "text": said, "at": at }),
            None => json!({ "speaker": speaker, "text": said }),
        })
    });
    let turns: Vec<Value> = turns.collect();
    (!turns.is_empty()).then_some(Value::Array(turns))
}

/// From `Agent: …` and `User: …`, line by line; other lines go on with what was said.
fn turns_of_text(call: &Value) -> Option<Value> {
    let text = text(call, "transcript", 4 * MAX_TEXT_CHARS)?;
    let mut turns: Vec<(&str, String)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()).take(MAX_TURNS) {
        match (line.strip_prefix("Agent: "), line.strip_prefix("User: "), turns.last_mut()) {
            (Some(said), _, _) => turns.push(("assistant", said.to_owned())),
            (_, Some(said), _) => turns.push(("user", said.to_owned())),
            (_, _, Some((_, last))) => *last = format!("{last}\n{line}"),
            _ => turns.push(("unknown", line.to_owned())),
        }
    }
    let turns: Vec<Value> = turns.into_iter().map(|(who, said)| json!({ "speaker": who, "text": said })).collect();
    (!turns.is_empty()).then_some(Value::Array(turns))
}

fn address(owner: &Value, key: &str) -> Option<String> {
    text(owner, key, 2048).filter(|url| url.starts_with("https://") || url.starts_with("http://"))
}

fn text(owner: &Value, key: &str, max_chars: usize) -> Option<String> {
    owner.get(key)?.as_str().map(|text| storable(text, max_chars)).filter(|text| !text.trim().is_empty())
}

/// A whole number, also where it is written as `65000.0`.
fn whole(value: &Value) -> Option<i64> {
    let rounded = || value.as_f64().filter(|number| number.abs() < 1e15).map(|number| number.round() as i64);
    value.as_i64().or_else(rounded)
}

pub fn time(owner: &Value, key: &str) -> Option<DateTime<Utc>> {
    let at = DateTime::from_timestamp_millis(whole(owner.get(key)?)?)?;
    // What Postgres can hold, with room; 0 is no time.
    (DateTime::from_timestamp(1, 0)?..DateTime::from_timestamp(32_503_680_000, 0)?).contains(&at).then_some(at)
}

#[cfg(test)]
mod tests;
