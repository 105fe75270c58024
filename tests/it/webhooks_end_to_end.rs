//! Webhooks through the real port: what the simulated platform sends, and what nobody should.

use std::time::Duration;

use aws_lc_rs::hmac;
use serde_json::json;
use voxd::sim::bland::BlandOptions;
use voxd::sim::platform::{Script, WebhookFault};

use crate::harness::{Daemon, Reply, World, WorldOptions, call_event, eventually, number, reply};

const LARGEST: usize = 262_144;

fn signature(body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, BlandOptions::default().webhook_secret.as_bytes());
    hmac::sign(&key, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn post(daemon: &Daemon, body: Vec<u8>, signature: Option<&str>) -> Reply {
    let mut request = reqwest::Client::new().post(format!("{}/webhooks/bland_ai", daemon.base_url));
    if let Some(signature) = signature {
        request = request.header("x-webhook-signature", signature);
    }
    reply(request.body(body)).await
}

pub async fn post_signed(daemon: &Daemon, body: impl ToString) -> u16 {
    let body = body.to_string().into_bytes();
    let signature = signature(&body);
    post(daemon, body, Some(&signature)).await.status
}

/// A signed event about no call of ours, as long as is asked for.
fn filler(bytes: usize) -> Vec<u8> {
    let start = r#"{"call_id":"of-nobody","category":"call","message":""#;
    let end = "\"}";
    format!("{start}{}{end}", "x".repeat(bytes - start.len() - end.len())).into_bytes()
}

#[tokio::test]
async fn webhooks_that_are_doubled_late_reordered_early_or_forged_lead_to_the_same_end() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let cases = [
        ("lost", "0140"),
        ("doubled", "0141"),
        ("late", "0142"),
        ("reordered", "0143"),
        ("early", "0144"),
        ("forged", "0145"),
    ];
    for (n, (id, digits)) in cases.iter().enumerate() {
        let mut event = call_event(id, &number(n as u32, digits));
        event["data"]["voice_config"]["webhook_config"] = json!({ "events": ["queue", "call"] });
        world.enqueue(&event).await;
    }
    for (id, _) in cases {
        world.until_status(id, "completed").await;
        let attempts = world.attempts(id).await;
        assert_eq!(attempts.len(), 1, "{id}");
        assert_eq!(attempts[0].0, "completed", "{id}");
        let told: bool = world
            .of(id, "select cost_amount is not null and answered_by = 'human' from call_attempts a join calls c on c.id = a.call_id where event_id = $1")
            .await;
        assert!(told, "{id}: its facts");
    }
    assert_eq!(world.bland.journal().creates().len(), cases.len());
    // The poller and not a webhook told of the call whose webhooks were lost.
    let told_by: Vec<(String,)> = sqlx::query_as(
        "select distinct e.source from call_events e join calls c on c.id = e.call_id where event_id = 'lost' and to_status = 'completed'",
    )
    .fetch_all(&world.db)
    .await
    .unwrap();
    assert_eq!(told_by, [("poller".to_owned(),)]);
    // Both forged ones (one with a wrong signature, one with none) were refused, and nothing of them is kept.
    eventually("both forged ones are counted", async || {
        (daemon.metric("voxd_webhooks_total", &["result=\"bad_signature\""]).await == 2.0).then_some(())
    })
    .await;
    let lies =
        world.count("select count(*) from webhook_inbox where convert_from(body, 'UTF8') like '%SIP 404%'").await;
    assert_eq!(lies, 0);
    eventually("the repeat is counted", async || {
        (daemon.metric("voxd_webhooks_total", &["result=\"duplicate\""]).await >= 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_webhook_gets_the_answer_that_it_deserves() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let inbox = "select count(*) from webhook_inbox";

    let body = filler(100);
    assert_eq!(post(&daemon, body.clone(), None).await.status, 401);
    let forged = post(&daemon, body.clone(), Some(&"0".repeat(64))).await;
    assert_eq!((forged.status, forged.content_type.as_str()), (401, "application/problem+json"));
    assert_eq!(world.count(inbox).await, 0, "nothing of a forged one is kept");

    let good = signature(&body);
    for _ in 0..2 {
        assert_eq!(post(&daemon, body.clone(), Some(&good)).await.status, 200);
        assert_eq!(world.count(inbox).await, 1, "a repeat changes nothing");
    }
    let largest = filler(LARGEST);
    let signed = signature(&largest);
    assert_eq!(post(&daemon, largest, Some(&signed)).await.status, 200);
    let too_large = filler(LARGEST + 1);
    let signed = signature(&too_large);
    assert_eq!(post(&daemon, too_large, Some(&signed)).await.status, 413);
    assert_eq!(world.count(inbox).await, 2);

    let unreadable = b"not json".to_vec();
    let signed = signature(&unreadable);
    let refused = post(&daemon, unreadable, Some(&signed)).await;
    assert_eq!((refused.status, refused.content_type.as_str()), (400, "application/problem+json"));
    let kept: (Vec<u8>, bool) =
        sqlx::query_as("select body, applied_at is not null from webhook_inbox where error is not null")
            .fetch_one(&world.db)
            .await
            .unwrap();
    assert_eq!(kept, (b"not json".to_vec(), true));
    assert_eq!(daemon.metric("voxd_webhooks_total", &["platform=\"bland_ai\"", "result=\"unreadable\""]).await, 1.0);

    for platform in ["vapi", "nobody"] {
        let url = format!("{}/webhooks/{platform}", daemon.base_url);
        assert_eq!(reply(reqwest::Client::new().post(url).body("{}")).await.status, 404, "{platform}");
    }
}

#[tokio::test]
async fn a_late_fact_fills_columns_and_a_terminal_status_is_never_left() {
    // Webhooks are ours to send, and nobody polls.
    let environment = vec![("VOXD_POLLER__INTERVAL".to_owned(), "1h".to_owned())];
    let world = World::with(WorldOptions { environment, ..WorldOptions::default() }).await;
    let daemon = world.daemon().await;
    let to = number(0, "0100");
    world.bland.set_script(&to, Script::with_webhooks(WebhookFault::Lost));
    world.enqueue(&call_event("late", &to)).await;
    world.until_status("late", "placed").await;
    let id = world.bland.call_ids().remove(0);
    let whole = eventually("the call is over at the platform", async || {
        world.bland.record(&id).filter(|record| record["status"] == "completed")
    })
    .await;

    let mut bare = whole.clone();
    for name in ["price", "answered_by", "summary", "transcripts", "concatenated_transcript", "corrected_duration"] {
        bare.as_object_mut().unwrap().remove(name);
    }
    assert_eq!(post_signed(&daemon, &bare).await, 200);
    world.until_status("late", "completed").await;
    let facts =
        "select cost_amount is not null and answered_by is not null and transcript is not null and summary is not null
                 from call_attempts a join calls c on c.id = a.call_id where event_id = $1";
    assert!(!world.of::<bool>("late", facts).await);

    assert_eq!(post_signed(&daemon, &whole).await, 200);
    eventually("the late facts are filled in", async || world.of::<bool>("late", facts).await.then_some(())).await;

    let mut lie = whole.clone();
    lie["status"] = json!("failed");
    lie["error_message"] = json!("Call failed. SIP 404: The number was not found.");
    assert_eq!(post_signed(&daemon, &lie).await, 200);
    eventually("all webhooks are applied", async || {
        (world.count("select count(*) from webhook_inbox where applied_at is null").await == 0).then_some(())
    })
    .await;
    assert_eq!(world.status("late").await.unwrap().0, "completed");
    assert_eq!(world.attempts("late").await[0].0, "completed");
    assert!(world.of::<bool>("late", facts).await, "what was known stays");
    let finished = world.story("late").await.into_iter().filter(|(status, _)| status == "completed").count();
    assert_eq!(finished, 1);
}

#[tokio::test]
async fn without_a_public_address_no_webhook_is_asked_for_and_status_comes_by_polling() {
    let world = World::with(WorldOptions { without_webhooks: true, ..WorldOptions::default() }).await;
    let _daemon = world.daemon().await;
    world.enqueue(&call_event("polled", &number(0, "0100"))).await;
    world.until_status("polled", "completed").await;
    assert_eq!(world.bland.webhooks_sent(), 0);
    assert_eq!(world.count("select count(*) from webhook_inbox").await, 0);
}

#[tokio::test]
async fn a_webhook_address_carries_the_attempt() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let to = number(0, "0100");
    world.bland.set_script(&to, Script { talk: Duration::from_secs(3_600_000), ..Script::default() });
    world.enqueue(&call_event("addressed", &to)).await;
    world.until_status("addressed", "placed").await;
    let attempt: uuid::Uuid = world
        .of("addressed", "select a.id from call_attempts a join calls c on c.id = a.call_id where event_id = $1")
        .await;
    assert_eq!(
        world.bland.webhook_address(&world.bland.call_ids()[0]).unwrap(),
        format!("{}/webhooks/bland_ai/{attempt}", daemon.base_url)
    );
}
