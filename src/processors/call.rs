//! `voice.call.requested`: places a call.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;

use super::{Accepted, Incoming, Processor, Via};
use crate::call::{CallStatus, VoiceConfig};
use crate::clock;
use crate::delivery::{Admission, Dispatcher, Entry, MessageDeliveryService, Ready, Seat, UnknownConfig};
use crate::job::{JobKind, VoiceConfigRef};
use crate::queue::Permit;
use crate::store::accept::{Acceptance, LeaseTo, NewCall};
use crate::store::leases::LeasedCall;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics;

pub struct VoiceCallProcessor {
    store: Store,
    delivery: MessageDeliveryService,
    dispatcher: Option<Dispatcher>,
}

impl VoiceCallProcessor {
    pub fn new(store: Store, delivery: MessageDeliveryService, dispatcher: Option<Dispatcher>) -> Self {
        Self { store, delivery, dispatcher }
    }

    /// The stored configurations that the batch names, by name; `Err`: stored, but this version cannot read it.
    async fn stored_configs(&self, batch: &[Incoming]) -> Result<Stored, StoreError> {
        let names: Vec<String> = batch.iter().filter_map(|incoming| config_name(&incoming.job.kind)).collect();
        if names.is_empty() { Ok(Stored::default()) } else { self.store.voice_configs_by_name(&names).await }
    }

    fn prepare(&self, batch: Vec<Incoming>, stored: &Stored) -> Vec<(NewCall, Option<Permit>)> {
        let now = clock::now();
        let prepare = |Incoming { job, via, place }: Incoming| {
            let JobKind::Call(data) = &job.kind else { return None };
            let voice_config = match &data.voice_config {
                VoiceConfigRef::Inline(config) => Ok((**config).clone()),
                VoiceConfigRef::Name(name) => match stored.get(name) {
                    Some(Ok(config)) => Ok(config.clone()),
                    _ => Err(UnknownConfig(name.clone())),
                },
            };
            let Via { source, tenant, order } = via;
            let admission = Admission { voice_config, source, tenant, order, now };
            Some((self.delivery.prepare(&job, data, admission), place))
        };
        batch.into_iter().filter_map(prepare).collect()
    }
}

/// Why each job of a batch has to wait for a replica that can read its configuration; with it waits what stands behind it in its
/// message group.
fn waiting(batch: &[Incoming], stored: &Stored) -> Vec<Option<String>> {
    let mut held_groups = BTreeMap::new();
    let held = |incoming: &Incoming| {
        let group = incoming.via.order.as_ref().map(|(group, _)| group.clone());
        let name = config_name(&incoming.job.kind)?;
        let problem = stored.get(&name)?.as_ref().err()?;
        Some((group, format!("the stored voice configuration {name:?} cannot be read by this version: {problem}")))
    };
    let mut reasons = Vec::with_capacity(batch.len());
    for incoming in batch {
        let group = incoming.via.order.as_ref().map(|(group, _)| group);
        let behind = group.and_then(|group| held_groups.get(group).cloned());
        let reason = behind.or_else(|| {
            let (group, reason) = held(incoming)?;
            if let Some(group) = group {
                held_groups.insert(group, reason.clone());
            }
            Some(reason)
        });
        reasons.push(reason);
    }
    reasons
}

fn config_name(kind: &JobKind) -> Option<String> {
    match kind {
        JobKind::Call(data) => match &data.voice_config {
            VoiceConfigRef::Name(name) => Some(name.clone()),
            VoiceConfigRef::Inline(_) => None,
        },
        _ => None,
    }
}

#[async_trait]
impl Processor for VoiceCallProcessor {
    async fn accept(&self, batch: Vec<Incoming>) -> Result<Vec<Accepted>, StoreError> {
        let stored = self.stored_configs(&batch).await?;
        let waiting = waiting(&batch, &stored);
        let readable = batch.into_iter().zip(&waiting).filter(|(_, why)| why.is_none()).map(|(incoming, _)| incoming);
        let mut accepted = self.accept_readable(readable.collect(), &stored).await?.into_iter();
        let each = |why| match why {
            Some(detail) => Some(Accepted::Later { detail }),
            None => accepted.next(),
        };
        Ok(waiting.into_iter().filter_map(each).collect())
    }
}

impl VoiceCallProcessor {
    async fn accept_readable(&self, batch: Vec<Incoming>, stored: &Stored) -> Result<Vec<Accepted>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut prepared = self.prepare(batch, stored);
        // Only calls with a place are leased to this replica; the others wait for a sweep.
        let leased = prepared.iter().all(|(_, place)| place.is_some());
        let mut seats = Vec::with_capacity(prepared.len());
        for (call, _) in &mut prepared {
            seats.push(self.seat(call));
        }
        let (calls, places): (Vec<NewCall>, Vec<Option<Permit>>) = prepared.into_iter().unzip();
        let lease_to = self
            .dispatcher
            .as_ref()
            .filter(|_| leased)
            .map(|dispatcher| LeaseTo { replica: dispatcher.replica(), lease: dispatcher.lease() });
        let acceptances = self.store.accept_calls(&calls, lease_to).await?;
        let received = clock::monotonic();
        let mut accepted = Vec::with_capacity(calls.len());
        for (((call, place), seat), acceptance) in calls.into_iter().zip(places).zip(seats).zip(acceptances) {
            accepted.push(match acceptance {
                Acceptance::New => {
                    metrics::JOBS_ACCEPTED.inc(["voice.call.requested"]);
                    if call.status.is_terminal() {
                        metrics::CALLS_FINISHED.inc([&call.platform, call.status.as_str()]);
                    }
                    let ids = Accepted::New { call_id: Some(call.id), thread_message_id: Some(call.thread_message_id) };
                    match (&self.dispatcher, place, seat) {
                        (Some(dispatcher), Some(place), Place::Seat(seat)) if leased => {
                            let ready = Ready { call: leased_call(call), place: Some(place), seat, since: received };
                            dispatcher.submit(ready).await;
                        }
                        (Some(dispatcher), _, Place::InLine) => dispatcher.line_begins(&call.platform),
                        _ => {}
                    }
                    ids
                }
                Acceptance::Suppressed => {
                    metrics::JOBS_ACCEPTED.inc(["voice.call.requested"]);
                    metrics::CALLS_FINISHED.inc([&call.platform, CallStatus::Rejected.as_str()]);
                    Accepted::New { call_id: Some(call.id), thread_message_id: Some(call.thread_message_id) }
                }
                Acceptance::Repeat { call_id } => Accepted::Repeat { subject_id: call_id },
                Acceptance::KeyReused => Accepted::KeyReused,
            });
        }
        Ok(accepted)
    }
}

type Stored = HashMap<String, Result<VoiceConfig, String>>;

/// Where a call goes once it is accepted.
enum Place {
    /// To its lane.
    Seat(Seat),
    /// In line for its platform, which has no room for it now: it is accepted as waiting.
    InLine,
    /// Nowhere: it is not to be sent now, or not by this replica.
    Nowhere,
}

impl VoiceCallProcessor {
    fn seat(&self, call: &mut NewCall) -> Place {
        let Some(dispatcher) = self.dispatcher.as_ref().filter(|_| call.status == CallStatus::Accepted) else {
            return Place::Nowhere;
        };
        match dispatcher.entry(&call.platform) {
            Entry::Seat(seat) => Place::Seat(seat),
            Entry::Line(why) => {
                call.status = CallStatus::Scheduled;
                call.status_reason = Some(why.reason.as_str().to_owned());
                call.status_detail = Some(why.detail);
                call.scheduled_for = Some(clock::now());
                Place::InLine
            }
            Entry::Closed => Place::Nowhere,
        }
    }
}

/// As the row stands after acceptance: fence 1, leased to us.
fn leased_call(call: NewCall) -> LeasedCall {
    LeasedCall {
        id: call.id,
        fence: 1,
        platform: call.platform,
        platforms: call.platforms,
        to: call.to_number,
        request: call.request,
        metadata: call.metadata,
        expires_at: call.expires_at,
        order_key: call.order_key,
        send_tries: 0,
        created_at: clock::now(),
        traceparent: call.traceparent,
    }
}
