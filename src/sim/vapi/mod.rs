//! A simulated Vapi, as strict as the vendor's OpenAPI document of 2026-08-19 and docs of 2026-08-20: authorization, field
//! rules and error shapes, listing by time of creation, the control address of live calls, webhooks signed by a credential.
//!
//! `rules` says which create requests Vapi refuses, `record` how a call looks, `routes` what else it serves.

mod record;
mod routes;
mod rules;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::platform::{Answer, App, Call, CreateRequest, Moment, PlatformSim, Refusal, SimOptions, Vendor, Webhook};
use crate::clock::{self, Monotonic};

pub type VapiSim = PlatformSim<Vapi>;

/// What the simulated account owns. Requests that name anything else are refused.
pub const ASSISTANT_ID: &str = "0a1b2c3d-0000-4000-8000-00000000000a";
pub const SQUAD_ID: &str = "0a1b2c3d-0000-4000-8000-00000000000c";
pub const PHONE_NUMBER_ID: &str = "0a1b2c3d-0000-4000-8000-00000000000b";
/// The credential that signs webhooks: HMAC-SHA256, hex, with a time stamp in milliseconds (the vendor's defaults).
pub const CREDENTIAL_ID: &str = "0a1b2c3d-0000-4000-8000-0000000000cc";

/// Where the create request came to; beside its fields, since the control address is made of it.
const HOST_KEY: &str = "_voxd_host";
/// Tells [`Vendor::sign`] that this call names no credential.
const UNSIGNED: HeaderName = HeaderName::from_static("x-voxd-unsigned");
const SIGNATURE: HeaderName = HeaderName::from_static("x-signature");
const TIMESTAMP: HeaderName = HeaderName::from_static("x-timestamp");

/// What becomes of the calls that find no free line. Reports differ, so does this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AtLimit {
    /// No call finds the lines taken.
    #[default]
    Never,
    /// 400 "Over Concurrency Limit".
    Refused,
    /// 201 with `concurrencyBlocked`, and the call ends at once with the reason for it.
    BlockedAndEnded,
    /// 201 with `concurrencyBlocked`, and the call waits for ever.
    BlockedAndQueued,
    /// 201 with `concurrencyBlocked`, and the call is dialled all the same a little later.
    BlockedThenDialled,
    /// 201 like any other, and the call ends at once with the reason for it.
    Ended,
}

/// What Vapi does that other platforms don't.
#[derive(Debug, Default)]
pub struct Vapi {
    pub at_limit: AtLimit,
    /// So many create requests find no free line.
    pub without_line: usize,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    refused: usize,
    deleted: BTreeSet<String>,
    /// By `PATCH`.
    names: std::collections::BTreeMap<String, String>,
}

impl Vapi {
    pub fn without_line(at_limit: AtLimit, calls: usize) -> Self {
        Self { at_limit, without_line: calls, ..Self::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this call found no line, and how that shows.
    fn limit_of(&self, call: &Call) -> AtLimit {
        if call.seq <= self.without_line { self.at_limit } else { AtLimit::Never }
    }

    fn is_deleted(&self, id: &str) -> bool {
        self.seen().deleted.contains(id)
    }
}

impl Vendor for Vapi {
    const NAME: &'static str = "vapi";

    fn is_create(&self, method: &Method, path: &str) -> bool {
        method == Method::POST && path == "/call"
    }

    fn authorize(&self, options: &SimOptions, headers: &HeaderMap) -> Result<(), Response> {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if given.and_then(|given| given.strip_prefix("Bearer ")) == Some(options.api_key.as_str()) {
            return Ok(());
        }
        let text = "Invalid Key. Hot tip, you may be using the private key instead of the public key, or vice versa.";
        Err(error(StatusCode::UNAUTHORIZED, text))
    }

    fn routes(&self) -> Router<App<Self>> {
        routes::router()
    }

    fn open_routes(&self) -> Router<App<Self>> {
        routes::control()
    }

    fn not_found(&self) -> Response {
        error(StatusCode::NOT_FOUND, "Cannot find this route.")
    }

    fn read_create(
        &self,
        _: &SimOptions,
        _: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<CreateRequest, (CreateRequest, Refusal)> {
        let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else {
            let answer = error(StatusCode::BAD_REQUEST, "Unexpected token in JSON.");
            return Err((CreateRequest::default(), Refusal { why: "not_json", answer }));
        };
        let problems = rules::problems(&fields);
        let request = create_request(fields, headers);
        if !problems.is_empty() {
            return Err((request, Refusal { why: "invalid_request", answer: errors(&problems) }));
        }
        if self.at_limit == AtLimit::Refused {
            let mut seen = self.seen();
            if seen.refused < self.without_line {
                seen.refused += 1;
                let answer = error(StatusCode::BAD_REQUEST, "Over Concurrency Limit.");
                return Err((request, Refusal { why: "concurrency_limit", answer }));
            }
        }
        Ok(request)
    }

    fn new_id(&self) -> String {
        Uuid::now_v7().to_string()
    }

    fn answer(&self, answer: Answer, call: Option<&Call>) -> Option<Response> {
        use StatusCode as S;
        Some(match answer {
            Answer::Accepted => {
                let blocked = call.is_some_and(|call| self.limit_of(call).says_blocked());
                let mut body = call.map(|call| record::created(self, call)).unwrap_or_default();
                body["subscriptionLimits"] = json!({
                    "concurrencyBlocked": blocked, "concurrencyLimit": 10, "remainingConcurrentCalls": if blocked { 0 } else { 9 },
                });
                (S::CREATED, Json(body)).into_response()
            }
            Answer::InvalidNumber => errors(&[rules::NOT_A_NUMBER.to_owned()]),
            // The limit of live calls is a 400 here; requests a second are a 429.
            Answer::RateLimited => error(S::BAD_REQUEST, "Over Concurrency Limit."),
            Answer::RateLimitedWithWait => {
                let mut response = error(S::TOO_MANY_REQUESTS, "Too Many Requests");
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
                response
            }
            Answer::PaymentRequired => {
                error(S::BAD_REQUEST, "Wallet Balance is -0.61. Purchase More Credits Or Upgrade Your Plan.")
            }
            Answer::AccountBlocked => error(S::FORBIDDEN, "Forbidden resource"),
            Answer::AgentNotFound => error(S::BAD_REQUEST, "Couldn't Find Assistant."),
            // The official SDKs repeat a 409 by themselves.
            Answer::AmbiguousBefore | Answer::AmbiguousAfter => error(S::CONFLICT, "Conflict"),
            Answer::ServerErrorBefore | Answer::ServerErrorAfter => {
                error(S::INTERNAL_SERVER_ERROR, "Internal server error")
            }
            Answer::NoIdAfter => (S::CREATED, Json(json!({ "status": "queued" }))).into_response(),
            _ => return None,
        })
    }

    fn record(&self, call: &Call, now: Monotonic) -> Value {
        record::record(self, call, now)
    }

    fn webhooks(&self, call: &Call, moment: Moment, target: &str, now: Monotonic) -> Vec<Webhook> {
        if self.is_deleted(&call.id) || (self.limit_of(call) == AtLimit::BlockedAndQueued) {
            return Vec::new();
        }
        let undialled = self.limit_of(call).never_dials();
        let status = match moment {
            // Whether "queued" is ever told is not documented.
            Moment::Ringing if !undialled => "ringing",
            Moment::Answered if !undialled => "in-progress",
            Moment::Ended => "ended",
            Moment::Analyzed if record::wants(call, "end-of-call-report") => {
                return vec![webhook(call, target, &record::report(self, call, now))];
            }
            _ => return Vec::new(),
        };
        if !record::wants(call, "status-update") {
            return Vec::new();
        }
        vec![webhook(call, target, &record::status_update(self, call, status, now))]
    }

    fn lie(&self, call: &Call, target: &str, now: Monotonic) -> Webhook {
        let mut lie = record::status_update(self, call, "ended", now);
        lie["message"]["endedReason"] = json!("twilio-reported-customer-misdialed");
        webhook(call, target, &lie)
    }

    fn sign(&self, _: &SimOptions, secret: &str, webhook: &mut Webhook) {
        if webhook.headers.iter().any(|(name, _)| *name == UNSIGNED) {
            return;
        }
        let stamp = clock::now().timestamp_millis().to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, &[stamp.as_bytes(), b".", &webhook.body].concat());
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        webhook.headers.retain(|(name, _)| *name != SIGNATURE && *name != TIMESTAMP);
        for (name, value) in [(SIGNATURE, hex), (TIMESTAMP, stamp)] {
            webhook
                .headers
                .push((name, HeaderValue::from_str(&value).unwrap_or_else(|_| HeaderValue::from_static(""))));
        }
    }

    fn voice_config(&self) -> Value {
        json!({
            "platform": Self::NAME, "language": "en", "max_duration": 5, "record_call": true,
            "platform_config": { "assistantId": ASSISTANT_ID, "phoneNumberId": PHONE_NUMBER_ID },
            "webhook_config": { "events": ["status-update", "hang"] },
        })
    }

    fn environment(&self, _: &SimOptions) -> Vec<(String, String)> {
        vec![("VOXD_PLATFORMS__VAPI__WEBHOOK_CREDENTIAL_ID".into(), CREDENTIAL_ID.into())]
    }
}

impl AtLimit {
    fn says_blocked(self) -> bool {
        matches!(self, AtLimit::BlockedAndEnded | AtLimit::BlockedAndQueued | AtLimit::BlockedThenDialled)
    }

    fn never_dials(self) -> bool {
        matches!(self, AtLimit::BlockedAndEnded | AtLimit::BlockedAndQueued | AtLimit::Ended)
    }
}

fn create_request(mut fields: Map<String, Value>, headers: &HeaderMap) -> CreateRequest {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    fields.insert(HOST_KEY.into(), json!(host));
    let overrides = ["assistantOverrides", "squadOverrides"].iter().find_map(|key| fields.get(*key));
    let metadata = overrides.and_then(|overrides| overrides.get("metadata"));
    let ours = |name: &str| Uuid::try_parse(metadata?.get(name)?.as_str()?).ok();
    let text = |owner: Option<&Value>, key: &str| Some(owner?.get(key)?.as_str()?.to_owned());
    CreateRequest {
        number: text(fields.get("customer"), "number").unwrap_or_default(),
        attempt_id: ours("voxd_attempt_id"),
        call_id: ours("voxd_call_id"),
        webhook: text(overrides.and_then(|overrides| overrides.get("server")), "url"),
        fields,
    }
}

fn webhook(call: &Call, url: &str, body: &Value) -> Webhook {
    let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let of_call = record::overrides(call).and_then(|overrides| overrides.get("server"));
    if of_call.is_some_and(|server| server.get("credentialId").is_none()) {
        headers.push((UNSIGNED, HeaderValue::from_static("no credential")));
    }
    Webhook { url: url.to_owned(), headers, body: Bytes::from(body.to_string()) }
}

/// Vapi's error shape; the message is one text or, of its field rules, several.
fn error(status: StatusCode, message: &str) -> Response {
    let error = status.canonical_reason().unwrap_or_default();
    (status, Json(json!({ "message": message, "error": error, "statusCode": status.as_u16() }))).into_response()
}

fn errors(messages: &[String]) -> Response {
    let body = json!({ "message": messages, "error": "Bad Request", "statusCode": 400 });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}
