//! What an accepted job becomes: a call that is due, one that waits, or one that could never be sent.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::call::config::Mode;
use crate::call::policy::rules::Cap;
use crate::call::policy::{CallingPolicy, Hold, Refusal, When, zones_of};
use crate::call::{CallRequest, CallStatus, FieldError, PhoneNumber, VoiceConfig};
use crate::clock;
use crate::config::Config;
use crate::job::{CallData, Job};
use crate::platforms::{Payload, PlatformRegistry};
use crate::store::accept::{JobKeyRow, NewCall, StoredRequest};
use crate::store::leases::LeasedCall;

/// What acceptance knows beside the job itself.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The configuration that the job names or brings.
    pub voice_config: Result<VoiceConfig, UnknownConfig>,
    /// `queue` or `api`.
    pub source: &'static str,
    pub tenant: Option<String>,
    /// FIFO queues: queue and message group, and SQS's sequence number.
    pub order: Option<(String, String)>,
    pub now: DateTime<Utc>,
}

/// A job's named configuration is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownConfig(pub String);

impl UnknownConfig {
    fn held(self) -> Held {
        Held::rejected("unknown_voice_config", format!("there is no stored voice configuration {:?}", self.0))
    }
}

/// Delivers messages by voice.
pub struct VoiceDelivery {
    registry: PlatformRegistry,
    policy: CallingPolicy,
    /// The end of an open window is told when it is nearer than this: a right to send lasts no longer.
    lease: TimeDelta,
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
    /// The error names the setting.
    pub fn new(registry: PlatformRegistry, config: &Config) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self {
            registry,
            policy: super::policy::load(&config.policy)?,
            lease: TimeDelta::from_std(config.worker.lease).unwrap_or(TimeDelta::days(1)),
            public_url: config.public_url().map(str::to_owned),
            outcome_queue: config.outcome_queue().map(str::to_owned),
        }))
    }

    pub fn registry(&self) -> &PlatformRegistry {
        &self.registry
    }

    pub fn policy(&self) -> &CallingPolicy {
        &self.policy
    }

    /// The rows of one job. What could never be sent is `rejected` here, with the reason, and costs no platform anything.
    pub fn prepare(&self, job: &Job, data: &CallData, admission: Admission) -> NewCall {
        let now = admission.now;
        let (config, missing) = match admission.voice_config {
            Ok(config) => (config, None),
            Err(missing) => (unknown_config(), Some(missing)),
        };
        let id = Uuid::now_v7();
        let request = StoredRequest {
            content: data.content.clone().or_else(|| config.content.clone()).unwrap_or_default(),
            lead_name: data.lead.name.clone(),
            timezone: data.lead.timezone.clone(),
            voice_config: config,
        };
        let held = match missing {
            Some(missing) => Some(missing.held()),
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
        match self.when(request, &data.lead.phone_number, start.unwrap_or(now)) {
            Err(refusal) => Some(Held::rejected(refusal.reason, refusal.detail)),
            Ok(When::Closed(hold)) => Some(Held {
                status: CallStatus::Scheduled,
                reason: "window",
                detail: hold.text,
                until: Some(hold.until),
            }),
            Ok(When::Open { .. }) => start.map(|at| {
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
        if let Some(refusal) = self.policy.refuses(&data.lead.phone_number) {
            return Some(Held::rejected(refusal.reason, refusal.detail));
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

    /// Whether this request may be sent to this number at `at`, by the hours that hold for it.
    pub fn when(&self, request: &StoredRequest, to: &PhoneNumber, at: DateTime<Utc>) -> Result<When, Refusal> {
        let window = request.voice_config.calling_window.as_ref();
        self.policy.when(to, request.timezone.as_deref(), window, at, self.lease)
    }

    /// How often this number may be called, as `call_attempts.number_caps` has it.
    pub fn number_caps(&self, to: &PhoneNumber) -> Option<Value> {
        let caps = self.policy.caps(to);
        (!caps.is_empty()).then(|| caps.iter().map(Cap::as_row).collect())
    }

    /// How long a call waits whose number was called as often as its caps allow, and what its timeline says of it.
    pub fn too_often(&self, call: &LeasedCall, until: DateTime<Utc>) -> (Duration, String) {
        let caps: Vec<String> = self.policy.caps(&call.to).iter().map(ToString::to_string).collect();
        let zone = zones_of(&call.to, call.request.timezone.as_deref()).ok().and_then(|zones| zones.first().copied());
        let hold = Hold::new("frequency", Some(&format!("at most {}", caps.join(", "))), until, zone);
        ((until - clock::now()).to_std().unwrap_or_default(), hold.text)
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
        to: PhoneNumber,
        metadata: serde_json::Map<String, Value>,
    ) -> CallRequest {
        request.of_attempt((call_id, attempt_id), platform, to, metadata, self.public_url.as_deref())
    }
}

/// Stands in the row of a job whose named configuration does not exist.
fn unknown_config() -> VoiceConfig {
    serde_json::from_value(serde_json::json!({ "platform": "unknown" }))
        .unwrap_or_else(|error| unreachable!("a constant: {error}"))
}
