//! Twilio Programmable Voice (twilio-oai of 2026-04, documentation of 2026-08).
//!
//! Twilio is telephony alone: what a call says is ours, given as TwiML or fetched from a `Url`. A Call resource carries nothing of
//! ours, so the attempt is named by the callback address, which Twilio signs.
//!
//! `payload` puts a call in Twilio's words and checks it (`twiml` makes what it says), `answer` sorts the answer to the create
//! request, `record` reads Call resources, `signature` and `webhook` verify and read callbacks, `lookup` finds the call of an
//! attempt in doubt.

mod answer;
mod lookup;
mod payload;
mod record;
mod signature;
mod twiml;
mod webhook;

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use url::Url;

use super::create::{CreateClient, result_label};
use super::read::{ReadClient, Reply};
use super::*;
use crate::config::PlatformConfig;

pub const NAME: &str = "twilio";

const VERSION: &str = "2010-04-01";

pub struct Twilio {
    base_url: Url,
    account_sid: String,
    authorization: HeaderValue,
    create: CreateClient,
    read: ReadClient,
    verifier: signature::Verifier,
}

/// `Err` says why the platform is off.
pub fn from_config(config: &PlatformConfig) -> Result<Arc<dyn Platform>, String> {
    Ok(Arc::new(Twilio::new(config)?))
}

#[async_trait]
impl Platform for Twilio {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reports_ringing: true,
            lookup: LookupBy::Window,
            proves_absence: true,
            reports_transcript: false,
            webhook_per_call: true,
            can_cancel_queued: true,
            can_end: true,
            media_stream: false,
        }
    }

    fn format_payload(&self, request: &CallRequest) -> Result<Payload, Vec<FieldError>> {
        payload::format(request, self.path("Calls.json"))
    }

    fn validate_payload(&self, payload: &Payload) -> Result<(), Vec<FieldError>> {
        payload::validate(payload)
    }

    fn preview(&self, payload: &Payload) -> RequestPreview {
        let headers = [("authorization", "Basic [secret]"), ("content-type", payload.encode().1)];
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
        let mut update = record::read(&self.fetch("status", &call.id).await?);
        update.platform_call_id = Some(call.id.clone());
        Ok(update)
    }

    async fn end_call(&self, call: &PlacedCall) -> Result<(), PlatformError> {
        self.set_status(&call.id, "completed").await
    }

    async fn cancel_queued(&self, call: &PlacedCall) -> Result<(), PlatformError> {
        // Twilio leaves a call that was answered meanwhile alone.
        self.set_status(&call.id, "canceled").await
    }

    fn verify_webhook(&self, headers: &HeaderMap, url: &str, body: &[u8]) -> Result<VerifiedBy, SignatureError> {
        self.verifier.verify(headers, url, body)
    }

    fn signs_address(&self) -> bool {
        true
    }

    fn normalize_webhook(&self, body: &[u8]) -> Result<Vec<CallUpdate>, UnreadableWebhook> {
        webhook::normalize(body, &self.account_sid)
    }

    async fn probe(&self) -> Result<(), PlatformError> {
        let url = address::of_path(&self.base_url, &format!("/{VERSION}/Accounts/{}.json", self.account_sid));
        let account = self.get("probe", url).await?;
        match account.get("status").and_then(Value::as_str) {
            Some(status @ ("suspended" | "closed")) => {
                Err(PlatformError::Permanent(format!("the account is {status}")))
            }
            _ => Ok(()),
        }
    }
}

impl Twilio {
    fn new(config: &PlatformConfig) -> Result<Self, String> {
        if config.api_key.is_empty() {
            return Err("TWILIO_AUTH_TOKEN is not set".into());
        }
        let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let account_sid = set(&config.account_sid).ok_or("TWILIO_ACCOUNT_SID is not set")?;
        if !words::is_plausible_id(&account_sid) {
            return Err("TWILIO_ACCOUNT_SID is no account's SID, expected AC and 32 hex digits".into());
        }
        if config.base_url.cannot_be_a_base() {
            return Err("platforms.twilio.base_url is not an http(s) address".into());
        }
        let api_key_sid = set(&config.api_key_sid);
        let user = api_key_sid.as_deref().unwrap_or(&account_sid);
        let credentials = BASE64_STANDARD.encode(format!("{user}:{}", config.api_key.expose()));
        let mut authorization = HeaderValue::from_str(&format!("Basic {credentials}"))
            .map_err(|_| "TWILIO_AUTH_TOKEN holds characters that no HTTP header can")?;
        authorization.set_sensitive(true);
        // Twilio signs with the auth token; an API key's secret verifies nothing.
        let own_token = if api_key_sid.is_none() { std::slice::from_ref(&config.api_key) } else { &[] };
        let given = config.webhook_secret.iter().any(|secret| !secret.is_empty());
        let off = |error: reqwest::Error| format!("its HTTP client cannot be made: {error}");
        Ok(Self {
            base_url: config.base_url.clone(),
            account_sid,
            authorization,
            create: CreateClient::new(config.connect_timeout, config.request_timeout).map_err(off)?,
            read: ReadClient::new(NAME, config.connect_timeout, config.request_timeout).map_err(off)?,
            verifier: signature::Verifier::new(if given { &config.webhook_secret } else { own_token }),
        })
    }

    fn headers(&self) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, self.authorization.clone())])
    }

    /// Below the base address, e.g. `Calls.json`.
    fn path(&self, resource: &str) -> String {
        format!("/{VERSION}/Accounts/{}/{resource}", self.account_sid)
    }

    fn address(&self, resource: &[&str], query: &[(&str, &str)]) -> Url {
        let path: Vec<&str> = [VERSION, "Accounts", &self.account_sid].iter().chain(resource).copied().collect();
        address::below(&self.base_url, &path, query)
    }

    async fn get(&self, operation: &'static str, url: Url) -> Result<Value, PlatformError> {
        self.read.get(operation, url, self.headers()).await?.sort(answer::is_own_error)
    }

    async fn fetch(&self, operation: &'static str, sid: &str) -> Result<Value, PlatformError> {
        let resource = call_resource(sid)?;
        let call = self.get(operation, self.address(&["Calls", &resource], &[])).await?;
        // Somebody else's answer (a cache, a proxy) says nothing about this call.
        if record::sid(&call) == Some(sid) {
            Ok(call)
        } else {
            Err(PlatformError::Temporary("the answer is about another call, or about none".into()))
        }
    }

    async fn set_status(&self, sid: &str, status: &'static str) -> Result<(), PlatformError> {
        let url = self.address(&["Calls", &call_resource(sid)?], &[]);
        let mut headers = self.headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let reply = self.read.post("end", url, headers, Some(format!("Status={status}").into())).await?;
        sort_stop(&reply)
    }
}

/// The last part of a call's path, checked: an id must not lead elsewhere.
fn call_resource(sid: &str) -> Result<String, PlatformError> {
    if record::is_call_sid(sid) { Ok(format!("{sid}.json")) } else { Err(PlatformError::NotFound) }
}

/// 21220: the call is not in progress any more (docs api/errors): there is no such live call.
fn sort_stop(reply: &Reply) -> Result<(), PlatformError> {
    let over = reply.status == 400 && reply.json().as_ref().and_then(answer::error_code) == Some(21220);
    if over { Err(PlatformError::NotFound) } else { reply.sort(answer::is_own_error).map(|_| ()) }
}

#[cfg(test)]
mod tests;
