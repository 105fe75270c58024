//! What a simulated platform was asked, in order of arrival. Tests count calls here and not in our own tables.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock;

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// From 0, in order of arrival.
    pub seq: usize,
    pub at: DateTime<Utc>,
    pub method: String,
    /// With the query.
    pub path: String,
    /// It asked for a call to be created.
    pub create: bool,
    /// `voxd_attempt_id` of its metadata.
    pub attempt_id: Option<Uuid>,
    /// `voxd_call_id` of its metadata.
    pub call_id: Option<Uuid>,
    /// The called number.
    pub number: Option<String>,
    /// What was played: the script's answer, or why the request was refused before any script.
    pub played: Option<String>,
    /// The platform's id of the call that it made.
    pub created: Option<String>,
    /// None: no answer was given (yet).
    pub status: Option<u16>,
    pub answered_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryId(usize);

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Journal {
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Journal {
    pub fn begin(&self, method: &str, path: &str) -> EntryId {
        let mut entries = self.lock();
        let seq = entries.len();
        entries.push(Entry {
            seq,
            at: clock::now(),
            method: method.to_owned(),
            path: path.to_owned(),
            create: false,
            attempt_id: None,
            call_id: None,
            number: None,
            played: None,
            created: None,
            status: None,
            answered_at: None,
        });
        EntryId(seq)
    }

    pub fn note(&self, id: EntryId, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.lock().get_mut(id.0) {
            change(entry);
        }
    }

    pub fn answered(&self, id: EntryId, status: u16) {
        let at = clock::now();
        self.note(id, |entry| {
            entry.status = Some(status);
            entry.answered_at = Some(at);
        });
    }

    /// All entries from number `from` on.
    pub fn entries_from(&self, from: usize) -> Vec<Entry> {
        self.lock().get(from..).unwrap_or_default().to_vec()
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.entries_from(0)
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The create requests, refused ones included.
    pub fn creates(&self) -> Vec<Entry> {
        self.lock().iter().filter(|entry| entry.create).cloned().collect()
    }

    /// How many create requests each attempt sent. Requests without a readable attempt are under the nil id.
    pub fn creates_by_attempt(&self) -> BTreeMap<Uuid, usize> {
        let mut counts = BTreeMap::new();
        for entry in self.lock().iter().filter(|entry| entry.create) {
            *counts.entry(entry.attempt_id.unwrap_or_default()).or_default() += 1;
        }
        counts
    }

    /// The platform's calls that were made for each of our calls.
    pub fn calls_by_call_id(&self) -> BTreeMap<Uuid, Vec<String>> {
        let mut calls: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
        for entry in self.lock().iter() {
            if let Some(created) = &entry.created {
                calls.entry(entry.call_id.unwrap_or_default()).or_default().push(created.clone());
            }
        }
        calls
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
