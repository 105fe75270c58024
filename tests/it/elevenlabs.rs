//! The ElevenLabs adapter against its simulator and against answers that the simulator would not give.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::RawQuery;
use axum::routing::get;
use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use voxd::call::{AttemptState, CallRequest, PhoneNumber};
use voxd::clock;
use voxd::config::{Config, Environment, Secret, Telephony};
use voxd::lifecycle::Lifecycle;
use voxd::platforms::{
    AttemptRef, Lookup, Placed, PlacedCall, Platform, PlatformError, SendError, SendPermit, elevenlabs,
};
use voxd::sim::elevenlabs::{ACCOUNT_SID, AUTH_TOKEN, ElevenLabs, ElevenLabsSim};
use voxd::sim::platform::{Outcome, Script, SimOptions, WebhookFault};

use crate::harness::{World, WorldOptions, eventually, number};

const NUMBER: &str = "+14155560100";

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// What a test wants of the account beside its address.
#[derive(Default)]
struct Account {
    carrier: bool,
    lists_unanswered: bool,
    secret: bool,
    trunk: bool,
}

fn platform_at(url: &str, account: Account) -> Arc<dyn Platform> {
    let mut config = Config::load(None, &Environment::default()).unwrap().platforms.remove(elevenlabs::NAME).unwrap();
    config.base_url = url.parse().unwrap();
    config.api_key = Secret::new(SimOptions::default().api_key);
    config.request_timeout = Duration::from_secs(5);
    config.lists_unanswered_calls = Some(account.lists_unanswered);
    config.telephony = Some(if account.trunk { Telephony::SipTrunk } else { Telephony::Twilio });
    if account.carrier {
        config.twilio_account_sid = Some(ACCOUNT_SID.into());
        config.twilio_auth_token = Some(Secret::new(AUTH_TOKEN));
        config.twilio_base_url = Some(url.parse().unwrap());
    }
    if account.secret {
        config.webhook_secret = vec![Secret::new("wsec")];
    }
    elevenlabs::from_config(&config).unwrap()
}

async fn start(vendor: ElevenLabs, account: Account) -> (ElevenLabsSim, Arc<dyn Platform>) {
    start_with(SimOptions::default(), vendor, account).await
}

async fn start_with(options: SimOptions, vendor: ElevenLabs, account: Account) -> (ElevenLabsSim, Arc<dyn Platform>) {
    let sim = ElevenLabsSim::start_as(listener().await, options, vendor).unwrap();
    let platform = platform_at(&sim.base_url(), account);
    (sim, platform)
}

fn hides_unanswered() -> ElevenLabs {
    ElevenLabs { lists_unanswered: false, ..tells_little() }
}

/// Records do not say how the line ended, as older ones do not.
fn tells_little() -> ElevenLabs {
    ElevenLabs { tells_result: false, ..ElevenLabs::default() }
}

fn with_carrier() -> Account {
    Account { carrier: true, ..Account::default() }
}

fn request(to: &str) -> CallRequest {
    CallRequest {
        call_id: Uuid::new_v4(),
        attempt_id: Uuid::new_v4(),
        to: PhoneNumber::parse(to).unwrap(),
        content: "Hello.".into(),
        lead_name: None,
        voice_config: serde_json::from_value(json!({
            "platform": "elevenlabs", "platform_config": { "agent_id": "agent_1", "agent_phone_number_id": "phnum_1" },
        }))
        .unwrap(),
        metadata: serde_json::Map::new(),
        webhook_url: None,
    }
}

async fn send(platform: &Arc<dyn Platform>, request: &CallRequest) -> Result<Placed, SendError> {
    let payload = platform.format_payload(request).unwrap();
    platform.validate_payload(&payload).unwrap();
    platform.send_call(&payload, SendPermit::for_the_next(Duration::from_secs(30))).await
}

async fn find(platform: &Arc<dyn Platform>, request: &CallRequest, bound: &[String]) -> Lookup {
    let now = clock::now();
    let attempt = AttemptRef {
        bound: bound.to_vec(),
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

fn placed_call(placed: &Placed) -> PlacedCall {
    PlacedCall { id: placed.platform_call_id.clone(), handles: placed.handles.clone() }
}

fn reason(lookup: Lookup) -> String {
    match lookup {
        Lookup::Inconclusive { reason } => reason,
        other => panic!("{other:?}"),
    }
}

/// A server that gives a conversation and a listing as told.
struct Fake {
    url: String,
    lifecycle: Lifecycle,
}

impl Fake {
    async fn start(list: impl Fn(&str) -> Value + Clone + Send + Sync + 'static, detail: Value) -> Self {
        let (listener, lifecycle) = (listener().await, Lifecycle::new());
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route(
                "/v1/convai/conversations",
                get(move |RawQuery(query): RawQuery| async move { axum::Json(list(&query.unwrap_or_default())) }),
            )
            .route("/v1/convai/conversations/{id}", get(move || async move { axum::Json(detail) }));
        let life = lifecycle.clone();
        lifecycle.spawn(async move {
            tokio::select! { _ = axum::serve(listener, router).into_future() => {}, () = life.aborted() => {} }
        });
        Self { url, lifecycle }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.lifecycle.abort();
    }
}

#[tokio::test]
async fn an_empty_listing_alone_proves_nothing() {
    let (_sim, platform) = start(ElevenLabs::default(), Account::default()).await;
    assert!(!platform.capabilities().proves_absence);
    assert!(reason(find(&platform, &request(NUMBER), &[]).await).contains("nobody answered"));
    let (_sim, platform) = start(ElevenLabs::default(), Account { lists_unanswered: true, ..Account::default() }).await;
    assert!(matches!(find(&platform, &request(NUMBER), &[]).await, Lookup::Absent { .. }), "the operator says so");
}

#[tokio::test]
async fn the_carriers_account_proves_absence_or_shows_a_call_that_the_listing_hides() {
    let (sim, platform) = start(hides_unanswered(), with_carrier()).await;
    assert!(matches!(find(&platform, &request(NUMBER), &[]).await, Lookup::Absent { .. }));
    sim.set_script(NUMBER, Script { ring: Duration::ZERO, ..Script::ending(Outcome::NoAnswer) });
    let hidden = request(NUMBER);
    send(&platform, &hidden).await.unwrap();
    let says = reason(find(&platform, &hidden, &[]).await);
    assert!(says.contains("1 call(s) to the number") && says.contains("CA00"), "{says}");
    assert!(!says.contains("4155560100"), "the number stays out of the reason");
}

#[tokio::test]
async fn calls_of_other_attempts_to_the_number_do_not_stand_in_the_way_of_proof() {
    let options = SimOptions { page_cap: 1, ..SimOptions::default() };
    let (_sim, platform) = start_with(options, ElevenLabs::default(), with_carrier()).await;
    let mut bound = Vec::new();
    for _ in 0..3 {
        bound.push(send(&platform, &request(NUMBER)).await.unwrap().platform_call_id);
    }
    assert!(matches!(find(&platform, &request(NUMBER), &bound).await, Lookup::Absent { .. }));
    assert!(matches!(find(&platform, &request(NUMBER), &bound[1..]).await, Lookup::Inconclusive { .. }));
}

#[tokio::test]
async fn a_trunks_calls_are_not_looked_for_at_twilio() {
    let account = Account { trunk: true, ..with_carrier() };
    let (sim, platform) = start(ElevenLabs::default(), account).await;
    let capabilities = platform.capabilities();
    assert!(!capabilities.proves_absence && !capabilities.can_end);
    send(&platform, &request(NUMBER)).await.unwrap();
    assert_eq!(sim.journal().creates()[0].path, "/v1/convai/sip-trunk/outbound-call");
}

#[tokio::test]
async fn listings_that_prove_nothing_are_inconclusive() {
    let account = || Account { lists_unanswered: true, ..Account::default() };
    let row = json!({ "conversation_id": "conv_1" });
    for (list, detail, says) in [
        (json!({}), json!({}), "no conversations member"),
        (json!({ "conversations": [{}] }), json!({}), "no readable id"),
        (json!({ "conversations": [], "has_more": true }), json!({}), "not where"),
        (json!({ "conversations": [], "has_more": true, "next_cursor": "c" }), json!({}), "not where"),
        (
            json!({ "conversations": [row] }),
            json!({ "conversation_id": "conv_1", "user_id": Uuid::nil() }),
            "does not honour user_id",
        ),
        (
            json!({ "conversations": [row] }),
            json!({ "conversation_id": "conv_1", "user_id": null }),
            "shows no user_id",
        ),
        (json!({ "conversations": [row] }), json!({ "conversation_id": "conv_2" }), "another conversation"),
    ] {
        let fake = Fake::start(move |_| list.clone(), detail).await;
        let lookup = find(&platform_at(&fake.url, account()), &request(NUMBER), &[]).await;
        assert!(reason(lookup).contains(says), "{says}");
    }
}

#[tokio::test]
async fn a_listing_is_read_to_its_end_and_of_two_calls_the_older_is_adopted() {
    let ours = request(NUMBER);
    let user = ours.attempt_id;
    let list = move |query: &str| {
        assert!(query.contains(&format!("user_id={user}")), "{query}");
        match query.contains("cursor=second") {
            false => json!({ "conversations": [], "has_more": true, "next_cursor": "second" }),
            true => json!({ "conversations": [{ "conversation_id": "conv_1" }], "has_more": false }),
        }
    };
    let fake = Fake::start(list, json!({ "conversation_id": "conv_1", "status": "initiated", "user_id": user })).await;
    let Lookup::Found(update) = find(&platform_at(&fake.url, Account::default()), &ours, &[]).await else {
        panic!("not found")
    };
    assert_eq!((update.platform_call_id.as_deref(), update.attempt_id), (Some("conv_1"), Some(user)));
}

#[tokio::test]
async fn without_the_carrier_a_call_cannot_be_ended_and_says_so() {
    let (_sim, platform) = start(ElevenLabs::default(), Account::default()).await;
    assert!(!platform.capabilities().can_end);
    let placed = send(&platform, &request("+14155560107")).await.unwrap();
    assert_eq!(platform.end_call(&placed_call(&placed)).await, Err(PlatformError::Unsupported));
}

#[tokio::test]
async fn the_carrier_tells_how_a_call_ended_that_elevenlabs_does_not_show() {
    let (sim, platform) = start(hides_unanswered(), with_carrier()).await;
    for (outcome, state) in [
        (Outcome::NoAnswer, AttemptState::NoAnswer),
        (Outcome::Busy, AttemptState::Busy),
        (Outcome::Unavailable, AttemptState::Failed),
    ] {
        sim.set_script(NUMBER, Script { ring: Duration::ZERO, ..Script::ending(outcome) });
        let placed = send(&platform, &request(NUMBER)).await.unwrap();
        let call = placed_call(&placed);
        assert_eq!(platform.call_status(&call).await.unwrap().state, Some(state), "{outcome:?}");
        let unknown = platform.call_status(&PlacedCall::new(placed.platform_call_id)).await;
        assert_eq!(unknown, Err(PlatformError::NotFound), "without the carrier's id nobody knows the call");
    }
}

#[tokio::test]
async fn a_failure_without_a_reason_waits_for_the_webhook_that_may_have_it() {
    for (secret, state) in [(true, None), (false, Some(AttemptState::Failed))] {
        let (sim, platform) = start(tells_little(), Account { secret, ..Account::default() }).await;
        sim.set_script(NUMBER, Script { ring: Duration::ZERO, ..Script::ending(Outcome::NoAnswer) });
        let placed = send(&platform, &request(NUMBER)).await.unwrap();
        assert_eq!(platform.call_status(&placed_call(&placed)).await.unwrap().state, state);
    }
    let long_ago = clock::now().timestamp() - 600;
    let detail =
        json!({ "conversation_id": "conv_1", "status": "failed", "metadata": { "start_time_unix_secs": long_ago } });
    let fake = Fake::start(|_| json!({}), detail).await;
    let platform = platform_at(&fake.url, Account { secret: true, ..Account::default() });
    let update = platform.call_status(&PlacedCall::new("conv_1")).await.unwrap();
    assert_eq!(update.state, Some(AttemptState::Failed));
}

#[tokio::test]
async fn processing_is_no_end_unless_it_never_ends() {
    for (ago, state) in [(120, AttemptState::InProgress), (7200, AttemptState::Completed)] {
        let began = clock::now().timestamp() - ago;
        let metadata = json!({ "accepted_time_unix_secs": began, "call_duration_secs": 60, "cost": 7 });
        let detail = json!({ "conversation_id": "conv_1", "status": "processing", "metadata": metadata });
        let fake = Fake::start(|_| json!({}), detail).await;
        let platform = platform_at(&fake.url, Account::default());
        let update = platform.call_status(&PlacedCall::new("conv_1")).await.unwrap();
        assert_eq!(update.state, Some(state), "{ago}");
        assert_eq!(update.facts.cost.is_some(), state == AttemptState::Completed);
    }
}

#[tokio::test]
async fn the_simulator_refuses_what_elevenlabs_refuses_in_its_shape() {
    let (sim, _) = start(ElevenLabs::default(), Account::default()).await;
    let client = reqwest::Client::new();
    for (change, field) in [
        (json!({ "agent_id": null }), "agent_id"),
        (json!({ "to_number": "5550123" }), "to_number"),
        (json!({ "call_recording_enabled": "yes" }), "call_recording_enabled"),
        (json!({ "conversation_initiation_client_data": { "dynamic_variables": { "a": {} } } }), "a"),
    ] {
        let mut body = json!({ "agent_id": "a", "agent_phone_number_id": "p", "to_number": NUMBER });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let url = format!("{}/v1/convai/twilio/outbound-call", sim.base_url());
        let answer =
            client.post(url).header("xi-api-key", SimOptions::default().api_key).json(&body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 422, "{change}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(&format!("{field:?}")), "{text}");
    }
    assert!(sim.call_ids().is_empty());
    for path in ["/v1/convai/conversations", &format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Calls.json")] {
        assert_eq!(
            client.get(format!("{}{path}", sim.base_url())).send().await.unwrap().status().as_u16(),
            401,
            "{path}"
        );
    }
    let crossed = client.get(format!("{}/2010-04-01/Accounts/{ACCOUNT_SID}/Calls.json", sim.base_url()));
    let crossed = crossed.header("xi-api-key", SimOptions::default().api_key).send().await.unwrap();
    assert_eq!(crossed.status().as_u16(), 401, "one vendor's key opens nothing of the other's");
}

async fn world(environment: &[(&str, &str)]) -> World {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    World::with(WorldOptions { platforms: vec!["elevenlabs"], environment, ..WorldOptions::default() }).await
}

/// Polling that comes too late to tell anything.
const NO_POLLING: &[(&str, &str)] = &[("VOXD_POLLER__INTERVAL", "10m"), ("VOXD_POLLER__MAX_INTERVAL", "10m")];

async fn told_by(world: &World, id: &str, status: &str) -> Vec<String> {
    sqlx::query_scalar(
        "select e.source from call_events e join calls c on c.id = e.call_id where event_id = $1 and to_status = $2",
    )
    .bind(id)
    .bind(status)
    .fetch_all(&world.db)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_job_goes_from_the_queue_to_completed_by_signed_webhooks_with_cost_and_transcript() {
    let world = world(NO_POLLING).await;
    let _daemon = world.daemon().await;
    let to = number(1, "0100");
    world.enqueue(&world.call_event_on("elevenlabs", "whole", &to)).await;
    world.until_status("whole", "completed").await;
    assert_eq!(told_by(&world, "whole", "completed").await, ["webhook"]);
    let facts: String = world
        .of("whole", "select concat_ws(' ', cost_amount, cost_currency, cost_source, duration_seconds, transcript->0->>'text', summary, handles->>'call_sid')
             from call_attempts a join calls c on c.id = a.call_id where event_id = $1")
        .await;
    assert_eq!(
        facts,
        "0.009600 USD reported 6 Hello Ada, this is a reminder. The person confirmed. CA00000000000000000000000000000001"
    );
    let sent = world.creates_to(&to);
    assert!(sent.len() == 1 && sent[0].attempt_id.is_some(), "{sent:?}");
}

#[tokio::test]
async fn a_failure_that_is_told_before_the_create_answer_is_recorded_is_not_lost() {
    let world = world(NO_POLLING).await;
    let _daemon = world.daemon().await;
    let to = number(2, "0102");
    let script = Script { webhook: WebhookFault::BeforeAnswer, ..Script::ending(Outcome::Busy) };
    world.sim("elevenlabs").set_scripts(&to, vec![script]);
    world.enqueue(&world.call_event_on("elevenlabs", "early", &to)).await;
    world.until_status("early", "busy").await;
    assert_eq!(told_by(&world, "early", "busy").await, ["webhook"]);
    assert_eq!(
        world.count("select count(*) from webhook_inbox where applied_at is null or error is not null").await,
        0
    );
}

#[tokio::test]
async fn a_failure_that_is_told_while_its_attempt_is_in_doubt_is_taken_when_the_call_is_found() {
    let world = world(NO_POLLING).await;
    let _daemon = world.daemon().await;
    let to = number(3, "0121");
    // The answer is lost, the webhook comes at once, the look-up finds the call later.
    let script =
        Script { outcome: Outcome::NoAnswer, ..Script::answering(voxd::sim::platform::Answer::ServerErrorAfter) };
    world.sim("elevenlabs").set_scripts(&to, vec![script]);
    world.enqueue(&world.call_event_on("elevenlabs", "doubt", &to)).await;
    world.until_status("doubt", "no_answer").await;
    assert_eq!(world.creates_to(&to).len(), 1);
    // Whoever told it first: the webhook is known to be about this attempt.
    eventually("the webhook is taken into account", async || {
        let open =
            "select count(*) from webhook_inbox where applied_at is null or error is not null or attempt_id is null";
        (world.count(open).await == 0).then_some(())
    })
    .await;
    assert_eq!(world.count("select count(*) from webhook_inbox").await, 1);
}

#[tokio::test]
async fn another_installations_events_are_taken_with_200_and_change_nothing() {
    let world = world(NO_POLLING).await;
    let daemon = world.daemon().await;
    // A call of the same workspace that is not ours.
    let sim = world.sim("elevenlabs");
    let body = json!({ "agent_id": "a", "agent_phone_number_id": "p", "to_number": "+14155560101",
        "conversation_initiation_client_data": { "user_id": "customer-7" } });
    let url = format!("{}/v1/convai/twilio/outbound-call", sim.base_url());
    let key = SimOptions::default().api_key;
    for to in ["+14155560101", "+14155560100"] {
        let mut body = body.clone();
        body["to_number"] = json!(to);
        assert!(
            reqwest::Client::new()
                .post(&url)
                .header("xi-api-key", &key)
                .json(&body)
                .send()
                .await
                .unwrap()
                .status()
                .is_success()
        );
    }
    eventually("both are counted as nobody's", async || {
        (daemon.metric("voxd_webhooks_total", &["platform=\"elevenlabs\"", "result=\"unmatched\""]).await == 2.0)
            .then_some(())
    })
    .await;
    assert_eq!(sim.webhooks_sent(), 2, "each was taken at its first try");
    assert_eq!(world.count("select count(*) from calls").await, 0);
}
