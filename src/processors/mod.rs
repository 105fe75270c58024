//! From a job to what it does: event type → processor. One file each, one line in [`ProcessorFactory::new`].
//!
//! A processor accepts jobs: it commits what they ask for, and only then says so. `intake` is the queue's side of it,
//! [`ProcessorFactory::accept_one`] the API's.

mod call;
mod cancel;
mod intake;
mod speech;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use crate::delivery::Dispatcher;
use crate::delivery::MessageDeliveryService;
use crate::job::{Job, RejectReason, Rejection};
use crate::queue::Permit;
use crate::store::{Store, StoreError};

pub use call::VoiceCallProcessor;
pub use cancel::CancelProcessor;
pub use intake::Intake;
pub use speech::SpeechProcessor;

/// A job on its way in, with what its carrier knows of it.
pub struct Incoming {
    pub job: Job,
    pub via: Via,
    /// Its place in the backlog; without one the job waits in Postgres until a sweep finds it.
    pub place: Option<Permit>,
}

/// Who brought a job.
#[derive(Debug, Clone)]
pub struct Via {
    /// `queue` or `api`; stands in the timeline.
    pub source: &'static str,
    pub tenant: Option<String>,
    /// FIFO queues: queue and message group, and SQS's sequence number.
    pub order: Option<(String, String)>,
}

/// What became of a job; committed before it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// For calls with the ids of what was made.
    New { call_id: Option<Uuid>, thread_message_id: Option<Uuid> },
    /// The same job came before; nothing changed.
    Repeat { subject_id: Uuid },
    /// The name was used for another job.
    KeyReused,
    /// Not by this replica and not now; nothing was kept.
    Later { detail: String },
}

/// Accepts the jobs of one or more event types.
#[async_trait]
pub trait Processor: Send + Sync + 'static {
    /// All or none: on an error nothing of the batch counts as accepted, and the same batch may be given again.
    async fn accept(&self, batch: Vec<Incoming>) -> Result<Vec<Accepted>, StoreError>;
}

/// Gives the processor of an event type. Cheap to clone.
#[derive(Clone)]
pub struct ProcessorFactory {
    store: Store,
    processors: Arc<BTreeMap<&'static str, Arc<dyn Processor>>>,
}

impl ProcessorFactory {
    /// `dispatcher`: where new calls go at once; without one (role `http` alone) a worker's sweep takes them.
    /// `outcome_queue`: where audio jobs tell their end.
    pub fn new(
        store: &Store,
        delivery: &MessageDeliveryService,
        dispatcher: Option<&Dispatcher>,
        outcome_queue: Option<&str>,
    ) -> Self {
        let call = VoiceCallProcessor::new(store.clone(), delivery.clone(), dispatcher.cloned());
        let cancel = CancelProcessor::new(store.clone());
        let mut processors: BTreeMap<&'static str, Arc<dyn Processor>> = BTreeMap::new();
        processors.insert("voice.call.requested", Arc::new(call));
        processors.insert("voice.call.cancel_requested", Arc::new(cancel));
        let speech = Arc::new(SpeechProcessor::new(store.clone(), outcome_queue.map(str::to_owned)));
        processors.insert("voice.audio.transcribe_requested", speech.clone());
        processors.insert("voice.speech.synthesize_requested", speech);
        Self { store: store.clone(), processors: Arc::new(processors) }
    }

    /// The processor, or a rejection that names the types there are.
    pub fn get(&self, job: &Job) -> Result<&Arc<dyn Processor>, Rejection> {
        let event_type = job.kind.event_type();
        self.processors.get(event_type).ok_or_else(|| Rejection {
            reason: RejectReason::UnknownType,
            field_path: job.pointer("type"),
            detail: format!(
                "{event_type} is not served here, expected one of {}",
                self.event_types().collect::<Vec<_>>().join(", ")
            ),
            source: Some(job.key.source.clone()),
            event_id: Some(job.key.id.clone()),
        })
    }

    pub fn event_types(&self) -> impl Iterator<Item = &'static str> {
        self.processors.keys().copied()
    }

    /// The API's way in: one job, answered with the ids of what it made (or had made before).
    pub async fn accept_one(&self, job: Job) -> Result<AcceptedCall, AcceptError> {
        let processor = self.get(&job).map_err(AcceptError::Rejected)?;
        let via = Via { source: "api", tenant: None, order: None };
        let accepted = processor.accept(vec![Incoming { job, via, place: None }]).await.map_err(AcceptError::Store)?;
        match accepted.into_iter().next() {
            Some(Accepted::New { call_id: Some(call_id), thread_message_id: Some(thread_message_id) }) => {
                Ok(AcceptedCall { call_id, thread_message_id })
            }
            Some(Accepted::Repeat { subject_id }) => {
                let thread_message_id = self.store.thread_message_of(subject_id).await.map_err(AcceptError::Store)?;
                let missing = || AcceptError::Store(StoreError::Refused("the call has no thread message".into()));
                Ok(AcceptedCall { call_id: subject_id, thread_message_id: thread_message_id.ok_or_else(missing)? })
            }
            Some(Accepted::KeyReused) => Err(AcceptError::KeyReused),
            Some(Accepted::Later { detail }) => Err(AcceptError::Later(detail)),
            Some(Accepted::New { .. }) | None => {
                Err(AcceptError::Store(StoreError::Refused("the job made no call".into())))
            }
        }
    }
}

/// A message that became a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedCall {
    pub call_id: Uuid,
    pub thread_message_id: Uuid,
}

#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error("the same key was used for another message")]
    KeyReused,
    /// A replica of another version may take it.
    #[error("{0}")]
    Later(String),
    #[error("{}", .0.detail_attribute())]
    Rejected(Rejection),
    #[error(transparent)]
    Store(StoreError),
}
