//! Commits answers, in batches of all that has come in since the last commit began.

use std::time::Duration;

use tokio::sync::mpsc;
use uuid::Uuid;

use crate::clock::{self, Monotonic};
use crate::fault;
use crate::lifecycle::Lifecycle;
use crate::retry::Waits;
use crate::store::attempts::Answered;
use crate::store::{Result, Store};
use crate::telemetry::metrics;

/// Answers in one commit, at most.
const BATCH: usize = 128;
/// From the start of one commit to the next, unless a batch is full or a message group waits: a lone answer is recorded
/// at once, many share their commits.
const PACE: Duration = Duration::from_millis(10);

/// An answer on its way into the ledger.
pub(super) struct Recording {
    pub answered: Answered,
    pub platform: &'static str,
    pub received: Monotonic,
    /// The message group that waits for this answer.
    pub turn: Option<GroupTurn>,
}

/// A message group's turn. Dropped, also by a panic on the way, it is the next one's: a group never waits for a call that
/// is not under way any more.
pub(super) struct GroupTurn {
    pub key: String,
    pub next: mpsc::UnboundedSender<String>,
}

impl Drop for GroupTurn {
    fn drop(&mut self) {
        let _ = self.next.send(std::mem::take(&mut self.key));
    }
}

/// Runs until every sender is gone, so that no answer is lost on the way down.
pub(super) fn start(store: &Store, lifecycle: &Lifecycle) -> mpsc::Sender<Recording> {
    let (sender, receiver) = mpsc::channel(BATCH * 2);
    lifecycle.spawn(run(store.clone(), lifecycle.clone(), receiver));
    sender
}

async fn run(store: Store, lifecycle: Lifecycle, mut receiver: mpsc::Receiver<Recording>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut next = clock::monotonic();
    while receiver.recv_many(&mut batch, BATCH).await > 0 {
        if batch.len() < BATCH && batch.iter().all(|recording| recording.turn.is_none()) {
            tokio::time::sleep_until(next).await;
            while batch.len() < BATCH
                && let Ok(recording) = receiver.try_recv()
            {
                batch.push(recording);
            }
        }
        next = clock::monotonic() + PACE;
        if !record(&store, &lifecycle, &batch).await {
            tracing::error!(
                answers = batch.len(),
                "stopped before these answers were recorded; the reconciler will look the attempts up"
            );
        }
        batch.clear();
    }
}

/// A number that the platform refuses to call is suppressed first: a crash in between loses no opt-out.
async fn store_answers(store: &Store, answers: &[Answered]) -> Result<Vec<Uuid>> {
    let opted_out: Vec<Uuid> = answers.iter().filter(|answer| answer.opt_out).map(|answer| answer.attempt_id).collect();
    if !opted_out.is_empty() {
        store.suppress_refused(&opted_out).await?;
    }
    store.record(answers).await
}

/// Tries until Postgres has it. Only the program's hard stop ends it before.
async fn record(store: &Store, lifecycle: &Lifecycle, batch: &[Recording]) -> bool {
    let answers: Vec<Answered> = batch.iter().map(|recording| recording.answered.clone()).collect();
    let mut waits = Waits::new(Duration::from_millis(50), Duration::from_secs(1));
    fault::point("before_record");
    loop {
        match store_answers(store, &answers).await {
            Ok(recorded) => {
                fault::point("after_record");
                batch.iter().for_each(|recording| note(recording, recorded.contains(&recording.answered.attempt_id)));
                return true;
            }
            Err(error) if error.is_unavailable() => {
                tracing::warn!(answers = answers.len(), %error, "answers wait for Postgres");
                tokio::select! {
                    () = clock::sleep(waits.next_wait()) => {}
                    () = lifecycle.aborted() => return false,
                }
            }
            Err(error) if answers.len() > 1 => {
                // One answer that the database refuses must not hold the others back.
                tracing::error!(%error, "a batch of answers was refused; recording them one by one");
                for recording in batch {
                    let single = std::slice::from_ref(recording);
                    Box::pin(record(store, lifecycle, single)).await;
                }
                return true;
            }
            Err(error) => {
                let answer = &answers[0];
                tracing::error!(call_id = %answer.call_id, attempt_id = %answer.attempt_id, %error, "an answer was refused by the database");
                return true;
            }
        }
    }
}

fn note(recording: &Recording, ours: bool) {
    let answer = &recording.answered;
    if !ours {
        metrics::LEASE_LOST.inc([]);
        tracing::warn!(call_id = %answer.call_id, attempt_id = %answer.attempt_id, "overtaken: another replica had taken over before the answer came");
        return;
    }
    metrics::CALL_ATTEMPTS.inc([recording.platform, answer.verdict.as_str()]);
    metrics::RECEIVE_TO_ANSWER.record([], clock::monotonic() - recording.received);
    if answer.call_status.is_terminal() {
        metrics::CALLS_FINISHED.inc([recording.platform, answer.call_status.as_str()]);
    }
    tracing::info!(
        call_id = %answer.call_id,
        attempt_id = %answer.attempt_id,
        platform = recording.platform,
        verdict = %answer.verdict,
        reason = answer.reason.as_deref(),
        http_status = answer.http_status,
        status = %answer.call_status,
        "answered"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_turn_goes_on_even_when_its_send_panics() {
        let (next, mut turns) = mpsc::unbounded_channel();
        let turn = GroupTurn { key: "jobs.fifo/g".into(), next };
        let sending = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _turn = turn;
            panic!("a platform's parser has a bug");
        }));
        assert!(sending.is_err());
        assert_eq!(turns.try_recv().as_deref(), Ok("jobs.fifo/g"));
    }
}
