//! A session's sound, kept until it is done with.
//!
//! Samples are numbered from the session's start; that number is the session's clock. What came is kept in order, what did
//! not come is a gap: it reads as silence, is known as missing, and is filled when it comes late. Whoever consumed a
//! stretch for good says so (`ack`), and may read from any number still kept as often as it likes: after a reconnect a
//! speech engine gets again what it had not finished with.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// More stretches missing at once are not told apart: the oldest stays silence for good.
const MOST_GAPS: usize = 256;

/// Ordered by sample number, bounded in time and bytes.
#[derive(Debug)]
pub struct AudioBufferManager {
    rate_hz: u32,
    /// The most that is kept, in samples.
    room: usize,
    samples: VecDeque<i16>,
    /// The number of the first sample kept.
    start: u64,
    /// Within what is kept, in order, not touching each other.
    gaps: VecDeque<Range<u64>>,
    counts: Counts,
}

/// What went wrong with the sound so far, in samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Never came, and can no longer come: acknowledged or dropped as silence.
    pub missing: u64,
    /// Came when its place was already given up.
    pub late: u64,
    /// Came a second time.
    pub doubled: u64,
    /// Thrown away for want of room before it was acknowledged.
    pub dropped: u64,
}

/// Why samples were not taken or given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BufferError {
    /// So far ahead that all that is kept would have to go: the sender's clock jumped.
    #[error("sample {at} is {ahead} samples ahead, {room} fit")]
    TooFarAhead { at: u64, ahead: u64, room: usize },
    /// To be read, but acknowledged or dropped.
    #[error("sample {at} is no longer kept, the oldest is {oldest}")]
    Gone { at: u64, oldest: u64 },
}

impl AudioBufferManager {
    /// Keeps at most `most` of sound at `rate_hz`, and at most `most_bytes`, whichever is less. Memory is taken as it is
    /// needed, a quarter of a second at a time.
    pub fn new(rate_hz: u32, most: Duration, most_bytes: usize) -> Self {
        let by_time = most.as_millis().saturating_mul(u128::from(rate_hz)) / 1000;
        let room = usize::try_from(by_time).unwrap_or(usize::MAX).min(most_bytes / size_of::<i16>()).max(1);
        Self { rate_hz, room, samples: VecDeque::new(), start: 0, gaps: VecDeque::new(), counts: Counts::default() }
    }

    /// The number of the oldest sample kept.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The number that comes next.
    pub fn end(&self) -> u64 {
        self.start + self.samples.len() as u64
    }

    /// The time of a sample's number on the session's clock.
    pub fn time_of(&self, at: u64) -> Duration {
        let rate = u64::from(self.rate_hz.max(1));
        Duration::new(at / rate, ((at % rate) * 1_000_000_000 / rate) as u32)
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What is missing of what is kept, oldest first.
    pub fn gaps(&self) -> impl Iterator<Item = Range<u64>> {
        self.gaps.iter().cloned()
    }

    /// Bytes of memory held for samples.
    pub fn bytes(&self) -> usize {
        self.samples.capacity() * size_of::<i16>()
    }

    /// Samples that follow the last. The oldest make room, acknowledged or not.
    pub fn append(&mut self, samples: &[i16]) {
        let skip = samples.len().saturating_sub(self.room);
        self.make_room(samples.len());
        if skip > 0 {
            self.start += skip as u64;
            self.counts.dropped += skip as u64;
        }
        self.grow(samples.len() - skip);
        self.samples.extend(&samples[skip..]);
    }

    /// Samples with the number of the first: behind the end they leave a gap, within one they fill it, and where there is
    /// sound already, or none is kept any more, they are counted and left out.
    ///
    /// # Errors
    /// `TooFarAhead`; nothing has changed then.
    pub fn insert(&mut self, at: u64, samples: &[i16]) -> Result<(), BufferError> {
        let end = self.end();
        if at > end {
            let ahead = at - end;
            if ahead > self.room as u64 {
                return Err(BufferError::TooFarAhead { at, ahead, room: self.room });
            }
            self.leave_gap(ahead as usize);
        }
        // Up to the end old places may be filled, from there on all is new.
        let old = (end.saturating_sub(at)).min(samples.len() as u64) as usize;
        self.fill(at, &samples[..old]);
        self.append(&samples[old..]);
        Ok(())
    }

    /// Copies from `at` on, at most `most` samples, gaps as silence; fewer where no more has come. Reading changes
    /// nothing.
    ///
    /// # Errors
    /// `Gone`.
    pub fn read(&self, at: u64, most: usize, out: &mut Vec<i16>) -> Result<usize, BufferError> {
        let Some(skip) = at.checked_sub(self.start) else {
            return Err(BufferError::Gone { at, oldest: self.start });
        };
        let begin = usize::try_from(skip).unwrap_or(usize::MAX).min(self.samples.len());
        let end = begin.saturating_add(most).min(self.samples.len());
        out.extend(self.samples.range(begin..end));
        Ok(end - begin)
    }

    /// All before `to` is done with and forgotten. What has not come yet cannot be acknowledged.
    pub fn ack(&mut self, to: u64) {
        let count = to.min(self.end()).saturating_sub(self.start) as usize;
        self.forget(count);
        if self.samples.capacity() > 2 * (self.samples.len() + self.step()) {
            self.samples.shrink_to(self.samples.len() + self.step());
        }
    }

    fn leave_gap(&mut self, count: usize) {
        self.make_room(count);
        self.grow(count);
        let begin = self.end();
        self.samples.resize(self.samples.len() + count, 0);
        match self.gaps.back_mut() {
            Some(last) if last.end == begin => last.end += count as u64,
            _ => self.gaps.push_back(begin..begin + count as u64),
        }
        if self.gaps.len() > MOST_GAPS
            && let Some(oldest) = self.gaps.pop_front()
        {
            self.counts.missing += oldest.end - oldest.start;
        }
    }

    /// Puts samples into those gaps that they meet; all of them lie before the end.
    fn fill(&mut self, at: u64, samples: &[i16]) {
        let range = at..at + samples.len() as u64;
        self.counts.late += self.start.min(range.end).saturating_sub(range.start);
        let mut doubled = range.end.saturating_sub(range.start.max(self.start));
        let mut gaps = VecDeque::with_capacity(self.gaps.len() + 1);
        for gap in std::mem::take(&mut self.gaps) {
            let met = gap.start.max(range.start)..gap.end.min(range.end);
            if met.is_empty() {
                gaps.push_back(gap);
                continue;
            }
            doubled -= met.end - met.start;
            for number in met.clone() {
                self.samples[(number - self.start) as usize] = samples[(number - at) as usize];
            }
            gaps.extend([gap.start..met.start, met.end..gap.end].into_iter().filter(|left| !left.is_empty()));
        }
        self.gaps = gaps;
        self.counts.doubled += doubled;
    }

    /// Drops the oldest so that `count` more fit, or all.
    fn make_room(&mut self, count: usize) {
        let over = (self.samples.len() + count).saturating_sub(self.room).min(self.samples.len());
        self.counts.dropped += over as u64;
        self.forget(over);
    }

    fn forget(&mut self, count: usize) {
        self.samples.drain(..count);
        self.start += count as u64;
        while let Some(gap) = self.gaps.front_mut().filter(|gap| gap.start < self.start) {
            self.counts.missing += gap.end.min(self.start) - gap.start;
            gap.start = self.start;
            if gap.is_empty() {
                self.gaps.pop_front();
            }
        }
    }

    /// Exactly, in steps: doubling would take more than the bound.
    fn grow(&mut self, count: usize) {
        let wanted = self.samples.len() + count;
        if wanted > self.samples.capacity() {
            let stepped = wanted.next_multiple_of(self.step()).min(self.room).max(wanted);
            self.samples.reserve_exact(stepped - self.samples.len());
        }
    }

    fn step(&self) -> usize {
        (self.rate_hz as usize / 4).max(1)
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one gap is a list of one")]
mod tests;
