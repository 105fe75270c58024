//! Live sessions.
//!
//! A session is a row that all replicas see, and, on a replica that works on it, one task with a bounded mailbox, reached by
//! a cheap handle. The row is the truth: limits, status and order of turns are decided there, so that a request may come to
//! any replica. One replica *holds* the session (the one where it began, or where its connection is); when that one dies the
//! others let the session fail.
//!
//! | file | |
//! |---|---|
//! | `mod` | what a user asks for: begin, open, end |
//! | `session` | the task: its sound, one piece of work after another |
//! | `hearing`, `speaking` | a recording into text, a text into sound |
//! | `sweep` | sessions that end by themselves, replicas that died, rows that go |

mod hearing;
mod session;
mod speaking;
mod sweep;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

pub use hearing::{HeardRecording, Recording, decode};
pub use speaking::{Said, Wish};

use crate::config::{self, Config};
use crate::lifecycle::Lifecycle;
use crate::session::{EndReason, SessionConfig, SessionStatus};
use crate::speech::registry::{SpeechRegistry, SpeechUnavailable};
use crate::speech::{SpeechError, SpeechToText, TextToSpeech};
use crate::store::sessions::{Beginning, Begun, NewSession, Session, SessionLimits, Touched};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics;
use session::{Handle, Live};

/// Of a session's sound, everywhere in voxd.
pub const RATE_HZ: u32 = 16_000;

/// The live sessions of this replica, and the way to those of all. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    speech: SpeechRegistry,
    settings: config::Sessions,
    /// Where nobody names one.
    language: String,
    replica: Uuid,
    lifecycle: Lifecycle,
    live: Mutex<HashMap<Uuid, Handle>>,
    uploads: Arc<Semaphore>,
}

/// Why a session does not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is none, or it is another's.
    #[error("there is no session {0}")]
    Missing(Uuid),
    #[error("the session has the status {0}, expected active")]
    NotActive(SessionStatus),
    #[error("there are {0} live sessions of this owner, which is as many as one may have; end one first")]
    OwnerFull(u32),
    #[error("there are {0} live sessions, which is as many as there may be; try again later")]
    AllFull(u32),
    /// Its mailbox is full.
    #[error("the session has too much to do; send one request after another")]
    Busy,
    #[error("this replica is being stopped; try again")]
    Stopping,
    #[error(transparent)]
    SpeechOff(#[from] SpeechUnavailable),
    #[error(transparent)]
    Speech(#[from] SpeechError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A session that was found to be active, with its task on this replica.
pub struct Opened {
    handle: Handle,
    /// As the row has it now.
    config: SessionConfig,
}

impl Sessions {
    /// `replica` is what heartbeats are written under.
    pub fn new(store: Store, speech: SpeechRegistry, config: &Config, replica: Uuid, lifecycle: Lifecycle) -> Self {
        let (settings, language) = (config.sessions.clone(), config.speech.language.clone());
        let uploads = Arc::new(Semaphore::new(settings.max_uploads));
        let live = Mutex::default();
        Self { inner: Arc::new(Inner { store, speech, settings, language, replica, lifecycle, live, uploads }) }
    }

    pub fn settings(&self) -> &config::Sessions {
        &self.inner.settings
    }

    /// What is spoken where nobody names a language.
    pub fn language(&self) -> &str {
        &self.inner.language
    }

    /// What hears, or why nothing does.
    pub fn stt(&self) -> Result<&Arc<dyn SpeechToText>, SpeechUnavailable> {
        self.inner.speech.stt()
    }

    /// What speaks, or why nothing does.
    pub fn tts(&self) -> Result<&Arc<dyn TextToSpeech>, SpeechUnavailable> {
        self.inner.speech.tts()
    }

    /// Begins a session that this replica holds.
    pub async fn begin(
        &self,
        owner: &str,
        caller_id: &str,
        config: &SessionConfig,
        metadata: &Value,
    ) -> Result<Begun, SessionError> {
        let settings = &self.inner.settings;
        let replica = self.inner.replica;
        let new = NewSession { owner, caller_id, config, metadata, replica, ticket_lifetime: settings.ticket_lifetime };
        let limits = SessionLimits { per_owner: settings.max_per_user, in_all: settings.max_in_all };
        let begun = match self.inner.store.begin_session(&new, limits).await? {
            Beginning::Begun(begun) => begun,
            Beginning::OwnerFull => return Err(SessionError::OwnerFull(settings.max_per_user)),
            Beginning::AllFull => return Err(SessionError::AllFull(settings.max_in_all)),
        };
        tracing::info!(session_id = %begun.id, owner, "session began");
        self.handle(begun.id, owner, true);
        Ok(begun)
    }

    /// A session to work on; its task begins here where it does not run yet.
    ///
    /// # Errors
    /// `Missing`, `NotActive`, `Store`.
    pub async fn open(&self, owner: &str, id: Uuid) -> Result<Opened, SessionError> {
        match self.inner.store.touch_session(owner, id).await? {
            Touched::Live(live) if live.status == SessionStatus::Active => {
                let handle = self.handle(id, owner, live.replica == self.inner.replica);
                Ok(Opened { handle, config: live.config })
            }
            Touched::Live(live) => Err(SessionError::NotActive(live.status)),
            Touched::Over(status) => Err(SessionError::NotActive(status)),
            Touched::Missing => Err(SessionError::Missing(id)),
        }
    }

    /// Ends a session at its client's wish. One that has ended already stays as it is.
    pub async fn end(&self, owner: &str, id: Uuid, because: Option<&str>) -> Result<Session, SessionError> {
        let ended = self.inner.store.end_session(owner, id, EndReason::Client, because).await?;
        let (session, now) = ended.ok_or(SessionError::Missing(id))?;
        if now {
            self.tell_ended(id, EndReason::Client);
        }
        Ok(session)
    }

    /// Speaks outside of any session.
    pub async fn say(&self, wish: &Wish) -> Result<Said, SessionError> {
        speaking::say(&self.inner.speech, wish).await
    }

    /// A place for one recording in memory; waits for one.
    pub async fn upload_place(&self) -> Result<OwnedSemaphorePermit, SessionError> {
        self.inner.uploads.clone().acquire_owned().await.map_err(|_| SessionError::Stopping)
    }

    /// The replica stops in order: the sessions that it holds end.
    pub async fn stop(&self) -> Result<u64, StoreError> {
        let ended = self.inner.store.end_sessions_of(self.inner.replica).await?;
        metrics::SESSIONS_ENDED.add([EndReason::ReplicaStopped.as_str()], ended);
        Ok(ended)
    }

    fn handle(&self, id: Uuid, owner: &str, held_here: bool) -> Handle {
        let mut live = self.inner.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.entry(id).or_insert_with(|| Live::start(self.inner.clone(), id, owner, held_here)).clone()
    }

    /// Ends the session's task here, where there is one: the row says already that it is over.
    fn tell_ended(&self, id: Uuid, reason: EndReason) {
        tracing::info!(session_id = %id, %reason, "session ended");
        metrics::SESSIONS_ENDED.inc([reason.as_str()]);
        self.close(id);
    }

    fn close(&self, id: Uuid) {
        let live = self.inner.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = live.get(&id) {
            handle.close();
        }
    }
}
