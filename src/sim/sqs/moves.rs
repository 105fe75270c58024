//! Message move tasks: dead letters sent back to where they came from, or to another queue.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::broker::Broker;
use super::error::{ApiError, ErrorKind};
use super::settings::{arn, name_of_arn};

/// A task remembers its last state for as long as the server runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MoveTask {
    id: Uuid,
    pub source: Arc<str>,
    pub destination: Option<Arc<str>>,
    pub per_second: Option<u32>,
    pub status: Status,
    pub started_ms: u64,
    pub to_move: u64,
    pub moved: u64,
    pub failure: Option<String>,
    next_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Status {
    Running,
    Completed,
    Cancelled,
    Failed,
}

impl MoveTask {
    /// Opaque; AWS's is base64 of just this.
    pub fn handle(&self, own: &str) -> String {
        STANDARD.encode(format!("{{\"taskId\":\"{}\",\"sourceArn\":\"{}\"}}", self.id, arn(own, &self.source)))
    }
}

impl Broker {
    /// # Errors
    /// `ResourceNotFound` for a queue that is not there; `InvalidParameterValue` when the source is nobody's dead-letter
    /// queue or a task runs already.
    pub fn start_move(
        &mut self,
        now: u64,
        source_arn: &str,
        destination_arn: Option<&str>,
        per_second: Option<u32>,
    ) -> Result<String, ApiError> {
        let source = self.resource(source_arn, "SourceArn")?;
        let destination = destination_arn.map(|arn| self.resource(arn, "DestinationArn")).transpose()?;
        if per_second.is_some_and(|n| !(1..=500).contains(&n)) {
            let reason = "Must be between 1 and 500, if provided.";
            return Err(ApiError::value(per_second.unwrap_or(0), "MaxNumberOfMessagesPerSecond", reason));
        }
        let is_source = |target: &Arc<str>| self.sources_of(target).next().is_some();
        if !is_source(&source) {
            return Err(ApiError::parameter("Source queue must be configured as a Dead Letter Queue."));
        }
        if self.tasks.iter().any(|task| task.source == source && task.status == Status::Running) {
            return Err(ApiError::parameter(
                "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
            ));
        }
        let task = MoveTask {
            id: self.new_id(),
            to_move: self.queue(now, &source)?.ready() as u64,
            source,
            destination,
            per_second,
            status: Status::Running,
            started_ms: now,
            moved: 0,
            failure: None,
            next_ms: now,
        };
        let handle = task.handle(&self.own);
        self.tasks.push(task);
        self.arm(now);
        Ok(handle)
    }

    /// The tasks of a source queue, newest first.
    ///
    /// # Errors
    /// `ResourceNotFound`.
    pub fn list_moves(&self, source_arn: &str) -> Result<impl Iterator<Item = &MoveTask>, ApiError> {
        let source = self.resource(source_arn, "SourceArn")?;
        Ok(self.tasks.iter().rev().filter(move |task| task.source == source))
    }

    /// Stops a running task. Returns how many messages it had moved.
    ///
    /// # Errors
    /// `ResourceNotFound` when no such task is running.
    pub fn cancel_move(&mut self, handle: &str) -> Result<u64, ApiError> {
        let own = self.own.clone();
        let task = self.tasks.iter_mut().find(|t| t.status == Status::Running && t.handle(&own) == handle);
        let task = task.ok_or_else(|| ApiError::new(ErrorKind::ResourceNotFound, "Task does not exist."))?;
        task.status = Status::Cancelled;
        Ok(task.moved)
    }

    /// Names of the queues that name `target` as their dead-letter queue.
    pub fn sources_of<'a>(&'a self, target: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        let names = move |queue: &&super::queue::Queue| {
            queue.settings.redrive.as_ref().is_some_and(|redrive| redrive.target.as_ref() == target)
        };
        self.queues.values().filter(names).map(|queue| &queue.name)
    }

    fn resource(&self, arn: &str, parameter: &str) -> Result<Arc<str>, ApiError> {
        let name = name_of_arn(arn, &self.own).and_then(|name| self.queues.get_key_value(name));
        name.map(|(name, _)| name.clone()).ok_or_else(|| {
            let text = format!("The resource that you specified for the {parameter} parameter doesn't exist.");
            ApiError::new(ErrorKind::ResourceNotFound, text)
        })
    }

    /// Moves what is due by now. Returns when a task wants to go on.
    pub(super) fn step_tasks(&mut self, now: u64) -> Option<u64> {
        for index in 0..self.tasks.len() {
            if self.tasks[index].status == Status::Running && self.tasks[index].next_ms <= now {
                let mut task = self.tasks[index].clone();
                self.step(now, &mut task);
                self.tasks[index] = task;
            }
        }
        self.tasks.iter().filter(|task| task.status == Status::Running).map(|task| task.next_ms).min()
    }

    fn step(&mut self, now: u64, task: &mut MoveTask) {
        let batch = task.per_second.map_or(usize::MAX, |n| n as usize);
        let Ok(source) = self.queue(now, &task.source) else {
            return fail(task, "AWS.SimpleQueueService.NonExistentQueue");
        };
        let mut messages = source.take_out(batch).into_iter();
        while let Some(mut message) = messages.next() {
            let target = task.destination.clone().or_else(|| message.origin.clone());
            let reason = match &target {
                None => Some("CouldNotDetermineMessageSource"),
                Some(target) if !self.queues.contains_key(target) => Some("AWS.SimpleQueueService.NonExistentQueue"),
                Some(_) => None,
            };
            if let Some(reason) = reason {
                // What cannot be moved stays, with all that was behind it.
                if let Ok(source) = self.queue(now, &task.source) {
                    source.adopt(message);
                    messages.for_each(|message| source.adopt(message));
                }
                self.settle(&task.source.clone());
                return fail(task, reason);
            }
            // AWS: a redriven message is a new one, with a new id and a new clock.
            message.id = self.new_id();
            message.sent_ms = now;
            message.received = 0;
            message.first_received_ms = 0;
            message.origin = None;
            if let Some(name) = target
                && let Some(queue) = self.queues.get_mut(&name)
            {
                queue.adopt(message);
                self.settle(&name);
                task.moved += 1;
            }
        }
        let left = self.queues.get(&task.source).map_or(0, super::queue::Queue::ready);
        if left == 0 {
            task.status = Status::Completed;
        }
        task.next_ms = now + 1000;
    }
}

fn fail(task: &mut MoveTask, reason: &str) {
    task.status = Status::Failed;
    task.failure = Some(reason.to_owned());
}
