//! What is said to the caller: utterances with numbers and revisions, each with one final.

use std::time::Duration;

use super::stream::Stream;
use crate::speech::google::answer::Piece;
use crate::speech::{Heard, Utterance, Word};

/// A word that ends this soon behind what was heard already is the rest of one that was: 100 ms.
const REST_OF_A_WORD: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Utterances {
    rate_hz: u32,
    number: u64,
    open: Option<Open>,
    /// The last word of the last final, folded.
    last_word: String,
    /// Words that were heard twice and told once.
    pub dropped: u64,
}

#[derive(Debug)]
struct Open {
    revision: u32,
    text: String,
    stable: String,
    words: Vec<Word>,
    start: u64,
    end: u64,
}

/// A piece on the media clock.
#[derive(Debug)]
pub struct Placed {
    pub text: String,
    pub stable: String,
    pub confidence: Option<f32>,
    pub words: Vec<Word>,
    pub end: u64,
}

impl Utterances {
    pub fn new(rate_hz: u32) -> Self {
        Self { rate_hz, number: 0, open: None, last_word: String::new(), dropped: 0 }
    }

    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// How far the open utterance reaches.
    pub fn open_end(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.end)
    }

    /// Puts a piece on the media clock, and takes out of it what an earlier stream heard already: only a stream's `first`
    /// words can be that.
    pub fn place(&mut self, piece: Piece, stream: &Stream, first: bool, is_final: bool) -> Placed {
        let time = |offset| samples_time(stream.place(offset, self.rate_hz), self.rate_hz);
        let word = |word: crate::speech::google::answer::Word| Word {
            text: word.text,
            start: time(word.start),
            end: time(word.end),
            confidence: word.confidence,
        };
        let mut placed = Placed {
            end: piece.end.map_or(stream.sent, |end| stream.place(end, self.rate_hz)),
            words: piece.words.into_iter().map(word).collect(),
            text: piece.text,
            stable: piece.stable,
            confidence: piece.confidence,
        };
        if first && stream.heard_before > stream.base {
            let repeated = self.without_repeats(&mut placed, stream.heard_before);
            self.dropped += if is_final { repeated as u64 } else { 0 };
        }
        placed
    }

    /// The two streams share the sound before `heard_before`, a fifth of a second at most: the end of one word. By word
    /// times it is known; without them it is the first word, if it is the one that was told last.
    fn without_repeats(&self, placed: &mut Placed, heard_before: u64) -> usize {
        let limit = samples_time(heard_before, self.rate_hz) + REST_OF_A_WORD;
        let repeated = if placed.end <= heard_before {
            placed.text.split_whitespace().count()
        } else if placed.words.is_empty() {
            let first = placed.text.split_whitespace().next().map(folded).unwrap_or_default();
            usize::from(!first.is_empty() && first == self.last_word)
        } else {
            placed.words.iter().take_while(|word| word.end <= limit).count()
        };
        if repeated == 0 {
            return 0;
        }
        placed.words.drain(..repeated.min(placed.words.len()));
        for text in [&mut placed.text, &mut placed.stable] {
            *text = text.split_whitespace().skip(repeated).collect::<Vec<_>>().join(" ");
        }
        repeated
    }

    pub fn interim(&mut self, placed: Placed, first_voiced: u64, out: &mut Vec<Heard>) {
        if placed.text.is_empty() {
            return;
        }
        let revision = match &self.open {
            Some(open) if open.text == placed.text => return,
            Some(open) => open.revision + 1,
            None => 0,
        };
        let start = self.open.as_ref().map_or(first_voiced, |open| open.start).min(placed.end);
        let Placed { text, stable, words, end, .. } = placed;
        self.open = Some(Open { revision, text: text.clone(), stable, words: words.clone(), start, end });
        out.push(self.utterance(Said { revision, text, words, start, end, ..Said::default() }));
    }

    /// An empty final ends an utterance of which nothing remained, and is nothing where none is open.
    pub fn final_(&mut self, placed: Placed, first_voiced: u64, out: &mut Vec<Heard>) {
        let open = self.open.take();
        if placed.text.is_empty() && open.is_none() {
            return;
        }
        if let Some(last) = placed.text.split_whitespace().next_back() {
            self.last_word = folded(last);
        }
        let revision = open.as_ref().map_or(0, |open| open.revision + 1);
        let start = open.map_or(first_voiced, |open| open.start).min(placed.end);
        let Placed { text, words, end, confidence, .. } = placed;
        out.push(self.utterance(Said {
            revision,
            text,
            words,
            start,
            end,
            confidence,
            is_final: true,
            promoted: false,
        }));
        self.number += 1;
    }

    /// Ends the open utterance whose stream will say no more of it, with the part that was stable. Says whether there was
    /// such a part.
    pub fn settle(&mut self, out: &mut Vec<Heard>) -> bool {
        let Some(open) = self.open.take() else { return false };
        let promoted = !open.stable.is_empty();
        let kept = open.stable.split_whitespace().count();
        let mut words = open.words;
        words.truncate(kept);
        if let Some(last) = open.stable.split_whitespace().next_back() {
            self.last_word = folded(last);
        }
        let (revision, start, end) = (open.revision + 1, open.start, open.end);
        let said = Said { revision, text: open.stable, words, start, end, confidence: None, is_final: true, promoted };
        out.push(self.utterance(said));
        self.number += 1;
        promoted
    }

    fn utterance(&self, said: Said) -> Heard {
        let Said { revision, text, words, start, end, confidence, is_final, promoted } = said;
        let start = words.first().map_or(samples_time(start, self.rate_hz), |word| word.start);
        let end = samples_time(end, self.rate_hz).max(start);
        let number = self.number;
        Heard::Text(Utterance { number, revision, text, is_final, confidence, words, start, end, promoted })
    }
}

#[derive(Default)]
struct Said {
    revision: u32,
    text: String,
    words: Vec<Word>,
    start: u64,
    end: u64,
    confidence: Option<f32>,
    is_final: bool,
    promoted: bool,
}

/// Without case and punctuation.
fn folded(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

pub fn samples_time(samples: u64, rate_hz: u32) -> Duration {
    Duration::from_nanos((u128::from(samples) * 1_000_000_000 / u128::from(rate_hz.max(1))) as u64)
}
