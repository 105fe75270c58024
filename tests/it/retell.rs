//! Retell beyond the common contract: where its documents leave something open, and the strictness of the simulator itself.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use chrono::TimeDelta;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use voxd::call::{AttemptState, CallRequest, PhoneNumber};
use voxd::clock;
use voxd::config::{Config, Environment, Secret};
use voxd::lifecycle::Lifecycle;
use voxd::platforms::{
    AttemptRef, Concurrency, Lookup, Placed, PlacedCall, Platform, PlatformError, SendPermit, retell,
};
use voxd::sim::platform::{Answer, Script, SimOptions};
use voxd::sim::retell::{Retell, RetellSim};

use crate::harness::{World, WorldOptions, number};

const NUMBER: &str = "+14155560100";

async fn start_as(options: SimOptions, quirks: Retell) -> (RetellSim, Arc<dyn Platform>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sim = RetellSim::start_as(listener, options, quirks).unwrap();
    let platform = platform_at(&sim.base_url());
    (sim, platform)
}

async fn start() -> (RetellSim, Arc<dyn Platform>) {
    start_as(SimOptions::default(), Retell::default()).await
}

fn platform_at(url: &str) -> Arc<dyn Platform> {
    let mut config = Config::load(None, &Environment::default()).unwrap().platforms.remove(retell::NAME).unwrap();
    config.base_url = url.parse().unwrap();
    config.api_key = Secret::new(SimOptions::default().api_key);
    config.request_timeout = Duration::from_secs(5);
    retell::from_config(&config).unwrap()
}

fn request(to: &str) -> CallRequest {
    let config = json!({ "platform": "retell", "from_number": "+14155550100" });
    CallRequest {
        call_id: Uuid::new_v4(),
        attempt_id: Uuid::new_v4(),
        to: PhoneNumber::parse(to).unwrap(),
        content: "Hello.".into(),
        lead_name: None,
        voice_config: serde_json::from_value(config).unwrap(),
        metadata: serde_json::Map::new(),
        webhook_url: None,
    }
}

async fn send(platform: &Arc<dyn Platform>, request: &CallRequest) -> Placed {
    let payload = platform.format_payload(request).unwrap();
    platform.validate_payload(&payload).unwrap();
    platform.send_call(&payload, SendPermit::for_the_next(Duration::from_secs(30))).await.unwrap()
}

async fn find(platform: &Arc<dyn Platform>, request: &CallRequest) -> Lookup {
    let now = clock::now();
    let attempt = AttemptRef {
        attempt_id: request.attempt_id,
        call_id: request.call_id,
        to: request.to.clone(),
        from: None,
        committed_at: now - TimeDelta::seconds(30),
        settled_at: now,
        platform_call_id: None,
        bound: Vec::new(),
    };
    platform.find_call(&attempt).await
}

fn found(lookup: &Lookup) -> Option<&str> {
    match lookup {
        Lookup::Found(update) => update.platform_call_id.as_deref(),
        _ => None,
    }
}

#[tokio::test]
async fn the_call_is_found_by_its_metadata_among_many_pages() {
    let (_sim, platform) = start_as(SimOptions { page_cap: 2, ..SimOptions::default() }, Retell::default()).await;
    let mut sent = Vec::new();
    for _ in 0..7 {
        let request = request(NUMBER);
        let placed = send(&platform, &request).await;
        sent.push((request, placed.platform_call_id));
    }
    for (request, id) in &sent {
        assert_eq!(found(&find(&platform, request).await), Some(id.as_str()));
    }
    let Lookup::Absent { evidence } = find(&platform, &request(NUMBER)).await else { panic!("not absent") };
    assert_eq!((evidence["calls_to_the_number"].clone(), evidence["pages"].clone()), (json!(7), json!(4)));
    assert!(!evidence.to_string().contains("4155560100"), "the number stays out of the evidence");
}

#[tokio::test]
async fn a_metadata_filter_that_does_not_know_the_call_yet_proves_nothing() {
    let quirks = Retell { filters_by_metadata: false, ..Retell::default() };
    let (_sim, platform) = start_as(SimOptions { page_cap: 2, ..SimOptions::default() }, quirks).await;
    let request_of_first = request(NUMBER);
    let placed = send(&platform, &request_of_first).await;
    for _ in 0..3 {
        send(&platform, &request(NUMBER)).await;
    }
    assert_eq!(found(&find(&platform, &request_of_first).await), Some(placed.platform_call_id.as_str()));
}

#[tokio::test]
async fn a_call_to_the_number_that_shows_no_metadata_leaves_the_look_up_inconclusive() {
    let (_sim, platform) = start_as(SimOptions::default(), Retell { keeps_metadata: false, ..Retell::default() }).await;
    let stripped = request(NUMBER);
    send(&platform, &stripped).await;
    assert!(matches!(find(&platform, &stripped).await, Lookup::Inconclusive { .. }));
    assert!(matches!(find(&platform, &request("+14155560101")).await, Lookup::Absent { .. }));
}

#[tokio::test]
async fn listings_that_prove_nothing_are_inconclusive() {
    let call = |id: &str| json!({ "call_id": id, "metadata": { "voxd_attempt_id": Uuid::new_v4() } });
    for answer in [
        json!({}),
        json!([]),
        json!({ "items": null, "has_more": false }),
        json!({ "items": [{}], "has_more": false }),
        // Whether this is all is not said.
        json!({ "items": [call("a")] }),
        json!({ "items": [call("a")], "has_more": true }),
        // Pages that come again and again: the key is not honoured.
        json!({ "items": [call("a"), call("b")], "has_more": true, "pagination_key": "k" }),
        json!({ "items": [], "has_more": true, "pagination_key": "k" }),
        // More than was asked for.
        json!({ "items": (0..51).map(|n| call(&n.to_string())).collect::<Vec<_>>(), "has_more": false }),
    ] {
        let lifecycle = Lifecycle::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (body, life) = (answer.clone(), lifecycle.clone());
        let router = Router::new().route("/v3/list-calls", post(move || async move { axum::Json(body) }));
        lifecycle.spawn(async move {
            tokio::select! { _ = axum::serve(listener, router).into_future() => {}, () = life.aborted() => {} }
        });
        let lookup = find(&platform_at(&url), &request(NUMBER)).await;
        assert!(matches!(lookup, Lookup::Inconclusive { .. }), "{answer}: {lookup:?}");
        lifecycle.abort();
    }
}

#[tokio::test]
async fn a_call_that_found_no_line_is_sent_again() {
    let (_sim, platform) = start_as(SimOptions::default(), Retell { no_line: true, ..Retell::default() }).await;
    let placed = send(&platform, &request(NUMBER)).await;
    assert!(placed.held_back, "it is looked at soon");
    let update = platform.call_status(&PlacedCall::new(&placed.platform_call_id)).await.unwrap();
    assert_eq!((update.state, update.reason.as_deref()), (Some(AttemptState::Failed), Some("provider_capacity")));
    assert_eq!(update.resend_after, Some(Duration::from_secs(30)));
}

#[tokio::test]
async fn a_call_that_cannot_be_stopped_yet_is_tried_again() {
    let quirks = Retell { stops_while_dialling: false, ..Retell::default() };
    let (sim, platform) = start_as(SimOptions::default(), quirks).await;
    sim.set_script(NUMBER, Script { ring: Duration::from_secs(3_600_000), ..Script::default() });
    let call = PlacedCall::new(send(&platform, &request(NUMBER)).await.platform_call_id);
    assert_eq!(platform.call_status(&call).await.unwrap().state, Some(AttemptState::Placed));
    assert!(matches!(platform.end_call(&call).await, Err(PlatformError::Temporary(_))));
}

#[tokio::test]
async fn a_call_stopped_while_it_is_dialled_is_cancelled() {
    let (sim, platform) = start().await;
    sim.set_script(NUMBER, Script { ring: Duration::from_secs(3_600_000), ..Script::default() });
    let call = PlacedCall::new(send(&platform, &request(NUMBER)).await.platform_call_id);
    platform.end_call(&call).await.unwrap();
    assert_eq!(platform.call_status(&call).await.unwrap().state, Some(AttemptState::Cancelled));
}

#[tokio::test]
async fn the_accounts_lines_are_told() {
    let (sim, platform) = start_as(SimOptions { max_live: Some(3), ..SimOptions::default() }, Retell::default()).await;
    sim.set_script(NUMBER, Script { talk: Duration::from_secs(3_600_000), ..Script::default() });
    assert_eq!(platform.concurrency().await, Some(Concurrency { current: 0, limit: 3 }));
    send(&platform, &request(NUMBER)).await;
    assert_eq!(platform.concurrency().await, Some(Concurrency { current: 1, limit: 3 }));
    sim.shutdown().await;
    assert_eq!(platform.concurrency().await, None, "an account that cannot be asked tells nothing");
}

#[tokio::test]
async fn the_simulator_refuses_what_retell_refuses_in_its_shape() {
    let (sim, _) = start().await;
    let client = reqwest::Client::new();
    let ask = |path: &str, body: Value| {
        let request = client.post(format!("{}{path}", sim.base_url())).json(&body);
        let request = request.header("authorization", format!("Bearer {}", SimOptions::default().api_key));
        async move {
            let answer = request.send().await.unwrap();
            (answer.status(), answer.json::<Value>().await.unwrap_or_default())
        }
    };
    for (change, says) in [
        (json!({ "volume": 11 }), "volume"),
        (json!({ "to_number": "4155550123" }), "to_number"),
        (json!({ "from_number": null }), "from_number"),
        (json!({ "retell_llm_dynamic_variables": { "age": 7 } }), "retell_llm_dynamic_variables"),
        (json!({ "metadata": "x" }), "metadata"),
        (json!({ "agent_override": { "agent": { "ring_duration_ms": 4_999 } } }), "ring_duration_ms"),
        (json!({ "agent_override": { "agent": { "webhook_events": ["queue"] } } }), "webhook_events"),
        (json!({ "agent_override": { "agents": {} } }), "agents"),
    ] {
        let mut body = json!({ "from_number": "+14155550100", "to_number": NUMBER });
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let (status, answer) = ask("/v2/create-phone-call", body).await;
        assert_eq!((status, answer["status"].as_str()), (StatusCode::BAD_REQUEST, Some("error")), "{change}");
        assert!(answer["message"].as_str().unwrap().contains(says), "{change}: {answer}");
    }
    // A registered call has no status that can be asked for.
    let registered =
        json!({ "filter_criteria": { "call_status": { "type": "enum", "op": "in", "value": ["registered"] } } });
    assert_eq!(ask("/v3/list-calls", registered).await.0, StatusCode::BAD_REQUEST);
    assert!(sim.call_ids().is_empty());
}

#[tokio::test]
async fn a_job_goes_from_the_queue_to_its_end_by_signed_webhooks() {
    let world = World::with(WorldOptions { platforms: vec!["retell"], ..WorldOptions::default() }).await;
    // Polling is far away: what is told is told by webhooks.
    let _daemon = world.daemon_with(&[("VOXD_POLLER__INTERVAL", "10m"), ("VOXD_POLLER__MAX_INTERVAL", "20m")]).await;
    world.enqueue(&world.call_event_on("retell", "talked", &number(0, "0100"))).await;
    // It never connects: no call_started comes, and the end comes alone.
    world.enqueue(&world.call_event_on("retell", "busy", &number(1, "0102"))).await;
    world.until_status("talked", "completed").await;
    world.until_status("busy", "busy").await;
    let facts =
        "select cost_amount is not null and cost_currency = 'USD' and cost_source = 'reported' and duration_seconds = 6
                 from call_attempts a join calls c on c.id = a.call_id where event_id = $1";
    assert!(world.of::<bool>("talked", facts).await);
    // The analysis comes after the end, and adds what the end did not know.
    crate::harness::eventually("the analysis is applied", async || {
        let summary: bool = world
            .of("talked", "select count(*) > 0 from call_attempts a join calls c on c.id = a.call_id where event_id = $1 and a.summary is not null and a.transcript is not null")
            .await;
        summary.then_some(())
    })
    .await;
    assert_eq!(world.status("talked").await.unwrap().0, "completed");
    assert!(world.creates_by_attempt().values().all(|count| *count == 1));
    let sources: Vec<(String,)> =
        sqlx::query_as("select distinct source from call_events where to_status in ('completed', 'busy')")
            .fetch_all(&world.db)
            .await
            .unwrap();
    assert_eq!(sources, [("webhook".to_owned(),)]);
}

#[tokio::test]
async fn a_gateways_504_is_looked_up_and_never_sent_again() {
    let world = World::with(WorldOptions { platforms: vec!["retell"], ..WorldOptions::default() }).await;
    let _daemon = world.daemon().await;
    let to = number(0, "0100");
    world.sim("retell").set_scripts(&to, vec![Script::answering(Answer::GatewayTimeoutAfter)]);
    world.enqueue(&world.call_event_on("retell", "doubt", &to)).await;
    world.until_status("doubt", "completed").await;
    assert_eq!(world.creates_to(&to).len(), 1);
}
