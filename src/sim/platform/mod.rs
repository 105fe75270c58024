//! What every simulated platform needs: a server that can break its own connections, scripts by called number, the course
//! of a call on a clock, signed webhooks with repeats, and a journal of everything that was asked.

pub mod journal;
pub mod playback;
pub mod scripts;
pub mod server;
pub mod webhooks;

pub use journal::{Entry, EntryId, Journal};
pub use playback::{Phase, Playback};
pub use scripts::{Answer, Outcome, Script, ScriptBook, WebhookFault};
pub use server::Connection;
pub use webhooks::{Webhook, WebhookSender};
