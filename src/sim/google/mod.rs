//! A simulated Google Speech: recognition v2 and synthesis v1 over gRPC, in this process, for `voxd dev` and for tests.
//!
//! It hears tones and answers with the text that they carry, so that a lost, doubled or reordered frame shows as wrong
//! text; it speaks tones too. Rules, limits, codes and texts are Google's, as far as they are documented or were seen; what
//! is not known is chosen so that a wrong client fails. It can be told to fail in the ways that Google does (`Fault`), and
//! keeps a journal of what it was asked.
//!
//! | file | its subject |
//! |---|---|
//! | `options`, `script`, `auth`, `quota` | how it is set up, what goes wrong, who may call, how much |
//! | `server`, `calls`, `core` | connections, methods, what calls share |
//! | `request`, `models`, `locations` | what may be asked of which model where |
//! | `intake`, `ears`, `results`, `pace` | from bytes to samples, to words, to messages; pure |
//! | `stream`, `recognize` | the two ways to recognize |
//! | `utter`, `voices`, `ssml`, `sound`, `synthesize`, `speak` | synthesis |
//! | `journal`, `status` | what came, errors |
//!
//! Left out: named recognizers and phrase sets, batches, translation, recognition per channel, FLAC, MP3, AMR, WebM and MP4
//! (answered `UNIMPLEMENTED`), and the first version of the recognition API.

mod auth;
mod calls;
mod core;
mod ears;
mod intake;
mod journal;
mod locations;
mod models;
mod options;
mod pace;
mod quota;
mod recognize;
mod request;
mod results;
mod script;
mod server;
mod sound;
mod speak;
mod ssml;
mod status;
mod stream;
mod synthesize;
mod utter;
mod voices;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

pub use auth::Auth;
pub use journal::{Call, Ending, Ledger, Method};
pub use locations::{GetLocationRequest, LanguageMetadata, Location, LocationsMetadata, ModelMetadata};
pub use options::{Delay, GoogleOptions, HearingOptions, Quotas, SpeakingOptions};
pub use script::{Fault, What, When};

use crate::lifecycle::Lifecycle;
use core::Core;

/// How long running calls may take to end when the simulator stops.
const DRAIN: Duration = Duration::from_millis(500);

/// A running simulator. Dropping it stops it at once.
pub struct GoogleSim {
    addr: SocketAddr,
    core: Arc<Core>,
}

impl GoogleSim {
    /// Serves on a bound listener. Call it within a tokio runtime.
    ///
    /// # Errors
    /// The listener has no address; a speed that is not above 0; or it should speak aloud and `espeak-ng` is not installed.
    pub fn start(listener: TcpListener, options: GoogleOptions) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        if !(options.speed > 0.0 && options.speed.is_finite()) {
            let problem = format!("a speed of {}, expected more than 0", options.speed);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        if options.speaking.aloud && sound::espeak().is_none() {
            let problem = "espeak-ng is not installed: install it, or let the simulated voice speak in tones";
            return Err(io::Error::new(io::ErrorKind::NotFound, problem));
        }
        let core = Arc::new(Core::new(options, Lifecycle::new()));
        core.lifecycle.spawn(server::accept(listener, core.clone()));
        Ok(Self { addr, core })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address of recognition and of synthesis.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Settings that point a daemon here.
    pub fn environment(&self) -> Vec<(String, String)> {
        let settings = [
            ("VOXD_SPEECH__ENGINE", "google".to_owned()),
            ("VOXD_SPEECH__GOOGLE__PROJECT", "simulated".to_owned()),
            ("VOXD_SPEECH__GOOGLE__STT_ENDPOINT", self.endpoint()),
            ("VOXD_SPEECH__GOOGLE__TTS_ENDPOINT", self.endpoint()),
        ];
        settings.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// What came, oldest first: the newest 10,000 calls.
    pub fn calls(&self) -> Vec<Call> {
        self.core.journal.calls()
    }

    /// As [`GoogleSim::calls`], of one method.
    pub fn calls_of(&self, method: Method) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.method == method);
        calls
    }

    /// Waits until the journal looks like this.
    pub async fn until(&self, looks: impl Fn(&[Call]) -> bool) {
        let mut changes = self.core.journal.changes();
        loop {
            changes.borrow_and_update();
            if looks(&self.calls()) || changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// What all calls so far would be billed for.
    pub fn ledger(&self) -> Ledger {
        self.core.journal.ledger()
    }

    /// For calls from now on.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.core.set_faults(faults);
    }

    /// For calls from now on.
    pub fn set_auth(&self, auth: Auth) {
        self.core.set_auth(auth);
    }

    /// Stops; what still runs after half a second is cut.
    pub async fn stop(self) {
        self.core.lifecycle.drain(DRAIN).await;
    }
}

impl Drop for GoogleSim {
    fn drop(&mut self) {
        self.core.lifecycle.abort();
    }
}
