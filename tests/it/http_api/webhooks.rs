//! `POST /webhooks/{platform}`: kept before it is answered, applied once, and nothing believed that is not signed.

use std::time::Duration;

use aws_lc_rs::hmac;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use voxd::store::keys::Role;

use super::{Reply, Side, WEBHOOK_SECRET, reply};
use crate::harness::{database, eventually};

const LIMIT: usize = 262_144;

fn sign(body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, WEBHOOK_SECRET.as_bytes());
    hmac::sign(&key, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) async fn post(side: &Side, path: &str, body: impl Into<Vec<u8>>) -> Reply {
    let body = body.into();
    let signature = sign(&body);
    reply(side.request(Method::POST, path, None).header("X-Webhook-Signature", signature).body(body)).await
}

/// A call whose attempt is placed; the attempt's id.
pub(super) async fn placed(side: &Side, name: &str, number: &str, platform_call_id: &str) -> (Uuid, Uuid) {
    let key = side.key(Role::Service, "crm").await;
    let call = side.call(&key, name, number).await;
    (call, side.attempt(call, "placed", Some(platform_call_id)).await)
}

fn ended(platform_call_id: &str, attempt_id: Option<Uuid>) -> String {
    let mut body = json!({ "call_id": platform_call_id, "status": "completed", "completed": true, "answered_by": "human", "corrected_duration": "42", "price": 0.09 });
    if let Some(attempt_id) = attempt_id {
        body["metadata"] = json!({ "voxd_attempt_id": attempt_id });
    }
    body.to_string()
}

async fn status(side: &Side, call: Uuid) -> String {
    sqlx::query_scalar("select status from calls where id = $1").bind(call).fetch_one(&side.db).await.unwrap()
}

pub(super) async fn until(side: &Side, call: Uuid, wanted: &str) {
    eventually(&format!("the call is {wanted}"), async || (status(side, call).await == wanted).then_some(())).await;
}

#[tokio::test]
async fn a_signed_webhook_is_kept_and_moves_its_call() {
    let side = Side::start().await;
    let (call, attempt) = placed(&side, "a", "+14155550123", "bland-1").await;
    let taken = post(&side, &format!("/webhooks/bland_ai/{attempt}"), ended("bland-1", Some(attempt))).await;
    assert_eq!((taken.status.as_u16(), taken.json()), (200, json!({ "status": "stored" })));
    until(&side, call, "completed").await;
    let kinds: Vec<String> =
        sqlx::query_scalar("select kind from call_events where call_id = $1 and source = 'webhook' order by id")
            .bind(call)
            .fetch_all(&side.db)
            .await
            .unwrap();
    assert_eq!(kinds, ["webhook_received", "webhook", "status"]);
    let row: (Option<Uuid>, bool, Option<String>, String) =
        sqlx::query_as("select attempt_id, applied_at is not null, error, verified_by from webhook_inbox")
            .fetch_one(&side.db)
            .await
            .unwrap();
    assert_eq!(row, (Some(attempt), true, None, "hmac".into()));
}

#[tokio::test]
async fn an_exact_repeat_changes_nothing() {
    let side = Side::start().await;
    let (call, attempt) = placed(&side, "a", "+14155550123", "bland-1").await;
    let body = ended("bland-1", Some(attempt));
    post(&side, "/webhooks/bland_ai", body.clone()).await;
    until(&side, call, "completed").await;
    let events = side.count("select count(*) from call_events").await;
    let again = post(&side, "/webhooks/bland_ai", body).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, json!({ "status": "repeat" })));
    assert_eq!(side.webhooks.sweep_once(Duration::ZERO).await.unwrap(), 0);
    assert_eq!(side.count("select count(*) from call_events").await, events);
    assert_eq!(side.count("select count(*) from webhook_inbox").await, 1);
}

#[tokio::test]
async fn a_bad_signature_leaves_no_trace() {
    let side = Side::start().await;
    let (call, attempt) = placed(&side, "a", "+14155550123", "bland-1").await;
    let body = ended("bland-1", Some(attempt));
    let forged = side.request(Method::POST, "/webhooks/bland_ai", None).header("X-Webhook-Signature", sign(b"other"));
    assert_eq!(reply(forged.body(body.clone())).await.problem(401, "bad_signature"), "the signature does not match");
    let bare = side.request(Method::POST, "/webhooks/bland_ai", None).body(body);
    assert_eq!(reply(bare).await.problem(401, "bad_signature"), "the signature header is missing");
    assert_eq!(side.count("select count(*) from webhook_inbox").await, 0);
    assert_eq!(status(&side, call).await, "placed");
}

#[tokio::test]
async fn without_a_secret_nothing_is_believed() {
    let side = Side::with(&database().await, &[("VOXD_PLATFORMS__BLAND_AI__WEBHOOK_SECRET", "")]).await;
    let refused = post(&side, "/webhooks/bland_ai", "{}").await;
    assert_eq!(refused.problem(401, "bad_signature"), "no webhook secret is configured for this platform");
}

#[tokio::test]
async fn a_signed_body_that_cannot_be_read_is_kept_and_refused() {
    let side = Side::start().await;
    for _ in 0..2 {
        let refused = post(&side, "/webhooks/bland_ai", "no json").await;
        assert_eq!(refused.problem(400, "unreadable"), "the body is not JSON");
    }
    let row: (Vec<u8>, Option<String>, bool) =
        sqlx::query_as("select body, error, applied_at is not null from webhook_inbox")
            .fetch_one(&side.db)
            .await
            .unwrap();
    assert_eq!(row, (b"no json".to_vec(), Some("the body is not JSON".into()), true));
}

#[tokio::test]
async fn a_platform_that_is_off_or_unknown_is_not_found() {
    let side = Side::with(&database().await, &[("BLAND_AI_API_KEY", "")]).await;
    let off = post(&side, "/webhooks/bland_ai", "{}").await.problem(404, "platform_off");
    assert!(off.starts_with("platform \"bland_ai\" is off: "), "{off}");
    let unknown = post(&side, "/webhooks/nobody", "{}").await.problem(404, "platform_off");
    let mut names: Vec<&str> = voxd::platforms::registry::REGISTERED.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(unknown, format!("platform \"nobody\" is not supported, expected one of: {}", names.join(", ")));
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
    let side = Side::start().await;
    let mut body = ended("bland-1", None).into_bytes();
    body.resize(LIMIT, b' ');
    assert_eq!(post(&side, "/webhooks/bland_ai", body.clone()).await.status, 200);
    body.push(b' ');
    assert_eq!(
        post(&side, "/webhooks/bland_ai", body).await.problem(413, "too_large"),
        "the body has more than 262144 bytes"
    );
    assert_eq!(side.count("select max(length(body))::bigint from webhook_inbox").await, LIMIT as i64);
}

#[tokio::test]
async fn the_address_tells_the_attempt_where_the_body_does_not() {
    let side = Side::start().await;
    let key = side.key(Role::Service, "crm").await;
    let call = side.call(&key, "early", "+14155550123").await;
    // The answer to the create request is not there yet, so the platform's id is unknown to us.
    let attempt = side.attempt(call, "sending", None).await;
    let event = json!({ "call_id": "bland-9", "category": "call", "message": "Call connected", "log_level": "info" });
    assert_eq!(post(&side, &format!("/webhooks/bland_ai/{attempt}/"), event.to_string()).await.status, 200);
    until(&side, call, "in_progress").await;
}

#[tokio::test]
async fn the_signed_body_comes_before_the_address() {
    let side = Side::start().await;
    let (right, attempt) = placed(&side, "right", "+14155550123", "bland-1").await;
    let (wrong, other) = placed(&side, "wrong", "+14155550124", "bland-2").await;
    post(&side, &format!("/webhooks/bland_ai/{other}"), ended("bland-1", Some(attempt))).await;
    until(&side, right, "completed").await;
    assert_eq!(status(&side, wrong).await, "placed");
    let noted: Value =
        sqlx::query_scalar("select detail from call_events where call_id = $1 and kind = 'webhook_received'")
            .bind(right)
            .fetch_one(&side.db)
            .await
            .unwrap();
    assert_eq!(noted["address_attempt_id"], json!(other));
    // Also where the body only names the platform's call.
    post(&side, &format!("/webhooks/bland_ai/{attempt}"), ended("bland-2", None)).await;
    until(&side, wrong, "completed").await;
}

#[tokio::test]
async fn a_webhook_about_no_call_of_ours_is_kept_with_that_word() {
    let side = Side::start().await;
    assert_eq!(post(&side, "/webhooks/bland_ai/nonsense", ended("bland-of-another", None)).await.status, 200);
    let error = eventually("it is judged", async || {
        let query = "select error from webhook_inbox where applied_at is not null";
        sqlx::query_scalar::<_, Option<String>>(query).fetch_optional(&side.db).await.unwrap()
    })
    .await;
    assert_eq!(error.as_deref(), Some("no attempt of ours has this id"));
}

#[tokio::test]
async fn what_a_crash_left_unapplied_is_swept_up_once() {
    let side = Side::start().await;
    let inbox = Uuid::now_v7();
    let (call, attempt) = placed(&side, "a", "+14155550123", "bland-1").await;
    let update = json!([{ "attempt_id": attempt, "platform_call_id": "bland-1", "state": "completed", "reason": null, "raw_status": null, "occurred_at": null, "facts": {
        "duration_seconds": 3, "cost": null, "answered_by": null, "ended_by": null, "started_at": null, "ended_at": null, "recording_url": null,
        "transcript": null, "summary": null, "disposition": null, "error_message": null } }]);
    sqlx::query(
        "insert into webhook_inbox (id, platform, body, verified_by, updates) values ($1, 'bland_ai', 'x', 'hmac', $2)",
    )
    .bind(Uuid::now_v7())
    .bind(&update)
    .execute(&side.db)
    .await
    .unwrap();
    assert_eq!(side.webhooks.sweep_once(Duration::from_secs(60)).await.unwrap(), 0, "somebody may still be at it");
    let both = tokio::join!(side.webhooks.sweep_once(Duration::ZERO), side.webhooks.sweep_once(Duration::ZERO));
    assert_eq!(both.0.unwrap() + both.1.unwrap(), 1, "two replicas, one application");
    let late = side.store.apply_webhook(inbox, Duration::from_secs(60)).await.unwrap();
    assert!(late.is_none(), "a replica that comes too late changes nothing: {late:?}");
    assert_eq!(status(&side, call).await, "completed");
    assert_eq!(side.count("select count(*) from call_events where kind = 'webhook'").await, 1);
}

#[tokio::test]
async fn a_webhook_that_the_ledger_refuses_does_not_hold_the_others_up() {
    let side = Side::start().await;
    let (call, attempt) = placed(&side, "a", "+14155550123", "bland-1").await;
    for (body, currency) in [("x", "not a currency"), ("y", "USD")] {
        let update = json!([{ "attempt_id": attempt, "platform_call_id": "bland-1", "state": "completed", "reason": null, "raw_status": null, "occurred_at": null, "facts": {
            "duration_seconds": null, "cost": { "amount": "1", "currency": currency }, "answered_by": null, "ended_by": null, "started_at": null, "ended_at": null,
            "recording_url": null, "transcript": null, "summary": null, "disposition": null, "error_message": null } }]);
        sqlx::query("insert into webhook_inbox (id, platform, body, verified_by, updates) values ($1, 'bland_ai', convert_to($3, 'UTF8'), 'hmac', $2)")
            .bind(Uuid::now_v7())
            .bind(&update)
            .bind(body)
            .execute(&side.db)
            .await
            .unwrap();
    }
    assert_eq!(side.webhooks.sweep_once(Duration::ZERO).await.unwrap(), 2);
    assert_eq!(side.webhooks.sweep_once(Duration::ZERO).await.unwrap(), 0, "it does not come up again");
    assert_eq!(status(&side, call).await, "completed");
    assert_eq!(side.count("select count(*) from webhook_inbox where error like 'Postgres refused it%'").await, 1);
}

#[tokio::test]
async fn while_postgres_is_away_the_platform_is_asked_to_come_again() {
    let dead = "postgres://nobody@127.0.0.1:1/none";
    let side = Side::with(dead, &[("VOXD_DATABASE__CONNECT_TIMEOUT", "300ms")]).await;
    let refused = post(&side, "/webhooks/bland_ai", ended("bland-1", None)).await;
    assert_eq!(refused.problem(503, "unavailable"), "the database is not available; try again");
}
