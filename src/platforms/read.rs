//! The client for read-only and idempotent requests to platforms: look-ups, polling, hanging up.
//!
//! Like the create client it follows no redirect and uses no proxy, and it retries nothing: the caller asks again later.
//! Bodies are read up to 8 MiB (a page of a listing is the largest).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use serde_json::Value;

use super::create::client_builder;
use super::{PlatformError, status_class, timed, words};

/// Answers longer than this are an error; a cut-off listing would prove the wrong thing.
pub const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// Cheap to clone; connections are shared.
#[derive(Clone)]
pub struct ReadClient {
    http: reqwest::Client,
    platform: &'static str,
    timeout: Duration,
}

/// A complete answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub body: Bytes,
}

impl ReadClient {
    /// `timeout` covers a request from the connection's start to the answer's last byte.
    pub fn new(platform: &'static str, connect_timeout: Duration, timeout: Duration) -> Result<Self, reqwest::Error> {
        let http = client_builder(connect_timeout).build()?;
        Ok(Self { http, platform, timeout })
    }

    /// `operation` is the metric's label: `find`, `status`, `end`, `probe`.
    pub async fn get(
        &self,
        operation: &'static str,
        url: url::Url,
        headers: HeaderMap,
    ) -> Result<Reply, PlatformError> {
        self.request(operation, Method::GET, url, headers, None).await
    }

    /// For operations that may be repeated without harm.
    pub async fn post(
        &self,
        operation: &'static str,
        url: url::Url,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Reply, PlatformError> {
        self.request(operation, Method::POST, url, headers, body).await
    }

    /// For what is as well gone as deleted.
    pub async fn delete(
        &self,
        operation: &'static str,
        url: url::Url,
        headers: HeaderMap,
    ) -> Result<Reply, PlatformError> {
        self.request(operation, Method::DELETE, url, headers, None).await
    }

    async fn request(
        &self,
        operation: &'static str,
        method: Method,
        url: url::Url,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Reply, PlatformError> {
        let mut request = self.http.request(method, url).headers(headers).timeout(self.timeout);
        if let Some(body) = body {
            request = request.body(body);
        }
        let result = |reply: &Result<Reply, PlatformError>| match reply {
            Ok(reply) => status_class(reply.status),
            Err(_) => "no_answer",
        };
        timed(self.platform, operation, read(request), result).await
    }
}

async fn read(request: reqwest::RequestBuilder) -> Result<Reply, PlatformError> {
    let unreachable = |error: reqwest::Error| {
        let what =
            if error.is_timeout() { "the platform did not answer in time" } else { "the platform is unreachable" };
        PlatformError::Temporary(what.into())
    };
    let mut response = request.send().await.map_err(unreachable)?;
    let status = response.status().as_u16();
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(PlatformError::Temporary(format!("the answer is longer than {MAX_ANSWER_BYTES} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply { status, body: body.freeze() })
}

impl Reply {
    /// The body as JSON, for any status.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body of a success, or what the status means for a read. A 404 means "no such call" only when the platform says so
    /// in its own error shape: a proxy's 404 proves nothing.
    pub fn sort(&self, is_own_error: fn(&Value) -> bool) -> Result<Value, PlatformError> {
        let json = self.json();
        let says = || match &json {
            Some(value) => words::detail(&value.to_string()),
            None => "(no JSON)".to_owned(),
        };
        match self.status {
            200..=299 => json.ok_or_else(|| PlatformError::Temporary("the answer is not JSON".into())),
            404 | 410 if json.as_ref().is_some_and(is_own_error) => Err(PlatformError::NotFound),
            300..=399 => Err(PlatformError::Permanent(format!("{}: redirected; is base_url right?", self.status))),
            401..=403 => Err(PlatformError::Permanent(format!("{}: {}", self.status, says()))),
            404 | 408 | 409 | 425 | 429 | 500.. => {
                Err(PlatformError::Temporary(format!("{}: {}", self.status, says())))
            }
            status => Err(PlatformError::Permanent(format!("{status}: {}", says()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(status: u16, body: &str) -> Result<Value, PlatformError> {
        Reply { status, body: Bytes::copy_from_slice(body.as_bytes()) }.sort(|value| value.get("error").is_some())
    }

    #[test]
    fn a_missing_call_is_believed_only_in_the_platforms_own_words() {
        assert_eq!(sorted(404, r#"{"error":"x"}"#), Err(PlatformError::NotFound));
        assert!(matches!(sorted(404, "<html>"), Err(PlatformError::Temporary(_))));
    }

    #[test]
    fn statuses_sort_into_ask_again_and_give_up() {
        for status in [408, 409, 425, 429, 500, 503, 599] {
            assert!(matches!(sorted(status, "{}"), Err(PlatformError::Temporary(_))), "{status}");
        }
        for status in [301, 307, 400, 401, 402, 403, 422] {
            assert!(matches!(sorted(status, "{}"), Err(PlatformError::Permanent(_))), "{status}");
        }
        assert!(matches!(sorted(200, "<html>"), Err(PlatformError::Temporary(_))));
        assert_eq!(sorted(200, "{}"), Ok(serde_json::json!({})));
    }
}
