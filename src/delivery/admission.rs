//! What an accepted job becomes: a call that is due, one that waits, or one that could never be sent.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::call::config::{CallingWindow, Mode};
use crate::call::{CallRequest, CallStatus, FieldError, VoiceConfig, window};
use crate::config::Config;
use crate::job::{CallData, Job};
use crate::platforms::{Payload, PlatformRegistry};
use crate::store::accept::{JobKeyRow, NewCall, StoredRequest};

/// What acceptance knows beside the job itself.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The configuration that the job names or brings; `Err` with the name when there is none of that name.
    pub voice_config: Result<VoiceConfig, String>,
    /// `queue` or `api`.
    pub source: &'static str,
    pub tenant: Option<String>,
    /// FIFO queues: queue and message group, and SQS's sequence number.
    pub order: Option<(String, String)>,
    pub now: DateTime<Utc>,
}

/// Delivers messages by voice.
pub struct VoiceDelivery {
    registry: PlatformRegistry,
    countries: Vec<String>,
    default_window: Option<CallingWindow>,
    public_url: Option<String>,
    outcome_queue: Option<String>,
}

/// A call that cannot be sent as it is: `rejected` or `expired`, or `scheduled` for later.
struct Held {
    status: CallStatus,
    reason: &'static str,
    detail: String,
    until: Option<DateTime<Utc>>,
}

impl Held {
    fn rejected(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { status: CallStatus::Rejected, reason, detail: detail.into(), until: None }
    }
}

impl VoiceDelivery {
    pub fn new(registry: PlatformRegistry, config: &Config) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self {
            registry,
            countries: config.policy.countries.clone(),
            default_window: window::parse(&config.policy.calling_window)?,
            public_url: config.public_url().map(str::to_owned),
            outcome_queue: config.outcome_queue().map(str::to_owned),
        }))
    }

    pub fn registry(&self) -> &PlatformRegistry {
        &self.registry
    }

    /// The rows of one job. What could never be sent is `rejected` here, with the reason, and costs no platform anything.
    pub fn prepare(&self, job: &Job, data: &CallData, admission: Admission) -> NewCall {
        let now = admission.now;
        let (config, missing) = match admission.voice_config {
            Ok(config) => (config, None),
            Err(name) => (unknown_config(), Some(name)),
        };
        let id = Uuid::now_v7();
        let request = StoredRequest {
            content: data.content.clone().or_else(|| config.content.clone()).unwrap_or_default(),
            lead_name: data.lead.name.clone(),
            timezone: data.lead.timezone.clone(),
            voice_config: config,
        };
        let held = match missing {
            Some(name) => {
                Some(Held::rejected("unknown_voice_config", format!("there is no stored voice configuration {name:?}")))
            }
            None => self.hold(data, &request, id, now),
        };
        let status = held.as_ref().map_or(CallStatus::Accepted, |held| held.status);
        let config = &request.voice_config;
        let platforms = std::iter::once(&config.platform).chain(&config.fallback_platforms).cloned().collect();
        NewCall {
            id,
            thread_message_id: Uuid::now_v7(),
            key: JobKeyRow::new(&job.key, &job.content_hash),
            status,
            status_reason: held.as_ref().map(|held| held.reason.to_owned()),
            scheduled_for: held.as_ref().and_then(|held| held.until),
            status_detail: held.map(|held| held.detail),
            status_source: admission.source,
            platform: config.platform.clone(),
            platforms,
            to_number: data.lead.phone_number.clone(),
            lead_id: data.lead.id.clone(),
            user_id: data.user.as_ref().map(|user| user.id.clone()),
            tenant: admission.tenant.or_else(|| data.user.as_ref().map(|user| user.id.clone())),
            metadata: data.metadata.clone(),
            outcome_url: config
                .webhook_config
                .as_ref()
                .and_then(|webhook| webhook.url.as_ref())
                .map(ToString::to_string),
            outcome_queue: self.outcome_queue.clone(),
            not_before: data.not_before,
            expires_at: data.expires_at,
            order_key: admission.order.as_ref().map(|(key, _)| key.clone()),
            order_seq: admission.order.map(|(_, sequence)| sequence),
            traceparent: job.traceparent.clone(),
            message_type: data.message_type.clone(),
            request,
        }
    }

    fn hold(&self, data: &CallData, request: &StoredRequest, call_id: Uuid, now: DateTime<Utc>) -> Option<Held> {
        if let Some(held) = self.unsendable(data, request, call_id) {
            return Some(held);
        }
        if data.expires_at.is_some_and(|at| at <= now) {
            let detail = "expires_at had passed when it was accepted".to_owned();
            return Some(Held { status: CallStatus::Expired, reason: "expired", detail, until: None });
        }
        let start = data.not_before.filter(|at| *at > now);
        match self.next_open(request, start.unwrap_or(now)) {
            Err((reason, detail)) => Some(Held::rejected(reason, detail)),
            Ok(open) if open > start.unwrap_or(now) => {
                let detail = format!("the calling window opens at {}", open.format("%Y-%m-%dT%H:%M:%SZ"));
                Some(Held { status: CallStatus::Scheduled, reason: "window", detail, until: Some(open) })
            }
            Ok(_) => start.map(|at| {
                let detail = format!("not before {}", at.format("%Y-%m-%dT%H:%M:%SZ"));
                Held { status: CallStatus::Scheduled, reason: "not_before", detail, until: Some(at) }
            }),
        }
    }

    fn unsendable(&self, data: &CallData, request: &StoredRequest, call_id: Uuid) -> Option<Held> {
        let config = &request.voice_config;
        for name in std::iter::once(&config.platform).chain(&config.fallback_platforms) {
            let platform = match self.registry.get(name) {
                Ok(platform) => platform,
                Err(unavailable) => return Some(Held::rejected(unavailable.reason(), unavailable.to_string())),
            };
            if config.mode == Mode::Live && !platform.capabilities().media_stream {
                let detail = format!("mode is live, and {name} has no media stream to connect a session to");
                return Some(Held::rejected("mode_not_supported", detail));
            }
        }
        let country = data.lead.phone_number.country();
        if !country.as_ref().is_some_and(|country| self.countries.contains(country)) {
            let country = country.as_deref().unwrap_or("no country");
            let detail = format!("the number is of {country}; policy.countries allows {}", self.countries.join(", "));
            return Some(Held::rejected("country_not_allowed", detail));
        }
        let platform = &config.platform;
        let probe = self.call_request(
            request,
            call_id,
            Uuid::nil(),
            platform,
            data.lead.phone_number.clone(),
            data.metadata.clone(),
        );
        self.payload(platform, &probe).err().map(|problems| {
            let list = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Held::rejected("invalid_payload", format!("{platform} would refuse it: {list}"))
        })
    }

    /// When this request may be sent, at `from` or later.
    ///
    /// Fails closed: a window without a time zone to read it in is an error.
    pub fn next_open(
        &self,
        request: &StoredRequest,
        from: DateTime<Utc>,
    ) -> Result<DateTime<Utc>, (&'static str, String)> {
        let Some(window) = request.voice_config.calling_window.as_ref().or(self.default_window.as_ref()) else {
            return Ok(from);
        };
        let zone = request.timezone.as_deref().ok_or((
            "timezone_unknown",
            "a calling window applies, and lead.timezone does not say where the person is".to_owned(),
        ))?;
        let zone = zone.parse().map_err(|_| ("timezone_unknown", format!("{zone:?} is not an IANA time zone")))?;
        window::next_open(window, zone, from)
            .ok_or(("window_never_opens", "the calling window names no day".to_owned()))
    }

    /// The platform's payload of one attempt, formatted and validated.
    pub fn payload(&self, platform: &str, request: &CallRequest) -> Result<Payload, Vec<FieldError>> {
        let platform = self
            .registry
            .get(platform)
            .map_err(|unavailable| vec![FieldError::new("/platform", unavailable.to_string())])?;
        let payload = platform.format_payload(request)?;
        platform.validate_payload(&payload)?;
        Ok(payload)
    }

    /// One attempt's request, complete.
    pub fn call_request(
        &self,
        request: &StoredRequest,
        call_id: Uuid,
        attempt_id: Uuid,
        platform: &str,
        to: crate::call::PhoneNumber,
        metadata: serde_json::Map<String, serde_json::Value>,
    ) -> CallRequest {
        CallRequest {
            call_id,
            attempt_id,
            to,
            content: request.content.clone(),
            lead_name: request.lead_name.clone(),
            voice_config: request.voice_config.clone(),
            metadata,
            webhook_url: self.public_url.as_ref().map(|url| format!("{url}/webhooks/{platform}/{attempt_id}")),
        }
    }
}

/// Stands in the row of a job whose named configuration does not exist.
fn unknown_config() -> VoiceConfig {
    serde_json::from_value(serde_json::json!({ "platform": "unknown" }))
        .unwrap_or_else(|error| unreachable!("a constant: {error}"))
}
