//! What is to be said to whom: our own request, before a platform puts it in its words.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::config::VoiceConfig;
use super::phone::PhoneNumber;

/// The person called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lead {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub id: Option<String>,
    pub phone_number: PhoneNumber,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub name: Option<String>,
    /// IANA time zone, e.g. `America/Los_Angeles`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// One attempt's request to a platform, complete: formatting it is a pure function.
#[derive(Debug, Clone)]
pub struct CallRequest {
    pub call_id: Uuid,
    /// Made before sending; travels in the platform's metadata and in the webhook address.
    pub attempt_id: Uuid,
    pub to: PhoneNumber,
    /// What the agent is to say or do; the job's own, or the voice configuration's.
    pub content: String,
    pub lead_name: Option<String>,
    pub voice_config: VoiceConfig,
    /// The producer's metadata.
    pub metadata: Map<String, Value>,
    /// `{public_url}/webhooks/{platform}/{attempt_id}`, or none where the daemon has no public address.
    pub webhook_url: Option<String>,
}

/// One thing wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the field, e.g. `/voice_config/platform_config/temperature`.
    pub pointer: String,
    /// What was wrong, what was expected.
    pub detail: String,
}

impl FieldError {
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }

    /// The same error seen from further out: `prefix` is put before its pointer.
    #[must_use]
    pub fn below(self, prefix: &str) -> Self {
        Self { pointer: format!("{prefix}{}", self.pointer), detail: self.detail }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.pointer, self.detail)
    }
}
