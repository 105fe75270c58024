//! What goes wrong on purpose, and where.

use std::time::Duration;

use tonic::Code;

use super::journal::Method;

/// One thing that goes wrong with calls of a method.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub method: Method,
    /// Calls of the method are numbered from 0 in order of arrival; `None`: each of them.
    pub call: Option<u64>,
    pub when: When,
    pub what: What,
}

/// Where in a call. Unary calls know `Open` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The call has been accepted.
    Open,
    /// So much sound has come.
    Sound(Duration),
    /// So long after it was opened, on the simulator's clock.
    Elapsed(Duration),
    /// Instead of the response with this number, from 0.
    InsteadOf(u64),
    /// After so many responses.
    After(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The call ends with this code and text.
    Status(Code, String),
    /// Nothing is answered any more; limits still hold.
    Stall,
    /// The stream is reset (`RST_STREAM`).
    Reset,
    /// The connection takes no new streams (`GOAWAY`), this one goes on.
    GoAway,
    /// The connection is cut (TCP reset).
    Disconnect,
    /// Interim texts come so much later.
    SlowInterims(Duration),
    /// The last word of every interim text is another one than in the final text.
    WrongInterims,
    /// Final texts are empty.
    EmptyFinals,
}

impl Fault {
    /// Of streaming recognition.
    pub fn hearing(call: impl Into<Option<u64>>, when: When, what: What) -> Self {
        Self { method: Method::StreamingRecognize, call: call.into(), when, what }
    }

    /// Of any method, when the call is opened.
    pub fn refuse(method: Method, call: impl Into<Option<u64>>, code: Code, text: &str) -> Self {
        Self { method, call: call.into(), when: When::Open, what: What::Status(code, text.to_owned()) }
    }
}

/// The faults of one call that have not happened yet.
#[derive(Debug, Default)]
pub(super) struct Script(Vec<(When, What)>);

impl Script {
    pub fn of(faults: &[Fault], method: Method, number: u64) -> Self {
        let ours = faults.iter().filter(|fault| fault.method == method && fault.call.is_none_or(|call| call == number));
        Self(ours.map(|fault| (fault.when, fault.what.clone())).collect())
    }

    /// What is due, in the order of the list.
    pub fn due(&mut self, is_due: impl Fn(When) -> bool) -> Vec<What> {
        let (due, later) = std::mem::take(&mut self.0).into_iter().partition(|(when, _)| is_due(*when));
        self.0 = later;
        let due: Vec<(When, What)> = due;
        due.into_iter().map(|(_, what)| what).collect()
    }

    /// The next time at which something is due, on the simulator's clock.
    pub fn next_time(&self) -> Option<Duration> {
        let times = self.0.iter().filter_map(|(when, _)| match when {
            When::Elapsed(after) => Some(*after),
            _ => None,
        });
        times.min()
    }
}
