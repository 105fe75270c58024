//! Vapi's adapter against its simulator: what only Vapi has, above all calls that are created and not dialled.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
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
use voxd::platforms::{AttemptRef, Lookup, Placed, PlacedCall, Platform, SendError, SendPermit, vapi};
use voxd::sim::platform::{Script, SimOptions};
use voxd::sim::vapi::{ASSISTANT_ID, AtLimit, CREDENTIAL_ID, PHONE_NUMBER_ID, SQUAD_ID, Vapi, VapiSim};

use crate::harness::{World, WorldOptions, eventually, number};

const NUMBER: &str = "+14155560100";

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn start(vendor: Vapi) -> (VapiSim, Arc<dyn Platform>) {
    let sim = VapiSim::start_as(listener().await, SimOptions::default(), vendor).unwrap();
    let platform = platform_at(&sim.base_url());
    (sim, platform)
}

fn platform_at(url: &str) -> Arc<dyn Platform> {
    let mut config = Config::load(None, &Environment::default()).unwrap().platforms.remove(vapi::NAME).unwrap();
    config.base_url = url.parse().unwrap();
    config.api_key = Secret::new(SimOptions::default().api_key);
    config.request_timeout = Duration::from_secs(5);
    config.webhook_credential_id = Some(CREDENTIAL_ID.into());
    vapi::from_config(&config).unwrap()
}

fn request(to: &str) -> CallRequest {
    let config = json!({ "assistantId": ASSISTANT_ID, "phoneNumberId": PHONE_NUMBER_ID });
    CallRequest {
        call_id: Uuid::new_v4(),
        attempt_id: Uuid::new_v4(),
        to: PhoneNumber::parse(to).unwrap(),
        content: "Hello.".into(),
        lead_name: None,
        voice_config: serde_json::from_value(json!({ "platform": "vapi", "platform_config": config })).unwrap(),
        metadata: serde_json::Map::new(),
        webhook_url: None,
    }
}

async fn send(platform: &Arc<dyn Platform>, request: &CallRequest) -> Result<Placed, SendError> {
    let payload = platform.format_payload(request).unwrap();
    platform.validate_payload(&payload).unwrap();
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
        committed_at: now - TimeDelta::minutes(10),
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

fn placed_call(placed: &Placed) -> PlacedCall {
    PlacedCall { id: placed.platform_call_id.clone(), handles: placed.handles.clone() }
}

/// A request as another client of the same account might send it.
async fn raw(sim: &VapiSim, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    raw_by(&reqwest::Client::new(), sim, method, path, body).await
}

async fn raw_by(
    client: &reqwest::Client,
    sim: &VapiSim,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let url = format!("{}{path}", sim.base_url());
    let mut request = client.request(method.parse().unwrap(), url).bearer_auth(SimOptions::default().api_key);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

fn body(number: &str) -> Value {
    json!({ "assistantId": ASSISTANT_ID, "phoneNumberId": PHONE_NUMBER_ID, "customer": { "number": number } })
}

#[tokio::test]
async fn a_squad_and_a_renamed_call_are_found_by_what_is_left_of_our_id() {
    let (sim, platform) = start(Vapi::default()).await;
    let mut squad = request(NUMBER);
    squad.voice_config.platform_config =
        serde_json::from_value(json!({ "squadId": SQUAD_ID, "phoneNumberId": PHONE_NUMBER_ID })).unwrap();
    let placed = send(&platform, &squad).await.unwrap();
    let path = format!("/call/{}", placed.platform_call_id);
    assert_eq!(raw(&sim, "PATCH", &path, Some(json!({ "name": "VIP" }))).await.0, StatusCode::OK);
    assert_eq!(found(&find(&platform, &squad).await), Some(placed.platform_call_id.as_str()));
}

#[tokio::test]
async fn a_list_as_long_as_it_can_be_is_read_in_halves() {
    let options = SimOptions { scripts_by_number: false, ..SimOptions::default() };
    let sim = VapiSim::start(listener().await, options).unwrap();
    let platform = platform_at(&sim.base_url());
    let ours = request(NUMBER);
    let placed = send(&platform, &ours).await.unwrap();
    let client = reqwest::Client::new();
    // Newest first: ours is behind a whole list of others'.
    for n in 0..26 {
        let others = (0..40).map(|m| {
            let mut body = body(&format!("+1415557{:04}", n * 40 + m));
            body["name"] = json!("somebody else's");
            raw_by(&client, &sim, "POST", "/call", Some(body))
        });
        assert!(futures_util::future::join_all(others).await.iter().all(|(status, _)| *status == StatusCode::CREATED));
    }
    let (_, page) = raw(&sim, "GET", "/call?limit=1000", None).await;
    assert_eq!(page.as_array().map(Vec::len), Some(1000));
    assert!(page.as_array().unwrap().iter().all(|call| call["id"] != json!(placed.platform_call_id)));
    assert_eq!(found(&find(&platform, &ours).await), Some(placed.platform_call_id.as_str()));
    let Lookup::Absent { evidence } = find(&platform, &request(NUMBER)).await else { panic!("not absent") };
    assert_eq!(evidence["calls"], 1041);
    assert!(evidence["requests"].as_u64().unwrap() >= 3);
    assert!(!evidence.to_string().contains("4155560100"), "the number stays out of the evidence");
}

#[tokio::test]
async fn listings_that_prove_nothing_are_inconclusive() {
    let row = |id: usize| json!({ "id": format!("c-{id}"), "name": "x", "customer": { "number": "+14155560199" } });
    let default_length: Vec<Value> = (0..100).map(row).collect();
    let overfull: Vec<Value> = (0..1001).map(row).collect();
    for answer in [
        json!({}),
        json!({ "results": [], "metadata": { "totalItems": 0 } }),
        json!(null),
        json!([{}]),
        json!([{ "id": "../x" }]),
        // Just as many as come where the limit is not honoured, however narrow the window.
        json!(default_length),
        json!(overfull),
        // Somebody's call to the number without any mark: it may be ours, not yet complete.
        json!([{ "id": "c-1", "type": "outboundPhoneCall", "customer": { "number": NUMBER } }]),
    ] {
        let lookup = find(&platform_at(&serving(answer.clone()).await.0), &request(NUMBER)).await;
        assert!(
            matches!(lookup, Lookup::Inconclusive { .. }),
            "{}: {lookup:?}",
            &answer.to_string()[..40.min(answer.to_string().len())]
        );
    }
    for answer in [json!([]), json!([row(1)]), json!([{ "id": "c-1", "type": "webCall" }])] {
        let lookup = find(&platform_at(&serving(answer.clone()).await.0), &request(NUMBER)).await;
        assert!(matches!(lookup, Lookup::Absent { .. }), "{answer}: {lookup:?}");
    }
}

/// A server that gives this listing, whatever is asked.
async fn serving(body: Value) -> (String, Stopped) {
    let lifecycle = Lifecycle::new();
    let listener = listener().await;
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/call", get(move || async move { axum::Json(body) }));
    let life = lifecycle.clone();
    lifecycle.spawn(async move {
        tokio::select! { _ = axum::serve(listener, router).into_future() => {}, () = life.aborted() => {} }
    });
    (url, Stopped(lifecycle))
}

struct Stopped(Lifecycle);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test]
async fn a_full_account_is_told_by_400_and_the_call_is_not_placed() {
    let (sim, platform) = start(Vapi::without_line(AtLimit::Refused, 1)).await;
    let error = send(&platform, &request(NUMBER)).await.unwrap_err();
    assert_eq!((error.verdict, error.reason.as_str()), (Verdict::NotSent, "concurrency_limit"));
    assert!(error.retry_after.is_some_and(|wait| wait >= Duration::from_secs(30)));
    assert!(sim.call_ids().is_empty());
    assert_eq!(send(&platform, &request(NUMBER)).await.unwrap().remaining, Some(9));
}

#[tokio::test]
async fn a_blocked_201_is_placed_and_its_end_says_that_it_was_never_dialled() {
    for at_limit in [AtLimit::BlockedAndEnded, AtLimit::Ended] {
        let (_sim, platform) = start(Vapi::without_line(at_limit, 1)).await;
        let placed = send(&platform, &request(NUMBER)).await.unwrap();
        let blocked = at_limit == AtLimit::BlockedAndEnded;
        assert_eq!((placed.held_back, placed.remaining), (blocked, Some(if blocked { 0 } else { 9 })));
        let update = platform.call_status(&placed_call(&placed)).await.unwrap();
        assert_eq!((update.state, update.reason.as_deref()), (Some(AttemptState::Failed), Some("provider_capacity")));
        assert!(update.resend_after.is_some(), "{at_limit:?}");
    }
}

#[tokio::test]
async fn a_blocked_201_that_is_dialled_all_the_same_is_a_call_like_any_other() {
    let (sim, platform) = start(Vapi::without_line(AtLimit::BlockedThenDialled, 1)).await;
    sim.set_script(NUMBER, Script { talk: Duration::from_secs(3_600_000), ..Script::default() });
    let placed = send(&platform, &request(NUMBER)).await.unwrap();
    assert!(placed.held_back);
    let update = eventually("somebody answers", async || {
        let update = platform.call_status(&placed_call(&placed)).await.unwrap();
        (update.state == Some(AttemptState::InProgress)).then_some(update)
    })
    .await;
    assert_eq!(update.resend_after, None);
}

#[tokio::test]
async fn a_blocked_call_that_waits_is_left_alone_at_first() {
    let (sim, platform) = start(Vapi::without_line(AtLimit::BlockedAndQueued, 1)).await;
    let placed = send(&platform, &request(NUMBER)).await.unwrap();
    let update = platform.call_status(&placed_call(&placed)).await.unwrap();
    assert_eq!((update.state, update.resend_after), (Some(AttemptState::Placed), None));
    let deleted = sim.journal().entries().iter().filter(|entry| entry.method == "DELETE").count();
    assert_eq!(deleted, 0);
}

/// A server with one call, shown as `shown` and answered as `deleted` when it is erased.
async fn one_blocked_call(shown: (StatusCode, Value), deleted: (StatusCode, Value)) -> (Arc<dyn Platform>, Stopped) {
    let lifecycle = Lifecycle::new();
    let listener = listener().await;
    let platform = platform_at(&format!("http://{}", listener.local_addr().unwrap()));
    let show = move || async move { (shown.0, axum::Json(shown.1)) };
    let erase = move || async move { (deleted.0, axum::Json(deleted.1)) };
    let router = Router::new().route("/call/{id}", get(show).delete(erase));
    let life = lifecycle.clone();
    lifecycle.spawn(async move {
        tokio::select! { _ = axum::serve(listener, router).into_future() => {}, () = life.aborted() => {} }
    });
    (platform, Stopped(lifecycle))
}

#[tokio::test]
async fn a_blocked_call_that_waited_is_taken_back_and_sent_again_only_if_it_was_not_dialled_meanwhile() {
    let made = (clock::now() - TimeDelta::minutes(1)).to_rfc3339();
    let waiting = json!({ "id": "c-1", "status": "queued", "createdAt": made });
    let ringing = json!({ "id": "c-1", "status": "ringing", "createdAt": made, "phoneCallProviderId": "CA1" });
    let missing =
        (StatusCode::NOT_FOUND, json!({ "message": "Couldn't Find Call.", "error": "Not Found", "statusCode": 404 }));
    let ok = |call: &Value| (StatusCode::OK, call.clone());
    let blocked = PlacedCall { id: "c-1".into(), handles: [("concurrency_blocked".into(), "true".into())].into() };
    for (shown, deleted, state, again) in [
        (ok(&waiting), ok(&waiting), Ok(Some(AttemptState::Failed)), true),
        (ok(&waiting), missing.clone(), Ok(Some(AttemptState::Failed)), true),
        (missing.clone(), missing.clone(), Ok(Some(AttemptState::Failed)), true),
        // A line became free between the two requests.
        (ok(&waiting), ok(&ringing), Ok(Some(AttemptState::Ringing)), false),
        (ok(&ringing), ok(&ringing), Ok(Some(AttemptState::Ringing)), false),
        // What proves nothing changes nothing.
        (ok(&waiting), (StatusCode::OK, json!({})), Ok(None), false),
        (ok(&waiting), (StatusCode::NOT_FOUND, json!("a proxy's page")), Err(()), false),
        (ok(&waiting), (StatusCode::SERVICE_UNAVAILABLE, json!({})), Err(()), false),
        ((StatusCode::NOT_FOUND, json!("a proxy's page")), missing.clone(), Err(()), false),
    ] {
        let case = format!("{shown:?} {deleted:?}");
        let (platform, _serving) = one_blocked_call(shown, deleted).await;
        let update = platform.call_status(&blocked).await;
        assert_eq!(update.as_ref().map(|update| update.state).map_err(|_| ()), state, "{case}");
        assert_eq!(update.is_ok_and(|update| update.resend_after.is_some()), again, "{case}");
    }
}

#[tokio::test]
async fn a_call_that_is_not_marked_as_blocked_is_never_sent_again_for_being_unknown() {
    let missing =
        (StatusCode::NOT_FOUND, json!({ "message": "Couldn't Find Call.", "error": "Not Found", "statusCode": 404 }));
    let (platform, _serving) = one_blocked_call(missing.clone(), missing).await;
    assert!(platform.call_status(&PlacedCall::new("c-1")).await.is_err());
}

#[tokio::test]
async fn a_live_call_is_ended_by_its_control_address_which_is_told_no_key() {
    let (sim, platform) = start(Vapi::default()).await;
    sim.set_script(NUMBER, Script { talk: Duration::from_secs(3_600_000), ..Script::default() });
    let placed = send(&platform, &request(NUMBER)).await.unwrap();
    // The simulator refuses a command that brings a key.
    platform.end_call(&placed_call(&placed)).await.unwrap();
    let ended = platform.call_status(&placed_call(&placed)).await.unwrap();
    assert!(ended.state.is_some_and(AttemptState::is_outcome));
    let strange = PlacedCall {
        handles: [("control_url".into(), "http://127.0.0.1:1/control/x".into())].into(),
        ..placed_call(&placed)
    };
    assert!(platform.end_call(&strange).await.unwrap_err().to_string().contains("not one to send to"));
}

#[tokio::test]
async fn the_simulator_refuses_what_vapi_refuses_in_its_shape() {
    let (sim, _) = start(Vapi::default()).await;
    let long = "x".repeat(41);
    for (change, says) in [
        (json!({ "metadata": {} }), "property metadata should not exist"),
        (json!({ "name": long }), "name must be shorter than or equal to 40 characters"),
        (json!({ "assistantId": "a-1" }), "assistantId must be a UUID"),
        (json!({ "assistantId": Uuid::new_v4() }), "Couldn't Find Assistant."),
        (json!({ "phoneNumberId": null }), "phoneNumberId must be a UUID"),
        (json!({ "customer": { "number": "4155550123" } }), "E.164"),
        (json!({ "customer": { "number": NUMBER, "externalId": long } }), "customer.externalId must be shorter"),
        (json!({ "assistantOverrides": { "maxDurationSeconds": 43_201 } }), "maxDurationSeconds"),
        (json!({ "assistantOverrides": { "server": { "url": "http://example.com" } } }), "URL address"),
        (
            json!({ "assistantOverrides": { "server": { "url": "https://example.com", "credentialId": "x" } } }),
            "Couldn't Find Credential.",
        ),
        (json!({ "assistantOverrides": { "serverMessages": ["hung"] } }), "serverMessages"),
        (json!({ "assistantOverrides": { "voice": { "voiceId": "x" } } }), "voice must have a provider"),
    ] {
        let mut body = body(NUMBER);
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (status, answer) = raw(&sim, "POST", "/call", Some(body)).await;
        assert_eq!(
            (status, &answer["statusCode"], &answer["error"]),
            (StatusCode::BAD_REQUEST, &json!(400), &json!("Bad Request"))
        );
        let messages = answer["message"].as_array().unwrap();
        assert!(messages.iter().any(|message| message.as_str().unwrap().contains(says)), "{answer}");
    }
    assert!(sim.call_ids().is_empty());
    for (path, says) in
        [("/call?limit=1001", "limit"), ("/call?page=2", "page"), ("/call?createdAtGe=now", "createdAtGe")]
    {
        let (status, answer) = raw(&sim, "GET", path, None).await;
        assert!(status == StatusCode::BAD_REQUEST && answer["message"].as_str().unwrap().contains(says), "{path}");
    }
}

fn world_options() -> WorldOptions {
    WorldOptions { platforms: vec!["vapi"], ..WorldOptions::default() }
}

#[tokio::test]
async fn a_job_for_vapi_goes_from_the_queue_to_completed_by_signed_webhooks() {
    let world = World::with(world_options()).await;
    let _daemon = world.daemon_with(&[("VOXD_POLLER__INTERVAL", "10m")]).await;
    world.enqueue(&world.call_event_on("vapi", "one", &number(0, "0100"))).await;
    world.until_status("one", "completed").await;
    let creates = world.sim("vapi").journal().creates_by_attempt();
    assert_eq!(creates.values().copied().collect::<Vec<_>>(), [1]);

    let facts = eventually("the report's facts are there", async || {
        let facts: (Option<String>, Option<String>, Option<i32>, Option<Value>, Option<String>, bool) = sqlx::query_as(
            "select trim_scale(cost_amount)::text, cost_currency, duration_seconds, transcript, summary, recording_url is not null from call_attempts",
        )
        .fetch_one(&world.db)
        .await
        .unwrap();
        facts.0.is_some().then_some(facts)
    })
    .await;
    assert_eq!((facts.0.as_deref(), facts.1.as_deref()), (Some("0.014"), Some("USD")));
    assert_eq!((facts.2, facts.4.as_deref(), facts.5), (Some(6), Some("The person confirmed."), true));
    let speakers: Vec<&str> =
        facts.3.as_ref().unwrap().as_array().unwrap().iter().map(|turn| turn["speaker"].as_str().unwrap()).collect();
    assert_eq!(speakers, ["assistant", "user"], "the prompt is not part of it");

    let signed =
        world.count("select count(*) from webhook_inbox where platform = 'vapi' and verified_by = 'hmac'").await;
    assert!(signed >= 4, "{signed}");
    let secrets = "select count(*) from webhook_inbox where convert_from(body, 'UTF8') like '%simulated-twilio-token%'";
    assert_eq!(world.count(secrets).await, 0, "echoed credentials are not kept");
    let polled = "select count(*) from call_events where source = 'poller'";
    assert_eq!(world.count(polled).await, 0, "webhooks told it all");
}

#[tokio::test]
async fn what_a_lost_report_would_have_told_is_asked_for_once_after_the_end() {
    let world = World::with(WorldOptions { without_webhooks: true, ..world_options() }).await;
    let daemon = world.daemon_with(&[("VOXD_POLLER__INTERVAL", "10m")]).await;
    world.enqueue(&world.call_event_on("vapi", "one", &number(0, "0100"))).await;
    world.until_status("one", "placed").await;
    let id = world.sim("vapi").call_ids().remove(0);
    let ended = json!({ "message": {
        "type": "status-update", "status": "ended", "endedReason": "customer-ended-call", "call": { "id": id },
    } });
    assert_eq!(post_signed(&daemon.base_url, &ended).await, 200);
    world.until_status("one", "completed").await;
    let known = "select cost_source is not distinct from 'reported' and transcript is not null and next_look_at is null
                 from call_attempts a join calls c on c.id = a.call_id where event_id = $1";
    assert!(!world.of::<bool>("one", known).await);
    // The time has come.
    sqlx::query("update call_attempts set next_look_at = now() where next_look_at is not null")
        .execute(&world.db)
        .await
        .unwrap();
    eventually("its facts are known, and it is not looked at again", async || {
        world.of::<bool>("one", known).await.then_some(())
    })
    .await;
    assert_eq!(world.status("one").await.unwrap().0, "completed");
}

/// As Vapi signs by a credential with its defaults.
async fn post_signed(base_url: &str, body: &Value) -> u16 {
    let (body, stamp) = (body.to_string(), clock::now().timestamp_millis().to_string());
    let key = hmac::Key::new(hmac::HMAC_SHA256, SimOptions::default().webhook_secret.as_bytes());
    let tag = hmac::sign(&key, format!("{stamp}.{body}").as_bytes());
    let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let request = reqwest::Client::new().post(format!("{base_url}/webhooks/vapi")).body(body);
    request.header("x-signature", tag).header("x-timestamp", stamp).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_misspelt_option_rejects_the_job_and_names_it() {
    let world = World::with(world_options()).await;
    let _daemon = world.daemon().await;
    let mut event = world.call_event_on("vapi", "misspelt", &number(0, "0100"));
    event["data"]["voice_config"]["platform_config"]["assistantOverride"] = json!({});
    world.enqueue(&event).await;
    world.until_status("misspelt", "rejected").await;
    let detail: String = world.of("misspelt", "select status_detail from calls where event_id = $1").await;
    assert!(detail.contains("assistantOverride") && detail.contains("assistantOverrides"), "{detail}");
    assert!(world.sim("vapi").journal().creates().is_empty());
}

#[tokio::test]
async fn calls_that_found_no_free_line_are_sent_again_later_and_nobody_is_called_twice() {
    for (at_limit, verdict) in
        [(AtLimit::Refused, "not_sent"), (AtLimit::BlockedAndEnded, "placed"), (AtLimit::Ended, "placed")]
    {
        let sim = VapiSim::start_as(listener().await, SimOptions::default(), Vapi::without_line(at_limit, 1)).unwrap();
        let config = voxd::sim::platform::Simulator::voice_config(&sim);
        let environment = voxd::sim::platform::Simulator::environment(&sim);
        let world = World::with(WorldOptions { environment, ..WorldOptions::default() }).await;
        let _daemon = world.daemon().await;
        let mut event = world.call_event_on("bland_ai", "one", NUMBER);
        event["data"]["voice_config"] = config;
        world.enqueue(&event).await;
        eventually("it waits for a line", async || {
            let (status, reason) = world.status("one").await?;
            let waits =
                status == "scheduled" && matches!(reason.as_deref(), Some("concurrency_limit" | "provider_capacity"));
            waits.then_some(())
        })
        .await;
        let waits = "select scheduled_for > now() + interval '15 seconds' from calls where event_id = $1";
        assert!(world.of::<bool>("one", waits).await, "{at_limit:?}");
        sqlx::query("update calls set scheduled_for = now()").execute(&world.db).await.unwrap();
        world.until_status("one", "completed").await;
        let attempts = world.answered_attempts("one").await;
        assert_eq!(attempts.len(), 2, "{at_limit:?}");
        assert_eq!(
            (attempts[0].1.as_deref(), attempts[1].1.as_deref()),
            (Some(verdict), Some("placed")),
            "{at_limit:?}"
        );
        assert!(attempts[1].2.starts_with("resend: "), "{attempts:?}");
        assert!(sim.journal().creates_by_attempt().values().all(|count| *count == 1));
        assert_eq!(
            world.of::<i32>("one", "select outcomes from calls where event_id = $1").await,
            1,
            "one outcome of the person's"
        );
    }
}
