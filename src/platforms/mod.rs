//! Voice platforms: one file each, one line in [`registry::REGISTERED`].
//!
//! A platform puts our request in its words (pure), says what it would refuse (pure), sends it once, and sorts the answer
//! into a verdict. It never retries a create request, never follows a redirect, and never decides what a doubt is worth:
//! that is `delivery`'s and `reconcile`'s duty. Parsers are tolerant and take every outside answer as hostile.

pub mod address;
pub mod answers;
pub mod bland;
pub mod create;
pub mod elevenlabs;
mod fields;
pub mod read;
pub mod registry;
pub mod retell;
mod rules;
mod signature;
pub mod twilio;
pub mod vapi;
pub mod words;

use std::borrow::Cow;
use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::Duration;
use uuid::Uuid;

use crate::call::{AttemptState, CallRequest, CallUpdate, FieldError, PhoneNumber, Verdict};
use crate::clock;
use crate::telemetry::metrics;
pub use create::SendPermit;
pub use registry::PlatformRegistry;

/// What the rest of the program knows of a platform.
#[async_trait]
pub trait Platform: Send + Sync + 'static {
    /// As in job events, routes, labels: `bland_ai`.
    fn name(&self) -> &'static str;

    fn capabilities(&self) -> Capabilities;

    /// Our request in the platform's words. Pure. Errors name `platform_config` keys that this platform does not know or
    /// that voxd sets itself; pointers are relative to the voice configuration (`/platform_config/temprature`).
    fn format_payload(&self, request: &CallRequest) -> Result<Payload, Vec<FieldError>>;

    /// Everything that the platform would refuse, found before it is sent. Pure. Pointers are into the payload's fields.
    fn validate_payload(&self, payload: &Payload) -> Result<(), Vec<FieldError>>;

    /// The create request as it would go out, secrets masked. Pure.
    fn preview(&self, payload: &Payload) -> RequestPreview;

    /// Sends the create request, once. `permit` says until when the right to send is ours; when it has run out before the
    /// first byte, nothing is sent.
    async fn send_call(&self, payload: &Payload, permit: SendPermit) -> Result<Placed, SendError>;

    /// Looks for the call of an attempt whose fate is in doubt.
    async fn find_call(&self, attempt: &AttemptRef) -> Lookup;

    /// The call's present state, for polling.
    async fn call_status(&self, call: &PlacedCall) -> Result<CallUpdate, PlatformError>;

    /// Hangs up, or takes a queued call back. `Ok` means that the platform says it is done.
    async fn end_call(&self, call: &PlacedCall) -> Result<(), PlatformError>;

    /// Takes a call back that is still in the platform's queue; a call that was answered meanwhile goes on, where the platform
    /// can tell. `Ok` means that the request was taken: what became of the call shows in its status.
    async fn cancel_queued(&self, call: &PlacedCall) -> Result<(), PlatformError> {
        self.end_call(call).await
    }

    /// Checks the signature over the raw body. `url` is the public address that the platform called.
    fn verify_webhook(&self, headers: &http::HeaderMap, url: &str, body: &[u8]) -> Result<VerifiedBy, SignatureError>;

    /// Whether the signature covers the address: then the attempt that it names is the one that is meant, and comes before
    /// what the body says of the call.
    fn signs_address(&self) -> bool {
        false
    }

    /// The webhook in our words. Pure. Several updates in one body are given in order.
    fn normalize_webhook(&self, body: &[u8]) -> Result<Vec<CallUpdate>, UnreadableWebhook>;

    /// The webhook's body as it may be kept: without secrets of the account's that the platform echoes. The same for the same body.
    fn keepable<'a>(&self, body: &'a [u8]) -> Cow<'a, [u8]> {
        Cow::Borrowed(body)
    }

    /// Read-only request that shows whether the account can be used (readiness, breaker probes).
    async fn probe(&self) -> Result<(), PlatformError>;

    /// How full the account's lines are, where the platform tells it; `None`: it has no such answer, or gave none now. A
    /// read-only request, for learning a limit without running into it.
    async fn concurrency(&self) -> Option<Concurrency> {
        None
    }
}

/// Calls at once on the whole account, ours and others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Concurrency {
    pub current: u32,
    pub limit: u32,
}

/// What a platform can do; policies ask this instead of the platform's name.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Capabilities {
    pub reports_ringing: bool,
    /// How a doubtful call can be found again.
    pub lookup: LookupBy,
    /// Whether a complete listing without the call proves that there is none.
    pub proves_absence: bool,
    pub reports_transcript: bool,
    /// A webhook address can be given for each call.
    pub webhook_per_call: bool,
    pub can_cancel_queued: bool,
    pub can_end: bool,
    pub media_stream: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LookupBy {
    /// Exact filter on the metadata that we sent along.
    Metadata,
    /// By number and time window, then matched by metadata in the detail.
    Window,
    None,
}

/// A create request in the platform's words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Payload {
    /// Below the platform's base address, e.g. `/v1/calls`.
    pub path: String,
    pub encoding: Encoding,
    pub fields: Map<String, Value>,
}

/// What surrounds a create request's body, for people to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestPreview {
    pub method: &'static str,
    pub url: String,
    /// Values of secret headers are masked.
    pub headers: BTreeMap<&'static str, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    Json,
    /// `application/x-www-form-urlencoded`; arrays repeat their key.
    Form,
}

/// The platform accepted the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub platform_call_id: String,
    pub http_status: u16,
    pub handles: Handles,
    /// How many calls more the account may have live, where the answer says so.
    pub remaining: Option<u32>,
    /// The platform holds the call back for want of a free line: whether it ever dials shows only in the call itself, which
    /// is looked at soon.
    pub held_back: bool,
}

impl Placed {
    pub fn new(platform_call_id: impl Into<String>, http_status: u16) -> Self {
        let platform_call_id = platform_call_id.into();
        Self { platform_call_id, http_status, handles: Handles::new(), remaining: None, held_back: false }
    }
}

/// What the create answer gave beside the call's id and what is needed to reach the call later (Vapi's control address,
/// ElevenLabs' carrier id). Kept with the attempt; not secret, not shown.
pub type Handles = BTreeMap<String, String>;

/// A call that exists at its platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedCall {
    pub id: String,
    /// Empty where the create answer was lost and the call was found by other means.
    pub handles: Handles,
}

impl PlacedCall {
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), handles: Handles::new() }
    }
}

/// Why a create request did not end in a known call. Carries the verdict; nobody else judges it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendError {
    pub verdict: Verdict,
    /// Our vocabulary, stable: `connect_failed`, `timeout`, `rate_limited`, `invalid_number`, `do_not_call`, …
    pub reason: String,
    /// The platform's or the network's own words, bounded and without secrets.
    pub detail: String,
    pub http_status: Option<u16>,
    pub scope: Scope,
    /// For `not_sent`: not before this much later.
    pub retry_after: Option<Duration>,
}

/// Whom a refusal or a rate limit concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// This called number only.
    Number,
    /// This request only.
    Request,
    /// The whole account: everything to this platform slows or stops.
    Account,
}

/// What is known of an attempt whose call is looked for.
#[derive(Debug, Clone)]
pub struct AttemptRef {
    pub attempt_id: Uuid,
    pub call_id: Uuid,
    pub to: PhoneNumber,
    pub from: Option<PhoneNumber>,
    /// When the right to send was committed: the call cannot be older.
    pub committed_at: DateTime<Utc>,
    /// When nobody can have been sending any more.
    pub settled_at: DateTime<Utc>,
    pub platform_call_id: Option<String>,
    /// Calls to the same number that are known to be other attempts' (for platforms that carry no metadata).
    pub bound: Vec<String>,
}

/// Answer of a look-up.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// The call exists; `platform_call_id` is set.
    Found(Box<CallUpdate>),
    /// The platform's listing was complete and the call is not in it.
    Absent { evidence: Value },
    /// The platform could not be asked, or its answer proves nothing.
    Inconclusive { reason: String },
}

/// Failure of a read-only or idempotent request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// Ask again later.
    #[error("{0}")]
    Temporary(String),
    #[error("the platform does not know this call")]
    NotFound,
    /// Asking again will not help.
    #[error("{0}")]
    Permanent(String),
    #[error("the platform has no such operation")]
    Unsupported,
}

/// Which of several secrets or schemes a webhook was verified by; stored with it (`hmac`, `hmac#2`, `bearer`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBy(pub String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("no webhook secret is configured for this platform")]
    NoSecret,
    #[error("the signature header is missing")]
    Missing,
    #[error("the signature does not match")]
    Mismatch,
    #[error("the signature is too old")]
    Stale,
}

/// Signed, but not what the platform documents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnreadableWebhook(pub String);

impl Payload {
    /// The body as it goes out, with its media type.
    pub fn encode(&self) -> (bytes::Bytes, &'static str) {
        match self.encoding {
            Encoding::Json => {
                let body = serde_json::to_vec(&self.fields).unwrap_or_default();
                (body.into(), "application/json")
            }
            Encoding::Form => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                for (key, value) in &self.fields {
                    match value {
                        Value::Array(items) => items.iter().for_each(|item| {
                            form.append_pair(key, &plain(item));
                        }),
                        single => {
                            form.append_pair(key, &plain(single));
                        }
                    }
                }
                (form.finish().into(), "application/x-www-form-urlencoded")
            }
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Runs one request to a platform; records how long it took and what came back (`2xx`, or the failure).
async fn timed<T>(
    platform: &'static str,
    operation: &'static str,
    request: impl Future<Output = T>,
    result: impl FnOnce(&T) -> &'static str,
) -> T {
    let started = clock::monotonic();
    let answer = request.await;
    metrics::PLATFORM_REQUEST.record([platform, operation], clock::monotonic() - started);
    metrics::PLATFORM_REQUESTS.add([platform, operation, result(&answer)], 1);
    answer
}

/// An HTTP status as a metric label.
const fn status_class(status: u16) -> &'static str {
    match status {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "other",
    }
}

impl SendError {
    pub fn new(verdict: Verdict, reason: &str, detail: impl Into<String>) -> Self {
        Self {
            verdict,
            reason: reason.into(),
            detail: detail.into(),
            http_status: None,
            scope: Scope::Request,
            retry_after: None,
        }
    }

    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.http_status = Some(status);
        self
    }

    #[must_use]
    pub fn with_scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    #[must_use]
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// The attempt's state after this verdict.
    pub fn state(&self) -> AttemptState {
        match self.verdict {
            Verdict::NotSent => AttemptState::NotSent,
            Verdict::Refused => AttemptState::Refused,
            Verdict::InDoubt => AttemptState::InDoubt,
            Verdict::Placed => AttemptState::Placed,
        }
    }
}
