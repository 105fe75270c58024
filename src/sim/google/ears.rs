//! Hears: from samples to speech that begins, words, and speech that ends. Pure; places are samples of 16 kHz from the
//! first one, so that every time comes from what was received and from no clock.
//!
//! Speech is told from silence by its strength. What carries tones is heard word by word; what carries none is answered
//! with its length.

use std::time::Duration;

use crate::sim::tones::{Heard, RATE_HZ, ToneDecoder};

/// 10 ms.
const BLOCK: usize = 160;
/// Mean square of a block that is not silent: -43 dB below full scale.
const LOUD: f32 = 52_900.0;
/// Loud blocks in a row that begin speech.
const ONSET: u64 = 3;
/// Shorter speech without tones has no text.
const LEAST: u64 = RATE_HZ as u64 / 5;
/// Speech without tones is told of while it lasts: first after so long, then every second. A word of tones is through by then.
const UNTOLD: u64 = 2 * RATE_HZ as u64;

/// The time of a place.
pub(super) fn time(at: u64) -> Duration {
    Duration::from_nanos((u128::from(at) * 1_000_000_000 / u128::from(RATE_HZ)) as u64)
}

pub(super) fn place(time: Duration) -> u64 {
    (time.as_nanos() * u128::from(RATE_HZ) / 1_000_000_000) as u64
}

/// A word, or something that should have been one (U+FFFD).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub text: String,
    pub start: u64,
    pub end: u64,
    pub is_whole: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sign {
    /// Speech began.
    Began(u64),
    /// All words of the utterance so far.
    Interim(Vec<Said>),
    /// Speech ended.
    Ended(u64),
    /// All words of an utterance; not none.
    Final(Vec<Said>),
}

pub(super) struct Ears {
    decoder: ToneDecoder,
    /// Samples that do not fill a block.
    held: Vec<i16>,
    at: u64,
    endpoint: u64,
    longest: u64,
    /// Loud blocks in a row.
    loud: u64,
    speech: Option<Speech>,
    /// The end of the last sound that was loud within speech.
    quiet_since: Option<u64>,
}

struct Speech {
    /// Of what has had no final text yet.
    start: u64,
    loud_until: u64,
    said: Vec<Said>,
    /// A final text came already, because it went on for too long.
    is_later: bool,
}

impl Ears {
    pub fn new(endpoint: Duration, longest: Duration) -> Self {
        Self {
            decoder: ToneDecoder::default(),
            held: Vec::new(),
            at: 0,
            endpoint: place(endpoint.max(Duration::from_millis(300))),
            longest: place(longest),
            loud: 0,
            speech: None,
            quiet_since: None,
        }
    }

    /// How much has been heard.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Since when it is silent after speech; `None` before the first.
    pub fn quiet_since(&self) -> Option<u64> {
        self.quiet_since
    }

    pub fn push(&mut self, samples: &[i16]) -> Vec<Sign> {
        let mut signs = Vec::new();
        self.held.extend_from_slice(samples);
        let held = std::mem::take(&mut self.held);
        let (blocks, rest) = held.as_chunks::<BLOCK>();
        blocks.iter().for_each(|block| self.block(block, &mut signs));
        self.held = rest.to_vec();
        signs
    }

    /// No more comes: what was begun ends here.
    pub fn finish(&mut self) -> Vec<Sign> {
        let mut signs = Vec::new();
        let rest = std::mem::take(&mut self.held);
        self.at += rest.len() as u64;
        let mut decoder = std::mem::take(&mut self.decoder);
        let mut heard = decoder.push(&rest);
        heard.extend(decoder.finish());
        self.words(heard, &mut signs);
        signs.retain(|sign| !matches!(sign, Sign::Interim(_)));
        if let Some(speech) = self.speech.take() {
            signs.extend(speech.text(self.at).map(Sign::Final));
        }
        signs
    }

    fn block(&mut self, block: &[i16; BLOCK], signs: &mut Vec<Sign>) {
        self.at += BLOCK as u64;
        let power: f32 = block.iter().map(|sample| f32::from(*sample).powi(2)).sum();
        let is_loud = power > LOUD * BLOCK as f32;
        self.loud = if is_loud { self.loud + 1 } else { 0 };
        if self.loud >= ONSET && self.speech.is_none() {
            self.begin(self.at - self.loud * BLOCK as u64, signs);
        }
        if let Some(speech) = self.speech.as_mut().filter(|_| is_loud) {
            speech.loud_until = self.at;
            self.quiet_since = Some(self.at);
        }
        let heard = self.decoder.push(block);
        let has_words = !heard.is_empty();
        self.words(heard, signs);
        let (at, longest) = (self.at, self.longest);
        let Some(speech) = &mut self.speech else { return };
        let lasted = at - speech.start;
        if speech.said.is_empty() && is_loud && lasted >= UNTOLD && lasted % u64::from(RATE_HZ) < BLOCK as u64 {
            signs.extend(speech.text(at).map(Sign::Interim));
        }
        if lasted >= longest && (has_words || speech.said.is_empty()) {
            signs.extend(speech.text(at).map(Sign::Final));
            *speech = Speech { start: at, said: Vec::new(), is_later: true, loud_until: speech.loud_until };
        }
        if at >= speech.loud_until + self.endpoint
            && let Some(speech) = self.speech.take()
        {
            signs.push(Sign::Ended(speech.loud_until));
            signs.extend(speech.text(at).map(Sign::Final));
        }
    }

    fn begin(&mut self, start: u64, signs: &mut Vec<Sign>) {
        self.speech = Some(Speech { start, loud_until: self.at, said: Vec::new(), is_later: false });
        self.quiet_since = Some(self.at);
        signs.push(Sign::Began(start));
    }

    fn words(&mut self, heard: Vec<Heard>, signs: &mut Vec<Sign>) {
        for heard in heard {
            let (text, start, end, glued, is_whole) = match heard {
                Heard::Word { text, start, end, glued, .. } => (text, start, end, glued, true),
                Heard::Broken { start, end } => ("\u{FFFD}".to_owned(), start, end, false, false),
            };
            // Tones too soft to be speech are heard all the same.
            if self.speech.is_none() {
                self.begin(start, signs);
            }
            let Some(speech) = &mut self.speech else { continue };
            match speech.said.last_mut().filter(|_| glued) {
                Some(last) => {
                    last.text += &text;
                    last.end = end;
                }
                None => speech.said.push(Said { text, start, end, is_whole }),
            }
            signs.push(Sign::Interim(speech.said.clone()));
        }
    }
}

impl Speech {
    /// Its words; without any, its length as of `at`.
    fn text(&self, at: u64) -> Option<Vec<Said>> {
        if !self.said.is_empty() {
            return Some(self.said.clone());
        }
        let end = self.loud_until.min(at);
        let length = end.saturating_sub(self.start);
        // What is left of speech that was told of before is nothing new.
        if length < LEAST || (self.is_later && length < u64::from(RATE_HZ)) {
            return None;
        }
        let text = format!("(speech, {:.1} s)", time(length).as_secs_f64());
        Some(vec![Said { text, start: self.start, end, is_whole: true }])
    }
}
