//! What is not called: messages that are no jobs, and calls that could never be sent.

use serde_json::{Value, json};
use voxd::queue::{Attribute, Outgoing};

use crate::harness::{World, WorldOptions, call_event, eventually, number};

/// A bad message with what must become of it.
struct Bad {
    body: String,
    reason: &'static str,
    field: &'static str,
    says: &'static [&'static str],
}

fn bad(body: impl ToString, reason: &'static str, field: &'static str, says: &'static [&'static str]) -> Bad {
    Bad { body: body.to_string(), reason, field, says }
}

fn changed(id: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut event = call_event(id, &number(1, "0100"));
    change(&mut event);
    event
}

fn sns(event: &Value) -> Value {
    json!({ "Type": "Notification", "TopicArn": "arn:aws:sns:us-east-1:1:t", "Message": event.to_string() })
}

fn bad_messages() -> Vec<Bad> {
    let misspelt = changed("b1", |event| event["data"]["lead"]["phone_nmber"] = json!("+14155550123"));
    vec![
        bad("{\"id\": \"b0\",", "not_json", "", &["expected a JSON object"]),
        bad(json!([call_event("b2", &number(2, "0100"))]), "schema", "", &["batches are not accepted"]),
        bad(sns(&misspelt), "schema", "/Message/data/lead/phone_nmber", &["did you mean \"phone_number\"?"]),
        bad(&misspelt, "schema", "/data/lead/phone_nmber", &["did you mean \"phone_number\"?"]),
        bad(
            changed("b3", |event| drop(event.as_object_mut().unwrap().remove("data"))),
            "schema",
            "/data",
            &["is missing"],
        ),
        bad(changed("", |_| ()), "schema", "/id", &["is empty", "expected text"]),
        bad(
            changed("b4", |event| event["specversion"] = json!("0.3")),
            "schema",
            "/specversion",
            &["expected \"1.0\""],
        ),
        bad(
            changed("b5", |event| event["data"]["lead"]["phone_number"] = json!("415-555-0123")),
            "schema",
            "/data/lead/phone_number",
            &["E.164"],
        ),
        bad(
            changed("b6", |event| {
                event["data"]["voice_config"]["retry"] = json!({ "max_attempts": 99, "on": ["busy"] })
            }),
            "schema",
            "/data/voice_config/retry/max_attempts",
            &["99", "1 to 20"],
        ),
        bad(
            changed("b7", |event| event["data"]["voice_config"]["max_duraton"] = json!(3)),
            "schema",
            "/data/voice_config/max_duraton",
            &["did you mean \"max_duration\"?"],
        ),
        bad(
            changed("b8", |event| event["type"] = json!("voice.call.reqested")),
            "unknown_type",
            "/type",
            &["did you mean \"voice.call.requested\"?"],
        ),
        bad(
            json!({ "source": "test", "id": "b9", "type": "voice.call.cancel_requested", "data": {} }),
            "schema",
            "/data/id",
            &["is missing"],
        ),
        // The name of the good call, used for another one.
        bad(changed("good", |event| event["data"]["content"] = json!("Other.")), "key_reused", "/id", &["another"]),
    ]
}

#[tokio::test]
async fn every_bad_message_is_kept_copied_with_its_reason_and_gone_and_its_batch_is_unharmed() {
    let world = World::new().await;
    let _daemon = world.daemon().await;
    world.enqueue(&call_event("good", &number(1, "0100"))).await;
    world.until_status("good", "completed").await;

    let bad = bad_messages();
    let mut batch = Vec::new();
    for (n, message) in bad.iter().enumerate() {
        let mut outgoing = Outgoing::new(message.body.clone());
        outgoing.attributes.insert("trace".into(), Attribute::string(format!("t-{n}")));
        batch.push(outgoing);
        batch.push(Outgoing::new(call_event(&format!("beside-{n}"), &number(10 + n as u32, "0100")).to_string()));
    }
    for part in batch.chunks(10) {
        assert!(world.producer().send_batch(part).await.iter().all(Result::is_ok));
    }
    for n in 0..bad.len() {
        world.until_status(&format!("beside-{n}"), "completed").await;
    }
    world.until_empty("jobs").await;

    let rows: Vec<(Vec<u8>, String, String, String, Option<String>)> =
        sqlx::query_as("select body, reason, field_path, detail, event_id from rejected_messages")
            .fetch_all(&world.db)
            .await
            .unwrap();
    assert_eq!(rows.len(), bad.len());
    let letters = world.receive("jobs-dlq").await;
    assert_eq!(letters.len(), bad.len());
    for (n, Bad { body, reason, field, says }) in bad.iter().enumerate() {
        let (_, why, at, detail, _) =
            rows.iter().find(|row| row.0 == body.as_bytes()).unwrap_or_else(|| panic!("{body}: no row"));
        assert_eq!((why.as_str(), at.as_str()), (*reason, *field), "{body}: {detail}");
        says.iter().for_each(|word| assert!(detail.contains(word), "{body}: {detail}"));

        let letter =
            letters.iter().find(|letter| letter["Body"] == **body).unwrap_or_else(|| panic!("{body}: no copy"));
        let attribute = |name: &str| letter["MessageAttributes"][name]["StringValue"].clone();
        assert_eq!(attribute("trace"), format!("t-{n}"), "{body}: its own attribute");
        assert_eq!(attribute("voxd.reason"), *reason, "{body}");
        assert_eq!(attribute("voxd.detail"), format!("{field}: {detail}"), "{body}");
    }
    let named = rows.iter().filter_map(|row| row.4.as_deref()).filter(|id| id.starts_with('b')).count();
    assert_eq!(named, 9, "the row names the event where it can be read");
    let other =
        world.count("select count(*) from calls where event_id not like 'beside-%' and event_id <> 'good'").await;
    assert_eq!(other, 0, "no bad message made a call");
}

#[tokio::test]
async fn raw_sns_and_eventbridge_envelopes_lead_to_the_same_call() {
    let world = World::new().await;
    let _daemon = world.daemon().await;
    let event = call_event("same", &number(0, "0100"));
    let mut bare = event.clone();
    bare.as_object_mut().unwrap().remove("specversion");
    let bridge = |detail: Value| {
        json!({ "version": "0", "id": "same", "account": "1", "region": "us-east-1", "time": "2026-01-01T00:00:00Z", "resources": [],
                "source": "test", "detail-type": event["type"], "detail": detail })
    };
    let forms = [event.clone(), bare, sns(&event), bridge(event["data"].clone()), bridge(event.clone())];
    for (n, form) in forms.iter().enumerate() {
        world.enqueue(form).await;
        world.until_status("same", "completed").await;
        world.until_empty("jobs").await;
        assert_eq!(world.count("select count(*) from calls").await, 1, "form {n}");
    }
    assert_eq!(world.count("select count(*) from rejected_messages").await, 0);
    assert_eq!(world.bland.journal().creates().len(), 1);
}

/// An event's change, the reason, and words of the detail.
type Refused = (&'static str, fn(&mut Value), &'static str, &'static [&'static str]);

const REFUSED: &[Refused] = &[
    (
        "unsupported",
        |event| event["data"]["voice_config"]["platform"] = json!("blnad_ai"),
        "platform_unsupported",
        &["blnad_ai", "bland_ai"],
    ),
    (
        "no-such-config",
        |event| event["data"]["voice_config"] = json!("nobody-stored-this"),
        "unknown_voice_config",
        &["nobody-stored-this"],
    ),
    (
        "misspelt-option",
        |event| event["data"]["voice_config"]["platform_config"] = json!({ "temprature": 0.7 }),
        "invalid_payload",
        &["temprature", "temperature"],
    ),
    (
        "abroad",
        |event| event["data"]["lead"]["phone_number"] = json!("+442079460123"),
        "country_not_allowed",
        &["GB", "policy.countries"],
    ),
    (
        "live",
        |event| event["data"]["voice_config"]["mode"] = json!("live"),
        "mode_not_supported",
        &["live", "bland_ai"],
    ),
    (
        "premium",
        |event| event["data"]["lead"]["phone_number"] = json!("+19005550123"),
        "number_not_allowed",
        &["premium_rate", "policy.refuse_numbers"],
    ),
    (
        "never-open",
        |event| {
            // A number of no place: it must be open from Puerto Rico to Guam at once.
            event["data"]["lead"]["phone_number"] = json!("+18005550123");
            event["data"]["voice_config"]["calling_window"] = json!({ "from": "10:00", "to": "18:00" });
        },
        "window_never_opens",
        &["time zones of the number"],
    ),
];

#[tokio::test]
async fn a_call_that_could_never_be_sent_is_rejected_with_its_reason() {
    let world = World::new().await;
    let _daemon = world.daemon().await;
    for (n, (id, change, ..)) in REFUSED.iter().enumerate() {
        let mut event = call_event(id, &number(n as u32, "0100"));
        change(&mut event);
        world.enqueue(&event).await;
    }
    for (id, _, reason, says) in REFUSED {
        world.until_status(id, "rejected").await;
        assert_eq!(world.status(id).await.unwrap().1.as_deref(), Some(*reason), "{id}");
        let detail: String = world.of(id, "select status_detail from calls where event_id = $1").await;
        says.iter().for_each(|word| assert!(detail.contains(word), "{id}: {detail}"));
        let told: String = world
            .of(id, "select t.status from thread_messages t join calls c on c.id = t.call_id where event_id = $1")
            .await;
        assert_eq!(told, "rejected", "{id}: its thread message");
    }
    world.until_empty("jobs").await;
    assert!(world.bland.journal().creates().is_empty(), "a rejected call costs the platform nothing");
    assert_eq!(world.depth("jobs-dlq").await, 0, "the message was a good job");
}

#[tokio::test]
async fn a_platform_without_its_key_is_off_and_a_call_that_names_it_is_rejected() {
    let environment = vec![("BLAND_AI_API_KEY".to_owned(), String::new())];
    let world = World::with(WorldOptions { environment, ..WorldOptions::default() }).await;
    let daemon = world.daemon().await;
    world.enqueue(&call_event("off", &number(0, "0100"))).await;
    world.until_status("off", "rejected").await;
    assert_eq!(world.status("off").await.unwrap().1.as_deref(), Some("platform_off"));
    let detail: String = world.of("off", "select status_detail from calls where event_id = $1").await;
    assert!(detail.contains("BLAND_AI_API_KEY"), "{detail}");
    let answer = reqwest::Client::new().post(format!("{}/webhooks/bland_ai", daemon.base_url)).body("{}").send().await;
    assert_eq!(answer.unwrap().status().as_u16(), 404);
}

#[tokio::test]
async fn other_countries_are_called_once_the_setting_allows_them() {
    let environment = vec![("VOXD_POLICY__COUNTRIES".to_owned(), "US,CA,GB".to_owned())];
    let world = World::with(WorldOptions { environment, ..WorldOptions::default() }).await;
    let _daemon = world.daemon().await;
    world.enqueue(&call_event("london", "+442079460100")).await;
    world.until_status("london", "completed").await;
}

#[tokio::test]
async fn a_rejected_call_can_be_asked_for_again_under_another_name_only() {
    let world = World::new().await;
    let _daemon = world.daemon().await;
    let mut event = call_event("twice", &number(0, "0100"));
    event["data"]["voice_config"] = json!("later");
    world.enqueue(&event).await;
    world.until_status("twice", "rejected").await;
    world.enqueue(&event).await;
    world.until_empty("jobs").await;
    eventually("the repeat is counted", async || (world.count("select count(*) from calls").await == 1).then_some(()))
        .await;
    assert_eq!(world.story("twice").await.len(), 1, "a repeat changes nothing");
}

#[tokio::test]
async fn a_stored_configuration_that_cannot_be_read_holds_its_own_jobs_and_loses_none() {
    let world = World::new().await;
    // As a later version may have stored it, whose replicas are not all there yet.
    sqlx::query("insert into voice_configs (name, config) values ('newer', '{\"platform\": \"bland_ai\", \"colour\": \"blue\"}')")
        .execute(&world.db)
        .await
        .unwrap();
    let mut held = call_event("held", &number(0, "0100"));
    held["data"]["voice_config"] = json!("newer");
    let good = call_event("good", &number(1, "0100"));
    // One batch, there before the first receive.
    let batch = [Outgoing::new(held.to_string()), Outgoing::new(good.to_string())];
    assert!(world.producer().send_batch(&batch).await.iter().all(Result::is_ok));
    let daemon = world.daemon().await;
    world.until_status("good", "completed").await;
    assert_eq!(world.status("held").await, None);
    eventually("only its message is still in the queue", async || (world.depth("jobs").await == 1).then_some(())).await;
    let log = daemon.log();
    assert!(log.contains("newer") && log.contains("colour"), "{log}");
    sqlx::query("update voice_configs set config = '{\"platform\": \"bland_ai\"}' where name = 'newer'")
        .execute(&world.db)
        .await
        .unwrap();
    world.until_status("held", "completed").await;
}
