//! What producers and operators decide: cancelling, and settling what the machine must not.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use voxd::queue::Outgoing;
use voxd::sim::bland::BlandOptions;
use voxd::sim::platform::{Answer, Script, WebhookFault};

use crate::harness::{Api, World, WorldOptions, call_event, eventually, number};

fn waiting(id: &str, n: u32) -> Value {
    let mut event = call_event(id, &number(n, "0100"));
    event["data"]["not_before"] = json!("2099-01-01T00:00:00Z");
    event
}

fn cancel(id: &str, data: Value) -> Value {
    json!({ "source": "test", "id": id, "type": "voice.call.cancel_requested", "data": data })
}

fn never_ending() -> Script {
    Script { talk: Duration::from_secs(3_600_000), ..Script::default() }
}

/// The stops that the platform was asked for.
fn stops(world: &World) -> Vec<String> {
    let entries = world.bland.journal().entries();
    entries.into_iter().filter(|entry| entry.path.ends_with("/stop")).map(|entry| entry.path).collect()
}

#[tokio::test]
async fn a_job_cancels_a_call_that_is_not_sent_by_its_id_or_its_name() {
    let world = World::new().await;
    let _daemon = world.daemon().await;
    world.enqueue(&waiting("by-id", 0)).await;
    world.enqueue(&waiting("by-name", 1)).await;
    world.until_status("by-id", "scheduled").await;
    world.until_status("by-name", "scheduled").await;
    let id = world.call_id("by-id").await;
    world.enqueue(&cancel("c1", json!({ "call_id": id, "reason": "the customer wrote" }))).await;
    world.enqueue(&cancel("c2", json!({ "source": "test", "id": "by-name" }))).await;
    for event in ["by-id", "by-name"] {
        world.until_status(event, "cancelled").await;
        assert_eq!(world.status(event).await.unwrap().1.as_deref(), Some("cancel_requested"), "{event}");
    }
    let detail: String = world.of("by-id", "select status_detail from calls where event_id = $1").await;
    assert_eq!(detail, "the customer wrote");
    world.until_empty("jobs").await;
    assert!(world.bland.journal().creates().is_empty());
}

#[tokio::test]
async fn a_cancellation_that_comes_with_its_call_leaves_nothing_to_send() {
    let world = World::new().await;
    // One batch, there before the first receive: calls that could go out at once, each with its cancellation behind.
    let batch: Vec<Outgoing> = (0..5)
        .flat_map(|n| {
            let id = format!("at-once-{n}");
            let call = call_event(&id, &number(n, "0100"));
            let cancel = cancel(&format!("off-{n}"), json!({ "source": "test", "id": id }));
            [Outgoing::new(call.to_string()), Outgoing::new(cancel.to_string())]
        })
        .collect();
    // No call is over by itself before its cancellation comes.
    (0..5).for_each(|n| world.bland.set_script(&number(n, "0100"), never_ending()));
    assert!(world.producer().send_batch(&batch).await.iter().all(Result::is_ok));
    let _daemon = world.daemon().await;
    for n in 0..5 {
        // It may have been on its way already; then it is ended. It never stays.
        let id = format!("at-once-{n}");
        eventually(&format!("{id} is over"), async || {
            world.status(&id).await.filter(|(status, _)| status == "cancelled" || status == "completed").map(drop)
        })
        .await;
        let asked: i64 = world
            .of(&id, "select count(*) from call_events e join calls c on c.id = e.call_id where event_id = $1 and kind = 'cancel_requested'")
            .await;
        assert_eq!(asked, 1, "{id}");
    }
    assert!(world.creates_by_attempt().values().all(|&count| count == 1));
}

#[tokio::test]
async fn a_live_call_is_ended_at_the_platform_and_ends_as_the_platform_says() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let operator = world.api(&daemon, "operator").await;
    // One is talking when it is stopped, the other still rings.
    let (talking, ringing) = (number(0, "0100"), number(1, "0100"));
    world.bland.set_script(&talking, never_ending());
    world.bland.set_script(&ringing, Script { ring: Duration::from_secs(3_600_000), ..Script::default() });
    world.enqueue(&call_event("talking", &talking)).await;
    world.enqueue(&call_event("ringing", &ringing)).await;
    for (id, ends) in [("talking", "completed"), ("ringing", "cancelled")] {
        world.until_status(id, "placed").await;
        let path = format!("/api/calls/{}/cancel/", world.call_id(id).await);
        let reply = operator.post(&path, &json!({ "reason": "wrong person" })).await;
        assert_eq!(reply.status, 202, "{:?}", reply.body);
        world.until_status(id, ends).await;
        let again = operator.post(&path, &json!({})).await;
        // Cancelling what is cancelled is no mistake; what has ended otherwise cannot be.
        assert_eq!(again.status, if ends == "cancelled" { 200 } else { 409 }, "{id}: {:?}", again.body);
    }
    assert_eq!(stops(&world).len(), 2, "{:?}", stops(&world));
    let who: (String, Option<String>) = sqlx::query_as(
        "select e.source, e.detail->>'reason' from call_events e join calls c on c.id = e.call_id
         where event_id = 'talking' and kind = 'cancel_requested'",
    )
    .fetch_one(&world.db)
    .await
    .unwrap();
    assert_eq!(who, ("operator:ada".into(), Some("wrong person".into())));
}

#[tokio::test]
async fn cancelling_a_retry_that_waits_ends_the_call_at_once() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let operator = world.api(&daemon, "operator").await;
    let mut event = call_event("again", &number(0, "0102"));
    event["data"]["voice_config"]["retry"] =
        json!({ "max_attempts": 3, "on": ["busy"], "backoff": { "initial": "1h" } });
    world.enqueue(&event).await;
    world.until_was("again", "scheduled", "retry").await;
    let reply = operator.post(&format!("/api/calls/{}/cancel/", world.call_id("again").await), &json!({})).await;
    assert_eq!((reply.status, &reply.body["status"]), (200, &json!("cancelled")));
    assert_eq!(world.attempts("again").await.len(), 1);
}

#[tokio::test]
async fn a_cancellation_of_nothing_is_accepted_and_changes_nothing() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    world.enqueue(&cancel("nothing", json!({ "source": "test", "id": "never-asked-for" }))).await;
    eventually("it is accepted", async || {
        let accepted = daemon.metric("voxd_jobs_accepted_total", &["type=\"voice.call.cancel_requested\""]).await;
        (accepted == 1.0).then_some(())
    })
    .await;
    world.until_empty("jobs").await;
    assert_eq!(world.depth("jobs-dlq").await, 0);
}

/// A world whose platform hides a call from listings and sends no webhooks: doubt ends as `unknown`, quickly.
async fn opaque_world() -> World {
    let bland = BlandOptions { list_lag: Duration::from_secs(3600), ..BlandOptions::default() };
    let quick = [
        ("VOXD_WORKER__LEASE", "2s"),
        ("VOXD_PLATFORMS__BLAND_AI__REQUEST_TIMEOUT", "1s"),
        ("VOXD_RECONCILE__LISTING_INTERVAL", "1s"),
        ("VOXD_POLLER__INTERVAL", "500ms"),
    ];
    let environment = quick.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    World::with(WorldOptions { bland, environment, ..WorldOptions::default() }).await
}

async fn settle(operator: &Api, call: Uuid, body: Value) -> u16 {
    let reply = operator.post(&format!("/api/calls/{call}/settle/"), &body).await;
    assert!(reply.status != 200 || reply.body["call_id"] == json!(call), "{:?}", reply.body);
    reply.status
}

#[tokio::test]
async fn an_unknown_call_is_settled_by_a_person_and_who_and_why_stand_in_the_timeline() {
    let world = opaque_world().await;
    let made = Script { answer: Answer::ResetAfter, webhook: WebhookFault::Lost, ..Script::default() };
    let not_made = Script::answering(Answer::ResetBefore);
    let cases = ["placed", "absent", "redial", "by-command"];
    let numbers: Vec<String> = (0..4).map(|n| number(n, "0100")).collect();
    world.bland.set_script(&numbers[0], made);
    for number in &numbers[1..] {
        world.bland.set_scripts(number, vec![not_made.clone(), Script::default()]);
    }
    let daemon = world.daemon().await;
    let operator = world.api(&daemon, "operator").await;
    for (id, number) in cases.iter().zip(&numbers) {
        world.enqueue(&call_event(id, number)).await;
    }
    for id in cases {
        world.until_status(id, "unknown").await;
    }
    eventually("the gauge says so", async || (daemon.metric("voxd_calls_unknown", &[]).await == 4.0).then_some(()))
        .await;
    let id = async |event| world.call_id(event).await;
    let theirs = world.bland.call_ids();
    let because = "it is in the platform's console";
    let body = json!({ "as": "placed", "because": because, "platform_call_id": theirs[0] });
    assert_eq!(settle(&operator, id("placed").await, body).await, 200);
    let because = "their log shows no request";
    assert_eq!(settle(&operator, id("absent").await, json!({ "as": "absent", "because": because })).await, 200);
    assert_eq!(settle(&operator, id("redial").await, json!({ "as": "redial", "because": because })).await, 200);
    let by_command = id("by-command").await.to_string();
    let arguments = ["calls", "settle", &by_command, "--as", "redial", "--because", because, "--by", "grace", "--json"];
    world.command(&arguments).await;

    world.until_status("placed", "completed").await;
    world.until_status("absent", "failed").await;
    assert_eq!(world.status("absent").await.unwrap().1.as_deref(), Some("settled_absent"));
    world.until_status("redial", "completed").await;
    world.until_status("by-command", "completed").await;
    let again = json!({ "as": "absent", "because": because });
    assert_eq!(settle(&operator, id("absent").await, again).await, 409, "only what is unknown is settled");

    for (event, by) in [("placed", "operator:ada"), ("redial", "operator:ada"), ("by-command", "operator:grace")] {
        let who: (String, String, String) = sqlx::query_as(
            "select e.source, e.detail->>'settled_as', e.detail->>'because' from call_events e join calls c on c.id = e.call_id
             where event_id = $1 and kind = 'settled'",
        )
        .bind(event)
        .fetch_one(&world.db)
        .await
        .unwrap();
        assert_eq!(who.0, by, "{event}");
        assert!(!who.1.is_empty() && !who.2.is_empty(), "{event}: {who:?}");
    }
    let attempts = world.attempts("redial").await;
    assert_eq!(attempts.iter().map(|(state, ..)| state.as_str()).collect::<Vec<_>>(), ["absent", "completed"]);
    assert!(attempts[1].2.contains("operator:ada") && attempts[1].2.contains(because), "{}", attempts[1].2);
    assert!(world.creates_by_attempt().values().all(|&count| count == 1));
}

#[tokio::test]
async fn a_cancellation_that_comes_before_its_call_holds() {
    let world = World::new().await;
    let _daemon = world.daemon().await;
    world
        .enqueue(&json!({ "source": "test", "id": "stop", "type": "voice.call.cancel_requested", "data": { "source": "test", "id": "late" } }))
        .await;
    eventually("the cancellation is accepted", async || {
        (world.count("select count(*) from jobs where event_id = 'stop'").await == 1).then_some(())
    })
    .await;
    world.enqueue(&call_event("late", &number(0, "0100"))).await;
    world.until_status("late", "cancelled").await;
    assert!(world.creates_by_attempt().is_empty());
}
