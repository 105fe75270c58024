//! How the call ended, in one line.

use serde_json::{Map, Value, json};

use crate::call::CallStatus;
use crate::store::read::{Attempt, Call};
use crate::store::story::Line;

/// `None`: it has not ended.
pub(super) fn line(call: &Call, attempts: &[Attempt], told: &[Line]) -> Option<Line> {
    let ended = call.status.parse().is_ok_and(CallStatus::is_terminal);
    let finished_at = call.finished_at.filter(|_| ended)?;
    // The timeline's line follows the change.
    let last = told.iter().filter(|line| line.to_status.as_ref() == Some(&call.status)).max_by_key(|line| line.at);
    let attempt = attempts.iter().rev().find(|attempt| attempt.state == call.status);
    let mut detail = Map::new();
    let mut know = |name: &str, value: Value| {
        if !value.is_null() {
            detail.insert(name.to_owned(), value);
        }
    };
    know("status", json!(call.status));
    know("reason", json!(call.status_reason));
    know("attempts", json!(attempts.len()));
    if let Some(attempt) = attempt {
        know("attempt", json!(attempt.n));
        know("platform", json!(attempt.platform));
        know("duration_seconds", json!(attempt.duration_seconds));
        know("cost_amount", json!(attempt.cost_amount.map(|amount| amount.normalize())));
        know("cost_currency", json!(attempt.cost_currency));
        know("cost_source", json!(attempt.cost_source));
        know("answered_by", json!(attempt.answered_by));
        know("ended_by", json!(attempt.ended_by));
    }
    Some(Line {
        id: None,
        at: last.map_or(finished_at, |line| line.at.max(finished_at)),
        attempt_id: attempt.map(|attempt| attempt.id),
        kind: "outcome".into(),
        from_status: None,
        to_status: None,
        source: call.status_source.clone(),
        detail: Value::Object(detail),
    })
}
