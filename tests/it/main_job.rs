//! The main job: an event on a queue becomes one phone call, and its story stands in Postgres.

use serde_json::json;

use crate::harness::{World, call_event, eventually, number};

#[tokio::test]
async fn an_event_becomes_one_call_and_its_outcome_is_recorded() {
    let world = World::new().await;
    let _daemon = world.daemon().await;
    world.enqueue(&call_event("one", &number(0, "0100"))).await;
    world.until_status("one", "completed").await;

    let creates = world.creates_by_attempt();
    assert_eq!(creates.values().copied().collect::<Vec<_>>(), [1], "one request for the one attempt");
    // The call's end may be told before the answer to the create request is recorded.
    let recorded = [("completed".to_owned(), Some("placed".to_owned()), "first".to_owned())];
    eventually("the answer is recorded", async || (world.attempts("one").await == recorded).then_some(())).await;
    assert_eq!(
        world.count("select count(*) from thread_messages where status = 'completed' and lead_id = 'lead-one'").await,
        1
    );
    let story: Vec<(String,)> = sqlx::query_as("select to_status from call_events where kind = 'status' order by id")
        .fetch_all(&world.db)
        .await
        .unwrap();
    let story: Vec<&str> = story.iter().map(|(status,)| status.as_str()).collect();
    assert_eq!((story.first(), story.last()), (Some(&"accepted"), Some(&"completed")));
    eventually("the queue is empty", async || (world.depth("jobs").await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_repeat_changes_nothing_and_a_reused_key_is_refused() {
    let world = World::new().await;
    let _daemon = world.daemon().await;
    let event = call_event("twice", &number(0, "0100"));
    world.enqueue(&event).await;
    world.enqueue(&event).await;
    world.until_status("twice", "completed").await;
    let mut other = event.clone();
    other["data"]["content"] = json!("Something else.");
    world.enqueue(&other).await;
    eventually("the reused key is rejected", async || {
        (world.count("select count(*) from rejected_messages where reason = 'key_reused' and event_id = 'twice'").await
            == 1)
            .then_some(())
    })
    .await;
    eventually("the queue is empty", async || (world.depth("jobs").await == 0).then_some(())).await;
    assert_eq!(world.depth("jobs-dlq").await, 1);
    assert_eq!(world.count("select count(*) from calls").await, 1);
    assert_eq!(world.creates_by_attempt().len(), 1);
}
