//! The calling policy of this configuration, its rules file read.

use chrono::{DateTime, Utc};
use serde::Deserialize as _;

use crate::call::PhoneNumber;
use crate::call::policy::explain::Queued;
use crate::call::policy::rules::RulesFile;
use crate::call::policy::{CallingPolicy, Hold};
use crate::config;
use crate::store::accept::{NewCall, StoredRequest};
use crate::store::story::CallRecord;

/// Larger is no file of rules that a person keeps.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Reads `policy.rules_file` where one is set. The error names the setting and what is wrong with it.
pub fn load(settings: &config::Policy) -> Result<CallingPolicy, String> {
    let path = &settings.rules_file;
    if path.as_os_str().is_empty() {
        return CallingPolicy::new(settings, RulesFile::default());
    }
    let wrong = |problem: String| format!("policy.rules_file: {}: {problem}", path.display());
    let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if size > MAX_BYTES {
        return Err(wrong(format!("has {size} bytes, expected at most {MAX_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let json = path.extension().is_some_and(|kind| kind == "json");
    CallingPolicy::new(settings, RulesFile::parse(&text, json).map_err(wrong)?)
}

/// When a call that is not sent yet would be; `None` for any other.
pub fn explain(policy: &CallingPolicy, record: &CallRecord, now: DateTime<Utc>) -> Option<Hold> {
    let call = &record.call;
    if !matches!(call.status.as_str(), "accepted" | "scheduled") {
        return None;
    }
    let request = StoredRequest::deserialize(&record.request).ok()?;
    let to = PhoneNumber::from_trusted(call.to_number.clone());
    Some(policy.explain(queued(&to, &request, call.status_reason.as_deref(), call.scheduled_for), now))
}

/// The same of a call that would be accepted now.
pub fn explain_new(policy: &CallingPolicy, call: &NewCall, now: DateTime<Utc>) -> Option<Hold> {
    let reason = call.status_reason.as_deref();
    let queued = queued(&call.to_number, &call.request, reason, call.scheduled_for);
    call.status.is_unsent().then(|| policy.explain(queued, now))
}

fn queued<'a>(
    number: &'a PhoneNumber,
    request: &'a StoredRequest,
    reason: Option<&'a str>,
    scheduled_for: Option<DateTime<Utc>>,
) -> Queued<'a> {
    let window = request.voice_config.calling_window.as_ref();
    Queued { number, zone: request.timezone.as_deref(), window, reason, scheduled_for }
}
