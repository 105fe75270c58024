//! What every simulated platform is made of: a server that can break its own connections, scripts by called number, the
//! course of a call on a clock, signed webhooks with repeats, a journal of everything that was asked. A [`Vendor`] adds its
//! words and rules; [`PlatformSim`] runs it.

pub mod calls;
mod control;
mod create;
pub mod journal;
pub mod kernel;
mod options;
mod page;
pub mod play;
pub mod playback;
pub mod scripts;
pub mod server;
mod vendor;
pub mod webhooks;

pub use calls::{Call, CreateRequest, Delivery, End, Peaks, Standing};
pub use create::create;
pub use journal::{Entry, EntryId, Journal};
pub use kernel::{App, ListHealth, PlatformSim, Simulator, start};
pub use options::SimOptions;
pub use playback::{Phase, Playback};
pub use scripts::{Answer, Outcome, Script, ScriptBook, WebhookFault};
pub use server::Connection;
pub use vendor::{Moment, Refusal, Vendor};
pub use webhooks::{Webhook, WebhookSender};
