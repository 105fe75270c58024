//! Looking for the conversation of an attempt in doubt.
//!
//! Conversations are listed by `user_id`, which is the attempt's id. Rows show no `user_id`, so each is fetched and must say
//! that it is ours. One is adopted; of several (ElevenLabs made more than one call of one request) the oldest, with an alarm.
//!
//! **What an empty listing is worth.** Nothing says whether a call that was never answered is listed at all. So an empty
//! listing, however complete, is proof only where the operator says that the workspace lists such calls
//! (`lists_unanswered_calls`), or where the carrier's account, too, shows no call to the number since the attempt began: a
//! request that led to no call at the carrier rang nobody's phone. Otherwise it is inconclusive, and a person decides.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::super::{AttemptRef, Lookup, PlatformError, words};
use super::{ElevenLabs, record};

/// The vendor's most.
const PAGE: &str = "100";
/// One attempt has one conversation: more pages than this mean that the filter or the paging is not what is documented.
const MAX_PAGES: usize = 10;
/// Conversations fetched for one attempt.
const MAX_DETAILS: usize = 20;
/// Listings begin this long before the attempt: the platform's clock and the database's may differ.
const BEFORE: TimeDelta = TimeDelta::minutes(10);

pub async fn find(platform: &ElevenLabs, attempt: &AttemptRef) -> Lookup {
    match search(platform, attempt).await {
        Ok(lookup) => lookup,
        Err(error) => Lookup::Inconclusive { reason: error.to_string() },
    }
}

async fn search(platform: &ElevenLabs, attempt: &AttemptRef) -> Result<Lookup, PlatformError> {
    if let Some(id) = &attempt.platform_call_id
        && let Ok(record) = platform.conversation("find", id).await
        && record::attempt_id(&record) == Some(attempt.attempt_id)
    {
        return Ok(found(platform, attempt, id, &record));
    }
    let ids = match list(platform, attempt).await? {
        Ok(ids) if ids.len() <= MAX_DETAILS => ids,
        Ok(_) => return Ok(inconclusive("the listing does not honour user_id")),
        Err(reason) => return Ok(inconclusive(reason)),
    };
    let mut ours = Vec::new();
    let mut unclear = None;
    for id in &ids {
        match platform.conversation("find", id).await {
            Ok(record) if record::attempt_id(&record) == Some(attempt.attempt_id) => ours.push((id, record)),
            Ok(record) if record::names_a_user(&record) => unclear = Some("the listing does not honour user_id"),
            Ok(_) => unclear = Some("a listed conversation shows no user_id"),
            Err(PlatformError::NotFound) => unclear = Some("a listed conversation cannot be fetched"),
            Err(error) => return Err(error),
        }
    }
    ours.sort_by_key(|(_, record)| record::began_at(record).unwrap_or(DateTime::<Utc>::MAX_UTC));
    if ours.len() > 1 {
        let conversations: Vec<&str> = ours.iter().map(|(id, _)| id.as_str()).collect();
        tracing::error!(attempt_id = %attempt.attempt_id, ?conversations, "one request made several calls; the oldest is adopted");
    }
    match (ours.first(), unclear) {
        (Some((id, record)), _) => Ok(found(platform, attempt, id, record)),
        (None, Some(reason)) => Ok(inconclusive(reason)),
        (None, None) => absent(platform, attempt).await,
    }
}

/// No conversation is listed for the attempt.
async fn absent(platform: &ElevenLabs, attempt: &AttemptRef) -> Result<Lookup, PlatformError> {
    if platform.lists_unanswered {
        return Ok(Lookup::Absent { evidence: json!({ "conversations": 0, "by": "user_id" }) });
    }
    let Some(carrier) = &platform.carrier else {
        return Ok(inconclusive(
            "no conversation is listed, but the listing may leave out calls that nobody answered (set twilio_account_sid and twilio_auth_token to ask the carrier, too)",
        ));
    };
    let since = attempt.committed_at - BEFORE;
    let calls = match carrier.calls_to(attempt.to.as_e164(), since).await? {
        Ok(calls) => calls,
        Err(reason) => return Ok(inconclusive(reason)),
    };
    let known = known_calls(platform, attempt).await;
    let open: Vec<&str> = calls
        .iter()
        .filter(|(sid, call)| !known.contains(*sid) && call.created_at.is_none_or(|created| created >= since))
        .map(|(sid, _)| sid.as_str())
        .collect();
    if let Some(first) = open.first() {
        let count = open.len();
        let reason = format!(
            "no conversation is listed, but the carrier has {count} call(s) to the number that may be this attempt's ({first})"
        );
        return Ok(Lookup::Inconclusive { reason });
    }
    Ok(Lookup::Absent {
        evidence: json!({ "conversations": 0, "by": "user_id", "calls_at_the_carrier": 0, "carriers_calls_of_others": calls.len() }),
    })
}

/// The carrier's ids of calls to the number that other attempts own. What cannot be learned stays unknown, which proves less.
async fn known_calls(platform: &ElevenLabs, attempt: &AttemptRef) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for id in attempt.bound.iter().take(MAX_DETAILS) {
        if let Ok(record) = platform.conversation("find", id).await {
            known.extend(record::call_sid(&record).map(str::to_owned));
        }
    }
    known
}

fn found(platform: &ElevenLabs, attempt: &AttemptRef, id: &str, record: &Value) -> Lookup {
    let mut update = record::read(record, &platform.base_url);
    update.attempt_id = Some(attempt.attempt_id);
    update.platform_call_id = Some(id.to_owned());
    // How a call ended that nobody answered, polling finds out: it asks the carrier, too.
    if update.state == Some(crate::call::AttemptState::Failed) {
        update.state = None;
        update.reason = None;
    }
    Lookup::Found(Box::new(update))
}

fn inconclusive(reason: &str) -> Lookup {
    Lookup::Inconclusive { reason: reason.to_owned() }
}

/// The ids of all conversations that are listed for the attempt. The inner `Err` says why the listing proves nothing.
async fn list(
    platform: &ElevenLabs,
    attempt: &AttemptRef,
) -> Result<Result<BTreeSet<String>, &'static str>, PlatformError> {
    let user = attempt.attempt_id.to_string();
    let since = (attempt.committed_at - BEFORE).timestamp().to_string();
    let mut ids = BTreeSet::new();
    let mut cursors = BTreeSet::new();
    let mut cursor: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let mut query = vec![("user_id", user.as_str()), ("call_start_after_unix", &since), ("page_size", PAGE)];
        if let Some(cursor) = &cursor {
            query.push(("cursor", cursor));
        }
        let page = platform.get("find", &["v1", "convai", "conversations"], &query).await?;
        let Some(rows) = page.get("conversations").and_then(Value::as_array) else {
            return Ok(Err("the listing has no conversations member"));
        };
        for row in rows {
            let Some(id) = words::call_id(row, "conversation_id") else {
                return Ok(Err("a listed conversation has no readable id"));
            };
            ids.insert(id.to_owned());
        }
        let next = page.get("next_cursor").and_then(Value::as_str).filter(|next| !next.is_empty());
        match (page.get("has_more").and_then(Value::as_bool), next) {
            (Some(false), _) | (None, None) => return Ok(Ok(ids)),
            (_, Some(next)) if cursors.insert(next.to_owned()) => cursor = Some(next.to_owned()),
            _ => return Ok(Err("the listing says that it goes on, but not where")),
        }
    }
    Ok(Err("the listing cannot be read to its end"))
}
