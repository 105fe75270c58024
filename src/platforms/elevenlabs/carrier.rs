//! The Twilio account that owns the agents' numbers: the second source about calls that ElevenLabs places by it, and the only
//! way to hang one up (ElevenLabs' SDK and API description have no such operation).
//!
//! Facts of twilio-oai of 2026-04: listings filter by day of the start, in UTC, and a call that was never dialled has no start,
//! so those are asked for by their status; pages are followed by `next_page_uri` until it is null.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use url::Url;

use super::super::read::{ReadClient, Reply};
use super::super::{PlatformError, address, words};
use super::NAME;
use crate::call::AttemptState;
use crate::config::PlatformConfig;

const VERSION: &str = "2010-04-01";
/// The most that Twilio gives on a page.
const PAGE: &str = "1000";
/// More pages than this for one number mean that the paging is not what is documented.
const MAX_PAGES: usize = 50;

pub struct Carrier {
    base_url: Url,
    account_sid: String,
    authorization: HeaderValue,
    read: ReadClient,
}

/// A call as the carrier shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Null where the time is none that we can read.
    pub created_at: Option<DateTime<Utc>>,
}

impl Carrier {
    /// `None` where no account is configured; `Err` where half of one is.
    pub fn from_config(config: &PlatformConfig) -> Result<Option<Self>, String> {
        let sid = config.twilio_account_sid.clone().filter(|sid| !sid.is_empty());
        let token = config.twilio_auth_token.as_ref().filter(|token| !token.is_empty());
        let (account_sid, token) = match (sid, token) {
            (None, None) => return Ok(None),
            (Some(sid), Some(token)) => (sid, token),
            _ => return Err("twilio_account_sid and twilio_auth_token belong together".into()),
        };
        if !words::is_plausible_id(&account_sid) {
            return Err("twilio_account_sid is no account's SID, expected AC and 32 hex digits".into());
        }
        let default = "https://api.twilio.com".parse::<Url>().map_err(|error| error.to_string())?;
        let base_url = config.twilio_base_url.clone().unwrap_or(default);
        if base_url.cannot_be_a_base() {
            return Err("platforms.elevenlabs.twilio_base_url is not an http(s) address".into());
        }
        let credentials = BASE64_STANDARD.encode(format!("{account_sid}:{}", token.expose()));
        let mut authorization = HeaderValue::from_str(&format!("Basic {credentials}"))
            .map_err(|_| "twilio_auth_token holds characters that no HTTP header can")?;
        authorization.set_sensitive(true);
        let read = ReadClient::new(NAME, config.connect_timeout, config.request_timeout.min(Duration::from_secs(30)))
            .map_err(|error| format!("its HTTP client cannot be made: {error}"))?;
        Ok(Some(Self { base_url, account_sid, authorization, read }))
    }

    /// What became of the line, or nothing where that is for ElevenLabs to tell: a call that was answered and has ended.
    pub async fn state(&self, sid: &str) -> Result<Option<AttemptState>, PlatformError> {
        let call = self.get("status", self.address(&["Calls", &resource(sid)?], &[])).await?;
        Ok(match call.get("status").and_then(Value::as_str).unwrap_or_default() {
            "queued" | "initiated" => Some(AttemptState::Placed),
            "ringing" => Some(AttemptState::Ringing),
            "in-progress" => Some(AttemptState::InProgress),
            "busy" => Some(AttemptState::Busy),
            "no-answer" => Some(AttemptState::NoAnswer),
            "canceled" => Some(AttemptState::Cancelled),
            "failed" => Some(AttemptState::Failed),
            _ => None,
        })
    }

    /// Hangs up; `completed` also takes back a call that rings.
    pub async fn end(&self, sid: &str) -> Result<(), PlatformError> {
        let url = self.address(&["Calls", &resource(sid)?], &[]);
        let mut headers = self.headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        sort_end(&self.read.post("end", url, headers, Some("Status=completed".into())).await?)
    }

    /// All calls to this number since the day of `since`, by their ids. The inner `Err` says why the listing proves nothing.
    pub async fn calls_to(
        &self,
        to: &str,
        since: DateTime<Utc>,
    ) -> Result<Result<BTreeMap<String, Seen>, &'static str>, PlatformError> {
        // A day more, so that no midnight lies between.
        let day = (since - TimeDelta::days(1)).format("%Y-%m-%d").to_string();
        let mut all = BTreeMap::new();
        // Queued first: a call that is dialled meanwhile is in the last listing.
        for filter in [("Status", "queued"), ("Status", "canceled"), ("Status", "failed"), ("StartTime>", day.as_str())]
        {
            let url = self.address(&["Calls.json"], &[("To", to), filter, ("PageSize", PAGE)]);
            if let Err(problem) = self.list(url, to, &mut all).await? {
                return Ok(Err(problem));
            }
        }
        Ok(Ok(all))
    }

    async fn list(
        &self,
        first: Url,
        to: &str,
        all: &mut BTreeMap<String, Seen>,
    ) -> Result<Result<(), &'static str>, PlatformError> {
        let mut visited = BTreeSet::from([first.to_string()]);
        let mut next = first;
        for _ in 0..MAX_PAGES {
            let page = self.get("find", next).await?;
            let Some(rows) = page.get("calls").and_then(Value::as_array) else {
                return Ok(Err("the carrier's listing has no calls member"));
            };
            for row in rows {
                let Some(sid) = words::call_id(row, "sid") else {
                    return Ok(Err("a call in the carrier's listing has no readable id"));
                };
                let number = row.get("to").and_then(Value::as_str);
                if number.is_none_or(|number| words::same_number(number, to)) {
                    all.insert(sid.to_owned(), Seen { created_at: row.get("date_created").and_then(time) });
                }
            }
            next = match page.get("next_page_uri") {
                Some(Value::Null) => return Ok(Ok(())),
                Some(Value::String(uri)) => match self.page(uri) {
                    Some(next) => next,
                    None => return Ok(Err("the carrier's listing goes on elsewhere")),
                },
                _ => return Ok(Err("the carrier's listing does not say whether it goes on")),
            };
            if !visited.insert(next.to_string()) {
                return Ok(Err("the carrier's listing goes in circles"));
            }
        }
        Ok(Err("the carrier's listing cannot be read to its end"))
    }

    /// The same listing of the same account at the same place, or nothing: the credentials go nowhere else.
    fn page(&self, uri: &str) -> Option<Url> {
        let (path, query) = uri.split_once('?')?;
        if path != format!("/{VERSION}/Accounts/{}/Calls.json", self.account_sid) {
            return None;
        }
        let mut next = self.address(&["Calls.json"], &[]);
        next.set_query(Some(query));
        Some(next)
    }

    fn address(&self, resource: &[&str], query: &[(&str, &str)]) -> Url {
        let path: Vec<&str> = [VERSION, "Accounts", &self.account_sid].iter().chain(resource).copied().collect();
        address::below(&self.base_url, &path, query)
    }

    fn headers(&self) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, self.authorization.clone())])
    }

    async fn get(&self, operation: &'static str, url: Url) -> Result<Value, PlatformError> {
        self.read.get(operation, url, self.headers()).await?.sort(is_own_error)
    }
}

/// The last part of a call's path, checked: an id must not lead elsewhere.
fn resource(sid: &str) -> Result<String, PlatformError> {
    if words::is_plausible_id(sid) { Ok(format!("{sid}.json")) } else { Err(PlatformError::NotFound) }
}

/// Twilio's error shape: `{"code": 20404, "message": …, "status": 404}`.
fn is_own_error(body: &Value) -> bool {
    body.get("code").is_some_and(Value::is_number) && body.get("message").is_some_and(Value::is_string)
}

/// 21220: the call is not in progress any more.
fn sort_end(reply: &Reply) -> Result<(), PlatformError> {
    let code = reply.json().and_then(|body| body.get("code").and_then(Value::as_u64));
    if reply.status == 400 && code == Some(21220) {
        return Err(PlatformError::Permanent("the call has ended already".into()));
    }
    reply.sort(is_own_error).map(|_| ())
}

/// RFC 2822, e.g. `Sat, 21 Nov 2026 10:00:00 +0000`.
fn time(value: &Value) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(value.as_str()?).ok().map(|at| at.with_timezone(&Utc))
}
