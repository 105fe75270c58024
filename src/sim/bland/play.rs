//! The course of a call: what is reported when, signed, repeated, and what goes wrong with it by order.

use std::sync::Arc;

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::super::platform::{Webhook, WebhookFault};
use super::Shared;
use crate::clock;

/// Plays a call to its end and sends its webhooks. Returns when they are taken or given up.
pub async fn course(shared: Arc<Shared>, id: String) {
    let Some(plan) = Plan::of(&shared, &id) else { return };
    let in_call = plan.fault != WebhookFault::Lost && plan.fault != WebhookFault::Reordered;
    if in_call && plan.wants_queue {
        plan.send_event(&shared, "queue", "Call enqueued").await;
    }
    clock_until(plan.answered).await;
    if in_call && plan.wants_call && plan.is_answered {
        plan.send_event(&shared, "call", "Call connected").await;
    }
    loop {
        // Registered before the end is read: a stop in between is not missed.
        let stopped = plan.stopped.notified();
        let Some(end) = shared.calls().get(&id).map(|call| call.playback.end()) else { return };
        if clock::monotonic() >= end {
            break;
        }
        tokio::select! { () = clock_until(end) => {}, () = stopped => {} }
    }
    let record = match shared.calls().record(&id) {
        Some(record) => record,
        None => return,
    };
    match plan.fault {
        WebhookFault::Lost => return,
        WebhookFault::Late => clock::sleep(shared.options.late).await,
        WebhookFault::Forged => plan.send_forged(&shared, &record).await,
        _ => {}
    }
    plan.send(&shared, &record).await;
    match plan.fault {
        WebhookFault::Doubled => plan.send(&shared, &record).await,
        WebhookFault::Reordered => {
            if plan.wants_call {
                plan.send_event(&shared, "call", "Call connected").await;
            }
            if plan.wants_queue {
                plan.send_event(&shared, "queue", "Call enqueued").await;
            }
        }
        _ => {}
    }
}

/// Sends the record's webhook as it stands now, to its own address or another. The status that came back, or `None` where
/// there is no such call or address.
pub async fn resend(shared: &Shared, id: &str, to: Option<&str>) -> Option<u16> {
    let (url, record) = {
        let calls = shared.calls();
        let call = calls.get(id)?;
        (to.or(call.webhook())?.to_owned(), call.record(clock::monotonic()))
    };
    Some(shared.sender.post(&signed(shared, &url, &record)).await)
}

async fn clock_until(moment: clock::Monotonic) {
    let now = clock::monotonic();
    if moment > now {
        clock::sleep(moment - now).await;
    }
}

struct Plan {
    id: String,
    url: Option<String>,
    fault: WebhookFault,
    wants_queue: bool,
    wants_call: bool,
    is_answered: bool,
    answered: clock::Monotonic,
    stopped: Arc<tokio::sync::Notify>,
}

impl Plan {
    fn of(shared: &Shared, id: &str) -> Option<Self> {
        let calls = shared.calls();
        let call = calls.get(id)?;
        Some(Self {
            id: id.to_owned(),
            url: call.webhook().map(str::to_owned),
            fault: call.script.webhook,
            wants_queue: call.wants_event("queue"),
            wants_call: call.wants_event("call"),
            is_answered: call.script.outcome.is_answered(),
            answered: call.playback.answered(),
            stopped: call.stopped.clone(),
        })
    }

    async fn send(&self, shared: &Shared, body: &Value) {
        let Some(url) = &self.url else { return };
        let result = shared.sender.deliver(&signed(shared, url, body)).await;
        let code = result.unwrap_or_else(|code| code);
        let delivery = json!({ "sent_at": clock::now(), "response_code": code, "send_type": "spawn" });
        if let Some(call) = shared.calls().get_mut(&self.id) {
            call.deliveries.push(delivery);
        }
    }

    async fn send_event(&self, shared: &Shared, category: &str, message: &str) {
        let event = json!({ "message": message, "call_id": self.id, "category": category, "log_level": "info" });
        self.send(shared, &event).await;
    }

    /// Once with a wrong signature and once without any; both say that the call failed.
    async fn send_forged(&self, shared: &Shared, record: &Value) {
        let Some(url) = &self.url else { return };
        let mut lie = record.clone();
        lie["status"] = json!("failed");
        lie["error_message"] = json!("Call failed. SIP 404: The number was not found.");
        let mut webhook = unsigned(url, &lie);
        shared.sender.post(&webhook).await;
        webhook.headers.push((SIGNATURE, hex_hmac(b"not the secret", &webhook.body)));
        shared.sender.post(&webhook).await;
    }
}

const SIGNATURE: HeaderName = HeaderName::from_static("x-webhook-signature");

fn unsigned(url: &str, body: &Value) -> Webhook {
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Webhook { url: url.to_owned(), headers, body: Bytes::from(body.to_string()) }
}

fn signed(shared: &Shared, url: &str, body: &Value) -> Webhook {
    let mut webhook = unsigned(url, body);
    if !shared.options.webhook_secret.is_empty() {
        webhook.headers.push((SIGNATURE, hex_hmac(shared.options.webhook_secret.as_bytes(), &webhook.body)));
    }
    webhook
}

fn hex_hmac(secret: &[u8], body: &[u8]) -> HeaderValue {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), body);
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&hex).unwrap_or_else(|_| HeaderValue::from_static(""))
}
