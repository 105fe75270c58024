//! Speech engines: one folder each, one line in `registry.rs`.
//!
//! An engine hears ([`SpeechToText`]) and speaks ([`TextToSpeech`]). It knows its vendor's limits and hides them: a live
//! [`Recognition`] lasts as long as the caller wants, loses no sound and repeats no text, whatever the vendor's streams do.
//! Sound is mono PCM of 16 bits; a position is a count of samples from the start of the recognition, and every time in a
//! transcript is on that clock. Nothing here knows a session, a job or a table.

pub mod google;
pub mod openai;
pub mod recording;
pub mod registry;
pub mod vad;

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::call::money::Money;

pub use registry::{SpeechRegistry, SpeechUnavailable};

/// What a recognition listens for.
#[derive(Debug, Clone, PartialEq)]
pub struct RecognitionConfig {
    /// BCP 47: `en-US`.
    pub language: String,
    /// The engine's name of a model; `None`: its default for the sample rate.
    pub model: Option<String>,
    /// Of the samples that will come.
    pub rate_hz: u32,
    pub punctuation: bool,
    /// Words with their times, where the model can.
    pub words: bool,
    /// Provisional texts, where the model can.
    pub interims: bool,
    pub phrases: Vec<Phrase>,
}

/// A word or phrase that is likelier than the model thinks.
#[derive(Debug, Clone, PartialEq)]
pub struct Phrase {
    pub text: String,
    /// Above 0, at most 20.
    pub boost: f32,
}

/// What an engine can do with a configuration; the rest is left out of its requests, and said.
#[derive(Debug, Clone, PartialEq)]
pub struct Hearing {
    pub interims: bool,
    pub words: bool,
    pub phrases: bool,
    /// Of [`SpeechToText::recognize`].
    pub longest: Duration,
}

/// Speech into text.
#[async_trait]
pub trait SpeechToText: Send + Sync + 'static {
    /// As in the settings, labels and rows: `google`.
    fn name(&self) -> &'static str;

    fn hearing(&self, config: &RecognitionConfig) -> Hearing;

    /// Opens a live recognition. Nothing is sent before the first sound. Errors that a request will meet come as
    /// [`Heard::Ended`].
    fn listen(&self, config: RecognitionConfig) -> Recognition;

    /// Recognizes one recording of at most [`Hearing::longest`].
    async fn recognize(&self, config: &RecognitionConfig, samples: &[i16]) -> Result<Recognized, SpeechError>;

    /// What it costs by the price list in the settings; `None` where there is no price.
    fn cost(&self, _usage: &Usage) -> Option<Money> {
        None
    }
}

/// A live recognition. Dropping `sound` says that no more comes: what is outstanding is delivered, then [`Heard::Ended`].
/// Dropping `heard` gives it up at once.
#[derive(Debug)]
pub struct Recognition {
    /// Samples in order, without gaps; an empty one says that the source is silent on purpose (paused, muted). Waits where
    /// sound comes faster than it may be sent, or more is unheard than is kept.
    pub sound: mpsc::Sender<Vec<i16>>,
    pub heard: mpsc::Receiver<Heard>,
}

/// What a live recognition tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// Somebody began to speak, at this time.
    Started(Duration),
    Stopped(Duration),
    Text(Utterance),
    /// The engine cannot be reached; sound is kept meanwhile, within bounds.
    Degraded(String),
    Recovered,
    /// Always the last one.
    Ended(Result<Usage, SpeechError>),
}

/// What is said between two silences: interim texts with rising revisions, then one final.
#[derive(Debug, Clone, PartialEq)]
pub struct Utterance {
    /// From 0, rising by one.
    pub number: u64,
    /// From 0 within the utterance.
    pub revision: u32,
    pub text: String,
    pub is_final: bool,
    /// 0 to 1; `None` where the engine does not say.
    pub confidence: Option<f32>,
    pub words: Vec<Word>,
    pub start: Duration,
    pub end: Duration,
    /// A final that was made of a stable interim, because its stream broke.
    pub promoted: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    pub text: String,
    pub start: Duration,
    pub end: Duration,
    pub confidence: Option<f32>,
}

/// One recording, recognized.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognized {
    /// Finals only, in order.
    pub utterances: Vec<Utterance>,
    pub language: Option<String>,
    pub usage: Usage,
}

/// What is billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sound that was paid for, with what was sent twice.
    pub billed: Duration,
    /// Characters that were synthesized.
    pub characters: u64,
}

/// What is to be said.
#[derive(Debug, Clone, PartialEq)]
pub struct SynthesisRequest {
    pub text: String,
    /// `text` is SSML; an engine or voice that does not take it refuses.
    pub ssml: bool,
    pub language: String,
    /// The engine's name of a voice; `None`: its default for the language.
    pub voice: Option<String>,
    /// 0.25 to 2.0.
    pub speaking_rate: f32,
    /// Of the samples that are wanted.
    pub rate_hz: u32,
}

/// Text into speech.
#[async_trait]
pub trait TextToSpeech: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// Speaks. Sound comes in pieces of any size as it is made; the first error ends it. Dropping the receiver cancels.
    async fn speak(&self, request: SynthesisRequest) -> Result<Speech, SpeechError>;

    /// What saying so much with this voice (`None`: the default) costs by the price list in the settings; `None` where
    /// there is no price.
    fn cost(&self, _voice: Option<&str>, _usage: &Usage) -> Option<Money> {
        None
    }
}

/// Sound that is being made.
#[derive(Debug)]
pub struct Speech {
    /// As asked for.
    pub rate_hz: u32,
    pub sound: mpsc::Receiver<Result<Vec<i16>, SpeechError>>,
    pub usage: Usage,
}

/// Why an engine did not do it. The kind carries the decision.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{engine}: {detail}")]
pub struct SpeechError {
    pub engine: &'static str,
    pub kind: SpeechErrorKind,
    /// The engine's own words where it has any.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeechErrorKind {
    /// The request can never work: a language, model, voice or text that the engine does not take.
    Request,
    /// Credentials or rights are missing: a person has to act.
    Account,
    /// A quota; later.
    Busy,
    /// Not reachable, or broken; later.
    Unavailable,
    /// It answered something that we cannot read.
    Unreadable,
}

impl SpeechErrorKind {
    /// Whether the same request may work later.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable | Self::Unreadable)
    }
}
