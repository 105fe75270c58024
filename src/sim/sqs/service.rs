//! The service behind the wire: one lock around the queues, a bell for each queue with waiting receivers, and the way a
//! request takes through the ordered misbehaviour to its operation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::error::{ApiError, ErrorKind};
use super::faults::{Injector, Plan};
use super::stats::{Operation, Stats};
use crate::clock::{self, Monotonic};

pub(super) use super::queues::name_in_url as queue_name;

/// The body of a good answer, and how many messages it was about.
pub(super) type Answer = Result<(Vec<u8>, usize), ApiError>;

/// How a request ended.
pub(super) enum Outcome {
    Answered(Vec<u8>),
    Refused(ApiError),
    /// By order: no answer, close the connection.
    Dropped,
}

struct State {
    broker: Broker,
    bells: HashMap<String, Arc<Notify>>,
}

pub(super) struct Service {
    state: Mutex<State>,
    own: String,
    account: String,
    started: Monotonic,
    started_ms: u64,
    stop: CancellationToken,
    /// Rung when the next due time moved forward.
    rearm: Notify,
    pub faults: Injector,
    pub stats: Stats,
}

impl Service {
    /// `own`: region and account, as in ARNs.
    pub fn new(broker: Broker, account: String, faults: Injector, stop: CancellationToken) -> Self {
        Self {
            own: broker.own.clone(),
            state: Mutex::new(State { broker, bells: HashMap::new() }),
            account,
            started: clock::monotonic(),
            started_ms: u64::try_from(clock::now().timestamp_millis()).unwrap_or_default(),
            stop,
            rearm: Notify::new(),
            faults,
            stats: Stats::default(),
        }
    }

    /// Milliseconds since 1970, by a clock that never steps back.
    fn now_ms(&self) -> u64 {
        self.started_ms + u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub fn own(&self) -> &str {
        &self.own
    }

    pub fn account(&self) -> &str {
        &self.account
    }

    /// A queue's URL for a client that reached us at `host`.
    pub fn url(&self, host: &str, name: &str) -> String {
        format!("http://{host}/{}/{name}", self.account)
    }

    /// Works on the queues, then rings for whom it brought something.
    pub fn with<T>(&self, work: impl FnOnce(&mut Broker, u64) -> Result<T, ApiError>) -> Result<T, ApiError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut state.broker, self.now_ms());
        self.ring(&mut state);
        result
    }

    fn ring(&self, state: &mut State) {
        for name in state.broker.wake_ups() {
            if let Some(bell) = state.bells.get(name.as_ref()) {
                bell.notify_one();
            }
        }
        if state.broker.take_rearm() {
            self.rearm.notify_one();
        }
    }

    /// The bell of a queue. One ring wakes one receiver; a ring that nobody hears is kept for the next.
    pub fn bell(&self, name: &str) -> Arc<Notify> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = state.bells.get(name) {
            return bell.clone();
        }
        state.bells.entry(name.to_owned()).or_default().clone()
    }

    /// The queue is gone: its receivers look once more and learn it.
    pub fn silence(&self, name: &str) {
        let bell = self.state.lock().unwrap_or_else(PoisonError::into_inner).bells.remove(name);
        if let Some(bell) = bell {
            bell.notify_waiters();
        }
    }

    /// Resolves when the server stops.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Ends delays and visibility time-outs when they are due, until the server stops.
    pub async fn keep_time(&self) {
        loop {
            let due = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let due = state.broker.tick(self.now_ms());
                self.ring(&mut state);
                due
            };
            let sleep = async {
                match due {
                    // A due time counts whole milliseconds of this clock: wake when it is past.
                    Some(at) => {
                        let since = std::time::Duration::from_millis(at.saturating_sub(self.started_ms));
                        tokio::time::sleep_until(self.started + since).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = self.rearm.notified() => {}
                () = self.stopping() => return,
            }
        }
    }

    /// Carries out one request. `host` is the address the client knows us by.
    pub async fn handle(&self, operation: Operation, body: &[u8], host: &str) -> Outcome {
        self.stats.request(operation);
        let plan = self.plan(operation, body);
        if !plan.is_harmless() {
            self.stats.fault(operation);
        }
        if !plan.stall.is_zero() {
            clock::sleep(plan.stall).await;
        }
        if plan.drop_before {
            return Outcome::Dropped;
        }
        let mut result = match plan.error {
            Some(kind) => Err(ApiError::new(kind, kind.injected_text())),
            None => self.carry_out(operation, body, host, plan).await,
        };
        if let Ok((_, messages)) = &result {
            self.stats.messages(operation, *messages);
        }
        if let (Ok(_), Some(kind)) = (&result, plan.error_after) {
            result = Err(ApiError::new(kind, kind.injected_text()));
        }
        if !plan.delay.is_zero() {
            clock::sleep(plan.delay).await;
        }
        if plan.drop_after {
            return Outcome::Dropped;
        }
        match result {
            Ok((answer, _)) => Outcome::Answered(answer),
            Err(error) => {
                self.stats.error(operation);
                Outcome::Refused(error)
            }
        }
    }

    fn plan(&self, operation: Operation, body: &[u8]) -> Plan {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Names {
            queue_url: Option<String>,
            queue_name: Option<String>,
        }
        if !self.faults.active() {
            return Plan::default();
        }
        let names: Option<Names> = serde_json::from_slice(body).ok();
        let queue = names.as_ref().and_then(|names| match &names.queue_url {
            Some(url) => queue_name(Some(url)).ok(),
            None => names.queue_name.as_deref(),
        });
        self.faults.plan(operation, queue)
    }

    async fn carry_out(&self, operation: Operation, body: &[u8], host: &str, plan: Plan) -> Answer {
        match operation {
            Operation::ReceiveMessage => self.receive_message(body, plan).await,
            Operation::SendMessage => self.send_message(body),
            Operation::SendMessageBatch => self.send_message_batch(body, plan),
            Operation::DeleteMessage => self.delete_message(body),
            Operation::DeleteMessageBatch => self.delete_message_batch(body, plan),
            Operation::ChangeMessageVisibility => self.change_message_visibility(body),
            Operation::ChangeMessageVisibilityBatch => self.change_message_visibility_batch(body, plan),
            Operation::CreateQueue => self.create_queue(body, host),
            Operation::GetQueueUrl => self.get_queue_url(body, host),
            Operation::ListQueues => self.list_queues(body, host),
            Operation::ListDeadLetterSourceQueues => self.list_dead_letter_source_queues(body, host),
            Operation::GetQueueAttributes => self.get_queue_attributes(body),
            Operation::SetQueueAttributes => self.set_queue_attributes(body),
            Operation::DeleteQueue => self.delete_queue(body),
            Operation::PurgeQueue => self.purge_queue(body),
            Operation::TagQueue => self.tag_queue(body),
            Operation::UntagQueue => self.untag_queue(body),
            Operation::ListQueueTags => self.list_queue_tags(body),
            Operation::StartMessageMoveTask => self.start_message_move_task(body),
            Operation::ListMessageMoveTasks => self.list_message_move_tasks(body),
            Operation::CancelMessageMoveTask => self.cancel_message_move_task(body),
        }
    }

    /// Reads the broker, for a snapshot.
    pub fn read<T>(&self, look: impl FnOnce(&Broker) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner).broker)
    }
}

/// The operation that an `X-Amz-Target` header names.
///
/// # Errors
/// `UnknownOperation`.
pub(super) fn operation(target: Option<&str>) -> Result<Operation, ApiError> {
    target.and_then(|target| target.strip_prefix("AmazonSQS.")).and_then(Operation::parse).ok_or_else(|| {
        let asked = target.unwrap_or("no X-Amz-Target header: only the AWS JSON 1.0 protocol is spoken here");
        ApiError::new(ErrorKind::UnknownOperation, format!("The action {asked} is not valid for this endpoint."))
    })
}
