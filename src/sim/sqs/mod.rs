//! A local SQS: the AWS JSON 1.0 protocol, in memory, in this process, for `voxd dev` and for tests.
//!
//! It holds SQS's documented rules, its errors and limits, and says so on the wire as AWS does; one contract suite runs
//! against it and against an independent implementation. On top of that it can be told to misbehave (`Faults`), and counts
//! what it is asked (`stats`). Requests are not authenticated: any credentials do.
//!
//! | file | its subject |
//! |---|---|
//! | `server` | connections, HTTP, the control paths under `/_voxd/` |
//! | `service` | one lock, bells for long polls, the clock, misbehaviour, dispatch |
//! | `queues`, `messages`, `compose`, `wire` | the operations and their JSON |
//! | `broker`, `moves` | all queues, what happens between them; pure |
//! | `queue`, `flight`, `order`, `dedup`, `message`, `handle` | one queue; pure |
//! | `settings`, `attributes`, `error` | attributes of queues and messages, errors |
//! | `faults`, `stats`, `snapshot` | misbehaviour, counters, the queues in a file |
//!
//! Left out: permissions and policies (kept, not enforced), KMS (kept, not used), FIFO throughput limits, and SQS's loose
//! ordering: a standard queue here is in order but for what is redelivered.

mod attributes;
mod broker;
mod compose;
mod dedup;
mod error;
mod faults;
mod flight;
mod handle;
mod message;
mod messages;
mod moves;
mod order;
mod queue;
mod queues;
mod server;
mod service;
mod settings;
mod snapshot;
mod stats;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

pub use error::ErrorKind;
pub use faults::{Fault, Faults, Rule};
pub use stats::{Operation, OperationStats, StatsReport};

use crate::lifecycle::Lifecycle;
use broker::Broker;
use faults::Injector;
use service::Service;

/// How long running requests may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(2);

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct SqsOptions {
    /// Part of the queues' ARNs; clients must be configured for the same region.
    pub region: String,
    /// Twelve digits, part of ARNs and queue URLs.
    pub account: String,
    /// For message ids and for the faults' dice: the same seed throws the same.
    pub seed: u64,
    /// What goes wrong from the start.
    pub faults: Faults,
    /// Read at start when it is there, written at a graceful shutdown.
    pub snapshot: Option<PathBuf>,
    /// Whether a deleted queue's name stays taken for 60 s and a second purge within 60 s is refused, as AWS does it.
    pub cool_downs: bool,
}

impl Default for SqsOptions {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            seed: 0,
            faults: Faults::default(),
            snapshot: None,
            cool_downs: true,
        }
    }
}

/// A running server. Dropping it stops it at once, without a snapshot; `shutdown` lets running requests end.
pub struct SqsServer {
    addr: SocketAddr,
    service: Arc<Service>,
    lifecycle: Lifecycle,
    snapshot: Option<PathBuf>,
}

impl SqsServer {
    /// Serves on a bound listener. Call it within a tokio runtime.
    ///
    /// # Errors
    /// The listener has no address, or the snapshot is there but cannot be read.
    pub fn start(listener: TcpListener, options: SqsOptions) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let mut rng = fastrand::Rng::with_seed(options.seed);
        let own = format!("{}:{}", options.region, options.account);
        let mut broker = Broker::new(own, options.cool_downs, rng.fork());
        if let Some(path) = &options.snapshot {
            snapshot::read(path, &mut broker)?;
        }
        let lifecycle = Lifecycle::new();
        let faults = Injector::new(options.faults, rng);
        let service = Arc::new(Service::new(broker, options.account, faults, lifecycle.soft_token()));
        lifecycle.spawn(server::accept(listener, service.clone(), lifecycle.clone()));
        let clock = service.clone();
        lifecycle.spawn(async move { clock.keep_time().await });
        Ok(Self { addr, service, lifecycle, snapshot: options.snapshot })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address for `AWS_ENDPOINT_URL_SQS`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The URL of a queue of this name, whether or not there is one.
    pub fn url(&self, queue: &str) -> String {
        self.service.url(&self.addr.to_string(), queue)
    }

    /// Makes a queue, and its dead-letter queue (`NAME-dlq`) where messages go after `max_receive_count` deliveries; leaves
    /// them alone where they are already there. A name that ends in `.fifo` makes FIFO queues.
    ///
    /// # Errors
    /// The name cannot be one, or the queue is there with other settings.
    pub fn ensure_queue(&self, name: &str, max_receive_count: u32) -> Result<(), String> {
        let (stem, suffix) = name.strip_suffix(".fifo").map_or((name, ""), |stem| (stem, ".fifo"));
        let dead_letters = format!("{stem}-dlq{suffix}");
        let mut attributes = BTreeMap::new();
        if !suffix.is_empty() {
            attributes.insert("FifoQueue".to_owned(), "true".to_owned());
        }
        let make = |name: &str, attributes: &BTreeMap<String, String>| {
            self.service
                .with(|broker, now| broker.create(now, name, attributes, BTreeMap::new()))
                .map_err(|error| format!("queue {name}: {}", error.message))
        };
        make(&dead_letters, &attributes)?;
        let arn = format!("arn:aws:sqs:{}:{dead_letters}", self.service.own());
        let policy = serde_json::json!({ "deadLetterTargetArn": arn, "maxReceiveCount": max_receive_count });
        attributes.insert("RedrivePolicy".to_owned(), policy.to_string());
        make(name, &attributes)
    }

    /// The misbehaviour in force, with what is left of each rule's `next`.
    pub fn faults(&self) -> Faults {
        self.service.faults.get()
    }

    /// Misbehave like this from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.service.faults.set(faults);
    }

    /// What was asked since the start or since `reset_stats`.
    pub fn stats(&self) -> StatsReport {
        self.service.stats.report()
    }

    pub fn reset_stats(&self) {
        self.service.stats.reset();
    }

    /// Stops: long polls answer empty, running requests end, connections close, and the snapshot is written.
    ///
    /// # Errors
    /// The snapshot cannot be written.
    pub async fn shutdown(self) -> io::Result<()> {
        self.lifecycle.drain(DRAIN).await;
        match &self.snapshot {
            Some(path) => snapshot::write(path, &self.service.read(Broker::to_json)?),
            None => Ok(()),
        }
    }
}

impl Drop for SqsServer {
    fn drop(&mut self) {
        self.lifecycle.abort();
    }
}
