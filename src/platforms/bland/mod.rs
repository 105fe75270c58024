//! Bland AI (vendor reference of 2026-08).
//!
//! `payload` puts a call in Bland's words and checks it, `answer` sorts the answer to the create request, `record` reads
//! call records, `webhook` verifies and reads webhooks, `lookup` finds the call of an attempt in doubt.

mod answer;
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

use super::create::{CreateClient, result_label};
use super::read::{ReadClient, Reply};
use super::*;
use crate::config::PlatformConfig;
use record::OnUnknown;

pub const NAME: &str = "bland_ai";

pub struct Bland {
    base_url: Url,
    authorization: HeaderValue,
    create: CreateClient,
    read: ReadClient,
    verifier: webhook::Verifier,
}

/// `Err` says why the platform is off.
pub fn from_config(config: &PlatformConfig) -> Result<Arc<dyn Platform>, String> {
    if config.api_key.is_empty() {
        return Err("BLAND_AI_API_KEY is not set".into());
    }
    if config.base_url.cannot_be_a_base() {
        return Err("platforms.bland_ai.base_url is not an http(s) address".into());
    }
    // The raw key, without a scheme word.
    let mut authorization = HeaderValue::from_str(config.api_key.expose())
        .map_err(|_| "BLAND_AI_API_KEY holds characters that no HTTP header can")?;
    authorization.set_sensitive(true);
    let off = |error: reqwest::Error| format!("its HTTP client cannot be made: {error}");
    Ok(Arc::new(Bland {
        base_url: config.base_url.clone(),
        authorization,
        create: CreateClient::new(config.connect_timeout, config.request_timeout).map_err(off)?,
        read: ReadClient::new(NAME, config.connect_timeout, config.request_timeout).map_err(off)?,
        verifier: webhook::Verifier::new(&config.webhook_secret),
    }))
}

#[async_trait]
impl Platform for Bland {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reports_ringing: false,
            lookup: LookupBy::Window,
            proves_absence: true,
            reports_transcript: true,
            webhook_per_call: true,
            can_cancel_queued: true,
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
        let headers = [("authorization", "[secret]"), ("content-type", payload.encode().1)];
        RequestPreview {
            method: "POST",
            url: address::of_path(&self.base_url, &payload.path).into(),
            headers: headers.map(|(name, value)| (name, value.to_owned())).into(),
        }
    }

    async fn send_call(&self, payload: &Payload, permit: SendPermit) -> Result<Placed, SendError> {
        let (body, media_type) = payload.encode();
        let mut headers = self.headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        let url = address::of_path(&self.base_url, &payload.path);
        let answer = timed(NAME, "create", self.create.post(url.as_str(), headers, body, permit), result_label).await;
        answer::sort(answer, clock::now())
    }

    async fn find_call(&self, attempt: &AttemptRef) -> Lookup {
        lookup::find(self, attempt).await
    }

    async fn call_status(&self, call: &PlacedCall) -> Result<CallUpdate, PlatformError> {
        check_id(&call.id)?;
        let path = ["v1", "calls", &call.id];
        let mut update = record::read(&self.get("status", &path, &[]).await?, OnUnknown::AskAgain);
        if update.state.is_none() {
            // `status: unknown` counts only when it is said twice.
            update = record::read(&self.get("status", &path, &[]).await?, OnUnknown::Failed);
        }
        update.platform_call_id = Some(call.id.clone());
        Ok(update)
    }

    async fn end_call(&self, call: &PlacedCall) -> Result<(), PlatformError> {
        check_id(&call.id)?;
        let url = address::below(&self.base_url, &["v1", "calls", &call.id, "stop"], &[]);
        let mut headers = self.headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let reply = self.read.post("end", url, headers, Some("{}".into())).await?;
        sort_stop(&reply)
    }

    fn verify_webhook(&self, headers: &HeaderMap, _: &str, body: &[u8]) -> Result<VerifiedBy, SignatureError> {
        self.verifier.verify(headers, body)
    }

    fn normalize_webhook(&self, body: &[u8]) -> Result<Vec<CallUpdate>, UnreadableWebhook> {
        webhook::normalize(body)
    }

    async fn probe(&self) -> Result<(), PlatformError> {
        self.get("probe", &["v1", "calls"], &[("limit", "1")]).await.map(|_| ())
    }
}

impl Bland {
    fn headers(&self) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, self.authorization.clone())])
    }

    async fn get(
        &self,
        operation: &'static str,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, PlatformError> {
        let reply = self.read.get(operation, address::below(&self.base_url, path, query), self.headers()).await?;
        reply.sort(answer::is_own_error)
    }
}

/// `active` is no id: `POST /v1/calls/active/stop` ends every call of the account.
fn check_id(id: &str) -> Result<(), PlatformError> {
    if words::is_plausible_id(id) && id != "active" { Ok(()) } else { Err(PlatformError::NotFound) }
}

/// The HTTP status of a failed stop is not documented, so the body decides.
fn sort_stop(reply: &Reply) -> Result<(), PlatformError> {
    let body = reply.json().unwrap_or_default();
    let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
    let says_not_found = text("message").to_lowercase().contains("not found");
    match (reply.status, text("status")) {
        (200..=299, "success") => Ok(()),
        (401..=403 | 300..=399, _) => reply.sort(answer::is_own_error).map(|_| ()),
        (_, "error") if says_not_found => Err(PlatformError::NotFound),
        (404, _) if answer::is_own_error(&body) => Err(PlatformError::NotFound),
        (status, _) => Err(PlatformError::Temporary(format!("{status}: {}", words::detail(text("message"))))),
    }
}

#[cfg(test)]
mod tests;
