//! What streams say, and what becomes of those that end or break.

use std::time::Duration;

use super::super::answer::{Answer, Event};
use super::super::fault::{Fault, FaultKind};
use super::stream::{Stream, StreamId};
use super::utterance::samples_time;
use super::{Action, Count, DEGRADED_AFTER, Endless, FIRST_WAIT, LONGEST_WAIT, Old};
use crate::speech::Heard;

impl Endless {
    /// A stream said something.
    pub fn answer(&mut self, id: StreamId, answer: Answer) {
        let old = self.old.as_mut().map(|old| &mut old.stream).filter(|stream| stream.id == id);
        let from_old = old.is_some();
        let Some(stream) = old.or(self.live.as_mut().filter(|stream| stream.id == id)) else { return };
        stream.answered = true;
        stream.unanswered = 0;
        stream.billed = stream.billed.max(answer.billed);
        let stream = stream.clone();
        (self.failures, self.token_failures, self.down_since, self.stalled) = (0, 0, None, false);
        if std::mem::take(&mut self.degraded) {
            self.out.push(Action::Tell(Heard::Recovered));
        }
        if !from_old && self.old.is_some() {
            self.held.push(answer);
        } else {
            self.apply(answer, &stream);
        }
    }

    pub(super) fn apply(&mut self, answer: Answer, stream: &Stream) {
        let rate_hz = self.limits.rate_hz;
        let time = |offset| samples_time(stream.place(offset, rate_hz), rate_hz);
        match answer.event {
            Some(Event::Begin(at)) if !self.speaking => self.tell_speaking(true, time(at)),
            Some(Event::End(at)) if self.speaking => self.tell_speaking(false, time(at)),
            _ => {}
        }
        let mut told = Vec::new();
        for piece in answer.finals {
            let is_first = self.committed <= stream.heard_before;
            let placed = self.utterances.place(piece, stream, is_first, true);
            let end = placed.end;
            let first = self.silence.first_voiced(self.committed).unwrap_or(self.committed);
            self.utterances.final_(placed, first, &mut told);
            self.pending = None;
            self.committed = self.committed.max(end);
            // What speech leaves behind a final's end is its own end, if it is short.
            if let Some(rest) = self.silence.end_of_stretch(self.committed)
                && rest - self.committed <= self.limits.ms(300)
                && rest <= stream.sent
            {
                self.committed = rest;
            }
        }
        if let Some(piece) = answer.interim {
            let is_first = self.committed <= stream.heard_before;
            let placed = self.utterances.place(piece, stream, is_first, false);
            if !placed.text.is_empty() {
                self.pending = None;
            }
            let first = self.silence.first_voiced(self.committed).unwrap_or(self.committed);
            self.utterances.interim(placed, first, &mut told);
        }
        self.out.extend(told.into_iter().map(Action::Tell));
        self.commit_silence();
    }

    pub(super) fn tell_speaking(&mut self, speaking: bool, at: Duration) {
        self.speaking = speaking;
        self.out.push(Action::Tell(if speaking { Heard::Started(at) } else { Heard::Stopped(at) }));
    }

    /// A stream ended, well (`None`) or not.
    pub fn closed(&mut self, id: StreamId, fault: Option<Fault>, now: Duration) {
        let is_live = self.live.iter().any(|live| live.id == id);
        let is_old = self.old.iter().any(|old| old.stream.id == id);
        if self.ended || !(is_live || is_old) {
            return;
        }
        if let Some(fault) = &fault {
            self.token_failures += u32::from(fault.kind == FaultKind::Token);
            if !fault.is_passing() || self.token_failures > 1 {
                return self.end(Some(fault.clone()));
            }
        }
        if let Some(old) = self.old.take_if(|old| old.stream.id == id) {
            self.billed += old.stream.cost(self.limits.rate_hz);
            match fault.filter(|fault| fault.kind != FaultKind::Over) {
                None => self.old_ended(old.cut),
                Some(fault) => self.old_failed(old, fault, now),
            }
        } else if let Some(live) = self.live.take_if(|live| live.id == id) {
            self.billed += live.cost(self.limits.rate_hz);
            self.lost(&live, fault, now);
        }
    }

    /// The old stream has said all; what the live one said meanwhile comes next.
    pub(super) fn old_ended(&mut self, cut: u64) {
        self.settle();
        if self.speaking {
            self.tell_speaking(false, samples_time(cut, self.limits.rate_hz));
        }
        self.committed = self.committed.max(cut);
        let held = std::mem::take(&mut self.held);
        if let Some(live) = self.live.clone() {
            held.into_iter().for_each(|answer| self.apply(answer, &live));
        }
    }

    /// The old stream broke: if there was speech that it owes us, all is heard again from there.
    pub(super) fn old_failed(&mut self, old: Old, fault: Fault, now: Duration) {
        if !self.silence.is_voiced_in(self.committed, old.cut) {
            return self.old_ended(old.cut);
        }
        self.held.clear();
        match self.live.take() {
            Some(live) => {
                self.cancel(&live);
                self.lost(&live, Some(fault), now);
            }
            None => self.lost(&old.stream, Some(fault), now),
        }
    }

    /// A stream is gone that was needed. The first one after an answer is replaced at once.
    pub(super) fn lost(&mut self, stream: &Stream, fault: Option<Fault>, now: Duration) {
        match fault.as_ref().map(|fault| fault.kind) {
            Some(FaultKind::Idle) => self.out.push(Action::Count(Count::IdleAbort)),
            Some(FaultKind::Fast) => self.speed = (self.speed / 2.0).max(1.0),
            _ => {}
        }
        if stream.answered {
            self.failures = 0;
        }
        let wait = crate::retry::wait_for(self.failures, FIRST_WAIT, LONGEST_WAIT, self.random.f64());
        self.retry_at = if self.failures == 0 { now } else { now + wait };
        self.failures += 1;
        self.last_fault = fault.or(self.last_fault.take());
        self.held.clear();
        self.after_break();
        if self.place_to_open().is_none() {
            return;
        }
        self.down_since.get_or_insert(now);
        if self.failures >= DEGRADED_AFTER && !std::mem::replace(&mut self.degraded, true) {
            let why = self.last_fault.as_ref().map_or("streams end at once", |fault| &fault.detail);
            self.out.push(Action::Tell(Heard::Degraded(why.to_owned())));
        }
    }

    /// The open utterance waits for the next stream's word.
    pub(super) fn after_break(&mut self) {
        if self.utterances.is_open() {
            self.pending = Some(None);
        }
    }
}
