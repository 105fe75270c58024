//! Outcome events: from a change in the ledger to a receiver of another kind each.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::response::IntoResponse as _;
use http::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;
use voxd::clock;
use voxd::config::{Config, Environment, Secret};
use voxd::job::{RejectReason, Rejection};
use voxd::lifecycle::Lifecycle;
use voxd::outcomes::{Outcomes, SendBatch};
use voxd::store::Store;
use voxd::store::accept::NewRejected;
use voxd::store::outbox::{Claim, Destination};

use crate::harness::{self, Receiver, status};

/// A fresh one.
struct Database {
    url: String,
    pool: PgPool,
}

impl Database {
    async fn fresh() -> Self {
        let url = harness::database().await;
        let pool = PgPool::connect_lazy(&url).unwrap();
        Self { url, pool }
    }

    fn config(&self) -> Config {
        Config::load(None, &Environment::from_pairs([("DATABASE_URL", self.url.as_str())])).unwrap()
    }

    fn store(&self) -> Store {
        Store::new(&self.config().database).unwrap()
    }
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn no_queue() -> SendBatch {
    Arc::new(|_, _| panic!("nothing was to go to a queue"))
}

fn config(database: &Database) -> Config {
    let mut config = database.config();
    config.egress.allow_private_addresses = true;
    config.outcomes.signing_secret = Secret::new(SECRET);
    config.outcomes.retry_initial = Duration::from_millis(50);
    config
}

async fn put(database: &Database, destination: &str, address: &str) -> Uuid {
    let id = Uuid::new_v4();
    sqlx::query("insert into outbox (id, call_id, type, destination, address, event) values ($1, $2, 'voice.call.finished', $3, $4, $5)")
        .bind(id)
        .bind(Uuid::new_v4())
        .bind(destination)
        .bind(address)
        .bind(json!({ "id": id, "type": "voice.call.finished", "data": { "status": "completed" } }))
        .execute(&database.pool)
        .await
        .unwrap();
    id
}

/// `delivered`, `abandoned` or `pending`, with the tries and the last error.
async fn state(database: &Database, id: Uuid) -> (String, i32, String) {
    sqlx::query_as(
        "select case when delivered_at is not null then 'delivered' when abandoned_at is not null then 'abandoned' else 'pending' end,
                attempts, coalesce(last_error, '') from outbox where id = $1",
    )
    .bind(id)
    .fetch_one(&database.pool)
    .await
    .unwrap()
}

async fn until_settled(database: &Database, id: Uuid) -> (String, i32, String) {
    let deadline = clock::monotonic() + Duration::from_secs(30);
    loop {
        let state = state(database, id).await;
        if state.0 != "pending" {
            return state;
        }
        assert!(clock::monotonic() < deadline, "not settled within 30 s: {state:?}");
        clock::sleep(Duration::from_millis(20)).await;
    }
}

async fn deliver_until_settled(
    database: &Database,
    config: &Config,
    send: SendBatch,
    id: Uuid,
) -> (String, i32, String) {
    let lifecycle = Lifecycle::new();
    Outcomes::new(config, database.store(), send).unwrap().start(&lifecycle);
    let state = until_settled(database, id).await;
    assert!(lifecycle.drain(Duration::from_secs(10)).await, "the loops did not end");
    state
}

#[tokio::test]
async fn an_event_is_posted_signed_and_again_with_the_same_id_until_it_is_taken() {
    let database = Database::fresh().await;
    let receiver = Receiver::start(|n| status(if n < 2 { 500 } else { 204 })).await;
    let id = put(&database, "url", &receiver.url).await;
    let (state, attempts, _) = deliver_until_settled(&database, &config(&database), no_queue(), id).await;
    assert_eq!((state.as_str(), attempts), ("delivered", 3));
    let seen = receiver.seen();
    assert_eq!(seen.len(), 3);
    for (headers, body) in &seen {
        let header = |name: &str| headers[name].to_str().unwrap();
        assert_eq!(header("webhook-id"), id.to_string());
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(body, &seen[0].1, "the body changed between tries");
        let signed = format!("{id}.{}.{}", header("webhook-timestamp"), std::str::from_utf8(body).unwrap());
        assert_eq!(header("webhook-signature"), format!("v1,{}", hmac(signed.as_bytes())));
        let sent_at: i64 = header("webhook-timestamp").parse().unwrap();
        assert!((clock::now().timestamp() - sent_at).abs() < 60);
    }
}

fn hmac(message: &[u8]) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let key = base64.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key);
    base64.encode(aws_lc_rs::hmac::sign(&key, message))
}

#[tokio::test]
async fn gone_means_never_again() {
    let database = Database::fresh().await;
    let receiver = Receiver::start(|_| status(410)).await;
    let id = put(&database, "url", &receiver.url).await;
    let (state, attempts, error) = deliver_until_settled(&database, &config(&database), no_queue(), id).await;
    assert_eq!((state.as_str(), attempts, error.as_str()), ("abandoned", 1, "answered 410 (gone)"));
}

#[tokio::test]
async fn an_event_that_nobody_takes_is_given_up_after_its_time() {
    let database = Database::fresh().await;
    let receiver = Receiver::start(|_| status(404)).await;
    let mut config = config(&database);
    config.outcomes.give_up_after = Duration::from_secs(4);
    let id = put(&database, "url", &receiver.url).await;
    let (state, attempts, error) = deliver_until_settled(&database, &config, no_queue(), id).await;
    assert_eq!((state.as_str(), error.as_str()), ("abandoned", "answered 404"));
    assert!(attempts > 1, "{attempts}");
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_not_followed() {
    let database = Database::fresh().await;
    let elsewhere = Receiver::start(|_| status(204)).await;
    let location = elsewhere.url.clone();
    let receiver = Receiver::start(move |n| match n {
        0 => (StatusCode::TEMPORARY_REDIRECT, [("location", location.clone())]).into_response(),
        _ => status(200),
    })
    .await;
    let id = put(&database, "url", &receiver.url).await;
    let (state, attempts, _) = deliver_until_settled(&database, &config(&database), no_queue(), id).await;
    assert_eq!((state.as_str(), attempts), ("delivered", 2));
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_private_address_is_refused_before_anybody_is_connected_to() {
    let database = Database::fresh().await;
    let receiver = Receiver::start(|_| status(204)).await;
    let mut config = config(&database);
    config.egress.allow_private_addresses = false;
    let plain = put(&database, "url", &receiver.url).await;
    let literal = put(&database, "url", &receiver.url.replace("http:", "https:")).await;
    let (state, _, error) = deliver_until_settled(&database, &config, no_queue(), plain).await;
    assert!(state == "abandoned" && error.contains("expected https:"), "{state} {error}");
    let (state, _, error) = deliver_until_settled(&database, &config, no_queue(), literal).await;
    assert!(state == "abandoned" && error.contains("not a public address"), "{state} {error}");
    assert!(receiver.seen().is_empty());
}

#[tokio::test]
async fn a_slow_host_does_not_hold_up_the_others() {
    let database = Database::fresh().await;
    let slow = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow_url = format!("http://{}/", slow.local_addr().unwrap());
    for _ in 0..100 {
        put(&database, "url", &slow_url).await;
    }
    let receiver = Receiver::start(|_| status(204)).await;
    let id = put(&database, "url", &receiver.url).await;
    let lifecycle = Lifecycle::new();
    Outcomes::new(&config(&database), database.store(), no_queue()).unwrap().start(&lifecycle);
    assert_eq!(until_settled(&database, id).await.0, "delivered");
    lifecycle.abort();
    lifecycle.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn events_for_a_queue_go_in_batches_and_what_was_refused_goes_again() {
    let database = Database::fresh().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(put(&database, "queue", "outcomes").await);
    }
    let sent: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
    let (sink, calls) = (sent.clone(), Arc::new(AtomicUsize::new(0)));
    let send: SendBatch = Arc::new(move |queue, events| {
        assert_eq!(queue, "outcomes");
        let first = calls.fetch_add(1, SeqCst) == 0;
        sink.lock().unwrap().push(events.iter().map(|event| event.deduplication_id.clone()).collect());
        let results =
            (0..events.len()).map(|n| if first && n == 1 { Err("throttled".into()) } else { Ok(()) }).collect();
        Box::pin(async move { results })
    });
    let lifecycle = Lifecycle::new();
    Outcomes::new(&config(&database), database.store(), send).unwrap().start(&lifecycle);
    for id in &ids {
        assert_eq!(until_settled(&database, *id).await.0, "delivered");
    }
    lifecycle.drain(Duration::from_secs(5)).await;
    let sent = sent.lock().unwrap().clone();
    assert_eq!(sent[0], ids.iter().map(Uuid::to_string).collect::<Vec<_>>(), "oldest first");
    assert_eq!(sent[1..], [vec![ids[1].to_string()]]);
}

#[tokio::test]
async fn two_replicas_never_claim_the_same_event() {
    let database = Database::fresh().await;
    for _ in 0..40 {
        put(&database, "queue", "outcomes").await;
    }
    let store = database.store();
    let claim = Claim {
        destination: Destination::Queue,
        hold: Duration::from_secs(60),
        limit: 25,
        per_host: 100,
        without: &[],
    };
    let (one, other) = tokio::join!(store.claim_outbox(&claim), store.claim_outbox(&claim));
    let mut ids: Vec<Uuid> = one.unwrap().into_iter().chain(other.unwrap()).map(|event| event.id).collect();
    ids.extend(store.claim_outbox(&claim).await.unwrap().into_iter().map(|event| event.id));
    ids.sort();
    let all = ids.len();
    ids.dedup();
    assert_eq!((ids.len(), all), (40, 40));
    let left_out = [String::from("outcomes")];
    assert!(store.claim_outbox(&Claim { without: &left_out, ..claim }).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_rejected_message_makes_one_event_however_often_it_comes() {
    let database = Database::fresh().await;
    let rejected = NewRejected {
        queue: "calls".into(),
        message_id: "m-1".into(),
        rejection: Rejection {
            reason: RejectReason::Schema,
            field_path: "/data/lead".into(),
            detail: "is missing".into(),
            source: Some("crm\0".into()),
            event_id: Some("lead-42".into()),
        },
        body: b"{}".to_vec(),
    };
    let store = database.store();
    for _ in 0..2 {
        store.queue_job_rejected("outcomes", std::slice::from_ref(&rejected)).await.unwrap();
    }
    let rows: Vec<(String, Value)> =
        sqlx::query_as("select address, event from outbox").fetch_all(&database.pool).await.unwrap();
    let [(address, event)] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(address, "outcomes");
    assert_eq!(event["type"], "voice.job.rejected");
    assert_eq!(event["data"]["reason"], "schema");
    assert_eq!(event["data"]["field_path"], "/data/lead");
    assert_eq!(event["data"]["id"], "lead-42");
}
