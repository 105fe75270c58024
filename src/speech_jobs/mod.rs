//! Audio jobs from the queue: recordings into text, texts into sound.
//!
//! A job is a row of `speech_jobs`. Whoever takes it up holds a lease, renews it while at work, and writes with its fence:
//! a replica that was overtaken changes nothing. A long recording is heard in chunks; each is kept as soon as it is heard,
//! so that a crash does not pay for it twice. What passes is tried again with growing waits, at most `speech.jobs.max_tries`
//! times; everything else ends the job and says why. Hearing and speaking twice harms nobody, so there is no doubt here.

mod s3;
mod source;
mod synthesize;
mod transcribe;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::clock;
use crate::config::{self, Config};
use crate::egress::GuardedClient;
use crate::lifecycle::Lifecycle;
use crate::retry::wait_for;
use crate::speech::{SpeechError, SpeechErrorKind, SpeechRegistry, SpeechUnavailable};
use crate::store::speech_jobs::{LeasedSpeechJob, SpeechJobKind, SpeechResult};
use crate::store::{Store, StoreError};

/// Takes up audio jobs until shutdown. Cheap to clone.
#[derive(Clone)]
pub struct SpeechWorker {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    engines: SpeechRegistry,
    client: GuardedClient,
    s3: s3::S3,
    settings: config::SpeechJobs,
    /// BCP 47, where a job names none.
    language: String,
    replica: Uuid,
    lease: Duration,
    sweep: Duration,
}

/// Why a job did not get to its end this time.
#[derive(Debug)]
enum Trouble {
    /// It never will: a reason in one word, and what people read.
    Hopeless(&'static str, String),
    /// It may work later.
    Passing(&'static str, String),
    /// Another replica has it.
    Overtaken,
    /// The row could not be written: the lease runs out, and the job is taken up again.
    Store(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<SpeechError> for Trouble {
    fn from(error: SpeechError) -> Self {
        let text = error.to_string();
        match error.kind {
            SpeechErrorKind::Request => Self::Hopeless("engine_refused", text),
            // A person has to act, and mostly does before the tries are used up.
            SpeechErrorKind::Account => Self::Passing("engine_account", text),
            SpeechErrorKind::Busy => Self::Passing("engine_busy", text),
            SpeechErrorKind::Unavailable => Self::Passing("engine_unavailable", text),
            SpeechErrorKind::Unreadable => Self::Passing("engine_unreadable", text),
        }
    }
}

impl From<SpeechUnavailable> for Trouble {
    fn from(off: SpeechUnavailable) -> Self {
        Self::Hopeless("speech_off", off.to_string())
    }
}

impl SpeechWorker {
    /// # Errors
    /// No TLS on this machine.
    pub fn new(config: &Config, store: Store, engines: SpeechRegistry, replica: Uuid) -> Result<Self, String> {
        let settings = config.speech.jobs.clone();
        let client = GuardedClient::new(&config.egress, settings.fetch_timeout)
            .map_err(|error| format!("the client for recordings cannot be made: {error}"))?;
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                engines,
                client,
                s3: s3::S3::new(settings.fetch_timeout),
                settings,
                language: config.speech.language.clone(),
                replica,
                lease: config.worker.lease,
                sweep: config.worker.sweep_interval,
            }),
        })
    }

    /// Several replicas may run it at once.
    pub async fn run(self, lifecycle: Lifecycle) {
        let stop = lifecycle.soft_token();
        let slots = Arc::new(Semaphore::new(self.inner.settings.max_concurrent));
        loop {
            // Slots first: what is taken up can begin at once.
            let Some(Ok(first)) = stop.run_until_cancelled(slots.clone().acquire_owned()).await else { return };
            let mut permits = vec![first];
            permits.extend(std::iter::from_fn(|| slots.clone().try_acquire_owned().ok()));
            let claimed = self.inner.store.claim_speech_jobs(self.inner.replica, self.inner.lease, permits.len()).await;
            let jobs = claimed.unwrap_or_else(|error| {
                tracing::debug!(%error, "audio jobs wait for Postgres");
                Vec::new()
            });
            let idle = jobs.is_empty();
            for (job, permit) in jobs.into_iter().zip(permits.drain(..)) {
                lifecycle.spawn(self.inner.clone().work(job, permit, lifecycle.clone()));
            }
            drop(permits);
            if idle && stop.run_until_cancelled(clock::sleep(self.inner.sweep)).await.is_none() {
                return;
            }
        }
    }
}

impl Inner {
    async fn work(self: Arc<Self>, job: LeasedSpeechJob, _permit: OwnedSemaphorePermit, lifecycle: Lifecycle) {
        if job.tries > self.settings.max_tries {
            let detail = format!("a replica ended {} times while it was at work on it", self.settings.max_tries);
            self.failed(&job, "worker_lost", &detail, None).await;
            return;
        }
        let doing = async {
            match job.kind {
                SpeechJobKind::Transcribe => self.transcribe(&job).await,
                SpeechJobKind::Synthesize => self.synthesize(&job).await,
            }
        };
        let result = tokio::select! {
            result = doing => result,
            () = self.keep_lease(&job) => Err(Trouble::Overtaken),
            // Given back with the others: the next replica goes on with what is kept.
            () = lifecycle.stopping() => return,
        };
        let trouble = match result {
            Ok(done) => match self.store.complete_speech_job(&job, &done).await {
                Ok(true) => {
                    tracing::info!(job_id = %job.id, kind = %job.kind, tries = job.tries, "audio job completed");
                    return;
                }
                Ok(false) => Trouble::Overtaken,
                Err(error) => Trouble::Store(error),
            },
            Err(trouble) => trouble,
        };
        match trouble {
            Trouble::Hopeless(reason, detail) => self.failed(&job, reason, &detail, None).await,
            Trouble::Passing(reason, detail) => {
                let last = job.tries >= self.settings.max_tries;
                let wait = self.wait(&job);
                self.failed(&job, reason, &detail, (!last).then_some(wait)).await;
            }
            Trouble::Overtaken => tracing::warn!(job_id = %job.id, "overtaken: another replica has the audio job"),
            Trouble::Store(error) => {
                tracing::warn!(job_id = %job.id, %error, "the audio job could not be written; it is taken up again when its lease has run out");
            }
        }
    }

    async fn failed(&self, job: &LeasedSpeechJob, reason: &'static str, detail: &str, again_in: Option<Duration>) {
        match self.store.speech_job_failed(job, reason, detail, again_in).await {
            Ok(_) if again_in.is_some() => {
                tracing::info!(job_id = %job.id, kind = %job.kind, reason, tries = job.tries, "audio job waits for another try");
            }
            Ok(_) => tracing::warn!(job_id = %job.id, kind = %job.kind, reason, tries = job.tries, "audio job failed"),
            Err(error) => tracing::warn!(job_id = %job.id, %error, "the audio job's failure could not be written"),
        }
    }

    fn wait(&self, job: &LeasedSpeechJob) -> Duration {
        // Spread by the job's own id, so that an engine that comes back is not asked for everything at once.
        let seed = job.id.as_u64_pair().1.wrapping_add(u64::from(job.tries));
        let unit = fastrand::Rng::with_seed(seed).f64();
        wait_for(job.tries.saturating_sub(1), self.settings.retry_initial, self.settings.retry_max, unit)
    }

    /// Ends when the job is no longer ours, or may not be: nothing was renewed for a whole lease.
    async fn keep_lease(&self, job: &LeasedSpeechJob) {
        let mut renewed = clock::monotonic();
        loop {
            clock::sleep(self.lease / 3).await;
            let asked = clock::monotonic();
            match self.store.renew_speech_job(job, self.lease).await {
                Ok(true) => renewed = asked,
                Ok(false) => return,
                Err(_) if clock::monotonic() >= renewed + self.lease => return,
                Err(error) => tracing::debug!(job_id = %job.id, %error, "the lease was not renewed"),
            }
        }
    }
}

/// The row's request as its type.
fn request<T: serde::de::DeserializeOwned>(job: &LeasedSpeechJob) -> Result<T, Trouble> {
    // Another version of the program may have written it, and may read it.
    serde_json::from_value(job.request.clone())
        .map_err(|error| Trouble::Passing("unreadable", format!("its stored request cannot be read: {error}")))
}

fn result(engine: &str, result: serde_json::Value, output: Option<Vec<u8>>) -> SpeechResult {
    SpeechResult { engine: engine.to_owned(), result, output }
}
