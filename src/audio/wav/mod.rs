//! RIFF/WAVE, read as a stream.
//!
//! Bytes come in any split; what is kept between two calls is less than a chunk's header or one frame of samples. The
//! sizes in a header are not trusted: programs that write to a pipe leave 0, 0x7FFFFFFF, 0xFFFFFFFF (ffmpeg) or
//! 0x7FFFF000 (SoX) there, and files get cut. Sound is read for as long as there is any, up to the size told.
//!
//! Sources: "Multimedia Programming Interface and Data Specifications 1.0" (IBM, Microsoft 1991); Microsoft's
//! `WAVEFORMATEXTENSIBLE`; EBU Tech 3306 for RF64.

mod header;
mod write;

#[cfg(test)]
mod tests;

pub use write::{header, streamed_header};

use super::AudioError;
use super::decode::Pick;
use super::frames::Frames;
use header::Fmt;

/// A data chunk's size that means: until the end. SoX writes 0x7FFFF000, others the largest numbers there are.
const STREAMED_FROM: u32 = 0x7FFF_F000;
/// More of a `fmt ` chunk is not looked at.
const FMT_BYTES: usize = 40;

/// A push parser: bytes in, 16-bit mono samples out.
#[derive(Debug)]
pub struct WavReader {
    pick: Pick,
    state: State,
    /// Bytes of the header that is being read.
    head: [u8; FMT_BYTES],
    held: usize,
    /// Bytes read.
    at: u64,
    /// Where the RIFF chunk says that it ends; None where it does not know.
    riff_end: Option<u64>,
    /// The sound's size by an RF64 file's `ds64` chunk.
    long_size: Option<u64>,
    fmt: Option<Fmt>,
}

#[derive(Debug)]
enum State {
    /// The twelve bytes `RIFF`, size, `WAVE`.
    Riff,
    /// Eight bytes: a chunk's name and size.
    Chunk,
    /// The beginning of `fmt ` or `ds64`, then `rest` bytes to skip.
    Body {
        kind: Body,
        wanted: usize,
        rest: u32,
    },
    Skip {
        left: u32,
        odd: bool,
    },
    /// The byte that rounds an odd chunk up, which some writers forget.
    Pad,
    /// `left` is None for a streamed file.
    Data {
        frames: Frames,
        left: Option<u64>,
    },
    /// Behind the sound nothing matters.
    Done,
}

#[derive(Debug, Clone, Copy)]
enum Body {
    Fmt,
    Ds64,
}

impl WavReader {
    pub fn new(pick: Pick) -> Self {
        Self {
            pick,
            state: State::Riff,
            head: [0; FMT_BYTES],
            held: 0,
            at: 0,
            riff_end: None,
            long_size: None,
            fmt: None,
        }
    }

    /// Samples per second, once the header has been read.
    pub fn rate_hz(&self) -> Option<u32> {
        self.fmt.as_ref().map(|fmt| fmt.rate_hz)
    }

    /// Reads on until the bytes end or the header has just told the shape: the answer is how many were read, so that a
    /// caller can set up what follows before samples come. After an error the reader is not to be used.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<i16>) -> Result<usize, AudioError> {
        let knew = self.fmt.is_some();
        let mut read = 0;
        while read < bytes.len() {
            let taken = self.step(&bytes[read..], out)?;
            read += taken;
            self.at += taken as u64;
            if !knew && self.fmt.is_some() {
                break;
            }
        }
        Ok(read)
    }

    /// The bytes have ended. Says whether sound is missing that the header promised.
    ///
    /// # Errors
    /// There was no sound chunk at all.
    pub fn finish(&self) -> Result<bool, AudioError> {
        match &self.state {
            State::Done => Ok(false),
            State::Data { frames, left } => Ok(left.is_some_and(|left| left > 0) || frames.held_bytes() > 0),
            _ if self.at == 0 => Err(AudioError::malformed(0, "there are no bytes")),
            State::Riff => Err(AudioError::malformed(self.at, "the file ends within its RIFF header")),
            _ => Err(AudioError::malformed(self.at, "the file ends before its data chunk")),
        }
    }

    /// Takes at least one of `bytes`, which are not empty, or changes the state.
    fn step(&mut self, bytes: &[u8], out: &mut Vec<i16>) -> Result<usize, AudioError> {
        match &mut self.state {
            State::Riff => self.collect(bytes, 12, Self::riff),
            State::Chunk => self.collect(bytes, 8, Self::chunk),
            State::Body { wanted, .. } => {
                let wanted = *wanted;
                self.collect(bytes, wanted, Self::body)
            }
            State::Skip { left, odd } => {
                let taken = bytes.len().min(*left as usize);
                self.state = skip(*left - taken as u32, *odd);
                Ok(taken)
            }
            State::Pad => {
                self.state = State::Chunk;
                // A name begins with a letter or a figure: then the padding was forgotten.
                Ok(usize::from(!bytes[0].is_ascii_alphanumeric()))
            }
            State::Data { frames, left } => {
                let taken = left.map_or(bytes.len(), |left| left.min(bytes.len() as u64) as usize);
                frames.push(&bytes[..taken], out);
                if let Some(left) = left {
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = State::Done;
                    }
                }
                Ok(taken)
            }
            State::Done => Ok(bytes.len()),
        }
    }

    /// Gathers `wanted` bytes and hands them to `then`, which sets the next state.
    fn collect(
        &mut self,
        bytes: &[u8],
        wanted: usize,
        then: fn(&mut Self, [u8; FMT_BYTES], u64) -> Result<(), AudioError>,
    ) -> Result<usize, AudioError> {
        let taken = (wanted - self.held).min(bytes.len());
        self.head[self.held..self.held + taken].copy_from_slice(&bytes[..taken]);
        self.held += taken;
        if self.held == wanted {
            self.held = 0;
            let begin = self.at + taken as u64 - wanted as u64;
            then(self, self.head, begin)?;
        }
        Ok(taken)
    }

    fn riff(&mut self, head: [u8; FMT_BYTES], begin: u64) -> Result<(), AudioError> {
        match &head[..4] {
            b"RIFF" | b"RF64" => {}
            b"RIFX" => return Err(AudioError::unsupported(begin, "RIFX (big-endian WAV) is not read")),
            other => {
                let shown = other.escape_ascii();
                return Err(AudioError::malformed(
                    begin,
                    format!("the file begins with \"{shown}\", expected \"RIFF\""),
                ));
            }
        }
        if &head[8..12] != b"WAVE" {
            let shown = head[8..12].escape_ascii();
            return Err(AudioError::unsupported(begin + 8, format!("RIFF of kind \"{shown}\", expected \"WAVE\"")));
        }
        let size = u32_at(&head, 4);
        self.riff_end = (1..STREAMED_FROM).contains(&size).then(|| u64::from(size) + 8);
        self.state = State::Chunk;
        Ok(())
    }

    fn chunk(&mut self, head: [u8; FMT_BYTES], begin: u64) -> Result<(), AudioError> {
        let size = u32_at(&head, 4);
        self.state = match &head[..4] {
            b"data" => self.data(size, begin)?,
            b"fmt " if self.fmt.is_some() => return Err(AudioError::malformed(begin, "a second fmt chunk")),
            b"fmt " if size < 16 => {
                return Err(AudioError::malformed(begin, format!("a fmt chunk of {size} bytes, expected 16 at least")));
            }
            b"fmt " => body(Body::Fmt, size),
            b"ds64" if size >= 16 => body(Body::Ds64, size),
            _ => skip(size, size % 2 == 1),
        };
        Ok(())
    }

    fn data(&mut self, size: u32, begin: u64) -> Result<State, AudioError> {
        let Some(fmt) = &self.fmt else {
            return Err(AudioError::malformed(begin, "the data chunk stands before the fmt chunk"));
        };
        let left = match (size, self.long_size) {
            (u32::MAX, Some(long)) => Some(long),
            (STREAMED_FROM.., _) => None,
            // Written when nothing was known, or a file without sound: that one has its other chunks behind it.
            (0, _) if self.riff_end.is_some_and(|end| end > begin + 8) => return Ok(State::Chunk),
            (0, _) => None,
            (size, _) => Some(u64::from(size)),
        };
        Ok(State::Data { frames: Frames::new(fmt.sample, fmt.channels, self.pick), left })
    }

    fn body(&mut self, head: [u8; FMT_BYTES], begin: u64) -> Result<(), AudioError> {
        let State::Body { kind, wanted, rest } = self.state else { return Ok(()) };
        match kind {
            Body::Fmt => self.fmt = Some(Fmt::read(&head[..wanted], begin)?),
            Body::Ds64 => self.long_size = Some(u64::from(u32_at(&head, 8)) | u64::from(u32_at(&head, 12)) << 32),
        }
        self.state = skip(rest, (rest + wanted as u32) % 2 == 1);
        Ok(())
    }
}

/// A chunk whose beginning is looked at.
fn body(kind: Body, size: u32) -> State {
    let wanted = FMT_BYTES.min(size as usize);
    State::Body { kind, wanted, rest: size - wanted as u32 }
}

/// To the end of a chunk, of which `left` bytes are not read.
fn skip(left: u32, odd: bool) -> State {
    match (left, odd) {
        (0, false) => State::Chunk,
        (0, true) => State::Pad,
        (left, odd) => State::Skip { left, odd },
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}
