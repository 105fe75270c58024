//! Outcome events out: what the ledger's triggers put into the outbox goes to the outcome queue and to
//! `webhook_config.url`, at least once, each event with a stable id.
//!
//! | file | holds |
//! |---|---|
//! | `deliver` | the two loops: claim what is due, send, record |
//! | `post` | one POST to an address, and what its answer means |
//! | `queue` | one batch to an SQS queue |
//! | `hosts` | which hosts get no further event just now (busy, or failing) |
//! | `sign` | Standard Webhooks signatures |
//!
//! A row is claimed by pushing its next try into the future: whoever dies over it leaves it due again. Nothing is
//! delivered inside a transaction.

mod deliver;
mod hosts;
mod post;
mod queue;
mod sign;

pub use deliver::Outcomes;
pub use queue::{OutgoingEvent, SendBatch, through_sqs};
