//! Vapi (vendor's OpenAPI document of 2026-08-19, docs of 2026-08-20).
//!
//! `payload` puts a call in Vapi's words and checks it by `fields`, `answer` sorts the answer to the create request, `record`
//! and `reason` read Call objects, `webhook` verifies and reads webhooks, `lookup` finds the call of an attempt in doubt.
//!
//! "Created" is not "dialled" here: see `answer` for the account's limit of concurrent calls.

mod answer;
mod fields;
mod lookup;
mod payload;
mod reason;
mod record;
mod webhook;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use url::Url;

use super::address::{below, of_path};
use super::create::{CreateClient, result_label};
use super::read::ReadClient;
use super::*;
use crate::config::{PlatformConfig, Secret, WebhookAuth};
use record::OnUnknown;

pub const NAME: &str = "vapi";

/// A call that Vapi holds back for want of a line, and that it has not dialled after so long, is taken back.
const HELD_BACK_FOR: TimeDelta = TimeDelta::seconds(20);

pub struct Vapi {
    base_url: Url,
    authorization: HeaderValue,
    create: CreateClient,
    read: ReadClient,
    verifier: webhook::Verifier,
    /// Vapi's id of the credential that authenticates its webhooks.
    credential_id: Option<String>,
    /// Goes into the request itself where webhooks carry the plain secret; put in at the last moment, so that no preview and
    /// no stored payload holds it.
    inline_secret: Option<Secret>,
}

/// `Err` says why the platform is off.
pub fn from_config(config: &PlatformConfig) -> Result<Arc<dyn Platform>, String> {
    if config.api_key.is_empty() {
        return Err("VAPI_API_KEY is not set".into());
    }
    if config.base_url.cannot_be_a_base() {
        return Err("platforms.vapi.base_url is not an http(s) address".into());
    }
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", config.api_key.expose()))
        .map_err(|_| "VAPI_API_KEY holds characters that no HTTP header can")?;
    authorization.set_sensitive(true);
    let off = |error: reqwest::Error| format!("its HTTP client cannot be made: {error}");
    let auth = config.webhook_auth.unwrap_or(WebhookAuth::Hmac);
    let credential_id = config.webhook_credential_id.clone().filter(|id| !id.is_empty());
    let inline = auth == WebhookAuth::Secret && credential_id.is_none();
    Ok(Arc::new(Vapi {
        base_url: config.base_url.clone(),
        authorization,
        create: CreateClient::new(config.connect_timeout, config.request_timeout).map_err(off)?,
        read: ReadClient::new(NAME, config.connect_timeout, config.request_timeout).map_err(off)?,
        verifier: webhook::Verifier::new(auth, &config.webhook_secret),
        credential_id,
        inline_secret: config.webhook_secret.iter().find(|secret| inline && !secret.is_empty()).cloned(),
    }))
}

#[async_trait]
impl Platform for Vapi {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reports_ringing: true,
            lookup: LookupBy::Window,
            proves_absence: true,
            reports_transcript: true,
            webhook_per_call: true,
            // Whether a control address works before the call is answered is not documented.
            can_cancel_queued: false,
            can_end: true,
            media_stream: false,
        }
    }

    fn format_payload(&self, request: &CallRequest) -> Result<Payload, Vec<FieldError>> {
        payload::format(request, self.credential_id.as_deref())
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
        let (body, media_type) = self.with_secret(payload).encode();
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
        if call.handles.contains_key(answer::BLOCKED) {
            return self.held_back(call).await;
        }
        let mut update = record::read(&self.call("status", &call.id).await?, OnUnknown::AskAgain);
        if update.state.is_none() {
            // An end without a reason counts only when it is said twice.
            update = record::read(&self.call("status", &call.id).await?, OnUnknown::Failed);
        }
        update.platform_call_id = Some(call.id.clone());
        Ok(update)
    }

    /// By the call's own control address, which needs no key of ours and gets none.
    async fn end_call(&self, call: &PlacedCall) -> Result<(), PlatformError> {
        let kept = call.handles.get(answer::CONTROL_URL).cloned();
        let address = match kept {
            Some(address) => address,
            None => {
                let found = self.call("end", &call.id).await?;
                if record::status(&found) == "ended" {
                    return Err(PlatformError::Permanent("the call has ended".into()));
                }
                let address = answer::control_url(&found).map(str::to_owned);
                address.ok_or_else(|| PlatformError::Temporary("the call has no control address (yet)".into()))?
            }
        };
        let url = self.control_address(&address)?;
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let reply = self.read.post("end", url, headers, Some(r#"{"type":"end-call"}"#.into())).await?;
        match reply.status {
            200..=299 => Ok(()),
            // Not live any more, or not yet: the call itself knows.
            404 | 409 | 410 if record::status(&self.call("end", &call.id).await?) == "ended" => {
                Err(PlatformError::Permanent("the call has ended".into()))
            }
            401 | 403 => Err(PlatformError::Permanent(
                "the call's control address wants a key: controlAuthenticationEnabled must be off".into(),
            )),
            300..=399 => Err(PlatformError::Permanent("the call's control address redirects".into())),
            status => Err(PlatformError::Temporary(format!("the call's control address answered {status}"))),
        }
    }

    fn verify_webhook(&self, headers: &HeaderMap, _: &str, body: &[u8]) -> Result<VerifiedBy, SignatureError> {
        self.verifier.verify(headers, body, clock::now())
    }

    fn normalize_webhook(&self, body: &[u8]) -> Result<Vec<CallUpdate>, UnreadableWebhook> {
        webhook::normalize(body)
    }

    fn keepable<'a>(&self, body: &'a [u8]) -> Cow<'a, [u8]> {
        webhook::without_secrets(body).map_or(Cow::Borrowed(body), Cow::Owned)
    }

    async fn probe(&self) -> Result<(), PlatformError> {
        self.get("probe", &["call"], &[("limit", "1")]).await.map(|_| ())
    }
}

impl Vapi {
    fn headers(&self) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, self.authorization.clone())])
    }

    fn with_secret<'a>(&self, payload: &'a Payload) -> Cow<'a, Payload> {
        let Some(secret) = &self.inline_secret else { return Cow::Borrowed(payload) };
        let mut payload = payload.clone();
        for key in payload::OVERRIDE_KEYS {
            let server = payload.fields.get_mut(*key).and_then(|overrides| overrides.get_mut("server"));
            if let Some(Value::Object(server)) = server {
                server.insert("secret".into(), secret.expose().into());
            }
        }
        Cow::Owned(payload)
    }

    async fn get(
        &self,
        operation: &'static str,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, PlatformError> {
        let reply = self.read.get(operation, below(&self.base_url, path, query), self.headers()).await?;
        reply.sort(answer::is_own_error)
    }

    async fn call(&self, operation: &'static str, id: &str) -> Result<Value, PlatformError> {
        if !words::is_plausible_id(id) {
            return Err(PlatformError::NotFound);
        }
        self.get(operation, &["call", id], &[]).await
    }

    /// A call that Vapi said is blocked by the limit of concurrent calls. It may be dialled when a line is free, so it is not
    /// simply sent again: either it goes on like any other, or it is gone, or it waits, and then it is taken back (`DELETE`) after a
    /// while. Only what Vapi itself shows to be undialled and gone is sent again.
    async fn held_back(&self, placed: &PlacedCall) -> Result<CallUpdate, PlatformError> {
        let call = match self.call("status", &placed.id).await {
            Ok(call) => call,
            Err(PlatformError::NotFound) => return Ok(taken_back(&placed.id, "it is not known any more")),
            Err(error) => return Err(error),
        };
        let waits = record::is_undialled(&call)
            && record::time(&call, "createdAt").is_some_and(|made| clock::now() - made >= HELD_BACK_FOR);
        if !waits {
            let mut update = record::read(&call, OnUnknown::AskAgain);
            update.platform_call_id = Some(placed.id.clone());
            return Ok(update);
        }
        let url = below(&self.base_url, &["call", &placed.id], &[]);
        let reply = self.read.delete("end", url, self.headers()).await?;
        match reply.sort(answer::is_own_error) {
            // The answer is the call as it was when it was deleted: a line may have become free meanwhile.
            Ok(deleted) if record::is_undialled(&deleted) => {
                Ok(taken_back(&placed.id, "it was deleted while it waited"))
            }
            Ok(deleted) => {
                let mut update = record::read(&deleted, OnUnknown::AskAgain);
                update.platform_call_id = Some(placed.id.clone());
                Ok(update)
            }
            Err(PlatformError::NotFound) => Ok(taken_back(&placed.id, "it is not known any more")),
            Err(error) => Err(error),
        }
    }

    /// The address comes from outside: https, or where the API itself is (a simulator).
    fn control_address(&self, text: &str) -> Result<Url, PlatformError> {
        let refused = || PlatformError::Permanent("the call's control address is not one to send to".into());
        let url = Url::parse(text).map_err(|_| refused())?;
        let plain = url.username().is_empty() && url.password().is_none() && url.host().is_some();
        let is_ours = url.origin() == self.base_url.origin();
        if plain && (url.scheme() == "https" || is_ours) { Ok(url) } else { Err(refused()) }
    }
}

/// See [`CallUpdate::resend_after`].
fn taken_back(id: &str, why: &str) -> CallUpdate {
    CallUpdate {
        platform_call_id: Some(id.to_owned()),
        state: Some(AttemptState::Failed),
        reason: Some("provider_capacity".into()),
        raw_status: Some(format!("concurrencyBlocked; {why}")),
        resend_after: Some(answer::CAPACITY_WAIT),
        ..CallUpdate::default()
    }
}

#[cfg(test)]
mod tests;
