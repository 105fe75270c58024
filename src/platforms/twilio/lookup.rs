//! Looking for the call of an attempt in doubt.
//!
//! A Call resource shows nothing of ours, so it is told by what it is: created by the API, from our number to the person's,
//! within the time in which the attempt could send. Calls that other attempts own are not ours. What is left: one call is
//! it, none (in complete listings) means absent, and more than one proves nothing. Two attempts to one number are never
//! live at once, so a second candidate is somebody else's.
//!
//! Listings filter by day of the start, in UTC, and a call that was never dialled has no start: so calls that are queued, and
//! such as ended in the queue, are asked for by their status.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use url::Url;

use super::super::{AttemptRef, Lookup, PlatformError, words};
use super::Twilio;
use super::record;
use crate::call::CallUpdate;

/// The most that Twilio gives on a page.
const PAGE: &str = "1000";
/// More pages than this for one pair of numbers mean that the paging is not what is documented.
const MAX_PAGES: usize = 50;
/// How far Twilio's clock and the database's may differ without a call being anybody else's.
const SKEW: TimeDelta = TimeDelta::seconds(60);
/// A call so near to the attempt's time is not taken for absence, nor for the attempt's own.
const DOUBTFUL: TimeDelta = TimeDelta::minutes(10);

pub async fn find(twilio: &Twilio, attempt: &AttemptRef) -> Lookup {
    match search(twilio, attempt).await {
        Ok(lookup) => lookup,
        Err(error) => Lookup::Inconclusive { reason: error.to_string() },
    }
}

async fn search(twilio: &Twilio, attempt: &AttemptRef) -> Result<Lookup, PlatformError> {
    if let Some(id) = &attempt.platform_call_id {
        match twilio.fetch("find", id).await {
            Ok(call) => return Ok(found(&call, attempt)),
            Err(PlatformError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    let Some(from) = &attempt.from else {
        return Ok(Lookup::Inconclusive { reason: "the attempt's from number is not known".into() });
    };
    let since = (attempt.committed_at - DOUBTFUL).format("%Y-%m-%d").to_string();
    let mut search = Search::default();
    // Queued first: a call that is dialled meanwhile is in the last listing.
    for filter in [("Status", "queued"), ("Status", "canceled"), ("Status", "failed"), ("StartTime>", &since)] {
        let query = [("To", attempt.to.as_e164()), ("From", from.as_e164()), filter, ("PageSize", PAGE)];
        if let Err(reason) = search.list(twilio, attempt, twilio.address(&["Calls.json"], &query)).await? {
            return Ok(Lookup::Inconclusive { reason: reason.into() });
        }
    }
    Ok(search.conclude(attempt, &since))
}

/// The row itself is the Call resource.
fn found(call: &Value, attempt: &AttemptRef) -> Lookup {
    Lookup::Found(Box::new(CallUpdate { attempt_id: Some(attempt.attempt_id), ..record::read(call) }))
}

/// What listings have shown.
#[derive(Default)]
struct Search {
    pages: usize,
    rows: usize,
    /// Calls that can be nobody else's, as far as we know.
    fits: Vec<(String, Value)>,
    /// Calls that could be the attempt's or not.
    doubtful: BTreeSet<String>,
}

impl Search {
    /// Reads one listing to its end. The inner `Err` says why it proves nothing.
    async fn list(
        &mut self,
        twilio: &Twilio,
        attempt: &AttemptRef,
        first: Url,
    ) -> Result<Result<(), &'static str>, PlatformError> {
        let mut visited = BTreeSet::from([first.to_string()]);
        let mut next = first;
        loop {
            self.pages += 1;
            if self.pages > MAX_PAGES {
                return Ok(Err("the listing cannot be read to its end"));
            }
            let page = twilio.get("find", next).await?;
            let Some(rows) = page.get("calls").and_then(Value::as_array) else {
                return Ok(Err("the listing has no calls member"));
            };
            self.rows += rows.len();
            for row in rows {
                if let Err(reason) = self.take(row, attempt) {
                    return Ok(Err(reason));
                }
            }
            next = match page.get("next_page_uri") {
                Some(Value::Null) => return Ok(Ok(())),
                Some(Value::String(uri)) => match twilio.page(uri) {
                    Some(next) => next,
                    None => return Ok(Err("the listing goes on elsewhere")),
                },
                _ => return Ok(Err("the listing does not say whether it goes on")),
            };
            if !visited.insert(next.to_string()) {
                return Ok(Err("the listing goes in circles"));
            }
        }
    }

    fn take(&mut self, row: &Value, attempt: &AttemptRef) -> Result<(), &'static str> {
        let Some(sid) = record::sid(row) else { return Err("a listed call has no readable SID") };
        if attempt.bound.iter().any(|bound| bound == sid) || self.fits.iter().any(|(known, _)| known == sid) {
            return Ok(());
        }
        match compare(row, attempt) {
            Match::Fits => {
                self.doubtful.remove(sid);
                self.fits.push((sid.to_owned(), row.clone()));
            }
            Match::Doubtful => _ = self.doubtful.insert(sid.to_owned()),
            Match::Foreign => {}
        }
        Ok(())
    }

    fn conclude(self, attempt: &AttemptRef, since: &str) -> Lookup {
        match (self.fits.as_slice(), self.doubtful.len()) {
            ([(_, call)], 0) => found(call, attempt),
            ([], 0) => Lookup::Absent {
                evidence: json!({ "started_since": since, "pages": self.pages, "rows": self.rows,
                    "listed": ["queued", "canceled", "failed", "started"] }),
            },
            (fits, doubtful) => Lookup::Inconclusive {
                reason: format!("{} call(s) between these numbers may be this attempt's", fits.len() + doubtful),
            },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    Fits,
    Doubtful,
    /// Somebody else's call.
    Foreign,
}

/// Every member of a row may be null; what is not known speaks for nothing.
fn compare(row: &Value, attempt: &AttemptRef) -> Match {
    let text = |key: &str| row.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let from = attempt.from.as_ref().map_or("", |from| from.as_e164());
    let differs = text("direction").is_some_and(|direction| direction != "outbound-api")
        || text("to").is_some_and(|to| !words::same_number(to, attempt.to.as_e164()))
        || text("from").is_some_and(|number| !words::same_number(number, from));
    if differs {
        return Match::Foreign;
    }
    let known = ["direction", "to", "from"].iter().all(|key| text(key).is_some());
    match text("date_created").and_then(record::time) {
        Some(created) if known && within(created, attempt, SKEW) => Match::Fits,
        Some(created) if !within(created, attempt, DOUBTFUL) => Match::Foreign,
        _ => Match::Doubtful,
    }
}

fn within(created: DateTime<Utc>, attempt: &AttemptRef, margin: TimeDelta) -> bool {
    // Their times have whole seconds.
    (attempt.committed_at - margin..=attempt.settled_at + margin).contains(&created)
}

impl Twilio {
    /// The address of a listing's next page: the same listing of the same account at the same place, or nothing. Our credentials
    /// go nowhere else.
    fn page(&self, uri: &str) -> Option<Url> {
        let (path, query) = uri.split_once('?')?;
        if path != self.path("Calls.json") {
            return None;
        }
        let mut next = self.address(&["Calls.json"], &[]);
        next.set_query(Some(query));
        Some(next)
    }
}

#[cfg(test)]
mod tests;
