//! `disconnection_reason` in our words (the vendor's SDK, 5.60 to 6.2, and its page on disconnections). What is not known keeps
//! its own word in `raw_status`, counts as failed, and has the reason `unknown`.

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
    /// The person asked not to be called any more.
    pub opt_out: bool,
    /// It was never dialled, for want of a line: see [`crate::call::CallUpdate::resend_after`].
    pub resend_after: Option<Duration>,
}

const fn ending(state: AttemptState, reason: Option<&'static str>) -> Ending {
    Ending { state, reason, ended_by: None, opt_out: false, resend_after: None }
}

const fn completed(reason: &'static str) -> Ending {
    ending(AttemptState::Completed, Some(reason))
}

const fn failed(reason: &'static str) -> Ending {
    ending(AttemptState::Failed, Some(reason))
}

/// `talked`: the record shows that somebody answered.
pub fn read(disconnection_reason: &str, talked: bool) -> Ending {
    use AttemptState::{Busy, Cancelled, Failed, NoAnswer, Voicemail};
    match disconnection_reason.trim().to_lowercase().as_str() {
        "user_hangup" => Ending { ended_by: Some("user"), ..completed("customer_hangup") },
        "agent_hangup" => Ending { ended_by: Some("assistant"), ..completed("agent_hangup") },
        // The agent heard it (`enable_dnc_detection`), asked back, and heard a clear yes.
        "user_requested_dnc" => Ending { opt_out: true, ..completed("do_not_call") },
        "user_requested_callback" => completed("callback_requested"),
        "inactivity" => completed("silence"),
        "max_duration_reached" => completed("max_duration"),
        "call_transfer" | "transfer_bridged" => completed("transferred"),
        "transfer_cancelled" => completed("transfer_failed"),
        "ivr_reached" => completed("ivr_reached"),
        "call_take_over" => completed("call_take_over"),
        "voicemail_reached" => ending(Voicemail, None),
        "manual_stopped" => ending(Cancelled, None),
        "dial_busy" => ending(Busy, None),
        "dial_no_answer" => ending(NoAnswer, None),
        "user_declined" => ending(NoAnswer, Some("declined")),
        "invalid_destination" => failed("invalid_number"),
        // Of the calling number's reputation: another try from it ends the same way.
        "marked_as_spam" => failed("spam_blocked"),
        "scam_detected" => failed("scam_detected"),
        "dial_failed" => failed("dial_failed"),
        "sip_routing_error" => failed("sip_routing_error"),
        "telephony_provider_permission_denied" | "network_blocked" => failed("rejected_by_carrier"),
        "telephony_provider_unavailable" => failed("unavailable"),
        "concurrency_limit_reached" | "no_concurrency_fallback" if talked => failed("provider_capacity"),
        "concurrency_limit_reached" | "no_concurrency_fallback" => {
            Ending { resend_after: Some(CAPACITY_WAIT), ..failed("provider_capacity") }
        }
        "no_valid_payment" | "credit_exhausted" | "budget_reached" => failed("provider_billing"),
        "registered_call_timeout" => failed("registered_call_timeout"),
        "error_user_not_joined" => failed("not_joined"),
        "error_llm_websocket_open"
        | "error_llm_websocket_lost_connection"
        | "error_llm_websocket_runtime"
        | "error_llm_websocket_corrupt_payload"
        | "error_no_audio_received"
        | "error_asr"
        | "error_retell"
        | "error_unknown" => failed(if talked { "provider_error_in_call" } else { "provider_error" }),
        _ => ending(Failed, Some("unknown")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AttemptState::*;

    #[test]
    fn each_row_of_the_mapping_table() {
        for (word, state, reason) in [
            ("user_hangup", Completed, Some("customer_hangup")),
            ("agent_hangup", Completed, Some("agent_hangup")),
            ("user_requested_dnc", Completed, Some("do_not_call")),
            ("user_requested_callback", Completed, Some("callback_requested")),
            ("inactivity", Completed, Some("silence")),
            ("max_duration_reached", Completed, Some("max_duration")),
            ("call_transfer", Completed, Some("transferred")),
            ("transfer_bridged", Completed, Some("transferred")),
            ("transfer_cancelled", Completed, Some("transfer_failed")),
            ("ivr_reached", Completed, Some("ivr_reached")),
            ("call_take_over", Completed, Some("call_take_over")),
            ("voicemail_reached", Voicemail, None),
            ("manual_stopped", Cancelled, None),
            ("dial_busy", Busy, None),
            ("dial_no_answer", NoAnswer, None),
            ("user_declined", NoAnswer, Some("declined")),
            ("invalid_destination", Failed, Some("invalid_number")),
            ("marked_as_spam", Failed, Some("spam_blocked")),
            ("scam_detected", Failed, Some("scam_detected")),
            ("dial_failed", Failed, Some("dial_failed")),
            ("sip_routing_error", Failed, Some("sip_routing_error")),
            ("telephony_provider_permission_denied", Failed, Some("rejected_by_carrier")),
            ("telephony_provider_unavailable", Failed, Some("unavailable")),
            ("concurrency_limit_reached", Failed, Some("provider_capacity")),
            ("no_concurrency_fallback", Failed, Some("provider_capacity")),
            ("no_valid_payment", Failed, Some("provider_billing")),
            ("credit_exhausted", Failed, Some("provider_billing")),
            ("budget_reached", Failed, Some("provider_billing")),
            ("network_blocked", Failed, Some("rejected_by_carrier")),
            ("registered_call_timeout", Failed, Some("registered_call_timeout")),
            ("error_user_not_joined", Failed, Some("not_joined")),
            ("error_llm_websocket_open", Failed, Some("provider_error")),
            ("error_llm_websocket_lost_connection", Failed, Some("provider_error")),
            ("error_llm_websocket_runtime", Failed, Some("provider_error")),
            ("error_llm_websocket_corrupt_payload", Failed, Some("provider_error")),
            ("error_no_audio_received", Failed, Some("provider_error")),
            ("error_asr", Failed, Some("provider_error")),
            ("error_retell", Failed, Some("provider_error")),
            ("error_unknown", Failed, Some("provider_error")),
        ] {
            let read = read(word, false);
            assert_eq!((read.state, read.reason), (state, reason), "{word}");
        }
    }

    #[test]
    fn new_words_are_not_guessed_at() {
        for word in ["", "user_hangup_by_gesture", "busy", "completed", "error_of_tomorrow"] {
            assert_eq!(read(word, true), ending(Failed, Some("unknown")), "{word}");
        }
    }

    #[test]
    fn only_a_call_that_had_no_line_and_was_never_answered_is_sent_again() {
        for word in ["concurrency_limit_reached", "no_concurrency_fallback"] {
            assert_eq!(read(word, false).resend_after, Some(CAPACITY_WAIT), "{word}");
            assert_eq!(read(word, true).resend_after, None, "{word}");
        }
        for word in ["dial_failed", "telephony_provider_unavailable", "error_retell", "registered_call_timeout"] {
            assert_eq!(read(word, false).resend_after, None, "{word}");
        }
    }

    #[test]
    fn a_request_not_to_be_called_is_one() {
        assert!(read("user_requested_dnc", true).opt_out);
        assert!(!read("user_declined", false).opt_out && !read("user_requested_callback", true).opt_out);
    }

    #[test]
    fn a_fault_after_somebody_answered_says_so() {
        assert_eq!(read("error_asr", true), failed("provider_error_in_call"));
    }
}
