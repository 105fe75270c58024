//! Retell AI (the vendor's SDK 5.60 of 2026-07-31, docs of 2026-08).
//!
//! `payload` puts a call in Retell's words and checks it by `fields`, `answer` sorts the answer to the create request, `record` and
//! `ending` read call objects, `webhook` verifies and reads webhooks, `lookup` finds the call of an attempt in doubt.
//!
//! A create request goes out once: there was no idempotency key, and the SDK up to 5.60 repeats it after connection errors, 408,
//! 409, 429 and 5xx. 6.2 sends it once too (`max_retries = 0`), and knows an optional `idempotency_key`, which is not sent here.

mod answer;
mod ending;
mod fields;
mod lookup;
mod payload;
mod record;
mod webhook;

use std::sync::Arc;

use async_trait::async_trait;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use url::Url;

use super::address::{below, of_path};
use super::create::{CreateClient, result_label};
use super::read::{ReadClient, Reply};
use super::signature::Keys;
use super::*;
use crate::config::PlatformConfig;
use record::{Ended, OnUnknown};

pub const NAME: &str = "retell";

pub struct Retell {
    base_url: Url,
    authorization: HeaderValue,
    create: CreateClient,
    read: ReadClient,
    keys: Keys,
}

/// `Err` says why the platform is off.
pub fn from_config(config: &PlatformConfig) -> Result<Arc<dyn Platform>, String> {
    if config.api_key.is_empty() {
        return Err("RETELL_API_KEY is not set".into());
    }
    if config.base_url.cannot_be_a_base() {
        return Err("platforms.retell.base_url is not an http(s) address".into());
    }
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", config.api_key.expose()))
        .map_err(|_| "RETELL_API_KEY holds characters that no HTTP header can")?;
    authorization.set_sensitive(true);
    let off = |error: reqwest::Error| format!("its HTTP client cannot be made: {error}");
    let keys = Keys::new(&config.webhook_secret);
    Ok(Arc::new(Retell {
        base_url: config.base_url.clone(),
        authorization,
        create: CreateClient::new(config.connect_timeout, config.request_timeout).map_err(off)?,
        read: ReadClient::new(NAME, config.connect_timeout, config.request_timeout).map_err(off)?,
        // Retell signs with the API key, unless another one of the workspace is marked for webhooks.
        keys: if keys.is_empty() { Keys::new(std::slice::from_ref(&config.api_key)) } else { keys },
    }))
}

#[async_trait]
impl Platform for Retell {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reports_ringing: false,
            lookup: LookupBy::Metadata,
            proves_absence: true,
            reports_transcript: true,
            webhook_per_call: true,
            // Whether a call that is still dialled can be stopped is not documented.
            can_cancel_queued: false,
            can_end: true,
            media_stream: false,
        }
    }

    fn format_payload(&self, request: &CallRequest) -> Result<Payload, Vec<FieldError>> {
        payload::format(request)
    }

    fn validate_payload(&self, payload: &Payload) -> Result<(), Vec<FieldError>> {
        payload::validate(payload)
    }

    fn preview(&self, payload: &Payload) -> RequestPreview {
        let headers = [("authorization", "Bearer [secret]"), ("content-type", payload.encode().1)];
        RequestPreview {
            method: "POST",
            url: of_path(&self.base_url, &payload.path).into(),
            headers: headers.map(|(name, value)| (name, value.to_owned())).into(),
        }
    }

    async fn send_call(&self, payload: &Payload, permit: SendPermit) -> Result<Placed, SendError> {
        let (body, media_type) = payload.encode();
        let mut headers = self.headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        let url = of_path(&self.base_url, &payload.path);
        let answer = timed(NAME, "create", self.create.post(url.as_str(), headers, body, permit), result_label).await;
        answer::sort(answer, clock::now())
    }

    async fn find_call(&self, attempt: &AttemptRef) -> Lookup {
        lookup::find(self, attempt).await
    }

    async fn call_status(&self, call: &PlacedCall) -> Result<CallUpdate, PlatformError> {
        let mut update = record::read(&self.call("status", &call.id).await?, Ended::ByStatus, OnUnknown::AskAgain);
        if update.state.is_none() {
            // An end without a reason counts only when it is said twice.
            update = record::read(&self.call("status", &call.id).await?, Ended::ByStatus, OnUnknown::Failed);
        }
        update.platform_call_id = Some(call.id.clone());
        Ok(update)
    }

    /// The answer to a stop that comes too late (or too early) is not documented, so the call itself is asked.
    async fn end_call(&self, call: &PlacedCall) -> Result<(), PlatformError> {
        check_id(&call.id)?;
        let url = below(&self.base_url, &["v2", "stop-call", &call.id], &[]);
        let reply = self.read.post("end", url, self.headers(), None).await?;
        if (200..300).contains(&reply.status) {
            return Ok(());
        }
        let refusal = sort(&reply).err().unwrap_or(PlatformError::NotFound);
        if !matches!(reply.status, 400 | 404 | 409 | 422) {
            return Err(refusal);
        }
        let found = self.call("end", &call.id).await?;
        let state = record::read(&found, Ended::ByStatus, OnUnknown::Failed).state;
        Err(match state.filter(|state| state.is_outcome()) {
            Some(_) => PlatformError::Permanent("the call has ended".into()),
            None => PlatformError::Temporary(format!("the call cannot be stopped now ({})", reply.status)),
        })
    }

    fn verify_webhook(&self, headers: &HeaderMap, _: &str, body: &[u8]) -> Result<VerifiedBy, SignatureError> {
        webhook::verify(&self.keys, headers, body, clock::now())
    }

    fn normalize_webhook(&self, body: &[u8]) -> Result<Vec<CallUpdate>, UnreadableWebhook> {
        webhook::normalize(body)
    }

    async fn probe(&self) -> Result<(), PlatformError> {
        self.get("probe", &["get-concurrency"]).await.map(|_| ())
    }

    async fn concurrency(&self) -> Option<Concurrency> {
        concurrency(&self.get("concurrency", &["get-concurrency"]).await.ok()?)
    }
}

impl Retell {
    fn headers(&self) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, self.authorization.clone())])
    }

    async fn get(&self, operation: &'static str, path: &[&str]) -> Result<Value, PlatformError> {
        sort(&self.read.get(operation, below(&self.base_url, path, &[]), self.headers()).await?)
    }

    async fn post(&self, operation: &'static str, path: &[&str], body: &Value) -> Result<Value, PlatformError> {
        let mut headers = self.headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let url = below(&self.base_url, path, &[]);
        sort(&self.read.post(operation, url, headers, Some(body.to_string().into())).await?)
    }

    async fn call(&self, operation: &'static str, id: &str) -> Result<Value, PlatformError> {
        check_id(id)?;
        match self.read.get(operation, below(&self.base_url, &["v2", "get-call", id], &[]), self.headers()).await? {
            // What this key has no such call for; other questions have nothing to be missing.
            reply if reply.status == 422 && is_own_error(&reply) => Err(PlatformError::NotFound),
            reply => sort(&reply),
        }
    }
}

fn check_id(id: &str) -> Result<(), PlatformError> {
    if words::is_plausible_id(id) { Ok(()) } else { Err(PlatformError::NotFound) }
}

fn sort(reply: &Reply) -> Result<Value, PlatformError> {
    reply.sort(answer::is_own_error)
}

fn is_own_error(reply: &Reply) -> bool {
    reply.json().as_ref().is_some_and(answer::is_own_error)
}

/// `current_concurrency` and `concurrency_limit` of `GET /get-concurrency`; all its members are optional. A burst beyond the limit
/// costs a surcharge on the whole call, so it is not counted on.
fn concurrency(answer: &Value) -> Option<Concurrency> {
    let number = |key: &str| answer.get(key)?.as_u64().and_then(|number| u32::try_from(number).ok());
    let parts = || number("base_concurrency")?.checked_add(number("purchased_concurrency").unwrap_or(0));
    let limit = number("concurrency_limit").or_else(parts).filter(|limit| *limit > 0)?;
    Some(Concurrency { current: number("current_concurrency")?, limit })
}

#[cfg(test)]
mod tests;
