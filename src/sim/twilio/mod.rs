//! A simulated Twilio, as strict as the vendor's reference of 2026-08: basic authorization, form fields with the vendor's error
//! codes, listings by day and status with pages, cancelling and completing, signed status, detection and recording callbacks, a
//! price that comes later.
//!
//! `rules` says which create requests Twilio refuses, `record` how a call looks and what is posted about it, `routes` what else
//! it serves.

mod record;
mod routes;
mod rules;

use std::time::Duration;

use aws_lc_rs::hmac;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use url::form_urlencoded;
use uuid::Uuid;

use super::platform::{Answer, App, Call, CreateRequest, Moment, PlatformSim, Refusal, SimOptions, Vendor, Webhook};
use crate::clock::Monotonic;

pub type TwilioSim = PlatformSim<Twilio>;

/// The only account.
pub const ACCOUNT_SID: &str = "AC00000000000000000000000000000001";
const FORM: &str = "application/x-www-form-urlencoded";

/// What Twilio does that other platforms don't.
#[derive(Debug, Clone, Default)]
pub struct Twilio {
    /// Calls wait in Twilio's queue for so long of their ringing time, as beyond the account's calls per second.
    pub queue: Duration,
    /// Since the call's end, until its price is known.
    pub price_lag: Duration,
    /// A call is answered in the moment in which it is cancelled, as far as the cancellation can tell.
    pub misses_cancel: bool,
}

impl Vendor for Twilio {
    const NAME: &'static str = "twilio";

    fn is_create(&self, method: &Method, path: &str) -> bool {
        method == Method::POST && path.starts_with("/2010-04-01/Accounts/") && path.ends_with("/Calls.json")
    }

    fn authorize(&self, options: &SimOptions, headers: &HeaderMap) -> Result<(), Response> {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let wanted = format!("Basic {}", BASE64_STANDARD.encode(format!("{ACCOUNT_SID}:{}", options.api_key)));
        if given == Some(wanted.as_str()) {
            Ok(())
        } else {
            Err(error(StatusCode::UNAUTHORIZED, 20003, "Authenticate"))
        }
    }

    fn routes(&self) -> Router<App<Self>> {
        routes::router()
    }

    fn not_found(&self) -> Response {
        no_such_resource()
    }

    fn read_create(
        &self,
        _: &SimOptions,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<CreateRequest, (CreateRequest, Refusal)> {
        let request = create_request(fields(body));
        if path != format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Calls.json") {
            return Err((request, Refusal { why: "no_such_account", answer: no_such_resource() }));
        }
        let is_form =
            headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.starts_with(FORM));
        if !is_form {
            let answer = error(StatusCode::UNSUPPORTED_MEDIA_TYPE, 20422, "Unsupported content type");
            return Err((request, Refusal { why: "not_a_form", answer }));
        }
        match rules::problem(&request.fields) {
            None => Ok(request),
            Some((code, text)) => {
                let answer = error(StatusCode::BAD_REQUEST, code, &text);
                Err((request, Refusal { why: "invalid_request", answer }))
            }
        }
    }

    fn new_id(&self) -> String {
        format!("CA{}", Uuid::new_v4().simple())
    }

    fn answer(&self, answer: Answer, call: Option<&Call>) -> Option<Response> {
        use StatusCode as S;
        Some(match answer {
            Answer::Accepted => {
                let mut resource = call.map(|call| self.record(call, call.playback.created())).unwrap_or_default();
                resource["status"] = json!("queued");
                // Not told yet, as in the vendor's sample.
                for name in ["date_created", "date_updated", "start_time"] {
                    resource[name] = Value::Null;
                }
                (S::CREATED, Json(resource)).into_response()
            }
            Answer::InvalidNumber => error(S::BAD_REQUEST, 21211, "The 'To' number is not a valid phone number."),
            Answer::DoNotCall => error(S::BAD_REQUEST, 21216, "Account not allowed to call this number."),
            Answer::RateLimited => error(S::TOO_MANY_REQUESTS, 20429, "Too Many Requests"),
            Answer::RateLimitedWithWait => {
                let mut response = error(S::TOO_MANY_REQUESTS, 20429, "Too Many Requests");
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
                response
            }
            Answer::AccountBlocked => error(S::FORBIDDEN, 20005, "Account not active"),
            Answer::ServerErrorBefore | Answer::ServerErrorAfter => {
                error(S::INTERNAL_SERVER_ERROR, 20500, "An internal server error has occurred")
            }
            Answer::NoIdAfter => (S::CREATED, Json(json!({ "status": "queued", "sid": null }))).into_response(),
            _ => return None,
        })
    }

    fn record(&self, call: &Call, now: Monotonic) -> Value {
        record::resource(self, call, now)
    }

    fn webhooks(&self, call: &Call, moment: Moment, target: &str, now: Monotonic) -> Vec<Webhook> {
        // There is no address of the account: without the call's own nothing is posted.
        if call.request.webhook.is_none() {
            return Vec::new();
        }
        record::callbacks(self, call, moment, now)
            .into_iter()
            .map(|(parameter, told)| {
                // The resends of a person go where they say.
                let own = call.text(parameter);
                let url = if target == call.text("StatusCallback") && !own.is_empty() { own } else { target };
                webhook(url, &told)
            })
            .collect()
    }

    fn lie(&self, call: &Call, target: &str, _: Monotonic) -> Webhook {
        let mut told = record::told(call);
        told.extend([
            ("CallStatus", "failed".into()),
            ("SipResponseCode", "404".into()),
            ("SequenceNumber", "2".into()),
        ]);
        webhook(target, &told)
    }

    /// The address without its fragment, then names and values in the order of the names.
    fn sign(&self, _: &SimOptions, secret: &str, webhook: &mut Webhook) {
        let mut pairs: Vec<(String, String)> = form_urlencoded::parse(&webhook.body).into_owned().collect();
        pairs.sort();
        let mut signed = webhook.url.split('#').next().unwrap_or_default().to_owned();
        pairs.iter().for_each(|(name, value)| signed.extend([name.as_str(), value.as_str()]));
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        let tag = BASE64_STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
        let value = HeaderValue::from_str(&tag).unwrap_or_else(|_| HeaderValue::from_static(""));
        webhook.headers.push((HeaderName::from_static("x-twilio-signature"), value));
    }

    fn voice_config(&self) -> Value {
        json!({
            "platform": Self::NAME, "from_number": "+14155550100", "language": "en-US", "max_duration": 5, "record_call": true,
            "platform_config": { "MachineDetection": "Enable", "AsyncAmd": true },
        })
    }

    fn environment(&self, _: &SimOptions) -> Vec<(String, String)> {
        vec![("VOXD_PLATFORMS__TWILIO__ACCOUNT_SID".into(), ACCOUNT_SID.into())]
    }
}

/// Repeated names are arrays, which the rules know where to allow.
fn fields(body: &[u8]) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in form_urlencoded::parse(body) {
        let value = json!(value);
        match fields.get_mut(name.as_ref()) {
            Some(Value::Array(values)) => values.push(value),
            Some(single) => *single = json!([single.take(), value]),
            None => _ = fields.insert(name.into_owned(), value),
        }
    }
    fields
}

/// Twilio knows nothing of our attempts: for the journal, the callback address names one.
fn create_request(fields: Map<String, Value>) -> CreateRequest {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let callback = text("StatusCallback").map(str::to_owned);
    let address = callback.as_deref().and_then(|url| url.split(['#', '?']).next());
    let last = address.and_then(|url| url.trim_end_matches('/').rsplit('/').next());
    CreateRequest {
        number: text("To").unwrap_or_default().to_owned(),
        attempt_id: last.and_then(|id| Uuid::try_parse(id).ok()),
        call_id: None,
        webhook: callback,
        fields,
    }
}

fn webhook(url: &str, told: &[(&'static str, String)]) -> Webhook {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(told).finish();
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static(FORM))];
    Webhook { url: url.to_owned(), headers, body: Bytes::from(body) }
}

/// Twilio's error shape.
fn error(status: StatusCode, code: u32, message: &str) -> Response {
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    let body = json!({ "code": code, "message": message, "more_info": more, "status": status.as_u16() });
    (status, Json(body)).into_response()
}

fn no_such_resource() -> Response {
    error(StatusCode::NOT_FOUND, 20404, "The requested resource was not found")
}
