//! What a receiver does with a message in flight: delete it, change its visibility, or ask for the same ones again.

use super::error::{ApiError, ErrorKind};
use super::handle::Handle;
use super::message::{Delivery, State};
use super::queue::Queue;
use super::settings::MAX_VISIBILITY_SECONDS;

impl Queue {
    /// The same messages again for the same attempt id, while all of them are still in flight from then.
    pub(super) fn repeat(&mut self, now: u64, attempt: &str, visibility_ms: u64) -> Option<Vec<Delivery>> {
        let keys = self.attempts.get(now, attempt)?.clone();
        let untouched = keys.iter().all(|(key, delivery)| {
            let message = self.messages.get(key);
            message.is_some_and(|m| m.received == *delivery && matches!(m.state, State::InFlight { .. }))
        });
        if !untouched {
            return None;
        }
        let mut deliveries = Vec::with_capacity(keys.len());
        for (key, delivery) in keys {
            self.set_invisible(key, now + visibility_ms);
            let message = self.messages.get(&key)?.clone();
            deliveries.push(Delivery { handle: Handle { queue: self.uid, key, delivery }, message });
        }
        Some(deliveries)
    }

    fn set_invisible(&mut self, key: u64, until: u64) {
        if let Some(message) = self.messages.get_mut(&key)
            && let State::InFlight { until: before } = message.state
        {
            self.due.remove(&(before, key));
            self.due.insert((until, key));
            message.state = State::InFlight { until };
        }
    }

    /// Deletes by receipt handle. An old handle, or one of a message already deleted, succeeds and does nothing.
    ///
    /// # Errors
    /// `ReceiptHandleIsInvalid`; on FIFO queues `InvalidParameterValue` when the delivery has ended.
    pub fn delete(&mut self, handle: &str) -> Result<(), ApiError> {
        let Handle { key, delivery, .. } = Handle::decode(handle, self.uid)?;
        let Some(message) = self.messages.get(&key) else { return Ok(()) };
        let current = message.received == delivery;
        let in_flight = matches!(message.state, State::InFlight { .. });
        if self.settings.fifo && !(current && in_flight) {
            return Err(ApiError::value(handle, "ReceiptHandle", "The receipt handle has expired."));
        }
        if current {
            self.remove(key);
        }
        Ok(())
    }

    /// Sets what is left of a delivery's visibility time-out; zero makes the message ready at once.
    ///
    /// # Errors
    /// `ReceiptHandleIsInvalid`, `InvalidParameterValue` (gone, or past 12 h in sum), `MessageNotInflight`.
    pub fn change_visibility(&mut self, now: u64, handle: &str, seconds: u32) -> Result<(), ApiError> {
        let Handle { key, delivery, .. } = Handle::decode(handle, self.uid)?;
        let Some(message) = self.messages.get(&key) else {
            let reason = "Message does not exist or is not available for visibility timeout change.";
            return Err(ApiError::value(handle, "ReceiptHandle", reason));
        };
        let State::InFlight { until } = message.state else { return Err(not_in_flight(handle)) };
        if message.received != delivery {
            return Err(not_in_flight(handle));
        }
        let added = u64::from(seconds) * 1000;
        if now.saturating_sub(message.taken_ms) + added > u64::from(MAX_VISIBILITY_SECONDS) * 1000 {
            let reason = format!(
                "Total VisibilityTimeout for the message is beyond the limit [{MAX_VISIBILITY_SECONDS} seconds]"
            );
            return Err(ApiError::value(seconds, "VisibilityTimeout", reason));
        }
        if seconds == 0 {
            self.due.remove(&(until, key));
            self.make_ready(key);
        } else {
            self.set_invisible(key, now + added);
        }
        Ok(())
    }
}

fn not_in_flight(handle: &str) -> ApiError {
    ApiError::new(ErrorKind::MessageNotInflight, format!("The message of receipt handle {handle} is not in flight."))
}
