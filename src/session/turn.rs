//! What was said, as it is kept and shown.

use serde::{Deserialize, Serialize};

/// A word with its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SpokenWord {
    pub word: String,
    pub start_ms: u64,
    pub end_ms: u64,
    /// 0 to 1; null where the engine does not say.
    pub confidence: Option<f64>,
}

/// What was understood of a stretch of sound. Times count from its beginning.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transcript {
    /// Empty where nothing was said.
    pub text: String,
    /// Of the utterances, each weighing as much as its words; `None` where the engine does not say.
    pub confidence: Option<f64>,
    pub words: Vec<SpokenWord>,
    pub language: Option<String>,
    /// From the first word to the last.
    pub start_ms: u64,
    pub end_ms: u64,
    /// Sound that the engine counts.
    pub billed_ms: u64,
}

impl Transcript {
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The words, so much later.
    pub fn words_at(&self, start_ms: u64) -> Vec<SpokenWord> {
        let later = |word: &SpokenWord| SpokenWord {
            start_ms: word.start_ms + start_ms,
            end_ms: word.end_ms + start_ms,
            ..word.clone()
        };
        self.words.iter().map(later).collect()
    }
}
