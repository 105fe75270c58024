//! Looking for the call of an attempt in doubt.
//!
//! Bland has no filter by metadata, so: list the calls to the number since shortly before the attempt, completely, then
//! fetch each candidate and compare the attempt id in its metadata. "Absent" is said only of a complete listing in which
//! every candidate showed another owner; whatever proves less is inconclusive.

use std::collections::BTreeSet;

use chrono::{SecondsFormat, TimeDelta};
use serde_json::{Value, json};

use super::super::{AttemptRef, Lookup, PlatformError, words};
use super::Bland;
use super::record::{self, OnUnknown};

/// Rows asked for at once; Bland's default.
const PAGE: usize = 1000;
/// More pages than this for one number mean that the paging is not what is documented.
const MAX_PAGES: usize = 50;
/// The listing begins this long before the attempt: the platform's clock and the database's may differ.
const BEFORE: TimeDelta = TimeDelta::minutes(10);

pub async fn find(bland: &Bland, attempt: &AttemptRef) -> Lookup {
    match search(bland, attempt).await {
        Ok(lookup) => lookup,
        Err(error) => Lookup::Inconclusive { reason: error.to_string() },
    }
}

async fn search(bland: &Bland, attempt: &AttemptRef) -> Result<Lookup, PlatformError> {
    if let Some(id) = &attempt.platform_call_id
        && let Some(found) = examine(bland, attempt, id).await?.found()
    {
        return Ok(found);
    }
    let mut seen = BTreeSet::new();
    let (mut rows, mut pages) = (0, 0);
    let mut unclear = None;
    let since = (attempt.committed_at - BEFORE).to_rfc3339_opts(SecondsFormat::Millis, false);
    for spelling in spellings(attempt.to.as_e164()) {
        let mut index = 0;
        // By this spelling; another one may list the same calls.
        let mut listed = BTreeSet::new();
        loop {
            let page = list(bland, &spelling, &since, index).await?;
            pages += 1;
            rows += page.rows.len();
            let before = listed.len();
            for row in &page.rows {
                let Some(id) = record::id(row) else {
                    return Ok(inconclusive("a listed call has no readable id"));
                };
                listed.insert(id.to_owned());
                if !seen.insert(id.to_owned()) || !is_candidate(row, attempt) {
                    continue;
                }
                match examine(bland, attempt, id).await? {
                    Examined::Found(found) => return Ok(found),
                    Examined::Foreign => {}
                    Examined::Unclear(reason) => unclear = Some(reason),
                }
            }
            index += page.rows.len();
            if page.rows.is_empty() || page.total == Some(index) {
                break;
            }
            if pages >= MAX_PAGES || listed.len() == before {
                return Ok(inconclusive("the listing cannot be read to its end"));
            }
        }
    }
    // Calls that are queued or under way; not every account can ask for them.
    let active = active(bland, attempt).await;
    for id in active.iter().flatten().filter(|id| !seen.contains(*id)) {
        match examine(bland, attempt, id).await? {
            Examined::Found(found) => return Ok(found),
            Examined::Foreign => {}
            Examined::Unclear(reason) => unclear = Some(reason),
        }
    }
    Ok(match unclear {
        Some(reason) => inconclusive(reason),
        None => Lookup::Absent {
            evidence: json!({
                "listed_since": since, "pages": pages, "rows": rows, "calls_to_the_number": seen.len(),
                "active_calls": if active.is_ok() { "looked through" } else { "could not be asked for" },
            }),
        },
    })
}

fn inconclusive(reason: &str) -> Lookup {
    Lookup::Inconclusive { reason: reason.to_owned() }
}

/// How the number may stand in their index: in E.164, without the plus, and without the country code of North America.
fn spellings(e164: &str) -> Vec<String> {
    let digits = words::digits(e164);
    let national = digits.strip_prefix('1').filter(|rest| rest.len() == 10).map(str::to_owned);
    [Some(e164.to_owned()), Some(digits), national].into_iter().flatten().collect()
}

struct Page {
    rows: Vec<Value>,
    total: Option<usize>,
}

/// Oldest first, so that calls made meanwhile come after the rows already read.
async fn list(bland: &Bland, to: &str, since: &str, index: usize) -> Result<Page, PlatformError> {
    let (from, end, limit) = (index.to_string(), (index + PAGE).to_string(), PAGE.to_string());
    let query = [
        ("to_number", to),
        ("start_date", since),
        ("sort_by", "created_at"),
        ("ascending", "true"),
        ("from", &from),
        ("to", &end),
        ("limit", &limit),
    ];
    let mut answer = bland.get("find", &["v1", "calls"], &query).await?;
    let total = answer.get("total_count").and_then(Value::as_u64).and_then(|total| usize::try_from(total).ok());
    match answer.get_mut("calls").map(Value::take) {
        Some(Value::Array(rows)) => Ok(Page { rows, total }),
        _ => Err(PlatformError::Temporary("the listing has no calls member".into())),
    }
}

fn is_candidate(row: &Value, attempt: &AttemptRef) -> bool {
    if row.get("inbound").and_then(Value::as_bool) == Some(true) {
        return false;
    }
    // A row without a readable number is looked at rather than passed over.
    row.get("to").and_then(Value::as_str).is_none_or(|to| words::same_number(to, attempt.to.as_e164()))
}

enum Examined {
    Found(Lookup),
    /// Somebody else's call.
    Foreign,
    Unclear(&'static str),
}

impl Examined {
    fn found(self) -> Option<Lookup> {
        match self {
            Examined::Found(found) => Some(found),
            _ => None,
        }
    }
}

async fn examine(bland: &Bland, attempt: &AttemptRef, id: &str) -> Result<Examined, PlatformError> {
    let record = match bland.get("find", &["v1", "calls", id], &[]).await {
        Ok(record) => record,
        Err(PlatformError::NotFound) => return Ok(Examined::Unclear("a listed call cannot be fetched")),
        Err(error) => return Err(error),
    };
    if record::attempt_id(&record) == Some(attempt.attempt_id) {
        let mut update = record::read(&record, OnUnknown::AskAgain);
        update.platform_call_id = Some(id.to_owned());
        return Ok(Examined::Found(Lookup::Found(Box::new(update))));
    }
    // Our calls always carry metadata; a record that shows none at all may be ours before it is complete.
    Ok(match record.get("metadata") {
        Some(Value::Object(_)) => Examined::Foreign,
        _ => Examined::Unclear("a call to the number shows no metadata"),
    })
}

async fn active(bland: &Bland, attempt: &AttemptRef) -> Result<Vec<String>, PlatformError> {
    let answer = bland.get("find", &["v1", "calls", "active"], &[]).await?;
    let rows = answer.get("data").and_then(Value::as_array);
    let rows = rows.ok_or_else(|| PlatformError::Temporary("no list of active calls".into()))?;
    Ok(rows
        .iter()
        .filter(|row| is_candidate(row, attempt))
        .filter_map(|row| record::id(row).map(str::to_owned))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_asked_for_in_each_spelling() {
        assert_eq!(spellings("+14155550123"), ["+14155550123", "14155550123", "4155550123"]);
        assert_eq!(spellings("+442071838750"), ["+442071838750", "442071838750"]);
    }
}
