//! ElevenLabs Agents (vendor's Python SDK of 2026-07, API description of 2025-08).
//!
//! An agent calls from a number that the customer imported, by the customer's own Twilio account or SIP trunk. ElevenLabs tells
//! neither ringing nor, reliably, how a call ended that nobody answered, and cannot hang up; the Twilio account can, where
//! its credentials are configured.
//!
//! `payload` puts a call in ElevenLabs' words and checks it, `answer` sorts the answer to the create request, `record` reads
//! conversations, `webhook` verifies and reads webhooks, `lookup` finds the conversation of an attempt in doubt, `carrier` asks
//! the Twilio account.

mod answer;
mod carrier;
mod lookup;
mod payload;
mod record;
mod webhook;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use url::Url;

use super::create::{CreateClient, result_label};
use super::read::ReadClient;
use super::*;
use crate::config::{PlatformConfig, Telephony};
use carrier::Carrier;

pub const NAME: &str = "elevenlabs";

const API_KEY: HeaderName = HeaderName::from_static("xi-api-key");
/// A conversation that is being processed for longer than this after its end is taken as it stands.
const PROCESSING_AT_MOST: TimeDelta = TimeDelta::minutes(30);
/// So long after the start of a call that failed unanswered, the webhook that says why may still come.
const WEBHOOK_WITHIN: TimeDelta = TimeDelta::minutes(3);

pub struct ElevenLabs {
    base_url: Url,
    api_key: HeaderValue,
    telephony: Telephony,
    carrier: Option<Carrier>,
    /// The operator says that the listing shows calls that nobody answered.
    lists_unanswered: bool,
    create: CreateClient,
    read: ReadClient,
    verifier: webhook::Verifier,
}

/// `Err` says why the platform is off.
pub fn from_config(config: &PlatformConfig) -> Result<Arc<dyn Platform>, String> {
    if config.api_key.is_empty() {
        return Err("ELEVENLABS_API_KEY is not set".into());
    }
    if config.base_url.cannot_be_a_base() {
        return Err("platforms.elevenlabs.base_url is not an http(s) address".into());
    }
    let mut api_key = HeaderValue::from_str(config.api_key.expose())
        .map_err(|_| "ELEVENLABS_API_KEY holds characters that no HTTP header can")?;
    api_key.set_sensitive(true);
    let telephony = config.telephony.unwrap_or(Telephony::Twilio);
    // A trunk's calls are not in that account: there it would prove what is not so.
    let carrier = match telephony {
        Telephony::Twilio => Carrier::from_config(config)?,
        Telephony::SipTrunk => None,
    };
    let off = |error: reqwest::Error| format!("its HTTP client cannot be made: {error}");
    Ok(Arc::new(ElevenLabs {
        base_url: config.base_url.clone(),
        api_key,
        telephony,
        carrier,
        lists_unanswered: config.lists_unanswered_calls.unwrap_or(false),
        create: CreateClient::new(config.connect_timeout, config.request_timeout).map_err(off)?,
        read: ReadClient::new(NAME, config.connect_timeout, config.request_timeout).map_err(off)?,
        verifier: webhook::Verifier::new(&config.webhook_secret),
    }))
}

#[async_trait]
impl Platform for ElevenLabs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // Only a poll of the carrier may happen to see it.
            reports_ringing: false,
            lookup: LookupBy::Metadata,
            proves_absence: self.lists_unanswered || self.carrier.is_some(),
            reports_transcript: true,
            webhook_per_call: false,
            can_cancel_queued: self.carrier.is_some(),
            can_end: self.carrier.is_some(),
            media_stream: false,
        }
    }

    fn format_payload(&self, request: &CallRequest) -> Result<Payload, Vec<FieldError>> {
        let path = match self.telephony {
            Telephony::Twilio => "/v1/convai/twilio/outbound-call",
            Telephony::SipTrunk => "/v1/convai/sip-trunk/outbound-call",
        };
        payload::format(request, path)
    }

    fn validate_payload(&self, payload: &Payload) -> Result<(), Vec<FieldError>> {
        payload::validate(payload)
    }

    fn preview(&self, payload: &Payload) -> RequestPreview {
        let headers = [("content-type", payload.encode().1), ("xi-api-key", "[secret]")];
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
        let mut record = match self.conversation("status", &call.id).await {
            Ok(record) => record,
            // Whether a call that nobody answered leaves a conversation is not known.
            Err(PlatformError::NotFound) if self.sid(call, None).is_some() => {
                json!({ "conversation_id": call.id, "status": "initiated" })
            }
            Err(error) => return Err(error),
        };
        if record::status(&record) == "processing" && is_long_over(&record) {
            record["status"] = json!("done");
        }
        let mut update = record::read(&record, &self.base_url);
        update.platform_call_id = Some(call.id.clone());
        let unsettled = matches!(update.state, Some(AttemptState::Placed | AttemptState::Failed));
        if unsettled && !record::was_answered(&record) && record::call_result(&record).is_none() {
            self.settle(call, &record, &mut update).await?;
        }
        Ok(update)
    }

    async fn end_call(&self, call: &PlacedCall) -> Result<(), PlatformError> {
        let Some(carrier) = &self.carrier else { return Err(PlatformError::Unsupported) };
        if let Some(sid) = call.handles.get(answer::CALL_SID) {
            return carrier.end(sid).await;
        }
        let record = self.conversation("end", &call.id).await?;
        match record::call_sid(&record) {
            Some(sid) => carrier.end(sid).await,
            None => Err(PlatformError::Temporary("the conversation does not show its carrier's id yet".into())),
        }
    }

    fn verify_webhook(&self, headers: &HeaderMap, _: &str, body: &[u8]) -> Result<VerifiedBy, SignatureError> {
        self.verifier.verify(headers, body, clock::now())
    }

    fn normalize_webhook(&self, body: &[u8]) -> Result<Vec<CallUpdate>, UnreadableWebhook> {
        webhook::normalize(body, &self.base_url)
    }

    async fn probe(&self) -> Result<(), PlatformError> {
        self.get("probe", &["v1", "convai", "conversations"], &[("page_size", "1")]).await.map(|_| ())
    }
}

impl ElevenLabs {
    fn headers(&self) -> HeaderMap {
        HeaderMap::from_iter([(API_KEY, self.api_key.clone())])
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

    async fn conversation(&self, operation: &'static str, id: &str) -> Result<Value, PlatformError> {
        if !words::is_plausible_id(id) {
            return Err(PlatformError::NotFound);
        }
        let record = self.get(operation, &["v1", "convai", "conversations", id], &[]).await?;
        // Somebody else's answer (a cache, a proxy) says nothing about this call.
        match words::call_id(&record, "conversation_id") {
            Some(told) if told == id => Ok(record),
            _ => Err(PlatformError::Temporary("the answer is about another conversation, or about none".into())),
        }
    }

    /// The carrier's id of the call, where the carrier can be asked.
    fn sid<'a>(&self, call: &'a PlacedCall, record: Option<&'a Value>) -> Option<&'a str> {
        self.carrier.as_ref()?;
        call.handles.get(answer::CALL_SID).map(String::as_str).or_else(|| record::call_sid(record?))
    }

    /// ElevenLabs' own words tell a busy line from a silent one badly: the carrier's tell it well. Without the carrier, a failure
    /// without a reason is not believed while the webhook that has the reason may be under way: an end is never left again.
    async fn settle(&self, call: &PlacedCall, record: &Value, update: &mut CallUpdate) -> Result<(), PlatformError> {
        let failed = update.state == Some(AttemptState::Failed);
        if let (Some(carrier), Some(sid)) = (&self.carrier, self.sid(call, Some(record))) {
            match carrier.state(sid).await {
                // A live line under a failed conversation: the line's end is told later.
                Ok(Some(state)) if state.is_outcome() || !failed => {
                    update.state = Some(state);
                    update.reason = (state == AttemptState::Failed).then(|| "provider_error".to_owned());
                    return Ok(());
                }
                Ok(_) => return Ok(()),
                Err(error @ PlatformError::Temporary(_)) if failed => return Err(error),
                Err(PlatformError::Temporary(_) | PlatformError::NotFound) => return Ok(()),
                Err(error) => tracing::warn!(%error, "the Twilio account of elevenlabs' numbers cannot be asked"),
            }
        }
        let is_young = record::began_at(record).is_some_and(|began| clock::now() - began < WEBHOOK_WITHIN);
        if failed && is_young && !self.verifier.is_silent() {
            update.state = None;
            update.reason = None;
        }
        Ok(())
    }
}

fn is_long_over(record: &Value) -> bool {
    record::began_at(record).is_some_and(|began| {
        let talked = TimeDelta::seconds(record::duration(record).unwrap_or_default());
        clock::now() - began - talked > PROCESSING_AT_MOST
    })
}
