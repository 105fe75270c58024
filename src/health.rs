//! What readiness is made of: the parts that `voxd` leans on, as whoever watches them last saw them.
//!
//! Postgres counts at once. SQS counts after ten seconds: requests to it fail now and then, and a replica that leaves the
//! load balancer for that helps nobody. A platform never counts: webhooks and the API work without it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::clock::{self, Monotonic};
use crate::telemetry::metrics;

/// How long SQS may be away before this replica says that it is not ready.
const SQS_GRACE: Duration = Duration::from_secs(10);

/// Something outside that this replica leans on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Postgres,
    Sqs,
    /// By its name, e.g. `bland_ai`.
    Platform(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Up,
    Down,
}

/// Written by the watchers, read by `/readyz`. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<Part, Seen>>>,
    notes: Arc<Mutex<BTreeMap<Part, String>>>,
    /// Why a part is not used although it may answer.
    faults: Arc<Mutex<BTreeMap<Part, String>>>,
}

#[derive(Debug, Clone)]
struct Seen {
    status: Status,
    detail: String,
    /// When it went down; `None` for a part that was never up, which has no grace.
    down_since: Option<Monotonic>,
}

/// The answer of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Report {
    pub status: Readiness,
    pub parts: Parts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    Ready,
    NotReady,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Parts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PartState>,
    /// Absent on a replica that takes nothing from queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqs: Option<PartState>,
    pub platforms: BTreeMap<String, PartState>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PartState {
    pub status: Status,
    /// For a person: since when, or why not.
    pub detail: String,
}

impl Health {
    /// All parts are down until somebody has looked.
    pub fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        let unseen = |part| (part, Seen { status: Status::Down, detail: "not looked at yet".into(), down_since: None });
        Self {
            parts: Arc::new(Mutex::new(parts.into_iter().map(unseen).collect())),
            notes: Arc::default(),
            faults: Arc::default(),
        }
    }

    /// A part that shows as down, with this text, whatever is seen of it, until it is taken back.
    pub fn set_fault(&self, part: Part, fault: Option<String>) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => drop(faults.insert(part, fault)),
            None => drop(faults.remove(&part)),
        }
    }

    /// Tells how a part was seen just now. A part that was not named at the start is added.
    pub fn set(&self, part: Part, status: Status, detail: impl Into<String>) {
        self.see(part, status, clock::monotonic(), detail.into());
    }

    /// Something that people should know of a part beside its state; shown behind the detail. `None` takes it back.
    pub fn note(&self, part: Part, note: Option<String>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        match note {
            Some(note) => drop(notes.insert(part, note)),
            None => drop(notes.remove(&part)),
        }
    }

    /// A part that failed for a while before it was taken for down: `since` then.
    pub fn set_down(&self, part: Part, since: Monotonic, detail: impl Into<String>) {
        self.see(part, Status::Down, since, detail.into());
    }

    fn see(&self, part: Part, status: Status, since: Monotonic, detail: String) {
        metrics::PART_UP.set([part.label()], if status == Status::Up { 1.0 } else { 0.0 });
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let before = parts.get(&part);
        let down_since = match (status, before) {
            (Status::Up, _) => None,
            (Status::Down, Some(Seen { status: Status::Down, down_since, .. })) => *down_since,
            (Status::Down, Some(_)) => Some(since),
            (Status::Down, None) => None,
        };
        parts.insert(part, Seen { status, detail, down_since });
    }

    /// The present state of all parts.
    pub fn report(&self) -> Report {
        self.report_at(clock::monotonic())
    }

    fn report_at(&self, now: Monotonic) -> Report {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ready = true;
        let mut shown = Parts::default();
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        for (part, seen) in parts.iter() {
            let detail = match notes.get(part) {
                Some(note) => format!("{}; {note}", seen.detail),
                None => seen.detail.clone(),
            };
            let state = match faults.get(part) {
                Some(fault) => PartState { status: Status::Down, detail: fault.clone() },
                None => PartState { status: seen.status, detail },
            };
            let down = state.status == Status::Down;
            match part {
                Part::Postgres => {
                    ready &= !down;
                    shown.postgres = Some(state);
                }
                Part::Sqs => {
                    let in_grace = seen.down_since.is_some_and(|since| now.duration_since(since) < SQS_GRACE);
                    ready &= !down || in_grace;
                    shown.sqs = Some(state);
                }
                Part::Platform(name) => {
                    shown.platforms.insert(name.clone(), state);
                }
            }
        }
        Report { status: if ready { Readiness::Ready } else { Readiness::NotReady }, parts: shown }
    }
}

impl Part {
    fn label(&self) -> &str {
        match self {
            Part::Postgres => "postgres",
            Part::Sqs => "sqs",
            Part::Platform(name) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Health {
        let health = Health::new([Part::Postgres, Part::Sqs, Part::Platform("bland_ai".into())]);
        health.set(Part::Postgres, Status::Up, "");
        health.set(Part::Sqs, Status::Up, "");
        health.set(Part::Platform("bland_ai".into()), Status::Up, "");
        health
    }

    #[test]
    fn nothing_is_ready_before_somebody_has_looked() {
        let health = Health::new([Part::Postgres, Part::Sqs]);
        assert_eq!(health.report().status, Readiness::NotReady);
        health.set(Part::Postgres, Status::Up, "");
        assert_eq!(health.report().status, Readiness::NotReady, "SQS was never up, so there is no grace");
        health.set(Part::Sqs, Status::Up, "");
        assert_eq!(health.report().status, Readiness::Ready);
    }

    #[test]
    fn postgres_counts_at_once_and_sqs_after_ten_seconds() {
        let health = healthy();
        health.set(Part::Sqs, Status::Down, "refused");
        let now = clock::monotonic();
        health.set(Part::Sqs, Status::Down, "still refused");
        assert_eq!(health.report_at(now + Duration::from_secs(9)).status, Readiness::Ready);
        assert_eq!(health.report_at(now + Duration::from_secs(10)).status, Readiness::NotReady);
        health.set(Part::Sqs, Status::Up, "");
        health.set(Part::Postgres, Status::Down, "refused");
        assert_eq!(health.report().status, Readiness::NotReady);
    }

    #[test]
    fn the_ten_seconds_begin_with_the_first_failure() {
        let health = healthy();
        let now = clock::monotonic();
        health.set_down(Part::Sqs, now - Duration::from_secs(4), "refused");
        assert_eq!(health.report_at(now + Duration::from_secs(5)).status, Readiness::Ready);
        assert_eq!(health.report_at(now + Duration::from_secs(6)).status, Readiness::NotReady);
    }

    #[test]
    fn a_platform_never_counts_but_shows() {
        let health = healthy();
        health.set(Part::Platform("bland_ai".into()), Status::Down, "401");
        let report = serde_json::to_value(health.report()).unwrap();
        let platforms = serde_json::json!({ "bland_ai": { "status": "down", "detail": "401" } });
        assert_eq!(
            report,
            serde_json::json!({ "status": "ready", "parts": {
                "postgres": { "status": "up", "detail": "" }, "sqs": { "status": "up", "detail": "" }, "platforms": platforms } })
        );
    }

    #[test]
    fn a_fault_stands_over_what_is_seen() {
        let health = healthy();
        let part = || Part::Platform("bland_ai".into());
        health.set_fault(part(), Some("the breaker is open".into()));
        health.set(part(), Status::Up, "answers");
        let shown = health.report().parts.platforms["bland_ai"].clone();
        assert_eq!((shown.status, shown.detail.as_str()), (Status::Down, "the breaker is open"));
        health.set_fault(part(), None);
        assert_eq!(health.report().parts.platforms["bland_ai"].status, Status::Up);
    }

    #[test]
    fn a_replica_without_queues_has_no_part_sqs() {
        let health = Health::new([Part::Postgres]);
        health.set(Part::Postgres, Status::Up, "");
        let report = health.report();
        assert_eq!((report.status, report.parts.sqs), (Readiness::Ready, None));
    }
}
