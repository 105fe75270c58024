//! What happens to calls, line by line as it happens.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};

use crate::call::CallStatus;
use crate::cli::CommandError;
use crate::clock;
use crate::dev::samples::Sample;
use crate::store::Store;
use crate::store::watch::Happened;

/// Rows of one look. Beyond it the newest are shown and late ones among them may be missed.
const MOST: i64 = 500;
/// Lines of transactions that overlap become visible out of order, but not by more than a unit of work may take.
const LATE: TimeDelta = TimeDelta::seconds(30);

/// A line to show.
pub(super) struct Line {
    pub at: DateTime<Utc>,
    /// A sample's short name, else `source/id` of the job.
    pub who: String,
    pub kind: String,
    pub to_status: Option<String>,
    pub by: String,
    pub detail: serde_json::Value,
}

/// Follows all calls, and knows how the samples stand.
pub(super) struct Follow {
    store: Store,
    window: Window,
    rejected_after: DateTime<Utc>,
    rejected: HashSet<String>,
    samples: Vec<Followed>,
}

/// Where the next look begins, and what was seen after that.
struct Window {
    after: i64,
    seen: HashSet<i64>,
}

impl Window {
    /// The rows that were not seen before. The window moves forward over what is too old to be joined by others.
    fn new_of(&mut self, rows: Vec<Happened>) -> Vec<Happened> {
        let newest = rows.iter().map(|row| row.at).max();
        let full = rows.len() as i64 == MOST;
        let old = rows.iter().filter(|row| full || newest.is_some_and(|newest| row.at < newest - LATE));
        let old = old.map(|row| row.id).max();
        let new = rows.into_iter().filter(|row| self.seen.insert(row.id)).collect();
        if let Some(old) = old {
            self.after = old;
            self.seen.retain(|id| *id > old);
        }
        new
    }
}

struct Followed {
    event_id: String,
    name: String,
    good: bool,
    state: Option<String>,
}

impl Follow {
    pub async fn start(store: Store, samples: &[Sample]) -> Result<Self, CommandError> {
        let after = store.newest_event().await?;
        let follow = |sample: &Sample| Followed {
            event_id: sample.event_id.clone(),
            name: sample.name.clone(),
            good: sample.good,
            state: None,
        };
        Ok(Self {
            store,
            window: Window { after, seen: HashSet::new() },
            rejected_after: clock::now() - TimeDelta::seconds(1),
            rejected: HashSet::new(),
            samples: samples.iter().map(follow).collect(),
        })
    }

    /// What is new since the last time, oldest first.
    pub async fn news(&mut self) -> Result<Vec<Line>, CommandError> {
        let rows = self.store.events_after(self.window.after, MOST).await?;
        let new = self.window.new_of(rows);
        let mut lines: Vec<Line> = new.into_iter().filter_map(|row| self.line(row)).collect();
        for message in self.store.rejected_after(self.rejected_after, MOST).await? {
            if !self.rejected.insert(message.message_id.clone()) {
                continue;
            }
            let event_id = message.event_id.unwrap_or(message.message_id);
            self.note(&event_id, "rejected");
            let reason = format!("{} at {}: {}", message.reason, message.field_path, message.detail);
            lines.push(Line {
                at: message.received_at,
                who: self.name_of(&event_id).unwrap_or(event_id),
                kind: "status".into(),
                to_status: Some("rejected".into()),
                by: "queue".into(),
                detail: serde_json::json!({ "detail": reason }),
            });
        }
        lines.sort_by_key(|line| line.at);
        Ok(lines)
    }

    fn line(&mut self, row: Happened) -> Option<Line> {
        if let Some(status) = &row.to_status {
            self.note(&row.event_id, status);
        }
        // Status lines tell what webhooks and polls led to; the rest of these is for `calls show`.
        let shown = matches!(
            row.kind.as_str(),
            "status" | "look_up" | "contradiction" | "cancel_requested" | "settled" | "end_requested"
        );
        let who = self.name_of(&row.event_id).unwrap_or_else(|| format!("{}/{}", row.source, row.event_id));
        shown.then_some(Line {
            at: row.at,
            who,
            kind: row.kind,
            to_status: row.to_status,
            by: row.by,
            detail: row.detail,
        })
    }

    fn note(&mut self, event_id: &str, status: &str) {
        if let Some(sample) = self.samples.iter_mut().find(|sample| sample.event_id == event_id) {
            sample.state = Some(status.to_owned());
        }
    }

    fn name_of(&self, event_id: &str) -> Option<String> {
        self.samples.iter().find(|sample| sample.event_id == event_id).map(|sample| sample.name.clone())
    }

    pub fn all_ended(&self) -> bool {
        self.samples.iter().all(Followed::has_ended)
    }

    /// The samples that have not ended, with their states.
    pub fn open(&self) -> Vec<String> {
        let open = self.samples.iter().filter(|sample| !sample.has_ended());
        open.map(|sample| format!("{} ({})", sample.name, sample.state.as_deref().unwrap_or("not seen"))).collect()
    }

    /// The event id of the sample with the longest story.
    pub fn worth_looking_at(&self) -> &str {
        let retried = self.samples.iter().find(|sample| sample.name.contains("retry"));
        retried.or(self.samples.first()).map_or("ID", |sample| sample.event_id.as_str())
    }

    /// Name and state of each sample.
    pub fn results(&self) -> Vec<(&str, &str)> {
        self.samples.iter().map(|sample| (sample.name.as_str(), sample.state.as_deref().unwrap_or("-"))).collect()
    }
}

impl Followed {
    fn has_ended(&self) -> bool {
        match (self.good, &self.state) {
            (_, None) => false,
            (true, Some(state)) => state.parse::<CallStatus>().is_ok_and(CallStatus::is_terminal),
            (false, Some(state)) => state == "rejected",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn row(id: i64, second: i64) -> Happened {
        Happened {
            id,
            call_id: Uuid::nil(),
            source: "s".into(),
            event_id: "e".into(),
            at: DateTime::UNIX_EPOCH + TimeDelta::seconds(second),
            kind: "status".into(),
            to_status: None,
            by: "queue".into(),
            detail: serde_json::Value::Null,
        }
    }

    fn ids(rows: Vec<Happened>) -> Vec<i64> {
        rows.into_iter().map(|row| row.id).collect()
    }

    #[test]
    fn every_line_is_shown_once_also_one_that_comes_late() {
        let mut window = Window { after: 0, seen: HashSet::new() };
        assert_eq!(ids(window.new_of(vec![row(1, 0), row(3, 1)])), [1, 3]);
        assert_eq!(ids(window.new_of(vec![row(1, 0), row(2, 1), row(3, 1)])), [2]);
        assert_eq!(window.after, 0, "others may still come late");
        assert_eq!(ids(window.new_of(vec![row(1, 0), row(2, 1), row(3, 1), row(4, 60)])), [4]);
        assert_eq!(window.after, 3);
        assert_eq!(ids(window.new_of(vec![row(4, 60), row(5, 61)])), [5]);
    }

    #[test]
    fn a_full_look_moves_on() {
        let mut window = Window { after: 0, seen: HashSet::new() };
        let rows: Vec<Happened> = (1..=MOST).map(|id| row(id, 0)).collect();
        assert_eq!(window.new_of(rows).len() as i64, MOST);
        assert_eq!(window.after, MOST);
    }
}
