//! Live sessions: limits, times, retention.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration;

/// See `default.toml` for what each one means.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    pub max_per_user: u32,
    pub max_in_all: u32,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub ticket_lifetime: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub idle_timeout: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub longest_session: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub replica_lost_after: Duration,
    pub max_uploads: usize,
    pub max_upload_bytes: usize,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub longest_upload: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub keep_audio: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub keep_sessions: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub purge_interval: Duration,
}

/// Beyond this a lost replica's sessions would not fail within the 30 seconds that are promised.
const LATEST_LOSS: Duration = Duration::from_secs(25);
/// Sound is held in memory, for every upload that is under way.
const MOST_UPLOAD_BYTES: usize = 64 * 1024 * 1024;

impl Sessions {
    /// How often a replica says that it lives: three beats may be late before its sessions are given up.
    pub fn heartbeat(&self, lease: Duration) -> Duration {
        (lease / 3).min(self.replica_lost_after / 4)
    }

    /// What types alone cannot judge: the key below `sessions`, and what is wrong.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        for (key, value) in [("max_per_user", self.max_per_user), ("max_in_all", self.max_in_all)] {
            if value == 0 {
                return Some((key, "is 0, expected at least 1".into()));
            }
        }
        if self.max_uploads == 0 {
            return Some(("max_uploads", "is 0, expected at least 1".into()));
        }
        for (key, value) in [
            ("ticket_lifetime", self.ticket_lifetime),
            ("idle_timeout", self.idle_timeout),
            ("longest_session", self.longest_session),
            ("longest_upload", self.longest_upload),
            ("purge_interval", self.purge_interval),
            ("replica_lost_after", self.replica_lost_after),
        ] {
            if value.is_zero() {
                return Some((key, "is zero, expected a positive duration".into()));
            }
        }
        if self.replica_lost_after > LATEST_LOSS {
            return Some(("replica_lost_after", format!("is longer than {}", duration::format(LATEST_LOSS))));
        }
        if !(1024..=MOST_UPLOAD_BYTES).contains(&self.max_upload_bytes) {
            return Some(("max_upload_bytes", format!("is not from 1024 to {MOST_UPLOAD_BYTES}")));
        }
        if !self.keep_sessions.is_zero() && self.keep_audio > self.keep_sessions {
            let problem = format!("sound goes with its session after {}", duration::format(self.keep_sessions));
            return Some(("keep_audio", format!("is longer than keep_sessions: {problem}")));
        }
        None
    }
}
