//! `voice.audio.transcribe_requested` and `voice.speech.synthesize_requested`: rows for [`crate::speech_jobs`].

use async_trait::async_trait;
use uuid::Uuid;

use super::{Accepted, Incoming, Processor};
use crate::job::{JobKind, TranscribeData};
use crate::store::accept::Acceptance;
use crate::store::speech_jobs::{NewSpeechJob, SpeechJobKind};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics;

pub struct SpeechProcessor {
    store: Store,
    outcome_queue: Option<String>,
}

impl SpeechProcessor {
    pub fn new(store: Store, outcome_queue: Option<String>) -> Self {
        Self { store, outcome_queue }
    }

    fn row(&self, incoming: Incoming) -> Result<NewSpeechJob, StoreError> {
        let job = incoming.job;
        let unwritable = |problem: String| StoreError::Refused(problem);
        let event_type = job.kind.event_type();
        let (kind, request, input, metadata) = match &job.kind {
            JobKind::Transcribe(data) => {
                let input = data.audio_bytes().map_err(unwritable)?;
                let stored = TranscribeData { audio: None, metadata: Default::default(), ..(**data).clone() };
                (SpeechJobKind::Transcribe, serde_json::to_value(stored), input, data.metadata.clone())
            }
            JobKind::Synthesize(data) => {
                (SpeechJobKind::Synthesize, serde_json::to_value(data), None, data.metadata.clone())
            }
            _ => return Err(unwritable("not an audio job".into())),
        };
        Ok(NewSpeechJob {
            id: Uuid::now_v7(),
            key: job.key,
            hash: job.content_hash,
            event_type,
            kind,
            request: request.map_err(|error| unwritable(error.to_string()))?,
            input,
            metadata,
            outcome_queue: self.outcome_queue.clone(),
            traceparent: job.traceparent,
        })
    }
}

#[async_trait]
impl Processor for SpeechProcessor {
    async fn accept(&self, batch: Vec<Incoming>) -> Result<Vec<Accepted>, StoreError> {
        // Their places in the backlog end here: a replica takes up what it has room for.
        let rows: Vec<NewSpeechJob> = batch.into_iter().map(|incoming| self.row(incoming)).collect::<Result<_, _>>()?;
        let acceptances = self.store.accept_speech_jobs(&rows).await?;
        let accepted = acceptances.into_iter().zip(&rows).map(|(acceptance, row)| match acceptance {
            Acceptance::New | Acceptance::Suppressed => {
                metrics::JOBS_ACCEPTED.inc([row.event_type]);
                Accepted::New { call_id: None, thread_message_id: None }
            }
            Acceptance::Repeat { call_id } => Accepted::Repeat { subject_id: call_id },
            Acceptance::KeyReused => Accepted::KeyReused,
        });
        Ok(accepted.collect())
    }
}
