//! What the people who run it see: the log, the metrics, readiness.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use voxd::queue::{Attribute, Outgoing};
use voxd::sim::bland::BlandOptions;
use voxd::sim::platform::{Outcome, Script};
use voxd::sim::sqs::{Fault, Faults, Rule};

use crate::harness::{
    Daemon, Receiver, World, WorldOptions, call_event, create_queue, eventually, number, reply, status, within,
};

const API_KEY: &str = "org_key_that_nobody_may_see";
const WEBHOOK_SECRET: &str = "webhook-secret-that-nobody-may-see";
const SIGNING_SECRET: &str = "whsec_bm9ib2R5LW1heS1zZWUtdGhpcy1zZWNyZXQ=";
const AWS_SECRET: &str = "aws-secret-that-nobody-may-see";
const DB_PASSWORD: &str = "pa55word-that-nobody-may-see";
const CONTENT: &str = "Your results of the third of May are in.";
const TRANSCRIPT: &str = "Yes, thank you.";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Addresses of the run's calls: answered, refused, in doubt, busy, rejected, forged.
const DIGITS: &[&str] =
    &["0100", "0101", "0102", "0103", "0109", "0110", "0112", "0114", "0121", "0126", "0128", "0132", "0141", "0145"];

async fn rich_world() -> World {
    let bland =
        BlandOptions { api_key: API_KEY.into(), webhook_secret: WEBHOOK_SECRET.into(), ..BlandOptions::default() };
    let mut url = url::Url::parse(&crate::harness::database().await).expect("an address");
    url.query_pairs_mut().append_pair("password", DB_PASSWORD);
    let environment = [
        ("AWS_SECRET_ACCESS_KEY", AWS_SECRET),
        ("VOXD_OUTCOME_QUEUE", "outcomes"),
        ("VOXD_OUTCOMES__SIGNING_SECRET", SIGNING_SECRET),
        ("VOXD_OUTCOMES__RETRY_INITIAL", "100ms"),
        ("VOXD_EGRESS__ALLOW_PRIVATE_ADDRESSES", "true"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let world =
        World::with(WorldOptions { bland, environment, database_url: Some(url.into()), ..WorldOptions::default() })
            .await;
    create_queue(&world.sqs, "outcomes", json!({})).await;
    world
}

/// A bit of everything. Gives the keys that were made and every number that was called.
async fn rich_run(world: &World, daemon: &Daemon) -> (Vec<String>, BTreeSet<String>) {
    let receiver = Receiver::start(|n| status(if n == 0 { 500 } else { 204 })).await;
    let event = |id: &str, to: &str| {
        let mut event = call_event(id, to);
        event["data"]["content"] = json!(CONTENT);
        event["data"]["voice_config"]["webhook_config"] = json!({ "url": receiver.url, "events": ["queue", "call"] });
        event
    };
    let mut numbers = BTreeSet::new();
    for (n, digits) in DIGITS.iter().enumerate() {
        let to = number(n as u32, digits);
        let mut message = Outgoing::new(event(digits, &to).to_string());
        message.attributes.insert("traceparent".into(), Attribute::string(format!("00-{TRACE}-00f067aa0ba902b7-01")));
        world.enqueue_raw(message).await;
        numbers.insert(to);
    }
    let retried = number(50, "0100");
    world.bland.set_scripts(&retried, vec![Script::ending(Outcome::Busy), Script::default()]);
    let mut again = event("retried", &retried);
    again["data"]["voice_config"]["retry"] =
        json!({ "max_attempts": 2, "on": ["busy"], "backoff": { "initial": "100ms" } });
    world.enqueue(&again).await;
    let mut later = event("later", &number(51, "0100"));
    later["data"]["not_before"] = json!("2099-01-01T00:00:00Z");
    world.enqueue(&later).await;
    let abroad = event("abroad", "+442079460100");
    world.enqueue(&abroad).await;
    let mut misspelt = event("misspelt", &number(52, "0100"));
    misspelt["data"]["lead"]["phone_nmber"] = json!(number(53, "0100"));
    world.enqueue(&misspelt).await;
    world.enqueue_raw(Outgoing::new(format!("not json: {CONTENT} {}", number(54, "0100")))).await;
    numbers.extend([50, 51, 52, 53, 54].map(|n| number(n, "0100")));
    numbers.insert("+442079460100".into());

    let (service, operator) = (world.api(daemon, "service").await, world.api(daemon, "operator").await);
    let mut message = event("unused", &number(60, "0100"))["data"].clone();
    message["channel"] = json!("voice");
    assert_eq!(service.send("by-api", &message).await.status, 202);
    numbers.insert(number(60, "0100"));
    assert_eq!(operator.send("not-allowed", &message).await.status, 403);
    assert_eq!(operator.get("/api/calls/").await.status, 200);
    let wrong = format!("vx_0000_{}", "secret".repeat(8));
    let nobody = reqwest::Client::new().get(format!("{}/api/calls/", daemon.base_url)).bearer_auth(&wrong);
    assert_eq!(reply(nobody).await.status, 401);
    let forged = reqwest::Client::new().post(format!("{}/webhooks/bland_ai", daemon.base_url));
    assert_eq!(reply(forged.body(format!("{{\"to\":\"{}\"}}", number(0, "0100")))).await.status, 401);
    for (id, wanted) in [("0100", "completed"), ("0110", "failed"), ("0114", "scheduled"), ("retried", "completed")] {
        world.until_status(id, wanted).await;
    }
    world.until_status("0126", "completed").await;
    world.until_status("by-api", "completed").await;
    world.until_status("abroad", "rejected").await;
    let path = format!("/api/calls/{}/?reveal=1", world.call_id("0100").await);
    assert_eq!(operator.get(&path).await.status, 200);
    let path = format!("/api/calls/{}/cancel/", world.call_id("later").await);
    assert_eq!(operator.post(&path, &json!({})).await.status, 200);
    world.until_empty("jobs").await;
    eventually("the address was told", async || (receiver.seen().len() > 10).then_some(())).await;
    (vec![service.key().to_owned(), operator.key().to_owned(), wrong], numbers)
}

#[tokio::test]
async fn the_log_of_a_whole_run_is_json_line_by_line_and_holds_nothing_that_it_must_not() {
    let world = rich_world().await;
    // Everything that anybody would turn on, libraries included.
    let daemon = world.daemon_with(&[("RUST_LOG", "debug")]).await;
    let (keys, numbers) = rich_run(&world, &daemon).await;
    let log = daemon.log();

    let mut secrets: Vec<(&str, String)> = [
        ("the platform's key", API_KEY),
        ("the webhook secret", WEBHOOK_SECRET),
        ("the signing secret", SIGNING_SECRET),
        ("the AWS secret", AWS_SECRET),
        ("the database's password", DB_PASSWORD),
        ("a message's content", CONTENT),
        ("a transcript", TRANSCRIPT),
    ]
    .map(|(what, text)| (what, text.to_owned()))
    .to_vec();
    secrets.extend(keys.iter().map(|key| ("an API key", key.rsplit('_').next().unwrap().to_owned())));
    secrets.extend(numbers.iter().map(|number| ("a phone number", number[number.len() - 10..].to_owned())));
    let leaks: Vec<String> = log
        .lines()
        .flat_map(|line| {
            secrets.iter().filter(|(_, text)| line.contains(text.as_str())).map(move |(what, _)| (what, line))
        })
        .map(|(what, line)| format!("{what}: {}", line.chars().take(400).collect::<String>()))
        .collect();
    assert!(
        leaks.is_empty(),
        "{} lines tell what they must not, e.g.\n{}",
        leaks.len(),
        leaks[..leaks.len().min(5)].join("\n")
    );

    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    for line in &lines {
        assert!(["timestamp", "level", "target"].iter().all(|name| line[name].is_string()), "{line}");
        let ours = line["target"].as_str().is_some_and(|target| target.starts_with("voxd"));
        assert!(!ours || line["message"].is_string(), "{line}");
        // Of a webhook that is not believed only the address is known.
        let believed = !line["message"].as_str().is_some_and(|message| message.starts_with("webhook not taken"));
        let with_call = line.get("attempt_id").is_none() || line.get("call_id").is_some();
        assert!(with_call || !believed, "an attempt without its call: {line}");
    }
    let of = |message: &str| lines.iter().filter(move |line| line["message"] == *message).collect::<Vec<_>>();
    for message in ["answered", "webhook applied"] {
        let found = of(message);
        assert!(!found.is_empty(), "nobody logs {message:?}");
        for line in found {
            assert!(line["call_id"].is_string() && line["attempt_id"].is_string(), "{line}");
        }
    }
}

/// The contract's names with the labels that each series has.
const METRICS: &[(&str, &[&str])] = &[
    ("voxd_sqs_messages_total", &["queue", "result"]),
    ("voxd_jobs_accepted_total", &["type"]),
    ("voxd_call_attempts_total", &["platform", "verdict"]),
    ("voxd_calls_finished_total", &["platform", "status"]),
    ("voxd_calls_in_doubt", &[]),
    ("voxd_calls_unknown", &[]),
    ("voxd_oldest_open_call_seconds", &[]),
    ("voxd_calls_waiting", &["reason"]),
    ("voxd_accept_to_send_seconds_bucket", &["le"]),
    ("voxd_platform_request_seconds_bucket", &["platform", "operation", "le"]),
    ("voxd_webhooks_total", &["platform", "result"]),
    ("voxd_webhook_lag_seconds_bucket", &["platform", "le"]),
    ("voxd_lease_lost_total", &[]),
    ("voxd_build_info", &["version", "commit"]),
];

/// The label names of a sample's line.
fn labels(line: &str) -> Vec<&str> {
    let inside = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(inside, _)| inside);
    inside.split(',').filter_map(|pair| Some(pair.split_once('=')?.0)).collect()
}

#[tokio::test]
async fn a_daemon_shows_the_metrics_that_dashboards_rely_on() {
    let world = rich_world().await;
    let daemon = world.daemon().await;
    rich_run(&world, &daemon).await;
    let text = reqwest::get(format!("{}/metrics", daemon.base_url)).await.unwrap().text().await.unwrap();
    for (name, wanted) in METRICS {
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .collect();
        assert!(!lines.is_empty(), "{name} is not there");
        for line in lines {
            assert_eq!(labels(line).into_iter().collect::<BTreeSet<_>>(), wanted.iter().copied().collect(), "{line}");
        }
    }
    // Live sessions are measured once there are some; their metrics are described before.
    for (name, kind) in [("voxd_sessions_active", "gauge"), ("voxd_turn_stage_seconds", "histogram")] {
        assert_eq!(text.matches(&format!("# TYPE {name} {kind}\n")).count(), 1, "{name}");
    }
    let described: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    assert_eq!(described.len(), described.iter().collect::<BTreeSet<_>>().len(), "each once: {described:?}");
    // What is counted is what happened.
    let creates = world.bland.journal().creates();
    let placed = daemon.metric("voxd_call_attempts_total", &["platform=\"bland_ai\"", "verdict=\"placed\""]).await;
    assert!(placed > 0.0 && placed <= creates.len() as f64);
    let accepted = daemon.metric("voxd_jobs_accepted_total", &["type=\"voice.call.requested\""]).await;
    assert_eq!(accepted, world.count("select count(*) from calls").await as f64);
    let rejected = daemon.metric("voxd_sqs_messages_total", &["queue=\"jobs\"", "result=\"rejected\""]).await;
    assert_eq!(rejected, 2.0);
}

#[tokio::test]
async fn readiness_shows_each_part_and_counts_sqs_after_ten_seconds() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let url = format!("{}/readyz", daemon.base_url);
    let ready = async || reply(reqwest::Client::new().get(&url)).await;
    let shape = eventually("all parts are up", async || {
        let reply = ready().await;
        let parts = &reply.body["parts"];
        let up = ["/postgres", "/sqs", "/platforms/bland_ai"]
            .iter()
            .all(|part| parts.pointer(part).is_some_and(|part| part["status"] == "up"));
        (reply.status == 200 && up).then_some(reply.body)
    })
    .await;
    assert_eq!(shape["status"], "ready");
    assert_eq!(shape.as_object().unwrap().len(), 2, "{shape}");
    let parts = shape["parts"].as_object().unwrap();
    assert_eq!(parts.keys().collect::<Vec<_>>(), ["platforms", "postgres", "sqs"]);
    assert_eq!(parts["platforms"].as_object().unwrap().keys().collect::<Vec<_>>(), ["bland_ai"]);
    for part in [&parts["postgres"], &parts["sqs"], &parts["platforms"]["bland_ai"]] {
        assert_eq!(part.as_object().unwrap().keys().collect::<Vec<_>>(), ["detail", "status"], "{part}");
    }

    let away = |fault| Rule { operation: None, queue: None, probability: 1.0, next: None, fault };
    world.sqs.set_faults(Faults { rules: vec![away(Fault::DropBefore)] });
    let since = voxd::clock::monotonic();
    let report = within(Duration::from_secs(25), "not ready without SQS", async || {
        let reply = ready().await;
        (reply.status == 503).then_some(reply.body)
    })
    .await;
    assert!(since.elapsed() >= Duration::from_secs(9), "a short absence is no reason to leave: {:?}", since.elapsed());
    assert_eq!(
        (&report["status"], &report["parts"]["sqs"]["status"]),
        (&json!("not_ready"), &json!("down")),
        "{report}"
    );
    assert_eq!(report["parts"]["postgres"]["status"], "up");
    assert_eq!(reply(reqwest::Client::new().get(format!("{}/healthz", daemon.base_url))).await.status, 200);

    world.sqs.set_faults(Faults::default());
    eventually("it is ready again by itself", async || (ready().await.status == 200).then_some(())).await;
    world.enqueue(&call_event("after", &number(0, "0100"))).await;
    world.until_status("after", "completed").await;
}
