//! The nouns of a call and the rules about them. No I/O, no clock: everything is a function of its input.
//!
//! `status` holds the one transition table; a trigger in Postgres holds the same.

pub mod budget;
pub mod config;
pub mod money;
pub mod phone;
pub mod policy;
pub mod price;
pub mod request;
pub mod status;
pub mod update;
pub mod window;

pub use config::VoiceConfig;
pub use money::Money;
pub use phone::PhoneNumber;
pub use price::{Price, Prices};
pub use request::{CallRequest, FieldError, Lead};
pub use status::{AttemptState, CallStatus, Verdict};
pub use update::{CallUpdate, Facts};
