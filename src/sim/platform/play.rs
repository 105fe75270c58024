//! The course of a call: what the vendor reports when, signed, repeated, and what goes wrong with it by order.

use std::sync::Arc;
use std::time::Duration;

use super::kernel::{App, Shared};
use super::{Call, Delivery, Moment, Vendor, Webhook, WebhookFault};
use crate::clock;

/// From a call's end to its analysis, on a person's clock.
const ANALYSIS: Duration = Duration::from_secs(1);

/// Plays a call to its end and sends its webhooks. Returns when they are taken or given up.
pub async fn course<V: Vendor>(shared: App<V>, id: String) {
    let Some((fault, is_answered, answered, stopped)) = shared.calls().get(&id).map(|call| {
        let is_answered = call.script.outcome.is_answered();
        (call.script.webhook, is_answered, call.playback.answered(), call.stopped.clone())
    }) else {
        return;
    };
    let in_call = fault != WebhookFault::Lost && fault != WebhookFault::Reordered;
    if in_call {
        report(&shared, &id, Moment::Queued).await;
        report(&shared, &id, Moment::Ringing).await;
    }
    let picked_up = tokio::select! {
        () = clock_until(answered) => true,
        () = stopped.notified() => false,
    };
    if in_call && picked_up && is_answered {
        report(&shared, &id, Moment::Answered).await;
    }
    loop {
        // Registered before the end is read: a stop in between is not missed.
        let stopping = stopped.notified();
        let Some(end) = shared.calls().get(&id).map(|call| call.playback.end()) else { return };
        if clock::monotonic() >= end {
            break;
        }
        tokio::select! { () = clock_until(end) => {}, () = stopping => {} }
    }
    match fault {
        WebhookFault::Lost => return,
        WebhookFault::Late => clock::sleep(shared.options.late).await,
        WebhookFault::Forged => forge(&shared, &id).await,
        _ => {}
    }
    let times = if fault == WebhookFault::Doubled { 2 } else { 1 };
    for _ in 0..times {
        report(&shared, &id, Moment::Ended).await;
    }
    clock::sleep(ANALYSIS.mul_f64(shared.options.time_scale)).await;
    for _ in 0..times {
        report(&shared, &id, Moment::Analyzed).await;
    }
    if fault == WebhookFault::Reordered {
        if is_answered {
            report(&shared, &id, Moment::Answered).await;
        }
        report(&shared, &id, Moment::Ringing).await;
        report(&shared, &id, Moment::Queued).await;
    }
}

/// Sends the end's webhooks as they stand now, to the call's own address or another. The status that came back, or `None`
/// where there is no such call or address.
pub async fn resend<V: Vendor>(shared: &Arc<Shared<V>>, id: &str, to: Option<&str>) -> Option<u16> {
    let call = shared.calls().get(id)?.clone();
    let target = to.map(str::to_owned).or_else(|| shared.webhook_target(&call))?;
    let mut last = None;
    for mut webhook in shared.vendor.webhooks(&call, Moment::Ended, &target, clock::monotonic()) {
        sign(shared, &mut webhook);
        last = Some(shared.sender.post(&webhook).await);
    }
    last
}

async fn report<V: Vendor>(shared: &App<V>, id: &str, moment: Moment) {
    let Some((call, target)) = with_target(shared, id) else { return };
    for mut webhook in shared.vendor.webhooks(&call, moment, &target, clock::monotonic()) {
        sign(shared, &mut webhook);
        let response_code = shared.sender.deliver(&webhook).await.unwrap_or_else(|code| code);
        if let Some(call) = shared.calls().get_mut(id) {
            call.deliveries.push(Delivery { sent_at: clock::now(), response_code });
        }
    }
}

fn with_target<V: Vendor>(shared: &Shared<V>, id: &str) -> Option<(Call, String)> {
    let call = shared.calls().get(id)?.clone();
    let target = shared.webhook_target(&call)?;
    Some((call, target))
}

fn sign<V: Vendor>(shared: &Shared<V>, webhook: &mut Webhook) {
    if !shared.options.webhook_secret.is_empty() {
        shared.vendor.sign(&shared.options, &shared.options.webhook_secret, webhook);
    }
}

/// Once with a wrong signature and once without any; both say that the call failed.
async fn forge<V: Vendor>(shared: &App<V>, id: &str) {
    let Some((call, target)) = with_target(shared, id) else { return };
    let mut lie = shared.vendor.lie(&call, &target, clock::monotonic());
    shared.sender.post(&lie).await;
    shared.vendor.sign(&shared.options, "not the secret", &mut lie);
    shared.sender.post(&lie).await;
}

async fn clock_until(moment: clock::Monotonic) {
    let now = clock::monotonic();
    if moment > now {
        clock::sleep(moment - now).await;
    }
}
