//! The course of one call as a function of time: it waits, rings, is talked on, and ends, or is stopped.

use std::time::Duration;

use crate::clock::Monotonic;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Ringing,
    Talking,
    /// For so long was talked.
    Ended {
        talked: Duration,
        stopped: bool,
    },
}

/// Times on the clock of this process, already scaled.
#[derive(Debug, Clone, Copy)]
pub struct Playback {
    created: Monotonic,
    ring: Duration,
    talk: Duration,
    stopped: Option<Monotonic>,
}

impl Playback {
    /// A call that nobody answers has a `talk` of zero.
    pub fn new(created: Monotonic, ring: Duration, talk: Duration) -> Self {
        Self { created, ring, talk, stopped: None }
    }

    pub fn phase(&self, now: Monotonic) -> Phase {
        let end = self.end();
        if now >= end {
            let talked = end.saturating_duration_since(self.answered());
            Phase::Ended { talked, stopped: self.stopped.is_some() }
        } else if now >= self.answered() {
            Phase::Talking
        } else {
            Phase::Ringing
        }
    }

    /// Ends the call now. False where it had ended.
    pub fn stop(&mut self, now: Monotonic) -> bool {
        let running = now < self.end();
        if running {
            self.stopped = Some(now);
        }
        running
    }

    pub fn created(&self) -> Monotonic {
        self.created
    }

    pub fn answered(&self) -> Monotonic {
        self.created + self.ring
    }

    pub fn end(&self) -> Monotonic {
        self.stopped.unwrap_or(self.answered() + self.talk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_call_rings_talks_and_ends() {
        let start = crate::clock::monotonic();
        let call = Playback::new(start, SECOND, 2 * SECOND);
        assert_eq!(call.phase(start), Phase::Ringing);
        assert_eq!(call.phase(start + SECOND), Phase::Talking);
        assert_eq!(call.phase(start + 3 * SECOND), Phase::Ended { talked: 2 * SECOND, stopped: false });
    }

    #[test]
    fn a_stopped_call_ends_there_and_only_once() {
        let start = crate::clock::monotonic();
        let mut call = Playback::new(start, SECOND, 20 * SECOND);
        assert!(call.stop(start + 3 * SECOND));
        assert!(!call.stop(start + 4 * SECOND));
        assert_eq!(call.phase(start + 9 * SECOND), Phase::Ended { talked: 2 * SECOND, stopped: true });
    }
}
