//! A simulated Bland AI, as strict as the vendor's reference of 2026-08: authorization, field rules and error shapes,
//! listing and detail, stopping, recordings, signed post-call and in-call webhooks with repeats.
//!
//! `rules` says which create requests Bland refuses, `record` how a call looks, `routes` what else it serves.

mod record;
mod routes;
mod rules;

use aws_lc_rs::hmac;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::platform::{Answer, App, Call, CreateRequest, Moment, PlatformSim, Refusal, SimOptions, Vendor, Webhook};
use crate::clock::Monotonic;

pub type BlandSim = PlatformSim<Bland>;
pub type BlandOptions = SimOptions;

/// What Bland does that other platforms don't.
#[derive(Debug, Clone)]
pub struct Bland {
    /// Listings show numbers of North America without `+1`, as in the vendor's sample.
    pub rows_without_country: bool,
    /// Listings say `total_count` (documented, but missing from the vendor's sample).
    pub show_total: bool,
    /// `GET /v1/calls/active` wants `x-bland-org-id`.
    pub require_org_id: bool,
}

impl Default for Bland {
    fn default() -> Self {
        Self { rows_without_country: true, show_total: false, require_org_id: true }
    }
}

impl Vendor for Bland {
    const NAME: &'static str = "bland_ai";

    fn is_create(&self, method: &Method, path: &str) -> bool {
        method == Method::POST && path == "/v1/calls"
    }

    /// The raw key, without a scheme word.
    fn authorize(&self, options: &SimOptions, headers: &HeaderMap) -> Result<(), Response> {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if given == Some(options.api_key.as_str()) {
            return Ok(());
        }
        let body =
            json!({ "data": null, "errors": [{ "error": "AUTH_FAILURE", "message": "Authentication failed." }] });
        Err((StatusCode::UNAUTHORIZED, Json(body)).into_response())
    }

    fn routes(&self) -> Router<App<Self>> {
        routes::router()
    }

    fn not_found(&self) -> Response {
        error(StatusCode::NOT_FOUND, "Route not found.", &[])
    }

    fn read_create(
        &self,
        _: &SimOptions,
        _: &str,
        _: &HeaderMap,
        body: &Bytes,
    ) -> Result<CreateRequest, (CreateRequest, Refusal)> {
        let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else {
            let answer = error(StatusCode::BAD_REQUEST, "Invalid request body.", &[]);
            return Err((CreateRequest::default(), Refusal { why: "not_json", answer }));
        };
        let problems = rules::problems(&fields);
        let request = create_request(fields);
        match problems.first() {
            None => Ok(request),
            Some(first) => {
                let answer = error(StatusCode::BAD_REQUEST, first, &problems);
                Err((request, Refusal { why: "invalid_request", answer }))
            }
        }
    }

    fn new_id(&self) -> String {
        Uuid::new_v4().to_string()
    }

    fn answer(&self, answer: Answer, call: Option<&Call>) -> Option<Response> {
        use StatusCode as S;
        Some(match answer {
            Answer::Accepted => {
                let id = call.map(|call| &call.id);
                let text = "Call successfully queued.";
                Json(json!({ "status": "success", "message": text, "call_id": id, "batch_id": null })).into_response()
            }
            Answer::InvalidNumber => error(S::BAD_REQUEST, "Invalid phone number.", &[]),
            Answer::DoNotCall => {
                let body = json!({ "status": "DNC Error", "message": "This number is on the do not call list." });
                (S::BAD_REQUEST, Json(body)).into_response()
            }
            Answer::Blacklisted => error(S::TOO_MANY_REQUESTS, "This phone number has been blacklisted.", &[]),
            Answer::SameNumber => {
                let text = "You have already called the same phone number within the last 10 seconds.";
                error(S::TOO_MANY_REQUESTS, text, &[])
            }
            Answer::RateLimited => error(S::TOO_MANY_REQUESTS, "Rate limit exceeded.", &[]),
            Answer::RateLimitedWithWait => {
                let mut response = error(S::TOO_MANY_REQUESTS, "Rate limit exceeded.", &[]);
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
                response
            }
            Answer::PaymentRequired => error(S::PAYMENT_REQUIRED, "Insufficient balance.", &[]),
            Answer::AccountBlocked => error(S::FORBIDDEN, "Your account has been flagged.", &[]),
            Answer::AgentNotFound => error(S::NOT_FOUND, "Pathway not found.", &[]),
            Answer::PermanentServerError => error(S::INTERNAL_SERVER_ERROR, "Invalid encrypted_key.", &[]),
            Answer::AmbiguousBefore | Answer::AmbiguousAfter => error(S::BAD_REQUEST, "Unable to queue call.", &[]),
            Answer::ServerErrorBefore | Answer::ServerErrorAfter => {
                error(S::INTERNAL_SERVER_ERROR, "An unexpected error occurred.", &[])
            }
            Answer::NoIdAfter => {
                Json(json!({ "status": "success", "message": "Call successfully queued." })).into_response()
            }
            _ => return None,
        })
    }

    fn record(&self, call: &Call, now: Monotonic) -> Value {
        record::record(call, now)
    }

    fn webhooks(&self, call: &Call, moment: Moment, target: &str, now: Monotonic) -> Vec<Webhook> {
        let event = |category: &str, message: &str| {
            vec![webhook(
                target,
                &json!({ "message": message, "call_id": call.id, "category": category, "log_level": "info" }),
            )]
        };
        match moment {
            Moment::Queued if record::wants_event(call, "queue") => event("queue", "Call enqueued"),
            Moment::Answered if record::wants_event(call, "call") => event("call", "Call connected"),
            Moment::Ended => vec![webhook(target, &record::record(call, now))],
            _ => Vec::new(),
        }
    }

    fn lie(&self, call: &Call, target: &str, now: Monotonic) -> Webhook {
        let mut lie = record::record(call, now);
        lie["status"] = json!("failed");
        lie["error_message"] = json!("Call failed. SIP 404: The number was not found.");
        webhook(target, &lie)
    }

    fn sign(&self, _: &SimOptions, secret: &str, webhook: &mut Webhook) {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), &webhook.body);
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let value = HeaderValue::from_str(&hex).unwrap_or_else(|_| HeaderValue::from_static(""));
        webhook.headers.push((HeaderName::from_static("x-webhook-signature"), value));
    }

    fn voice_config(&self) -> Value {
        json!({
            "platform": Self::NAME, "language": "en", "max_duration": 5, "record_call": true,
            "webhook_config": { "events": ["queue", "call"] },
        })
    }
}

fn create_request(fields: Map<String, Value>) -> CreateRequest {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let ours = |name: &str| {
        let id = fields.get("metadata").and_then(|metadata| metadata.get(name)).and_then(Value::as_str);
        id.and_then(|id| Uuid::try_parse(id).ok())
    };
    CreateRequest {
        number: text("phone_number").unwrap_or_default().to_owned(),
        attempt_id: ours("voxd_attempt_id"),
        call_id: ours("voxd_call_id"),
        webhook: text("webhook").map(str::to_owned),
        fields,
    }
}

fn webhook(url: &str, body: &Value) -> Webhook {
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Webhook { url: url.to_owned(), headers, body: Bytes::from(body.to_string()) }
}

/// Bland's usual error shape.
fn error(status: StatusCode, message: &str, errors: &[String]) -> Response {
    let mut body = json!({ "status": "error", "message": message });
    if !errors.is_empty() {
        body["errors"] = json!(errors);
    }
    (status, Json(body)).into_response()
}
