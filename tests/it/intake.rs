//! What comes in by the queue: order within a batch, envelopes, and messages that are no jobs.

use serde_json::{Value, json};
use voxd::queue::Outgoing;

use crate::harness::{World, call_event, eventually, number};

#[tokio::test]
async fn a_cancellation_in_the_batch_of_its_call_comes_after_it() {
    let world = World::new().await;
    let mut call = call_event("soon-off", &number(0, "0100"));
    call["data"]["not_before"] = json!("2099-01-01T00:00:00Z");
    let cancel = json!({
        "source": "test", "id": "off", "type": "voice.call.cancel_requested", "data": { "source": "test", "id": "soon-off" }
    });
    // Both are there before the first receive.
    let batch = [Outgoing::new(call.to_string()), Outgoing::new(cancel.to_string())];
    assert!(world.producer().send_batch(&batch).await.iter().all(Result::is_ok));
    let _daemon = world.daemon().await;
    world.until_status("soon-off", "cancelled").await;
    assert!(world.creates_by_attempt().is_empty());
}

#[tokio::test]
async fn a_call_that_ends_as_it_is_accepted_tells_its_outcome() {
    let world = World::new().await;
    let _daemon = world.daemon_with(&[("VOXD_OUTCOME_QUEUE", "outcomes")]).await;
    let mut nowhere = call_event("nowhere", &number(0, "0100"));
    nowhere["data"]["voice_config"] = json!("nobody-stored-this");
    let mut too_late = call_event("too-late", &number(1, "0100"));
    too_late["data"]["expires_at"] = json!("2001-01-01T00:00:00Z");
    for (event, id, status) in [(nowhere, "nowhere", "rejected"), (too_late, "too-late", "expired")] {
        world.enqueue(&event).await;
        world.until_status(id, status).await;
        let told: Vec<(String, String)> = sqlx::query_as(
            "select type, event->'data'->>'status' from outbox where event->'data'->>'id' = $1 order by type",
        )
        .bind(id)
        .fetch_all(&world.db)
        .await
        .unwrap();
        let told: Vec<_> = told.iter().map(|(kind, status)| (kind.as_str(), status.as_str())).collect();
        assert_eq!(told, [("voice.call.finished", status), ("voice.call.status_changed", status)]);
    }
}

#[tokio::test]
async fn every_envelope_is_taken_and_every_bad_message_is_kept_with_its_reason() {
    let world = World::new().await;
    let sns = |event: &Value| {
        json!({ "Type": "Notification", "TopicArn": "arn:aws:sns:us-east-1:1:t", "Message": event.to_string() })
            .to_string()
    };
    let bridge = |event: &Value| {
        json!({ "version": "0", "id": event["id"], "source": "test", "detail-type": event["type"], "detail": event["data"] })
            .to_string()
    };
    let event = |n: u32| call_event(&format!("good-{n}"), &number(n, "0100"));
    let mut bad = event(9);
    bad["data"]["lead"]["phone_nmber"] = json!("+14155550123");
    let mut strange = event(8);
    strange["type"] = json!("voice.call.reqested");
    let batch =
        [event(0).to_string(), sns(&event(1)), bridge(&event(2)), sns(&bad), strange.to_string(), "hello".into()];
    let batch = batch.map(Outgoing::new);
    assert!(world.producer().send_batch(&batch).await.iter().all(Result::is_ok));
    let _daemon = world.daemon().await;
    for n in 0..3 {
        world.until_status(&format!("good-{n}"), "completed").await;
    }
    eventually("the queue is empty", async || (world.depth("jobs").await == 0).then_some(())).await;
    assert_eq!(world.depth("jobs-dlq").await, 3);
    let rejected: Vec<(String, String, Option<String>)> =
        sqlx::query_as("select reason, field_path, event_id from rejected_messages order by reason")
            .fetch_all(&world.db)
            .await
            .unwrap();
    let row = |reason: &str, path: &str, id: Option<&str>| (reason.to_owned(), path.to_owned(), id.map(str::to_owned));
    assert_eq!(
        rejected,
        [
            row("not_json", "", None),
            row("schema", "/Message/data/lead/phone_nmber", Some("good-9")),
            row("unknown_type", "/type", Some("good-8")),
        ]
    );
}
