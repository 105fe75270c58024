//! A platform account's circuit breaker: after so many failures in a row nothing is sent until the account answers again.
//!
//! What counts is a failure of the account or of the way to it: no connection, no answer, a server error, a refusal of the
//! account itself (credentials, payment). A refusal of one call is an answer and counts as well-being; "too many" is the
//! pace's matter ([`super::rate`]) and counts as nothing. While it is open, read-only probes ask whether the account can be
//! used, with growing waits. The first good one opens it by half: one call goes out, and its answer decides.
//!
//! Each replica keeps its own.

use std::time::Duration;

use crate::call::Verdict;
use crate::clock::Monotonic;
use crate::platforms::{Placed, Scope, SendError};

/// Waits between probes grow to this.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Closed,
    /// One call may go out.
    Half,
    Open,
}

/// What an answer to a create request says of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sign {
    Well,
    Nothing,
    Ill(String),
}

#[derive(Debug)]
pub(super) struct Breaker {
    /// 0: never opens.
    failures_to_open: u32,
    first_wait: Duration,
    state: State,
    failures: u32,
    wait: Duration,
    probe_at: Monotonic,
    probing: bool,
    why: String,
}

impl Sign {
    pub(super) fn of(result: &Result<Placed, SendError>) -> Self {
        let Err(error) = result else { return Sign::Well };
        let asked_to_wait = error.verdict == Verdict::NotSent && error.retry_after.is_some();
        let too_many = error.http_status == Some(429) || asked_to_wait;
        match (error.verdict, error.scope) {
            _ if too_many => Sign::Nothing,
            // Our own lease ran out; the platform was not asked.
            (Verdict::NotSent, _) if error.reason == "permit_ended" => Sign::Nothing,
            (Verdict::Refused, Scope::Number | Scope::Request) => Sign::Well,
            (Verdict::Placed, _) => Sign::Nothing,
            (Verdict::Refused | Verdict::NotSent | Verdict::InDoubt, _) => Sign::Ill(error.reason.clone()),
        }
    }
}

impl Breaker {
    pub(super) fn new(failures_to_open: u32, first_wait: Duration, now: Monotonic) -> Self {
        Self {
            failures_to_open,
            first_wait,
            state: State::Closed,
            failures: 0,
            wait: first_wait,
            probe_at: now,
            probing: false,
            why: String::new(),
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Why it opened, for a person.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    /// Takes an answer to account. Returns the new state where it changed.
    pub(super) fn note(&mut self, sign: &Sign, now: Monotonic) -> Option<State> {
        match (self.state, sign) {
            (_, Sign::Nothing) | (State::Open, _) => return None,
            (State::Closed, Sign::Well) => {
                self.failures = 0;
                return None;
            }
            (State::Half, Sign::Well) => {
                self.failures = 0;
                self.wait = self.first_wait;
                self.state = State::Closed;
            }
            (State::Closed, Sign::Ill(reason)) => {
                self.failures += 1;
                if self.failures_to_open == 0 || self.failures < self.failures_to_open {
                    return None;
                }
                self.why = format!("{} failures in a row, the last: {reason}", self.failures);
                self.open(now);
            }
            (State::Half, Sign::Ill(reason)) => {
                self.why = format!("the account answered a probe, and then failed again: {reason}");
                self.wait_longer();
                self.open(now);
            }
        }
        Some(self.state)
    }

    fn open(&mut self, now: Monotonic) {
        self.state = State::Open;
        self.probing = false;
        self.probe_at = now + self.wait;
    }

    fn wait_longer(&mut self) {
        self.wait = (self.wait * 2).min(LONGEST_WAIT.max(self.first_wait));
    }

    /// Whether a probe is due; then it is under way until [`Breaker::probed`].
    pub(super) fn probe_is_due(&mut self, now: Monotonic) -> bool {
        let due = self.state == State::Open && !self.probing && now >= self.probe_at;
        self.probing |= due;
        due
    }

    /// When to look again while it is open.
    pub(super) fn next_probe(&self) -> Option<Monotonic> {
        (self.state == State::Open && !self.probing).then_some(self.probe_at)
    }

    /// A probe's result. Returns the new state where it changed.
    pub(super) fn probed(&mut self, well: bool, now: Monotonic) -> Option<State> {
        self.probing = false;
        if self.state != State::Open {
            return None;
        }
        if !well {
            self.wait_longer();
            self.probe_at = now + self.wait;
            return None;
        }
        self.state = State::Half;
        Some(self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const WAIT: Duration = Duration::from_secs(5);

    fn ill() -> Sign {
        Sign::Ill("timeout".into())
    }

    fn open(now: Monotonic) -> Breaker {
        let mut breaker = Breaker::new(3, WAIT, now);
        assert_eq!([breaker.note(&ill(), now), breaker.note(&ill(), now)], [None, None]);
        assert_eq!(breaker.note(&ill(), now), Some(State::Open));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_any_answer_between_them_does_not() {
        let now = clock::monotonic();
        let mut breaker = Breaker::new(3, WAIT, now);
        for _ in 0..5 {
            breaker.note(&ill(), now);
            breaker.note(&ill(), now);
            assert_eq!(breaker.note(&Sign::Well, now), None);
        }
        assert_eq!(breaker.state(), State::Closed);
        assert_eq!(open(now).state(), State::Open);
        let mut never = Breaker::new(0, WAIT, now);
        assert!((0..100).all(|_| never.note(&ill(), now).is_none()));
    }

    #[test]
    fn a_probe_opens_by_half_and_one_call_decides() {
        let now = clock::monotonic();
        let mut breaker = open(now);
        assert!(!breaker.probe_is_due(now));
        assert!(breaker.probe_is_due(now + WAIT) && !breaker.probe_is_due(now + WAIT), "one probe at a time");
        assert_eq!(breaker.probed(true, now + WAIT), Some(State::Half));
        assert_eq!(breaker.note(&ill(), now + WAIT), Some(State::Open));
        assert!(!breaker.probe_is_due(now + 2 * WAIT), "the next wait is longer");
        assert!(breaker.probe_is_due(now + 3 * WAIT));
        assert_eq!(breaker.probed(true, now + 3 * WAIT), Some(State::Half));
        assert_eq!(breaker.note(&Sign::Well, now + 3 * WAIT), Some(State::Closed));
    }

    #[test]
    fn probes_that_fail_come_less_and_less_often() {
        let mut now = clock::monotonic();
        let mut breaker = open(now);
        for _ in 0..10 {
            now += LONGEST_WAIT;
            assert!(breaker.probe_is_due(now));
            assert_eq!(breaker.probed(false, now), None);
        }
        assert_eq!(breaker.next_probe(), Some(now + LONGEST_WAIT));
    }

    #[test]
    fn answers_are_read_as_signs() {
        let error = |verdict, scope| Err(SendError::new(verdict, "why", "").with_scope(scope));
        assert_eq!(Sign::of(&error(Verdict::Refused, Scope::Number)), Sign::Well);
        assert_eq!(Sign::of(&error(Verdict::Refused, Scope::Account)), Sign::Ill("why".into()));
        assert_eq!(Sign::of(&error(Verdict::InDoubt, Scope::Request)), Sign::Ill("why".into()));
        assert_eq!(Sign::of(&error(Verdict::NotSent, Scope::Request)), Sign::Ill("why".into()));
        let too_many = SendError::new(Verdict::NotSent, "rate_limited", "").with_status(429).with_scope(Scope::Account);
        assert_eq!(Sign::of(&Err(too_many)), Sign::Nothing);
    }
}
