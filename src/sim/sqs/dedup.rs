//! The two five-minute memories of a FIFO queue: deduplication ids of producers, attempt ids of receivers.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Both memories last five minutes.
const WINDOW_MS: u64 = 300_000;

/// What an accepted message was given, and what a repeat of it is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sent {
    pub id: Uuid,
    /// Only on FIFO queues.
    pub sequence: Option<u64>,
}

/// Values kept by id for five minutes from their first use.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Window<T> {
    by_id: HashMap<String, T>,
    oldest_first: VecDeque<(u64, String)>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { by_id: HashMap::new(), oldest_first: VecDeque::new() }
    }
}

impl<T> Window<T> {
    /// The value remembered for `id`, when it is not older than five minutes.
    pub fn get(&mut self, now: u64, id: &str) -> Option<&T> {
        while self.oldest_first.front().is_some_and(|(at, _)| at + WINDOW_MS <= now) {
            if let Some((_, old)) = self.oldest_first.pop_front() {
                self.by_id.remove(&old);
            }
        }
        self.by_id.get(id)
    }

    /// Remembers a value. Ask `get` first: an id still remembered keeps its old clock.
    pub fn put(&mut self, now: u64, id: String, value: T) {
        if self.by_id.insert(id.clone(), value).is_none() {
            self.oldest_first.push_back((now, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_remembered_for_five_minutes_and_not_longer() {
        let mut window = Window::default();
        assert_eq!(window.get(1000, "a"), None);
        window.put(1000, "a".into(), 1);
        assert_eq!(window.get(300_999, "a"), Some(&1));
        assert_eq!(window.get(301_000, "a"), None);
        assert!(window.by_id.is_empty() && window.oldest_first.is_empty());
    }
}
