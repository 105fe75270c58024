//! The task of one session: one piece of work after another, so that turns have an order.

use std::sync::{Arc, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::hearing::{self, HeardRecording, Recording};
use super::speaking::{self, Said, Wish};
use super::{Inner, Opened, RATE_HZ, SessionError};
use crate::audio::AudioBufferManager;
use crate::session::{SessionConfig, SessionStatus};
use crate::store::sessions::Touched;
use crate::store::sessions_said::{HeardChunk, Spoken};
use crate::telemetry::metrics;

/// Requests of one session that may wait; further ones are refused.
const MAILBOX: usize = 8;

/// Reaches a session's task. Cheap to clone.
#[derive(Clone)]
pub(super) struct Handle {
    commands: mpsc::Sender<Command>,
    ended: CancellationToken,
}

type Answer<T> = oneshot::Sender<Result<T, SessionError>>;

enum Command {
    Hear(SessionConfig, Recording, Answer<HeardRecording>),
    Say(Wish, Answer<Said>),
}

impl Handle {
    /// The session is over: work under way is given up.
    pub(super) fn close(&self) {
        self.ended.cancel();
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, SessionError> {
        let (answer, answered) = oneshot::channel();
        self.commands.try_send(command(answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SessionError::Busy,
            mpsc::error::TrySendError::Closed(_) => self.closed(),
        })?;
        answered.await.unwrap_or_else(|_| Err(self.closed()))
    }

    fn closed(&self) -> SessionError {
        if self.ended.is_cancelled() { SessionError::NotActive(SessionStatus::Ended) } else { SessionError::Stopping }
    }
}

impl Opened {
    /// As the session's row had it when it was opened.
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// Recognizes a recording and stores it with what was said. Dropping the future gives it up.
    pub async fn hear(self, recording: Recording) -> Result<HeardRecording, SessionError> {
        let config = self.config;
        self.handle.ask(|answer| Command::Hear(config, recording, answer)).await
    }

    /// Speaks, and stores it as a turn. Dropping the future gives it up.
    pub async fn say(self, wish: Wish) -> Result<Said, SessionError> {
        self.handle.ask(|answer| Command::Say(wish, answer)).await
    }
}

/// What the task works with.
pub(super) struct Live {
    inner: Arc<Inner>,
    id: Uuid,
    owner: String,
    /// Sound that is not done with.
    buffer: AudioBufferManager,
}

impl Live {
    /// Starts the task; the caller puts the handle into the list, under whose lock this runs.
    pub(super) fn start(inner: Arc<Inner>, id: Uuid, owner: &str, held_here: bool) -> Handle {
        let (commands, mailbox) = mpsc::channel(MAILBOX);
        let ended = CancellationToken::new();
        let listed = Listed::new(inner.clone(), id, held_here);
        let longest = inner.settings.longest_upload;
        let buffer = AudioBufferManager::new(RATE_HZ, longest, usize::MAX);
        let live = Self { inner: inner.clone(), id, owner: owner.to_owned(), buffer };
        let handle = Handle { commands, ended: ended.clone() };
        inner.lifecycle.spawn(async move {
            let _listed = listed;
            live.run(mailbox, ended).await;
        });
        handle
    }

    async fn run(mut self, mut mailbox: mpsc::Receiver<Command>, ended: CancellationToken) {
        let stopping = self.inner.lifecycle.soft_token();
        loop {
            let command = tokio::select! {
                biased;
                () = ended.cancelled() => return,
                // What is asked for already is still answered.
                () = stopping.cancelled(), if !mailbox.is_closed() => {
                    mailbox.close();
                    continue;
                }
                command = mailbox.recv() => command,
            };
            match command {
                Some(Command::Hear(config, recording, answer)) => {
                    let work = self.hear(&config, recording);
                    answer_with(work, answer, &ended).await;
                    self.buffer.ack(self.buffer.end());
                }
                Some(Command::Say(wish, answer)) => answer_with(self.say(&wish), answer, &ended).await,
                None => return,
            }
        }
    }

    async fn hear(&mut self, config: &SessionConfig, recording: Recording) -> Result<HeardRecording, SessionError> {
        let from = self.buffer.end();
        self.buffer.append(&recording.samples);
        let mut samples = Vec::with_capacity(recording.samples.len());
        // Nothing is acknowledged while this runs, so it is all there.
        let _ = self.buffer.read(from, recording.samples.len(), &mut samples);
        let (engine, transcript) = hearing::recognize(&self.inner, config, &recording, &samples).await?;
        let chunk = HeardChunk {
            encoding: recording.encoding,
            audio: &recording.bytes,
            keep_audio: config.record_audio,
            duration_ms: recording.duration_ms(),
            truncated: recording.truncated,
            transcript: &transcript,
            engine,
        };
        let stored = self.inner.store.store_chunk(&self.owner, self.id, &chunk).await?;
        let Some(stored) = stored else { return Err(self.gone().await) };
        tracing::debug!(session_id = %self.id, chunk_id = %stored.chunk_id, duration_ms = chunk.duration_ms, engine, "recording heard");
        let (chunk_id, turn_id) = (stored.chunk_id, stored.turn_id);
        Ok(HeardRecording { chunk_id, turn_id, duration_ms: chunk.duration_ms, transcript })
    }

    async fn say(&self, wish: &Wish) -> Result<Said, SessionError> {
        let said = speaking::say(&self.inner.speech, wish).await?;
        let spoken = Spoken {
            text: &wish.text,
            duration_ms: said.duration_ms(),
            language: &wish.language,
            voice: wish.voice.as_deref(),
            engine: said.engine,
        };
        match self.inner.store.store_speech(&self.owner, self.id, &spoken).await? {
            Some(turn_id) => Ok(Said { turn_id: Some(turn_id), ..said }),
            None => Err(self.gone().await),
        }
    }

    /// Why the row took nothing more.
    async fn gone(&self) -> SessionError {
        match self.inner.store.touch_session(&self.owner, self.id).await {
            Ok(Touched::Live(live)) => SessionError::NotActive(live.status),
            Ok(Touched::Over(status)) => SessionError::NotActive(status),
            Ok(Touched::Missing) => SessionError::Missing(self.id),
            Err(error) => error.into(),
        }
    }
}

/// Works until it is done, nobody waits for it any more, or the session is over.
async fn answer_with<T>(
    work: impl Future<Output = Result<T, SessionError>>,
    mut answer: Answer<T>,
    ended: &CancellationToken,
) {
    let result = tokio::select! {
        biased;
        () = ended.cancelled() => Err(SessionError::NotActive(SessionStatus::Ended)),
        () = answer.closed() => return,
        result = work => result,
    };
    // Nobody waits any more: what was stored stays.
    let _ = answer.send(result);
}

/// In the list for as long as the task runs, however it ends.
struct Listed {
    inner: Arc<Inner>,
    id: Uuid,
    held_here: bool,
}

impl Listed {
    fn new(inner: Arc<Inner>, id: Uuid, held_here: bool) -> Self {
        if held_here {
            metrics::SESSIONS_ACTIVE.add(["http"], 1.0);
        }
        Self { inner, id, held_here }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if self.held_here {
            metrics::SESSIONS_ACTIVE.add(["http"], -1.0);
        }
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
