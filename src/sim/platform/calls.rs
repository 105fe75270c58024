//! The calls that a simulated platform made. What they look like to the outside is the vendor's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{Outcome, Phase, Playback, Script};
use crate::clock::{self, Monotonic};

/// A voicemail box is spoken to for so long at most.
const VOICEMAIL: Duration = Duration::from_secs(4);

/// A create request that the vendor's rules let through.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// As JSON; repeated form fields are arrays.
    pub fields: Map<String, Value>,
    pub number: String,
    pub attempt_id: Option<Uuid>,
    pub call_id: Option<Uuid>,
    /// Where this call's webhooks go, where the request says.
    pub webhook: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Call {
    /// The vendor's, made by [`super::Vendor::new_id`].
    pub id: String,
    /// A number of its own, from 1: for further ids that a vendor gives a call.
    pub seq: usize,
    pub request: CreateRequest,
    pub script: Script,
    pub playback: Playback,
    pub created_at: DateTime<Utc>,
    /// Rings when the call is stopped.
    pub stopped: Arc<Notify>,
    pub deliveries: Vec<Delivery>,
}

/// One webhook that went out.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub sent_at: DateTime<Utc>,
    /// 0: no answer.
    pub response_code: u16,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// `None`: stopped before anybody answered.
    pub outcome: Option<Outcome>,
    /// On the script's clock (a person's), not the scaled one.
    pub talked: Duration,
    /// Ended by request, not by the script.
    pub stopped: bool,
}

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Ringing,
    Talking,
    Ended(End),
}

impl Call {
    pub fn standing(&self, now: Monotonic) -> Standing {
        match self.playback.phase(now) {
            Phase::Ringing => Standing::Ringing,
            Phase::Talking => Standing::Talking,
            Phase::Ended { talked, stopped } => Standing::Ended(self.end(talked, stopped)),
        }
    }

    /// `None` while it goes on.
    pub fn ended(&self, now: Monotonic) -> Option<End> {
        match self.standing(now) {
            Standing::Ended(end) => Some(end),
            _ => None,
        }
    }

    pub fn is_over(&self, now: Monotonic) -> bool {
        self.ended(now).is_some()
    }

    fn end(&self, talked: Duration, stopped: bool) -> End {
        if stopped && talked.is_zero() {
            return End { outcome: None, talked, stopped };
        }
        let outcome = self.script.outcome;
        // What the script says was talked, not what the scaled clock says; but a stopped call only as far as it came.
        let whole = if stopped { self.script.talk.min(talked) } else { self.script.talk };
        let talked = match outcome {
            Outcome::Voicemail => whole.min(VOICEMAIL),
            outcome if outcome.is_answered() => whole,
            _ => Duration::ZERO,
        };
        End { outcome: Some(outcome), talked, stopped }
    }

    pub fn is_answered(&self, now: Monotonic) -> bool {
        self.script.outcome.is_answered() && now >= self.playback.answered()
    }

    /// When somebody picked up (or would have), on the wall clock.
    pub fn answered_at(&self) -> DateTime<Utc> {
        let ringing = self.playback.answered().saturating_duration_since(self.playback.created());
        self.created_at + TimeDelta::from_std(ringing).unwrap_or_default()
    }

    /// The answer's time and what was talked by the script: a person's clock.
    pub fn ended_at(&self, end: &End) -> DateTime<Utc> {
        self.answered_at() + TimeDelta::from_std(end.talked).unwrap_or_default()
    }

    /// A text field of the create request, or nothing.
    pub fn text(&self, name: &str) -> &str {
        self.request.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

#[derive(Default)]
pub struct Calls {
    all: Vec<Call>,
    by_id: HashMap<String, usize>,
    by_number: HashMap<String, Vec<usize>>,
}

/// What a rate limit is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Peaks {
    /// Most calls made within any one second.
    pub per_second: usize,
    /// Most calls under way at once.
    pub live: usize,
}

impl Calls {
    pub fn add(&mut self, id: String, request: CreateRequest, script: Script, scale: f64) {
        let talk = if script.outcome.is_answered() { script.talk } else { Duration::ZERO };
        let playback = Playback::new(clock::monotonic(), script.ring.mul_f64(scale), talk.mul_f64(scale));
        let index = self.all.len();
        self.by_id.insert(id.clone(), index);
        self.by_number.entry(request.number.clone()).or_default().push(index);
        self.all.push(Call {
            id,
            seq: index + 1,
            request,
            script,
            playback,
            created_at: clock::now(),
            stopped: Arc::new(Notify::new()),
            deliveries: Vec::new(),
        });
    }

    pub fn get(&self, id: &str) -> Option<&Call> {
        self.by_id.get(id).and_then(|&index| self.all.get(index))
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Call> {
        self.by_id.get(id).and_then(|&index| self.all.get_mut(index))
    }

    /// Ends a call now. False where there is none, or it had ended.
    pub fn stop(&mut self, id: &str) -> bool {
        let Some(call) = self.get_mut(id) else { return false };
        let running = call.playback.stop(clock::monotonic());
        if running {
            call.stopped.notify_one();
        }
        running
    }

    pub fn ids(&self) -> Vec<String> {
        self.all.iter().map(|call| call.id.clone()).collect()
    }

    /// In order of creation; only those to `number` (exactly as it was called) where one is given.
    pub fn to<'a>(&'a self, number: Option<&str>) -> Box<dyn DoubleEndedIterator<Item = &'a Call> + 'a> {
        match number {
            None => Box::new(self.all.iter()),
            Some(number) => {
                let indexes = self.by_number.get(number).map(Vec::as_slice).unwrap_or_default();
                Box::new(indexes.iter().map(|&index| &self.all[index]))
            }
        }
    }

    /// When this number was last called.
    pub fn last_to(&self, number: &str) -> Option<Monotonic> {
        self.to(Some(number)).next_back().map(|call| call.playback.created())
    }

    pub fn live(&self, now: Monotonic) -> usize {
        self.all.iter().filter(|call| !call.is_over(now)).count()
    }

    /// A call that was made while another ended counts with it.
    pub fn peaks(&self) -> Peaks {
        let mut made: Vec<Monotonic> = self.all.iter().map(|call| call.playback.created()).collect();
        made.sort_unstable();
        let mut from = 0;
        let mut per_second = 0;
        for (index, at) in made.iter().enumerate() {
            while at.saturating_duration_since(made[from]) >= Duration::from_secs(1) {
                from += 1;
            }
            per_second = per_second.max(index + 1 - from);
        }
        // Ends before beginnings at one moment.
        let begin = self.all.iter().map(|call| (call.playback.created(), 1i64));
        let end = self.all.iter().map(|call| (call.playback.end(), -1i64));
        let mut changes: Vec<(Monotonic, i64)> = begin.chain(end).collect();
        changes.sort_unstable();
        let (mut now, mut live) = (0i64, 0i64);
        for (_, change) in changes {
            now += change;
            live = live.max(now);
        }
        Peaks { per_second, live: usize::try_from(live).unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_count_what_overlaps_and_what_falls_into_one_second() {
        let mut calls = Calls::default();
        let request = |number: &str| CreateRequest { number: number.into(), ..CreateRequest::default() };
        for n in 0..5 {
            calls.add(n.to_string(), request("+14155560100"), Script::default(), 1.0);
        }
        assert_eq!(calls.peaks(), Peaks { per_second: 5, live: 5 });
        for n in 0..4 {
            assert!(calls.stop(&n.to_string()));
        }
        calls.add("late".into(), request("+14155560100"), Script::default(), 1.0);
        assert_eq!(calls.peaks().live, 5, "four had ended when the sixth began");
        assert_eq!(calls.live(clock::monotonic()), 2);
    }
}
