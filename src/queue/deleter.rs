//! Deletes in batches: at ten, or 100 ms after the first. Failed entries are tried again; deleting twice is harmless.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::client::{BATCH, Sqs};
use super::resolve::QueueInfo;
use crate::clock::{self, Monotonic};
use crate::lifecycle::Lifecycle;
use crate::retry::wait_for;

/// From the first of a batch that is not full.
const LINGER: Duration = Duration::from_millis(100);
/// Batches under way at once.
const CONCURRENCY: usize = 8;
/// Deletes waiting, above which no more messages are received: SQS takes none, or we are far too fast for it.
const CROWDED: usize = 2000;
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// While the program is stopping; some six seconds.
const LAST_TRIES: u32 = 5;

/// Gives deletes to the queue's deleter. It flushes and ends once all of these are dropped.
#[derive(Clone)]
pub(super) struct Deleter {
    entries: mpsc::UnboundedSender<Entry>,
    pending: Arc<Pending>,
}

struct Pending {
    count: AtomicUsize,
    crowded: watch::Sender<bool>,
}

struct Entry {
    receipt: String,
    tries: u32,
    /// After this the message is visible again and another delivery is on its way.
    until: Monotonic,
}

impl Deleter {
    pub fn start(sqs: Sqs, queue: Arc<QueueInfo>, lifecycle: &Lifecycle) -> Self {
        let (entries, incoming) = mpsc::unbounded_channel();
        let pending = Arc::new(Pending { count: AtomicUsize::new(0), crowded: watch::Sender::new(false) });
        let aborted = lifecycle.hard_token();
        let task = Task { sqs, queue, pending: pending.clone(), stopping: lifecycle.soft_token() };
        lifecycle.spawn_critical("sqs deleter", async move {
            tokio::select! {
                () = task.run(incoming) => {}
                () = aborted.cancelled() => {}
            }
        });
        Self { entries, pending }
    }

    pub fn delete(&self, receipt: String, received_at: Monotonic, visibility: Duration) {
        self.pending.add(1);
        // The task ends before its senders only when everything is left at once; then the message comes again.
        let _ = self.entries.send(Entry { receipt, tries: 0, until: received_at + visibility });
    }

    /// Waits while far too many deletes are pending.
    pub async fn not_crowded(&self) {
        let mut crowded = self.pending.crowded.subscribe();
        let _ = crowded.wait_for(|crowded| !crowded).await;
    }
}

impl Pending {
    fn add(&self, n: usize) {
        let count = self.count.fetch_add(n, Relaxed) + n;
        self.tell(count);
    }

    fn remove(&self, n: usize) {
        let count = self.count.fetch_sub(n, Relaxed) - n;
        self.tell(count);
    }

    fn tell(&self, count: usize) {
        self.crowded.send_if_modified(|crowded| std::mem::replace(crowded, count >= CROWDED) != (count >= CROWDED));
    }
}

struct Task {
    sqs: Sqs,
    queue: Arc<QueueInfo>,
    pending: Arc<Pending>,
    stopping: CancellationToken,
}

impl Task {
    async fn run(&self, mut incoming: mpsc::UnboundedReceiver<Entry>) {
        let mut running = FuturesUnordered::new();
        let mut waiting: Vec<Entry> = Vec::new();
        let mut due: Option<Monotonic> = None;
        let mut open = true;
        while open || !waiting.is_empty() || !running.is_empty() {
            // After the last message nothing more will fill a batch.
            let ready = waiting.len() >= BATCH || !open || due.is_some_and(|due| due <= clock::monotonic());
            if ready && !waiting.is_empty() && running.len() < CONCURRENCY {
                let rest = waiting.split_off(waiting.len().min(BATCH));
                running.push(self.batch(std::mem::replace(&mut waiting, rest)));
                due = (!waiting.is_empty()).then(|| clock::monotonic() + LINGER);
                continue;
            }
            let wake = due.filter(|_| running.len() < CONCURRENCY);
            tokio::select! {
                entry = incoming.recv(), if open => match entry {
                    Some(entry) => {
                        waiting.push(entry);
                        due.get_or_insert_with(|| clock::monotonic() + LINGER);
                    }
                    None => open = false,
                },
                Some(again) = running.next() => {
                    if !again.is_empty() {
                        due.get_or_insert_with(|| clock::monotonic() + LINGER);
                    }
                    waiting.extend(again);
                }
                () = sleep_until(wake), if wake.is_some() => {}
            }
        }
    }

    /// Deletes one batch; returns what must be tried again, after its wait.
    async fn batch(&self, entries: Vec<Entry>) -> Vec<Entry> {
        let receipts: Vec<&str> = entries.iter().map(|entry| entry.receipt.as_str()).collect();
        let results = match self.sqs.delete(&self.queue.url, &receipts).await {
            Ok(results) => {
                results.into_iter().map(|result| result.map_err(|failed| (failed.error, failed.sender_fault))).collect()
            }
            Err(error) => vec![Err((error, false)); entries.len()],
        };
        let count = entries.len();
        let mut again = Vec::new();
        for (mut entry, result) in entries.into_iter().zip(results) {
            let Err((error, sender_fault)) = result else { continue };
            let stopping = self.stopping.is_cancelled() && entry.tries + 1 >= LAST_TRIES;
            if sender_fault || stopping || clock::monotonic() >= entry.until {
                // It comes again, and is then known by its key.
                tracing::warn!(queue = self.queue.name, error = %error, tries = entry.tries + 1, "a message could not be deleted");
                continue;
            }
            entry.tries += 1;
            again.push(entry);
        }
        self.pending.remove(count - again.len());
        if let Some(tries) = again.iter().map(|entry| entry.tries).min() {
            tracing::debug!(queue = self.queue.name, count = again.len(), "deletes are tried again");
            clock::sleep(wait_for(tries - 1, FIRST_RETRY, LAST_RETRY, 0.5)).await;
        }
        again
    }
}

async fn sleep_until(when: Option<Monotonic>) {
    if let Some(when) = when {
        tokio::time::sleep_until(when).await;
    }
}
