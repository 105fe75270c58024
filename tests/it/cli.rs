//! The commands, as a person or a script uses them: the real binary, its output and its exit codes.

use std::io::Write as _;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{World, call_event, number};

const OK: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const BAD_CONFIGURATION: i32 = 64;
const UNAVAILABLE: i32 = 69;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

async fn voxd_with(environment: &[(&str, &str)], arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxd"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input may have ended before it is written.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut stdin, input.as_bytes()).await;
    drop(stdin);
    let limit = std::time::Duration::from_secs(60);
    let Output { status, stdout, stderr } =
        tokio::time::timeout(limit, child.wait_with_output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

async fn voxd(arguments: &[&str]) -> Ran {
    voxd_with(&[], arguments, "").await
}

async fn voxd_in(world: &World, arguments: &[&str], input: &str) -> Ran {
    let environment: Vec<(&str, &str)> =
        world.environment().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    voxd_with(&environment, arguments, input).await
}

fn one_line(text: &str) -> &str {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    assert_eq!(lines.len(), 1, "expected one line:\n{text}");
    lines[0]
}

const EVENT: &str = r#"{"specversion":"1.0","source":"crm","id":"lead-42","type":"voice.call.requested","data":{
  "content":"Hello Ada.","lead":{"phone_number":"+14155550123","name":"Ada"},
  "voice_config":{"platform":"bland_ai","voice_id":"maya","max_duration":5}}}"#;

#[tokio::test]
async fn help_of_every_command_says_what_it_does_and_shows_examples() {
    let top = voxd(&["--help"]).await;
    assert_eq!(top.code, OK, "{}", top.err);
    let commands: Vec<&str> = top
        .out
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    for expected in ["serve", "migrate", "check", "enqueue", "schema", "calls", "keys", "queue", "simulate"] {
        assert!(commands.contains(&expected), "{expected} is not in {commands:?}");
    }
    for name in commands {
        let help = voxd(&[name, "--help"]).await;
        assert_eq!(help.code, OK, "{name}: {}", help.err);
        assert!(help.out.contains("Examples:"), "{name}:\n{}", help.out);
    }
}

#[tokio::test]
async fn bad_usage_is_2() {
    for arguments in [
        &["frobnicate"][..],
        &["check", "--frobnicate"],
        &["check"],
        &["check", "/there/is/no/such.json"],
        &["enqueue", "-"],
        &["serve", "--roles", "cook"],
        &["serve", "--config"],
        &[],
    ] {
        let ran = voxd_with(&[("AWS_REGION", "us-east-1")], arguments, EVENT).await;
        assert_eq!(ran.code, USAGE, "{arguments:?}: {}{}", ran.out, ran.err);
        assert!(!ran.err.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn bad_configuration_is_64_and_names_the_key_its_source_and_what_is_expected() {
    let ran = voxd_with(&[("VOXD_WORKER__MAX_BACKLOGG", "9")], &["serve"], "").await;
    assert_eq!(ran.code, BAD_CONFIGURATION);
    let line = one_line(&ran.err);
    for part in ["worker.max_backlogg", "VOXD_WORKER__MAX_BACKLOGG", "did you mean \"max_backlog\"?"] {
        assert!(line.contains(part), "{line}");
    }
    let ran = voxd(&["migrate"]).await;
    assert_eq!(ran.code, BAD_CONFIGURATION);
    assert!(one_line(&ran.err).contains("DATABASE_URL"), "{}", ran.err);
    let ran = voxd_with(&[("VOXD_OUTCOMES__SIGNING_SECRET", "hunter2")], &["check", "--config"], "").await;
    assert_eq!(ran.code, BAD_CONFIGURATION);
    assert!(ran.err.contains("expected whsec_") && !ran.err.contains("hunter2"), "{}", ran.err);
}

#[tokio::test]
async fn a_service_that_is_away_is_69() {
    let ran = voxd_with(&[("DATABASE_URL", "postgres://voxd@127.0.0.1:1/voxd")], &["migrate"], "").await;
    assert_eq!(ran.code, UNAVAILABLE, "{}", ran.err);
    one_line(&ran.err);
    let environment = [
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:1"),
    ];
    let ran = voxd_with(&environment, &["enqueue", "-", "--queue", "calls"], EVENT).await;
    assert_eq!(ran.code, UNAVAILABLE, "{}", ran.err);
    assert!(one_line(&ran.err).contains("calls"), "{}", ran.err);
}

#[tokio::test]
async fn check_shows_the_exact_request_and_needs_no_key() {
    let ran = voxd_with(&[], &["check", "-"], EVENT).await;
    assert_eq!(ran.code, OK, "{}", ran.err);
    insta::assert_snapshot!(ran.out, @r#"
    #1 crm/lead-42: accepted
      would call now
      POST https://api.bland.ai/v1/calls
      authorization: [secret]
      content-type: application/json

      {
        "max_duration": 5,
        "metadata": {
          "voxd_attempt_id": "00000000-0000-0000-0000-000000000000",
          "voxd_call_id": "00000000-0000-0000-0000-000000000000"
        },
        "noise_cancellation": true,
        "phone_number": "+14155550123",
        "request_data": {
          "name": "Ada"
        },
        "task": "Hello Ada.",
        "voice": "maya"
      }
    "#);
    let ran = voxd_with(&[("BLAND_AI_API_KEY", "org_hunter2")], &["check", "-", "--json"], EVENT).await;
    assert!(!ran.out.contains("hunter2"), "{}", ran.out);
    let findings: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(findings[0]["request"]["method"], "POST");
    assert_eq!(findings[0]["request"]["body"]["phone_number"], "+14155550123");
}

#[tokio::test]
async fn check_names_what_would_be_refused_and_exits_with_1() {
    let events = [
        EVENT.replace('\n', ""),
        EVENT.replace('\n', "").replace("max_duration", "max_durration"),
        EVENT.replace('\n', "").replace("+14155550123", "+442071838750"),
        EVENT.replace('\n', "").replace(r#""voice_id":"maya""#, r#""platform_config":{"temprature":1}"#),
        "{\"id\":".to_owned(),
    ];
    let ran = voxd_with(&[], &["check", "-", "--json"], &events.join("\n")).await;
    assert_eq!(ran.code, FAILED);
    assert!(ran.err.contains("4 of 5 events would be refused"), "{}", ran.err);
    let findings: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    let reasons: Vec<&str> = findings.iter().map(|finding| finding["reason"].as_str().unwrap_or("-")).collect();
    assert_eq!(reasons, ["-", "schema", "country_not_allowed", "invalid_payload", "not_json"]);
    assert_eq!(findings[1]["problems"][0]["pointer"], "/data/voice_config/max_durration");
    assert!(findings[3]["problems"][0]["detail"].as_str().unwrap().contains("temperature"), "{}", findings[3]);
}

#[tokio::test]
async fn check_shows_what_each_fallback_platform_would_get() {
    let mut event: Value = serde_json::from_str(EVENT).unwrap();
    let config = &mut event["data"]["voice_config"];
    config["fallback_platforms"] = json!(["retell", "vapi"]);
    config["fallback_configs"] = json!({
        "retell": { "from_number": "+14155550100" },
        "vapi": { "platform_config": { "assistantId": "a", "phoneNumberId": "p", "temprature": 1 } },
    });
    let ran = voxd_with(&[], &["check", "-", "--json"], &event.to_string()).await;
    assert_eq!(ran.code, FAILED);
    assert!(ran.err.contains("1 of 1 events would be refused by a fallback platform"), "{}", ran.err);
    let finding = serde_json::from_str::<Value>(&ran.out).unwrap().get(0).unwrap().clone();
    assert_eq!((&finding["ok"], &finding["request"]["platform"]), (&json!(true), &json!("bland_ai")));
    let fallbacks = finding["fallbacks"].as_array().unwrap();
    assert_eq!(fallbacks.len(), 2, "{finding}");
    let retell = &fallbacks[0]["request"];
    assert_eq!((&fallbacks[0]["platform"], &retell["body"]["from_number"]), (&json!("retell"), &json!("+14155550100")));
    assert!(retell["url"].as_str().unwrap().ends_with("/v2/create-phone-call"), "{retell}");
    assert!(fallbacks[1].get("request").is_none());
    let problem = &fallbacks[1]["problems"][0];
    assert!(problem["pointer"].as_str().unwrap().ends_with("/temprature"), "{problem}");

    event["data"]["voice_config"]["fallback_configs"]["vapi"]["platform_config"]
        .as_object_mut()
        .unwrap()
        .remove("temprature");
    let ran = voxd_with(&[], &["check", "-"], &event.to_string()).await;
    assert_eq!(ran.code, OK, "{}", ran.err);
    for wanted in [
        "https://api.bland.ai/v1/calls",
        "proven non-send: retell",
        "/v2/create-phone-call",
        "proven non-send: vapi",
        "https://api.vapi.ai/call",
    ] {
        assert!(ran.out.contains(wanted), "{wanted} in\n{}", ran.out);
    }
    for platform in ["bland_ai", "retell", "vapi"] {
        assert!(ran.err.contains(&format!("note: {platform} has no API key here")), "{}", ran.err);
    }
}

#[tokio::test]
async fn check_takes_named_configurations_from_a_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, r#"{{"reminder":{{"platform":"bland_ai","voice_id":"june"}}}}"#).unwrap();
    let mut event: Value = serde_json::from_str(EVENT).unwrap();
    event["data"]["voice_config"] = json!("reminder");
    let ran = voxd_with(&[], &["check", "-"], &event.to_string()).await;
    assert_eq!(ran.code, FAILED);
    assert!(ran.out.contains("--voice-configs"), "{}", ran.out);
    let path = file.path().to_str().unwrap();
    let ran = voxd_with(&[], &["check", "-", "--json", "--voice-configs", path], &event.to_string()).await;
    assert_eq!(ran.code, OK, "{}", ran.err);
    let findings: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(findings[0]["request"]["body"]["voice"], "june");
}

#[tokio::test]
async fn check_config_shows_every_setting_with_its_source_and_no_secret() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "[poller]\ninterval = \"7s\"").unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let environment = [
        ("BLAND_AI_API_KEY", "org_hunter2"),
        ("VOXD_WORKER__LEASE", "9s"),
        ("DATABASE_URL", "postgres://u:hunter2@h/d"),
    ];
    let ran = voxd_with(&environment, &["check", "--config", &path], "").await;
    assert_eq!(ran.code, OK, "{}", ran.err);
    assert!(!ran.out.contains("hunter2"));
    let line = |key: &str| {
        let line = ran.out.lines().find(|line| line.starts_with(&format!("{key} "))).unwrap_or_default();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("poller.interval"), format!("poller.interval \"7s\" {path}"));
    assert_eq!(line("worker.lease"), "worker.lease \"9s\" VOXD_WORKER__LEASE");
    assert_eq!(line("database.url"), "database.url \"[secret]\" DATABASE_URL");
    assert_eq!(line("reconcile.margin"), "reconcile.margin \"10s\" default");
    let json = voxd_with(&environment, &["check", "--config", "--json"], "").await;
    let settings: Vec<Value> = serde_json::from_str(&json.out).unwrap();
    assert!(settings.iter().any(|setting| setting["key"] == "worker.lease" && setting["from"] == "VOXD_WORKER__LEASE"));
}

#[tokio::test]
async fn schemas_are_what_they_say() {
    for what in ["job", "config", "openapi"] {
        let ran = voxd(&["schema", what]).await;
        assert_eq!(ran.code, OK, "{}", ran.err);
        let schema: Value = serde_json::from_str(&ran.out).unwrap();
        if what == "openapi" {
            assert!(schema["paths"].as_object().is_some_and(|paths| !paths.is_empty()));
        } else {
            jsonschema::validator_for(&schema).unwrap();
        }
    }
}

#[tokio::test]
async fn migrate_brings_a_database_up_to_date_once() {
    let world = World::new().await;
    let ran = voxd_in(&world, &["migrate", "--json"], "").await;
    assert_eq!((ran.code, ran.out.trim()), (OK, "{\n  \"applied\": 0\n}"));
    let ran = voxd_in(&world, &["migrate"], "").await;
    assert_eq!((ran.code, ran.out.as_str()), (OK, "up to date\n"));
}

#[tokio::test]
async fn enqueue_sends_in_batches_and_tells_the_message_ids() {
    let world = World::new().await;
    let events: Vec<String> = (0..3).map(|n| call_event(&format!("e-{n}"), &number(n, "0100")).to_string()).collect();
    let ran = voxd_in(&world, &["enqueue", "-", "--repeat", "4", "--json"], &events.join("\n")).await;
    assert_eq!(ran.code, OK, "{}", ran.err);
    let summary: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&summary["sent"], &summary["failed"], &summary["queue"]), (&json!(12), &json!(0), &json!("jobs")));
    assert_eq!(summary["message_ids"].as_array().unwrap().len(), 12);
    let depth = voxd_in(&world, &["queue", "depth", "--json"], "").await;
    let depth: Value = serde_json::from_str(&depth.out).unwrap();
    assert_eq!(depth[0], json!({ "queue": "jobs", "depth": { "visible": 12, "in_flight": 0, "delayed": 0 } }));
}

#[tokio::test]
async fn enqueue_sends_nothing_when_one_event_is_not_valid_unless_told_to() {
    let world = World::new().await;
    let good = call_event("e-1", &number(1, "0100")).to_string();
    let input = format!("{good}\n{{\"id\":\"x\"}}\n");
    let ran = voxd_in(&world, &["enqueue", "-"], &input).await;
    assert_eq!(ran.code, FAILED);
    assert!(
        ran.err.contains("nothing was sent, 1 of 2") && ran.err.contains("event 2: schema at /type"),
        "{}",
        ran.err
    );
    let depth = voxd_in(&world, &["queue", "depth", "--json"], "").await;
    assert_eq!(serde_json::from_str::<Value>(&depth.out).unwrap()[0]["depth"]["visible"], 0);
    let ran = voxd_in(&world, &["enqueue", "-", "--no-validate"], &input).await;
    assert_eq!((ran.code, ran.out.as_str()), (OK, "2 events sent to jobs\n"));
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_bad_configuration() {
    let world = World::new().await;
    let ran = voxd_in(&world, &["enqueue", "-", "--queue", "nowhere"], EVENT).await;
    assert_eq!(ran.code, BAD_CONFIGURATION, "{}", ran.err);
    assert!(one_line(&ran.err).contains("\"nowhere\" does not exist"), "{}", ran.err);
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let world = World::new().await;
    let arguments = ["keys", "create", "--role", "operator", "--owner", "ada", "--expires", "90d", "--json"];
    let ran = voxd_in(&world, &arguments, "").await;
    assert_eq!(ran.code, OK, "{}", ran.err);
    let key: Value = serde_json::from_str(&ran.out).unwrap();
    let fields: Vec<&String> = key.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["expires_at", "id", "key", "owner", "role"]);
    let id = key["id"].as_str().unwrap();
    assert!(key["key"].as_str().unwrap().starts_with(&format!("vx_{id}_")), "{key}");
    assert_eq!((&key["role"], &key["owner"]), (&json!("operator"), &json!("ada")));
    let listed = voxd_in(&world, &["keys", "list"], "").await;
    assert!(listed.out.contains(id) && !listed.out.contains("vx_"), "{}", listed.out);
    assert_eq!(voxd_in(&world, &["keys", "revoke", id], "").await.code, OK);
    assert_eq!(voxd_in(&world, &["keys", "revoke", id], "").await.code, FAILED);
    let ran = voxd_in(&world, &["keys", "create", "--role", "king", "--owner", "ada"], "").await;
    assert_eq!(ran.code, USAGE);
    assert!(ran.err.contains("user, operator, service"), "{}", ran.err);
}

#[tokio::test]
async fn an_operator_follows_a_call_and_cancels_another() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    world.enqueue(&call_event("followed", &number(1, "0100"))).await;
    let mut later = call_event("later", &number(2, "0100"));
    later["data"]["not_before"] = json!("2099-01-01T00:00:00Z");
    world.enqueue(&later).await;
    crate::harness::eventually("one call has ended and the other waits", async || {
        let ran = voxd_in(&world, &["calls", "list", "--json"], "").await;
        let calls: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
        let status = |id: &str| calls.iter().find(|call| call["event_id"] == id).map(|call| call["status"].clone());
        (status("followed") == Some(json!("completed")) && status("later") == Some(json!("scheduled"))).then_some(())
    })
    .await;
    let shown = voxd_in(&world, &["calls", "show", "test/followed"], "").await;
    assert_eq!(shown.code, OK, "{}", shown.err);
    for part in ["completed", "attempt 1", "accepted", "sending", "webhook", "•"] {
        assert!(shown.out.contains(part), "{part} is missing:\n{}", shown.out);
    }
    assert!(!shown.out.contains(&number(1, "0100")), "{}", shown.out);
    let listed = voxd_in(&world, &["calls", "list", "--status", "scheduled"], "").await;
    assert!(listed.out.contains("test/later") && !listed.out.contains("test/followed"), "{}", listed.out);
    let cancelled = voxd_in(&world, &["calls", "cancel", "test/later", "--because", "she wrote"], "").await;
    assert_eq!((cancelled.code, cancelled.out.as_str()), (OK, "cancelled; it was not sent\n"));
    let again = voxd_in(&world, &["calls", "cancel", "test/later"], "").await;
    assert!(again.code == FAILED && again.err.contains("has ended: cancelled"), "{}", again.err);
    let nobody = voxd_in(&world, &["calls", "show", "test/nobody"], "").await;
    assert!(nobody.code == FAILED && one_line(&nobody.err).contains("there is no call"), "{}", nobody.err);
    let id = serde_json::from_str::<Value>(&voxd_in(&world, &["calls", "show", "test/later", "--json"], "").await.out)
        .unwrap()["id"]
        .clone();
    let settled = ["calls", "settle", id.as_str().unwrap(), "--as", "absent", "--because", "x"];
    let settled = voxd_in(&world, &settled, "").await;
    assert!(settled.code == FAILED && settled.err.contains("only unknown calls"), "{}", settled.err);
    drop(daemon);
}

#[tokio::test]
async fn dead_letters_are_shown_with_their_reasons_and_sent_back() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let ran = voxd_in(&world, &["enqueue", "-", "--no-validate"], "{\"id\":\"x\"}").await;
    assert_eq!(ran.code, OK, "{}", ran.err);
    let shown = crate::harness::eventually("the bad message is a dead letter", async || {
        let ran = voxd_in(&world, &["queue", "dlq"], "").await;
        ran.out.contains("schema").then_some(ran.out)
    })
    .await;
    assert!(shown.contains("/type: is missing"), "{shown}");
    drop(daemon);
    let ran = voxd_in(&world, &["queue", "redrive"], "").await;
    assert_eq!(ran.code, OK, "{}", ran.err);
    assert!(ran.out.contains("jobs"), "{}", ran.out);
}

#[tokio::test]
async fn a_report_counts_calls_with_a_chart_as_json_and_as_csv() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    for n in 1..=3 {
        world.enqueue(&call_event(&format!("r-{n}"), &number(n, "0100"))).await;
    }
    for n in 1..=3 {
        world.until_status(&format!("r-{n}"), "completed").await;
    }
    let page = voxd_in(&world, &["report"], "").await;
    assert_eq!(page.code, OK, "{}", page.err);
    for part in ["PLATFORM", "bland_ai  3      3          100.0%", "USD", "██████", "by hour", "most: "] {
        assert!(page.out.contains(part), "{part} is missing:\n{}", page.out);
    }
    let json = voxd_in(&world, &["report", "--by", "status,campaign_id", "--since", "1h", "--json"], "").await;
    let report: Value = serde_json::from_str(&json.out).unwrap();
    let item = &report["items"][0];
    assert_eq!(
        (&item["status"], &item["campaign_id"], &item["calls"]),
        (&json!("completed"), &json!("123"), &json!(3))
    );
    let csv = voxd_in(&world, &["report", "--by", "platform", "--csv"], "").await;
    assert!(csv.out.starts_with("platform,calls,") && csv.out.contains("\r\nbland_ai,3,"), "{}", csv.out);
    assert_eq!(voxd_in(&world, &["report", "--by", "minute"], "").await.code, USAGE);
    assert_eq!(voxd_in(&world, &["report", "--since", "9999d"], "").await.code, USAGE);
    drop(daemon);
}

#[tokio::test]
async fn simulate_tells_addresses_keys_and_shows_what_arrived() {
    use std::process::Stdio;
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_voxd"));
    command.args(["simulate", "--fast", "--json", "--sqs-port", "0", "--bland-port", "0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let line = BufReader::new(child.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    let client = reqwest::Client::new();
    let speech = told["google_speech"].as_str().unwrap();
    assert_eq!(told["environment"]["VOXD_SPEECH__GOOGLE__STT_ENDPOINT"], speech);
    tokio::net::TcpStream::connect(speech.strip_prefix("http://").unwrap()).await.unwrap();
    for (name, _) in voxd::sim::PLATFORMS {
        let platform = &told["platforms"][name];
        let base = platform["base_url"].as_str().unwrap();
        let setting = format!("VOXD_PLATFORMS__{}__BASE_URL", name.to_uppercase());
        assert_eq!(told["environment"][&setting], base, "{name}");
        assert!(platform["api_key"].is_string() && platform["webhook_secret"].is_string(), "{name}");
        client.get(format!("{base}/what/<is>/this")).send().await.unwrap();
        let page = platform["page"].as_str().unwrap();
        let html = client.get(page).header("accept", "text/html,*/*").send().await.unwrap().text().await.unwrap();
        assert!(html.starts_with("<!doctype html>") && html.contains("GET /what/"), "{name}: {html}");
        let text = client.get(page).send().await.unwrap().text().await.unwrap();
        assert!(text.starts_with(&format!("simulated {name}: 1 requests, 0 for calls")), "{name}: {text}");
    }
    child.kill().await.unwrap();
}
