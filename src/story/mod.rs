//! One call's whole story, in one ordered list: the message that asked for it, decisions, attempts, requests and answers,
//! webhooks, polls and look-ups, its outcome, notifications; who did it and why.
//!
//! The ledger tells what happened ([`crate::store::story`]); this room adds what follows from it (each attempt's request as its
//! platform's words put it, and its answer), puts all of it in causal order, says it in words, and masks it. Nothing is kept twice:
//! a story is told anew each time.

mod attempts;
mod mask;
mod outcome;
pub mod words;

use chrono::{DateTime, Utc};
use serde::{Deserialize as _, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::call::policy::Hold;
use crate::config::Config;
use crate::platforms::PlatformRegistry;
use crate::store::accept::StoredRequest;
use crate::store::read::{Attempt, Call, Numbers};
use crate::store::story::{CallRecord, Line, MAX_LINES};
use mask::Mask;

/// One line of a call's timeline.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct TimelineEvent {
    /// Of what the ledger's own timeline holds; null where another table tells it, or it follows from what was told.
    pub id: Option<i64>,
    pub at: DateTime<Utc>,
    pub attempt_id: Option<Uuid>,
    /// `message`, `status`, `held`, `attempt`, `request`, `answer`, `webhook_received`, `webhook`, `poller`, `reconciler`, `look_up`, `cancel_requested`,
    /// `settled`, `retry_requested`, `suppression`, `opt_out`, `contradiction`, `outcome`, `notification`, …
    pub kind: String,
    pub from_status: Option<String>,
    pub to_status: Option<String>,
    /// Who did or saw it: `queue`, `api`, `delivery`, a platform's name, `webhook`, `poller`, `reconciler`, `outcomes`, `operator:NAME`, …
    pub source: String,
    /// The same for a person to read.
    pub text: String,
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// A call with everything that belongs to it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct CallDetail {
    #[serde(flatten)]
    pub call: Call,
    pub thread_message_id: Option<Uuid>,
    /// What is to be said, with the voice configuration as it was at acceptance.
    #[schema(value_type = Object)]
    pub request: Value,
    pub cancel_reason: Option<String>,
    /// Of a call that is not sent yet: when it would be, and the rule that decides.
    pub hold: Option<Hold>,
    pub attempts: Vec<Attempt>,
    /// Oldest first, causes before what they cause; the newest 2,000 lines.
    pub timeline: Vec<TimelineEvent>,
}

/// Tells a call's story. Secrets are masked, and phone numbers as `numbers` says.
///
/// A request is put together anew from what is stored with the call, with this process's settings; where that cannot be done, its
/// line says why.
pub fn tell(
    record: CallRecord,
    hold: Option<Hold>,
    numbers: Numbers,
    registry: &PlatformRegistry,
    config: &Config,
) -> CallDetail {
    let mask = mask_for(&record, numbers, config);
    let CallRecord { mut call, thread_message_id, mut request, mut cancel_reason, mut attempts, lines } = record;
    let stored = StoredRequest::deserialize(&request).map_err(|error| error.to_string());
    let derived = attempts::lines(&call, &attempts, &stored, &lines, registry, config.public_url());
    let ended = outcome::line(&call, &attempts, &lines);
    let mut all: Vec<Line> = lines.into_iter().chain(derived).chain(ended).collect();
    all.sort_by_key(|line| (line.at, rank(line), line.id));
    let beyond = all.len().saturating_sub(MAX_LINES as usize);
    let timeline = all.into_iter().skip(beyond).map(|line| event(line, &mask)).collect();

    mask.value(&mut request);
    mask.value(&mut call.metadata);
    mask.some(&mut call.status_detail);
    mask.some(&mut cancel_reason);
    call.to_number = mask.number(&call.to_number);
    attempts.iter_mut().for_each(|attempt| mask_attempt(attempt, &mask));
    CallDetail { call, thread_message_id, request, cancel_reason, hold, attempts, timeline }
}

fn mask_for(record: &CallRecord, numbers: Numbers, config: &Config) -> Mask {
    let from = record.attempts.iter().filter_map(|attempt| attempt.from_number.clone());
    let own = std::iter::once(record.call.to_number.clone()).chain(from);
    let of_platforms = config.platforms.values().flat_map(|platform| {
        std::iter::once(&platform.api_key).chain(&platform.webhook_secret).chain(&platform.twilio_auth_token)
    });
    let secrets = of_platforms.chain([&config.outcomes.signing_secret]).map(|secret| secret.expose().to_owned());
    Mask::new(numbers, own, secrets)
}

fn mask_attempt(attempt: &mut Attempt, mask: &Mask) {
    attempt.from_number = attempt.from_number.as_deref().map(|number| mask.number(number));
    attempt.because = mask.text(&attempt.because);
    for text in [
        &mut attempt.reason,
        &mut attempt.detail,
        &mut attempt.summary,
        &mut attempt.error_message,
        &mut attempt.raw_status,
    ] {
        mask.some(text);
    }
    for value in [&mut attempt.transcript, &mut attempt.evidence].into_iter().flatten() {
        mask.value(value);
    }
}

fn event(line: Line, mask: &Mask) -> TimelineEvent {
    let Line { id, at, attempt_id, kind, from_status, to_status, source, mut detail } = line;
    // What surrounds a request is masked by its platform, and some of it is to be seen.
    let surrounding = detail.as_object_mut().filter(|_| kind == "request").and_then(|detail| detail.remove("headers"));
    mask.value(&mut detail);
    if let Some(headers) = surrounding {
        detail["headers"] = headers;
    }
    let text = mask.text(&words::text(&kind, to_status.as_deref(), &detail));
    TimelineEvent { id, at, attempt_id, kind, from_status, to_status, source, text, detail }
}

/// Of lines with the same time: causes come before what they cause.
fn rank(line: &Line) -> u8 {
    match (line.kind.as_str(), line.to_status.as_deref()) {
        ("message", _) => 0,
        ("status", _) if line.from_status.is_none() => 1,
        ("attempt", _) => 3,
        ("status", Some("sending")) => 4,
        ("request", _) => 5,
        ("answer", _) => 6,
        ("webhook_received", _) => 7,
        ("webhook" | "poller" | "reconciler" | "look_up" | "contradiction" | "opt_out", _) => 8,
        ("status", _) => 9,
        ("outcome", _) => 10,
        ("notification", _) => 11,
        _ => 2,
    }
}
