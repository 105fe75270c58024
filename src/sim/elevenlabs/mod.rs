//! A simulated ElevenLabs workspace with the Twilio account behind its numbers, as strict as the vendors' references:
//! authorization, field rules in FastAPI's error shape, conversations with listing and detail, signed post-call webhooks, and
//! of Twilio what concerns calls: listing, detail, hanging up.
//!
//! `rules` says which create requests ElevenLabs refuses, `record` how a conversation looks, `routes` what else is served,
//! `carrier` is the Twilio account.

mod carrier;
mod record;
mod routes;
mod rules;

use aws_lc_rs::hmac;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::platform::{Answer, App, Call, CreateRequest, Moment, PlatformSim, Refusal, SimOptions, Vendor, Webhook};
use crate::clock::{self, Monotonic};

pub type ElevenLabsSim = PlatformSim<ElevenLabs>;

/// The owner's Twilio account. It keeps nothing but calls.
pub const ACCOUNT_SID: &str = "AC00000000000000000000000000000011";
pub const AUTH_TOKEN: &str = "simulated-twilio-token";

/// What the vendor does not say.
#[derive(Debug, Clone)]
pub struct ElevenLabs {
    /// Conversations of calls that nobody answered are listed and can be fetched.
    pub lists_unanswered: bool,
    /// Records tell `cost_fiat`, as newer ones do.
    pub tells_money: bool,
    /// Records tell `phone_call.call_result`, as newer ones do.
    pub tells_result: bool,
}

impl Default for ElevenLabs {
    fn default() -> Self {
        Self { lists_unanswered: true, tells_money: true, tells_result: true }
    }
}

impl Vendor for ElevenLabs {
    const NAME: &'static str = "elevenlabs";

    fn is_create(&self, method: &Method, path: &str) -> bool {
        method == Method::POST && rules::CREATE_PATHS.contains(&path)
    }

    /// Either vendor's credentials; which address takes which is checked there.
    fn authorize(&self, options: &SimOptions, headers: &HeaderMap) -> Result<(), Response> {
        if has_key(options, headers) || carrier::is_owner(headers) {
            return Ok(());
        }
        Err(coded(StatusCode::UNAUTHORIZED, "invalid_api_key", "Invalid API key"))
    }

    fn routes(&self) -> Router<App<Self>> {
        routes::router().merge(carrier::router())
    }

    fn not_found(&self) -> Response {
        (StatusCode::NOT_FOUND, Json(json!({ "detail": "Not Found" }))).into_response()
    }

    fn read_create(
        &self,
        options: &SimOptions,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<CreateRequest, (CreateRequest, Refusal)> {
        #[expect(clippy::result_large_err, reason = "as the trait's")]
        let refuse = |request, why, answer| Err((request, Refusal { why, answer }));
        if !has_key(options, headers) {
            let answer = coded(StatusCode::UNAUTHORIZED, "invalid_api_key", "Invalid API key");
            return refuse(CreateRequest::default(), "unauthorized", answer);
        }
        let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else {
            let answer = invalid(&[rules::Problem::new(&[], "Input should be a valid dictionary", "json_invalid")]);
            return refuse(CreateRequest::default(), "not_json", answer);
        };
        let problems = rules::problems(&fields, path);
        let data = fields.get("conversation_initiation_client_data").cloned().unwrap_or_default();
        let ours = |name: &str| {
            let id = data.get("dynamic_variables").and_then(|variables| variables.get(name)).and_then(Value::as_str);
            id.and_then(|id| Uuid::try_parse(id).ok())
        };
        let request = CreateRequest {
            number: fields.get("to_number").and_then(Value::as_str).unwrap_or_default().to_owned(),
            attempt_id: ours("voxd_attempt_id"),
            call_id: ours("voxd_call_id"),
            webhook: None,
            fields,
        };
        if problems.is_empty() { Ok(request) } else { refuse(request, "invalid_request", invalid(&problems)) }
    }

    fn new_id(&self) -> String {
        format!("conv_{}", Uuid::new_v4().simple())
    }

    fn answer(&self, answer: Answer, call: Option<&Call>) -> Option<Response> {
        use StatusCode as S;
        Some(match answer {
            Answer::Accepted => {
                let ids = call.map(|call| (&call.id, carrier::sid(call)));
                let (id, sid) = ids.unzip();
                let text = "Success";
                Json(json!({ "success": true, "message": text, "conversation_id": id, "callSid": sid })).into_response()
            }
            Answer::SaysNo => {
                let text = "Unable to create the call: the number is not allowed by the carrier";
                Json(json!({ "success": false, "message": text, "conversation_id": null, "callSid": null }))
                    .into_response()
            }
            Answer::NoIdAfter => {
                Json(json!({ "success": true, "message": "Success", "conversation_id": null, "callSid": null }))
                    .into_response()
            }
            Answer::InvalidNumber => {
                invalid(&[rules::Problem::new(&["to_number"], "Invalid phone number", "value_error")])
            }
            Answer::RateLimited => {
                coded(S::TOO_MANY_REQUESTS, "too_many_concurrent_requests", "Too many concurrent requests")
            }
            Answer::RateLimitedWithWait => {
                let mut response = coded(S::TOO_MANY_REQUESTS, "system_busy", "The system is busy, try again later");
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
                response
            }
            Answer::PaymentRequired => coded(S::UNAUTHORIZED, "quota_exceeded", "This request exceeds your quota"),
            Answer::AccountBlocked => coded(S::UNAUTHORIZED, "detected_unusual_activity", "Unusual activity detected"),
            Answer::AgentNotFound => coded(S::NOT_FOUND, "document_not_found", "Document with id agent not found."),
            Answer::ServerErrorBefore | Answer::ServerErrorAfter => {
                (S::INTERNAL_SERVER_ERROR, "Internal Server Error").into_response()
            }
            _ => return None,
        })
    }

    fn record(&self, call: &Call, now: Monotonic) -> Value {
        record::record(call, now, self)
    }

    fn webhooks(&self, call: &Call, moment: Moment, target: &str, now: Monotonic) -> Vec<Webhook> {
        let Some(end) = call.ended(now) else { return Vec::new() };
        match (moment, record::is_failure(&end)) {
            (Moment::Ended, true) => vec![webhook(target, &record::failure_event(call, &end))],
            (Moment::Analyzed, false) => {
                vec![webhook(target, &record::transcription_event(call, now, self))]
            }
            _ => Vec::new(),
        }
    }

    fn lie(&self, call: &Call, target: &str, _: Monotonic) -> Webhook {
        let data = json!({
            "agent_id": call.text("agent_id"), "conversation_id": call.id, "failure_reason": "unknown",
            "metadata": { "type": "sip", "sip_status_code": 404, "error_reason": "SIP 404: not found" },
        });
        webhook(
            target,
            &json!({ "type": "call_initiation_failure", "event_timestamp": clock::now().timestamp(), "data": data }),
        )
    }

    fn sign(&self, _: &SimOptions, secret: &str, webhook: &mut Webhook) {
        let stamp = clock::now().timestamp().to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, &[stamp.as_bytes(), b".", &webhook.body].concat());
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let value = HeaderValue::from_str(&format!("t={stamp},v0={hex}"));
        let value = value.unwrap_or_else(|_| HeaderValue::from_static(""));
        webhook.headers.push((HeaderName::from_static("elevenlabs-signature"), value));
    }

    fn voice_config(&self) -> Value {
        json!({
            "platform": Self::NAME, "record_call": true,
            "platform_config": { "agent_id": "agent_0001", "agent_phone_number_id": "phnum_0001" },
        })
    }

    fn environment(&self, _: &SimOptions) -> Vec<(String, String)> {
        [("ACCOUNT_SID", ACCOUNT_SID), ("AUTH_TOKEN", AUTH_TOKEN)]
            .map(|(name, value)| (format!("VOXD_PLATFORMS__ELEVENLABS__TWILIO_{name}"), value.to_owned()))
            .into()
    }

    fn address_settings(&self) -> &'static [&'static str] {
        &["VOXD_PLATFORMS__ELEVENLABS__TWILIO_BASE_URL"]
    }
}

fn has_key(options: &SimOptions, headers: &HeaderMap) -> bool {
    headers.get("xi-api-key").and_then(|key| key.to_str().ok()) == Some(options.api_key.as_str())
}

fn webhook(url: &str, body: &Value) -> Webhook {
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Webhook { url: url.to_owned(), headers, body: Bytes::from(body.to_string()) }
}

/// The general API's error shape.
fn coded(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "detail": { "status": code, "message": message } }))).into_response()
}

/// 422 with a list of fields, the one error that is documented for the endpoint.
fn invalid(problems: &[rules::Problem]) -> Response {
    let detail: Vec<Value> = problems.iter().map(rules::Problem::json).collect();
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "detail": detail }))).into_response()
}
