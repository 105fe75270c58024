//! A simulated Retell AI, as strict as the vendor's SDK and docs of 2026-07 to 2026-11: authorization, field rules and error shapes,
//! listings with exact filters, detail, stopping, the account's lines, signed webhooks.
//!
//! `rules` says which create requests Retell refuses, `record` how a call looks, `routes` what else it serves.

mod record;
mod routes;
mod rules;

use aws_lc_rs::hmac;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::platform::{Answer, App, Call, CreateRequest, Moment, PlatformSim, Refusal, SimOptions, Vendor, Webhook};
use crate::clock::{self, Monotonic};

pub type RetellSim = PlatformSim<Retell>;

/// What Retell may do, where its documents leave it open.
#[derive(Debug, Clone)]
pub struct Retell {
    /// A call that is still dialled can be stopped.
    pub stops_while_dialling: bool,
    /// Calls keep the metadata that they were made with.
    pub keeps_metadata: bool,
    /// The index behind the metadata filter knows the calls.
    pub filters_by_metadata: bool,
    /// Every call finds all lines taken: accepted, and at `error` at once.
    pub no_line: bool,
}

impl Default for Retell {
    fn default() -> Self {
        Self { stops_while_dialling: true, keeps_metadata: true, filters_by_metadata: true, no_line: false }
    }
}

impl Vendor for Retell {
    const NAME: &'static str = "retell";

    fn is_create(&self, method: &Method, path: &str) -> bool {
        method == Method::POST && path == "/v2/create-phone-call"
    }

    fn authorize(&self, options: &SimOptions, headers: &HeaderMap) -> Result<(), Response> {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if given == Some(format!("Bearer {}", options.api_key).as_str()) {
            return Ok(());
        }
        Err(error(StatusCode::UNAUTHORIZED, "API key is missing or invalid."))
    }

    fn routes(&self) -> Router<App<Self>> {
        routes::router()
    }

    fn not_found(&self) -> Response {
        error(StatusCode::NOT_FOUND, "Cannot find the requested route.")
    }

    fn read_create(
        &self,
        _: &SimOptions,
        _: &str,
        _: &HeaderMap,
        body: &Bytes,
    ) -> Result<CreateRequest, (CreateRequest, Refusal)> {
        let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else {
            let answer = error(StatusCode::BAD_REQUEST, "Invalid request format, please check API reference.");
            return Err((CreateRequest::default(), Refusal { why: "not_json", answer }));
        };
        let problem = rules::problem(&fields);
        let request = create_request(fields);
        match problem {
            None => Ok(request),
            Some(problem) => {
                let answer = error(StatusCode::BAD_REQUEST, &format!("Invalid request format: {problem}"));
                Err((request, Refusal { why: "invalid_request", answer }))
            }
        }
    }

    fn new_id(&self) -> String {
        format!("call_{}", Uuid::new_v4().simple())
    }

    fn answer(&self, answer: Answer, call: Option<&Call>) -> Option<Response> {
        use StatusCode as S;
        Some(match answer {
            Answer::Accepted => {
                let record = call.map(|call| record::created(call, self));
                (S::CREATED, Json(record.unwrap_or_default())).into_response()
            }
            Answer::InvalidNumber => error(S::BAD_REQUEST, "Invalid request format: to_number is not reachable."),
            Answer::DoNotCall => error(S::BAD_REQUEST, "The contact for to_number is marked do_not_call."),
            Answer::RateLimited => {
                error(S::TOO_MANY_REQUESTS, "Account rate limited, please throttle your requests or check concurrency.")
            }
            Answer::PaymentRequired => error(S::PAYMENT_REQUIRED, "Trial has ended, please add payment method."),
            Answer::AgentNotFound => error(S::UNPROCESSABLE_ENTITY, "Cannot find requested asset under given api key."),
            Answer::ServerErrorBefore | Answer::ServerErrorAfter => {
                error(S::INTERNAL_SERVER_ERROR, "An unexpected server error occurred.")
            }
            Answer::NoIdAfter => (S::CREATED, Json(json!({ "call_status": "registered" }))).into_response(),
            _ => return None,
        })
    }

    fn record(&self, call: &Call, now: Monotonic) -> Value {
        record::record(call, now, self, true)
    }

    fn webhooks(&self, call: &Call, moment: Moment, target: &str, now: Monotonic) -> Vec<Webhook> {
        let (event, with_analysis) = match moment {
            Moment::Answered if !self.no_line => ("call_started", false),
            Moment::Ended => ("call_ended", false),
            Moment::Analyzed => ("call_analyzed", true),
            _ => return Vec::new(),
        };
        if !record::wants_event(call, event) {
            return Vec::new();
        }
        vec![webhook(target, event, &record::record(call, now, self, with_analysis))]
    }

    fn lie(&self, call: &Call, target: &str, now: Monotonic) -> Webhook {
        let mut lie = record::record(call, now, self, false);
        lie["call_status"] = json!("not_connected");
        lie["disconnection_reason"] = json!("invalid_destination");
        webhook(target, "call_ended", &lie)
    }

    /// Over the body and, right behind it, the time stamp.
    fn sign(&self, _: &SimOptions, secret: &str, webhook: &mut Webhook) {
        let stamp = clock::now().timestamp_millis().to_string();
        let signed = [webhook.body.as_ref(), stamp.as_bytes()].concat();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), &signed);
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let value = HeaderValue::from_str(&format!("v={stamp},d={hex}"));
        let value = value.unwrap_or_else(|_| HeaderValue::from_static(""));
        webhook.headers.push((HeaderName::from_static("x-retell-signature"), value));
    }

    fn voice_config(&self) -> Value {
        json!({
            "platform": Self::NAME, "from_number": "+14155550100", "language": "en-US", "max_duration": 5,
            "record_call": true, "platform_config": { "override_agent_id": "agent_simulated" },
            "webhook_config": { "events": ["call_started", "call_ended", "call_analyzed"] },
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
        number: text("to_number").unwrap_or_default().to_owned(),
        attempt_id: ours("voxd_attempt_id"),
        call_id: ours("voxd_call_id"),
        webhook: record::agent(&fields, "webhook_url").and_then(Value::as_str).map(str::to_owned),
        fields,
    }
}

fn webhook(url: &str, event: &str, call: &Value) -> Webhook {
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let body = json!({ "event": event, "call": call }).to_string();
    Webhook { url: url.to_owned(), headers, body: Bytes::from(body) }
}

fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "status": "error", "message": message }))).into_response()
}
