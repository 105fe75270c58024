//! The SQS edge: messages in, deletes and dead letters out. It knows queues and messages, not jobs, tables or platforms.
//!
//! One receiver runs for each queue. It takes room in the backlog before it asks for messages, hands every batch to the
//! [`BatchHandler`] at once and goes on (no batch waits for another), and does with each message what the handler says:
//! delete, reject with a copy to the dead-letter queue, or leave for later. The handler commits before it answers, so a
//! message is deleted only after its row is safe; a crash between the two is a redelivery, which the handler recognises.
//!
//! | file | its subject |
//! |---|---|
//! | `client`, `error` | requests with time-outs, counted; what their errors mean |
//! | `target`, `resolve` | `NAME=WEIGHT` → URL, attributes, dead-letter queue |
//! | `message` | a received message and what may become of it |
//! | `backlog` | room for messages, shared between queues by weight |
//! | `consumer`, `receiver`, `health` | start and stop, the receiving loop, whether the queue answers |
//! | `settle`, `deleter`, `dead_letter` | what happens after the handler |
//! | `producer`, `admin`, `depth` | sending, looking after dead letters, queue depth as metrics |

mod admin;
mod backlog;
mod client;
mod consumer;
mod dead_letter;
mod deleter;
mod depth;
mod error;
mod health;
mod message;
mod producer;
mod receiver;
mod resolve;
mod settle;
mod target;

pub use admin::{DeadLetter, Depth, Redrive};
pub use backlog::{Backlog, Permit, Share};
pub use client::{ConnectError, Sqs, SqsOptions};
pub use consumer::{Consumer, ConsumerOptions};
pub use error::SqsError;
pub use health::QueueHealth;
pub use message::{Attribute, BatchHandler, Disposition, Message, Received};
pub use producer::{Outgoing, Producer};
pub use resolve::{DeadLetterQueue, QueueInfo, ResolveError};
pub use target::QueueTarget;
