//! What follows from an attempt's row: the right to send, the request, and its answer.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::call::{FieldError, PhoneNumber};
use crate::platforms::{Payload, PlatformRegistry, RequestPreview};
use crate::store::accept::StoredRequest;
use crate::store::read::{Attempt, Call};
use crate::store::story::Line;

/// Requests are put together anew for so many attempts, the newest ones.
const MOST_REQUESTS: usize = 50;

/// `told`: what the ledger's timeline says.
pub(super) fn lines(
    call: &Call,
    attempts: &[Attempt],
    stored: &Result<StoredRequest, String>,
    told: &[Line],
    registry: &PlatformRegistry,
    public_url: Option<&str>,
) -> Vec<Line> {
    let unshown = attempts.len().saturating_sub(MOST_REQUESTS);
    let of = |(n, attempt): (usize, &Attempt)| {
        let request = match stored {
            _ if n < unshown => Err(format!("only the {MOST_REQUESTS} newest requests are shown")),
            Err(problem) => Err(format!("the stored request cannot be read: {problem}")),
            Ok(stored) => rebuild(call, attempt, stored, registry, public_url),
        };
        [Some(right(attempt)), Some(sent(attempt, request, told)), answer(attempt)]
    };
    attempts.iter().enumerate().flat_map(of).flatten().collect()
}

fn line(attempt: &Attempt, at: DateTime<Utc>, kind: &str, source: &str, detail: Value) -> Line {
    Line {
        id: None,
        at,
        attempt_id: Some(attempt.id),
        kind: kind.to_owned(),
        from_status: None,
        to_status: None,
        source: source.to_owned(),
        detail,
    }
}

fn right(attempt: &Attempt) -> Line {
    let detail = json!({ "n": attempt.n, "because": attempt.because, "platform": attempt.platform });
    line(attempt, attempt.committed_at, "attempt", "delivery", detail)
}

/// When it left is not kept: after the call was `sending`.
fn sent(attempt: &Attempt, request: Result<(RequestPreview, Payload), String>, told: &[Line]) -> Line {
    let before_answer = |at: DateTime<Utc>| attempt.answered_at.is_none_or(|answered| at <= answered);
    let sending = told
        .iter()
        .filter(|line| line.to_status.as_deref() == Some("sending"))
        .map(|line| line.at)
        .filter(|at| *at >= attempt.committed_at && before_answer(*at))
        .min();
    // Where the network failed before the first byte.
    let left = attempt.verdict.as_deref() != Some("not_sent") || attempt.http_status.is_some();
    let mut detail = match request {
        Ok((preview, payload)) => json!({
            "rebuilt": true, "method": preview.method, "url": preview.url, "headers": preview.headers,
            "encoding": payload.encoding, "body": payload.fields,
        }),
        Err(problem) => json!({ "rebuilt": false, "problem": problem }),
    };
    detail["n"] = json!(attempt.n);
    detail["platform"] = json!(attempt.platform);
    detail["reached_the_platform"] = match (left, attempt.answered_at) {
        (false, _) => json!(false),
        (true, Some(_)) if attempt.http_status.is_some() => json!(true),
        _ => Value::Null,
    };
    line(attempt, sending.unwrap_or(attempt.committed_at), "request", "delivery", detail)
}

fn answer(attempt: &Attempt) -> Option<Line> {
    let at = attempt.answered_at?;
    let known = [
        ("verdict", attempt.verdict.as_deref()),
        // A later end of the call has a reason of its own.
        ("reason", attempt.reason.as_deref().filter(|_| attempt.verdict.as_deref() != Some("placed"))),
        ("detail", attempt.detail.as_deref()),
        ("platform_call_id", attempt.platform_call_id.as_deref()),
    ];
    let mut detail: Map<String, Value> =
        known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))).collect();
    detail.insert("n".into(), json!(attempt.n));
    detail.insert("http_status".into(), json!(attempt.http_status));
    Some(line(attempt, at, "answer", &attempt.platform, Value::Object(detail)))
}

fn rebuild(
    call: &Call,
    attempt: &Attempt,
    stored: &StoredRequest,
    registry: &PlatformRegistry,
    public_url: Option<&str>,
) -> Result<(RequestPreview, Payload), String> {
    let platform = registry.get(&attempt.platform).map_err(|unavailable| unavailable.to_string())?;
    let ids: (Uuid, Uuid) = (call.id, attempt.id);
    let to = PhoneNumber::from_trusted(call.to_number.clone());
    let metadata = call.metadata.as_object().cloned().unwrap_or_default();
    let request = stored.of_attempt(ids, &attempt.platform, to, metadata, public_url);
    let payload = platform.format_payload(&request).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(FieldError::to_string).collect();
        format!("the stored request does not fit the platform any more: {}", problems.join("; "))
    })?;
    Ok((platform.preview(&payload), payload))
}
