//! The contract that every platform keeps, against its simulator: each script of a create request gets its one verdict
//! with exactly one request sent, doubtful calls are found (or proven absent), and polling and webhooks tell one story.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use futures_util::future::join_all;
use http::HeaderMap;
use serde_json::json;
use tokio::net::TcpListener;
use uuid::Uuid;

use voxd::call::{AttemptState, CallRequest, CallUpdate, PhoneNumber, Verdict};
use voxd::clock;
use voxd::config::{Config, Environment, PlatformConfig, Secret};
use voxd::lifecycle::Lifecycle;
use voxd::platforms::registry::REGISTERED;
use voxd::platforms::{
    AttemptRef, Capabilities, Lookup, Placed, Platform, PlatformError, Scope, SendError, SendPermit, SignatureError,
};
use voxd::sim::bland::{BlandOptions, BlandSim};
use voxd::sim::platform::{Answer, Journal, Outcome, Script, WebhookFault};

const SECRET: &str = "contract-secret";
const KEY: &str = "contract-key";

/// A running simulator, as far as the contract needs it.
struct Simulator {
    base_url: String,
    journal: Journal,
    /// The live events that it can be asked for, in the platform's words.
    events: &'static [&'static str],
    _running: Box<dyn std::any::Any + Send + Sync>,
}

/// One line per platform; [`every_platform_has_a_simulator`] misses the others.
async fn start_simulator(platform: &str) -> Option<Simulator> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    match platform {
        "bland_ai" => {
            let options = BlandOptions {
                api_key: KEY.into(),
                webhook_secret: SECRET.into(),
                slow: Duration::from_millis(200),
                late: Duration::from_millis(50),
                ..BlandOptions::default()
            };
            let sim = BlandSim::start(listener, options).unwrap();
            let (base_url, journal) = (sim.base_url(), sim.journal().clone());
            Some(Simulator { base_url, journal, events: &["queue", "call"], _running: Box::new(sim) })
        }
        _ => None,
    }
}

/// A platform, its simulator, and an address that catches webhooks.
struct Rig {
    platform: Arc<dyn Platform>,
    simulator: Simulator,
    catcher: Catcher,
}

impl Rig {
    async fn start(name: &str) -> Self {
        let simulator = start_simulator(name).await.unwrap_or_else(|| panic!("{name} has no simulator in this test"));
        let platform = construct(name, &simulator.base_url, KEY);
        Self { platform, simulator, catcher: Catcher::start().await }
    }

    /// The request of an attempt that plays the script of these last digits.
    fn request(&self, digits: &str) -> CallRequest {
        let attempt_id = Uuid::new_v4();
        let config = json!({
            "platform": self.platform.name(), "language": "en", "max_duration": 5, "record_call": true,
            "webhook_config": { "events": self.simulator.events },
        });
        CallRequest {
            call_id: Uuid::new_v4(),
            attempt_id,
            to: PhoneNumber::parse(&format!("+1415556{digits}")).unwrap(),
            content: "Say hello.".into(),
            lead_name: Some("Ada".into()),
            voice_config: serde_json::from_value(config).unwrap(),
            metadata: serde_json::Map::from_iter([("campaign_id".into(), json!("123"))]),
            webhook_url: Some(format!("{}/{attempt_id}", self.catcher.url)),
        }
    }

    async fn send(&self, request: &CallRequest) -> Result<Placed, SendError> {
        let payload = self.platform.format_payload(request).unwrap();
        self.platform.validate_payload(&payload).unwrap();
        self.platform.send_call(&payload, SendPermit::for_the_next(Duration::from_secs(30))).await
    }

    async fn find(&self, request: &CallRequest) -> Lookup {
        let now = clock::now();
        let attempt = AttemptRef {
            attempt_id: request.attempt_id,
            call_id: request.call_id,
            to: request.to.clone(),
            from: None,
            committed_at: now - chrono::TimeDelta::seconds(60),
            settled_at: now,
            platform_call_id: None,
        };
        self.platform.find_call(&attempt).await
    }

    /// Asks for the call's status until it has ended.
    async fn outcome(&self, id: &str) -> CallUpdate {
        for _ in 0..1000 {
            let update = self.platform.call_status(id).await.unwrap();
            if update.state.is_some_and(AttemptState::is_outcome) {
                return update;
            }
            clock::sleep(Duration::from_millis(10)).await;
        }
        panic!("call {id} does not end");
    }

    /// The platform's own id of the call that it made for this attempt, by its journal.
    fn created(&self, attempt_id: Uuid) -> Option<String> {
        let creates = self.simulator.journal.creates();
        creates.into_iter().find(|entry| entry.attempt_id == Some(attempt_id))?.created
    }
}

fn construct(name: &str, base_url: &str, key: &str) -> Arc<dyn Platform> {
    let mut config: PlatformConfig =
        Config::load(None, &Environment::default()).unwrap().platforms.remove(name).unwrap();
    config.base_url = base_url.parse().unwrap();
    config.api_key = Secret::new(key);
    config.webhook_secret = vec![Secret::new("an older secret"), Secret::new(SECRET)];
    config.request_timeout = Duration::from_secs(3);
    let (_, constructor) = REGISTERED.iter().find(|(registered, _)| *registered == name).unwrap();
    constructor(&config).unwrap()
}

type Caught = Arc<Mutex<BTreeMap<String, Vec<(HeaderMap, Bytes)>>>>;

/// Takes every webhook, by the last segment of its path.
struct Catcher {
    url: String,
    caught: Caught,
    lifecycle: Lifecycle,
}

impl Catcher {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhooks", listener.local_addr().unwrap());
        let (caught, lifecycle) = (Caught::default(), Lifecycle::new());
        let router =
            Router::new().route(
                "/webhooks/{id}",
                axum::routing::post(
                    |State(caught): State<Caught>,
                     axum::extract::Path(id): axum::extract::Path<String>,
                     headers,
                     body| async move {
                        caught.lock().unwrap().entry(id).or_default().push((headers, body));
                    },
                ),
            );
        let router = router.with_state(caught.clone());
        let life = lifecycle.clone();
        lifecycle.spawn(async move {
            tokio::select! { _ = axum::serve(listener, router).into_future() => {}, () = life.aborted() => {} }
        });
        Self { url, caught, lifecycle }
    }

    /// The attempt's webhooks so far.
    fn of(&self, attempt_id: Uuid) -> Vec<(HeaderMap, Bytes)> {
        self.caught.lock().unwrap().get(&attempt_id.to_string()).cloned().unwrap_or_default()
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        self.lifecycle.abort();
    }
}

/// What each answer means, whatever the platform: design section 4. `None`: placed.
fn verdict_of(answer: Answer) -> Option<(Verdict, Scope)> {
    use Answer::*;
    Some(match answer {
        Accepted | Slow => return None,
        InvalidNumber | DoNotCall | Blacklisted => (Verdict::Refused, Scope::Number),
        AgentNotFound => (Verdict::Refused, Scope::Request),
        PaymentRequired | AccountBlocked | PermanentServerError | Redirect => (Verdict::Refused, Scope::Account),
        RateLimited | RateLimitedWithWait => (Verdict::NotSent, Scope::Account),
        ProxyPage | ServerErrorBefore | ServerErrorAfter | GatewayTimeoutAfter | HangBefore | HangAfter
        | ResetBefore | ResetAfter | CutOffAfter | NoIdAfter | AmbiguousAfter | AmbiguousBefore | OverlongAfter => {
            (Verdict::InDoubt, Scope::Request)
        }
    })
}

fn state_of(outcome: Outcome) -> AttemptState {
    match outcome {
        Outcome::Completed => AttemptState::Completed,
        Outcome::NoAnswer => AttemptState::NoAnswer,
        Outcome::Busy => AttemptState::Busy,
        Outcome::Voicemail => AttemptState::Voicemail,
        Outcome::SpamBlocked | Outcome::NumberNotFound | Outcome::Unavailable => AttemptState::Failed,
        Outcome::EndsUnknown | Outcome::PlatformFailure => AttemptState::Failed,
    }
}

async fn each_platform<F: Future<Output = ()>>(test: impl Fn(Arc<Rig>) -> F) {
    for (name, _) in REGISTERED {
        test(Arc::new(Rig::start(name).await)).await;
    }
}

#[tokio::test]
async fn every_platform_has_a_simulator() {
    for (name, _) in REGISTERED {
        assert!(start_simulator(name).await.is_some(), "{name} has no simulator");
    }
}

#[tokio::test]
async fn every_script_gets_its_verdict_with_one_request_and_the_call_is_found_or_proven_absent() {
    each_platform(|rig| async move {
        join_all(Script::table().map(|(digits, script)| {
            let rig = rig.clone();
            async move { check_script(&rig, digits, &script).await }
        }))
        .await;
    })
    .await;
}

async fn check_script(rig: &Rig, digits: &str, script: &Script) {
    let request = rig.request(digits);
    let answer = rig.send(&request).await;
    match (verdict_of(script.answer), &answer) {
        (None, Ok(placed)) => {
            assert_eq!(Some(&placed.platform_call_id), rig.created(request.attempt_id).as_ref(), "{digits}")
        }
        (Some((verdict, scope)), Err(error)) => {
            assert_eq!((verdict, scope), (error.verdict, error.scope), "{digits} {:?}: {error:?}", script.answer);
        }
        (expected, got) => panic!("{digits} {:?}: expected {expected:?}, got {got:?}", script.answer),
    }
    let sent = rig.simulator.journal.creates_by_attempt().get(&request.attempt_id).copied();
    assert_eq!(sent, Some(1), "{digits} {:?}", script.answer);
    match (rig.created(request.attempt_id), rig.find(&request).await) {
        (Some(id), Lookup::Found(update)) => {
            assert_eq!((update.platform_call_id, update.attempt_id), (Some(id), Some(request.attempt_id)), "{digits}");
        }
        (None, Lookup::Absent { .. }) => {}
        (made, looked) => panic!("{digits} {:?}: made {made:?}, looked up {looked:?}", script.answer),
    }
}

#[tokio::test]
async fn polling_and_webhooks_tell_one_story() {
    each_platform(|rig| async move {
        let calls = Script::table().filter(|(digits, script)| {
            script.answer == Answer::Accepted && *digits != "0107" && script.webhook != WebhookFault::Lost
        });
        join_all(calls.map(|(digits, script)| {
            let rig = rig.clone();
            async move { check_story(&rig, digits, &script).await }
        }))
        .await;
    })
    .await;
}

async fn check_story(rig: &Rig, digits: &str, script: &Script) {
    let request = rig.request(digits);
    let placed = rig.send(&request).await.unwrap();
    let polled = rig.outcome(&placed.platform_call_id).await;
    assert_eq!(polled.state, Some(state_of(script.outcome)), "{digits}");
    assert_eq!(polled.attempt_id, Some(request.attempt_id), "{digits}");
    let last = genuine_end(rig, &request, script).await;
    // A platform may not yet know in its webhook what polling finds out.
    let told = last.state.or((script.outcome == Outcome::EndsUnknown).then_some(AttemptState::Failed));
    assert_eq!((told, last.attempt_id), (polled.state, polled.attempt_id), "{digits}");
    if last.state.is_some() {
        assert_eq!(last.facts, polled.facts, "{digits}");
    }
    if script.outcome == Outcome::Completed {
        assert_eq!(last.facts.duration_seconds, Some(6), "{digits}");
        assert!(last.facts.cost.is_some() && last.facts.transcript.is_some(), "{digits}: {:?}", last.facts);
    }
}

/// Waits for the webhook that tells the end (twice where the script doubles it); forged ones must be told apart.
async fn genuine_end(rig: &Rig, request: &CallRequest, script: &Script) -> CallUpdate {
    let url = request.webhook_url.as_deref().unwrap();
    let wanted = if script.webhook == WebhookFault::Doubled { 2 } else { 1 };
    for _ in 0..1000 {
        let (mut ends, mut forged) = (Vec::new(), 0);
        for (headers, body) in rig.catcher.of(request.attempt_id) {
            match rig.platform.verify_webhook(&headers, url, &body) {
                Ok(by) => {
                    assert_eq!(by.0, "hmac#2", "the second of the two secrets signed it");
                    ends.extend(rig.platform.normalize_webhook(&body).unwrap().into_iter().filter(|update| {
                        let unclear = script.outcome == Outcome::EndsUnknown && update.attempt_id.is_some();
                        unclear || update.state.is_some_and(AttemptState::is_outcome)
                    }));
                }
                Err(SignatureError::Missing | SignatureError::Mismatch) => forged += 1,
                Err(error) => panic!("{error}"),
            }
        }
        if ends.len() >= wanted {
            assert_eq!(forged > 0, script.webhook == WebhookFault::Forged, "{script:?}");
            return ends.pop().unwrap();
        }
        clock::sleep(Duration::from_millis(10)).await;
    }
    panic!("no webhook told the end of {script:?}");
}

#[tokio::test]
async fn a_live_call_is_ended_once() {
    each_platform(|rig| async move {
        let Capabilities { can_end, .. } = rig.platform.capabilities();
        if !can_end {
            return;
        }
        let placed = rig.send(&rig.request("0107")).await.unwrap();
        rig.platform.end_call(&placed.platform_call_id).await.unwrap();
        rig.outcome(&placed.platform_call_id).await;
        assert!(rig.platform.end_call(&placed.platform_call_id).await.is_err());
        assert_eq!(rig.platform.end_call("no-such-call").await, Err(PlatformError::NotFound));
    })
    .await;
}

#[tokio::test]
async fn a_wrong_key_is_refused_for_the_account_and_shows_in_the_probe() {
    each_platform(|rig| async move {
        rig.platform.probe().await.unwrap();
        let stranger = construct(rig.platform.name(), &rig.simulator.base_url, "another key");
        assert!(matches!(stranger.probe().await, Err(PlatformError::Permanent(_))));
        let payload = stranger.format_payload(&rig.request("0100")).unwrap();
        let error = stranger.send_call(&payload, SendPermit::for_the_next(Duration::from_secs(9))).await.unwrap_err();
        assert_eq!((error.verdict, error.scope), (Verdict::Refused, Scope::Account));
    })
    .await;
}

#[tokio::test]
async fn an_ended_permit_sends_nothing() {
    each_platform(|rig| async move {
        let payload = rig.platform.format_payload(&rig.request("0100")).unwrap();
        let ended = SendPermit::until(clock::monotonic());
        let error = rig.platform.send_call(&payload, ended).await.unwrap_err();
        assert_eq!((error.verdict, error.reason.as_str()), (Verdict::NotSent, "permit_ended"));
        assert!(rig.simulator.journal.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_unknown_call_is_not_found() {
    each_platform(|rig| async move {
        let status = rig.platform.call_status("3f0c2a0e-0000-4000-8000-000000000001").await;
        assert_eq!(status, Err(PlatformError::NotFound));
    })
    .await;
}

#[tokio::test]
async fn a_platform_that_is_away_was_not_sent_to_and_proves_nothing() {
    for (name, _) in REGISTERED {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let rig = Rig::start(name).await;
        let rig = Rig { platform: construct(name, &url, KEY), ..rig };
        let request = rig.request("0100");
        let error = rig.send(&request).await.unwrap_err();
        assert_eq!((error.verdict, error.reason.as_str()), (Verdict::NotSent, "connect_failed"));
        assert!(matches!(rig.find(&request).await, Lookup::Inconclusive { .. }));
        assert!(matches!(rig.platform.probe().await, Err(PlatformError::Temporary(_))));
    }
}

#[tokio::test]
async fn without_a_secret_no_webhook_is_believed() {
    for (name, constructor) in REGISTERED {
        let mut config = Config::load(None, &Environment::default()).unwrap().platforms.remove(*name).unwrap();
        config.api_key = Secret::new(KEY);
        config.webhook_secret = Vec::new();
        let platform = constructor(&config).unwrap();
        let verified = platform.verify_webhook(&HeaderMap::new(), "https://example.com/webhooks", b"{}");
        assert_eq!(verified, Err(SignatureError::NoSecret), "{name}");
    }
}
