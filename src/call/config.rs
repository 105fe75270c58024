//! The voice configuration: on which platform, as whom, how long, when, how often.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{NaiveTime, Weekday};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::phone::PhoneNumber;
use super::status::{AttemptState, text_enum};

text_enum! {
    /// Who runs the conversation.
    Mode {
        /// The platform's own agent.
        Agent = "agent",
        /// A voxd session over the platform's media stream.
        Live = "live",
    }
}

text_enum! {
    /// What a proof of absence is worth after a doubt.
    Redial {
        /// Nothing: the call is parked as `unknown` for a person.
        Never = "never",
        /// A new attempt that names the evidence.
        AfterProof = "after_proof",
    }
}

/// Inline in a job, or stored under a name. All fields but `platform` may be absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VoiceConfig {
    /// Platform name, e.g. `bland_ai`.
    #[schemars(length(min = 1, max = 128))]
    pub platform: String,
    /// Tried in this order after a definite refusal or a proven non-send, never in doubt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub fallback_platforms: Vec<String>,
    /// What a fallback platform takes in place of `from_number`, `voice_id`, `language`, `platform_config` and
    /// `webhook_config.events`, by its name. Without an entry it takes the first three as they stand, and nothing of the rest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fallback_configs: BTreeMap<String, FallbackConfig>,
    /// The number that calls, E.164.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from_number: Option<PhoneNumber>,
    /// Used where the job brings no content of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50_000))]
    pub content: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub voice_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub language: Option<String>,
    /// Minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 720))]
    pub max_duration: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_call: Option<bool>,
    /// Passed to the formatter of `platform`, in the vendor's own spelling.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub platform_config: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_config: Option<WebhookConfig>,
    #[serde(default = "default_mode")]
    pub mode: Mode,
    #[serde(default = "default_redial")]
    pub redial: Redial,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calling_window: Option<CallingWindow>,
}

/// What differs from vendor to vendor: numbers, voices and options of one are unknown to the other.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FallbackConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from_number: Option<PhoneNumber>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub voice_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub language: Option<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub platform_config: Map<String, Value>,
    /// Live events asked of this platform, in its words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

impl VoiceConfig {
    /// As `platform` is to get it: the configuration itself, or what a fallback platform takes of it.
    pub fn for_platform(&self, platform: &str) -> VoiceConfig {
        let mut config = self.clone();
        if platform == self.platform {
            return config;
        }
        platform.clone_into(&mut config.platform);
        let own = config.fallback_configs.remove(platform);
        let events = own.as_ref().map(|own| own.events.clone()).unwrap_or_default();
        match config.webhook_config.as_mut() {
            Some(webhook) => webhook.events = events,
            None if events.is_empty() => {}
            None => config.webhook_config = Some(WebhookConfig { url: None, events }),
        }
        match own {
            Some(own) => {
                config.from_number = own.from_number;
                config.voice_id = own.voice_id;
                config.language = own.language;
                config.platform_config = own.platform_config;
            }
            None => config.platform_config = Map::new(),
        }
        config
    }
}

fn default_mode() -> Mode {
    Mode::Agent
}

fn default_redial() -> Redial {
    Redial::Never
}

/// Where outcome events go, and which live events are asked of the platform.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Gets our own outcome events, signed by the Standard Webhooks scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub url: Option<url::Url>,
    /// Live events asked of the platform, in the platform's words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

/// Which outcomes lead to another attempt, how often, how far apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// All attempts that reached the person's line, the first one included.
    #[schemars(range(min = 1, max = 20))]
    pub max_attempts: u32,
    /// `no_answer`, `busy`, `voicemail`, `failed`.
    pub on: Vec<RetryOn>,
    #[serde(default)]
    pub backoff: RetryBackoff,
}

text_enum! {
    RetryOn {
        NoAnswer = "no_answer",
        Busy = "busy",
        Voicemail = "voicemail",
        Failed = "failed",
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryBackoff {
    /// E.g. `5m`.
    #[serde(with = "crate::config::duration")]
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub initial: Duration,
    #[schemars(range(min = 1.0, max = 100.0))]
    pub factor: f64,
    #[serde(with = "crate::config::duration")]
    #[schemars(with = "String")]
    #[schema(value_type = String)]
    pub max: Duration,
}

/// Of a retry's back-off: beyond it a call is another call.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 24 * 3600);

impl Default for RetryBackoff {
    fn default() -> Self {
        Self { initial: Duration::from_secs(300), factor: 2.0, max: Duration::from_secs(7200) }
    }
}

impl RetryPolicy {
    /// The wait before the next attempt when attempt number `finished` (from 1) ended in `outcome`, or `None` when no
    /// retry is left or the outcome is not covered.
    pub fn next_wait(&self, outcome: AttemptState, finished: u32) -> Option<Duration> {
        let covered = self.on.iter().any(|on| on.as_str() == outcome.as_str());
        if !covered || finished >= self.max_attempts {
            return None;
        }
        let factor = self.backoff.factor.max(1.0).powi(finished.saturating_sub(1).min(30) as i32);
        let seconds = (self.backoff.initial.as_secs_f64() * factor).min(self.backoff.max.as_secs_f64());
        Some(Duration::from_secs_f64(seconds))
    }
}

/// Hours of the called person's day in which a call may be sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallingWindow {
    /// Local time `HH:MM`, inclusive.
    #[serde(with = "hour_minute")]
    #[schemars(with = "String")]
    #[schema(value_type = String, example = "09:00")]
    pub from: NaiveTime,
    /// Local time `HH:MM`, exclusive.
    #[serde(with = "hour_minute")]
    #[schemars(with = "String")]
    #[schema(value_type = String, example = "20:00")]
    pub to: NaiveTime,
    /// `mon` … `sun`; all days where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Day>,
}

text_enum! {
    Day { Mon = "mon", Tue = "tue", Wed = "wed", Thu = "thu", Fri = "fri", Sat = "sat", Sun = "sun" }
}

impl Day {
    pub fn weekday(self) -> Weekday {
        match self {
            Day::Mon => Weekday::Mon,
            Day::Tue => Weekday::Tue,
            Day::Wed => Weekday::Wed,
            Day::Thu => Weekday::Thu,
            Day::Fri => Weekday::Fri,
            Day::Sat => Weekday::Sat,
            Day::Sun => Weekday::Sun,
        }
    }
}

mod hour_minute {
    use chrono::NaiveTime;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(time: &NaiveTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&time.format("%H:%M"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NaiveTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        NaiveTime::parse_from_str(&text, "%H:%M").map_err(|_| D::Error::custom(format!("{text:?} is not a time HH:MM")))
    }
}

/// Stored configurations by name, as an operator sees them.
pub type VoiceConfigs = BTreeMap<String, VoiceConfig>;

impl VoiceConfig {
    /// What types alone cannot say. Pointers are relative to the configuration.
    pub fn problems(&self) -> Vec<super::request::FieldError> {
        use super::request::FieldError;
        let mut problems = Vec::new();
        if let Some(minutes) = self.max_duration
            && !(1..=720).contains(&minutes)
        {
            problems.push(FieldError::new(
                "/max_duration",
                format!("{minutes} is out of range, expected 1 to 720 minutes"),
            ));
        }
        if let Some(retry) = &self.retry {
            if !(1..=20).contains(&retry.max_attempts) {
                let message = format!("{} is out of range, expected 1 to 20", retry.max_attempts);
                problems.push(FieldError::new("/retry/max_attempts", message));
            }
            if !(1.0..=100.0).contains(&retry.backoff.factor) {
                let message = format!("{} is out of range, expected 1 to 100", retry.backoff.factor);
                problems.push(FieldError::new("/retry/backoff/factor", message));
            }
            for (field, wait) in [("initial", retry.backoff.initial), ("max", retry.backoff.max)] {
                if wait > LONGEST_WAIT {
                    let message =
                        format!("{} is too long, expected at most 30days", crate::config::duration::format(wait));
                    problems.push(FieldError::new(format!("/retry/backoff/{field}"), message));
                }
            }
        }
        if let Some(window) = &self.calling_window
            && window.from >= window.to
        {
            problems.push(FieldError::new("/calling_window/to", "must be later than from"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_example_parses() {
        let config: VoiceConfig = serde_json::from_value(serde_json::json!({
            "platform": "bland_ai", "fallback_platforms": ["vapi"], "from_number": "+14155550100",
            "content": "Default call content", "voice_id": "maya", "language": "en", "max_duration": 5, "record_call": true,
            "platform_config": { "temperature": 0.7 },
            "webhook_config": { "url": "https://example.com/voice-events", "events": ["call"] },
            "mode": "agent", "redial": "never",
            "retry": { "max_attempts": 3, "on": ["no_answer", "busy"], "backoff": { "initial": "5m", "factor": 2.0, "max": "2h" } },
            "calling_window": { "from": "09:00", "to": "20:00", "days": ["mon"] }
        }))
        .unwrap();
        let retry = config.retry.as_ref().unwrap();
        assert_eq!(retry.next_wait(AttemptState::Busy, 1), Some(Duration::from_secs(300)));
        assert_eq!(retry.next_wait(AttemptState::Busy, 2), Some(Duration::from_secs(600)));
        assert_eq!(retry.next_wait(AttemptState::Busy, 3), None);
        assert_eq!(retry.next_wait(AttemptState::Completed, 1), None);
        assert!(config.problems().is_empty());
    }

    #[test]
    fn a_misspelt_option_is_refused() {
        let problem = serde_json::from_str::<VoiceConfig>(r#"{"platform":"bland_ai","max_durration":5}"#).unwrap_err();
        assert!(problem.to_string().contains("max_durration"));
    }

    #[test]
    fn a_fallback_platform_gets_its_own_words_and_none_of_the_first_ones() {
        let config: VoiceConfig = serde_json::from_value(serde_json::json!({
            "platform": "bland_ai", "fallback_platforms": ["vapi", "retell"], "from_number": "+14155550100", "max_duration": 5,
            "voice_id": "maya", "platform_config": { "temperature": 0.7 }, "webhook_config": { "events": ["call"] },
            "fallback_configs": { "vapi": { "platform_config": { "assistantId": "a" }, "events": ["hang"] } },
        }))
        .unwrap();
        assert_eq!(config.for_platform("bland_ai"), config);
        let vapi = config.for_platform("vapi");
        assert_eq!((vapi.platform.as_str(), vapi.from_number, vapi.voice_id), ("vapi", None, None));
        assert_eq!(vapi.platform_config.keys().collect::<Vec<_>>(), ["assistantId"]);
        assert_eq!((vapi.webhook_config.unwrap().events, vapi.max_duration), (vec!["hang".to_owned()], Some(5)));
        let retell = config.for_platform("retell");
        assert_eq!((retell.from_number.is_some(), retell.voice_id.as_deref()), (true, Some("maya")));
        assert!(retell.platform_config.is_empty() && retell.webhook_config.unwrap().events.is_empty());
    }
}
