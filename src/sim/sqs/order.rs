//! In which order a queue hands out what is deliverable.
//!
//! Both kinds find the next message without looking through the backlog: a standard queue is a line of messages, a FIFO
//! queue a line of message groups, each with its own line. A group with a message in flight is locked and not in line.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Deliverable messages of one queue, by their keys.
#[derive(Debug)]
pub(super) enum Order {
    Standard(VecDeque<u64>),
    Fifo(Groups),
}

/// The groups of a FIFO queue.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: HashMap<Arc<str>, Group>,
    /// Groups that have something to give and nothing in flight. May hold stale names: `front` drops them.
    line: VecDeque<Arc<str>>,
}

#[derive(Debug, Default)]
struct Group {
    /// By key, and keys rise in the order of sending: a message that comes back takes its old place.
    waiting: BTreeSet<u64>,
    in_flight: usize,
    in_line: bool,
}

impl Groups {
    pub fn add(&mut self, name: &Arc<str>, key: u64) {
        let group = self.groups.entry(name.clone()).or_default();
        group.waiting.insert(key);
        Self::line_up(&mut self.line, name, group);
    }

    /// The first unlocked group with something in it.
    pub fn front(&mut self) -> Option<Arc<str>> {
        while let Some(name) = self.line.front() {
            match self.groups.get_mut(name) {
                Some(group) if group.in_flight == 0 && !group.waiting.is_empty() => return Some(name.clone()),
                Some(group) => group.in_line = false,
                None => {}
            }
            self.line.pop_front();
        }
        None
    }

    /// The oldest message that waits in a group.
    pub fn first(&self, name: &str) -> Option<u64> {
        self.groups.get(name)?.waiting.first().copied()
    }

    /// The message is being delivered: its group is locked from here on.
    pub fn lock(&mut self, name: &str, key: u64) {
        if let Some(group) = self.groups.get_mut(name) {
            group.waiting.remove(&key);
            group.in_flight += 1;
        }
    }

    /// A message of the group is no longer in flight.
    pub fn unlock(&mut self, name: &Arc<str>) {
        if let Some(group) = self.groups.get_mut(name) {
            group.in_flight = group.in_flight.saturating_sub(1);
            Self::line_up(&mut self.line, name, group);
            self.drop_if_idle(name);
        }
    }

    /// A waiting message is gone.
    pub fn forget(&mut self, name: &str, key: u64) {
        if let Some(group) = self.groups.get_mut(name) {
            group.waiting.remove(&key);
            self.drop_if_idle(name);
        }
    }

    pub fn clear(&mut self) {
        self.groups.clear();
        self.line.clear();
    }

    fn line_up(line: &mut VecDeque<Arc<str>>, name: &Arc<str>, group: &mut Group) {
        if group.in_flight == 0 && !group.waiting.is_empty() && !group.in_line {
            group.in_line = true;
            line.push_back(name.clone());
        }
    }

    fn drop_if_idle(&mut self, name: &str) {
        if self.groups.get(name).is_some_and(|group| group.in_flight == 0 && group.waiting.is_empty()) {
            self.groups.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_in_flight_is_locked_and_others_go_on() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut groups = Groups::default();
        groups.add(&a, 1);
        groups.add(&a, 2);
        groups.add(&b, 3);
        assert_eq!(groups.front(), Some(a.clone()));
        groups.lock("a", 1);
        assert_eq!(groups.front(), Some(b.clone()));
        groups.lock("b", 3);
        assert_eq!(groups.front(), None);
        groups.unlock(&a);
        assert_eq!(groups.front(), Some(a));
        assert_eq!(groups.first("a"), Some(2));
    }

    #[test]
    fn a_message_that_comes_back_takes_its_old_place() {
        let a: Arc<str> = "a".into();
        let mut groups = Groups::default();
        groups.add(&a, 1);
        groups.add(&a, 2);
        groups.lock("a", 1);
        groups.add(&a, 1);
        groups.unlock(&a);
        assert_eq!(groups.first("a"), Some(1));
    }

    #[test]
    fn idle_groups_leave_nothing_behind() {
        let a: Arc<str> = "a".into();
        let mut groups = Groups::default();
        for key in 0..1000 {
            groups.add(&a, key);
            assert!(groups.front().is_some());
            groups.lock("a", key);
            groups.unlock(&a);
            assert_eq!(groups.front(), None);
        }
        assert!(groups.groups.is_empty() && groups.line.is_empty());
    }
}
