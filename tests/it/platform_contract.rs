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
use voxd::config::{Config, Environment};
use voxd::lifecycle::Lifecycle;
use voxd::platforms::registry::{Constructor, REGISTERED};
use voxd::platforms::{
    AttemptRef, Capabilities, Lookup, Placed, PlacedCall, Platform, PlatformError, Scope, SendError, SendPermit,
    SignatureError,
};
use voxd::sim::Start;
use voxd::sim::platform::{Answer, ListHealth, Outcome, Script, SimOptions, Simulator, WebhookFault, start};

use crate::example_platform::{self, SimulatedAcme};

const SECRET: &str = "contract-secret";
const KEY: &str = "contract-key";

/// What is under contract: every registered platform with its simulator, and the example of how to add one.
fn contracted() -> Vec<(&'static str, Constructor, Start)> {
    let simulator = |name: &str| {
        let found = voxd::sim::PLATFORMS.iter().find(|(simulated, _)| *simulated == name);
        found.unwrap_or_else(|| panic!("src/sim/{name}/ is missing, or its line in src/sim/mod.rs")).1
    };
    let mut all: Vec<_> = REGISTERED.iter().map(|(name, construct)| (*name, *construct, simulator(name))).collect();
    all.push(("acme_voice", example_platform::from_config, start::<SimulatedAcme>));
    all
}

/// A platform, its simulator, and an address that catches webhooks.
struct Rig {
    platform: Arc<dyn Platform>,
    simulator: Box<dyn Simulator>,
    catcher: Catcher,
}

impl Rig {
    async fn start(name: &str) -> Self {
        let (_, _, start) = contracted().into_iter().find(|(known, ..)| *known == name).unwrap();
        let options = SimOptions {
            api_key: KEY.into(),
            webhook_secret: SECRET.into(),
            slow: Duration::from_millis(200),
            late: Duration::from_millis(50),
            ..SimOptions::default()
        };
        let simulator = start(TcpListener::bind("127.0.0.1:0").await.unwrap(), options).unwrap();
        let platform = construct(simulator.as_ref(), &[]);
        let catcher = Catcher::start().await;
        simulator.set_account_webhook(Some(format!("{}/account", catcher.url)));
        Self { platform, simulator, catcher }
    }

    /// The request of an attempt that plays the script of these last digits.
    fn request(&self, digits: &str) -> CallRequest {
        let attempt_id = Uuid::new_v4();
        CallRequest {
            call_id: Uuid::new_v4(),
            attempt_id,
            to: PhoneNumber::parse(&format!("+1415556{digits}")).unwrap(),
            content: "Say hello.".into(),
            lead_name: Some("Ada".into()),
            voice_config: serde_json::from_value(self.simulator.voice_config()).unwrap(),
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
            from: request.voice_config.from_number.clone(),
            committed_at: now - chrono::TimeDelta::seconds(60),
            settled_at: now,
            platform_call_id: None,
            bound: Vec::new(),
        };
        self.platform.find_call(&attempt).await
    }

    /// Asks for the call's status until it has ended.
    async fn outcome(&self, placed: &Placed) -> CallUpdate {
        let call = placed_call(placed);
        for _ in 0..1000 {
            let update = self.platform.call_status(&call).await.unwrap();
            if update.state.is_some_and(AttemptState::is_outcome) {
                return update;
            }
            clock::sleep(Duration::from_millis(10)).await;
        }
        panic!("call {} does not end", call.id);
    }

    /// The platform's own id of the call that it made for this attempt, by its journal.
    fn created(&self, attempt_id: Uuid) -> Option<String> {
        let creates = self.simulator.journal().creates();
        creates.into_iter().find(|entry| entry.attempt_id == Some(attempt_id))?.created
    }
}

fn placed_call(placed: &Placed) -> PlacedCall {
    PlacedCall { id: placed.platform_call_id.clone(), handles: placed.handles.clone() }
}

/// The platform as the simulator's settings make it, with two secrets; `settings` lie over them.
fn construct(simulator: &dyn Simulator, settings: &[(String, String)]) -> Arc<dyn Platform> {
    let name = simulator.name();
    let prefix = format!("VOXD_PLATFORMS__{}__", name.to_uppercase());
    let mut all: BTreeMap<String, String> = simulator.environment().into_iter().collect();
    all.insert(format!("{prefix}WEBHOOK_SECRET"), format!("an older secret,{SECRET}"));
    all.insert(format!("{prefix}REQUEST_TIMEOUT"), "8s".into());
    all.extend(settings.iter().cloned());
    // The example has no section of its own in the reference.
    let reference = Config::load(None, &Environment::default()).unwrap();
    let section = if reference.platforms.contains_key(name) { name } else { "bland_ai" };
    let own = format!("VOXD_PLATFORMS__{}__", section.to_uppercase());
    let all: BTreeMap<String, String> =
        all.into_iter().map(|(name, value)| (name.replace(&prefix, &own), value)).collect();
    let environment = Environment::from_pairs(all.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let config = Config::load(None, &environment).unwrap().platforms.remove(section).unwrap();
    let (_, constructor, _) = contracted().into_iter().find(|(known, ..)| *known == name).unwrap();
    constructor(&config).unwrap()
}

/// The path's last segment, headers, body.
type Caught = Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>;

/// Takes every webhook.
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
        let router = Router::new().route(
            "/webhooks/{id}",
            axum::routing::post(|State(caught): State<Caught>, uri: http::Uri, headers, body| async move {
                let last = uri.path_and_query().unwrap().as_str().rsplit('/').next().unwrap_or_default().to_owned();
                caught.lock().unwrap().push((last, headers, body));
            }),
        );
        let router = router.with_state(caught.clone());
        let life = lifecycle.clone();
        lifecycle.spawn(async move {
            tokio::select! { _ = axum::serve(listener, router).into_future() => {}, () = life.aborted() => {} }
        });
        Self { url, caught, lifecycle }
    }

    fn all(&self) -> Vec<(String, HeaderMap, Bytes)> {
        self.caught.lock().unwrap().clone()
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
        AgentNotFound | SaysNo => (Verdict::Refused, Scope::Request),
        SameNumber => (Verdict::NotSent, Scope::Number),
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

fn setting(rig: &Rig, name: &str, value: &str) -> (String, String) {
    (format!("VOXD_PLATFORMS__{}__{name}", rig.platform.name().to_uppercase()), value.to_owned())
}

async fn each_platform<F: Future<Output = ()>>(test: impl Fn(Arc<Rig>) -> F) {
    for (name, ..) in contracted() {
        test(Arc::new(Rig::start(name).await)).await;
    }
}

#[tokio::test]
async fn every_platform_has_a_simulator_and_every_simulator_a_platform() {
    let simulated: Vec<&str> = voxd::sim::PLATFORMS.iter().map(|(name, _)| *name).collect();
    for (name, _) in REGISTERED {
        assert!(
            simulated.contains(name),
            "{name} is registered; src/sim/{name}/ or its line in src/sim/mod.rs is missing"
        );
        let section = Config::load(None, &Environment::default()).unwrap().platforms.contains_key(*name);
        assert!(section, "src/config/default.toml has no section [platforms.{name}]");
    }
    for name in simulated {
        let registered = REGISTERED.iter().any(|(registered, _)| *registered == name);
        assert!(
            registered,
            "{name} is simulated; src/platforms/{name}/ or its line in src/platforms/registry.rs is missing"
        );
    }
}

#[tokio::test]
async fn every_script_gets_its_verdict_with_one_request_and_the_call_is_found_or_proven_absent() {
    each_platform(|rig| async move {
        let played = Script::table().filter(|(_, script)| rig.simulator.plays(script.answer));
        join_all(played.map(|(digits, script)| {
            let rig = rig.clone();
            async move { check_script(&rig, digits, &script).await }
        }))
        .await;
    })
    .await;
}

async fn check_script(rig: &Rig, digits: &str, script: &Script) {
    let name = rig.platform.name();
    let request = rig.request(digits);
    let answer = rig.send(&request).await;
    match (verdict_of(script.answer), &answer) {
        (None, Ok(placed)) => {
            assert_eq!(Some(&placed.platform_call_id), rig.created(request.attempt_id).as_ref(), "{name} {digits}")
        }
        (Some((verdict, scope)), Err(error)) => {
            let said = (error.verdict, error.scope);
            assert_eq!((verdict, scope), said, "{name} {digits} {:?}: {error:?}", script.answer);
        }
        (expected, got) => panic!("{name} {digits} {:?}: expected {expected:?}, got {got:?}", script.answer),
    }
    let sent = rig.simulator.journal().creates_by_attempt().get(&request.attempt_id).copied();
    assert_eq!(sent, Some(1), "{name} {digits} {:?}", script.answer);
    let why = format!("{name} {digits} {:?}", script.answer);
    match (rig.created(request.attempt_id), rig.find(&request).await) {
        (Some(id), Lookup::Found(update)) => {
            assert_eq!((update.platform_call_id, update.attempt_id), (Some(id), Some(request.attempt_id)), "{why}");
        }
        (None, Lookup::Absent { .. }) => {}
        // A platform whose listing may leave out calls that never rang proves nothing by it, and says so.
        (None, Lookup::Inconclusive { .. }) if !rig.platform.capabilities().proves_absence => {}
        (made, looked) => panic!("{why}: made {made:?}, looked up {looked:?}"),
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

/// What the genuine webhooks of one attempt said, in the order of their coming.
struct Told {
    updates: Vec<CallUpdate>,
    forged: usize,
}

async fn check_story(rig: &Rig, digits: &str, script: &Script) {
    let why = format!("{} {digits}", rig.platform.name());
    let request = rig.request(digits);
    let placed = rig.send(&request).await.unwrap();
    let polled = rig.outcome(&placed).await;
    assert_eq!(polled.state, Some(state_of(script.outcome)), "{why}");
    assert!(polled.attempt_id.is_none_or(|id| id == request.attempt_id), "{why}");
    let mut last = None;
    for _ in 0..500 {
        let told = told(rig, &request, &placed);
        let problem = compare(rig, script, &polled, &told);
        if problem.is_none() {
            return;
        }
        last = problem;
        clock::sleep(Duration::from_millis(20)).await;
    }
    panic!("{why} ({script:?}): {}", last.unwrap_or_default());
}

fn told(rig: &Rig, request: &CallRequest, placed: &Placed) -> Told {
    let mut told = Told { updates: Vec::new(), forged: 0 };
    for (path, headers, body) in rig.catcher.all() {
        let url = format!("{}/{path}", rig.catcher.url);
        // Also what a forger says is about this call, where he says so.
        let Ok(updates) = rig.platform.normalize_webhook(&body) else { panic!("unreadable: {body:?}") };
        let by_path = path.starts_with(&request.attempt_id.to_string());
        let ours = |update: &CallUpdate| {
            let by_id = update.platform_call_id.as_ref() == Some(&placed.platform_call_id);
            by_path || by_id || update.attempt_id == Some(request.attempt_id)
        };
        let ours: Vec<CallUpdate> = updates.into_iter().filter(ours).collect();
        match rig.platform.verify_webhook(&headers, &url, &body) {
            Ok(by) => {
                assert!(by.0.ends_with("#2"), "the second of the two secrets signed it: {by:?}");
                told.updates.extend(ours);
            }
            Err(SignatureError::Missing | SignatureError::Mismatch) => told.forged += usize::from(!ours.is_empty()),
            Err(error) => panic!("{error}"),
        }
    }
    told
}

/// What is still wrong with what the webhooks told, beside what polling found.
fn compare(rig: &Rig, script: &Script, polled: &CallUpdate, told: &Told) -> Option<String> {
    let ends: Vec<AttemptState> =
        told.updates.iter().filter_map(|update| update.state).filter(|state| state.is_outcome()).collect();
    let wanted = if script.webhook == WebhookFault::Doubled { 2 } else { 1 };
    // A platform may not yet know in its webhook what polling finds out.
    let unclear = script.outcome == Outcome::EndsUnknown && ends.is_empty() && !told.updates.is_empty();
    if ends.len() < wanted && !unclear {
        return Some(format!("{} webhooks told the end", ends.len()));
    }
    if ends.iter().any(|end| Some(*end) != polled.state) {
        return Some(format!("webhooks say {ends:?}, polling {:?}", polled.state));
    }
    if (told.forged > 0) != (script.webhook == WebhookFault::Forged) {
        return Some(format!("{} webhooks were forged", told.forged));
    }
    // Later facts lie over earlier ones, as in the ledger; polling may know more.
    let facts = |update: &CallUpdate| match serde_json::to_value(&update.facts) {
        Ok(serde_json::Value::Object(facts)) => facts.into_iter().filter(|(_, value)| !value.is_null()),
        other => panic!("{other:?}"),
    };
    let known: BTreeMap<String, serde_json::Value> = facts(polled).collect();
    let told: BTreeMap<String, serde_json::Value> = told.updates.iter().flat_map(facts).collect();
    for (name, value) in &told {
        if known.get(name).is_some_and(|polled| polled != value) {
            return Some(format!("{name}: webhooks {value}, polling {:?}", known.get(name)));
        }
    }
    if script.outcome == Outcome::Completed {
        let tells = |name: &str| known.contains_key(name) || told.contains_key(name);
        let duration = known.get("duration_seconds").or(told.get("duration_seconds"));
        if duration != Some(&json!(6)) || !tells("cost") {
            return Some(format!("duration {duration:?}, cost {}", tells("cost")));
        }
        if rig.platform.capabilities().reports_transcript && !tells("transcript") {
            return Some("no transcript".into());
        }
    }
    None
}

#[tokio::test]
async fn a_live_call_is_ended_once() {
    each_platform(|rig| async move {
        let Capabilities { can_end, .. } = rig.platform.capabilities();
        if !can_end {
            return;
        }
        let placed = rig.send(&rig.request("0107")).await.unwrap();
        rig.platform.end_call(&placed_call(&placed)).await.unwrap();
        rig.outcome(&placed).await;
        assert!(rig.platform.end_call(&placed_call(&placed)).await.is_err());
        // Where the create answer was lost there is the id alone.
        let placed = rig.send(&rig.request("0107")).await.unwrap();
        rig.platform.end_call(&PlacedCall::new(&placed.platform_call_id)).await.unwrap();
        rig.outcome(&placed).await;
        assert_eq!(rig.platform.end_call(&PlacedCall::new("no-such-call")).await, Err(PlatformError::NotFound));
    })
    .await;
}

#[tokio::test]
async fn a_wrong_key_is_refused_for_the_account_and_shows_in_the_probe() {
    each_platform(|rig| async move {
        rig.platform.probe().await.unwrap();
        let stranger = construct(rig.simulator.as_ref(), &[setting(&rig, "API_KEY", "another-key")]);
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
        assert!(rig.simulator.journal().is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_unknown_call_is_not_found() {
    each_platform(|rig| async move {
        let status = rig.platform.call_status(&PlacedCall::new("3f0c2a0e-0000-4000-8000-000000000001")).await;
        assert_eq!(status, Err(PlatformError::NotFound));
    })
    .await;
}

#[tokio::test]
async fn a_platform_that_is_away_was_not_sent_to_and_proves_nothing() {
    for (name, ..) in contracted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let rig = Rig::start(name).await;
        let platform = construct(rig.simulator.as_ref(), &[setting(&rig, "BASE_URL", &url)]);
        let rig = Rig { platform, ..rig };
        let request = rig.request("0100");
        let error = rig.send(&request).await.unwrap_err();
        assert_eq!((error.verdict, error.reason.as_str()), (Verdict::NotSent, "connect_failed"));
        assert!(matches!(rig.find(&request).await, Lookup::Inconclusive { .. }));
        assert!(matches!(rig.platform.probe().await, Err(PlatformError::Temporary(_))));
    }
}

#[tokio::test]
async fn without_a_secret_no_webhook_is_believed() {
    for (name, ..) in contracted() {
        let rig = Rig::start(name).await;
        let platform = construct(rig.simulator.as_ref(), &[setting(&rig, "WEBHOOK_SECRET", "")]);
        let verified = platform.verify_webhook(&HeaderMap::new(), "https://example.com/webhooks", b"{}");
        // Some vendors sign with the API key itself: then the signature is what is missing.
        assert!(matches!(verified, Err(SignatureError::NoSecret | SignatureError::Missing)), "{name}: {verified:?}");
    }
}

#[tokio::test]
async fn a_sick_listing_proves_nothing() {
    each_platform(|rig| async move {
        let placed = rig.request("0124");
        rig.simulator.set_list_health(ListHealth::Failing);
        assert_eq!(rig.send(&placed).await.unwrap_err().verdict, Verdict::InDoubt);
        assert!(matches!(rig.find(&placed).await, Lookup::Inconclusive { .. }), "{}", rig.platform.name());
        rig.simulator.set_list_health(ListHealth::Well);
        assert!(matches!(rig.find(&placed).await, Lookup::Found(_)), "{}", rig.platform.name());
    })
    .await;
}
