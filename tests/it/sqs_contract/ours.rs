//! What only our own server can do: misbehave by order, count, keep its queues over a restart, stop at once.

use std::time::Duration;

use tokio::net::TcpListener;
use voxd::sim::sqs::{ErrorKind, Fault, Faults, Operation, Rule, SqsOptions, SqsServer};

use super::calls::{delete_entry, handle, send_entry};
use super::target::{Target, code};

pub async fn start() -> (SqsServer, Target) {
    start_with(SqsOptions::default()).await
}

async fn start_with(options: SqsOptions) -> (SqsServer, Target) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let server = SqsServer::start(listener, options).expect("starts");
    let target = Target::new(server.endpoint());
    (server, target)
}

fn misbehave(server: &SqsServer, rule: Rule) {
    server.set_faults(Faults { rules: vec![rule] });
}

#[tokio::test]
async fn an_ordered_error_is_answered_and_nothing_is_done() {
    let (server, t) = start().await;
    let url = t.queue("q", &[]).await;
    misbehave(&server, Rule::on(Operation::SendMessage, Fault::Error(ErrorKind::ServiceUnavailable)).next(1));
    let send = || t.client.send_message().queue_url(&url).message_body("x").send();
    assert_eq!(code(send().await), "ServiceUnavailable");
    assert_eq!(t.counts(&url).await, ["0", "0", "0"]);
    send().await.expect("the order is used up");
}

#[tokio::test]
async fn a_throttle_is_known_to_the_sdk() {
    let (server, t) = start().await;
    let url = t.queue("q", &[]).await;
    misbehave(&server, Rule::on(Operation::ReceiveMessage, Fault::Error(ErrorKind::RequestThrottled)));
    let error = t.client.receive_message().queue_url(&url).send().await.unwrap_err().into_service_error();
    assert!(error.is_request_throttled(), "{error:?}");
}

#[tokio::test]
async fn a_connection_is_dropped_before_or_after_the_effect() {
    for (fault, ready) in [(Fault::DropBefore, "0"), (Fault::DropAfter, "1")] {
        let (server, t) = start().await;
        let url = t.queue("q", &[]).await;
        misbehave(&server, Rule::on(Operation::SendMessage, fault).next(1));
        let error = t.client.send_message().queue_url(&url).message_body("x").send().await.unwrap_err();
        assert!(error.as_service_error().is_none(), "no answer came: {error:?}");
        assert_eq!(t.counts(&url).await[0], ready, "{fault:?}");
    }
}

#[tokio::test]
async fn an_error_can_come_though_the_message_was_taken() {
    let (server, t) = start().await;
    let url = t.queue("q", &[]).await;
    misbehave(&server, Rule::on(Operation::SendMessage, Fault::ErrorAfter(ErrorKind::InternalError)).next(1));
    assert_eq!(code(t.client.send_message().queue_url(&url).message_body("x").send().await), "InternalError");
    assert_eq!(t.counts(&url).await[0], "1");
}

#[tokio::test]
async fn batch_entries_fail_by_order_and_are_not_carried_out() {
    let (server, t) = start().await;
    let url = t.queue("q", &[]).await;
    t.send(&url, "x").await;
    let got = t.receive(&url, 30, 0).await.remove(0);
    misbehave(&server, Rule::on(Operation::DeleteMessageBatch, Fault::FailEntries(ErrorKind::InternalError)));
    let call = t.client.delete_message_batch().queue_url(&url).entries(delete_entry("0", handle(&got)));
    let answer = call.send().await.unwrap();
    assert!(answer.successful().is_empty());
    assert!(!answer.failed()[0].sender_fault(), "worth a retry");
    assert_eq!(t.counts(&url).await[1], "1");
}

#[tokio::test]
async fn a_duplicate_is_delivered_after_its_original_was_deleted() {
    let (server, t) = start().await;
    let url = t.queue("q", &[]).await;
    t.send(&url, "x").await;
    misbehave(&server, Rule::on(Operation::ReceiveMessage, Fault::Duplicate).next(1));
    let first = t.receive(&url, 30, 0).await.remove(0);
    t.delete(&url, &first).await;
    let second = t.receive(&url, 30, 0).await.remove(0);
    assert_eq!(first.message_id(), second.message_id());
    t.delete(&url, &second).await;
    assert_eq!(t.counts(&url).await, ["0", "0", "0"]);
}

#[tokio::test]
async fn faults_and_counters_are_reached_over_http() {
    let (server, t) = start().await;
    let url = t.client.create_queue().queue_name("jobs").send().await.unwrap().queue_url.unwrap();
    let put = |body: &'static str| t.http.put(format!("{}/_voxd/faults", t.endpoint)).body(body).send();
    let bad = put(r#"{"rules":[{"fault":"explode"}]}"#).await.unwrap();
    assert_eq!(bad.status(), 400);
    let good =
        put(r#"{"rules":[{"queue":"jobs","operation":"SendMessage","next":1,"fault":{"error":"internal_error"}}]}"#);
    assert_eq!(good.await.unwrap().status(), 204);
    let _ = t.client.send_message().queue_url(&url).message_body("x").send().await;
    let entries = (0..3).map(|n| send_entry(&n.to_string(), "x")).collect();
    t.client.send_message_batch().queue_url(&url).set_entries(Some(entries)).send().await.unwrap();
    let stats = t.http.get(format!("{}/_voxd/stats", t.endpoint)).send().await.unwrap().bytes().await.unwrap();
    let stats: serde_json::Value = serde_json::from_slice(&stats).unwrap();
    assert_eq!(stats["operations"]["SendMessage"]["errors"], 1);
    assert_eq!(stats["operations"]["SendMessageBatch"]["messages"], 3);
    assert_eq!(server.stats().of(Operation::SendMessage).faults, 1);
    server.reset_stats();
    assert_eq!(server.stats().requests, 0);
}

#[tokio::test]
async fn queues_are_kept_over_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let options = SqsOptions { snapshot: Some(place.path().join("queues.json")), ..SqsOptions::default() };
    let (server, t) = start_with(options.clone()).await;
    let url = t.queue("kept", &[("VisibilityTimeout", "77")]).await;
    t.send(&url, "x").await;
    server.shutdown().await.unwrap();
    let (_server, t) = start_with(options).await;
    let name = url.rsplit('/').next().unwrap();
    let url = t.client.get_queue_url().queue_name(name).send().await.unwrap().queue_url.unwrap();
    assert_eq!(t.attribute(&url, "VisibilityTimeout").await.as_deref(), Some("77"));
    assert_eq!(t.receive(&url, 30, 0).await[0].body(), Some("x"));
}

#[tokio::test]
async fn shutdown_answers_long_polls_and_closes_the_port() {
    let (server, t) = start().await;
    let url = t.queue("q", &[]).await;
    let address = server.addr();
    let (got, stopped) = tokio::join!(t.receive(&url, 30, 20), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        tokio::time::timeout(Duration::from_secs(10), server.shutdown()).await
    });
    assert!(got.is_empty());
    stopped.expect("does not wait for the poll's twenty seconds").unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_cannot_tell() {
    let (server, t) = start().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sqs_boto3.py");
    let run = tokio::process::Command::new(super::moto::python()).args([script, &t.endpoint]).output();
    let output = run.await.expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.shutdown().await.unwrap();
}

/// What benchmarks rely on; run by hand: `cargo test --release --test it sqs_contract::ours::speed -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, proves nothing"]
async fn speed() {
    let (server, t) = start().await;
    let url = t.queue("speed", &[]).await;
    let (messages, pollers) = (20_000_u32, 4);
    let lap = |what: &str, started: tokio::time::Instant| {
        println!("{what}: {:.0} messages/s", f64::from(messages) / started.elapsed().as_secs_f64());
    };
    let body = |n| {
        format!(
            r#"{{"QueueUrl":"{url}","Entries":[{}]}}"#,
            (0..10)
                .map(|i| format!(r#"{{"Id":"{i}","MessageBody":"{{\"n\":{n}{i}}}"}}"#))
                .collect::<Vec<_>>()
                .join(",")
        )
    };
    let started = voxd::clock::monotonic();
    futures_util::future::join_all((0..pollers).map(|_| async {
        for n in 0..messages / 10 / pollers {
            t.raw("SendMessageBatch", &body(n)).await;
        }
    }))
    .await;
    lap("send", started);
    let started = voxd::clock::monotonic();
    futures_util::future::join_all((0..pollers).map(|_| async {
        let ask =
            format!(r#"{{"QueueUrl":"{url}","MaxNumberOfMessages":10,"WaitTimeSeconds":0,"AttributeNames":["All"]}}"#);
        loop {
            let (_, _, got) = t.raw("ReceiveMessage", &ask).await;
            let Some(got) = got["Messages"].as_array() else { break };
            let entries: Vec<_> = got
                .iter()
                .enumerate()
                .map(|(n, m)| serde_json::json!({"Id": n.to_string(), "ReceiptHandle": m["ReceiptHandle"]}))
                .collect();
            t.raw("DeleteMessageBatch", &serde_json::json!({"QueueUrl": url, "Entries": entries}).to_string()).await;
        }
    }))
    .await;
    lap("receive and delete", started);
    assert_eq!(server.stats().of(Operation::DeleteMessageBatch).messages, u64::from(messages));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_long_polls_miss_nothing_and_take_nothing_twice() {
    let (server, t) = start().await;
    let url = t.queue("many", &[]).await;
    let poll = async || {
        let mut ids = Vec::new();
        loop {
            let got = t.receive(&url, 600, 20).await;
            if got.iter().any(|message| message.body() == Some("stop")) {
                return ids;
            }
            ids.extend(got.into_iter().filter_map(|message| message.message_id));
        }
    };
    let produce = async {
        for n in 0..300 {
            t.send(&url, &n.to_string()).await;
        }
        // Each poller ends with its own; a poller takes several at once only when others have none to wait for.
        while t.counts(&url).await[0] != "0" {}
        for _ in 0..8 {
            t.send(&url, "stop").await;
            while t.counts(&url).await[0] != "0" {}
        }
    };
    let everybody = futures_util::future::join_all((0..8).map(|_| poll()));
    let all = tokio::time::timeout(Duration::from_secs(15), async { tokio::join!(everybody, produce).0 });
    let mut ids: Vec<_> = all.await.expect("no wake-up is lost, no poll waits its twenty seconds").concat();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 300);
    assert_eq!(server.stats().of(Operation::ReceiveMessage).messages, 308);
}
