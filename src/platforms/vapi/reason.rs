//! `endedReason` in our words.
//!
//! The vendor's list has more than 600 values and grows every month: it is an open string, told by whole value first and by its parts
//! then. What is not known keeps its own word in `raw_status`, counts as failed, and has the reason `unknown`.

use std::time::Duration;

use super::answer::CAPACITY_WAIT;
use crate::call::AttemptState;

/// What an ended call was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    pub state: AttemptState,
    pub reason: Option<&'static str>,
    /// `user`, `assistant`.
    pub ended_by: Option<&'static str>,
    /// It was never dialled, for want of a line: see [`crate::call::CallUpdate::resend_after`].
    pub resend_after: Option<Duration>,
}

const fn ending(state: AttemptState, reason: Option<&'static str>) -> Ending {
    Ending { state, reason, ended_by: None, resend_after: None }
}

const fn by(who: &'static str, reason: &'static str) -> Ending {
    Ending { state: AttemptState::Completed, reason: Some(reason), ended_by: Some(who), resend_after: None }
}

/// `talked`: the record shows that somebody answered.
pub fn read(ended_reason: &str, talked: bool) -> Ending {
    use AttemptState::{Busy, Cancelled, Completed, Failed, NoAnswer, Voicemail};
    let word = ended_reason.trim().to_lowercase();
    let has = |part: &str| word.contains(part);
    match word.as_str() {
        "customer-busy" => ending(Busy, None),
        "customer-did-not-answer" => ending(NoAnswer, None),
        "voicemail" => ending(Voicemail, None),
        // The one who was to take the call over did not; the called person had answered.
        "call.forwarding.operator-busy" | "call.forwarding.no-answer" if talked => {
            ending(Completed, Some("transfer_failed"))
        }
        "call.forwarding.operator-busy" => ending(Busy, None),
        "call.forwarding.no-answer" => ending(NoAnswer, None),
        "manually-canceled" | "scheduled-call-deleted" | "call-deleted" => ending(Cancelled, None),
        "assistant-forwarded-call" | "call.ending.hook-executed-transfer" => by("assistant", "transferred"),
        "assistant-ended-call"
        | "assistant-ended-call-after-message-spoken"
        | "assistant-ended-call-with-hangup-task"
        | "assistant-said-end-call-phrase"
        | "call.ending.hook-executed-say" => by("assistant", "agent_hangup"),
        "customer-ended-call"
        | "customer-ended-call-before-warm-transfer"
        | "customer-ended-call-after-warm-transfer-attempt"
        | "customer-ended-call-during-transfer" => by("user", "customer_hangup"),
        "exceeded-max-duration" => ending(Completed, Some("max_duration")),
        "silence-timed-out" => ending(Completed, Some("silence")),
        "vonage-completed"
        | "vonage-disconnected"
        | "call.in-progress.twilio-completed-call"
        | "call.in-progress.sip-completed-call" => ending(Completed, None),
        "twilio-reported-customer-misdialed" | "sip-outbound-unallocated-number" => {
            ending(Failed, Some("invalid_number"))
        }
        "twilio-failed-to-connect-call"
        | "vonage-failed-to-connect-call"
        | "call.in-progress.error-sip-outbound-call-failed-to-connect" => ending(Failed, Some("unavailable")),
        "vonage-rejected" | "sip-outbound-carrier-released-call" => ending(Failed, Some("rejected_by_carrier")),
        "call.start.error-subscription-concurrency-limit-reached" => {
            Ending { resend_after: Some(CAPACITY_WAIT), ..ending(Failed, Some("provider_capacity")) }
        }
        _ if has("outbound-sip-408") || has("outbound-sip-480") => ending(NoAnswer, None),
        _ if has("outbound-sip-403") || has("outbound-sip-407") => ending(Failed, Some("rejected_by_carrier")),
        _ if has("outbound-sip-503") => ending(Failed, Some("unavailable")),
        _ if has("insufficient-credits") || has("subscription-frozen") || has("wallet") => {
            ending(Failed, Some("provider_billing"))
        }
        _ if has("outbound-daily-limit") => ending(Failed, Some("daily_limit")),
        _ if has("vapi-number-international") => ending(Failed, Some("destination_blocked")),
        _ if word.starts_with("call.start.") || word.starts_with("call-start-error-") => {
            ending(Failed, Some("provider_rejected"))
        }
        _ if has("pipeline-error-") || has("vapifault-") || has("providerfault-") => {
            ending(Failed, Some("provider_error"))
        }
        _ if FAULTS.iter().any(|fault| word.starts_with(fault)) => ending(Failed, Some("provider_error")),
        _ => ending(Failed, Some("unknown")),
    }
}

/// Beginnings of the reasons that are the platform's or its providers' fault.
const FAULTS: &[&str] = &[
    "assistant-join-timed-out",
    "assistant-not-found",
    "assistant-not-valid",
    "assistant-request-",
    "call.in-progress.error-",
    "phone-call-provider-",
    "unknown-error",
    "worker-",
];

#[cfg(test)]
mod tests {
    use super::*;
    use AttemptState::*;

    #[test]
    fn each_row_of_the_mapping_table() {
        for (word, state, reason) in [
            ("customer-busy", Busy, None),
            ("customer-did-not-answer", NoAnswer, None),
            ("call.in-progress.error-providerfault-outbound-sip-408-request-timeout", NoAnswer, None),
            ("call.in-progress.error-providerfault-outbound-sip-480-temporarily-unavailable", NoAnswer, None),
            ("voicemail", Voicemail, None),
            ("manually-canceled", Cancelled, None),
            ("scheduled-call-deleted", Cancelled, None),
            ("call-deleted", Cancelled, None),
            ("customer-ended-call", Completed, Some("customer_hangup")),
            ("assistant-ended-call-with-hangup-task", Completed, Some("agent_hangup")),
            ("assistant-forwarded-call", Completed, Some("transferred")),
            ("exceeded-max-duration", Completed, Some("max_duration")),
            ("silence-timed-out", Completed, Some("silence")),
            ("call.in-progress.twilio-completed-call", Completed, None),
            ("twilio-reported-customer-misdialed", Failed, Some("invalid_number")),
            ("twilio-failed-to-connect-call", Failed, Some("unavailable")),
            ("call.in-progress.error-providerfault-outbound-sip-403-forbidden", Failed, Some("rejected_by_carrier")),
            ("call.start.error-subscription-insufficient-credits", Failed, Some("provider_billing")),
            ("call.start.error-subscription-frozen", Failed, Some("provider_billing")),
            ("call.start.error-subscription-wallet-does-not-exist", Failed, Some("provider_billing")),
            ("call.start.error-vapi-number-outbound-daily-limit", Failed, Some("daily_limit")),
            ("call.start.error-get-assistant", Failed, Some("provider_rejected")),
            ("call-start-error-neither-assistant-nor-server-set", Failed, Some("provider_rejected")),
            ("pipeline-error-openai-llm-failed", Failed, Some("provider_error")),
            ("call.in-progress.error-vapifault-worker-died", Failed, Some("provider_error")),
            ("worker-shutdown", Failed, Some("provider_error")),
        ] {
            assert_eq!((read(word, true).state, read(word, true).reason), (state, reason), "{word}");
        }
    }

    #[test]
    fn new_values_come_every_month_and_are_not_guessed_at() {
        for word in ["", "customer-ended-call-by-smoke-signal", "busy", "completed"] {
            assert_eq!(read(word, true), ending(Failed, Some("unknown")), "{word}");
        }
    }

    #[test]
    fn only_a_call_without_a_line_was_never_dialled() {
        let limit = "call.start.error-subscription-concurrency-limit-reached";
        assert_eq!(read(limit, false).resend_after, Some(CAPACITY_WAIT));
        for word in ["call.start.error-get-assistant", "customer-did-not-answer", "worker-shutdown", "call-deleted"] {
            assert_eq!(read(word, false).resend_after, None, "{word}");
        }
    }

    #[test]
    fn a_transfer_that_nobody_took_is_a_completed_call_where_the_person_had_answered() {
        assert_eq!(read("call.forwarding.operator-busy", true).state, Completed);
        assert_eq!(read("call.forwarding.operator-busy", false).state, Busy);
        assert_eq!(read("call.forwarding.no-answer", true).state, Completed);
        assert_eq!(read("call.forwarding.no-answer", false).state, NoAnswer);
    }
}
