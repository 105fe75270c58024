//! Calls that come by the API, stored voice configurations, and what is kept of a call.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use voxd::sim::platform::Script;

use crate::harness::{World, call_event, number, reply};

fn message(to: &str) -> Value {
    let mut data = call_event("unused", to)["data"].clone();
    data["channel"] = json!("voice");
    data
}

fn id(body: &Value, name: &str) -> Uuid {
    body[name].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {name} in {body}"))
}

#[tokio::test]
async fn a_message_by_the_api_becomes_one_call_however_often_it_is_sent() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let service = world.api(&daemon, "service").await;
    let sent = message(&number(0, "0100"));
    let first = service.send("reminder-1", &sent).await;
    assert_eq!(first.status, 202, "{:?}", first.body);
    let again = service.send("reminder-1", &sent).await;
    assert_eq!((again.status, &again.body), (202, &first.body));
    world.until_status("reminder-1", "completed").await;
    assert_eq!(world.call_id("reminder-1").await, id(&first.body, "call_id"));
    let thread: Uuid = world
        .of("reminder-1", "select t.id from thread_messages t join calls c on c.id = t.call_id where event_id = $1")
        .await;
    assert_eq!(thread, id(&first.body, "thread_message_id"));
    assert_eq!(world.bland.journal().creates().len(), 1);

    let mut other = sent.clone();
    other["content"] = json!("Something else.");
    let conflict = service.send("reminder-1", &other).await;
    assert_eq!((conflict.status, conflict.content_type.as_str()), (409, "application/problem+json"));
    assert_eq!(world.count("select count(*) from calls").await, 1);
}

#[tokio::test]
async fn a_message_that_is_wrong_is_refused_field_by_field_and_only_a_services_key_opens() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let service = world.api(&daemon, "service").await;
    let mut wrong = message("415-555-0123");
    wrong["contnt"] = json!("x");
    let refused = service.send("wrong", &wrong).await;
    assert_eq!((refused.status, refused.content_type.as_str()), (422, "application/problem+json"));
    let pointers: Vec<&str> =
        refused.body["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert!(pointers.contains(&"/contnt"), "{pointers:?}");

    let good = message(&number(0, "0100"));
    for (role, status) in [("user", 403), ("operator", 403)] {
        let api = world.api(&daemon, role).await;
        assert_eq!(api.send("n", &good).await.status, status, "{role}");
    }
    let url = format!("{}/api/messages/", daemon.base_url);
    let nobody = reply(reqwest::Client::new().post(url).header("Idempotency-Key", "n").json(&good)).await;
    assert_eq!((nobody.status, nobody.content_type.as_str()), (401, "application/problem+json"));
    assert_eq!(world.count("select count(*) from calls").await, 0);
}

#[tokio::test]
async fn a_stored_configuration_is_taken_by_name_as_it_was_at_acceptance() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let operator = world.api(&daemon, "operator").await;
    let stored = |minutes: u32| json!({ "platform": "bland_ai", "max_duration": minutes, "content": "Stored words." });
    assert_eq!(operator.put("/api/voice-configs/reminder/", &stored(3)).await.status, 201);
    let mut event = call_event("by-name", &number(0, "0100"));
    event["data"]["voice_config"] = json!("reminder");
    event["data"].as_object_mut().unwrap().remove("content");
    // The second waits for the line, which the first holds until it is told to end.
    let line = number(0, "0100");
    let long = Script { talk: Duration::from_secs(3_600_000), ..Script::default() };
    world.bland.set_scripts(&line, vec![long, Script::default()]);
    let mut later = event.clone();
    later["id"] = json!("later");
    world.enqueue(&event).await;
    world.until_status("by-name", "placed").await;
    world.enqueue(&later).await;
    world.until_was("later", "scheduled", "number_busy").await;
    assert_eq!(operator.put("/api/voice-configs/reminder/", &stored(9)).await.status, 200);
    let first = world.call_id("by-name").await;
    assert_eq!(operator.post(&format!("/api/calls/{first}/cancel/"), &json!({})).await.status, 202);
    world.until_status("later", "completed").await;
    for record in world.bland.call_ids().iter().filter_map(|id| world.bland.record(id)) {
        assert_eq!(record["max_duration"], 3, "the edit came after both were accepted");
        assert!(record["concatenated_transcript"].as_str().unwrap().contains("Stored words."), "{record}");
    }
    event["id"] = json!("after");
    event["data"]["lead"]["phone_number"] = json!(number(2, "0100"));
    world.enqueue(&event).await;
    world.until_status("after", "completed").await;
    let last = world.bland.record(world.bland.call_ids().last().unwrap()).unwrap();
    assert_eq!(last["max_duration"], 9);
}

#[tokio::test]
async fn what_the_platform_tells_of_a_call_stands_in_its_columns() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let operator = world.api(&daemon, "operator").await;
    let mut event = call_event("told", &number(0, "0100"));
    event["data"]["voice_config"]["record_call"] = json!(true);
    world.enqueue(&event).await;
    world.until_status("told", "completed").await;
    let row: (Option<i32>, Option<String>, Option<String>, Option<String>, Option<String>, bool, bool) = sqlx::query_as(
        "select duration_seconds, cost_amount::text, cost_currency, cost_source, answered_by, recording_url is not null,
                transcript is not null from call_attempts",
    )
    .fetch_one(&world.db)
    .await
    .unwrap();
    assert_eq!(row.0, Some(6));
    assert_eq!(row.1.as_deref().map(|amount| amount.parse::<f64>().unwrap()), Some(0.015));
    assert_eq!((row.2.as_deref(), row.3.as_deref(), row.4.as_deref()), (Some("USD"), Some("reported"), Some("human")));
    assert_eq!((row.5, row.6), (true, true), "recording and transcript");
    // Our ids travel in the platform's metadata.
    let record = world.bland.record(&world.bland.call_ids()[0]).unwrap();
    assert_eq!(record["metadata"]["voxd_call_id"], json!(world.call_id("told").await));
    let attempt: Uuid =
        world.of("told", "select a.id from call_attempts a join calls c on c.id = a.call_id where event_id = $1").await;
    assert_eq!(record["metadata"]["voxd_attempt_id"], json!(attempt));

    let shown = operator.get(&format!("/api/calls/{}/", world.call_id("told").await)).await;
    assert_eq!((shown.status, &shown.body["status"]), (200, &json!("completed")));
    assert!(!shown.body.to_string().contains(&number(0, "0100")), "numbers are masked: {}", shown.body);
    let listed = operator.get("/api/calls/?status=completed&metadata.campaign_id=123").await;
    assert_eq!(listed.body["items"].as_array().map(Vec::len), Some(1), "{}", listed.body);
    assert_eq!(listed.body["next_cursor"], Value::Null);
    let thread = operator.get("/api/thread-messages/?lead_id=lead-told").await;
    assert_eq!(thread.body["items"][0]["content"], "Hello Ada, this is a reminder.", "{}", thread.body);
}
