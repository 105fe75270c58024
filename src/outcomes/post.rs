//! One event to one address, and what the answer means.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use super::sign::Signer;
use crate::egress::{EgressError, GuardedClient, Reply};
use crate::store::outbox::DueEvent;

/// Nothing of an answer is needed; a little of it is read so that the connection can be used again.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// What became of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Posted {
    Delivered,
    /// Again later; `host`: the other events to this host should wait too.
    Failed {
        error: String,
        retry_after: Option<Duration>,
        host: bool,
    },
    /// Never again.
    Stopped {
        error: String,
    },
}

/// POSTs the event with the headers of the Standard Webhooks scheme; without a signer, unsigned.
pub(super) async fn post(
    client: &GuardedClient,
    signer: Option<&Signer>,
    event: &DueEvent,
    now: DateTime<Utc>,
) -> Posted {
    let url = match Url::parse(&event.address) {
        Ok(url) => url,
        Err(error) => return Posted::Stopped { error: format!("is not an address: {error}") },
    };
    let body = Bytes::from(event.body.clone());
    let headers = headers(signer, &event.id.to_string(), now.timestamp(), &body);
    match client.request(Method::POST, &url, headers, Some(body), MAX_ANSWER_BYTES).await {
        Ok(reply) => meaning(&reply, now),
        Err(EgressError::Forbidden(error)) => Posted::Stopped { error },
        Err(EgressError::Failed(error)) => Posted::Failed { error, retry_after: None, host: true },
    }
}

fn headers(signer: Option<&Signer>, id: &str, timestamp: i64, body: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // Plain JSON, not application/cloudevents+json: it is what receivers' body parsers take without set-up.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    put("webhook-id", id.to_owned());
    put("webhook-timestamp", timestamp.to_string());
    if let Some(signer) = signer {
        put("webhook-signature", signer.sign(id, timestamp, body));
    }
    headers
}

fn meaning(reply: &Reply, now: DateTime<Utc>) -> Posted {
    let failed = |error: String, host| Posted::Failed { error, retry_after: retry_after(&reply.headers, now), host };
    match reply.status {
        200..=299 => Posted::Delivered,
        // The scheme's word for "send me nothing more".
        410 => Posted::Stopped { error: "answered 410 (gone)".into() },
        300..=399 => failed(format!("answered {}; redirects are not followed", reply.status), false),
        429 | 502..=504 => failed(format!("answered {}", reply.status), true),
        status => failed(format!("answered {status}"), false),
    }
}

/// Seconds or an HTTP date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    (DateTime::parse_from_rfc2822(text).ok()?.with_timezone(&Utc) - now).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, retry_after: Option<&'static str>) -> Reply {
        let headers = retry_after.map(|text| (RETRY_AFTER, HeaderValue::from_static(text)));
        Reply { status, headers: HeaderMap::from_iter(headers), body: Bytes::new(), truncated: false }
    }

    #[test]
    fn answers_are_sorted_by_their_status() {
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(meaning(&reply(204, None), now), Posted::Delivered);
        assert!(matches!(meaning(&reply(410, None), now), Posted::Stopped { .. }));
        assert!(matches!(meaning(&reply(302, None), now), Posted::Failed { host: false, .. }));
        assert!(matches!(meaning(&reply(404, None), now), Posted::Failed { host: false, .. }));
        assert!(matches!(meaning(&reply(503, None), now), Posted::Failed { host: true, .. }));
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let waits = |text| match meaning(&reply(503, Some(text)), DateTime::UNIX_EPOCH) {
            Posted::Failed { retry_after, .. } => retry_after,
            other => panic!("{other:?}"),
        };
        assert_eq!(waits("120"), Some(Duration::from_secs(120)));
        assert_eq!(waits("Thu, 01 Jan 1970 00:02:00 GMT"), Some(Duration::from_secs(120)));
        assert_eq!(waits("soon"), None);
        assert_eq!(waits("-5"), None);
    }
}
