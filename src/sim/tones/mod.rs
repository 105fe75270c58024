//! Tones that carry text: what the simulated speech engines speak and hear.
//!
//! A transcript that comes out of them proves what went through every codec, buffer and stream on the way. Each word is a
//! burst of two-tone symbols that survives mu-law at 8 kHz, Opus, resampling, noise and another volume, but not a lost or
//! doubled 20 ms frame: half a symbol more or less spoils the word's symbols, its checksum, or the beat on which the next
//! word has to begin.
//!
//! A symbol lasts 40 ms and holds one byte: its high half picks one of 16 tones from 450 to 1575 Hz, its low half one of
//! 16 from 1725 to 2850 Hz. A word is
//!
//! | symbols | what |
//! |---|---|
//! | 2 | preamble: 350 + 1650 Hz, then 1650 + 3000 Hz, which no byte uses |
//! | 1 | head: bit 7 the utterance's last word, bit 6 no space before it, bits 0 to 5 its number: 0 the first, then 1 to 63 and round again |
//! | 1 | length in bytes, 1 to 255 |
//! | 1 each | the word in UTF-8 |
//! | 2 | CRC-16 of head, length and word |
//! | 1 | closing: 350 + 3000 Hz |
//! | 1 | silence |
//!
//! and the next word of the utterance begins exactly there. Utterances may lie apart as they like.

mod decode;

#[cfg(test)]
mod tests;

use std::f32::consts::TAU;

pub use decode::{Heard, ToneDecoder, transcript};

/// Of what is spoken and heard.
pub const RATE_HZ: u32 = 16_000;
/// Samples of a symbol.
pub const SYMBOL: usize = 640;
/// Each tone's peak, of 32,768.
const PEAK: f32 = 5000.0;
/// A symbol swells and fades over this many samples: no clicks.
const EDGE: usize = 48;
/// All tones are multiples of this, which makes one turn of a table of `TURN` samples.
const STEP_HZ: usize = 25;
const TURN: usize = RATE_HZ as usize / STEP_HZ;

/// The three tones of preamble and closing.
const SYNC_HZ: [usize; 3] = [350, 1650, 3000];
const OPENING: [[usize; 2]; 2] = [[SYNC_HZ[0], SYNC_HZ[1]], [SYNC_HZ[1], SYNC_HZ[2]]];
const CLOSING: [usize; 2] = [SYNC_HZ[0], SYNC_HZ[2]];
const LAST: u8 = 0x80;
const GLUED: u8 = 0x40;
const NUMBER: u8 = 0x3F;
/// The longest word in bytes; longer ones go in pieces.
const WORD_BYTES: usize = 255;

static CRC: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_IBM_SDLC);

/// The tones of a byte's two halves, in Hz.
fn tones_of(byte: u8) -> [usize; 2] {
    [high_hz(usize::from(byte >> 4)), low_hz(usize::from(byte & 15))]
}

fn high_hz(half: usize) -> usize {
    450 + 75 * half
}

fn low_hz(half: usize) -> usize {
    1725 + 75 * half
}

/// Speaks `text` as one utterance: 16-bit mono samples of 16 kHz. White space divides words and is otherwise lost.
pub fn encode(text: &str) -> Vec<i16> {
    let pieces: Vec<(bool, &str)> = text.split_whitespace().flat_map(pieces).collect();
    let mut out = Vec::new();
    for (n, (glued, word)) in pieces.iter().enumerate() {
        let number = if n == 0 { 0 } else { ((n - 1) % 63 + 1) as u8 };
        let last = if n + 1 == pieces.len() { LAST } else { 0 };
        let mut bytes = vec![number | last | if *glued { GLUED } else { 0 }, word.len() as u8];
        bytes.extend(word.as_bytes());
        bytes.extend(CRC.checksum(&bytes).to_be_bytes());
        OPENING.into_iter().for_each(|tones| symbol(tones, &mut out));
        bytes.into_iter().for_each(|byte| symbol(tones_of(byte), &mut out));
        symbol(CLOSING, &mut out);
        out.resize(out.len() + SYMBOL, 0);
    }
    out
}

/// A word in pieces that fit; all but the first are glued to the one before.
fn pieces(word: &str) -> Vec<(bool, &str)> {
    let mut rest = word;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.floor_char_boundary(WORD_BYTES));
        pieces.push((!pieces.is_empty(), piece));
        rest = later;
    }
    pieces
}

fn symbol(tones: [usize; 2], out: &mut Vec<i16>) {
    for n in 0..SYMBOL {
        let wave = |hz: usize| (TAU * ((hz / STEP_HZ * n) % TURN) as f32 / TURN as f32).sin();
        let edge = n.min(SYMBOL - 1 - n);
        let swell = if edge < EDGE { (edge as f32 + 0.5) / EDGE as f32 } else { 1.0 };
        out.push((PEAK * swell * tones.map(wave).iter().sum::<f32>()).round() as i16);
    }
}
