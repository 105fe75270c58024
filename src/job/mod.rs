//! The job event: CloudEvents in, a typed job or a rejection out. No I/O.

pub mod event;

pub use event::{CallData, CancelData, ContentHash, Job, JobKey, JobKind, RejectReason, Rejection, VoiceConfigRef};
