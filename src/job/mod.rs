//! The job event: CloudEvents in, a typed job or a rejection out. No I/O.
//!
//! A message goes through four steps, each with its own file: `read` (bytes → JSON, and what JSON allows but we do not),
//! `envelope` (SNS and EventBridge wrappings off), `parse` (attributes, type, typed data) and `validate` (what types
//! cannot say). Every error carries a JSON pointer into the message as it stood on the queue. `hash` decides whether a
//! repeated key is a repeat or a reuse, and `schema` prints what is accepted.

mod envelope;
pub mod event;
mod hash;
mod parse;
mod read;
mod schema;
mod speech;
mod validate;

pub use event::{
    CallData, CancelData, ContentHash, EVENT_TYPES, Job, JobKey, JobKind, RejectReason, Rejection, User, VoiceConfigRef,
};
pub use parse::{call_from_data, parse, voice_config_from_value};
pub use read::MAX_MESSAGE_BYTES;
pub use schema::{call_data_schema, schema, voice_config_schema};
pub use speech::{Channel, PhraseData, SynthesizeData, TranscribeData, s3_place};
pub use validate::check_voice_config;
