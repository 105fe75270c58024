//! Outcome events of real calls: to the outcome queue, and signed to the address that the job names.

use std::collections::BTreeSet;

use aws_lc_rs::hmac;
use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::{Value, json};

use crate::harness::{Receiver, World, WorldOptions, call_event, create_queue, eventually, number, status};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn world(settings: &[(&str, &str)]) -> World {
    let always = [
        ("VOXD_OUTCOME_QUEUE", "outcomes"),
        ("VOXD_OUTCOMES__SIGNING_SECRET", SECRET),
        ("VOXD_OUTCOMES__RETRY_INITIAL", "100ms"),
    ];
    let environment = always.iter().chain(settings).map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let world = World::with(WorldOptions { environment, ..WorldOptions::default() }).await;
    create_queue(&world.sqs, "outcomes", json!({})).await;
    world
}

async fn until_delivered(world: &World) {
    eventually("the outbox is empty", async || {
        let open = "select count(*) from outbox where delivered_at is null and abandoned_at is null";
        (world.count(open).await == 0).then_some(())
    })
    .await;
}

fn types<'a>(events: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    let name = |event: &Value| {
        let kind = event["type"].as_str().unwrap();
        match event["data"]["status"].as_str().filter(|_| kind == "voice.call.status_changed") {
            Some(status) => status.to_owned(),
            None => kind.to_owned(),
        }
    };
    let mut names: Vec<String> = events.into_iter().map(name).collect();
    names.sort();
    names
}

/// As a receiver's library of the Standard Webhooks scheme does it.
fn verify(headers: &HeaderMap, body: &Bytes) -> String {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let key = STANDARD.decode(SECRET.trim_start_matches("whsec_")).unwrap();
    let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed);
    assert_eq!(header("webhook-signature"), format!("v1,{}", STANDARD.encode(tag)));
    let age = voxd::clock::now().timestamp() - timestamp.parse::<i64>().unwrap();
    assert!((0..300).contains(&age), "signed {age} s ago");
    id
}

#[tokio::test]
async fn the_outcome_queue_is_told_of_every_change_and_of_every_rejected_job() {
    let world = world(&[]).await;
    let _daemon = world.daemon().await;
    world.enqueue(&call_event("good", &number(0, "0100"))).await;
    let mut unsendable = call_event("unsendable", &number(1, "0100"));
    unsendable["data"]["voice_config"] = json!("nobody-stored-this");
    world.enqueue(&unsendable).await;
    let mut bad = call_event("bad", &number(2, "0100"));
    bad["data"]["leed"] = json!({});
    world.enqueue(&bad).await;
    world.until_status("good", "completed").await;
    world.until_status("unsendable", "rejected").await;
    world.until_empty("jobs").await;
    until_delivered(&world).await;

    let events: Vec<Value> = world
        .receive("outcomes")
        .await
        .iter()
        .map(|message| serde_json::from_str(message["Body"].as_str().unwrap()).unwrap())
        .collect();
    let about = |id: &'static str| events.iter().filter(move |event| event["data"]["id"] == id);
    let good = types(about("good"));
    for wanted in ["completed", "sending", "voice.call.finished"] {
        assert_eq!(good.iter().filter(|name| *name == wanted).count(), 1, "{wanted} in {good:?}");
    }
    assert_eq!(types(about("unsendable")), ["rejected", "voice.call.finished"], "also where acceptance was the end");
    let rejected: Vec<_> = events.iter().filter(|event| event["type"] == "voice.job.rejected").collect();
    assert_eq!(rejected.len(), 1);
    let data = &rejected[0]["data"];
    assert_eq!(
        (&data["reason"], &data["field_path"], &data["id"]),
        (&json!("schema"), &json!("/data/leed"), &json!("bad")),
        "{data}"
    );

    let ids: BTreeSet<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len(), "each event has an id of its own");
    for event in &events {
        assert_eq!((&event["specversion"], &event["source"]), (&json!("1.0"), &json!("voxd")), "{event}");
    }
    let finished = about("good").find(|event| event["type"] == "voice.call.finished").unwrap();
    let data = &finished["data"];
    assert_eq!(data["call_id"], json!(world.call_id("good").await));
    assert_eq!((&data["status"], &data["metadata"]["campaign_id"]), (&json!("completed"), &json!("123")), "{data}");
    assert_eq!((&data["source"], &data["lead_id"]), (&json!("test"), &json!("lead-good")), "{data}");
    assert!(data["duration_seconds"].is_number() && data["cost_amount"].is_string(), "{data}");
    assert_eq!(data["cost_source"], "reported", "{data}");
}

#[tokio::test]
async fn the_jobs_address_gets_signed_events_that_keep_their_id_over_retries() {
    let world = world(&[("VOXD_EGRESS__ALLOW_PRIVATE_ADDRESSES", "true")]).await;
    let _daemon = world.daemon().await;
    // Fails at first.
    let receiver = Receiver::start(|n| status(if n < 2 { 500 } else { 204 })).await;
    let mut event = call_event("told", &number(0, "0100"));
    event["data"]["voice_config"]["webhook_config"] = json!({ "url": receiver.url });
    world.enqueue(&event).await;
    world.until_status("told", "completed").await;
    until_delivered(&world).await;

    let seen = receiver.seen();
    let ids: Vec<String> = seen.iter().map(|(headers, body)| verify(headers, body)).collect();
    let rows = world.count("select count(*) from outbox where destination = 'url' and delivered_at is not null").await;
    let distinct: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len() as i64, rows, "what failed came again under its own id");
    assert_eq!(seen.len() as i64, rows + 2, "each once, but for the two that failed");
    for (id, (_, body)) in ids.iter().zip(&seen) {
        let event: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(event["id"], **id);
        let repeats: BTreeSet<&Bytes> =
            ids.iter().zip(&seen).filter(|(other, _)| *other == id).map(|(_, (_, body))| body).collect();
        assert_eq!(repeats.len(), 1, "byte for byte the same");
    }
    let last: Vec<Value> = seen.iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect();
    assert!(last.iter().any(|event| event["type"] == "voice.call.finished" && event["data"]["status"] == "completed"));
}

#[tokio::test]
async fn a_private_address_is_not_reached_unless_it_is_allowed() {
    let world = world(&[]).await;
    let _daemon = world.daemon().await;
    let receiver = Receiver::start(|_| status(204)).await;
    let mut event = call_event("private", &number(0, "0100"));
    event["data"]["voice_config"]["webhook_config"] = json!({ "url": receiver.url.replace("http:", "https:") });
    world.enqueue(&event).await;
    world.until_status("private", "completed").await;
    until_delivered(&world).await;
    assert_eq!(receiver.seen().len(), 0);
    let errors: Vec<(String,)> =
        sqlx::query_as("select distinct last_error from outbox where destination = 'url' and abandoned_at is not null")
            .fetch_all(&world.db)
            .await
            .unwrap();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].0.contains("private") || errors[0].0.contains("loopback"), "{errors:?}");
    assert_eq!(
        world.count("select count(*) from outbox where destination = 'url' and delivered_at is not null").await,
        0
    );
}
