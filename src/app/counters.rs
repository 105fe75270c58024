//! Counters whose label values are known show from the start: what appears with its first increase is an increase that no rate
//! and no alert sees.

use crate::call::{CallStatus, Verdict};
use crate::config::Config;
use crate::job::RejectReason;
use crate::platforms::PlatformRegistry;
use crate::telemetry::metrics;

/// Of platforms that are on.
pub(super) fn start(config: &Config, registry: &PlatformRegistry) {
    let platforms: Vec<&str> = registry.iter().map(|platform| platform.name()).collect();
    let platforms = platforms.as_slice();
    let verdicts: Vec<&str> = Verdict::ALL.iter().map(|verdict| verdict.as_str()).collect();
    metrics::CALL_ATTEMPTS.start([platforms, &verdicts]);
    let ends = CallStatus::ALL.iter().filter(|status| status.is_terminal());
    let ends: Vec<&str> = ends.map(|status| status.as_str()).collect();
    metrics::CALLS_FINISHED.start([platforms, &ends]);
    metrics::LOOKUPS.start([platforms, &["found", "absent", "inconclusive"]]);
    metrics::POLLS.start([platforms, &["changed", "unchanged", "missing", "error", "late"]]);
    let of_webhooks = ["stored", "duplicate", "bad_signature", "unreadable", "too_large", "error", "unmatched"];
    metrics::WEBHOOKS.start([platforms, &of_webhooks]);
    for counter in [
        &metrics::PLATFORM_THROTTLED,
        &metrics::PLATFORM_SLOTS_MISSED,
        &metrics::PLATFORM_BREAKER_OPENED,
        &metrics::PLATFORM_UNKNOWN_WORDS,
    ] {
        counter.start([platforms]);
    }
    metrics::JOBS_ACCEPTED.start([&["voice.call.requested", "voice.call.cancel_requested"]]);
    metrics::SUPPRESSIONS.start([&["api", "cli", "import", "platform"]]);
    metrics::DB_ERRORS.start([&["unavailable", "not_durable", "refused"]]);
    let sinks: &[&str] = if config.outcome_queue().is_some() { &["sqs", "webhook"] } else { &["webhook"] };
    metrics::OUTBOX.start([sinks, &["delivered", "failed", "abandoned"]]);
}

/// Of queues that are received from, by name.
pub(super) fn of_queues(queues: &[&str]) {
    metrics::SQS_MESSAGES.start([queues, &["received", "accepted", "duplicate", "rejected", "returned"]]);
    let reasons: Vec<&str> = RejectReason::ALL.iter().map(|reason| reason.as_str()).collect();
    metrics::MESSAGES_REJECTED.start([queues, &reasons]);
}
