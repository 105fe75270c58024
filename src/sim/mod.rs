//! Simulators for development and tests: a local SQS and the platforms, as strict as the real ones. Nothing here is
//! reachable from `voxd serve`.

pub mod bland;
pub mod elevenlabs;
pub mod google;
pub mod openai;
pub mod platform;
pub mod retell;
pub mod sqs;
pub mod tones;
pub mod twilio;
pub mod vapi;

use std::io;

use platform::{SimOptions, Simulator, Vendor as _, start};
use tokio::net::TcpListener;

/// The page on which a simulated platform shows what it was asked.
pub fn page(simulator: &dyn Simulator) -> String {
    format!("{}/_voxd/", simulator.base_url())
}

/// Starts a simulated platform on a bound listener.
pub type Start = fn(TcpListener, SimOptions) -> io::Result<Box<dyn Simulator>>;

/// One line per simulated platform: its name and how it is started.
pub const PLATFORMS: &[(&str, Start)] = &[
    (bland::Bland::NAME, start::<bland::Bland>),
    (vapi::Vapi::NAME, start::<vapi::Vapi>),
    (elevenlabs::ElevenLabs::NAME, start::<elevenlabs::ElevenLabs>),
    (retell::Retell::NAME, start::<retell::Retell>),
    (twilio::Twilio::NAME, start::<twilio::Twilio>),
];
