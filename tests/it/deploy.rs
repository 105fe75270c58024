//! The dashboard and the alerts against what a daemon serves: every metric, every label, and every label's value that they ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use voxd::sim::platform::{Answer, Script, WebhookFault};

use crate::harness::{
    Daemon, PATIENCE, Receiver, World, WorldOptions, call_event, create_queue, eventually, number, status,
};

/// Those that every scrape adds.
const OF_PROMETHEUS: &[&str] = &["instance", "job"];

/// What one expression asks for.
#[derive(Debug, Default)]
struct Asked {
    /// By metric: label → the values that are named.
    metrics: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// Labels that results are grouped by.
    by: BTreeSet<String>,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn asked(expression: &str) -> Asked {
    let mut asked = Asked::default();
    for (at, _) in expression.match_indices("voxd_") {
        let name: String = expression[at..].chars().take_while(|c| is_word(*c)).collect();
        let behind = &expression[at + name.len()..];
        let labels = asked.metrics.entry(name).or_default();
        let Some((selector, _)) = behind.strip_prefix('{').and_then(|rest| rest.split_once('}')) else { continue };
        for matcher in selector.split(',').filter(|matcher| !matcher.trim().is_empty()) {
            let label: String = matcher.trim().chars().take_while(|c| is_word(*c)).collect();
            let (operator, value) = matcher.trim()[label.len()..].split_once('"').expect("a quoted value");
            let value = value.trim_end_matches('"');
            let named = ["=", "=~"].contains(&operator.trim()) && !value.contains(['$', '.', '*', '+']);
            let values = if named { value.split('|').map(str::to_owned).collect() } else { Vec::new() };
            labels.entry(label).or_default().extend(values);
        }
    }
    for part in expression.split(" by (").skip(1) {
        let (inside, _) = part.split_once(')').expect("a closed list");
        asked.by.extend(inside.split(',').map(|label| label.trim().to_owned()));
    }
    asked
}

/// (where it stands, expression)
fn expressions() -> Vec<(String, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let alerts = std::fs::read_to_string(root.join("prometheus/alerts.yml")).unwrap();
    let mut all = Vec::new();
    let mut alert = String::new();
    for line in alerts.lines() {
        if let Some((_, name)) = line.split_once("- alert: ") {
            alert = format!("alert {name}");
        } else if let Some(expression) = line.trim().strip_prefix("expr: ") {
            assert!(!expression.starts_with(['|', '>']), "{alert}: this test reads expressions of one line");
            all.push((alert.clone(), expression.to_owned()));
        }
    }
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(root.join("grafana/voxd.json")).unwrap()).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            all.push((format!("panel {}", panel["title"]), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            let (inside, _) = query.strip_prefix("label_values(").unwrap().split_once(')').unwrap();
            let (metric, label) = inside.rsplit_once(',').unwrap();
            all.push((format!("variable {}", variable["name"]), format!("sum by ({}) ({metric})", label.trim())));
        }
    }
    all
}

/// metric → its series, each label → value.
type Served = BTreeMap<String, Vec<BTreeMap<String, String>>>;

async fn served(daemon: &Daemon) -> Served {
    let text = reqwest::get(format!("{}/metrics", daemon.base_url)).await.unwrap().text().await.unwrap();
    let mut served = Served::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let pairs = labels.trim_end_matches('}').split("\",").filter_map(|pair| pair.split_once("=\""));
        let labels = pairs.map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned())).collect();
        served.entry(name.to_owned()).or_default().push(labels);
    }
    served
}

/// What is asked for and not served.
fn missing(served: &Served) -> Vec<String> {
    let mut missing = Vec::new();
    for (place, expression) in expressions() {
        let asked = asked(&expression);
        assert!(!asked.metrics.is_empty(), "{place} asks for no metric of voxd: {expression}");
        let mut all_labels: BTreeSet<&str> = OF_PROMETHEUS.iter().copied().collect();
        for (name, labels) in &asked.metrics {
            let Some(series) = served.get(name) else {
                missing.push(format!("{place}: {name} is not served"));
                continue;
            };
            all_labels.extend(series.iter().flat_map(BTreeMap::keys).map(String::as_str));
            for (label, values) in labels.iter().filter(|(label, _)| !OF_PROMETHEUS.contains(&label.as_str())) {
                if !series.iter().any(|series| series.contains_key(label)) {
                    missing.push(format!("{place}: {name} has no label {label}"));
                }
                for value in values {
                    if !series.iter().any(|series| series.get(label) == Some(value)) {
                        missing.push(format!("{place}: {name} has no series with {label}={value:?}"));
                    }
                }
            }
        }
        let known = asked.metrics.keys().all(|name| served.contains_key(name));
        for label in asked.by.iter().filter(|label| known && !all_labels.contains(label.as_str())) {
            missing.push(format!("{place}: groups by {label}, which its metrics do not have"));
        }
    }
    missing
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_ask_for_what_a_daemon_serves() {
    let environment = [
        ("VOXD_OUTCOME_QUEUE", "outcomes"),
        ("VOXD_EGRESS__ALLOW_PRIVATE_ADDRESSES", "true"),
        ("VOXD_COSTS__BLAND_AI__PER_MINUTE", "0.10"),
        ("VOXD_COSTS__BLAND_AI__BUDGET_PER_DAY", "100"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let world = World::with(WorldOptions { environment, ..WorldOptions::default() }).await;
    create_queue(&world.sqs, "outcomes", json!({})).await;
    let daemon = world.daemon().await;
    let receiver = Receiver::start(|_| status(204)).await;
    let mut told = call_event("told", &number(0, "0100"));
    told["data"]["voice_config"]["webhook_config"] = json!({ "url": receiver.url });
    world.enqueue(&told).await;
    // A call of an attempt that was refused: the one thing that is counted only when it happens, under names of its own.
    let refused = number(1, "0100");
    world
        .bland
        .set_script(&refused, Script { webhook: WebhookFault::Lost, ..Script::answering(Answer::InvalidNumber) });
    world.enqueue(&call_event("refused", &refused)).await;
    world.until_status("told", "completed").await;
    world.until_status("refused", "failed").await;
    let attempt: uuid::Uuid = world
        .of("refused", "select a.id from call_attempts a join calls c on c.id = a.call_id where event_id = $1")
        .await;
    let lie = json!({ "call_id": "made-all-the-same", "status": "completed", "completed": true, "metadata": { "voxd_attempt_id": attempt } });
    crate::webhooks_end_to_end::post_signed(&daemon, &lie).await;
    let mut left = Vec::new();
    let nothing_left = async {
        loop {
            // What only time brings (the poll of a queue's depth, the sum of costs) may be behind.
            left = missing(&served(&daemon).await);
            if left.is_empty() {
                break;
            }
            voxd::clock::sleep(Duration::from_millis(200)).await;
        }
    };
    let served_in_time = tokio::time::timeout(PATIENCE, nothing_left).await.is_ok();
    assert!(served_in_time, "{left:#?}");
}

#[tokio::test]
async fn counters_with_known_labels_are_served_before_anything_is_counted() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let series = eventually("the queue is resolved", async || {
        let served = served(&daemon).await;
        served.contains_key("voxd_sqs_messages_total").then_some(served)
    })
    .await;
    for (name, label, values) in [
        ("voxd_call_attempts_total", "verdict", &["placed", "refused", "not_sent", "in_doubt"][..]),
        ("voxd_calls_finished_total", "status", &["completed", "failed", "rejected", "expired"]),
        ("voxd_webhooks_total", "result", &["stored", "bad_signature", "unmatched"]),
        ("voxd_outbox_total", "result", &["delivered", "failed", "abandoned"]),
        ("voxd_sqs_messages_total", "result", &["received", "accepted", "rejected"]),
        ("voxd_messages_rejected_total", "reason", &["schema", "key_reused"]),
        ("voxd_db_errors_total", "cause", &["unavailable", "not_durable", "refused"]),
        ("voxd_reconcile_lookups_total", "result", &["found", "absent", "inconclusive"]),
    ] {
        for value in values {
            let shown = |series: &&BTreeMap<String, String>| series.get(label).is_some_and(|shown| shown == value);
            assert_eq!(series[name].iter().filter(shown).count(), 1, "{name}{{{label}={value:?}}}");
        }
    }
    let total = daemon.metric("voxd_call_attempts_total", &[]).await;
    assert_eq!(total, 0.0, "nothing was counted");
}

#[test]
fn expressions_are_read_as_prometheus_reads_them() {
    let read = asked(r#"sum by (le, platform) (rate(voxd_x_bucket{a="b", c=~"d|e", f!="g", h="$h"}[5m])) / voxd_y"#);
    assert_eq!(read.by.iter().collect::<Vec<_>>(), ["le", "platform"]);
    assert_eq!(read.metrics.keys().collect::<Vec<_>>(), ["voxd_x_bucket", "voxd_y"]);
    let labels = &read.metrics["voxd_x_bucket"];
    assert_eq!(
        (labels["a"].as_slice(), labels["c"].as_slice()),
        (&["b".to_owned()][..], &["d".to_owned(), "e".into()][..])
    );
    assert!(labels["f"].is_empty() && labels["h"].is_empty());
}
