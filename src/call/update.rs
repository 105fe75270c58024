//! What a platform tells about a call, in our words. Webhooks, the poller and the reconciler all speak it.

use std::borrow::Cow;
use std::time::Duration;

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
    /// The person asked not to be called any more, or the platform keeps the number on a do-not-call list: the number goes
    /// onto ours, and what is queued for it is cancelled, in the transaction that applies this update.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opt_out: bool,
    /// With `failed`: the platform itself took the call back before it dialled, for want of a free line. That is no outcome
    /// of the person's: the call is sent again after this long, which doubles with each try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resend_after: Option<Duration>,
    /// Told before the platform had worked out what the call costs: such a cost does not replace one that was reported.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub early_cost: bool,
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

impl CallUpdate {
    /// The update as it stands beside what is known of who answered: platforms tell "ended" and "a machine answered" apart, in
    /// any order. Where the update itself says who answered, it has decided already.
    ///
    /// A machine that is told of after the end stays a fact: an outcome is never left.
    pub fn joined(&self, answered_by: Option<&str>) -> Cow<'_, CallUpdate> {
        let (AttemptState::Completed, None) = (self.state.unwrap_or(AttemptState::Sending), &self.facts.answered_by)
        else {
            return Cow::Borrowed(self);
        };
        match answered_by {
            Some("voicemail") => Cow::Owned(Self { state: Some(AttemptState::Voicemail), ..self.clone() }),
            Some("fax") => {
                let reason = Some("fax".to_owned());
                Cow::Owned(Self { state: Some(AttemptState::Failed), reason, ..self.clone() })
            }
            _ => Cow::Borrowed(self),
        }
    }
}

impl Facts {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(answered_by: Option<&str>) -> CallUpdate {
        let facts = Facts { answered_by: answered_by.map(str::to_owned), ..Facts::default() };
        CallUpdate { state: Some(AttemptState::Completed), facts, ..CallUpdate::default() }
    }

    #[test]
    fn an_end_and_who_answered_decide_together() {
        let state = |told: CallUpdate, known| told.joined(known).state;
        assert_eq!(state(ended(None), Some("voicemail")), Some(AttemptState::Voicemail));
        assert_eq!(state(ended(None), Some("fax")), Some(AttemptState::Failed));
        assert_eq!(ended(None).joined(Some("fax")).reason.as_deref(), Some("fax"));
        for known in [None, Some("human"), Some("unknown")] {
            assert_eq!(state(ended(None), known), Some(AttemptState::Completed), "{known:?}");
        }
        assert_eq!(state(ended(Some("human")), Some("voicemail")), Some(AttemptState::Completed), "it says so itself");
        let busy = CallUpdate { state: Some(AttemptState::Busy), ..CallUpdate::default() };
        assert_eq!(state(busy, Some("voicemail")), Some(AttemptState::Busy));
    }
}
