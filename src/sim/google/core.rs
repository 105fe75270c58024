//! What all calls share, and the threads by which a call hangs on its connection.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::auth::{self, Auth, Seen};
use super::journal::{Journal, Method};
use super::options::GoogleOptions;
use super::quota::Quota;
use super::script::{Fault, Script};
use crate::clock;
use crate::lifecycle::Lifecycle;

pub(super) struct Core {
    pub options: GoogleOptions,
    pub journal: Arc<Journal>,
    pub lifecycle: Lifecycle,
    pub hearing: Arc<Quota>,
    pub speaking: Arc<Quota>,
    auth: Mutex<Auth>,
    seen: Mutex<Seen>,
    faults: Mutex<Vec<Fault>>,
    dice: Mutex<fastrand::Rng>,
    requests: AtomicU64,
}

impl Core {
    pub fn new(options: GoogleOptions, lifecycle: Lifecycle) -> Self {
        let minute = options.real(Duration::from_secs(60));
        let quotas = &options.quotas;
        Self {
            journal: Arc::new(Journal::new()),
            lifecycle,
            hearing: Quota::new("speech", quotas.recognition_streams, quotas.recognitions_per_minute, minute),
            speaking: Quota::new("texttospeech", quotas.synthesis_streams, quotas.syntheses_per_minute, minute),
            auth: Mutex::new(options.auth.clone()),
            seen: Mutex::default(),
            faults: Mutex::new(options.faults.clone()),
            dice: Mutex::new(fastrand::Rng::with_seed(options.seed)),
            requests: AtomicU64::new(1),
            options,
        }
    }

    pub fn set_auth(&self, auth: Auth) {
        *self.auth.lock().unwrap_or_else(PoisonError::into_inner) = auth;
    }

    pub fn set_faults(&self, faults: Vec<Fault>) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    pub fn authorize(&self, headers: &HeaderMap) -> Result<(), Status> {
        let mut auth = self.auth.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Auth::Bearer { life: Some(life), .. } = &mut auth {
            *life = self.options.real(*life);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        auth::check(&auth, headers, &mut seen, (clock::now(), clock::monotonic()))
    }

    pub fn script(&self, method: Method, number: u64) -> Script {
        Script::of(&self.faults.lock().unwrap_or_else(PoisonError::into_inner), method, number)
    }

    /// From 0 to 1.
    pub fn share(&self) -> f64 {
        self.dice(fastrand::Rng::f64)
    }

    pub fn dice<T>(&self, throw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        throw(&mut self.dice.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another one each time.
    pub fn request_id(&self) -> String {
        format!("{:016x}", self.requests.fetch_add(1, Relaxed))
    }
}

/// A call's stream and its connection.
#[derive(Clone, Default)]
pub(super) struct Link {
    pub stream: CancellationToken,
    pub away: CancellationToken,
    pub cut: CancellationToken,
}

impl Link {
    pub fn of_stream(&self) -> Self {
        Self { stream: CancellationToken::new(), ..self.clone() }
    }

    pub fn reset(&self) {
        self.stream.cancel();
    }

    pub fn go_away(&self) {
        self.away.cancel();
    }

    pub fn disconnect(&self) {
        self.cut.cancel();
    }
}
