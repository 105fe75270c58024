//! How much may run, and how much may come in a minute.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tonic::{Code, Status};

use super::status::status;
use crate::clock::Monotonic;

/// One service's quota.
pub(super) struct Quota {
    name: &'static str,
    streams: usize,
    per_minute: usize,
    /// On the machine's clock.
    minute: Duration,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    running: usize,
    recent: VecDeque<Monotonic>,
}

/// A stream's place; given back when dropped.
pub(super) struct Place(Arc<Quota>);

impl Quota {
    pub fn new(name: &'static str, streams: usize, per_minute: usize, minute: Duration) -> Arc<Self> {
        Arc::new(Self { name, streams, per_minute, minute, used: Mutex::default() })
    }

    /// One more request now.
    pub fn request(&self, now: Monotonic) -> Result<(), Status> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while used.recent.front().is_some_and(|at| now.duration_since(*at) >= self.minute) {
            used.recent.pop_front();
        }
        if used.recent.len() >= self.per_minute {
            return Err(self.exhausted("requests per minute"));
        }
        used.recent.push_back(now);
        Ok(())
    }

    /// One more stream, which is a request too.
    pub fn stream(self: &Arc<Self>, now: Monotonic) -> Result<Place, Status> {
        self.request(now)?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.running >= self.streams {
            return Err(self.exhausted("concurrent streaming sessions"));
        }
        used.running += 1;
        Ok(Place(self.clone()))
    }

    fn exhausted(&self, what: &str) -> Status {
        let text = format!(
            "Quota exceeded for quota metric '{what}' and limit '{what}' of service '{}.googleapis.com' for consumer \
             'project_number:0'.",
            self.name
        );
        status(Code::ResourceExhausted, text)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner).running -= 1;
    }
}
