//! Operations on messages: send, receive, delete, change visibility, and their batches.

use std::collections::HashSet;

use super::attributes::Wanted;
use super::broker::{Broker, Receive};
use super::compose::{Prepared, prepare, size_of};
use super::error::{ApiError, ErrorKind};
use super::faults::Plan;
use super::service::{Answer, Service, queue_name};
use super::settings::{MAX_BYTES, MAX_VISIBILITY_SECONDS, MAX_WAIT_SECONDS};
use super::wire::{self, Batch, BatchAnswer, EntryId, FailedEntry, Send, SentMessage, Settle};
use crate::clock;

const MAX_ENTRIES: usize = 10;

impl Service {
    pub(super) fn send_message(&self, body: &[u8]) -> Answer {
        let request: Send = wire::read(body)?;
        let name = queue_name(request.queue_url.as_deref())?.to_owned();
        let settings = self.with(|broker, now| broker.queue(now, &name).map(|queue| queue.settings.clone()))?;
        let prepared = prepare(request, &settings)?;
        let answer = self.with(|broker, now| deliver(broker, now, &name, None, prepared))?;
        Ok((wire::write(&answer)?, 1))
    }

    pub(super) fn send_message_batch(&self, body: &[u8], plan: Plan) -> Answer {
        let request: Batch<Send> = wire::read(body)?;
        let name = queue_name(request.queue_url.as_deref())?.to_owned();
        let settings = self.with(|broker, now| broker.queue(now, &name).map(|queue| queue.settings.clone()))?;
        check_batch(request.entries.iter().map(|entry| entry.id.as_deref()), "Send")?;
        let size: usize = request.entries.iter().map(size_of).sum();
        if size > MAX_BYTES {
            return Err(ApiError::new(
                ErrorKind::BatchRequestTooLong,
                format!("Batch requests cannot be longer than {MAX_BYTES} bytes. You have sent {size} bytes."),
            ));
        }
        let prepared: Vec<_> = request
            .entries
            .into_iter()
            .map(|mut entry| {
                let id = entry.id.take().unwrap_or_default();
                (id, self.injected(plan).and_then(|()| prepare(entry, &settings)))
            })
            .collect();
        let mut answer = BatchAnswer { successful: Vec::with_capacity(prepared.len()), failed: Vec::new() };
        // All at once, so that a waiting receiver finds the whole batch.
        self.with(|broker, now| {
            for (id, prepared) in prepared {
                match prepared.and_then(|prepared| deliver(broker, now, &name, Some(id.clone()), prepared)) {
                    Ok(sent) => answer.successful.push(sent),
                    Err(error) => answer.failed.push(FailedEntry::new(id, error)),
                }
            }
            Ok(())
        })?;
        Ok((wire::write(&answer)?, answer.successful.len()))
    }

    pub(super) fn delete_message(&self, body: &[u8]) -> Answer {
        let request: Settle = wire::read(body)?;
        self.delete(queue_name(request.queue_url.as_deref())?, &request)?;
        Ok((Vec::new(), 1))
    }

    pub(super) fn delete_message_batch(&self, body: &[u8], plan: Plan) -> Answer {
        let request: Batch<Settle> = wire::read(body)?;
        let name = self.existing(request.queue_url.as_deref())?;
        check_batch(request.entries.iter().map(|entry| entry.id.as_deref()), "Delete")?;
        self.batch(request.entries, plan, |entry| self.delete(&name, entry))
    }

    fn delete(&self, name: &str, entry: &Settle) -> Result<(), ApiError> {
        let handle = entry.receipt_handle.as_deref().filter(|handle| !handle.is_empty());
        let handle = handle.ok_or_else(|| ApiError::missing("ReceiptHandle"))?;
        self.with(|broker, now| {
            broker.queue(now, name)?.delete(handle)?;
            broker.settle(name);
            Ok(())
        })
    }

    pub(super) fn change_message_visibility(&self, body: &[u8]) -> Answer {
        let request: Settle = wire::read(body)?;
        self.change(queue_name(request.queue_url.as_deref())?, &request)?;
        Ok((Vec::new(), 1))
    }

    pub(super) fn change_message_visibility_batch(&self, body: &[u8], plan: Plan) -> Answer {
        let request: Batch<Settle> = wire::read(body)?;
        let name = self.existing(request.queue_url.as_deref())?;
        check_batch(request.entries.iter().map(|entry| entry.id.as_deref()), "ChangeMessageVisibility")?;
        self.batch(request.entries, plan, |entry| self.change(&name, entry))
    }

    fn change(&self, name: &str, entry: &Settle) -> Result<(), ApiError> {
        let handle = entry.receipt_handle.as_deref().filter(|handle| !handle.is_empty());
        let handle = handle.ok_or_else(|| ApiError::missing("ReceiptHandle"))?;
        let seconds = entry.visibility_timeout.ok_or_else(|| ApiError::missing("VisibilityTimeout"))?;
        let seconds = in_range(seconds, "VisibilityTimeout", MAX_VISIBILITY_SECONDS)?;
        self.with(|broker, now| {
            broker.queue(now, name)?.change_visibility(now, handle, seconds)?;
            broker.settle(name);
            Ok(())
        })
    }

    /// The misbehaviour that strikes one entry of a batch.
    fn injected(&self, plan: Plan) -> Result<(), ApiError> {
        match plan.fail_entries {
            Some((probability, kind)) if self.faults.roll(probability) => {
                Err(ApiError::new(kind, kind.injected_text()))
            }
            _ => Ok(()),
        }
    }

    /// Carries out a batch entry by entry; a failing one does not touch the others.
    fn batch(&self, entries: Vec<Settle>, plan: Plan, each: impl Fn(&Settle) -> Result<(), ApiError>) -> Answer {
        let mut answer = BatchAnswer { successful: Vec::with_capacity(entries.len()), failed: Vec::new() };
        for entry in entries {
            let done = self.injected(plan).and_then(|()| each(&entry));
            let id = entry.id.unwrap_or_default();
            match done {
                Ok(()) => answer.successful.push(EntryId { id }),
                Err(error) => answer.failed.push(FailedEntry::new(id, error)),
            }
        }
        Ok((wire::write(&answer)?, answer.successful.len()))
    }

    fn existing(&self, url: Option<&str>) -> Result<String, ApiError> {
        let name = queue_name(url)?.to_owned();
        self.with(|broker, now| broker.queue(now, &name).map(|_| ()))?;
        Ok(name)
    }

    /// Answers at once when there is something; else waits for the bell, up to the wait time. A receiver that goes away
    /// while it waits takes nothing: its future is dropped before it could look again.
    pub(super) async fn receive_message(&self, body: &[u8], plan: Plan) -> Answer {
        let request: wire::ReceiveMessage = wire::read(body)?;
        let name = queue_name(request.queue_url.as_deref())?;
        let max = request.max_number_of_messages.unwrap_or(1);
        if !(1..=10).contains(&max) {
            return Err(ApiError::value(max, "MaxNumberOfMessages", "Must be between 1 and 10, if provided."));
        }
        let range = |value: Option<i64>, name: &str, high: u32| value.map(|n| in_range(n, name, high)).transpose();
        let visibility_seconds = range(request.visibility_timeout, "VisibilityTimeout", MAX_VISIBILITY_SECONDS)?;
        let wait = range(request.wait_time_seconds, "WaitTimeSeconds", MAX_WAIT_SECONDS)?;
        let queue_wait = self.with(|broker, now| broker.queue(now, name).map(|queue| queue.settings.wait_seconds))?;
        let wait = wait.unwrap_or(queue_wait);
        let ask = Receive {
            max: max.unsigned_abs() as usize,
            visibility_seconds,
            attempt: request.receive_request_attempt_id.as_deref(),
            short: wait == 0,
            duplicate: plan.duplicate,
        };
        let deadline = clock::monotonic() + std::time::Duration::from_secs(wait.into());
        let deliveries = loop {
            let bell = self.bell(name);
            let rung = bell.notified();
            tokio::pin!(rung);
            // Listen first, look second: what comes in between is not missed.
            if wait > 0 {
                rung.as_mut().enable();
            }
            let deliveries = self.with(|broker, now| broker.receive(now, name, ask))?;
            if !deliveries.is_empty() || wait == 0 {
                break deliveries;
            }
            tokio::select! {
                () = &mut rung => {}
                () = tokio::time::sleep_until(deadline) => break Vec::new(),
                () = self.stopping() => break Vec::new(),
            }
        };
        let mut system = request.message_system_attribute_names;
        system.extend(request.attribute_names);
        let wanted = Wanted::new(request.message_attribute_names);
        let answer = wire::write(&wire::received(&deliveries, &system, &wanted, self.own()))?;
        Ok((answer, deliveries.len()))
    }
}

fn deliver(
    broker: &mut Broker,
    now: u64,
    name: &str,
    id: Option<String>,
    prepared: Prepared,
) -> Result<SentMessage, ApiError> {
    let Prepared { content, delay } = prepared;
    let body_md5 = content.body_md5.clone();
    let attributes_md5 = content.attributes_md5.clone();
    let system_md5 = content.trace_md5.clone();
    let sent = broker.send(now, name, content, delay)?;
    let sequence = sent.sequence.map(|n| n.to_string());
    Ok(SentMessage { id, message_id: sent.id.to_string(), body_md5, attributes_md5, system_md5, sequence })
}

fn in_range(value: i64, parameter: &str, high: u32) -> Result<u32, ApiError> {
    u32::try_from(value)
        .ok()
        .filter(|n| *n <= high)
        .ok_or_else(|| ApiError::value(value, parameter, format!("Must be >= 0 and <= {high}, if provided.")))
}

fn check_batch<'a>(ids: impl ExactSizeIterator<Item = Option<&'a str>>, action: &str) -> Result<(), ApiError> {
    let count = ids.len();
    if count == 0 {
        let text = format!("There should be at least one {action}BatchRequestEntry in the request.");
        return Err(ApiError::new(
            ErrorKind::EmptyBatchRequest,
            text.replace("SendB", "SendMessageB").replace("DeleteB", "DeleteMessageB"),
        ));
    }
    if count > MAX_ENTRIES {
        return Err(ApiError::new(
            ErrorKind::TooManyEntriesInBatchRequest,
            format!("Maximum number of entries per request are {MAX_ENTRIES}. You have sent {count}."),
        ));
    }
    let mut seen = HashSet::with_capacity(count);
    for id in ids {
        let id = id.unwrap_or_default();
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if id.is_empty() || id.len() > 80 || !id.bytes().all(good) {
            return Err(ApiError::new(
                ErrorKind::InvalidBatchEntryId,
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.",
            ));
        }
        if !seen.insert(id) {
            return Err(ApiError::new(ErrorKind::BatchEntryIdsNotDistinct, format!("Id {id} repeated.")));
        }
    }
    Ok(())
}
