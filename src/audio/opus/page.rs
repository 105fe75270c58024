//! Ogg pages (RFC 3533) out of bytes in any split.

use super::super::AudioError;

/// A page's header up to its lacing values.
const HEADER: usize = 27;

const OGG_CRC: crc::Algorithm<u32> = crc::Algorithm {
    width: 32,
    poly: 0x04C1_1DB7,
    init: 0,
    refin: false,
    refout: false,
    xorout: 0,
    check: 0x89A1_897F,
    residue: 0,
};
static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&OGG_CRC);

/// One page whose checksum is right.
pub struct Page {
    /// Its first byte's place in the file.
    pub at: u64,
    pub serial: u32,
    pub number: u32,
    pub granule: i64,
    /// It goes on with the packet that the page before left open.
    pub continues: bool,
    pub begins_stream: bool,
    pub ends_stream: bool,
    bytes: Vec<u8>,
}

impl Page {
    /// Lengths of the packets' pieces; less than 255 ends a packet.
    pub fn lacing(&self) -> &[u8] {
        &self.bytes[HEADER..HEADER + usize::from(self.bytes[26])]
    }

    pub fn body(&self) -> &[u8] {
        &self.bytes[HEADER + usize::from(self.bytes[26])..]
    }
}

/// Cuts bytes into pages. Holds at most one.
#[derive(Default)]
pub struct Pages {
    held: Vec<u8>,
    at: u64,
}

impl Pages {
    /// Bytes read.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// How many of the bytes were taken (at least one), and a page when they completed one.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(usize, Option<Page>), AudioError> {
        let taken = bytes.len().min(self.wanted() - self.held.len());
        self.held.extend_from_slice(&bytes[..taken]);
        self.at += taken as u64;
        let begin = self.at - self.held.len() as u64;
        let seen = self.held.len().min(4);
        if self.held[..seen] != b"OggS"[..seen] {
            return Err(AudioError::malformed(begin, "no Ogg page begins here, expected \"OggS\""));
        }
        if self.held.len() < self.wanted() {
            return Ok((taken, None));
        }
        if self.held[4] != 0 {
            return Err(AudioError::unsupported(begin + 4, format!("Ogg version {}", self.held[4])));
        }
        let mut bytes = std::mem::take(&mut self.held);
        let field = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (low, high, serial, number, sum) = (field(6), field(10), field(14), field(18), field(22));
        let flags = bytes[5];
        bytes[22..26].fill(0);
        if CRC.checksum(&bytes) != sum {
            return Err(AudioError::malformed(begin, format!("the checksum of Ogg page {number} is wrong")));
        }
        let page = Page {
            at: begin,
            serial,
            number,
            granule: (u64::from(low) | u64::from(high) << 32) as i64,
            continues: flags & 1 != 0,
            begins_stream: flags & 2 != 0,
            ends_stream: flags & 4 != 0,
            bytes,
        };
        Ok((taken, Some(page)))
    }

    /// Bytes up to the next decision: the header, its lacing values, or the whole page. Always more than are held, until
    /// the page is complete.
    fn wanted(&self) -> usize {
        let Some(pieces) = self.held.get(26) else { return HEADER };
        let lacing = HEADER + usize::from(*pieces);
        match self.held.get(HEADER..lacing) {
            None => lacing,
            Some(lengths) => lacing + lengths.iter().map(|length| usize::from(*length)).sum::<usize>(),
        }
    }
}

/// Rewrites the checksum of every page, so that tests reach what lies behind it.
#[cfg(test)]
pub fn seal(bytes: &mut [u8]) {
    let mut begin = 0;
    while let Some(pieces) = bytes.get(begin + 26).map(|pieces| usize::from(*pieces)) {
        let Some(lacing) = bytes.get(begin + HEADER..begin + HEADER + pieces) else { return };
        let end = begin + HEADER + pieces + lacing.iter().map(|length| usize::from(*length)).sum::<usize>();
        let Some(page) = bytes.get_mut(begin..end) else { return };
        page[22..26].fill(0);
        let sum = CRC.checksum(page);
        page[22..26].copy_from_slice(&sum.to_le_bytes());
        begin = end;
    }
}
