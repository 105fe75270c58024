//! Bland AI beyond the common contract: listings and their traps, stopping while it rings, and the strictness and manners of
//! the simulator itself.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use chrono::TimeDelta;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use voxd::call::{AttemptState, CallRequest, PhoneNumber, Verdict};
use voxd::clock;
use voxd::config::{Config, Environment, Secret};
use voxd::lifecycle::Lifecycle;
use voxd::platforms::{AttemptRef, Lookup, Placed, PlacedCall, Platform, SendError, SendPermit, bland};
use voxd::sim::bland::{Bland, BlandOptions, BlandSim};
use voxd::sim::platform::{Answer, Outcome, Script};

const NUMBER: &str = "+14155560100";

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn start(options: BlandOptions) -> (BlandSim, Arc<dyn Platform>) {
    start_as(options, Bland::default()).await
}

async fn start_as(options: BlandOptions, quirks: Bland) -> (BlandSim, Arc<dyn Platform>) {
    let sim = BlandSim::start_as(listener().await, options, quirks).unwrap();
    let platform = platform_at(&sim.base_url());
    (sim, platform)
}

fn platform_at(url: &str) -> Arc<dyn Platform> {
    let mut config = Config::load(None, &Environment::default()).unwrap().platforms.remove(bland::NAME).unwrap();
    config.base_url = url.parse().unwrap();
    config.api_key = Secret::new(BlandOptions::default().api_key);
    config.request_timeout = Duration::from_secs(5);
    bland::from_config(&config).unwrap()
}

fn request(to: &str) -> CallRequest {
    CallRequest {
        call_id: Uuid::new_v4(),
        attempt_id: Uuid::new_v4(),
        to: PhoneNumber::parse(to).unwrap(),
        content: "Hello.".into(),
        lead_name: None,
        voice_config: serde_json::from_value(json!({ "platform": "bland_ai" })).unwrap(),
        metadata: serde_json::Map::new(),
        webhook_url: None,
    }
}

async fn send(platform: &Arc<dyn Platform>, request: &CallRequest) -> Result<Placed, SendError> {
    let payload = platform.format_payload(request).unwrap();
    platform.send_call(&payload, SendPermit::for_the_next(Duration::from_secs(30))).await
}

async fn find(platform: &Arc<dyn Platform>, request: &CallRequest) -> Lookup {
    let now = clock::now();
    let attempt = AttemptRef {
        bound: Vec::new(),
        attempt_id: request.attempt_id,
        call_id: request.call_id,
        to: request.to.clone(),
        from: None,
        committed_at: now - TimeDelta::seconds(30),
        settled_at: now,
        platform_call_id: None,
    };
    platform.find_call(&attempt).await
}

fn found(lookup: &Lookup) -> Option<&str> {
    match lookup {
        Lookup::Found(update) => update.platform_call_id.as_deref(),
        _ => None,
    }
}

/// A request as another client of the same account might send it.
async fn raw(sim: &BlandSim, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let client = reqwest::Client::new();
    let url = format!("{}{path}", sim.base_url());
    let mut request =
        client.request(method.parse().unwrap(), url).header("authorization", BlandOptions::default().api_key);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

#[tokio::test]
async fn the_call_is_found_among_many_to_the_same_number_over_several_pages() {
    for show_total in [false, true] {
        let (_sim, platform) =
            start_as(BlandOptions { page_cap: 2, ..BlandOptions::default() }, Bland { show_total, ..Bland::default() })
                .await;
        let mut requests = Vec::new();
        for _ in 0..7 {
            let request = request(NUMBER);
            let placed = send(&platform, &request).await.unwrap();
            requests.push((request, placed.platform_call_id));
        }
        for (request, id) in &requests {
            assert_eq!(found(&find(&platform, request).await), Some(id.as_str()));
        }
        let Lookup::Absent { evidence } = find(&platform, &request(NUMBER)).await else { panic!("not absent") };
        assert_eq!(evidence["calls_to_the_number"], 7);
        assert!(!evidence.to_string().contains("4155560100"), "the number stays out of the evidence");
    }
}

#[tokio::test]
async fn a_call_that_is_listed_late_is_found_later() {
    let lag = Duration::from_millis(300);
    let (_sim, platform) = start(BlandOptions { list_lag: lag, ..BlandOptions::default() }).await;
    let request = request(NUMBER);
    let placed = send(&platform, &request).await.unwrap();
    assert!(matches!(find(&platform, &request).await, Lookup::Absent { .. }), "one listing alone is no proof");
    clock::sleep(lag).await;
    assert_eq!(found(&find(&platform, &request).await), Some(placed.platform_call_id.as_str()));
}

#[tokio::test]
async fn a_call_that_is_only_active_is_found_where_the_account_may_ask() {
    let options = BlandOptions { list_lag: Duration::from_secs(60), ..BlandOptions::default() };
    let (sim, platform) = start_as(options, Bland { require_org_id: false, ..Bland::default() }).await;
    sim.set_script(NUMBER, Script { talk: Duration::from_secs(3_600_000), ..Script::default() });
    let request = request(NUMBER);
    let placed = send(&platform, &request).await.unwrap();
    assert_eq!(found(&find(&platform, &request).await), Some(placed.platform_call_id.as_str()));
}

#[tokio::test]
async fn a_call_to_the_number_without_metadata_leaves_the_look_up_inconclusive() {
    let (sim, platform) = start(BlandOptions::default()).await;
    let (status, _) = raw(&sim, "POST", "/v1/calls", Some(json!({ "phone_number": NUMBER, "task": "x" }))).await;
    assert_eq!(status, StatusCode::OK);
    assert!(matches!(find(&platform, &request(NUMBER)).await, Lookup::Inconclusive { .. }));
}

#[tokio::test]
async fn listings_that_prove_nothing_are_inconclusive() {
    let row = |id: &str| json!({ "call_id": id, "to": "4155560199", "inbound": false });
    for answer in [
        json!({}),
        json!([]),
        json!({ "calls": null }),
        json!({ "count": 1, "calls": [{}] }),
        // Pages that come again and again: paging is not honoured.
        json!({ "count": 2, "calls": [row("a"), row("b")] }),
    ] {
        let lifecycle = Lifecycle::new();
        let listener = listener().await;
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (body, life) = (answer.clone(), lifecycle.clone());
        let router = Router::new().route("/v1/calls", get(move || async move { axum::Json(body) }));
        lifecycle.spawn(async move {
            tokio::select! { _ = axum::serve(listener, router).into_future() => {}, () = life.aborted() => {} }
        });
        let lookup = find(&platform_at(&url), &request(NUMBER)).await;
        assert!(matches!(lookup, Lookup::Inconclusive { .. }), "{answer}: {lookup:?}");
        lifecycle.abort();
    }
}

#[tokio::test]
async fn a_call_stopped_while_it_rings_is_cancelled() {
    let (sim, platform) = start(BlandOptions::default()).await;
    sim.set_script(NUMBER, Script { ring: Duration::from_secs(3_600_000), ..Script::default() });
    let placed = send(&platform, &request(NUMBER)).await.unwrap();
    assert_eq!(
        platform.call_status(&PlacedCall::new(&placed.platform_call_id)).await.unwrap().state,
        Some(AttemptState::Placed)
    );
    platform.end_call(&PlacedCall::new(&placed.platform_call_id)).await.unwrap();
    assert_eq!(
        platform.call_status(&PlacedCall::new(&placed.platform_call_id)).await.unwrap().state,
        Some(AttemptState::Cancelled)
    );
}

#[tokio::test]
async fn a_second_call_to_a_number_within_ten_seconds_waits_for_the_number() {
    let options = BlandOptions { same_number_window: Some(Duration::from_secs(10)), ..BlandOptions::default() };
    let (sim, platform) = start(options).await;
    send(&platform, &request(NUMBER)).await.unwrap();
    let error = send(&platform, &request(NUMBER)).await.unwrap_err();
    assert_eq!((error.verdict, error.reason.as_str()), (Verdict::NotSent, "same_number"));
    assert!(send(&platform, &request("+14155560101")).await.is_ok());
    assert_eq!(sim.call_ids().len(), 2);
}

#[tokio::test]
async fn the_simulator_refuses_what_bland_refuses_in_its_shape() {
    let (sim, _) = start(BlandOptions::default()).await;
    for (change, says) in [
        (json!({ "volume": 11 }), "additional properties: volume"),
        (json!({ "temperature": 2 }), "temperature"),
        (json!({ "language": "xx-XX" }), "language"),
        (json!({ "webhook": "http://example.com/" }), "https://"),
        (json!({ "keywords": vec!["a"; 21] }), "keywords"),
        (json!({ "max_duration": 721 }), "max_duration"),
        (json!({ "voicemail": { "action": "leave_message" } }), "voicemail.message"),
        (json!({ "pathway_id": Uuid::new_v4() }), "task cannot be used"),
        (json!({ "phone_number": "5550123" }), "phone_number"),
    ] {
        let mut body = json!({ "phone_number": NUMBER, "task": "x" });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (status, answer) = raw(&sim, "POST", "/v1/calls", Some(body)).await;
        assert_eq!((status, &answer["status"]), (StatusCode::BAD_REQUEST, &json!("error")), "{change}");
        assert!(answer["message"].as_str().unwrap().contains(says), "{answer}");
    }
    assert!(sim.call_ids().is_empty());
    let entries = sim.journal().creates();
    assert!(entries.len() == 9 && entries.iter().all(|entry| entry.status == Some(400)));
}

#[tokio::test]
async fn scripts_are_set_and_the_journal_is_read_over_http() {
    let (sim, platform) = start(BlandOptions::default()).await;
    let set = json!({ "number": NUMBER, "scripts": [{ "answer": "server_error_before" }, { "outcome": "busy", "ring": "0s" }] });
    let (status, _) = raw(&sim, "POST", "/_voxd/scripts", Some(set)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let first = request(NUMBER);
    assert_eq!(send(&platform, &first).await.unwrap_err().verdict, Verdict::InDoubt);
    let placed = send(&platform, &request(NUMBER)).await.unwrap();
    assert_eq!(
        platform.call_status(&PlacedCall::new(&placed.platform_call_id)).await.unwrap().state,
        Some(AttemptState::Busy)
    );

    let (_, journal) = raw(&sim, "GET", "/_voxd/journal", None).await;
    assert_eq!(journal[0]["attempt_id"], json!(first.attempt_id));
    assert_eq!((&journal[0]["played"], &journal[0]["created"]), (&json!("server_error_before"), &Value::Null));
    assert_eq!(journal[1]["created"], json!(placed.platform_call_id));
    let (_, rest) = raw(&sim, "GET", "/_voxd/journal?from=2", None).await;
    assert_eq!(rest.as_array().unwrap().len(), 1, "the status request; control requests are not in it");
}

#[tokio::test]
async fn recordings_exist_for_recorded_calls() {
    let (sim, platform) = start(BlandOptions { time_scale: 0.0, ..BlandOptions::default() }).await;
    let mut recorded = request(NUMBER);
    recorded.voice_config.record_call = Some(true);
    let with = send(&platform, &recorded).await.unwrap().platform_call_id;
    let without = send(&platform, &request("+14155560199")).await.unwrap().platform_call_id;
    assert_eq!(raw(&sim, "GET", &format!("/v1/recordings/{with}"), None).await.0, StatusCode::OK);
    let (status, body) = raw(&sim, "GET", &format!("/v1/recordings/{without}"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(body["errors"][0]["error"], "CALL_RECORDING_NOT_FOUND");
}

#[tokio::test]
async fn webhooks_are_repeated_until_they_are_taken_and_sent_again_on_request() {
    let options = BlandOptions { webhook_wait: Duration::from_millis(1), ..BlandOptions::default() };
    let (sim, platform) = start(options).await;
    let lifecycle = Lifecycle::new();
    let receiver = listener().await;
    let url = format!("http://{}/hook", receiver.local_addr().unwrap());
    let times = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (counted, life) = (times.clone(), lifecycle.clone());
    let answer = move || async move {
        let number = counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if number < 3 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
    };
    let router = Router::new().route("/hook", axum::routing::post(answer));
    lifecycle.spawn(async move {
        tokio::select! { _ = axum::serve(receiver, router).into_future() => {}, () = life.aborted() => {} }
    });
    let mut request = request(NUMBER);
    request.webhook_url = Some(url);
    let id = send(&platform, &request).await.unwrap().platform_call_id;
    let path = format!("/v1/postcall/webhooks/{id}");
    let delivery = loop {
        let (_, log) = raw(&sim, "GET", &path, None).await;
        if let Some(delivery) = log["data"]["metadata"].get(0) {
            break delivery.clone();
        }
        clock::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((delivery["response_code"].as_u64(), sim.webhooks_sent()), (Some(200), 4));
    let (status, _) = raw(&sim, "POST", "/v1/postcall/webhooks/resend", Some(json!({ "call_ids": [id] }))).await;
    assert_eq!((status, sim.webhooks_sent()), (StatusCode::OK, 5));
    lifecycle.abort();
}

#[tokio::test]
async fn the_mix_decides_where_no_script_does() {
    let mix = vec![(1, Script::answering(Answer::DoNotCall)), (1, Script::ending(Outcome::Busy))];
    let (_sim, platform) = start(BlandOptions { mix, seed: 5, ..BlandOptions::default() }).await;
    let mut refused = 0;
    for n in 0..40 {
        refused += usize::from(send(&platform, &request(&format!("+1415557{n:04}"))).await.is_err());
    }
    assert!((8..32).contains(&refused), "{refused}");
}

#[tokio::test]
async fn a_dropped_simulator_leaves_nothing_running() {
    let (sim, platform) = start(BlandOptions::default()).await;
    sim.set_script(NUMBER, Script::answering(Answer::HangAfter));
    let (url, pending) = (sim.base_url(), request(NUMBER));
    let hanging = send(&platform, &pending);
    let stopping = async {
        while sim.call_ids().is_empty() {
            clock::sleep(Duration::from_millis(1)).await;
        }
        drop(sim);
    };
    let (result, ()) = tokio::join!(hanging, stopping);
    assert_eq!(result.unwrap_err().reason, "connection_lost", "the hanging request is cut, not waited for");
    let gone = send(&platform_at(&url), &pending).await.unwrap_err();
    assert_eq!(gone.verdict, Verdict::NotSent);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_idle_connections() {
    let (sim, platform) = start(BlandOptions::default()).await;
    send(&platform, &request(NUMBER)).await.unwrap();
    let started = clock::monotonic();
    sim.shutdown().await;
    assert!(clock::monotonic() - started < Duration::from_secs(2), "the grace is for running requests");
}
