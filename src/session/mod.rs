//! The nouns of a live session and the rules about them. No I/O, no clock.

pub mod config;
pub mod status;
pub mod turn;

pub use config::SessionConfig;
pub use status::{EndReason, SessionStatus, Speaker};
pub use turn::{SpokenWord, Transcript};
