//! Configuration, read once, by section, into what the program uses.
//!
//! `default.toml` is the reference and cannot go stale: it is parsed by the same types. Over it lie a file and then the
//! environment. Every error names the key, where it came from, and what would have been accepted.

mod costs;
pub mod duration;
mod load;
mod openai;
mod secret;
mod sessions;
mod speech;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use costs::{BilledBy, Budgets, Costs, is_currency, parse_amount};
pub use load::{ConfigError, DEFAULTS, Environment, Setting};
pub use openai::{Detection, OpenAi, SoundFormat, TranscriptFormat};
pub use secret::{Secret, webhook_signing_key};
pub use sessions::Sessions;
pub use speech::{Authorize, GoogleSpeech, Speech, SpeechJobs, endpoint_of};

/// All settings. See `default.toml` for what each one means.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub worker: Worker,
    pub queue: Queue,
    pub database: Database,
    pub http: Http,
    pub delivery: Delivery,
    pub reconcile: Reconcile,
    pub poller: Poller,
    pub policy: Policy,
    pub outcomes: Outcomes,
    pub sessions: Sessions,
    pub egress: Egress,
    pub telemetry: Telemetry,
    pub speech: Speech,
    pub platforms: BTreeMap<String, PlatformConfig>,
    pub budgets: Budgets,
    /// By platform.
    pub costs: BTreeMap<String, Costs>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    pub roles: Vec<Role>,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub lease: Duration,
    pub max_backlog: usize,
    pub max_waiting: usize,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub sweep_interval: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub shutdown_grace: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Worker,
    Http,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    pub urls: Vec<String>,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub wait: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub visibility: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub request_timeout: Duration,
    pub max_pollers: usize,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub depth_interval: Duration,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: Secret,
    pub max_connections: u32,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub connect_timeout: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub deadline: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub statement_timeout: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub lock_timeout: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub idle_in_transaction_timeout: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub max_lifetime: Duration,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub bind: SocketAddr,
    /// Empty: none.
    pub public_url: String,
    pub max_connections: usize,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub header_timeout: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub request_timeout: Duration,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    pub max_send_tries: u32,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub resend_initial: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub resend_max: Duration,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reconcile {
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub margin: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub listing_interval: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub give_up_after: Duration,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Poller {
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub interval: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub max_interval: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub give_up_after: Duration,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub countries: Vec<String>,
    /// `HH:MM-HH:MM`, or empty.
    pub calling_window: String,
    /// See [`crate::call::policy::numbers::NumberKind`].
    pub refuse_numbers: Vec<String>,
    pub suppress_on_platform_dnc: bool,
    /// `ATTEMPTS/DURATION`.
    pub max_attempts_per_number: Vec<String>,
    /// Empty: none.
    pub rules_file: std::path::PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outcomes {
    pub queue: String,
    pub signing_secret: Secret,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub request_timeout: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub retry_initial: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub retry_max: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub give_up_after: Duration,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    pub allow_private_addresses: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub log_format: LogFormat,
    pub otlp_endpoint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// `pretty` where standard error is a terminal, else `json`.
    Auto,
    Pretty,
    Json,
}

/// One platform account.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlatformConfig {
    pub base_url: url::Url,
    pub api_key: Secret,
    pub webhook_secret: Vec<Secret>,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub request_timeout: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub connect_timeout: Duration,
    pub max_concurrent_requests: usize,
    pub calls_per_second: f64,
    pub calls_per_hour: u32,
    pub calls_per_day: u32,
    pub max_live_calls: u32,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub number_spacing: Duration,
    pub breaker_failures: u32,
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub breaker_probe: Duration,
    pub breaker_fallback: BreakerFallback,
    /// Twilio: the account's SID, beside its auth token in `api_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_sid: Option<String>,
    /// Twilio: an API key's SID, where `api_key` holds that key's secret and not the account's auth token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_sid: Option<String>,
    /// Vapi: what kind of credential its webhooks carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_auth: Option<WebhookAuth>,
    /// Vapi: its id of that credential, which calls name for their webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_credential_id: Option<String>,
    /// ElevenLabs: the Twilio account that owns the agents' numbers; without it a live call cannot be ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twilio_account_sid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twilio_auth_token: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twilio_base_url: Option<url::Url>,
    /// ElevenLabs: what kind of numbers the workspace's agents call from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telephony: Option<Telephony>,
    /// ElevenLabs: whether an empty listing of conversations proves by itself that there was no call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists_unanswered_calls: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Telephony {
    /// Numbers imported from a Twilio account.
    Twilio,
    /// Numbers of a SIP trunk.
    SipTrunk,
}

/// What becomes of calls that have a further platform while the breaker of theirs is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerFallback {
    /// Those of which nothing was ever accepted by a platform go to the next one.
    Next,
    /// They wait.
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookAuth {
    /// A signature over time stamp and body.
    Hmac,
    /// `Authorization: Bearer` with the webhook secret.
    Bearer,
    /// `X-Vapi-Secret` with the webhook secret.
    Secret,
}

impl Config {
    /// Reads the defaults, then `file`, then `environment`. Values that types cannot judge are checked too.
    pub fn load(file: Option<&std::path::Path>, environment: &Environment) -> Result<Self, ConfigError> {
        load::load(file, environment)
    }

    /// Every setting in force with its source, secrets masked.
    pub fn explain(file: Option<&std::path::Path>, environment: &Environment) -> Result<Vec<Setting>, ConfigError> {
        load::explain(file, environment)
    }

    pub fn has_role(&self, role: Role) -> bool {
        self.worker.roles.contains(&role)
    }

    /// Where outcome events go, where a queue is set.
    pub fn outcome_queue(&self) -> Option<&str> {
        Some(self.outcomes.queue.as_str()).filter(|queue| !queue.is_empty())
    }

    /// The public address without a trailing slash, where there is one.
    pub fn public_url(&self) -> Option<&str> {
        Some(self.http.public_url.trim_end_matches('/')).filter(|url| !url.is_empty())
    }
}
