//! Hears words in sound, as it comes.
//!
//! Sound is looked at in blocks of 5 ms: of each, the strength of the tones that matter at the moment. A preamble is found
//! where its two symbols fill their windows; from there on the symbols' places are known to a few milliseconds.

use std::collections::VecDeque;
use std::f32::consts::TAU;

use super::{CLOSING, CRC, GLUED, LAST, NUMBER, OPENING, STEP_HZ, SYMBOL, SYNC_HZ, TURN, high_hz, low_hz, tones_of};

/// Samples of a block.
const BLOCK: usize = 80;
/// Blocks of a symbol.
const BLOCKS: usize = SYMBOL / BLOCK;
/// Blocks of a symbol that are listened to; the first and the last are left to its edges.
const WINDOW: usize = BLOCKS - 2;
/// The share of a window's power that its two tones must have.
const PURE: f32 = 0.6;
/// The share that each of them must have.
const EACH: f32 = 0.05;
/// The share that a tone which should not be there may have.
const OTHER: f32 = 0.15;
/// The share of a window's mean power that each of its blocks must have: none was replaced by silence.
const STEADY: f32 = 0.15;
/// Below this power (of a sample, squared) there is silence: -60 dB.
const SILENCE: f32 = 1000.0;
/// The next word of an utterance may begin this much off its beat, in samples: a block. A frame is four.
const OFF_BEAT: u64 = 100;
/// How long after its beat a missing word is called missing.
const PATIENCE: u64 = 1600;
/// Blocks that are kept: a preamble and what was before it.
const KEPT: usize = 4 * BLOCKS;

/// What was heard. Places are numbers of samples from the first that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// `start` is the preamble's first sample, `end` is behind the closing symbol. `glued`: no space before it. `last`:
    /// the utterance ends here.
    Word { text: String, start: u64, end: u64, glued: bool, last: bool },
    /// Something was there that is no whole word, or a word is missing here.
    Broken { start: u64, end: u64 },
}

/// As text; what is broken as U+FFFD.
pub fn transcript(heard: &[Heard]) -> String {
    let mut text = String::new();
    for heard in heard {
        let (word, glued) = match heard {
            Heard::Word { text, glued, .. } => (text.as_str(), *glued),
            Heard::Broken { .. } => ("\u{FFFD}", false),
        };
        if !text.is_empty() && !glued {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}

/// A decoder of 16-bit mono samples of 16 kHz, in any split. A stream may begin within an utterance; the words of one that
/// were not heard before the stream's end are not missed.
pub struct ToneDecoder {
    table: Vec<(f32, f32)>,
    /// Samples that do not fill a block.
    held: Vec<i16>,
    /// The newest `KEPT`.
    blocks: VecDeque<Block>,
    /// Blocks so far.
    count: u64,
    state: State,
    /// The number of the word that is due, and its first sample.
    due: Option<(u8, u64)>,
    out: Vec<Heard>,
}

struct Block {
    samples: [f32; BLOCK],
    power: f32,
    /// Of the sync tones, phases counted from the block's first sample.
    sync: [(f32, f32); 3],
}

enum State {
    /// A preamble fits at several blocks in a row: the sums of how well, alone and times the block. Their mean is its place.
    /// `stretched`: just before, something like it stood already.
    Search { weight: f64, moment: f64, stretched: bool },
    /// In a word that began with sample `start`; `bytes` have been heard.
    Word { start: u64, bytes: Vec<u8> },
}

impl Default for ToneDecoder {
    fn default() -> Self {
        let turn = |n| TAU * n as f32 / TURN as f32;
        Self {
            table: (0..TURN).map(|n| (turn(n).cos(), turn(n).sin())).collect(),
            held: Vec::with_capacity(BLOCK),
            // Before the first sample there was silence.
            blocks: (0..KEPT).map(|_| Block { samples: [0.0; BLOCK], power: 0.0, sync: [(0.0, 0.0); 3] }).collect(),
            count: 0,
            state: State::Search { weight: 0.0, moment: 0.0, stretched: false },
            due: None,
            out: Vec::new(),
        }
    }
}

impl ToneDecoder {
    /// What these samples complete, in order.
    pub fn push(&mut self, mut samples: &[i16]) -> Vec<Heard> {
        while !samples.is_empty() {
            let (now, later) = samples.split_at(samples.len().min(BLOCK - self.held.len()));
            self.held.extend_from_slice(now);
            samples = later;
            if self.held.len() == BLOCK {
                self.block();
                self.held.clear();
            }
        }
        std::mem::take(&mut self.out)
    }

    /// The sound has ended.
    pub fn finish(mut self) -> Vec<Heard> {
        self.held.resize(BLOCK, 0);
        let silence = [0; SYMBOL];
        let end = self.count * BLOCK as u64;
        let mut heard = self.push(&silence);
        heard.extend(self.push(&silence));
        if let State::Word { start, .. } = self.state {
            heard.push(Heard::Broken { start, end: end.max(start) });
        }
        heard
    }

    fn block(&mut self) {
        let mut samples = [0.0; BLOCK];
        samples.iter_mut().zip(&self.held).for_each(|(to, from)| *to = f32::from(*from));
        let power = samples.iter().map(|sample| sample * sample).sum();
        let sync =
            if power < SILENCE * BLOCK as f32 { Default::default() } else { SYNC_HZ.map(|hz| self.tone(&samples, hz)) };
        self.blocks.pop_front();
        self.blocks.push_back(Block { samples, power, sync });
        self.count += 1;
        match &self.state {
            State::Search { .. } => self.search(),
            State::Word { start, bytes } => {
                let begin = *start / BLOCK as u64 + (BLOCKS * (OPENING.len() + bytes.len())) as u64;
                if self.count == begin + BLOCKS as u64 {
                    self.symbol();
                }
            }
        }
    }

    /// The tone's part in a block, phase counted from the block's first sample.
    fn tone(&self, samples: &[f32; BLOCK], hz: usize) -> (f32, f32) {
        let step = hz / STEP_HZ;
        let mut at = 0;
        samples.iter().fold((0.0, 0.0), |(re, im), sample| {
            let (cos, sin) = self.table[at];
            at = (at + step) % TURN;
            (re + sample * cos, im - sample * sin)
        })
    }

    /// The blocks of the window that ends `back` blocks before the newest.
    fn window(&self, back: usize) -> impl Iterator<Item = &Block> {
        let end = self.blocks.len() - back;
        self.blocks.range(end - WINDOW..end)
    }

    /// The share of a window's power that one tone has, from its parts in the blocks.
    fn share(&self, hz: usize, parts: impl Iterator<Item = (f32, f32)>, power: f32) -> f32 {
        if power < SILENCE * (BLOCK * WINDOW) as f32 {
            return 0.0;
        }
        let turn = (hz / STEP_HZ * BLOCK) % TURN;
        let mut at = 0;
        let (re, im) = parts.fold((0.0, 0.0), |(sum_re, sum_im), (re, im)| {
            let (cos, sin) = self.table[at];
            at = (at + turn) % TURN;
            (sum_re + re * cos + im * sin, sum_im + im * cos - re * sin)
        });
        2.0 * (re * re + im * im) / ((BLOCK * WINDOW) as f32 * power)
    }

    /// No block of a window is much weaker than the others. Two tones 150 Hz apart beat by 30 % at most.
    fn is_steady(&self, back: usize) -> bool {
        let mean = self.window(back).map(|block| block.power).sum::<f32>() / WINDOW as f32;
        self.window(back).all(|block| block.power > STEADY * mean)
    }

    fn sync_shares(&self, back: usize) -> [f32; 3] {
        let power = self.window(back).map(|block| block.power).sum();
        [0, 1, 2].map(|n| self.share(SYNC_HZ[n], self.window(back).map(|block| block.sync[n]), power))
    }

    fn search(&mut self) {
        self.miss();
        // The window of the preamble's second symbol ends here, that of its first a symbol before.
        let (first, second) = (self.sync_shares(BLOCKS), self.sync_shares(0));
        let found = pure(first[0], first[1]) && pure(second[1], second[2]) && first[2] < OTHER && second[0] < OTHER;
        // Before it there is none of it, or a frame was doubled; within it no silence, or one was replaced.
        let alone = !found || self.sync_shares(2 * BLOCKS)[..2].iter().all(|share| *share < OTHER);
        let steady = self.is_steady(BLOCKS) && self.is_steady(0);
        let whole = found && alone && steady;
        let State::Search { weight, moment, stretched } = &mut self.state else { return };
        if whole {
            let score = f64::from(first[0].min(first[1]) + second[1].min(second[2]));
            *weight += score.powi(3);
            *moment += score.powi(3) * self.count as f64;
            return;
        }
        if *weight == 0.0 {
            *stretched = found && (*stretched || (steady && !alone));
            return;
        }
        // The window ends a block before its symbol.
        let end = ((*moment / *weight).round() as u64 + 1) * BLOCK as u64;
        let start = end.saturating_sub((OPENING.len() * SYMBOL) as u64);
        if *stretched {
            return self.broken(start);
        }
        self.state = State::Word { start, bytes: Vec::new() };
    }

    /// The word that is due has not come.
    fn miss(&mut self) {
        if let Some((_, at)) = self.due
            && self.count * BLOCK as u64 > at + (OPENING.len() * SYMBOL) as u64 + PATIENCE
        {
            self.due = None;
            self.out.push(Heard::Broken { start: at, end: at + SYMBOL as u64 });
        }
    }

    /// A symbol of a word has just ended.
    fn symbol(&mut self) {
        let power: f32 = self.window(1).map(|block| block.power).sum();
        let share = |hz: usize| {
            let parts = self.window(1).map(|block| self.tone(&block.samples, hz));
            self.share(hz, parts, power)
        };
        let loudest = |hz: fn(usize) -> usize| {
            let shares = (0..16).map(|half| (share(hz(half)), half));
            shares.max_by(|one, other| one.0.total_cmp(&other.0)).unwrap_or_default()
        };
        let State::Word { start, bytes } = &self.state else { return };
        let start = *start;
        let words = bytes.get(1).map_or(usize::MAX, |length| usize::from(*length) + 4);
        if bytes.len() > words {
            // The pause has none of the closing, or that was doubled.
            let alone = share(CLOSING[0]) < OTHER && share(CLOSING[1]) < OTHER;
            let bytes = bytes[..words].to_vec();
            return if alone { self.word(start, &bytes) } else { self.broken(start) };
        }
        if bytes.len() == words {
            let closed = pure(share(CLOSING[0]), share(CLOSING[1])) && self.is_steady(1);
            return if closed { self.heard_byte(0) } else { self.broken(start) };
        }
        let ((high, high_half), (low, low_half)) = (loudest(high_hz), loudest(low_hz));
        if !pure(high, low) || !self.is_steady(1) {
            return self.broken(start);
        }
        let byte = (high_half << 4 | low_half) as u8;
        debug_assert_eq!(tones_of(byte), [high_hz(high_half), low_hz(low_half)]);
        if byte == 0 && bytes.len() == 1 {
            return self.broken(start);
        }
        self.heard_byte(byte);
    }

    /// Closing is kept as one more byte.
    fn heard_byte(&mut self, byte: u8) {
        if let State::Word { bytes, .. } = &mut self.state {
            bytes.push(byte);
        }
    }

    fn word(&mut self, start: u64, bytes: &[u8]) {
        let (said, sum) = bytes.split_at(bytes.len() - 2);
        let Ok(text) = std::str::from_utf8(&said[2..]) else { return self.broken(start) };
        if sum != CRC.checksum(said).to_be_bytes() {
            return self.broken(start);
        }
        let (number, last, glued) = (said[0] & NUMBER, said[0] & LAST != 0, said[0] & GLUED != 0);
        // This is the pause's end.
        let end = self.count * BLOCK as u64 - SYMBOL as u64;
        match self.due.take() {
            Some((due, at)) if due != number || start.abs_diff(at) > OFF_BEAT => {
                self.out.push(Heard::Broken { start: at.min(start), end: start });
            }
            _ => {}
        }
        self.out.push(Heard::Word { text: text.to_owned(), start, end, glued, last });
        self.due = (!last).then_some((number % 63 + 1, end + SYMBOL as u64));
        self.state = State::Search { weight: 0.0, moment: 0.0, stretched: false };
    }

    fn broken(&mut self, start: u64) {
        self.due = None;
        self.out.push(Heard::Broken { start, end: self.count * BLOCK as u64 });
        self.state = State::Search { weight: 0.0, moment: 0.0, stretched: false };
    }
}

/// Both tones are there, and little else.
fn pure(one: f32, other: f32) -> bool {
    one + other > PURE && one > EACH && other > EACH
}
