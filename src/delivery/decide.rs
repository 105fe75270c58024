//! What the answer to a create request means for the call. Pure.

use std::time::Duration;

use uuid::Uuid;

use crate::call::{AttemptState, CallStatus, Verdict};
use crate::config;
use crate::platforms::{Placed, Scope, SendError};
use crate::retry;
use crate::store::attempts::Answered;
use crate::store::leases::LeasedCall;

/// A doubtful attempt is looked up this soon (absence counts only later), and a call that the platform holds back.
const FIRST_LOOK_UP: Duration = Duration::from_secs(2);

/// Refusals that hold for the person's number on every platform: no fallback.
const OF_THE_PERSON: &[&str] =
    &["do_not_call", "number_blocked", "invalid_number", "emergency_number", "number_blacklisted"];

#[derive(Clone)]
pub(super) struct Policy {
    pub delivery: config::Delivery,
    pub poll_after: Duration,
    /// A platform's refusal `do_not_call` puts the number on our list.
    pub suppress_on_platform_dnc: bool,
}

/// Which platform a call goes to after `current`, where one is left.
fn next_platform(call: &LeasedCall) -> Option<String> {
    let at = call.platforms.iter().position(|name| *name == call.platform)?;
    call.platforms.get(at + 1).cloned()
}

/// `unit` is a random number in `0.0..1.0`, for jitter.
pub(super) fn decide(
    call: &LeasedCall,
    attempt_id: Uuid,
    result: &Result<Placed, SendError>,
    policy: &Policy,
    unit: f64,
) -> Answered {
    let base = Answered {
        call_id: call.id,
        attempt_id,
        fence: call.fence,
        state: AttemptState::Placed,
        verdict: Verdict::Placed,
        reason: None,
        detail: None,
        http_status: None,
        platform_call_id: None,
        handles: Default::default(),
        call_status: CallStatus::Placed,
        call_reason: None,
        call_detail: None,
        scheduled_in: None,
        next_because: None,
        next_platform: None,
        look_in: None,
        opt_out: false,
    };
    let error = match result {
        Ok(placed) => {
            return Answered {
                http_status: Some(placed.http_status),
                platform_call_id: Some(placed.platform_call_id.clone()),
                handles: placed.handles.clone(),
                look_in: Some(if placed.held_back { FIRST_LOOK_UP } else { policy.poll_after }),
                ..base
            };
        }
        Err(error) => error,
    };
    let base = Answered {
        state: error.state(),
        verdict: error.verdict,
        reason: Some(error.reason.clone()),
        detail: Some(error.detail.clone()),
        http_status: error.http_status,
        call_reason: Some(error.reason.clone()),
        call_detail: Some(error.detail.clone()),
        ..base
    };
    match error.verdict {
        // A SendError that says "placed" is a contradiction in itself; it is treated as the doubt that it is.
        Verdict::InDoubt | Verdict::Placed => Answered {
            state: AttemptState::InDoubt,
            verdict: Verdict::InDoubt,
            call_status: CallStatus::InDoubt,
            look_in: Some(FIRST_LOOK_UP),
            ..base
        },
        Verdict::Refused => refused(call, attempt_id, error, base, policy.suppress_on_platform_dnc),
        Verdict::NotSent => not_sent(call, attempt_id, error, base, policy, unit),
    }
}

fn refused(call: &LeasedCall, attempt_id: Uuid, error: &SendError, base: Answered, opt_outs_count: bool) -> Answered {
    let base = Answered { opt_out: opt_outs_count && error.reason == "do_not_call", ..base };
    let of_the_person = error.scope == Scope::Number || OF_THE_PERSON.contains(&error.reason.as_str());
    match next_platform(call).filter(|_| !of_the_person) {
        Some(platform) => Answered {
            call_status: CallStatus::Scheduled,
            call_reason: Some("fallback".into()),
            call_detail: Some(format!("{} refused it ({}), next is {platform}", call.platform, error.reason)),
            scheduled_in: Some(Duration::ZERO),
            next_because: Some(format!("fallback: {} refused attempt {attempt_id} ({})", call.platform, error.reason)),
            next_platform: Some(platform),
            ..base
        },
        None => Answered { call_status: CallStatus::Failed, ..base },
    }
}

fn not_sent(
    call: &LeasedCall,
    attempt_id: Uuid,
    error: &SendError,
    base: Answered,
    policy: &Policy,
    unit: f64,
) -> Answered {
    let tries = call.send_tries + 1;
    let settings = &policy.delivery;
    if tries < settings.max_send_tries {
        let wait = retry::wait_for(call.send_tries, settings.resend_initial, settings.resend_max, unit);
        return Answered {
            call_status: CallStatus::Scheduled,
            scheduled_in: Some(error.retry_after.map_or(wait, |asked| asked.max(Duration::from_secs(1)))),
            next_because: Some(format!("resend: attempt {attempt_id} was not sent ({})", error.reason)),
            ..base
        };
    }
    match next_platform(call) {
        Some(platform) => Answered {
            call_status: CallStatus::Scheduled,
            call_reason: Some("fallback".into()),
            scheduled_in: Some(Duration::ZERO),
            next_because: Some(format!(
                "fallback: {} could not be reached in {tries} tries ({})",
                call.platform, error.reason
            )),
            next_platform: Some(platform),
            ..base
        },
        None => Answered {
            call_status: CallStatus::Failed,
            call_reason: Some("not_sent".into()),
            call_detail: Some(format!("not sent in {tries} tries: {}: {}", error.reason, error.detail)),
            ..base
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::PhoneNumber;
    use crate::store::accept::StoredRequest;

    fn call(platforms: &[&str], send_tries: u32) -> LeasedCall {
        LeasedCall {
            id: Uuid::from_u128(1),
            fence: 1,
            platform: platforms[0].into(),
            platforms: platforms.iter().map(|name| (*name).to_owned()).collect(),
            to: PhoneNumber::parse("+14155550123").unwrap(),
            request: StoredRequest {
                content: "hello".into(),
                lead_name: None,
                timezone: None,
                voice_config: serde_json::from_str(r#"{"platform":"bland_ai"}"#).unwrap(),
            },
            metadata: Default::default(),
            expires_at: None,
            order_key: None,
            send_tries,
            created_at: chrono::DateTime::UNIX_EPOCH,
            traceparent: None,
        }
    }

    fn policy() -> Policy {
        let config = config::Config::load(None, &Default::default()).unwrap();
        Policy { delivery: config.delivery, poll_after: Duration::from_secs(60), suppress_on_platform_dnc: true }
    }

    fn answer(call: &LeasedCall, error: SendError) -> Answered {
        decide(call, Uuid::from_u128(2), &Err(error), &policy(), 0.5)
    }

    #[test]
    fn a_call_that_the_platform_holds_back_is_looked_at_soon() {
        let policy = policy();
        let placed = |held_back| Ok(Placed { held_back, ..Placed::new("c-1", 201) });
        let look_in =
            |held_back| decide(&call(&["vapi"], 0), Uuid::from_u128(2), &placed(held_back), &policy, 0.5).look_in;
        assert_eq!((look_in(false), look_in(true)), (Some(policy.poll_after), Some(FIRST_LOOK_UP)));
    }

    #[test]
    fn doubt_is_never_sent_again_and_never_falls_back() {
        let answered =
            answer(&call(&["bland_ai", "vapi"], 0), SendError::new(Verdict::InDoubt, "timeout", "no answer"));
        assert_eq!((answered.call_status, answered.state), (CallStatus::InDoubt, AttemptState::InDoubt));
        assert_eq!((answered.scheduled_in, answered.next_because, answered.next_platform), (None, None, None));
    }

    #[test]
    fn a_refusal_falls_back_to_the_next_platform_unless_it_is_about_the_person() {
        let error = SendError::new(Verdict::Refused, "insufficient_balance", "pay").with_scope(Scope::Account);
        let answered = answer(&call(&["bland_ai", "vapi"], 0), error.clone());
        assert_eq!((answered.call_status, answered.next_platform.as_deref()), (CallStatus::Scheduled, Some("vapi")));
        assert!(answered.next_because.unwrap().starts_with("fallback: "));
        assert_eq!(answer(&call(&["bland_ai"], 0), error).call_status, CallStatus::Failed);
        let dnc = SendError::new(Verdict::Refused, "do_not_call", "listed").with_scope(Scope::Number);
        assert_eq!(answer(&call(&["bland_ai", "vapi"], 0), dnc).call_status, CallStatus::Failed);
    }

    #[test]
    fn what_was_not_sent_is_sent_again_later_until_the_tries_are_spent() {
        let error = SendError::new(Verdict::NotSent, "connect_failed", "refused");
        let answered = answer(&call(&["bland_ai"], 0), error.clone());
        assert_eq!(
            (answered.call_status, answered.scheduled_in),
            (CallStatus::Scheduled, Some(Duration::from_secs(10)))
        );
        assert_eq!(answer(&call(&["bland_ai"], 9), error).call_status, CallStatus::Failed);
    }

    #[test]
    fn a_platforms_own_wait_wins() {
        let error =
            SendError::new(Verdict::NotSent, "rate_limited", "slow").with_retry_after(Some(Duration::from_secs(77)));
        assert_eq!(answer(&call(&["bland_ai"], 0), error).scheduled_in, Some(Duration::from_secs(77)));
    }
}
