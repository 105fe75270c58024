//! One queue: its messages and what becomes of them. Pure: time is passed in, as milliseconds since 1970.
//!
//! A message is ready, delayed or in flight. Every step costs the logarithm of the queue's length at most, so a backlog of
//! a hundred thousand messages is received as fast as one of ten.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use super::dedup::{Sent, Window};
use super::handle::Handle;
use super::message::{Content, Delivery, Message, State};
use super::order::{Groups, Order};
use super::settings::Settings;

/// How many messages may be in flight on one queue (quota of standard and FIFO queues alike).
pub(super) const MAX_IN_FLIGHT: usize = 120_000;
/// A standard queue moves a message received this often to its back (developer guide, "Visibility timeout").
const RECEIVES_BEFORE_BACK: u32 = 3;
/// Sequence numbers are twenty digits long.
const FIRST_SEQUENCE: u64 = 18_000_000_000_000_000_000;

/// What a receive brought.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub deliveries: Vec<Delivery>,
    /// Messages received too often, now out of this queue.
    pub dead: Vec<Message>,
    /// The in-flight limit is reached.
    pub over_limit: bool,
}

/// What a receiver asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Take<'a> {
    pub max: usize,
    pub visibility_ms: u64,
    /// Messages received this often are dead.
    pub dead_after: Option<u32>,
    /// FIFO: a repeat with the same id gets the same messages.
    pub attempt: Option<&'a str>,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub name: Arc<str>,
    /// A number of its own, part of its receipt handles.
    pub uid: u64,
    pub settings: Arc<Settings>,
    pub tags: BTreeMap<String, String>,
    pub created_ms: u64,
    pub modified_ms: u64,
    pub purged_ms: Option<u64>,
    pub(super) messages: HashMap<u64, Message>,
    pub(super) next_key: u64,
    pub(super) sent: Window<Sent>,
    pub(super) attempts: Window<Vec<(u64, u32)>>,
    order: Order,
    /// When delayed messages and those in flight become ready: (ms, key).
    pub(super) due: BTreeSet<(u64, u64)>,
    /// Oldest first, for retention: (sent, key).
    ages: BTreeSet<(u64, u64)>,
    delayed: usize,
    in_flight: usize,
    /// Something became ready since `take_fresh` was last asked.
    fresh: bool,
}

impl Queue {
    pub fn new(name: Arc<str>, uid: u64, settings: Settings, now: u64) -> Self {
        let order = if settings.fifo { Order::Fifo(Groups::default()) } else { Order::Standard(VecDeque::new()) };
        Self {
            name,
            uid,
            settings: Arc::new(settings),
            tags: BTreeMap::new(),
            created_ms: now,
            modified_ms: now,
            purged_ms: None,
            messages: HashMap::new(),
            next_key: 1,
            sent: Window::default(),
            attempts: Window::default(),
            order,
            due: BTreeSet::new(),
            ages: BTreeSet::new(),
            delayed: 0,
            in_flight: 0,
            fresh: false,
        }
    }

    pub fn ready(&self) -> usize {
        self.messages.len() - self.delayed - self.in_flight
    }

    pub fn delayed(&self) -> usize {
        self.delayed
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether a receive would bring something now.
    pub fn has_deliverable(&mut self) -> bool {
        self.in_flight < MAX_IN_FLIGHT
            && match &mut self.order {
                Order::Standard(_) => self.ready() > 0,
                Order::Fifo(groups) => groups.front().is_some(),
            }
    }

    /// When the next message becomes ready by itself.
    pub fn next_due(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whether something became deliverable since this was last asked.
    pub fn take_fresh(&mut self) -> bool {
        std::mem::take(&mut self.fresh)
    }

    /// Accepts a message. A repeat within the deduplication window is told the first one's numbers and changes nothing.
    ///
    /// `delay_seconds` beats the queue's own.
    pub fn send(&mut self, now: u64, id: Uuid, content: Content, delay_seconds: Option<u32>) -> Sent {
        let deduplication =
            content.deduplication_id.as_ref().filter(|_| self.settings.fifo).map(|dedup| match &content.group {
                Some(group) if self.settings.deduplicate_per_group => format!("{group}\n{dedup}"),
                _ => dedup.clone(),
            });
        if let Some(first) = deduplication.as_ref().and_then(|dedup| self.sent.get(now, dedup)) {
            return *first;
        }
        let delay = u64::from(delay_seconds.unwrap_or(self.settings.delay_seconds)) * 1000;
        let state = if delay == 0 { State::Ready } else { State::Delayed { until: now + delay } };
        let sequence = self.settings.fifo.then_some(FIRST_SEQUENCE + self.next_key);
        self.insert(Message {
            id,
            content: Arc::new(content),
            sent_ms: now,
            sequence,
            received: 0,
            first_received_ms: 0,
            taken_ms: 0,
            state,
            origin: None,
        });
        let sent = Sent { id, sequence };
        if let Some(dedup) = deduplication {
            self.sent.put(now, dedup, sent);
        }
        sent
    }

    /// Takes in a message from another queue (dead-lettered or moved back): ready, at the end.
    pub fn adopt(&mut self, mut message: Message) {
        message.state = State::Ready;
        message.sequence = self.settings.fifo.then_some(FIRST_SEQUENCE + self.next_key);
        self.insert(message);
    }

    fn insert(&mut self, message: Message) {
        let key = self.next_key;
        self.next_key += 1;
        self.restore(key, message);
    }

    /// Puts a message in under a key it had before (from a snapshot).
    pub fn restore(&mut self, key: u64, message: Message) {
        self.ages.insert((message.sent_ms, key));
        match message.state {
            State::Ready => {}
            State::Delayed { until } => {
                self.delayed += 1;
                self.due.insert((until, key));
            }
            State::InFlight { until } => {
                self.in_flight += 1;
                self.due.insert((until, key));
                if let (Order::Fifo(groups), Some(group)) = (&mut self.order, &message.content.group) {
                    groups.add(group, key);
                    groups.lock(group, key);
                }
            }
        }
        let ready = message.state == State::Ready;
        self.messages.insert(key, message);
        if ready {
            self.line_up(key, false);
        }
    }

    /// Puts a ready message in line.
    fn line_up(&mut self, key: u64, first: bool) {
        let Some(message) = self.messages.get(&key) else { return };
        match &mut self.order {
            Order::Standard(line) if first => line.push_front(key),
            Order::Standard(line) => line.push_back(key),
            Order::Fifo(groups) => {
                if let Some(group) = &message.content.group {
                    groups.add(group, key);
                }
            }
        }
        self.fresh = true;
    }

    /// Brings the queue up to the time: delays end, visibility ends, old messages vanish.
    pub fn advance(&mut self, now: u64) {
        // Last first: what goes to the front of a standard queue then stands in the order in which it fell due.
        let later = self.due.split_off(&(now + 1, 0));
        let due = std::mem::replace(&mut self.due, later);
        for (_, key) in due.into_iter().rev() {
            self.make_ready(key);
        }
        let keep = u64::from(self.settings.retention_seconds) * 1000;
        while let Some((sent, key)) = self.ages.first().copied() {
            if sent + keep > now {
                break;
            }
            self.remove(key);
        }
    }

    /// Ends a message's delay or delivery. Its entry in `due` is already gone.
    pub(super) fn make_ready(&mut self, key: u64) {
        let Some(message) = self.messages.get_mut(&key) else { return };
        let was = std::mem::replace(&mut message.state, State::Ready);
        let group = message.content.group.clone();
        let first = matches!(was, State::InFlight { .. }) && message.received < RECEIVES_BEFORE_BACK;
        self.line_up(key, first);
        match was {
            State::Ready => {}
            State::Delayed { .. } => self.delayed -= 1,
            State::InFlight { .. } => self.end_flight(group.as_ref()),
        }
    }

    fn end_flight(&mut self, group: Option<&Arc<str>>) {
        self.in_flight -= 1;
        if let (Order::Fifo(groups), Some(group)) = (&mut self.order, group) {
            groups.unlock(group);
            // The rest of the group may have waited for this one.
            self.fresh = true;
        }
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<Message> {
        let message = self.messages.remove(&key)?;
        self.ages.remove(&(message.sent_ms, key));
        match message.state {
            State::Ready => {
                // A standard queue's line drops the key when its turn comes.
                if let (Order::Fifo(groups), Some(group)) = (&mut self.order, &message.content.group) {
                    groups.forget(group, key);
                }
            }
            State::Delayed { until } => {
                self.delayed -= 1;
                self.due.remove(&(until, key));
            }
            State::InFlight { until } => {
                self.due.remove(&(until, key));
                self.end_flight(message.content.group.as_ref());
            }
        }
        Some(message)
    }

    /// Takes up to `max` messages. Call `advance` first.
    pub fn take(&mut self, now: u64, take: Take<'_>) -> Taken {
        let mut taken = Taken::default();
        if let Some(repeat) = take.attempt.and_then(|attempt| self.repeat(now, attempt, take.visibility_ms)) {
            taken.deliveries = repeat;
            return taken;
        }
        taken.over_limit = self.in_flight >= MAX_IN_FLIGHT;
        let room = take.max.min(MAX_IN_FLIGHT - self.in_flight.min(MAX_IN_FLIGHT));
        while taken.deliveries.len() < room {
            let Some(key) = self.next_key_in_line() else { break };
            let Some(message) = self.messages.get(&key) else { continue };
            if take.dead_after.is_some_and(|limit| message.received >= limit) {
                taken.dead.extend(self.remove(key));
            } else {
                let group = message.content.group.clone();
                taken.deliveries.extend(self.deliver(now, key, take.visibility_ms));
                if let (Order::Fifo(_), Some(group)) = (&self.order, group) {
                    self.take_group(now, take, room, &group, &mut taken);
                }
            }
        }
        if let Some(attempt) = take.attempt.filter(|_| self.settings.fifo && !taken.deliveries.is_empty()) {
            let keys = taken.deliveries.iter().map(|d| (d.handle.key, d.handle.delivery)).collect();
            self.attempts.put(now, attempt.to_owned(), keys);
        }
        taken
    }

    /// A receive brings as much of one group as it can: the group is locked for all others from now on.
    fn take_group(&mut self, now: u64, take: Take<'_>, room: usize, group: &str, taken: &mut Taken) {
        while taken.deliveries.len() < room {
            let Order::Fifo(groups) = &self.order else { return };
            let Some(key) = groups.first(group) else { return };
            if take.dead_after.is_some_and(|limit| self.messages.get(&key).is_some_and(|m| m.received >= limit)) {
                taken.dead.extend(self.remove(key));
            } else {
                taken.deliveries.extend(self.deliver(now, key, take.visibility_ms));
            }
        }
    }

    fn next_key_in_line(&mut self) -> Option<u64> {
        match &mut self.order {
            Order::Standard(line) => line.pop_front(),
            Order::Fifo(groups) => {
                let group = groups.front()?;
                groups.first(&group)
            }
        }
    }

    fn deliver(&mut self, now: u64, key: u64, visibility_ms: u64) -> Option<Delivery> {
        let message = self.messages.get_mut(&key)?;
        message.received += 1;
        message.taken_ms = now;
        if message.first_received_ms == 0 {
            message.first_received_ms = now;
        }
        let until = now + visibility_ms;
        message.state = State::InFlight { until };
        let delivery =
            Delivery { handle: Handle { queue: self.uid, key, delivery: message.received }, message: message.clone() };
        if let (Order::Fifo(groups), Some(group)) = (&mut self.order, &message.content.group) {
            groups.lock(group, key);
        }
        self.in_flight += 1;
        self.due.insert((until, key));
        Some(delivery)
    }

    /// Fault injection: a second copy of a standard queue's message, deliverable at once and deleted on its own.
    /// This is how a standard queue repeats a message even after it was deleted.
    pub fn duplicate(&mut self, delivery: &Delivery) {
        if !self.settings.fifo {
            self.insert(Message { state: State::Ready, ..delivery.message.clone() });
        }
    }

    /// Takes out up to `max` ready messages without delivering them, for a message move task.
    pub fn take_out(&mut self, max: usize) -> Vec<Message> {
        let mut out = Vec::new();
        while out.len() < max {
            let Some(key) = self.next_key_in_line() else { break };
            out.extend(self.remove(key));
        }
        out
    }

    pub fn purge(&mut self, now: u64) {
        self.messages.clear();
        self.due.clear();
        self.ages.clear();
        (self.delayed, self.in_flight) = (0, 0);
        match &mut self.order {
            Order::Standard(line) => line.clear(),
            Order::Fifo(groups) => groups.clear(),
        }
        self.purged_ms = Some(now);
    }
}
