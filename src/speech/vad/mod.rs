//! Voice activity: which frames of sound are speech ([`Detector`]), and where turns begin and end ([`TurnCutter`]). Pure:
//! functions of the samples so far.
//!
//! For engines whose vendor hears whole utterances only, so that somebody here has to cut them.

mod detector;
mod turns;

pub use detector::Detector;
pub use turns::{Cut, TurnCutter, TurnRules};

/// Of all sound here.
pub const RATE_HZ: u32 = 16_000;
/// Samples of a frame: 16 ms.
pub const FRAME: usize = 256;
/// A frame with this score or more is speech that may begin a turn.
pub const OPEN: f32 = 0.5;
/// Within a turn this is enough: words fade out.
pub const CLOSE: f32 = 0.35;
