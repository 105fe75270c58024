//! The types of a job.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::envelope::Layout;
use super::speech::{SynthesizeData, TranscribeData};
use crate::call::status::text_enum;
use crate::call::{Lead, VoiceConfig};

/// What names a job for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct JobKey {
    /// Empty where the producer gives none.
    pub source: String,
    pub id: String,
}

/// SHA-256 over `type` and `data` as parsed JSON in canonical order: a repeat has the same, a reused key another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(pub [u8; 32]);

/// A valid job.
#[derive(Debug, Clone)]
pub struct Job {
    pub key: JobKey,
    pub content_hash: ContentHash,
    pub kind: JobKind,
    /// W3C trace context of the producer, where it sent one.
    pub traceparent: Option<String>,
    pub(super) layout: Layout,
}

impl Job {
    /// JSON pointer to a CloudEvents attribute (`id`, `type`, `data`) in the message as it came, envelope included.
    pub fn pointer(&self, attribute: &str) -> String {
        self.layout.pointer(attribute)
    }
}

/// By event type.
#[derive(Debug, Clone)]
pub enum JobKind {
    /// `voice.call.requested`
    Call(Box<CallData>),
    /// `voice.call.cancel_requested`
    Cancel(CancelData),
    /// `voice.audio.transcribe_requested`
    Transcribe(Box<TranscribeData>),
    /// `voice.speech.synthesize_requested`
    Synthesize(Box<SynthesizeData>),
}

/// All event types, as they stand in `type`.
pub const EVENT_TYPES: &[&str] = &[
    "voice.call.requested",
    "voice.call.cancel_requested",
    "voice.audio.transcribe_requested",
    "voice.speech.synthesize_requested",
];

impl JobKind {
    pub fn event_type(&self) -> &'static str {
        match self {
            JobKind::Call(_) => "voice.call.requested",
            JobKind::Cancel(_) => "voice.call.cancel_requested",
            JobKind::Transcribe(_) => "voice.audio.transcribe_requested",
            JobKind::Synthesize(_) => "voice.speech.synthesize_requested",
        }
    }
}

/// `data` of `voice.call.requested`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallData {
    /// What the agent is to say or do; else the voice configuration's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50_000))]
    pub content: Option<String>,
    /// The producer's own kind of message, e.g. `regular`, `reminder`: 1 to 64 characters, kept with the thread message.
    #[serde(default = "default_message_type")]
    #[schemars(length(min = 1, max = 64))]
    pub message_type: String,
    pub lead: Lead,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    pub voice_config: VoiceConfigRef,
    /// The producer's own facts, at most 16 KiB; they come back with every outcome.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Not sent before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<DateTime<Utc>>,
    /// Not sent after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

fn default_message_type() -> String {
    "regular".into()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    #[schemars(length(min = 1, max = 256))]
    pub id: String,
}

/// A stored configuration's name, or one inline.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum VoiceConfigRef {
    Name(#[schemars(length(min = 1, max = 128))] String),
    Inline(Box<VoiceConfig>),
}

/// Written by hand so that an error inside an inline configuration keeps its own words and path
/// (`untagged` would say "did not match any variant").
impl<'de> Deserialize<'de> for VoiceConfigRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = VoiceConfigRef;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a stored voice configuration, or an inline object")
            }
            fn visit_str<E>(self, name: &str) -> Result<VoiceConfigRef, E> {
                Ok(VoiceConfigRef::Name(name.to_owned()))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<VoiceConfigRef, A::Error> {
                VoiceConfig::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    .map(|config| VoiceConfigRef::Inline(Box::new(config)))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// `data` of `voice.call.cancel_requested`: the call by its id, or by the key of the job that asked for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["call_id"], "properties": {"source": false, "id": false}}, {"required": ["id"], "properties": {"call_id": false}}]))]
pub struct CancelData {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<Uuid>,
    /// Without `call_id`: the source of the job that asked for the call; absent where that job had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub source: Option<String>,
    /// Without `call_id`: the id of the job that asked for the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub id: Option<String>,
    /// For the call's timeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub reason: Option<String>,
}

text_enum! {
    /// Why a message was rejected: `rejected_messages.reason` and the attribute `voxd.reason`.
    RejectReason {
        NotUtf8 = "not_utf8",
        NotJson = "not_json",
        /// Breaks the schema; unknown fields and bad numbers too.
        Schema = "schema",
        UnknownType = "unknown_type",
        TooLarge = "too_large",
        /// The same source and id came with another type or data.
        KeyReused = "key_reused",
    }
}

/// Why a message is not a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub reason: RejectReason,
    /// JSON pointer into the message; empty for the whole.
    pub field_path: String,
    /// What was wrong, what was expected.
    pub detail: String,
    /// As far as they could be read.
    pub source: Option<String>,
    pub event_id: Option<String>,
}

impl Rejection {
    /// A job came under a key that another one has. `pointer` is [`Job::pointer`] of `id`.
    pub fn key_reused(JobKey { source, id }: JobKey, pointer: String) -> Self {
        Self {
            reason: RejectReason::KeyReused,
            field_path: pointer,
            detail: format!(
                "source {source:?} and id {id:?} came before with another type or data, expected a new id for a new job"
            ),
            source: Some(source).filter(|source| !source.is_empty()),
            event_id: Some(id),
        }
    }

    /// The attribute `voxd.detail`: `POINTER: what was wrong, what was expected`.
    pub fn detail_attribute(&self) -> String {
        format!("{}: {}", self.field_path, self.detail)
    }
}
