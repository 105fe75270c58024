//! Calls that wait in their platform's queue. Platforms queue what an account may not dial at once, for hours (Twilio: 24): a
//! call that would ring outside of its hours, or that nobody wants any more, is taken back.
//!
//! What that will mean is written down first. Then the platform is asked; whether it came in time shows in the call's status,
//! as everything does: a call that was answered meanwhile goes on, one that was cancelled is scheduled again (its hours) or
//! ends (expired).

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::{LOOK_UP_WAIT, Looker};
use crate::call::CallUpdate;
use crate::call::policy::{CallingPolicy, When};
use crate::clock;
use crate::platforms::{PlacedCall, Platform, PlatformError};
use crate::store::Result;
use crate::store::looks::{DueLook, Withdrawal};

/// The end of an open window is looked for so far ahead; the next look is sooner.
const AHEAD: TimeDelta = TimeDelta::days(1);

/// Whether a call may still be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dial {
    /// Until then, where there is an end in sight.
    Until(Option<DateTime<Utc>>),
    TakeBack(Withdrawal),
}

impl Looker {
    /// The platform says that it has not dialled yet.
    pub(super) async fn still_queued(
        &self,
        platform: &Arc<dyn Platform>,
        due: &DueLook,
        call: &PlacedCall,
        update: CallUpdate,
    ) -> Result<()> {
        let now = clock::now();
        let (update, applied) = self.apply_poll(platform.name(), due, update).await?;
        applied.count(platform.name(), &update);
        let wait = self.poll_wait(due);
        // A cancellation ends the call already.
        let dial = if due.cancel_requested { Dial::Until(None) } else { dial(&self.policy, due, now) };
        match dial {
            Dial::Until(Some(end)) if due.age < self.config.poller.give_up_after => {
                let left = (end - now).to_std().unwrap_or_default();
                self.store.look_again(due.attempt_id, wait.min(left)).await
            }
            Dial::Until(_) => self.still_live(platform.name(), due).await,
            Dial::TakeBack(because) => {
                if self.store.note_withdrawal(due.attempt_id, because).await? {
                    self.take_back(platform, call, because).await;
                }
                self.store.look_again(due.attempt_id, LOOK_UP_WAIT.min(wait)).await
            }
        }
    }

    async fn take_back(&self, platform: &Arc<dyn Platform>, call: &PlacedCall, because: Withdrawal) {
        match platform.cancel_queued(call).await {
            Ok(()) => tracing::info!(?because, "taken back from the platform's queue"),
            // It is over, or is not queued any more: its status tells.
            Err(PlatformError::NotFound) => tracing::info!(?because, "too late to take it back"),
            Err(error) => tracing::warn!(?because, %error, "the platform could not be asked to take the call back"),
        }
    }
}

/// Pure.
fn dial(policy: &CallingPolicy, due: &DueLook, now: DateTime<Utc>) -> Dial {
    if due.expires_at.is_some_and(|at| at <= now) {
        return Dial::TakeBack(Withdrawal::Expired);
    }
    let Some(request) = &due.request else { return Dial::Until(due.expires_at) };
    let window = request.voice_config.calling_window.as_ref();
    match policy.when(&due.to, request.timezone.as_deref(), window, now, AHEAD) {
        Ok(When::Open { closes }) => Dial::Until(closes.into_iter().chain(due.expires_at).min()),
        Ok(When::Closed(_)) => Dial::TakeBack(Withdrawal::Window),
        // Rules that changed since it was sent so that it is never open: as closed as can be.
        Err(_) => Dial::TakeBack(Withdrawal::Window),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{AttemptState, PhoneNumber};
    use crate::store::accept::StoredRequest;
    use std::time::Duration;
    use uuid::Uuid;

    fn due(window: Option<(&str, &str)>, expires_at: Option<&str>) -> DueLook {
        let mut config = serde_json::json!({ "platform": "twilio" });
        if let Some((from, to)) = window {
            config["calling_window"] = serde_json::json!({ "from": from, "to": to });
        }
        DueLook {
            attempt_id: Uuid::nil(),
            call_id: Uuid::nil(),
            platform: "twilio".into(),
            platform_call_id: None,
            handles: Default::default(),
            bound: Vec::new(),
            state: AttemptState::Placed,
            to: PhoneNumber::parse("+14155550123").unwrap(),
            from: None,
            committed_at: DateTime::UNIX_EPOCH,
            settled_at: DateTime::UNIX_EPOCH,
            settled: true,
            age: Duration::ZERO,
            looks: 1,
            cancel_requested: false,
            end_requested: false,
            request: Some(StoredRequest {
                content: String::new(),
                lead_name: None,
                timezone: Some("America/Los_Angeles".into()),
                voice_config: serde_json::from_value(config).unwrap(),
            }),
            expires_at: expires_at.map(|at| at.parse().unwrap()),
        }
    }

    #[test]
    fn a_queued_call_may_be_dialled_until_its_hours_end_or_it_expires() {
        let config = crate::config::Config::load(None, &Default::default()).unwrap();
        let policy = CallingPolicy::new(&config.policy, Default::default()).unwrap();
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        // 16:00 in Los Angeles.
        let now = at("2026-11-21T00:00:00Z");
        let judged = |window, expires| dial(&policy, &due(window, expires), now);
        assert_eq!(judged(None, None), Dial::Until(None));
        assert_eq!(judged(Some(("09:00", "20:00")), None), Dial::Until(Some(at("2026-11-21T04:00:00Z"))));
        assert_eq!(judged(Some(("09:00", "16:00")), None), Dial::TakeBack(Withdrawal::Window));
        let soon = Some("2026-11-21T01:00:00Z");
        assert_eq!(judged(Some(("09:00", "20:00")), soon), Dial::Until(Some(at("2026-11-21T01:00:00Z"))));
        assert_eq!(judged(Some(("09:00", "16:00")), Some("2026-11-21T00:00:00Z")), Dial::TakeBack(Withdrawal::Expired));
    }
}
