//! A text into sound.

use uuid::Uuid;

use super::SessionError;
use crate::clock;
use crate::speech::registry::SpeechRegistry;
use crate::speech::{SpeechError, SpeechErrorKind, SynthesisRequest};
use crate::telemetry::metrics;

/// The longest that is spoken at once, in seconds: what an engine sends beyond is not taken.
const LONGEST_SECONDS: usize = 15 * 60;

/// What is to be said.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    pub text: String,
    pub language: String,
    pub voice: Option<String>,
    /// 0.25 to 2.
    pub speaking_rate: f64,
    /// Of the samples that are wanted.
    pub rate_hz: u32,
}

/// What was spoken.
#[derive(Debug, Clone)]
pub struct Said {
    pub samples: Vec<i16>,
    pub rate_hz: u32,
    pub engine: &'static str,
    /// In the session, where there is one.
    pub turn_id: Option<Uuid>,
}

impl Said {
    pub fn duration_ms(&self) -> u64 {
        self.samples.len() as u64 * 1000 / u64::from(self.rate_hz.max(1))
    }
}

/// Speaks the whole text.
pub(super) async fn say(speech: &SpeechRegistry, wish: &Wish) -> Result<Said, SessionError> {
    let engine = speech.tts()?;
    let begun = clock::monotonic();
    let request = SynthesisRequest {
        text: wish.text.clone(),
        ssml: false,
        language: wish.language.clone(),
        voice: wish.voice.clone(),
        speaking_rate: wish.speaking_rate as f32,
        rate_hz: wish.rate_hz,
    };
    let mut spoken = engine.speak(request).await?;
    let most = LONGEST_SECONDS * wish.rate_hz as usize;
    let mut samples = Vec::new();
    while let Some(piece) = spoken.sound.recv().await {
        let piece = piece?;
        if samples.len() + piece.len() > most {
            let detail = format!("more than {LONGEST_SECONDS} s of speech");
            return Err(SpeechError { engine: engine.name(), kind: SpeechErrorKind::Request, detail }.into());
        }
        samples.extend(piece);
    }
    metrics::TURN_STAGE.record(["synthesize"], clock::monotonic() - begun);
    Ok(Said { samples, rate_hz: spoken.rate_hz, engine: engine.name(), turn_id: None })
}
