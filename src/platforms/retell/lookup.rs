//! Looking for the call of an attempt in doubt.
//!
//! `POST /v3/list-calls` filters by metadata exactly, so one question finds the call. Its silence is not yet proof: how soon a new
//! call is listed, and whether metadata outlives the storage setting `basic_attributes_only`, is not documented. So all outbound
//! calls to the number are listed too, to the end, and "absent" is said only where each of them showed another owner. No filter
//! on time or status: a registered call has no start yet, and its status cannot be asked for.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::super::{AttemptRef, Lookup, PlacedCall, Platform, PlatformError};
use super::Retell;
use super::record::{self, Ended, OnUnknown};
use crate::call::CallUpdate;

/// The vendor's default; its maximum is not documented for this version.
const PAGE: usize = 50;
/// More pages than this for one number mean that the paging is not what is documented.
const MAX_PAGES: usize = 50;
/// The platform's clock and the database's may differ by as much.
const SKEW: TimeDelta = TimeDelta::minutes(10);

pub async fn find(retell: &Retell, attempt: &AttemptRef) -> Lookup {
    match search(retell, attempt).await {
        Ok(lookup) => lookup,
        Err(error) => Lookup::Inconclusive { reason: error.to_string() },
    }
}

async fn search(retell: &Retell, attempt: &AttemptRef) -> Result<Lookup, PlatformError> {
    if let Some(id) = &attempt.platform_call_id {
        match retell.call_status(&PlacedCall::new(id)).await {
            Ok(update) if update.attempt_id.is_none_or(|id| id == attempt.attempt_id) => {
                return Ok(Lookup::Found(Box::new(update)));
            }
            Ok(_) | Err(PlatformError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    let ours = json!({
        "metadata": [{
            "key": "voxd_attempt_id", "type": "string", "op": "eq", "value": attempt.attempt_id.to_string(),
        }],
    });
    let by_id = listing(retell, attempt, &ours).await?;
    if let Listing::Found(found) = by_id {
        return Ok(Lookup::Found(found));
    }
    let to_number = json!({
        "to_number": { "type": "string", "op": "eq", "value": attempt.to.as_e164() },
        "direction": { "type": "enum", "op": "in", "value": ["outbound"] },
    });
    Ok(match (by_id, listing(retell, attempt, &to_number).await?) {
        (_, Listing::Found(found)) => Lookup::Found(found),
        (Listing::Unclear(reason), _) | (_, Listing::Unclear(reason)) => {
            Lookup::Inconclusive { reason: reason.to_owned() }
        }
        (Listing::Without { .. } | Listing::Found(_), Listing::Without { calls, pages }) => Lookup::Absent {
            evidence: json!({ "calls_with_the_attempt": 0, "calls_to_the_number": calls, "pages": pages }),
        },
    })
}

/// What a listing says of the attempt.
enum Listing {
    Found(Box<CallUpdate>),
    /// Read to its end, and every call in it is another's.
    Without {
        calls: usize,
        pages: usize,
    },
    Unclear(&'static str),
}

async fn listing(retell: &Retell, attempt: &AttemptRef, filter: &Value) -> Result<Listing, PlatformError> {
    let mut seen = BTreeSet::new();
    let mut key: Option<String> = None;
    let mut unclear = None;
    for page in 1..=MAX_PAGES {
        let mut question = json!({ "filter_criteria": filter, "sort_order": "descending", "limit": PAGE });
        if let Some(key) = &key {
            question["pagination_key"] = json!(key);
        }
        let answer = retell.post("find", &["v3", "list-calls"], &question).await?;
        let Some(items) = answer.get("items").and_then(Value::as_array) else {
            return Err(PlatformError::Temporary("the listing has no items".into()));
        };
        if items.len() > PAGE {
            return Ok(Listing::Unclear("a page has more calls than were asked for"));
        }
        let before = seen.len();
        for call in items {
            let Some(id) = record::id(call) else { return Ok(Listing::Unclear("a listed call has no readable id")) };
            seen.insert(id.to_owned());
            match Owner::of(call, attempt) {
                Owner::Ours => {
                    let update = record::read(call, Ended::ByStatus, OnUnknown::AskAgain);
                    return Ok(Listing::Found(Box::new(update)));
                }
                Owner::Other => {}
                Owner::Unknown => unclear = Some("a call to the number shows no metadata"),
            }
        }
        key = answer.get("pagination_key").and_then(Value::as_str).map(str::to_owned);
        match (answer.get("has_more").and_then(Value::as_bool), &key) {
            (Some(false), _) => {
                let without = Listing::Without { calls: seen.len(), pages: page };
                return Ok(unclear.map_or(without, Listing::Unclear));
            }
            (Some(true), Some(_)) if seen.len() > before => {}
            (None, _) => return Ok(Listing::Unclear("the listing does not say whether there is more")),
            (Some(true), _) => break,
        }
    }
    Ok(Listing::Unclear("the listing cannot be read to its end"))
}

enum Owner {
    Ours,
    Other,
    Unknown,
}

impl Owner {
    /// Our calls always carry metadata: one without may be ours before it is complete, or stripped of it, unless it is older
    /// than the attempt.
    fn of(call: &Value, attempt: &AttemptRef) -> Self {
        if record::attempt_id(call) == Some(attempt.attempt_id) {
            return Owner::Ours;
        }
        let started = record::time(call, "start_timestamp");
        let older = started.is_some_and(|at| at < attempt.committed_at - SKEW);
        let has_metadata = call.get("metadata").and_then(Value::as_object).is_some_and(|metadata| !metadata.is_empty());
        if has_metadata || older { Owner::Other } else { Owner::Unknown }
    }
}
