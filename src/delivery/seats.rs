//! How many unsent calls a lane holds in memory. What finds no seat waits in line, in Postgres.
//!
//! A lane with a limit has seats for about what it sends in half a second; one without has seats for its part of the
//! backlog. While anybody waits in line, newcomers go to its end: the lane takes from it in turns.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::store::line::InLine;

/// Shared by a lane and those who bring it calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Seats {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Rings when somebody went to wait in line.
    bell: Notify,
}

#[derive(Debug)]
struct State {
    seats: usize,
    taken: usize,
    /// Somebody waits in line, as far as this replica knows.
    line: bool,
    why: Why,
}

/// Why a call has to wait in line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    pub reason: InLine,
    pub detail: String,
}

impl Why {
    pub fn new(reason: InLine, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// One call's place in a lane's memory; dropping it frees the seat.
#[derive(Debug)]
pub struct Seat {
    inner: Arc<Inner>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.inner.lock().taken -= 1;
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(self: &Arc<Self>, state: &mut State) -> Seat {
        state.taken += 1;
        Seat { inner: self.clone() }
    }
}

impl Seats {
    pub(super) fn new(seats: usize) -> Self {
        let why = Why::new(InLine::Rate, "");
        let state = State { seats, taken: 0, line: false, why };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), bell: Notify::new() }) }
    }

    /// A newcomer's seat, or why it has to wait in line.
    pub(super) fn take(&self) -> Result<Seat, Why> {
        let mut state = self.inner.lock();
        if state.line || state.taken >= state.seats {
            return Err(state.why.clone());
        }
        Ok(self.inner.seat(&mut state))
    }

    /// Seats for calls from the line, at most `most`.
    pub(super) fn take_for_line(&self, most: usize) -> Vec<Seat> {
        let mut state = self.inner.lock();
        let free = state.seats.saturating_sub(state.taken).min(most);
        (0..free).map(|_| self.inner.seat(&mut state)).collect()
    }

    /// How many calls beyond its seats the lane holds (they became fewer), and why they have to go.
    pub(super) fn too_many(&self) -> (usize, Why) {
        let state = self.inner.lock();
        (state.taken.saturating_sub(state.seats), state.why.clone())
    }

    pub(super) fn set(&self, seats: usize, why: Why) {
        let mut state = self.inner.lock();
        state.seats = seats;
        state.why = why;
    }

    /// (seats, of these free)
    pub(super) fn free(&self) -> (usize, usize) {
        let state = self.inner.lock();
        (state.seats, state.seats.saturating_sub(state.taken))
    }

    /// Somebody waits in line.
    pub(super) fn line_begins(&self) {
        self.inner.lock().line = true;
        self.inner.bell.notify_one();
    }

    /// Calls were found in line.
    pub(super) fn line_goes_on(&self) {
        self.inner.lock().line = true;
    }

    /// Nobody was found in line.
    pub(super) fn line_is_empty(&self) {
        self.inner.lock().line = false;
    }

    pub(super) async fn rung(&self) {
        self.inner.bell.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newcomers_go_behind_those_who_wait_and_a_dropped_seat_is_free() {
        let seats = Seats::new(2);
        seats.set(2, Why::new(InLine::Cap, "full"));
        let first = seats.take().unwrap();
        let _second = seats.take().unwrap();
        assert_eq!(seats.take().unwrap_err().reason, InLine::Cap);
        drop(first);
        seats.line_begins();
        assert!(seats.take().is_err(), "somebody waits in line");
        assert_eq!(seats.take_for_line(5).len(), 1);
        seats.line_is_empty();
        assert!(seats.take().is_ok());
    }

    #[test]
    fn fewer_seats_than_calls_are_told() {
        let seats = Seats::new(3);
        let _taken: Vec<_> = (0..3).map(|_| seats.take().unwrap()).collect();
        seats.set(1, Why::new(InLine::Breaker, "open"));
        let (beyond, why) = seats.too_many();
        assert_eq!((beyond, why.reason), (2, InLine::Breaker));
    }
}
