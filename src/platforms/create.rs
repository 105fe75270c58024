//! The one HTTP client for create-call requests. It never retries, never follows a redirect, reads answers up to
//! 256 KiB, and knows for certain whether a request could have left.
//!
//! The certainty comes from the body: hyper asks the body for its bytes after the connection is up and before it
//! flushes the request's head. So a body that was never asked for means that no byte of the request left. The same
//! moment is the last at which we can refuse to send: the body checks the permit, and an error there ends the connection.
//!
//! The connection runs in a task of its own, which may ask for the body at the very moment at which we give up waiting. One
//! atomic step settles who came first: either the body is handed out, or it is closed for good.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use crate::clock::{self, Monotonic};
use crate::text::causes;

/// Answers longer than this are cut off and count as unreadable.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// The right to send one create request, until a moment of this process's monotonic clock.
///
/// The moment lies before the lease's end as the database sees it, so whoever was stopped past its lease sends nothing.
#[derive(Debug, Clone, Copy)]
pub struct SendPermit {
    valid_until: Monotonic,
}

impl SendPermit {
    pub fn until(valid_until: Monotonic) -> Self {
        Self { valid_until }
    }

    /// The same right, ended at `at` where that is earlier.
    #[must_use]
    pub fn ended_by(self, at: Monotonic) -> Self {
        Self { valid_until: self.valid_until.min(at) }
    }

    /// For `voxd check`, contract tests and other places without a lease.
    pub fn for_the_next(duration: Duration) -> Self {
        Self { valid_until: clock::monotonic() + duration }
    }

    pub fn is_valid(&self) -> bool {
        clock::monotonic() < self.valid_until
    }
}

/// A complete answer to a create request.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// At most [`MAX_ANSWER_BYTES`].
    pub body: Bytes,
    /// The body was longer than that, or ended early.
    pub truncated: bool,
}

/// No complete answer. Which of the two decides between sending again and doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// Not one byte of the request left this process.
    NotSent { reason: &'static str, detail: String },
    /// It may have arrived.
    InDoubt { reason: &'static str, detail: String },
}

/// What came back, as a metric label.
pub fn result_label(result: &Result<Answer, NoAnswer>) -> &'static str {
    match result {
        Ok(answer) => super::status_class(answer.status),
        Err(NoAnswer::NotSent { .. }) => "not_sent",
        Err(NoAnswer::InDoubt { .. }) => "in_doubt",
    }
}

/// See the module's text. Cheap to clone; connections are shared.
#[derive(Clone)]
pub struct CreateClient {
    http: reqwest::Client,
    timeout: Duration,
}

impl CreateClient {
    /// `timeout` covers the request from the connection's start to the answer's last byte.
    pub fn new(connect_timeout: Duration, timeout: Duration) -> Result<Self, reqwest::Error> {
        let http = client_builder(connect_timeout).pool_max_idle_per_host(256).build()?;
        Ok(Self { http, timeout })
    }

    /// Sends `body` once.
    pub async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        permit: SendPermit,
    ) -> Result<Answer, NoAnswer> {
        let stage = Arc::new(AtomicU8::new(WAITING));
        let guarded = GuardedBody { bytes: Some(body), permit, stage: stage.clone() };
        let request =
            self.http.post(url).headers(headers).timeout(self.timeout).body(reqwest::Body::wrap(guarded)).send();
        let mut response = match request.await {
            Ok(response) => response,
            Err(error) => return Err(sort_failure(&error, close(&stage))),
        };
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut body = BytesMut::new();
        let truncated = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > MAX_ANSWER_BYTES => break true,
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        Ok(Answer { status, headers, body: body.freeze(), truncated })
    }
}

/// What every client of a platform has in common: one try, no redirect, no proxy, no second protocol.
pub(super) fn client_builder(connect_timeout: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .no_proxy()
        // Shorter than the idle limits of common load balancers: a request on a connection that the other side is just
        // closing would end in doubt.
        .pool_idle_timeout(Duration::from_secs(10))
        .user_agent(concat!("voxd/", env!("CARGO_PKG_VERSION")))
}

const WAITING: u8 = 0;
const PERMIT_ENDED: u8 = 1;
const DISPATCHED: u8 = 2;
const CLOSED: u8 = 3;

/// Closes a body that nobody has asked for yet. Returns what had become of it before.
fn close(stage: &AtomicU8) -> u8 {
    stage.compare_exchange(WAITING, CLOSED, Ordering::AcqRel, Ordering::Acquire).unwrap_or_else(|before| before)
}

fn sort_failure(error: &reqwest::Error, stage: u8) -> NoAnswer {
    let detail = describe(error);
    match stage {
        PERMIT_ENDED => {
            NoAnswer::NotSent { reason: "permit_ended", detail: "the lease ended before the request left".into() }
        }
        WAITING if error.is_builder() => NoAnswer::NotSent { reason: "bad_request", detail },
        WAITING => NoAnswer::NotSent { reason: "connect_failed", detail },
        _ if error.is_timeout() => NoAnswer::InDoubt { reason: "timeout", detail },
        _ => NoAnswer::InDoubt { reason: "connection_lost", detail },
    }
}

/// The error's causes, without the address (it can carry ids).
fn describe(error: &reqwest::Error) -> String {
    Some(causes(error)).filter(|text| !text.is_empty()).unwrap_or_else(|| "the request failed".into())
}

struct GuardedBody {
    bytes: Option<Bytes>,
    permit: SendPermit,
    stage: Arc<AtomicU8>,
}

impl http_body::Body for GuardedBody {
    type Data = Bytes;
    type Error = PermitEnded;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, PermitEnded>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        let next = if self.permit.is_valid() { DISPATCHED } else { PERMIT_ENDED };
        let first = self.stage.compare_exchange(WAITING, next, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if first && next == DISPATCHED {
            Poll::Ready(Some(Ok(http_body::Frame::data(bytes))))
        } else {
            Poll::Ready(Some(Err(PermitEnded)))
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the permit to send has ended")]
struct PermitEnded;

#[cfg(test)]
mod tests;
