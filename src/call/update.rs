//! What a platform tells about a call, in our words. Webhooks, the poller and the reconciler all speak it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::money::Money;
use super::status::AttemptState;

/// One report about one call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CallUpdate {
    /// From the metadata that we sent along; the strongest correlation.
    pub attempt_id: Option<Uuid>,
    pub platform_call_id: Option<String>,
    /// `None`: facts only.
    pub state: Option<AttemptState>,
    /// Why, in our vocabulary (`spam_blocked`, `invalid_number`, …); goes into `status_reason`.
    pub reason: Option<String>,
    /// The platform's own words for the state, kept as they came.
    pub raw_status: Option<String>,
    /// When it happened, where the platform says.
    pub occurred_at: Option<DateTime<Utc>>,
    pub facts: Facts,
}

/// What only fills columns, also after the end of a call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub duration_seconds: Option<i32>,
    pub cost: Option<Money>,
    /// `human`, `voicemail`, or the platform's word.
    pub answered_by: Option<String>,
    /// Who hung up: `assistant`, `user`, or the platform's word.
    pub ended_by: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub recording_url: Option<String>,
    /// Array of `{speaker, text, at?}`.
    pub transcript: Option<Value>,
    pub summary: Option<String>,
    pub disposition: Option<String>,
    /// The platform's error text, as it came.
    pub error_message: Option<String>,
}

impl Facts {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
