//! Simulators for development and tests: a local SQS and the platforms, as strict as the real ones. Nothing here is
//! reachable from `voxd serve`.

pub mod bland;
pub mod platform;
pub mod sqs;
