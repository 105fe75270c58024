//! How the simulator is set up. Times are Google's own and are divided by `speed`.

use std::time::Duration;

use super::auth::Auth;
use super::script::Fault;

/// The default is Google as it is documented and was measured, without credentials.
#[derive(Debug, Clone)]
pub struct GoogleOptions {
    /// The simulator's clock runs this many times as fast as the machine's: limits and delays are shorter, and sound may come
    /// faster. Times in transcripts are counted in bytes and do not change.
    pub speed: f64,
    /// Of delays that are drawn and of pieces' sizes.
    pub seed: u64,
    /// The location that this endpoint stands for; `None`: any that a resource name says.
    pub location: Option<String>,
    pub auth: Auth,
    pub faults: Vec<Fault>,
    pub hearing: HearingOptions,
    pub speaking: SpeakingOptions,
    pub quotas: Quotas,
}

/// Of recognition.
#[derive(Debug, Clone)]
pub struct HearingOptions {
    /// A stream that gets no sound for so long is aborted.
    pub idle: Duration,
    /// A stream lasts so long at most.
    pub age: Duration,
    /// Sound may come this many times as fast as it is spoken, over ten seconds.
    pub pace: f64,
    /// Response headers are held back until the first sound or the first response.
    pub hold_headers: bool,
    /// Sound that is cut within a sample is refused; else it is only counted.
    pub whole_samples: bool,
    /// So much silence ends an utterance. At least 300 ms: the tones' last word must be through.
    pub endpoint: Duration,
    /// Who speaks on and on gets a final text after so long.
    pub longest_utterance: Duration,
    /// From a word's end to its interim text.
    pub interim_delay: Duration,
    /// From the end of speech to the final text.
    pub final_delay: Delay,
    /// From the client's half-close to the final text.
    pub flush_delay: Duration,
    /// Models for one utterance end their stream with `CANCELLED`, as was reported, instead of `OK`.
    pub cancelled_after_utterance: bool,
}

/// How long something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// Drawn from what was measured for the model.
    Measured,
    Fixed(Duration),
}

/// Of synthesis.
#[derive(Debug, Clone)]
pub struct SpeakingOptions {
    /// Until the first sound.
    pub first_sound: Duration,
    /// A stream that gets no input for so long is aborted.
    pub input_idle: Duration,
    /// Streamed pieces may end within a sample.
    pub odd_pieces: bool,
    /// Every second WAV has a chunk of its own before the sound.
    pub extra_chunk: bool,
    /// Replies are filled up with silence to this size.
    pub least_reply_bytes: usize,
    pub longest_sentence_bytes: usize,
    /// Speak with `espeak-ng` instead of in tones.
    pub aloud: bool,
}

/// What is beyond them is answered `RESOURCE_EXHAUSTED`. The figures for recognition are not documented.
#[derive(Debug, Clone)]
pub struct Quotas {
    pub recognition_streams: usize,
    pub recognitions_per_minute: usize,
    pub synthesis_streams: usize,
    pub syntheses_per_minute: usize,
}

impl Default for GoogleOptions {
    fn default() -> Self {
        Self {
            speed: 1.0,
            seed: 0,
            location: None,
            auth: Auth::None,
            faults: Vec::new(),
            hearing: HearingOptions::default(),
            speaking: SpeakingOptions::default(),
            quotas: Quotas::default(),
        }
    }
}

impl Default for HearingOptions {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(10),
            age: Duration::from_secs(300),
            pace: 8.0,
            hold_headers: true,
            whole_samples: true,
            endpoint: Duration::from_millis(500),
            longest_utterance: Duration::from_secs(60),
            interim_delay: Duration::from_millis(200),
            final_delay: Delay::Measured,
            flush_delay: Duration::from_millis(100),
            cancelled_after_utterance: false,
        }
    }
}

impl Default for SpeakingOptions {
    fn default() -> Self {
        Self {
            first_sound: Duration::from_millis(200),
            input_idle: Duration::from_secs(5),
            odd_pieces: true,
            extra_chunk: true,
            least_reply_bytes: 0,
            longest_sentence_bytes: 900,
            aloud: false,
        }
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            recognition_streams: 300,
            recognitions_per_minute: 900,
            synthesis_streams: 100,
            syntheses_per_minute: 200,
        }
    }
}

impl GoogleOptions {
    /// On the machine's clock.
    pub(super) fn real(&self, nominal: Duration) -> Duration {
        nominal.div_f64(self.speed)
    }
}
