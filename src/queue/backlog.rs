//! Room for messages that are received and not yet sent on.
//!
//! The whole is one number of permits. A queue takes permits before it asks for messages, and a permit travels with its
//! message. A queue whose receives come back full is hungry, and its part by weight is kept for it; of the others a small
//! part is kept, so that a busy queue cannot shut out a quiet one. What nobody has a part in goes to the waiting queue that
//! holds least for its weight.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock;

/// Kept for a queue that is not hungry, where the backlog is large enough: one full receive.
const RESERVE: usize = 10;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Backlog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    shares: Vec<ShareState>,
}

#[derive(Debug)]
struct ShareState {
    weight: u64,
    /// By weight, of the whole.
    part: usize,
    hungry: bool,
    /// Out, or granted to the waiting request.
    held: usize,
    wanted: usize,
    granted: usize,
    bell: Arc<Notify>,
}

impl Backlog {
    pub fn new(max: usize) -> Self {
        Self { inner: Arc::new(Inner { max, state: Mutex::new(State { free: max, shares: Vec::new() }) }) }
    }

    pub fn limit(&self) -> usize {
        self.inner.max
    }

    /// Permits that are out.
    pub fn held(&self) -> usize {
        self.inner.max - self.inner.lock().free
    }

    /// A part of the backlog for one queue (or another source of work).
    pub fn share(&self, weight: u32) -> Share {
        let bell = Arc::new(Notify::new());
        let mut state = self.inner.lock();
        let weight = u64::from(weight.max(1));
        state.shares.push(ShareState {
            weight,
            part: 0,
            hungry: false,
            held: 0,
            wanted: 0,
            granted: 0,
            bell: bell.clone(),
        });
        let all: u64 = state.shares.iter().map(|share| share.weight).sum();
        for share in &mut state.shares {
            share.part = (self.inner.max as u64 * share.weight / all) as usize;
        }
        Share { inner: self.inner.clone(), index: state.shares.len() - 1, bell, turn: Arc::default() }
    }
}

/// One queue's part.
#[derive(Debug, Clone)]
pub struct Share {
    inner: Arc<Inner>,
    index: usize,
    bell: Arc<Notify>,
    /// One request at a time, so that two polls of a queue do not split what comes free into two small batches.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Share {
    /// Whether there is more to receive than there is room: the last receive came back full.
    pub fn set_hungry(&self, hungry: bool) {
        let mut state = self.inner.lock();
        if std::mem::replace(&mut state.shares[self.index].hungry, hungry) != hungry {
            state.grant();
        }
    }

    /// Up to `most` permits, at least one: all of them, or those there are once `linger` has passed since the first.
    pub async fn acquire(&self, most: usize, linger: Duration) -> Vec<Permit> {
        let _turn = self.turn.lock().await;
        let request = Request::open(self, most);
        let mut until = None;
        loop {
            let granted = request.granted();
            if granted >= most {
                break;
            }
            if granted > 0 && until.is_none() {
                until = Some(clock::monotonic() + linger);
            }
            match until {
                None => self.bell.notified().await,
                Some(until) => tokio::select! {
                    () = self.bell.notified() => {}
                    () = tokio::time::sleep_until(until) => break,
                },
            }
        }
        request.take()
    }
}

/// The waiting request of a share; dropping it gives back what it was granted.
struct Request<'a>(&'a Share);

impl<'a> Request<'a> {
    fn open(share: &'a Share, most: usize) -> Self {
        let mut state = share.inner.lock();
        state.shares[share.index].wanted = most;
        state.grant();
        drop(state);
        Self(share)
    }

    fn granted(&self) -> usize {
        self.0.inner.lock().shares[self.0.index].granted
    }

    fn take(self) -> Vec<Permit> {
        let mut state = self.0.inner.lock();
        let share = &mut state.shares[self.0.index];
        let granted = std::mem::take(&mut share.granted);
        share.wanted = 0;
        drop(state);
        (0..granted).map(|_| Permit { inner: self.0.inner.clone(), index: self.0.index }).collect()
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let mut state = self.0.inner.lock();
        let share = &mut state.shares[self.0.index];
        share.wanted = 0;
        let unused = std::mem::take(&mut share.granted);
        share.held -= unused;
        state.free += unused;
        if unused > 0 {
            state.grant();
        }
    }
}

/// Room for one message; dropping it frees the room.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    index: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        state.shares[self.index].held -= 1;
        state.free += 1;
        state.grant();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives what is free to the waiting, one by one, to the one that holds least for its weight.
    fn grant(&mut self) {
        while self.free > 0 {
            let kept: usize = self.shares.iter().map(ShareState::kept).sum();
            let may_have = |share: &ShareState| share.kept() > 0 || self.free > kept;
            let waiting = self.shares.iter_mut().filter(|share| share.granted < share.wanted && may_have(share));
            let Some(next) = waiting.min_by(|a, b| (a.held as u64 * b.weight).cmp(&(b.held as u64 * a.weight))) else {
                return;
            };
            next.held += 1;
            next.granted += 1;
            next.bell.notify_one();
            self.free -= 1;
        }
    }
}

impl ShareState {
    /// What is still kept for it. All parts together are never more than the whole.
    fn kept(&self) -> usize {
        let part = if self.hungry { self.part } else { self.part.min(RESERVE) };
        part.saturating_sub(self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures_util::FutureExt as _;

    const LINGER: Duration = Duration::from_millis(5);
    const FOR_EVER: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_full_batch_is_granted_at_once_and_a_part_after_the_linger() {
        let backlog = Backlog::new(13);
        let share = backlog.share(1);
        let ten = share.acquire(10, FOR_EVER).now_or_never().unwrap();
        assert_eq!(ten.len(), 10);
        let begun = clock::monotonic();
        let three = share.acquire(10, LINGER).await;
        assert!(three.len() == 3 && begun.elapsed() >= LINGER);
        assert_eq!(backlog.held(), 13);
        drop((ten, three));
        assert_eq!(backlog.held(), 0);
    }

    #[tokio::test]
    async fn a_full_backlog_makes_wait_until_a_permit_is_dropped() {
        let backlog = Backlog::new(5);
        let share = backlog.share(1);
        let mut held = share.acquire(5, FOR_EVER).await;
        let mut waiting = Box::pin(share.acquire(2, FOR_EVER));
        assert!((&mut waiting).now_or_never().is_none());
        held.truncate(3);
        assert_eq!(waiting.await.len(), 2);
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_returns_what_it_was_granted() {
        let backlog = Backlog::new(5);
        let share = backlog.share(1);
        let mut waiting = Box::pin(share.acquire(10, FOR_EVER));
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(backlog.held(), 5);
        drop(waiting);
        assert_eq!(backlog.held(), 0);
        assert_eq!(share.acquire(5, FOR_EVER).await.len(), 5);
    }

    #[tokio::test]
    async fn a_busy_queue_leaves_room_for_a_quiet_one() {
        let backlog = Backlog::new(30);
        let (busy, quiet) = (backlog.share(1), backlog.share(1));
        let held = busy.acquire(30, LINGER).await;
        assert_eq!(held.len(), 20);
        assert!(busy.acquire(1, LINGER).now_or_never().is_none());
        assert_eq!(quiet.acquire(10, FOR_EVER).await.len(), 10);
    }

    #[tokio::test]
    async fn when_room_is_short_the_weights_share_it() {
        let backlog = Backlog::new(80);
        let (heavy, light) = (backlog.share(3), backlog.share(1));
        // Light was first and took all it could.
        let mut light_held = light.acquire(70, FOR_EVER).await;
        let mut heavy_held = heavy.acquire(10, FOR_EVER).await;
        let mut light_wants = Box::pin(light.acquire(80, FOR_EVER));
        assert!((&mut light_wants).now_or_never().is_none());
        let mut heavy_wants = Box::pin(heavy.acquire(50, FOR_EVER));
        assert!((&mut heavy_wants).now_or_never().is_none());
        light_held.truncate(20);
        heavy_held.extend(heavy_wants.now_or_never().expect("all that was freed"));
        assert_eq!((heavy_held.len(), light_held.len()), (60, 20));
        // At the weights, light gets its turn again.
        let mut heavy_wants = Box::pin(heavy.acquire(80, FOR_EVER));
        assert!((&mut heavy_wants).now_or_never().is_none());
        heavy_held.truncate(56);
        light_held.truncate(16);
        drop((heavy_wants, light_wants));
        assert_eq!(backlog.held(), 72);
    }

    #[tokio::test]
    async fn a_hungry_queues_part_is_kept_while_it_is_away_receiving() {
        let backlog = Backlog::new(80);
        let (heavy, light) = (backlog.share(3), backlog.share(1));
        heavy.set_hungry(true);
        light.set_hungry(true);
        assert_eq!(light.acquire(80, LINGER).await.len(), 20);
        heavy.set_hungry(false);
        assert_eq!(light.acquire(80, LINGER).await.len(), 70);
    }

    #[test]
    fn more_queues_than_room_still_get_their_turn() {
        let backlog = Backlog::new(2);
        let shares: Vec<_> = (0..5).map(|_| backlog.share(1)).collect();
        for share in &shares {
            assert_eq!(share.acquire(2, FOR_EVER).now_or_never().unwrap().len(), 2);
        }
    }
}
