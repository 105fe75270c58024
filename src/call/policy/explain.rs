//! What a queued call waits for, said to people and programs.

use chrono::{DateTime, TimeDelta, Utc};

use super::{CallingPolicy, Hold, When, zones_of};
use crate::call::PhoneNumber;
use crate::call::config::CallingWindow;

/// A call that is not sent yet, as the ledger has it.
#[derive(Debug, Clone, Copy)]
pub struct Queued<'a> {
    pub number: &'a PhoneNumber,
    /// `lead.timezone`
    pub zone: Option<&'a str>,
    /// The job's own.
    pub window: Option<&'a CallingWindow>,
    /// `status_reason`
    pub reason: Option<&'a str>,
    pub scheduled_for: Option<DateTime<Utc>>,
}

impl CallingPolicy {
    /// When the call would be made, and the rule that decides: the hours that hold at the time for which it is scheduled,
    /// else what it is scheduled for. `until` is that instant; a call that may go out now says so.
    pub fn explain(&self, queued: Queued<'_>, now: DateTime<Utc>) -> Hold {
        let due = queued.scheduled_for.filter(|due| *due > now);
        // What waits for hours to open is scheduled for that instant: the moment before, the rule that decides is still closed.
        let opening = due.filter(|_| queued.reason == Some("window")).map(|due| due - TimeDelta::seconds(1));
        let at = opening.or(due).unwrap_or(now);
        match self.when(queued.number, queued.zone, queued.window, at, TimeDelta::zero()) {
            Ok(When::Closed(hold)) => hold,
            Ok(When::Open { .. }) => {
                let zones = zones_of(queued.number, queued.zone).unwrap_or_default();
                let zone = zones.first().copied();
                match due {
                    Some(due) => Hold::new(queued.reason.unwrap_or("scheduled"), None, due, zone),
                    None => Hold { text: "would call now".into(), ..Hold::new("none", None, now, zone) },
                }
            }
            Err(refusal) => {
                let text = format!("would not call: {} ({})", refusal.reason, refusal.detail);
                Hold { text, ..Hold::new(refusal.reason, None, at, None) }
            }
        }
    }
}
