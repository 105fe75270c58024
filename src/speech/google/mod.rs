//! Google Cloud: Speech-to-Text v2 and Text-to-Speech v1, over gRPC.
//!
//! The middle is pure: [`request`] and [`models`] build what a model in a location takes, [`answer`] and [`fault`] read
//! what comes back, [`endless`] makes one recognition out of streams that Google ends after five minutes, [`text`] cuts
//! what is said into pieces. The edges are thin: [`auth`] and [`channel`] connect, [`session`] runs one live recognition,
//! `stt` and `tts` are the engine's two faces.

mod answer;
mod auth;
mod channel;
mod endless;
mod fault;
mod models;
mod price;
mod request;
mod session;
mod stt;
mod text;
mod tts;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::registry::Engines;
use super::{RecognitionConfig, SpeechError, SpeechErrorKind};
use crate::config::{Authorize, Config, GoogleSpeech};
use crate::lifecycle::Lifecycle;

pub const NAME: &str = "google";

/// In the recognizer's name where a simulator is asked.
const NO_PROJECT: &str = "local";

/// What both faces share.
#[derive(Debug)]
struct Engine {
    settings: GoogleSpeech,
    project: String,
    channels: channel::Channels,
    refusals: models::Refusals,
    /// Spreads waits; differs from recognition to recognition.
    seed: AtomicU64,
}

/// # Errors
/// Why the engine is off: no project, unreadable credentials, a model that is not offered in its location.
pub fn from_config(config: &Config, lifecycle: &Lifecycle) -> Result<Engines, String> {
    let settings = config.speech.google.clone();
    let plain = |endpoint: &str| endpoint.starts_with("http:");
    let unauthorized = match settings.authorize {
        Authorize::Https => {
            plain(&settings.stt_endpoint) && (settings.tts_endpoint.is_empty() || plain(&settings.tts_endpoint))
        }
        Authorize::Always => false,
        Authorize::Never => true,
    };
    let auth = match unauthorized {
        // A file that is never shown to anybody need not be there.
        true => auth::Auth::new(std::path::Path::new(""), ""),
        false => auth::Auth::new(&settings.credentials_file, &settings.quota_project),
    };
    let auth = auth.map_err(|problem| format!("speech.google.credentials_file: {problem}"))?;
    let set = Some(settings.project.clone()).filter(|project| !project.is_empty());
    let simulated = plain(&settings.stt_endpoint).then(|| NO_PROJECT.to_owned());
    let project = set
        .or_else(|| auth.project())
        .or(simulated)
        .ok_or("no project: set speech.google.project (GOOGLE_CLOUD_PROJECT), or credentials that name theirs")?;
    for model in [&settings.stt_model, &settings.stt_model_8khz] {
        models::by_name(model).location(&settings.stt_location)?;
    }
    let channels = channel::Channels::new(&settings, auth);
    let seed = AtomicU64::new(u64::from(std::process::id()));
    let engine = Arc::new(Engine { settings, project, channels, refusals: models::Refusals::default(), seed });
    let stt = stt::Stt { engine: engine.clone(), lifecycle: lifecycle.clone() };
    let tts = tts::Tts { engine, lifecycle: lifecycle.clone() };
    Ok(Engines { stt: Some(Arc::new(stt)), tts: Some(Arc::new(tts)) })
}

impl Engine {
    fn plan(&self, config: &RecognitionConfig, streaming: bool) -> Result<request::Plan, String> {
        let refused = |model: &str, location: &str| self.refusals.of(model, location, streaming);
        request::Plan::new(&self.settings, &self.project, config, streaming, refused)
    }

    fn next_seed(&self) -> u64 {
        self.seed.fetch_add(1, Ordering::Relaxed)
    }
}

fn refused(detail: impl Into<String>) -> SpeechError {
    SpeechError { engine: NAME, kind: SpeechErrorKind::Request, detail: detail.into() }
}

fn unreadable(detail: impl Into<String>) -> SpeechError {
    SpeechError { engine: NAME, kind: SpeechErrorKind::Unreadable, detail: detail.into() }
}
