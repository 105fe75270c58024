//! The receiving loop of one queue.
//!
//! A poll takes room in the backlog first, then asks for as many messages as it has room for. One poll is in flight on a
//! quiet queue; another is added each time a full batch comes back, up to the limit, and the extra ones end with the first
//! receive that is not full. Batches go to the handler as they come and wait for nobody.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;

use super::backlog::{Permit, Share};
use super::client::{BATCH, Sqs};
use super::deleter::Deleter;
use super::error::SqsError;
use super::health::HealthReport;
use super::message::{BatchHandler, Message, Received};
use super::resolve::QueueInfo;
use super::settle::Settler;
use crate::clock::{self, Monotonic};
use crate::lifecycle::Lifecycle;
use crate::retry::Waits;
use crate::telemetry::metrics;

/// From the first free permit to the poll that asks with what there is.
const LINGER: Duration = Duration::from_millis(50);
const FIRST_BACK_OFF: Duration = Duration::from_millis(250);
const LAST_BACK_OFF: Duration = Duration::from_secs(10);
/// After an empty answer that came long before the poll's time was over (a proxy, an emulator, a server going down).
const EARLY_EMPTY_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Receiver {
    pub sqs: Sqs,
    pub queue: Arc<QueueInfo>,
    pub share: Share,
    pub gate: watch::Receiver<bool>,
    pub handler: Arc<dyn BatchHandler>,
    pub settler: Arc<Settler>,
    pub deleter: Deleter,
    pub lifecycle: Lifecycle,
    pub max_pollers: usize,
    /// How long the polls in flight may take to end after the stop.
    pub last_poll: Duration,
    /// Whether messages came, for the depth reader.
    pub active: Arc<std::sync::atomic::AtomicBool>,
}

/// What became of one poll.
enum Poll {
    /// Nothing was asked: the gate closed, or the program is stopping.
    NotAsked,
    Answered {
        asked: usize,
        messages: Vec<Arc<Received>>,
        permits: Vec<Permit>,
        took: Duration,
    },
    Failed {
        error: SqsError,
        attempt_id: Option<String>,
    },
}

impl Receiver {
    pub async fn run(self, mut health: HealthReport) {
        let mut polls = FuturesUnordered::new();
        let mut allowed = 1;
        let mut waits = Waits::new(FIRST_BACK_OFF, LAST_BACK_OFF);
        let mut paused: Option<Monotonic> = None;
        // FIFO: of a receive whose answer was lost; the next one with it gets the same messages.
        let mut attempt_id: Option<String> = None;
        let mut gate = self.gate.clone();
        while !self.lifecycle.is_stopping() {
            let open = *gate.borrow_and_update();
            while open && paused.is_none() && polls.len() < allowed {
                polls.push(self.poll(attempt_id.take()));
            }
            metrics::SQS_POLLERS.set([&self.queue.name], polls.len() as f64);
            let poll = tokio::select! {
                biased;
                () = self.lifecycle.stopping() => break,
                Some(poll) = polls.next() => poll,
                () = sleep_until(paused), if paused.is_some() => {
                    paused = None;
                    continue;
                }
                changed = gate.changed(), if !open => {
                    if changed.is_err() {
                        tracing::error!(queue = self.queue.name, "nobody watches the dependencies any more; receiving stops");
                        self.lifecycle.stopping().await;
                    }
                    continue;
                }
            };
            match poll {
                Poll::NotAsked => {}
                Poll::Answered { asked, messages, permits, took } => {
                    waits.reset();
                    if health.answered() {
                        tracing::info!(queue = self.queue.name, "the queue answers again");
                    }
                    let full = messages.len() == asked;
                    self.share.set_hungry(full);
                    allowed = if full && asked == BATCH { (allowed + 1).min(self.max_pollers.max(1)) } else { 1 };
                    if messages.is_empty() {
                        metrics::SQS_OLDEST_MESSAGE.set([&self.queue.name], 0.0);
                        if took < self.sqs.wait / 2 {
                            paused = Some(clock::monotonic() + EARLY_EMPTY_PAUSE.min(self.sqs.wait - took));
                        }
                    } else if *gate.borrow() {
                        self.hand_on(messages, permits);
                    } else {
                        // What the messages need is away: they are better off in the queue, and not polled for.
                        self.settler.release(&messages).await;
                    }
                }
                Poll::Failed { error, attempt_id: lost } => {
                    self.share.set_hungry(false);
                    allowed = 1;
                    attempt_id = lost;
                    if health.failed(&error) {
                        tracing::error!(queue = self.queue.name, error = %error, "the queue is away");
                    } else {
                        tracing::warn!(queue = self.queue.name, error = %error, "receiving failed");
                    }
                    // Polls that fail together are one failure.
                    paused.get_or_insert_with(|| clock::monotonic() + waits.next_wait());
                }
            }
        }
        self.wind_down(polls).await;
    }

    /// The polls in flight may still bring messages: SQS has given them out. They go back at once.
    async fn wind_down(&self, mut polls: FuturesUnordered<impl Future<Output = Poll>>) {
        let ended = async {
            while let Some(poll) = polls.next().await {
                if let Poll::Answered { messages, .. } = poll {
                    self.settler.release(&messages).await;
                }
            }
        };
        tokio::select! {
            () = ended => {}
            () = clock::sleep(self.last_poll) => {
                tracing::info!(queue = self.queue.name, "a poll was left in flight; what it brings is visible again later");
            }
            () = self.lifecycle.aborted() => {}
        }
        metrics::SQS_POLLERS.set([&self.queue.name], 0.0);
    }

    async fn poll(&self, attempt_id: Option<String>) -> Poll {
        let mut gate = self.gate.clone();
        let closed = async {
            // With nobody left to close it, it stays as it is.
            if gate.wait_for(|open| !open).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let room = async {
            self.deleter.not_crowded().await;
            self.share.acquire(BATCH, LINGER).await
        };
        let permits = tokio::select! {
            biased;
            () = self.lifecycle.stopping() => return Poll::NotAsked,
            () = closed => return Poll::NotAsked,
            permits = room => permits,
        };
        let asked = permits.len();
        let attempt_id = self.queue.fifo.then(|| attempt_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()));
        let begun = clock::monotonic();
        let (wait, visibility) = (self.sqs.wait, self.sqs.visibility);
        match self.sqs.receive(&self.queue.url, asked, wait, visibility, attempt_id.as_deref()).await {
            Ok(messages) => {
                let now = clock::monotonic();
                let read = |message| Arc::new(Received::from_sdk(self.queue.clone(), message, now));
                let messages: Vec<_> = messages.into_iter().map(read).collect();
                self.measure(&messages);
                Poll::Answered { asked, messages, permits, took: begun.elapsed() }
            }
            Err(error) => Poll::Failed { error, attempt_id },
        }
    }

    fn measure(&self, messages: &[Arc<Received>]) {
        if messages.is_empty() {
            return;
        }
        self.active.store(true, std::sync::atomic::Ordering::Relaxed);
        metrics::SQS_MESSAGES.add([&self.queue.name, "received"], messages.len() as u64);
        let now = clock::now();
        let ages = messages.iter().filter_map(|message| (now - message.sent_at?).to_std().ok());
        let mut oldest = Duration::ZERO;
        for age in ages {
            metrics::SQS_MESSAGE_AGE.record([&self.queue.name], age);
            oldest = oldest.max(age);
        }
        metrics::SQS_OLDEST_MESSAGE.set([&self.queue.name], oldest.as_secs_f64());
    }

    /// Gives a batch to the handler and sees to what it says, beside the receiving.
    fn hand_on(&self, received: Vec<Arc<Received>>, permits: Vec<Permit>) {
        let (handler, settler, aborted) = (self.handler.clone(), self.settler.clone(), self.lifecycle.hard_token());
        let queue = self.queue.clone();
        // Permits beyond the messages are free again here.
        let batch: Vec<Message> =
            received.iter().zip(permits).map(|(received, permit)| Message::new(received.clone(), permit)).collect();
        self.lifecycle.spawn(async move {
            let work = async {
                let handled = AssertUnwindSafe(handler.handle(batch)).catch_unwind().await;
                let dispositions = handled.unwrap_or_else(|_| {
                    tracing::error!(queue = queue.name, "the handler panicked; its batch is left in the queue");
                    Vec::new()
                });
                settler.settle(&received, dispositions).await;
            };
            tokio::select! {
                () = work => {}
                () = aborted.cancelled() => {}
            }
        });
    }
}

async fn sleep_until(when: Option<Monotonic>) {
    if let Some(when) = when {
        tokio::time::sleep_until(when).await;
    }
}
