//! One call's whole story: every kind of line, causes before what they cause, and nothing in it that nobody may see.

use serde_json::{Value, json};
use tokio::process::Command;
use voxd::sim::bland::BlandOptions;
use voxd::sim::platform::{Answer, Outcome, Script, WebhookFault};

use crate::harness::{Daemon, Receiver, World, WorldOptions, call_event, create_queue, eventually, number, status};

const API_KEY: &str = "org_key_that_nobody_may_see";
const WEBHOOK_SECRET: &str = "webhook-secret-that-nobody-may-see";
const SIGNING_SECRET: &str = "whsec_bm9ib2R5LW1heS1zZWUtdGhpcy1zZWNyZXQ=";
const CRM_TOKEN: &str = "crm-token-that-nobody-may-see";
const CALL_BACK: &str = "+12125550187";

async fn world() -> World {
    let bland =
        BlandOptions { api_key: API_KEY.into(), webhook_secret: WEBHOOK_SECRET.into(), ..BlandOptions::default() };
    let environment = [
        ("VOXD_OUTCOME_QUEUE", "outcomes"),
        ("VOXD_OUTCOMES__SIGNING_SECRET", SIGNING_SECRET),
        ("VOXD_EGRESS__ALLOW_PRIVATE_ADDRESSES", "true"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let world =
        World::with(WorldOptions { bland, environment, platforms: vec!["vapi"], ..WorldOptions::default() }).await;
    create_queue(&world.sqs, "outcomes", json!({})).await;
    world
}

/// Refused by Bland AI, busy at Vapi as a webhook tells, made due by an operator, completed at Vapi as a poll tells.
async fn eventful_call(world: &World, daemon: &Daemon, receiver: &Receiver) -> String {
    let to = number(0, "0100");
    world.bland.set_script(&to, Script::answering(Answer::PaymentRequired));
    let completed = Script::with_webhooks(WebhookFault::Lost);
    world.sim("vapi").set_scripts(&to, vec![Script::ending(Outcome::Busy), completed]);
    let mut own = world.sim("vapi").voice_config();
    own.as_object_mut()
        .unwrap()
        .retain(|name, _| ["from_number", "voice_id", "platform_config"].contains(&name.as_str()));
    own["platform_config"]["assistantOverrides"] = json!({ "variableValues": { "crmToken": CRM_TOKEN } });
    let mut event = call_event("eventful", &to);
    event["data"]["content"] = json!(format!("Please call us back at {CALL_BACK}."));
    event["data"]["voice_config"]["fallback_platforms"] = json!(["vapi"]);
    event["data"]["voice_config"]["fallback_configs"] = json!({ "vapi": own });
    event["data"]["voice_config"]["webhook_config"] = json!({ "url": receiver.url });
    event["data"]["voice_config"]["retry"] =
        json!({ "max_attempts": 2, "on": ["busy"], "backoff": { "initial": "1h" } });
    world.enqueue(&event).await;
    world.until_was("eventful", "scheduled", "retry").await;
    let operator = world.api(daemon, "operator").await;
    let id = world.call_id("eventful").await.to_string();
    let made_due = operator.post(&format!("/api/calls/{id}/retry/"), &json!({ "because": "she is back" })).await;
    assert_eq!(made_due.status, 200, "{made_due:?}");
    world.until_status("eventful", "completed").await;
    eventually("all is told", async || {
        let open = "select count(*) from outbox where delivered_at is null";
        (world.count(open).await == 0).then_some(())
    })
    .await;
    world.answered_attempts("eventful").await;
    id
}

/// What the real binary prints.
async fn printed(world: &World, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_voxd"))
        .args(arguments)
        .env_clear()
        .envs(world.environment().iter().map(|(name, value)| (name, value)))
        .kill_on_drop(true)
        .output()
        .await
        .expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A name for a line that a test can look for.
fn name(line: &Value) -> String {
    let kind = line["kind"].as_str().unwrap();
    let n = line["detail"]["n"].as_u64().map(|n| format!(" {n}")).unwrap_or_default();
    match (line["to_status"].as_str(), kind) {
        (Some(status), _) => status.to_owned(),
        (None, "notification") => format!("{kind} {}", line["detail"]["status"].as_str().unwrap_or_default()),
        (None, _) => format!("{kind}{n}"),
    }
}

fn masked(text: &str, what: &str) {
    let numbers = [number(0, "0100"), CALL_BACK.to_owned()];
    for number in &numbers {
        assert!(!text.contains(&number[2..]), "{what} shows a number:\n{text}");
    }
    for secret in [API_KEY, WEBHOOK_SECRET, SIGNING_SECRET, CRM_TOKEN, "simulated-key", "simulated-secret", "tenant=7"]
    {
        assert!(!text.contains(secret), "{what} shows {secret}:\n{text}");
    }
}

#[tokio::test]
async fn one_calls_story_holds_every_kind_of_line_in_the_order_of_causes() {
    let world = world().await;
    let daemon = world.daemon().await;
    let receiver = Receiver::start(|_| status(204)).await;
    let id = eventful_call(&world, &daemon, &receiver).await;
    let (operator, service) = (world.api(&daemon, "operator").await, world.api(&daemon, "service").await);
    let shown = service.get(&format!("/api/calls/{id}/")).await.body;
    let timeline = shown["timeline"].as_array().unwrap();
    let names: Vec<String> = timeline.iter().map(name).collect();

    // Each after the one before it.
    let mut at = 0;
    for wanted in [
        "message",
        "accepted",
        "attempt 1",
        "sending",
        "request 1",
        "answer 1",
        "scheduled",
        "attempt 2",
        "sending",
        "request 2",
        "webhook_received",
        "webhook",
        "scheduled",
        "retry_requested",
        "attempt 3",
        "sending",
        "request 3",
        "answer 3",
        "placed",
        "poller",
        "completed",
        "outcome",
        "notification completed",
    ] {
        let found = names[at..].iter().position(|name| name == wanted);
        at += found.unwrap_or_else(|| panic!("{wanted} is not behind line {at} of {names:#?}")) + 1;
    }
    let once = |wanted: &str| {
        let found: Vec<&Value> = timeline.iter().filter(|line| name(line) == wanted).collect();
        assert_eq!(found.len(), 1, "{wanted} in {names:#?}");
        found[0]
    };
    for line in timeline {
        assert!(line["text"].as_str().is_some_and(|text| !text.is_empty()), "{line}");
        assert!(line["source"].is_string() && line["detail"].is_object(), "{line}");
    }
    let times: Vec<&str> = timeline.iter().map(|line| line["at"].as_str().unwrap()).collect();
    let parsed: Vec<chrono::DateTime<chrono::Utc>> = times.iter().map(|at| at.parse().unwrap()).collect();
    assert!(parsed.is_sorted(), "{times:#?}");

    // What the ledger's own timeline holds keeps its number, and nothing of it is left out.
    let numbered: Vec<i64> = timeline.iter().filter_map(|line| line["id"].as_i64()).collect();
    let ledger = world
        .of::<i64>(
            "eventful",
            "select count(*) from call_events e join calls c on c.id = e.call_id where event_id = $1",
        )
        .await;
    assert_eq!(numbered.len() as i64, ledger);
    for derived in ["message", "attempt 1", "request 1", "answer 1", "outcome"] {
        assert!(once(derived)["id"].is_null(), "{derived}");
    }

    let message = once("message");
    assert_eq!((&message["source"], &message["detail"]["id"]), (&json!("queue"), &json!("eventful")), "{message}");
    let (first, second) = (once("request 1"), once("request 2"));
    let body = &first["detail"]["body"];
    assert_eq!((&first["detail"]["rebuilt"], &body["phone_number"]), (&json!(true), &json!("+1415•••••00")), "{first}");
    assert_eq!(body["task"], "Please call us back at +1212•••••87.");
    assert_eq!(first["detail"]["headers"]["authorization"], "[secret]");
    assert_eq!(second["detail"]["platform"], "vapi");
    assert_eq!(second["detail"]["body"]["customer"]["number"], "+1415•••••00", "{second}");
    assert_eq!(second["detail"]["body"]["assistantOverrides"]["variableValues"]["crmToken"], "[secret]", "{second}");
    assert_eq!(once("answer 1")["detail"]["verdict"], "refused");
    assert_eq!(once("answer 3")["detail"]["verdict"], "placed");
    let webhook = timeline.iter().find(|line| line["kind"] == "webhook_received").unwrap();
    assert!(webhook["detail"]["applied_at"].is_string() && webhook["detail"]["said"].is_array(), "{webhook}");
    assert_eq!((&webhook["detail"]["platform"], &webhook["detail"]["verified_by"]), (&json!("vapi"), &json!("hmac")));
    let due = once("retry_requested");
    assert_eq!((&due["source"], &due["text"]), (&json!("operator:ada"), &json!("made due now: she is back")));
    let told = timeline.iter().filter(|line| name(line) == "notification completed");
    let addresses: Vec<(&Value, &Value)> =
        told.map(|line| (&line["detail"]["destination"], &line["detail"]["attempts"])).collect();
    assert_eq!(addresses.len(), 4, "two events, each to the queue and to the address: {addresses:?}");
    assert_eq!(once("outcome")["detail"]["attempts"], 3);

    masked(&shown.to_string(), "the API");
    let revealed = operator.get(&format!("/api/calls/{id}/?reveal=1")).await.body;
    let body = revealed["timeline"].as_array().unwrap().iter().find(|line| name(line) == "request 1").unwrap()["detail"]["body"].clone();
    assert_eq!(body["phone_number"], json!(number(0, "0100")));
    assert!(![API_KEY, WEBHOOK_SECRET, CRM_TOKEN].iter().any(|secret| revealed.to_string().contains(secret)));

    let page = printed(&world, &["calls", "show", "test/eventful"]).await;
    masked(&page, "the command");
    masked(&printed(&world, &["calls", "show", "test/eventful", "--json"]).await, "the command's JSON");
    let mut rest = page.as_str();
    for wanted in [
        "job test/eventful asks for a call",
        "accepted ",
        "attempt 1 at bland_ai: right to send committed",
        "POST http://",
        "{\"language\":\"en\"",
        "answered 402: refused",
        "attempt 2 at vapi: right to send committed, because fallback",
        "signed webhook stored, says",
        "made due now: she is back",
        "attempt 3 at vapi",
        "ended as completed (customer_hangup): 3 attempts",
    ] {
        let Some((_, behind)) = rest.split_once(wanted) else {
            panic!("{wanted:?} is not where it should be in\n{page}")
        };
        rest = behind;
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_put_together_again_is_not_invented() {
    let world = world().await;
    let daemon = world.daemon().await;
    let to = number(0, "0100");
    world.enqueue(&call_event("old", &to)).await;
    world.until_status("old", "completed").await;
    let other = world.daemon_with(&[("BLAND_AI_API_KEY", "")]).await;
    let id = world.call_id("old").await;
    let request = async |daemon: &Daemon| {
        let shown = world.api(daemon, "operator").await.get(&format!("/api/calls/{id}/")).await.body;
        let timeline = shown["timeline"].as_array().unwrap();
        timeline.iter().find(|line| line["kind"] == "request").unwrap().clone()
    };
    assert_eq!(request(&daemon).await["detail"]["rebuilt"], true);
    let unknown = request(&other).await;
    assert_eq!((&unknown["detail"]["rebuilt"], unknown["detail"].get("body")), (&json!(false), None), "{unknown}");
    assert!(unknown["text"].as_str().unwrap().contains("not shown: "), "{unknown}");
}

#[tokio::test]
async fn who_took_a_number_off_the_list_of_people_to_call_stands_in_the_story() {
    let world = world().await;
    let daemon = world.daemon().await;
    let to = number(0, "0100");
    let mut later = call_event("later", &to);
    later["data"]["not_before"] = json!("2099-01-01T00:00:00Z");
    world.enqueue(&later).await;
    world.until_status("later", "scheduled").await;
    printed(&world, &["dnc", "add", &to, "--because", "asked by mail", "--by", "ada"]).await;
    world.until_status("later", "cancelled").await;
    let id = world.call_id("later").await;
    let shown = world.api(&daemon, "operator").await.get(&format!("/api/calls/{id}/")).await.body;
    let timeline = shown["timeline"].as_array().unwrap();
    let at = |name_wanted: &str| timeline.iter().position(|line| name(line) == name_wanted).unwrap_or(usize::MAX);
    assert!(at("suppression") < at("cancelled") && at("cancelled") < at("outcome"), "{timeline:#?}");
    let line = &timeline[at("suppression")];
    assert_eq!(
        (&line["source"], &line["text"]),
        (&json!("operator:ada"), &json!("number put on the do-not-call list: asked by mail")),
    );
    masked(&shown.to_string(), "the API");
}
