//! A made-up platform, whole: how one adds a sixth. In the product the adapter is `src/platforms/NAME.rs` with one line in
//! `registry.rs`, the simulator `src/sim/NAME.rs` with one line in `src/sim/mod.rs`, and its settings are a section of
//! `src/config/default.toml`. Here one line in `platform_contract.rs` puts it under the contract.
//!
//! Acme's API: `POST /calls {to, say, reference, callback}` → 201 `{id}`; `GET /calls?reference=` → `[call]`; `GET /calls/{id}`;
//! `POST /calls/{id}/hang-up`; errors are `{"error": code}`. Every change of a call is posted to `callback`, signed in
//! `x-acme-signature` (hex HMAC-SHA256 of the body).

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use url::Url;
use uuid::Uuid;

use voxd::call::{AttemptState, CallRequest, CallUpdate, FieldError, Money, Verdict};
use voxd::clock::{self, Monotonic};
use voxd::config::{PlatformConfig, Secret};
use voxd::platforms::create::CreateClient;
use voxd::platforms::read::ReadClient;
use voxd::platforms::{
    AttemptRef, Capabilities, Encoding, Lookup, LookupBy, Payload, Placed, PlacedCall, Platform, PlatformError,
    RequestPreview, Scope, SendError, SendPermit, SignatureError, UnreadableWebhook, VerifiedBy, address, answers,
    words,
};
use voxd::sim::platform::{
    Answer, App, Call, CreateRequest, Moment, Outcome, Refusal, SimOptions, Standing, Vendor, Webhook, create,
};

const NAME: &str = "acme_voice";
const SIGNATURE: &str = "x-acme-signature";

// ---- the adapter ----

struct Acme {
    base_url: Url,
    key: HeaderValue,
    create: CreateClient,
    read: ReadClient,
    secrets: Vec<Secret>,
}

/// `Err` says why the platform is off.
pub fn from_config(config: &PlatformConfig) -> Result<Arc<dyn Platform>, String> {
    let off = |error: reqwest::Error| format!("its HTTP client cannot be made: {error}");
    Ok(Arc::new(Acme {
        base_url: config.base_url.clone(),
        key: HeaderValue::from_str(&format!("Bearer {}", config.api_key.expose())).map_err(|_| "a bad key")?,
        create: CreateClient::new(config.connect_timeout, config.request_timeout).map_err(off)?,
        read: ReadClient::new(NAME, config.connect_timeout, config.request_timeout).map_err(off)?,
        secrets: config.webhook_secret.clone(),
    }))
}

#[async_trait]
impl Platform for Acme {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reports_ringing: true,
            lookup: LookupBy::Metadata,
            proves_absence: true,
            reports_transcript: false,
            webhook_per_call: true,
            can_cancel_queued: true,
            can_end: true,
            media_stream: false,
        }
    }

    fn format_payload(&self, request: &CallRequest) -> Result<Payload, Vec<FieldError>> {
        if let Some(key) = request.voice_config.platform_config.keys().next() {
            let pointer = format!("/platform_config/{key}");
            return Err(vec![FieldError::new(&pointer, "is not known to Acme, expected nothing")]);
        }
        let mut fields = Map::new();
        fields.insert("to".into(), json!(request.to.as_e164()));
        fields.insert("say".into(), json!(request.content));
        fields.insert("reference".into(), json!(request.attempt_id));
        if let Some(url) = &request.webhook_url {
            fields.insert("callback".into(), json!(url));
        }
        Ok(Payload { path: "/calls".into(), encoding: Encoding::Json, fields })
    }

    fn validate_payload(&self, payload: &Payload) -> Result<(), Vec<FieldError>> {
        match payload.fields.get("say").and_then(Value::as_str) {
            Some(say) if !say.is_empty() => Ok(()),
            _ => Err(vec![FieldError::new("/content", "is empty, expected what Acme shall say")]),
        }
    }

    fn preview(&self, payload: &Payload) -> RequestPreview {
        RequestPreview {
            method: "POST",
            url: address::of_path(&self.base_url, &payload.path).into(),
            headers: [("authorization", "[secret]".to_owned())].into(),
        }
    }

    async fn send_call(&self, payload: &Payload, permit: SendPermit) -> Result<Placed, SendError> {
        let (body, media_type) = payload.encode();
        let mut headers = self.headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        let url = address::of_path(&self.base_url, &payload.path);
        let answer = self.create.post(url.as_str(), headers, body, permit).await.map_err(answers::no_answer)?;
        let json = if answer.truncated { None } else { serde_json::from_slice::<Value>(&answer.body).ok() };
        let code = json.as_ref().and_then(|body| body["error"].as_str()).map(str::to_owned);
        let error = |verdict, reason: &str, scope| {
            let error = SendError::new(verdict, reason, words::detail(code.as_deref().unwrap_or_default()));
            Err(error.with_status(answer.status).with_scope(scope))
        };
        match (answer.status, code.as_deref()) {
            (200..=299, _) => match json.as_ref().and_then(|body| words::call_id(body, "id")) {
                Some(id) => Ok(Placed::new(id, answer.status)),
                None => error(Verdict::InDoubt, "no_call_id", Scope::Request),
            },
            (300..=399, _) => error(Verdict::Refused, "redirected", Scope::Account),
            (429, _) => error(Verdict::NotSent, "rate_limited", Scope::Account)
                .map_err(|error| error.with_retry_after(answers::retry_after(&answer.headers, clock::now()))),
            (401, Some(_)) => error(Verdict::Refused, "auth_failure", Scope::Account),
            (422, Some("bad_number")) => error(Verdict::Refused, "invalid_number", Scope::Number),
            (400 | 422, Some(_)) => error(Verdict::Refused, "invalid_request", Scope::Request),
            // Not in Acme's own words, or a server's trouble: nobody knows what became of it.
            _ => error(Verdict::InDoubt, "unexpected_answer", Scope::Request),
        }
    }

    async fn find_call(&self, attempt: &AttemptRef) -> Lookup {
        let reference = attempt.attempt_id.to_string();
        match self.get("find", &["calls"], &[("reference", &reference)]).await {
            Ok(Value::Array(calls)) => match calls.first() {
                Some(call) => {
                    Lookup::Found(Box::new(CallUpdate { attempt_id: Some(attempt.attempt_id), ..read(call) }))
                }
                None => Lookup::Absent { evidence: json!({ "listed": 0 }) },
            },
            Ok(_) => Lookup::Inconclusive { reason: "the listing is no list".into() },
            Err(error) => Lookup::Inconclusive { reason: error.to_string() },
        }
    }

    async fn call_status(&self, call: &PlacedCall) -> Result<CallUpdate, PlatformError> {
        self.get("status", &["calls", &call.id], &[]).await.map(|call| read(&call))
    }

    async fn end_call(&self, call: &PlacedCall) -> Result<(), PlatformError> {
        let url = address::below(&self.base_url, &["calls", &call.id, "hang-up"], &[]);
        let reply = self.read.post("end", url, self.headers(), None).await?;
        reply.sort(is_own_error).map(|_| ())
    }

    fn verify_webhook(&self, headers: &HeaderMap, _: &str, body: &[u8]) -> Result<VerifiedBy, SignatureError> {
        if self.secrets.is_empty() {
            return Err(SignatureError::NoSecret);
        }
        let given = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).ok_or(SignatureError::Missing)?;
        let given: Vec<u8> =
            (0..given.len() / 2).filter_map(|at| u8::from_str_radix(given.get(2 * at..2 * at + 2)?, 16).ok()).collect();
        let matches = |secret: &Secret| hmac::verify(&key(secret.expose()), body, &given).is_ok();
        match self.secrets.iter().position(matches) {
            Some(0) => Ok(VerifiedBy("hmac".into())),
            Some(at) => Ok(VerifiedBy(format!("hmac#{}", at + 1))),
            None => Err(SignatureError::Mismatch),
        }
    }

    fn normalize_webhook(&self, body: &[u8]) -> Result<Vec<CallUpdate>, UnreadableWebhook> {
        let call = serde_json::from_slice(body).map_err(|error| UnreadableWebhook(error.to_string()))?;
        Ok(vec![read(&call)])
    }

    async fn probe(&self) -> Result<(), PlatformError> {
        self.get("probe", &["calls"], &[("reference", "none")]).await.map(|_| ())
    }
}

impl Acme {
    fn headers(&self) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, self.key.clone())])
    }

    async fn get(
        &self,
        operation: &'static str,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, PlatformError> {
        let url = address::below(&self.base_url, path, query);
        self.read.get(operation, url, self.headers()).await?.sort(is_own_error)
    }
}

fn is_own_error(body: &Value) -> bool {
    body["error"].is_string()
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

/// Acme's call in our words; what is not known stays as it came.
fn read(call: &Value) -> CallUpdate {
    let status = call["status"].as_str();
    let mut update = CallUpdate {
        attempt_id: call["reference"].as_str().and_then(|id| Uuid::try_parse(id).ok()),
        platform_call_id: words::call_id(call, "id").map(str::to_owned),
        state: match status {
            Some("waiting") => Some(AttemptState::Placed),
            Some("ringing") => Some(AttemptState::Ringing),
            Some("talking") => Some(AttemptState::InProgress),
            Some("done") => Some(AttemptState::Completed),
            Some("not_answered") => Some(AttemptState::NoAnswer),
            Some("engaged") => Some(AttemptState::Busy),
            Some("machine") => Some(AttemptState::Voicemail),
            Some("hung_up") => Some(AttemptState::Cancelled),
            Some("failed") => Some(AttemptState::Failed),
            _ => None,
        },
        raw_status: status.map(str::to_owned),
        ..CallUpdate::default()
    };
    update.facts.duration_seconds = call["seconds"].as_i64().and_then(|seconds| i32::try_from(seconds).ok());
    update.facts.cost = call["price"].as_str().and_then(|price| price.parse().ok()).map(Money::usd);
    update
}

// ---- the simulator ----

#[derive(Default)]
pub struct SimulatedAcme;

impl Vendor for SimulatedAcme {
    const NAME: &'static str = NAME;

    fn is_create(&self, method: &Method, path: &str) -> bool {
        method == Method::POST && path == "/calls"
    }

    fn authorize(&self, options: &SimOptions, headers: &HeaderMap) -> Result<(), Response> {
        let wanted = format!("Bearer {}", options.api_key);
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if given == Some(&wanted) { Ok(()) } else { Err(error(StatusCode::UNAUTHORIZED, "bad_key")) }
    }

    fn routes(&self) -> Router<App<Self>> {
        Router::new()
            .route("/calls", post(create::<Self>).get(list))
            .route("/calls/{id}", get(detail))
            .route("/calls/{id}/hang-up", post(hang_up))
    }

    fn not_found(&self) -> Response {
        error(StatusCode::NOT_FOUND, "no_such_path")
    }

    fn read_create(
        &self,
        _: &SimOptions,
        _: &str,
        _: &HeaderMap,
        body: &Bytes,
    ) -> Result<CreateRequest, (CreateRequest, Refusal)> {
        let fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let (to, reference, callback) = (text("to"), text("reference"), text("callback"));
        let known = fields.keys().all(|name| matches!(name.as_str(), "to" | "say" | "reference" | "callback"));
        let request = CreateRequest {
            number: to.clone().unwrap_or_default(),
            attempt_id: reference.and_then(|id| Uuid::try_parse(&id).ok()),
            webhook: callback,
            fields,
            ..CreateRequest::default()
        };
        if known && to.is_some() {
            return Ok(request);
        }
        let answer = error(StatusCode::BAD_REQUEST, "bad_request");
        Err((request, Refusal { why: "invalid_request", answer }))
    }

    fn new_id(&self) -> String {
        Uuid::new_v4().to_string()
    }

    fn answer(&self, answer: Answer, call: Option<&Call>) -> Option<Response> {
        Some(match answer {
            Answer::Accepted => (StatusCode::CREATED, Json(json!({ "id": call.map(|call| &call.id) }))).into_response(),
            Answer::InvalidNumber => error(StatusCode::UNPROCESSABLE_ENTITY, "bad_number"),
            Answer::RateLimited => error(StatusCode::TOO_MANY_REQUESTS, "slow_down"),
            _ => return None,
        })
    }

    fn record(&self, call: &Call, now: Monotonic) -> Value {
        let status = match call.standing(now) {
            Standing::Ringing => "ringing",
            Standing::Talking => "talking",
            Standing::Ended(end) => match end.outcome {
                None => "hung_up",
                Some(Outcome::Completed) => "done",
                Some(Outcome::NoAnswer) => "not_answered",
                Some(Outcome::Busy) => "engaged",
                Some(Outcome::Voicemail) => "machine",
                Some(_) => "failed",
            },
        };
        let mut record = json!({ "id": call.id, "reference": call.request.attempt_id, "status": status });
        if let Some(end) = call.ended(now) {
            record["seconds"] = json!(end.talked.as_secs());
            record["price"] = json!("0.02");
        }
        record
    }

    fn webhooks(&self, call: &Call, moment: Moment, target: &str, now: Monotonic) -> Vec<Webhook> {
        match moment {
            Moment::Ringing | Moment::Answered | Moment::Ended => vec![webhook(target, &self.record(call, now))],
            Moment::Queued | Moment::Analyzed => Vec::new(),
        }
    }

    fn lie(&self, call: &Call, target: &str, _: Monotonic) -> Webhook {
        webhook(target, &json!({ "id": call.id, "reference": call.request.attempt_id, "status": "failed" }))
    }

    fn sign(&self, _: &SimOptions, secret: &str, webhook: &mut Webhook) {
        let tag = hmac::sign(&key(secret), &webhook.body);
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        webhook.headers.push((HeaderName::from_static(SIGNATURE), HeaderValue::from_str(&hex).unwrap()));
    }

    fn voice_config(&self) -> Value {
        json!({ "platform": NAME })
    }
}

async fn list(State(shared): State<App<SimulatedAcme>>, Query(query): Query<Vec<(String, String)>>) -> Response {
    if let Some(failure) = shared.list_failure() {
        return failure;
    }
    let wanted = query.iter().find(|(name, _)| name == "reference").and_then(|(_, id)| Uuid::try_parse(id).ok());
    let now = clock::monotonic();
    let calls = shared.calls();
    let listed = calls.to(None).filter(|call| shared.is_listed(call, now) && call.request.attempt_id == wanted);
    Json(listed.map(|call| shared.vendor.record(call, now)).collect::<Vec<_>>()).into_response()
}

async fn detail(State(shared): State<App<SimulatedAcme>>, Path(id): Path<String>) -> Response {
    match shared.record(&id) {
        Some(record) => Json(record).into_response(),
        None => error(StatusCode::NOT_FOUND, "no_such_call"),
    }
}

async fn hang_up(State(shared): State<App<SimulatedAcme>>, Path(id): Path<String>) -> Response {
    match shared.calls().stop(&id) {
        true => Json(json!({ "status": "hung_up" })).into_response(),
        false => error(StatusCode::NOT_FOUND, "no_such_call"),
    }
}

fn webhook(url: &str, body: &Value) -> Webhook {
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Webhook { url: url.to_owned(), headers, body: Bytes::from(body.to_string()) }
}

fn error(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({ "error": code }))).into_response()
}
