//! The HTTP side port through its front door: a real listener, a real database, no daemon around it.

mod analytics;
mod calls;
mod configs;
mod contract;
mod errors;
mod messages;
mod running;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::net::TcpListener;
use uuid::Uuid;
use voxd::config::{Config, Environment};
use voxd::delivery::{MessageDeliveryService, VoiceDelivery};
use voxd::health::{Health, Part, Status};
use voxd::http::{HttpState, router, serve};
use voxd::lifecycle::Lifecycle;
use voxd::platforms::PlatformRegistry;
use voxd::processors::ProcessorFactory;
use voxd::realtime::Sessions;
use voxd::speech::registry::SpeechRegistry;
use voxd::store::Store;
use voxd::store::keys::Role;
use voxd::telemetry::metrics;
use voxd::webhooks::Webhooks;

use crate::harness::database;

const WEBHOOK_SECRET: &str = "whsec-of-the-tests";

/// A running side port.
struct Side {
    base: String,
    store: Store,
    db: PgPool,
    health: Health,
    webhooks: Webhooks,
    lifecycle: Lifecycle,
    client: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Asserts a problem document of this status and kind; gives its detail.
    #[track_caller]
    fn problem(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let document = self.json();
        assert_eq!(document["type"], format!("urn:voxd:problem:{kind}"), "{document}");
        assert_eq!(document["status"], status);
        assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()), "{document}");
        document["detail"].as_str().expect("a detail").to_owned()
    }

    /// The pointers of a problem's errors.
    fn pointers(&self) -> Vec<String> {
        let document = self.json();
        let errors = document["errors"].as_array().expect("errors");
        errors.iter().map(|error| error["pointer"].as_str().expect("a pointer").to_owned()).collect()
    }
}

impl Side {
    async fn start() -> Self {
        Self::with(&database().await, &[]).await
    }

    async fn with(database_url: &str, environment: &[(&str, &str)]) -> Self {
        let mut pairs = vec![
            ("DATABASE_URL", database_url),
            ("BLAND_AI_API_KEY", "org_test"),
            ("VOXD_PLATFORMS__BLAND_AI__WEBHOOK_SECRET", WEBHOOK_SECRET),
            ("VOXD_DATABASE__MAX_CONNECTIONS", "4"),
        ];
        pairs.extend_from_slice(environment);
        let config = Config::load(None, &Environment::from_pairs(pairs)).expect("a configuration");
        let prices = voxd::call::price::prices(&config.costs);
        let store = Store::new(&config.database).expect("a store").with_prices(prices);
        let registry = PlatformRegistry::from_config(&config);
        let lifecycle = Lifecycle::new();
        let registry_handle = Arc::new(registry.clone());
        let webhooks =
            Webhooks::new(store.clone(), registry_handle.clone(), lifecycle.clone(), Duration::from_secs(60));
        let voice = VoiceDelivery::new(registry, &config).expect("a policy");
        let policy = Arc::new(voice.policy().clone());
        let delivery = MessageDeliveryService::new(voice);
        let health = Health::new([Part::Postgres]);
        health.set(Part::Postgres, Status::Up, "");
        let settings = config.http.clone();
        let speech = SpeechRegistry::from_config(&config, &lifecycle);
        let sessions = Sessions::new(store.clone(), speech, &config, Uuid::now_v7(), lifecycle.clone());
        let state = HttpState {
            store: store.clone(),
            registry: registry_handle,
            config: Arc::new(config),
            health: health.clone(),
            metrics: metrics::install(),
            processors: ProcessorFactory::new(&store, &delivery, None, None),
            webhooks: webhooks.clone(),
            policy,
            sessions,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let life = lifecycle.clone();
        lifecycle.spawn(async move { serve(listener, router(state), &settings, life).await });
        let db = PgPoolOptions::new().max_connections(2).connect_lazy(database_url).expect("a pool");
        Self { base, store, db, health, webhooks, lifecycle, client: reqwest::Client::new() }
    }

    async fn key(&self, role: Role, owner: &str) -> String {
        self.store.create_key(role, owner, None).await.expect("a key").key.expose().to_owned()
    }

    fn request(&self, method: Method, path: &str, key: Option<&str>) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    async fn get(&self, path: &str, key: &str) -> Reply {
        reply(self.request(Method::GET, path, Some(key))).await
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> Reply {
        reply(self.request(Method::POST, path, Some(key)).json(body)).await
    }

    async fn put(&self, path: &str, key: &str, body: &Value) -> Reply {
        reply(self.request(Method::PUT, path, Some(key)).json(body)).await
    }

    /// `POST /api/messages/` under an idempotency key.
    async fn send(&self, key: &str, name: &str, message: &Value) -> Reply {
        reply(self.request(Method::POST, "/api/messages/", Some(key)).header("Idempotency-Key", name).json(message))
            .await
    }

    /// A new call to this number; its id.
    async fn call(&self, service_key: &str, name: &str, number: &str) -> Uuid {
        let accepted = self.send(service_key, name, &message(name, number)).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text);
        accepted.json()["call_id"].as_str().expect("an id").parse().expect("a uuid")
    }

    /// As if a dispatcher had committed an attempt and then got `state` out of it.
    async fn attempt(&self, call_id: Uuid, state: &str, platform_call_id: Option<&str>) -> Uuid {
        let id = Uuid::now_v7();
        let mut tx = self.db.begin().await.expect("a transaction");
        sqlx::query(
            "insert into call_attempts (id, call_id, n, because, platform, to_number, fence, lease_owner, settled_at)
             select $1, id, 1, 'first', 'bland_ai', to_number, 1, gen_random_uuid(), now() + interval '1 minute' from calls where id = $2",
        )
        .bind(id)
        .bind(call_id)
        .execute(&mut *tx)
        .await
        .expect("an attempt");
        let mut steps = vec!["sending"];
        match state {
            "sending" => {}
            "unknown" => steps.extend(["in_doubt", "unknown"]),
            other => steps.push(other),
        }
        for step in steps {
            if step != "sending" {
                let statement = "update call_attempts set state = $2, platform_call_id = $3 where id = $1";
                sqlx::query(statement)
                    .bind(id)
                    .bind(step)
                    .bind(platform_call_id)
                    .execute(&mut *tx)
                    .await
                    .expect("a step");
            }
            let statement = "update calls set status = $2, status_source = 'test' where id = $1";
            sqlx::query(statement).bind(call_id).bind(step).execute(&mut *tx).await.expect("a step");
        }
        tx.commit().await.expect("committed");
        id
    }

    async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.db).await.expect("a count")
    }
}

async fn reply(request: reqwest::RequestBuilder) -> Reply {
    let answer = request.send().await.expect("an answer");
    let (status, headers) = (answer.status(), answer.headers().clone());
    Reply { status, headers, text: answer.text().await.expect("a text") }
}

fn message(name: &str, number: &str) -> Value {
    json!({
        "channel": "voice", "content": "Hello Ada.", "message_type": "reminder",
        "lead": { "id": format!("lead-{name}"), "phone_number": number, "name": "Ada" }, "user": { "id": "user-7" },
        "voice_config": { "platform": "bland_ai", "language": "en" }, "metadata": { "campaign_id": "123" }
    })
}
