//! The queues in a file, so that `voxd dev` finds its messages again after a restart.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::broker::Broker;
use super::dedup::{Sent, Window};
use super::message::Message;
use super::moves::MoveTask;
use super::queue::Queue;
use super::settings::Settings;

#[derive(Serialize)]
struct Written<'a> {
    queues: Vec<WrittenQueue<'a>>,
    tasks: &'a [MoveTask],
}

#[derive(Serialize)]
struct WrittenQueue<'a> {
    name: &'a str,
    uid: u64,
    attributes: &'a BTreeMap<String, String>,
    tags: &'a BTreeMap<String, String>,
    created_ms: u64,
    modified_ms: u64,
    next_key: u64,
    sent: &'a Window<Sent>,
    messages: BTreeMap<u64, &'a Message>,
}

#[derive(Deserialize)]
struct Stored {
    queues: Vec<StoredQueue>,
    tasks: Vec<MoveTask>,
}

#[derive(Deserialize)]
struct StoredQueue {
    name: Arc<str>,
    uid: u64,
    attributes: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    created_ms: u64,
    modified_ms: u64,
    next_key: u64,
    sent: Window<Sent>,
    messages: BTreeMap<u64, Message>,
}

impl Broker {
    /// # Errors
    /// Only if a value could not be written as JSON.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let queues = self.queues.values().map(|queue| WrittenQueue {
            name: &queue.name,
            uid: queue.uid,
            attributes: queue.settings.given(),
            tags: &queue.tags,
            created_ms: queue.created_ms,
            modified_ms: queue.modified_ms,
            next_key: queue.next_key,
            sent: &queue.sent,
            messages: queue.messages.iter().map(|(key, message)| (*key, message)).collect(),
        });
        serde_json::to_vec(&Written { queues: queues.collect(), tasks: &self.tasks })
    }

    /// Takes in what `to_json` wrote. Receipt handles given out before stay good.
    ///
    /// # Errors
    /// `InvalidData` for a file that is not of this form.
    pub fn restore(&mut self, json: &[u8]) -> io::Result<()> {
        let stored: Stored = serde_json::from_slice(json).map_err(io::Error::from)?;
        for stored in stored.queues {
            let mut settings = Settings::new(stored.name.ends_with(".fifo"));
            for (key, value) in &stored.attributes {
                settings
                    .apply(key, value, &self.own)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.message))?;
            }
            let mut queue = Queue::new(stored.name.clone(), stored.uid, settings, stored.created_ms);
            queue.tags = stored.tags;
            queue.modified_ms = stored.modified_ms;
            queue.next_key = stored.next_key;
            queue.sent = stored.sent;
            for (key, message) in stored.messages {
                queue.restore(key, message);
            }
            self.queues.insert(stored.name, queue);
        }
        self.tasks = stored.tasks;
        Ok(())
    }
}

/// Reads a snapshot into the broker; a file that is not there is an empty one.
///
/// # Errors
/// The file cannot be read, or is not a snapshot.
pub(super) fn read(path: &Path, broker: &mut Broker) -> io::Result<()> {
    match std::fs::read(path) {
        Ok(json) => broker.restore(&json),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes beside and renames: a reader sees the old snapshot or the new one, never half of it.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(path: &Path, json: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, json)?;
    std::fs::rename(beside, path)
}
