//! What answers to create requests have in common, whatever the platform: no answer at all, and when to come again.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;

use super::create::NoAnswer;
use super::{Scope, SendError, words};
use crate::call::Verdict;

const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// A platform that asks for more is asked again by then all the same.
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// A create request without a complete answer.
pub fn no_answer(none: NoAnswer) -> SendError {
    match none {
        NoAnswer::NotSent { reason, detail } => {
            // A platform that cannot be reached cannot be reached by anyone; an ended permit is this attempt's own matter.
            let scope = if reason == "connect_failed" { Scope::Account } else { Scope::Request };
            SendError::new(Verdict::NotSent, reason, words::detail(&detail)).with_scope(scope)
        }
        NoAnswer::InDoubt { reason, detail } => SendError::new(Verdict::InDoubt, reason, words::detail(&detail)),
    }
}

/// `Retry-After` in seconds or as a date, clamped to 1 s … 5 min. `now` is for the date.
pub fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LONGEST_WAIT),
        Ok(_) => return None,
        Err(_) => {
            let at = DateTime::parse_from_rfc2822(text).ok()?.with_timezone(&Utc);
            (at - now).to_std().unwrap_or(SHORTEST_WAIT)
        }
    };
    Some(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT))
}
