//! Looking for the call of an attempt in doubt.
//!
//! `GET /call` filters by time of creation only and has no pages: all calls of the account in a narrow window are listed,
//! and compared with the attempt by the metadata of the overrides, `customer.externalId` and `name`. A list as long as asked
//! for may be cut off, so its window is halved until nothing can be missing. "Absent" is said only of lists that were read
//! to their end and in which every call to the number showed another owner; whatever proves less is inconclusive.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::super::{AttemptRef, Lookup, PlatformError, words};
use super::Vapi;
use super::record::{self, OnUnknown};

/// Vapi gives up to 1000 at once; but each comes with its transcript, and an answer beyond the reader's bound tells nothing.
const LIMIT: usize = 250;
/// What it gives where the limit is not honoured: a list of just this length may be cut off too.
const DEFAULT_LIMIT: usize = 100;
/// More requests than this mean that the windows are not honoured, or that the account is far beyond what this can settle.
const MAX_REQUESTS: usize = 64;
/// The platform's clock and the database's may differ.
const BEFORE: TimeDelta = TimeDelta::minutes(2);
const AFTER: TimeDelta = TimeDelta::minutes(2);
const NARROWEST: TimeDelta = TimeDelta::milliseconds(2);

pub async fn find(vapi: &Vapi, attempt: &AttemptRef) -> Lookup {
    match search(vapi, attempt).await {
        Ok(lookup) => lookup,
        Err(error) => Lookup::Inconclusive { reason: error.to_string() },
    }
}

async fn search(vapi: &Vapi, attempt: &AttemptRef) -> Result<Lookup, PlatformError> {
    if let Some(id) = attempt.platform_call_id.as_deref().filter(|id| words::is_plausible_id(id)) {
        match vapi.call("find", id).await {
            Ok(call) if record::attempt_id(&call) == Some(attempt.attempt_id) => return Ok(found(&call)),
            Ok(_) | Err(PlatformError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    let whole = (attempt.committed_at - BEFORE, attempt.settled_at + AFTER);
    let mut windows = vec![whole];
    let (mut requests, mut rows, mut unclear) = (0, 0, None);
    let mut seen = BTreeSet::new();
    while let Some((from, to)) = windows.pop() {
        requests += 1;
        if requests > MAX_REQUESTS {
            return Ok(inconclusive("the listing cannot be read to its end"));
        }
        let page = list(vapi, from, to).await?;
        rows += page.len();
        for call in &page {
            let Some(id) = words::call_id(call, "id") else {
                return Ok(inconclusive("a listed call has no readable id"));
            };
            if !seen.insert(id.to_owned()) {
                continue;
            }
            if record::attempt_id(call) == Some(attempt.attempt_id) {
                return Ok(found(call));
            }
            if !record::shows_owner(call) && is_candidate(call, attempt) {
                unclear = Some("a call to the number shows neither metadata nor externalId nor name");
            }
        }
        if page.len() >= LIMIT || page.len() == DEFAULT_LIMIT {
            let middle = from + (to - from) / 2;
            if to - from < NARROWEST {
                return Ok(inconclusive("more calls in a moment than a list holds"));
            }
            // Both halves hold the middle: no call falls between them.
            windows.extend([(from, middle), (middle, to)]);
        }
    }
    Ok(match unclear {
        Some(reason) => inconclusive(reason),
        None => Lookup::Absent {
            evidence: json!({
                "listed_from": stamp(whole.0), "listed_to": stamp(whole.1), "requests": requests, "rows": rows, "calls": seen.len(),
            }),
        },
    })
}

fn found(call: &Value) -> Lookup {
    Lookup::Found(Box::new(record::read(call, OnUnknown::AskAgain)))
}

fn inconclusive(reason: &str) -> Lookup {
    Lookup::Inconclusive { reason: reason.to_owned() }
}

async fn list(vapi: &Vapi, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<Value>, PlatformError> {
    let (from, to, limit) = (stamp(from), stamp(to), LIMIT.to_string());
    let query = [("createdAtGe", from.as_str()), ("createdAtLe", to.as_str()), ("limit", limit.as_str())];
    match vapi.get("find", &["call"], &query).await? {
        Value::Array(calls) => Ok(calls),
        _ => Err(PlatformError::Temporary("the listing is no array".into())),
    }
}

fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn is_candidate(call: &Value, attempt: &AttemptRef) -> bool {
    if call.get("type").and_then(Value::as_str).is_some_and(|kind| kind != "outboundPhoneCall") {
        return false;
    }
    // A call without a readable number is looked at rather than passed over.
    let number = call.get("customer").and_then(|customer| customer.get("number")).and_then(Value::as_str);
    number.is_none_or(|number| words::same_number(number, attempt.to.as_e164()))
}
