//! A lane's spending of rights: candidates, one commit for all of them, and what becomes of each.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::admission::VoiceDelivery;
use super::dispatcher::Ready;
use super::lane::Lane;
use super::sending::{Candidate, Leave, Sending, Turn};
use crate::call::CallStatus;
use crate::call::policy::When;
use crate::clock;
use crate::fault;
use crate::platforms::SendPermit;
use crate::retry::Waits;
use crate::store::StoreError;
use crate::store::attempts::{Intent, IntentOutcome, IntentTimes, Spent};
use crate::store::leases::Postponed;
use crate::store::line::InLine;
use crate::store::pace::{Limits, Short};
use crate::telemetry::{metrics, trace};

/// A number whose line is busy with another call of ours is tried again this often, and when that call ends.
const NUMBER_BUSY_WAIT: Duration = Duration::from_secs(30);
pub(super) const ORDER_WAIT: Duration = Duration::from_secs(1);
pub(super) const REFUSED_WAIT: Duration = Duration::from_secs(1);

/// A call that goes back to Postgres: for how long, why, and the same for a person.
type PutOff = (Ready, Duration, &'static str, Option<String>);

impl Lane {
    /// Formats and validates; a call whose window has closed since goes back, one that cannot be formatted is rejected.
    pub(super) async fn candidate(&mut self, ready: Ready, room: OwnedSemaphorePermit) -> Option<Candidate> {
        let (monotonic, now) = (clock::monotonic(), clock::now());
        let call = &ready.call;
        let closes = match self.parts.voice.when(&call.request, &call.to, now) {
            Ok(When::Open { closes }) => closes.map(|at| monotonic + (at - now).to_std().unwrap_or_default()),
            Ok(When::Closed(hold)) => {
                let wait = (hold.until - now).to_std().unwrap_or_default();
                self.postpone(vec![(ready, wait, "window", Some(hold.text))]).await;
                return None;
            }
            Err(refusal) => {
                self.end_unsent(ready, CallStatus::Rejected, refusal.reason, &refusal.detail).await;
                return None;
            }
        };
        let attempt_id = Uuid::now_v7();
        let request = self.parts.voice.call_request(
            &call.request,
            call.id,
            attempt_id,
            self.parts.platform.name(),
            call.to.clone(),
            call.metadata.clone(),
        );
        match self.parts.voice.payload(self.parts.platform.name(), &request) {
            Ok(payload) => Some(Candidate { ready, attempt_id, payload, room, closes }),
            Err(problems) => {
                let detail = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                self.end_unsent(ready, CallStatus::Rejected, "invalid_payload", &detail).await;
                None
            }
        }
    }

    /// `limits`: see [`crate::store::Store::spend`].
    pub(super) async fn spend_and_send(&mut self, batch: Vec<Candidate>, mut limits: Option<Limits>) {
        let Some(batch) = self.within_budget(batch).await else { return };
        if let Some(limits) = &mut limits {
            limits.departures = self.parts.account.take_departures();
        }
        let name = self.parts.platform.name();
        let intents: Vec<Intent> = batch.iter().map(|candidate| intent(candidate, name, &self.parts.voice)).collect();
        let times = IntentTimes { lease: self.parts.lease, settled_after: self.parts.settled_after };
        // Calls that end from here on may make room that the statement does not see.
        self.ended.mark_unchanged();
        // Taken before the database reads its clock, so our permit ends before the lease does.
        let permit = SendPermit::until(clock::monotonic() + self.parts.lease);
        fault::point("before_intent");
        let spent = match self.parts.store.spend(self.parts.replica, &intents, times, limits.as_ref()).await {
            Ok(spent) => spent,
            Err(error) => match self.recover(&intents, error).await {
                Some(outcomes) => Spent { outcomes, slots: None, short: None },
                None => return self.put_back(batch),
            },
        };
        fault::point("after_intent");
        let Spent { outcomes, slots, short } = spent;
        self.unreserve(&batch, &outcomes).await;
        if let Some(slots) = &slots {
            self.parts.account.took(slots.age());
        }
        let in_slots = limits.filter(|limits| limits.per_second.is_some());
        let (mut postponed, mut left_out, mut sent) = (Vec::new(), Vec::new(), 0);
        for (candidate, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                IntentOutcome::Spent => {
                    let leave = match &in_slots {
                        None => Leave::AtOnce,
                        Some(limits) => Leave::InSlot(Turn {
                            slot: slots.as_ref().and_then(|slots| slots.nth(sent)),
                            store: self.parts.store.clone(),
                            limits: Limits { departures: Vec::new(), ..limits.clone() },
                        }),
                    };
                    sent += 1;
                    self.start_send(candidate, permit, leave);
                }
                IntentOutcome::NoRoom => left_out.push(candidate),
                IntentOutcome::TooSoon { wait } => postponed.push((candidate.ready, wait, "number_spacing", None)),
                IntentOutcome::NumberBusy => postponed.push((candidate.ready, NUMBER_BUSY_WAIT, "number_busy", None)),
                IntentOutcome::Behind => postponed.push((candidate.ready, ORDER_WAIT, "order", None)),
                IntentOutcome::TooOften { until } => {
                    let (wait, detail) = self.parts.voice.too_often(&candidate.ready.call, until);
                    postponed.push((candidate.ready, wait, "frequency", Some(detail)));
                }
                IntentOutcome::Ended { status, reason, detail } => {
                    self.end_unsent(candidate.ready, status, reason, detail).await;
                }
                IntentOutcome::Overtaken => {
                    metrics::LEASE_LOST.inc([]);
                    tracing::info!(call_id = %candidate.ready.call.id, "not ours any more: cancelled or taken over");
                    self.release_group(&candidate.ready);
                }
            }
        }
        self.put_back(left_out);
        self.note_short(short, sent > 0);
        if !postponed.is_empty() {
            self.postpone(postponed).await;
        }
    }

    /// Keeps why there is no more room, and until when nobody needs to ask again.
    fn note_short(&mut self, short: Option<Short>, some_sent: bool) {
        if some_sent {
            self.cap_waits.reset();
        }
        self.short = short.map(|short| {
            let wait = match short.reason {
                InLine::Cap => self.cap_waits.next_wait(),
                _ => short.retry_in,
            };
            if short.reason == InLine::Rate {
                metrics::RATE_LIMIT_WAIT.record([self.parts.platform.name()], wait);
            }
            (short, clock::monotonic() + wait)
        });
    }

    /// The commit's end is unclear: waits for Postgres, then asks which rights are ours. `None`: none is, as far as we
    /// know, and the calls go back into the line.
    async fn recover(&mut self, intents: &[Intent], error: StoreError) -> Option<Vec<IntentOutcome>> {
        let ids: Vec<Uuid> = intents.iter().map(|intent| intent.attempt_id).collect();
        // A server that refuses (one that would forget commits, say) will refuse again in a moment.
        let first = if error.is_unavailable() { Duration::from_millis(50) } else { REFUSED_WAIT };
        let mut waits = Waits::new(first, Duration::from_secs(1));
        let mut error = error;
        loop {
            tracing::warn!(platform = self.parts.platform.name(), calls = ids.len(), %error, "sending waits for Postgres");
            tokio::select! {
                () = clock::sleep(waits.next_wait()) => {}
                () = self.parts.lifecycle.stopping() => return None,
            }
            match self.parts.store.confirm_spent(self.parts.replica, &ids).await {
                Ok(ours) if ours.is_empty() => {
                    self.renewed -= self.parts.lease;
                    return None;
                }
                Ok(ours) => {
                    let outcome = |id| if ours.contains(id) { IntentOutcome::Spent } else { IntentOutcome::Overtaken };
                    return Some(ids.iter().map(outcome).collect());
                }
                Err(again) => error = again,
            }
        }
    }

    fn start_send(&mut self, candidate: Candidate, permit: SendPermit, leave: Leave) {
        let sending = Sending {
            platform: self.parts.platform.clone(),
            policy: self.parts.policy.clone(),
            account: self.parts.account.clone(),
            leave,
            slots: self.slots.clone(),
            answers: self.parts.answers.clone(),
            groups: self.answered_groups.0.clone(),
            unit: self.chance.f64(),
        };
        let span =
            tracing::info_span!("attempt", call_id = %candidate.ready.call.id, attempt_id = %candidate.attempt_id);
        trace::continue_trace(&span, candidate.ready.call.traceparent.as_deref());
        let task = tracing::Instrument::instrument(sending.run(candidate, permit), span);
        self.parts.lifecycle.spawn(self.sends.track_future(task));
    }

    pub(super) async fn postpone(&mut self, calls: Vec<PutOff>) {
        self.put_off(&calls).await;
        calls.iter().for_each(|(ready, ..)| self.release_group(ready));
    }

    pub(super) async fn put_off(&self, calls: &[PutOff]) {
        let row = |(ready, wait, reason, detail): &PutOff| Postponed {
            call_id: ready.call.id,
            fence: ready.call.fence,
            wait: *wait,
            reason,
            detail: detail.clone(),
        };
        let rows: Vec<Postponed> = calls.iter().map(row).collect();
        if let Err(error) = self.parts.store.postpone(&rows).await {
            tracing::warn!(calls = rows.len(), %error, "could not postpone; the leases run out instead");
        }
    }

    async fn end_unsent(&mut self, ready: Ready, status: CallStatus, reason: &str, detail: &str) {
        match self.parts.store.end_unsent(ready.call.id, ready.call.fence, status, reason, detail).await {
            Ok(true) => metrics::CALLS_FINISHED.inc([self.parts.platform.name(), status.as_str()]),
            Ok(false) => metrics::LEASE_LOST.inc([]),
            Err(error) => {
                tracing::warn!(call_id = %ready.call.id, %error, "could not be ended; its lease runs out instead")
            }
        }
        self.release_group(&ready);
    }

    pub(super) fn release_group(&mut self, ready: &Ready) {
        if let Some(key) = &ready.call.order_key {
            self.next_of_group(&key.clone());
        }
    }
}

fn intent(candidate: &Candidate, platform: &str, voice: &VoiceDelivery) -> Intent {
    let call = &candidate.ready.call;
    Intent {
        call_id: call.id,
        fence: call.fence,
        attempt_id: candidate.attempt_id,
        platform: platform.to_owned(),
        number_caps: voice.number_caps(&call.to),
        from_number: call
            .request
            .voice_config
            .for_platform(platform)
            .from_number
            .map(|number| number.as_e164().to_owned()),
    }
}
