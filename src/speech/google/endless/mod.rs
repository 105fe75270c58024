//! A recognition without an end, over streams that end: nothing is lost, nothing is said twice.
//!
//! Pure: sound, answers and the time go in; actions come out. One media clock, counted in samples, runs through the whole
//! recognition. The [`ring`] keeps all sound from `committed` on, the end of the last final (moved on over silence). A
//! stream is replaced
//!
//! - *as planned*, from a certain age on, in a pause: the next one opens and gets the sound from the cut on, the old one is
//!   half-closed and still heard until it ends. No sound is sent twice.
//! - *by force*, where nobody pauses: the next one gets the sound from `committed` on, and what the old one would have
//!   said of it is not heard.
//! - *after a break*: likewise.
//!
//! Without speech there is no stream: it opens with the first sound that may be speech and half a second before it.

mod answers;
mod ring;
mod silence;
mod stream;
mod utterance;

#[cfg(test)]
mod tests;

use std::time::Duration;

use ring::Ring;
use silence::Silence;
use stream::Stream;
pub use stream::StreamId;
use utterance::Utterances;
pub use utterance::samples_time;

use super::answer::Answer;
use super::fault::{Fault, FaultKind};
use crate::speech::{Heard, Usage};

/// Samples in one message: Google takes 25,600 bytes.
const MESSAGE: u64 = super::request::MESSAGE_BYTES as u64 / 2;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Streams lost in a row after which the recognition says so.
const DEGRADED_AFTER: u32 = 3;
/// While anything is under way, the machine is asked again after this.
const TICK: Duration = Duration::from_millis(20);

/// Times are of the real clock, places and lengths of the media clock.
#[derive(Debug, Clone)]
pub struct Limits {
    pub rate_hz: u32,
    /// Seconds of sound in a second.
    pub factor: f64,
    pub rotate_after: Duration,
    pub max_stream: Duration,
    pub drain: Duration,
    pub keep_alive: Duration,
    pub stall: Duration,
    pub give_up_after: Duration,
    /// Silence after which the stream is closed.
    pub silent: u64,
    /// Sound that is kept.
    pub ring: u64,
    pub speed: f64,
    /// The model sends interims: speech without an answer is suspicious.
    pub interims: bool,
}

impl Limits {
    fn ms(&self, ms: u64) -> u64 {
        u64::from(self.rate_hz) * ms / 1000
    }
}

/// What the edge has to do, in order. Sound is fetched with [`Endless::message`].
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Open(StreamId),
    /// After what was fetched for it.
    HalfClose(StreamId),
    Cancel(StreamId),
    Tell(Heard),
    Count(Count),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Count {
    Rotation,
    Forced,
    Replay(Duration),
    DroppedWords(u64),
    Promoted,
    IdleAbort,
    Stall,
}

/// A half-closed stream that still has to say something of what lies before the cut.
#[derive(Debug)]
struct Old {
    stream: Stream,
    cut: u64,
    deadline: Duration,
}

#[derive(Debug)]
pub struct Endless {
    limits: Limits,
    speed: f64,
    ring: Ring,
    silence: Silence,
    utterances: Utterances,
    /// All before is heard, or silence.
    committed: u64,
    /// Behind the last sample that any stream was sent.
    sent_ever: u64,
    live: Option<Stream>,
    old: Option<Old>,
    /// Answers of the live stream, while the old one has the word.
    held: Vec<Answer>,
    /// An utterance is open whose stream broke; since when the next stream has had all of it.
    pending: Option<Option<Duration>>,
    next_id: StreamId,
    failures: u32,
    token_failures: u32,
    retry_at: Duration,
    down_since: Option<Duration>,
    last_fault: Option<Fault>,
    degraded: bool,
    /// A stall was answered with a new stream, and that one did not answer either.
    stalled: bool,
    speaking: bool,
    paused: bool,
    finishing: bool,
    ended: bool,
    billed: Duration,
    random: fastrand::Rng,
    out: Vec<Action>,
}

impl Endless {
    /// `seed` spreads the waits between tries.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            speed: limits.speed,
            ring: Ring::default(),
            silence: Silence::new(limits.rate_hz),
            utterances: Utterances::new(limits.rate_hz),
            committed: 0,
            sent_ever: 0,
            live: None,
            old: None,
            held: Vec::new(),
            pending: None,
            next_id: 0,
            failures: 0,
            token_failures: 0,
            retry_at: Duration::ZERO,
            down_since: None,
            last_fault: None,
            degraded: false,
            stalled: false,
            speaking: false,
            paused: false,
            finishing: false,
            ended: false,
            billed: Duration::ZERO,
            random: fastrand::Rng::with_seed(seed),
            out: Vec::new(),
            limits,
        }
    }

    /// Whether more sound may come: what is kept has a bound, and so has what waits to be sent.
    pub fn wants_sound(&self) -> bool {
        let unsent = self.ring.end() - self.live.as_ref().map_or(self.ring.end(), |live| live.sent);
        let kept = self.ring.end() - self.committed;
        !self.finishing
            && kept < self.limits.ring
            && unsent < self.limits.ms(5000).max(self.limits.ms(500) * self.limits.factor as u64)
    }

    /// More sound; none at all means that the source is silent on purpose.
    pub fn sound(&mut self, samples: &[i16]) {
        self.paused = samples.is_empty();
        self.ring.push(samples);
        self.silence.push(samples);
    }

    /// No more sound comes.
    pub fn finish(&mut self) {
        self.finishing = true;
        self.silence.finish();
    }

    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// What is to be done now. To be called after every input and at [`Endless::next_wake`].
    pub fn step(&mut self, now: Duration) -> Vec<Action> {
        if !self.ended {
            self.advance(now);
            if self.utterances.dropped > 0 {
                self.out.push(Action::Count(Count::DroppedWords(std::mem::take(&mut self.utterances.dropped))));
            }
        }
        std::mem::take(&mut self.out)
    }

    /// How long from now the machine may be left alone; `None`: until the next input.
    pub fn next_wake(&self) -> Option<Duration> {
        let busy = self.live.is_some() || self.old.is_some() || self.place_to_open().is_some() || self.finishing;
        (busy && !self.ended).then_some(TICK)
    }

    fn advance(&mut self, now: Duration) {
        if self.old.as_ref().is_some_and(|old| now >= old.deadline)
            && let Some(old) = self.old.take()
        {
            self.cancel(&old.stream);
            let fault = Fault::new(
                FaultKind::Error(crate::speech::SpeechErrorKind::Unavailable),
                "a closed stream did not end",
            );
            self.old_failed(old, fault, now);
        }
        self.look_at_live(now);
        self.look_at_pending(now);
        if self.live.is_none() {
            self.commit_silence();
            if now >= self.retry_at
                && let Some((base, heard_before)) = self.place_to_open()
            {
                self.open(base, heard_before, now);
            }
        }
        let needed = self.committed.saturating_sub(self.limits.ms(1000));
        self.ring.forget_before(needed);
        self.silence.forget_before(needed);
        if self.down_since.is_some_and(|since| now.saturating_sub(since) >= self.limits.give_up_after) {
            let fault = self.last_fault.clone();
            return self.end(fault);
        }
        if self.finishing && self.live.is_none() && self.old.is_none() && self.place_to_open().is_none() {
            self.end(None);
        }
    }

    fn look_at_live(&mut self, now: Duration) {
        let Some(live) = &self.live else { return };
        // What cannot be reached fails sooner than this; such a stream just has nothing to say.
        if now.saturating_sub(live.opened) >= self.limits.give_up_after * 3 / 4 {
            self.down_since = None;
        }
        let limits = &self.limits;
        let all_sent = live.sent == self.ring.end();
        let age = live.age(now, limits);
        let quiet = self.silence.silent_for();
        let pause = quiet >= limits.ms(300);
        let closing = self.paused || self.finishing;
        let stall = if limits.interims { limits.stall } else { limits.stall * 4 };
        let nothing_to_hear = closing || (quiet >= limits.silent && !self.utterances.is_open());
        if self.old.is_none() && all_sent && nothing_to_hear {
            self.close(now);
        } else if live.unanswered >= limits.ms(500)
            && now.saturating_sub(live.unanswered_since) >= stall
            && !self.stalled
        {
            self.stalled = true;
            self.out.push(Action::Count(Count::Stall));
            let fault = FaultKind::Error(crate::speech::SpeechErrorKind::Unavailable);
            self.break_live(Fault::new(fault, "the stream stopped answering"), now);
        } else if age >= limits.max_stream {
            self.force();
        } else if self.old.is_none() && all_sent && self.may_rotate(age, pause, quiet) {
            self.rotate(now);
        }
    }

    /// A pause without an open utterance first, then any pause; sound that fills the ring is no time to be choosy.
    fn may_rotate(&self, age: Duration, pause: bool, quiet: u64) -> bool {
        let limits = &self.limits;
        let late = limits.rotate_after + (limits.max_stream - limits.rotate_after) / 2;
        let kept = self.ring.end() - self.committed;
        let full = |percent: u64| kept >= limits.ring * percent / 100;
        let old = age >= limits.rotate_after && (!self.utterances.is_open() || age >= late);
        let pressed = full(95) || (full(85) && quiet >= limits.ms(150));
        (pause && (old || full(70))) || pressed
    }

    fn rotate(&mut self, now: Duration) {
        self.out.push(Action::Count(Count::Rotation));
        let cut = self.live.as_ref().map_or(self.committed, |live| live.sent);
        let next = self.make(cut, cut, now);
        self.out.push(Action::Open(next.id));
        self.close(now);
        self.live = Some(next);
    }

    /// In the middle of speech.
    fn force(&mut self) {
        self.out.push(Action::Count(Count::Forced));
        let Some(live) = self.live.take() else { return };
        self.cancel(&live);
        if let Some(old) = self.old.take() {
            self.cancel(&old.stream);
        }
        self.held.clear();
        self.after_break();
    }

    /// Half-closes the live stream: it still says what it heard.
    fn close(&mut self, now: Duration) {
        let Some(stream) = self.live.take() else { return };
        self.out.push(Action::HalfClose(stream.id));
        self.old = Some(Old { cut: stream.sent, stream, deadline: now + self.limits.drain });
    }

    fn cancel(&mut self, stream: &Stream) {
        self.billed += stream.cost(self.limits.rate_hz);
        self.out.push(Action::Cancel(stream.id));
    }

    fn break_live(&mut self, fault: Fault, now: Duration) {
        if let Some(live) = self.live.take() {
            self.cancel(&live);
            self.lost(&live, Some(fault), now);
        }
    }

    fn make(&mut self, base: u64, heard_before: u64, now: Duration) -> Stream {
        self.next_id += 1;
        Stream::new(self.next_id, base, heard_before, now)
    }

    fn open(&mut self, base: u64, heard_before: u64, now: Duration) {
        let stream = self.make(base, heard_before, now);
        self.out.push(Action::Open(stream.id));
        if base < self.sent_ever {
            let again = samples_time(self.sent_ever - base, self.limits.rate_hz);
            self.out.push(Action::Count(Count::Replay(again)));
        }
        self.live = Some(stream);
    }

    /// Where a stream has to begin, and up to where its sound was heard before; `None` while there is only silence.
    fn place_to_open(&self) -> Option<(u64, u64)> {
        let from = self.old.as_ref().map_or(self.committed, |old| old.cut.max(self.committed));
        let first = self.silence.first_voiced(from).filter(|first| *first < self.ring.end())?;
        let in_speech = self.silence.end_of_stretch(from).is_some();
        if in_speech && self.old.is_none() && from > 0 {
            // A final's end is not exact: the word before may reach over it.
            return Some((from.saturating_sub(self.limits.ms(200)).max(self.ring.start()), from));
        }
        let base = first.saturating_sub(self.limits.ms(500)).max(from).max(self.ring.start());
        Some((base, base))
    }

    /// Moves `committed` over silence, up to half a second before what may be speech.
    fn commit_silence(&mut self) {
        if self.utterances.is_open() || self.old.is_some() {
            return;
        }
        let until = self.silence.first_voiced(self.committed).unwrap_or(self.ring.end());
        let until = self.live.as_ref().map_or(until, |live| until.min(live.sent));
        self.committed = self.committed.max(until.saturating_sub(self.limits.ms(500)));
    }

    /// The next message of sound for the live stream, which is [`StreamId`]'s; `None`: nothing to send now.
    pub fn message(&mut self, now: Duration) -> Option<(StreamId, Vec<i16>)> {
        let limits = &self.limits;
        let live = self.live.as_mut().filter(|_| !self.ended)?;
        let there = self.ring.end() - live.sent;
        let least = if self.finishing || self.paused { 1 } else { limits.ms(20) };
        let now_samples = there.min(MESSAGE).min(live.may_send(now, limits, self.speed));
        if now_samples >= least.max(1) {
            let (from, to) = (live.sent, live.sent + now_samples);
            if self.silence.is_voiced_in(from, to) {
                if live.unanswered == 0 {
                    live.unanswered_since = now;
                }
                live.unanswered += now_samples;
            }
            live.send(now_samples, now);
            self.sent_ever = self.sent_ever.max(to);
            return Some((live.id, self.ring.copy(from, to)));
        }
        let since = now.saturating_sub(live.last_sent);
        if since >= limits.keep_alive && there < least && !self.finishing && !self.paused {
            let missing = since.as_secs_f64() * limits.factor * f64::from(limits.rate_hz);
            let silence = (missing as u64).clamp(1, MESSAGE);
            live.make_up(silence, now);
            return Some((live.id, vec![0; silence as usize]));
        }
        None
    }

    /// The next stream had all of the open utterance, and time, and says nothing: then it is what was stable.
    fn look_at_pending(&mut self, now: Duration) {
        let (Some(since), Some(end)) = (self.pending, self.utterances.open_end()) else { return };
        let has_all = self.live.as_ref().is_some_and(|live| live.sent >= end);
        match since {
            _ if !has_all => self.pending = Some(None),
            None => self.pending = Some(Some(now)),
            Some(since) if now.saturating_sub(since) >= self.limits.drain => {
                self.settle();
                self.committed = self.committed.max(end);
            }
            Some(_) => {}
        }
    }

    fn settle(&mut self) {
        self.pending = None;
        let mut told = Vec::new();
        if self.utterances.settle(&mut told) {
            self.out.push(Action::Count(Count::Promoted));
        }
        self.out.extend(told.into_iter().map(Action::Tell));
    }

    fn end(&mut self, fault: Option<Fault>) {
        self.settle();
        let streams = [self.live.take(), self.old.take().map(|old| old.stream)];
        streams.into_iter().flatten().for_each(|stream| self.cancel(&stream));
        if self.speaking {
            self.tell_speaking(false, samples_time(self.ring.end(), self.limits.rate_hz));
        }
        self.ended = true;
        let usage = Usage { billed: self.billed, characters: 0 };
        let end = fault.map_or(Ok(usage), |fault| Err(fault.error()));
        self.out.push(Action::Tell(Heard::Ended(end)));
    }
}
