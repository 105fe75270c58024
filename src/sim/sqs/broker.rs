//! All queues of the service and what happens between them: creation, dead letters, wake-ups. Pure: time and randomness
//! are passed in.
//!
//! After each step `wake_ups` says which queues have something for a waiting receiver, and `next_due` when time itself
//! will bring something; the server rings the bells and keeps the clock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::dedup::Sent;
use super::error::{ApiError, ErrorKind};
use super::message::{Content, Delivery, Message};
use super::moves::MoveTask;
use super::queue::{Queue, Take};
use super::settings::{Settings, arn, require_queue_name};

/// How long a deleted queue's name stays taken, and how long after a purge the next is refused.
const COOL_DOWN_MS: u64 = 60_000;

/// What a receive asks for, with the queue's own values filled in where the client gave none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receive<'a> {
    pub max: usize,
    pub visibility_seconds: Option<u32>,
    pub attempt: Option<&'a str>,
    /// A short poll hears of the in-flight limit; a long poll just gets nothing.
    pub short: bool,
    /// Fault injection: how probably a delivered message leaves a second copy behind.
    pub duplicate: f64,
}

#[derive(Debug)]
pub(super) struct Broker {
    /// Region and account, as in ARNs.
    pub own: String,
    pub(super) queues: BTreeMap<Arc<str>, Queue>,
    pub(super) tasks: Vec<MoveTask>,
    deleted: HashMap<Arc<str>, u64>,
    cool_downs: bool,
    rng: fastrand::Rng,
    woken: Vec<Arc<str>>,
    armed: Option<u64>,
    rearm: bool,
}

impl Broker {
    /// `cool_downs`: whether the 60 s after deleting and purging a queue are held as AWS does.
    pub fn new(own: String, cool_downs: bool, rng: fastrand::Rng) -> Self {
        Self {
            own,
            queues: BTreeMap::new(),
            tasks: Vec::new(),
            deleted: HashMap::new(),
            cool_downs,
            rng,
            woken: Vec::new(),
            armed: None,
            rearm: false,
        }
    }

    pub fn new_id(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.rng.u128(..).to_be_bytes()).into_uuid()
    }

    /// Creates a queue, or finds the one that is just so.
    ///
    /// # Errors
    /// Bad names and attributes; `QueueNameExists` for other attributes; `QueueDeletedRecently`.
    pub fn create(
        &mut self,
        now: u64,
        name: &str,
        attributes: &BTreeMap<String, String>,
        tags: BTreeMap<String, String>,
    ) -> Result<(), ApiError> {
        require_queue_name(name)?;
        let fifo = name.ends_with(".fifo");
        let asked = attributes.get("FifoQueue").map(String::as_str);
        if fifo && asked != Some("true") {
            return Err(ApiError::parameter("The queue name must not end with .fifo unless FifoQueue is true."));
        }
        if !fifo && asked == Some("true") {
            return Err(ApiError::parameter("The name of a FIFO queue must end with the .fifo suffix."));
        }
        let settings = self.settings(Settings::new(fifo), name, attributes)?;
        if let Some(queue) = self.queues.get(name) {
            let differs = |key: &&String| settings.given().get(*key) != queue.settings.given().get(*key);
            return match attributes.keys().find(differs) {
                None => Ok(()),
                Some(key) => Err(ApiError::new(
                    ErrorKind::QueueNameExists,
                    format!("A queue already exists with the same name and a different value for attribute {key}"),
                )),
            };
        }
        if self.cool_downs && self.deleted.get(name).is_some_and(|at| at + COOL_DOWN_MS > now) {
            return Err(ApiError::new(
                ErrorKind::QueueDeletedRecently,
                "You must wait 60 seconds after deleting a queue before you can create another with the same name.",
            ));
        }
        self.deleted.remove(name);
        let name: Arc<str> = name.into();
        let mut queue = Queue::new(name.clone(), self.rng.u64(..), settings, now);
        queue.tags = tags;
        self.queues.insert(name, queue);
        Ok(())
    }

    /// # Errors
    /// `QueueDoesNotExist`, or what is wrong with the attributes; then nothing is changed.
    pub fn set_attributes(
        &mut self,
        now: u64,
        name: &str,
        attributes: &BTreeMap<String, String>,
    ) -> Result<(), ApiError> {
        let before = Settings::clone(&self.queue(now, name)?.settings);
        let settings = self.settings(before, name, attributes)?;
        let queue = self.queue(now, name)?;
        queue.settings = Arc::new(settings);
        queue.modified_ms = now;
        Ok(())
    }

    fn settings(
        &self,
        mut settings: Settings,
        name: &str,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Settings, ApiError> {
        for (key, value) in attributes {
            settings.apply(key, value, &self.own)?;
        }
        if let Some(redrive) = settings.redrive.as_ref().filter(|_| attributes.contains_key("RedrivePolicy")) {
            let target = self.queues.get(&redrive.target);
            let text = || attributes.get("RedrivePolicy").map_or("", String::as_str);
            match target {
                None => return Err(ApiError::value(text(), "RedrivePolicy", "Dead letter target does not exist.")),
                Some(target) if !target.settings.allows_redrive_from(&arn(&self.own, name)) => {
                    let reason = "Dead letter target does not allow this source queue.";
                    return Err(ApiError::value(text(), "RedrivePolicy", reason));
                }
                Some(_) => {}
            }
        }
        Ok(settings)
    }

    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn delete(&mut self, now: u64, name: &str) -> Result<(), ApiError> {
        let queue = self.queues.remove(name).ok_or_else(ApiError::queue_does_not_exist)?;
        self.deleted.insert(queue.name, now);
        Ok(())
    }

    /// # Errors
    /// `QueueDoesNotExist`, `PurgeQueueInProgress`.
    pub fn purge(&mut self, now: u64, name: &str) -> Result<(), ApiError> {
        let cool_downs = self.cool_downs;
        let queue = self.queue(now, name)?;
        if cool_downs && queue.purged_ms.is_some_and(|at| at + COOL_DOWN_MS > now) {
            return Err(ApiError::new(
                ErrorKind::PurgeQueueInProgress,
                format!("Only one PurgeQueue operation on {name} is allowed every 60 seconds."),
            ));
        }
        queue.purge(now);
        Ok(())
    }

    /// A queue, brought up to the time. Follow changes with `settle`.
    ///
    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn queue(&mut self, now: u64, name: &str) -> Result<&mut Queue, ApiError> {
        let queue = self.queues.get_mut(name).ok_or_else(ApiError::queue_does_not_exist)?;
        queue.advance(now);
        Ok(queue)
    }

    /// Names from `after` on (exclusive), in order.
    pub fn names_after<'a>(&'a self, prefix: &'a str, after: &'a str) -> impl Iterator<Item = &'a Queue> {
        self.queues.values().filter(move |queue| queue.name.starts_with(prefix) && queue.name.as_ref() > after)
    }

    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn send(&mut self, now: u64, name: &str, content: Content, delay: Option<u32>) -> Result<Sent, ApiError> {
        let id = self.new_id();
        let sent = self.queue(now, name)?.send(now, id, content, delay);
        self.settle(name);
        Ok(sent)
    }

    /// Takes messages; those received too often go to the dead-letter queue instead.
    ///
    /// # Errors
    /// `QueueDoesNotExist`; `OverLimit` for a short poll of a standard queue.
    pub fn receive(&mut self, now: u64, name: &str, ask: Receive<'_>) -> Result<Vec<Delivery>, ApiError> {
        let redrive = self.queue(now, name)?.settings.redrive.clone();
        let redrive = redrive.filter(|redrive| self.queues.contains_key(&redrive.target));
        let queue = self.queues.get_mut(name).ok_or_else(ApiError::queue_does_not_exist)?;
        let visibility_ms = u64::from(ask.visibility_seconds.unwrap_or(queue.settings.visibility_seconds)) * 1000;
        let dead_after = redrive.as_ref().map(|redrive| redrive.max_receive_count);
        let taken = queue.take(now, Take { max: ask.max, visibility_ms, dead_after, attempt: ask.attempt });
        if taken.over_limit && ask.short && !queue.settings.fifo {
            return Err(ApiError::new(ErrorKind::OverLimit, "Too many messages in flight for the queue."));
        }
        if ask.duplicate > 0.0 {
            for delivery in &taken.deliveries {
                if self.rng.f64() < ask.duplicate {
                    queue.duplicate(delivery);
                }
            }
        }
        // One bell wakes one receiver; it passes on what it leaves.
        if !taken.deliveries.is_empty() && queue.has_deliverable() {
            self.woken.push(queue.name.clone());
        }
        let source = queue.name.clone();
        if let Some(redrive) = redrive.filter(|_| !taken.dead.is_empty()) {
            self.bury(&redrive.target, &source, taken.dead);
        }
        self.settle(name);
        Ok(taken.deliveries)
    }

    fn bury(&mut self, target: &str, source: &Arc<str>, dead: Vec<Message>) {
        if let Some(queue) = self.queues.get_mut(target) {
            for mut message in dead {
                message.origin = Some(source.clone());
                queue.adopt(message);
            }
        }
        self.settle(target);
    }

    /// Notes what a change to the queue means for waiting receivers and for the clock.
    pub fn settle(&mut self, name: &str) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        if queue.take_fresh() {
            self.woken.push(queue.name.clone());
        }
        if let Some(due) = queue.next_due() {
            self.arm(due);
        }
    }

    pub(super) fn arm(&mut self, due: u64) {
        if self.armed.is_none_or(|armed| due < armed) {
            self.armed = Some(due);
            self.rearm = true;
        }
    }

    /// Queues that have something for a receiver, each as often as a receiver should look. Empties the list.
    pub fn wake_ups(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.woken)
    }

    /// Whether the next due time moved forward since this was last asked.
    pub fn take_rearm(&mut self) -> bool {
        std::mem::take(&mut self.rearm)
    }

    /// Brings everything up to the time. Returns when it wants to be called again.
    pub fn tick(&mut self, now: u64) -> Option<u64> {
        let due: Vec<Arc<str>> =
            self.queues.values().filter(|q| q.next_due().is_some_and(|at| at <= now)).map(|q| q.name.clone()).collect();
        for name in due {
            if let Some(queue) = self.queues.get_mut(&name) {
                queue.advance(now);
            }
            self.settle(&name);
        }
        let task = self.step_tasks(now);
        let queue = self.queues.values().filter_map(Queue::next_due).min();
        self.armed = [task, queue].into_iter().flatten().min();
        self.rearm = false;
        self.armed
    }
}
