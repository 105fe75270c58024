//! Misbehaviour to order: which requests go wrong, how, and how often.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ErrorKind;
use super::stats::Operation;

/// What is told to go wrong: a list of rules, all of which are asked for every request.
///
/// As JSON (`PUT /_voxd/faults`):
/// `{"rules": [{"operation": "ReceiveMessage", "queue": "jobs", "probability": 0.2, "next": 5, "fault": {"delay": {"ms": 300}}},
/// {"operation": "DeleteMessageBatch", "fault": {"fail_entries": "internal_error"}}]}`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// One kind of misbehaviour and the requests it strikes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Only this operation; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// Only requests for the queue of this name; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// How probably it strikes, 0 to 1: a request, or each message of it for `fail_entries` and `duplicate`.
    #[serde(default = "always")]
    pub probability: f64,
    /// Strikes only so many more requests; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
    pub fault: Fault,
}

/// How a request goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing happens for this long; then the request is carried out.
    Stall { ms: u64 },
    /// The request is carried out at once, its answer comes this much later.
    Delay { ms: u64 },
    /// An error answer; the request is not carried out.
    Error(ErrorKind),
    /// An error answer, though the request was carried out.
    ErrorAfter(ErrorKind),
    /// The connection is closed; the request is not carried out.
    DropBefore,
    /// The connection is closed without an answer, though the request was carried out.
    DropAfter,
    /// Entries of a batch fail, and are not carried out.
    FailEntries(ErrorKind),
    /// Delivered messages of a standard queue leave a copy behind, which is delivered as well, whether or not the first is
    /// deleted.
    Duplicate,
}

const fn always() -> f64 {
    1.0
}

impl Rule {
    /// A rule that strikes every request of `operation`.
    pub fn on(operation: Operation, fault: Fault) -> Self {
        Self { operation: Some(operation), queue: None, probability: 1.0, next: None, fault }
    }

    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    /// Strikes only the next `count` requests.
    pub fn next(mut self, count: u32) -> Self {
        self.next = Some(count);
        self
    }

    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queue = Some(name.into());
        self
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Plan {
    pub stall: Duration,
    pub delay: Duration,
    pub error: Option<ErrorKind>,
    pub error_after: Option<ErrorKind>,
    pub drop_before: bool,
    pub drop_after: bool,
    pub fail_entries: Option<(f64, ErrorKind)>,
    pub duplicate: f64,
}

impl Plan {
    pub fn is_harmless(&self) -> bool {
        *self == Self::default()
    }
}

/// The faults in force; they change while requests come in.
#[derive(Debug)]
pub(super) struct Injector {
    active: AtomicBool,
    state: Mutex<(Faults, fastrand::Rng)>,
}

impl Injector {
    pub fn new(faults: Faults, rng: fastrand::Rng) -> Self {
        Self { active: AtomicBool::new(!faults.rules.is_empty()), state: Mutex::new((faults, rng)) }
    }

    fn state(&self) -> MutexGuard<'_, (Faults, fastrand::Rng)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self) -> Faults {
        self.state().0.clone()
    }

    pub fn set(&self, faults: Faults) {
        let mut state = self.state();
        self.active.store(!faults.rules.is_empty(), Relaxed);
        state.0 = faults;
    }

    /// Whether any rule is there; without one the request's queue need not be known.
    pub fn active(&self) -> bool {
        self.active.load(Relaxed)
    }

    pub fn plan(&self, operation: Operation, queue: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let (faults, rng) = &mut *self.state();
        for rule in &mut faults.rules {
            let meant = rule.operation.is_none_or(|only| only == operation)
                && rule.queue.as_deref().is_none_or(|only| Some(only) == queue)
                && rule.next != Some(0);
            let by_message = matches!(rule.fault, Fault::FailEntries(_) | Fault::Duplicate);
            if !meant || (!by_message && rng.f64() >= rule.probability) {
                continue;
            }
            if let Some(left) = &mut rule.next {
                *left -= 1;
            }
            match rule.fault {
                Fault::Stall { ms } => plan.stall += Duration::from_millis(ms),
                Fault::Delay { ms } => plan.delay += Duration::from_millis(ms),
                Fault::Error(kind) => plan.error = plan.error.or(Some(kind)),
                Fault::ErrorAfter(kind) => plan.error_after = plan.error_after.or(Some(kind)),
                Fault::DropBefore => plan.drop_before = true,
                Fault::DropAfter => plan.drop_after = true,
                Fault::FailEntries(kind) => plan.fail_entries = Some((rule.probability, kind)),
                Fault::Duplicate => plan.duplicate = rule.probability,
            }
        }
        plan
    }

    /// Rolls for one entry of a batch.
    pub fn roll(&self, probability: f64) -> bool {
        self.state().1.f64() < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injector(rule: Rule) -> Injector {
        Injector::new(Faults { rules: vec![rule] }, fastrand::Rng::with_seed(1))
    }

    #[test]
    fn a_rule_strikes_only_what_it_names() {
        let injector = injector(Rule::on(Operation::ReceiveMessage, Fault::DropBefore).queue("jobs"));
        assert!(injector.plan(Operation::ReceiveMessage, Some("jobs")).drop_before);
        assert!(injector.plan(Operation::ReceiveMessage, Some("other")).is_harmless());
        assert!(injector.plan(Operation::SendMessage, Some("jobs")).is_harmless());
    }

    #[test]
    fn next_is_used_up() {
        let injector = injector(Rule::on(Operation::SendMessage, Fault::Error(ErrorKind::InternalError)).next(2));
        let struck = (0..5).filter(|_| injector.plan(Operation::SendMessage, None).error.is_some()).count();
        assert_eq!(struck, 2);
    }

    #[test]
    fn the_same_seed_strikes_the_same_requests() {
        let rule = Rule::on(Operation::SendMessage, Fault::DropAfter).probability(0.5);
        let run = || {
            let injector = injector(rule.clone());
            (0..64).map(|_| injector.plan(Operation::SendMessage, None).drop_after).collect::<Vec<_>>()
        };
        let struck = run();
        assert_eq!(struck, run());
        assert!(struck.contains(&true) && struck.contains(&false));
    }

    #[test]
    fn the_json_of_the_documentation_is_read_and_a_misspelling_is_refused() {
        let text = r#"{"rules": [{"operation": "ReceiveMessage", "queue": "jobs", "probability": 0.2, "next": 5, "fault": {"delay": {"ms": 300}}},
            {"operation": "DeleteMessageBatch", "fault": {"fail_entries": "internal_error"}}]}"#;
        let faults: Faults = serde_json::from_str(text).unwrap();
        assert_eq!(faults.rules[0].fault, Fault::Delay { ms: 300 });
        assert_eq!(faults.rules[1].fault, Fault::FailEntries(ErrorKind::InternalError));
        assert!(
            serde_json::from_str::<Faults>(r#"{"rules": [{"op": "SendMessage", "fault": "drop_after"}]}"#).is_err()
        );
    }
}
