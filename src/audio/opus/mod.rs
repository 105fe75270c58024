//! Opus in Ogg (RFC 7845), read and written as a stream.
//!
//! The pages are cut here, because bytes come in any split and hostile ones must not fill the memory; `opus-pure` does the
//! rest. It is asked for 48 kHz, whatever the sound was: at 16 kHz its output has aliases where browsers' packets are
//! decoded.

mod page;

#[cfg(test)]
mod tests;

use opus_pure::{
    Application, MAX_PACKET_BYTES, MAX_PACKET_SAMPLES, OggOpusWriter, OggPacket, OpusDecoder, OpusEncoder,
};
use opus_pure::{OpusHead, Trim};

use super::AudioError;
use super::decode::Pick;
#[cfg(test)]
pub(super) use page::seal;
use page::{Page, Pages};

/// Of what is read. Decoded sound always has this rate.
pub const RATE_HZ: u32 = 48_000;
/// 20 ms packets of 24 kbit/s: clear speech.
pub const BITRATE_BPS: i32 = 24_000;
/// The longest packet that is put together: 120 ms at 510 kbit/s are 7,650 bytes.
const PACKET_BYTES: usize = 16 * 1024;
/// Comments can hold pictures; they are passed over, but not without end.
const TAGS_BYTES: usize = 1024 * 1024;
const TAGS_MAGIC: &[u8] = b"OpusTags";
const FRAME_MS: usize = 20;
/// A frame in the samples of 48 kHz that Ogg counts.
const FRAME_48K: u32 = 960;
/// Of 10; costs 40 % less than 9, and speech sounds the same.
const COMPLEXITY: i32 = 5;

/// A push parser: bytes in, mono samples of 48 kHz out.
pub struct OpusReader {
    pages: Pages,
    pick: Pick,
    stage: Stage,
    serial: Option<u32>,
    next_page: u32,
    packet: Vec<u8>,
    /// The packet goes on in the next page.
    open: bool,
    /// Bytes of comments passed over.
    tags_bytes: usize,
    ended: bool,
}

enum Stage {
    Head,
    Tags(Box<Decoding>),
    Sound(Box<Decoding>),
}

struct Decoding {
    decoder: OpusDecoder,
    trim: Trim,
    channels: usize,
    block: Vec<i16>,
    /// One channel of `block`.
    picked: Vec<i16>,
}

impl OpusReader {
    pub fn new(pick: Pick) -> Self {
        Self {
            pages: Pages::default(),
            pick,
            stage: Stage::Head,
            serial: None,
            next_page: 0,
            packet: Vec::new(),
            open: false,
            tags_bytes: 0,
            ended: false,
        }
    }

    /// Reads to the end of a page at most, and says how many bytes that were. What they hold goes to `sink`, packet by
    /// packet. After an error the reader is not to be used.
    pub fn push(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[i16])) -> Result<usize, AudioError> {
        let mut read = 0;
        while read < bytes.len() {
            if self.ended {
                return Ok(bytes.len());
            }
            let (taken, page) = self.pages.push(&bytes[read..])?;
            read += taken;
            if let Some(page) = page {
                self.page(&page, sink)?;
                break;
            }
        }
        Ok(read)
    }

    /// The bytes have ended. Says whether sound is missing: the stream did not come to its last page.
    ///
    /// # Errors
    /// Not even the headers were there.
    pub fn finish(&self) -> Result<bool, AudioError> {
        match &self.stage {
            Stage::Sound(_) => Ok(!self.ended),
            _ => Err(AudioError::malformed(self.pages.at(), "the file ends before its sound")),
        }
    }

    fn page(&mut self, page: &Page, sink: &mut impl FnMut(&[i16])) -> Result<(), AudioError> {
        let at = page.at;
        match self.serial {
            None if !page.begins_stream => return Err(AudioError::malformed(at, "the first page begins no stream")),
            None => self.serial = Some(page.serial),
            Some(serial) if serial != page.serial => {
                return Err(AudioError::unsupported(at, "a second stream in the file"));
            }
            Some(_) => {}
        }
        if page.number != self.next_page {
            let problem = format!("page {} where {} was due: bytes were lost", page.number, self.next_page);
            return Err(AudioError::malformed(at, problem));
        }
        self.next_page = self.next_page.wrapping_add(1);
        if page.continues != self.open {
            return Err(AudioError::malformed(at, "the page does not go on where the one before ended"));
        }
        let complete = page.lacing().iter().filter(|length| **length < 255).count();
        let (mut begin, mut done) = (0, 0);
        for length in page.lacing() {
            let end = begin + usize::from(*length);
            self.gather(&page.body()[begin..end], at)?;
            begin = end;
            if *length < 255 {
                done += 1;
                let data = std::mem::take(&mut self.packet);
                let packet = OggPacket::new(data, page.granule, page.ends_stream && done == complete);
                self.packet_done(&packet, at, sink)?;
                self.packet = packet.data;
                self.packet.clear();
            }
        }
        self.open = page.lacing().last() == Some(&255);
        self.ended = page.ends_stream;
        Ok(())
    }

    /// Adds a piece to the packet; of comments only the beginning is kept.
    fn gather(&mut self, piece: &[u8], at: u64) -> Result<(), AudioError> {
        if matches!(self.stage, Stage::Tags(_)) {
            self.tags_bytes += piece.len();
            if self.tags_bytes > TAGS_BYTES {
                return Err(AudioError::unsupported(at, format!("more than {TAGS_BYTES} bytes of comments")));
            }
            let room = TAGS_MAGIC.len() - self.packet.len().min(TAGS_MAGIC.len());
            self.packet.extend_from_slice(&piece[..piece.len().min(room)]);
            return Ok(());
        }
        if self.packet.len() + piece.len() > PACKET_BYTES {
            return Err(AudioError::malformed(at, format!("a packet of more than {PACKET_BYTES} bytes")));
        }
        self.packet.extend_from_slice(piece);
        Ok(())
    }

    fn packet_done(&mut self, packet: &OggPacket, at: u64, sink: &mut impl FnMut(&[i16])) -> Result<(), AudioError> {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Head) {
            Stage::Head => Stage::Tags(Box::new(Decoding::new(&head(&packet.data, at)?, self.pick, at)?)),
            Stage::Tags(decoding) if packet.data == TAGS_MAGIC => Stage::Sound(decoding),
            Stage::Tags(_) => return Err(AudioError::malformed(at, "the second packet is not OpusTags")),
            Stage::Sound(mut decoding) => {
                decoding.packet(packet, self.pick, at, sink)?;
                Stage::Sound(decoding)
            }
        };
        Ok(())
    }
}

impl Decoding {
    fn new(head: &OpusHead, pick: Pick, at: u64) -> Result<Self, AudioError> {
        // A mix is the decoder's own affair.
        let channels = if pick == Pick::Mix { 1 } else { usize::from(head.channel_count) };
        let refused = |error: opus_pure::Error| AudioError::malformed(at, error.to_string());
        let decoder = OpusDecoder::new(RATE_HZ as i32, channels).map_err(refused)?;
        let trim = Trim::new(head, RATE_HZ as i32, channels).map_err(refused)?;
        Ok(Self { decoder, trim, channels, block: vec![0; MAX_PACKET_SAMPLES * channels], picked: Vec::new() })
    }

    fn packet(
        &mut self,
        packet: &OggPacket,
        pick: Pick,
        at: u64,
        sink: &mut impl FnMut(&[i16]),
    ) -> Result<(), AudioError> {
        // An empty packet would be concealed as a lost one.
        if packet.data.is_empty() {
            return Ok(());
        }
        let frames = self
            .decoder
            .decode_s16(&packet.data, MAX_PACKET_SAMPLES, &mut self.block)
            .map_err(|error| AudioError::malformed(at, format!("in the page that begins here: {error}")))?;
        let kept = self.trim.keep(packet, &self.block[..frames * self.channels]);
        match self.channels {
            1 => sink(kept),
            _ => {
                self.picked.clear();
                self.picked.extend(kept.chunks_exact(2).map(|frame| pick.of(frame[0], frame[1])));
                sink(&self.picked);
            }
        }
        Ok(())
    }
}

/// The identification header (RFC 7845, 5.1). Its gain is for music players, and left alone.
fn head(packet: &[u8], at: u64) -> Result<OpusHead, AudioError> {
    if !packet.starts_with(b"OpusHead") || packet.len() < 19 {
        return Err(AudioError::unsupported(at, "the stream in the Ogg file is not Opus"));
    }
    if packet[8] & 0xF0 != 0 {
        return Err(AudioError::unsupported(at, format!("OpusHead version {}", packet[8])));
    }
    let (channels, family) = (packet[9], packet[18]);
    if family != 0 || !(1..=2).contains(&channels) {
        let problem = format!("{channels} channels of mapping family {family}, expected 1 or 2 of family 0");
        return Err(AudioError::unsupported(at, problem));
    }
    let mut head = OpusHead::new(channels, 0).map_err(|error| AudioError::malformed(at, error.to_string()))?;
    head.pre_skip = u16::from_le_bytes([packet[10], packet[11]]);
    Ok(head)
}

/// Makes an Ogg file of mono samples, packet by packet.
pub struct OpusWriter {
    encoder: OpusEncoder,
    ogg: OggOpusWriter<Vec<u8>>,
    rate_hz: u32,
    pre_skip: u64,
    /// Samples of a frame that is not full.
    frame: Vec<i16>,
    samples: u64,
    packet: Vec<u8>,
}

impl OpusWriter {
    /// `rate_hz` is 8000, 12,000, 16,000, 24,000 or 48,000: the encoder takes these as they are. `live` gives every packet
    /// its own page, so that nothing waits for a page to fill (4 KiB, more than a second of speech).
    ///
    /// # Errors
    /// Another rate.
    pub fn new(rate_hz: u32, live: bool) -> Result<Self, AudioError> {
        let refused = |error: opus_pure::Error| AudioError::Format(format!("Opus at {rate_hz} Hz: {error}"));
        let mut encoder = OpusEncoder::new(rate_hz as i32, 1, Application::Voip).map_err(refused)?;
        encoder.bitrate_bps = BITRATE_BPS;
        encoder.complexity = COMPLEXITY;
        let head = OpusHead::for_encoder(&encoder, rate_hz);
        let pre_skip = u64::from(head.pre_skip);
        let mut ogg = OggOpusWriter::new(Vec::new(), head).map_err(refused)?;
        if live {
            ogg.set_page_target(1);
        }
        let packet = vec![0; MAX_PACKET_BYTES];
        Ok(Self { encoder, ogg, rate_hz, pre_skip, frame: Vec::new(), samples: 0, packet })
    }

    pub fn push(&mut self, mut samples: &[i16], out: &mut Vec<u8>) -> Result<(), AudioError> {
        self.samples += samples.len() as u64;
        let full = self.frame_samples();
        while !samples.is_empty() {
            let (now, later) = samples.split_at(samples.len().min(full - self.frame.len()));
            self.frame.extend_from_slice(now);
            samples = later;
            if self.frame.len() == full {
                self.encode(FRAME_48K)?;
            }
        }
        if let Some(written) = self.ogg.get_mut() {
            out.append(written);
        }
        Ok(())
    }

    /// The last pages. The file's length tells its exact number of samples.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), AudioError> {
        let end = self.pre_skip + self.samples * u64::from(RATE_HZ / self.rate_hz);
        let full = self.frame_samples();
        // The encoder is behind by its pre-skip.
        loop {
            let left = end.saturating_sub(self.ogg.granule() as u64);
            if left == 0 {
                break;
            }
            self.frame.resize(full, 0);
            self.encode(left.min(u64::from(FRAME_48K)) as u32)?;
        }
        let written = self.ogg.finish().map_err(internal)?;
        out.extend(written);
        Ok(())
    }

    fn frame_samples(&self) -> usize {
        self.rate_hz as usize * FRAME_MS / 1000
    }

    fn encode(&mut self, duration_48k: u32) -> Result<(), AudioError> {
        let full = self.frame.len();
        let bytes = self.encoder.encode_s16(&self.frame, full, &mut self.packet).map_err(internal)?;
        self.ogg.write_packet_with_duration(&self.packet[..bytes], duration_48k).map_err(internal)?;
        self.frame.clear();
        Ok(())
    }
}

fn internal(error: opus_pure::Error) -> AudioError {
    AudioError::Format(format!("Opus encoder: {error}"))
}
