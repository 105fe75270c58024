//! Everything around the daemon, fresh for each test.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tempfile::TempDir;
use tokio::net::TcpListener;
use uuid::Uuid;
use voxd::clock;
use voxd::queue::{Outgoing, Producer, Sqs, SqsOptions};
use voxd::sim::bland::{BlandOptions, BlandSim};
use voxd::sim::platform::{Entry, SimOptions, Simulator};
use voxd::sim::sqs::{SqsOptions as LocalSqs, SqsServer};

use super::{Daemon, PATIENCE, database, eventually};

/// What a test may want different.
#[derive(Default)]
pub struct WorldOptions {
    pub bland: BlandOptions,
    /// Simulated platforms beside Bland AI, by name.
    pub platforms: Vec<&'static str>,
    /// Of those.
    pub simulators: SimOptions,
    /// Further settings of every daemon.
    pub environment: Vec<(String, String)>,
    /// Queue names; the first is `jobs` with `jobs-dlq`.
    pub fifo: bool,
    /// Instead of a database of the shared cluster.
    pub database_url: Option<String>,
    /// Platforms get no webhook address: status comes by polling.
    pub without_webhooks: bool,
}

pub struct World {
    pub db: PgPool,
    pub sqs: SqsServer,
    pub bland: BlandSim,
    others: BTreeMap<&'static str, Box<dyn Simulator>>,
    pub queue: String,
    client: Sqs,
    environment: Vec<(String, String)>,
    without_webhooks: bool,
    dir: TempDir,
    daemons: AtomicU32,
}

impl World {
    pub async fn new() -> Self {
        Self::with(WorldOptions::default()).await
    }

    pub async fn with(options: WorldOptions) -> Self {
        let database_url = match options.database_url {
            Some(url) => url,
            None => database().await,
        };
        let db = PgPoolOptions::new().max_connections(4).connect_lazy(&database_url).expect("a pool");
        let sim_options = LocalSqs { cool_downs: false, ..LocalSqs::default() };
        let sqs = SqsServer::start(listener().await, sim_options).expect("the local SQS starts");
        let bland = BlandSim::start(listener().await, options.bland.clone()).expect("the simulated Bland starts");
        let client = connect(&sqs).await;
        let queue = if options.fifo { "jobs.fifo" } else { "jobs" };
        make_queues(&sqs, queue, options.fifo).await;
        let mut environment = vec![
            ("DATABASE_URL".to_owned(), database_url.clone()),
            ("AWS_REGION".into(), "us-east-1".into()),
            ("AWS_ACCESS_KEY_ID".into(), "test".into()),
            ("AWS_SECRET_ACCESS_KEY".into(), "test".into()),
            ("AWS_ENDPOINT_URL_SQS".into(), sqs.endpoint()),
            ("VOXD_QUEUES".into(), queue.into()),
            ("VOXD_QUEUE__WAIT".into(), "1s".into()),
            ("BLAND_AI_API_KEY".into(), options.bland.api_key.clone()),
            ("VOXD_PLATFORMS__BLAND_AI__BASE_URL".into(), bland.base_url()),
            ("VOXD_PLATFORMS__BLAND_AI__WEBHOOK_SECRET".into(), options.bland.webhook_secret.clone()),
            ("VOXD_WORKER__LEASE".into(), "3s".into()),
            ("VOXD_PLATFORMS__BLAND_AI__REQUEST_TIMEOUT".into(), "2s".into()),
            ("VOXD_RECONCILE__MARGIN".into(), "1s".into()),
            ("VOXD_RECONCILE__LISTING_INTERVAL".into(), "5s".into()),
            ("VOXD_POLLER__INTERVAL".into(), "2s".into()),
            ("VOXD_WORKER__SWEEP_INTERVAL".into(), "200ms".into()),
            ("VOXD_DELIVERY__RESEND_INITIAL".into(), "200ms".into()),
            ("VOXD_TELEMETRY__LOG_FORMAT".into(), "json".into()),
        ];
        let mut others = BTreeMap::new();
        for (name, start) in voxd::sim::PLATFORMS {
            if *name == "bland_ai" || !options.platforms.contains(name) {
                continue;
            }
            let sim = start(listener().await, options.simulators.clone()).expect("the simulator starts");
            environment.extend(sim.environment());
            environment.push((format!("VOXD_PLATFORMS__{}__REQUEST_TIMEOUT", name.to_uppercase()), "2s".into()));
            others.insert(*name, sim);
        }
        environment.extend(options.environment);
        let dir = tempfile::tempdir().expect("a directory");
        Self {
            db,
            sqs,
            bland,
            others,
            queue: queue.into(),
            client,
            environment,
            without_webhooks: options.without_webhooks,
            dir,
            daemons: AtomicU32::new(0),
        }
    }

    /// A daemon that is ready.
    pub async fn daemon(&self) -> Daemon {
        self.daemon_with(&[]).await
    }

    pub async fn daemon_with(&self, environment: &[(&str, &str)]) -> Daemon {
        self.unready_daemon(environment).await.ready().await
    }

    pub async fn unready_daemon(&self, environment: &[(&str, &str)]) -> Daemon {
        self.unready_daemon_on(free_port().await, environment).await
    }

    /// At an address of the test's choice, e.g. that of a daemon which was killed.
    pub async fn unready_daemon_on(&self, port: u16, environment: &[(&str, &str)]) -> Daemon {
        let number = self.daemons.fetch_add(1, Ordering::Relaxed);
        let mut all = self.environment.clone();
        all.push(("VOXD_HTTP__BIND".into(), format!("127.0.0.1:{port}")));
        if !self.without_webhooks {
            all.push(("VOXD_HTTP__PUBLIC_URL".into(), format!("http://127.0.0.1:{port}")));
            for (name, sim) in &self.others {
                sim.set_account_webhook(Some(format!("http://127.0.0.1:{port}/webhooks/{name}")));
            }
        }
        all.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Daemon::start(port, &all, &self.dir.path().join(format!("voxd-{number}.log"))).await
    }

    /// A simulated platform.
    pub fn sim(&self, name: &str) -> &dyn Simulator {
        match self.others.get(name) {
            Some(sim) => sim.as_ref(),
            None if name == "bland_ai" => &self.bland,
            None => panic!("this world has no {name}: name it in WorldOptions::platforms"),
        }
    }

    pub fn sims(&self) -> impl Iterator<Item = &dyn Simulator> {
        std::iter::once(&self.bland as &dyn Simulator).chain(self.others.values().map(AsRef::as_ref))
    }

    /// A job for this platform, with the simplest voice configuration that it takes.
    pub fn call_event_on(&self, platform: &str, id: &str, to: &str) -> Value {
        let mut event = call_event(id, to);
        event["data"]["voice_config"] = self.sim(platform).voice_config();
        event
    }

    /// The environment of a daemon or a command in this world.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub fn producer(&self) -> Producer {
        Producer::new(self.client.clone(), &self.sqs.url(&self.queue))
    }

    pub async fn enqueue(&self, event: &Value) {
        self.enqueue_raw(Outgoing::new(event.to_string())).await;
    }

    pub async fn enqueue_raw(&self, message: Outgoing) {
        self.producer().send_batch(&[message]).await.remove(0).expect("enqueued");
    }

    /// Messages of a queue: visible and in flight.
    pub async fn depth(&self, queue: &str) -> u64 {
        let depth = self.client.depth(&self.sqs.url(queue)).await.expect("a depth");
        depth.visible + depth.in_flight + depth.delayed
    }

    /// `(status, status_reason)` of the call that an event asked for.
    pub async fn status(&self, event_id: &str) -> Option<(String, Option<String>)> {
        sqlx::query_as("select status, status_reason from calls where event_id = $1")
            .bind(event_id)
            .fetch_optional(&self.db)
            .await
            .expect("a status")
    }

    pub async fn call_id(&self, event_id: &str) -> Uuid {
        sqlx::query_scalar("select id from calls where event_id = $1")
            .bind(event_id)
            .fetch_one(&self.db)
            .await
            .expect("a call")
    }

    pub async fn until_status(&self, event_id: &str, wanted: &str) {
        let reached = async {
            while self.status(event_id).await.is_none_or(|(status, _)| status != wanted) {
                clock::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            panic!("{event_id} did not become {wanted}:\n{}", self.lines(event_id).await.join("\n"));
        }
    }

    /// `(state, verdict, because)` of a call's attempts, in order.
    pub async fn attempts(&self, event_id: &str) -> Vec<(String, Option<String>, String)> {
        sqlx::query_as(
            "select a.state, a.verdict, a.because from call_attempts a join calls c on c.id = a.call_id where c.event_id = $1 order by a.n",
        )
        .bind(event_id)
        .fetch_all(&self.db)
        .await
        .expect("attempts")
    }

    /// As [`World::attempts`], once each one's answer is recorded: a call's end may be told before it.
    pub async fn answered_attempts(&self, event_id: &str) -> Vec<(String, Option<String>, String)> {
        eventually(&format!("each answer about {event_id} is recorded"), async || {
            let attempts = self.attempts(event_id).await;
            attempts.iter().all(|(_, verdict, _)| verdict.is_some()).then_some(attempts)
        })
        .await
    }

    /// How many create requests the platform saw for each attempt: at most one, always.
    pub fn creates_by_attempt(&self) -> BTreeMap<Uuid, usize> {
        let mut all = BTreeMap::new();
        for (attempt, count) in self.sims().flat_map(|sim| sim.journal().creates_by_attempt()) {
            *all.entry(attempt).or_default() += count;
        }
        all
    }

    /// `(to_status, reason)` of every change of a call's status, in order.
    pub async fn story(&self, event_id: &str) -> Vec<(String, Option<String>)> {
        sqlx::query_as(
            "select e.to_status, e.detail->>'reason' from call_events e join calls c on c.id = e.call_id
             where c.event_id = $1 and e.kind = 'status' order by e.id",
        )
        .bind(event_id)
        .fetch_all(&self.db)
        .await
        .expect("a timeline")
    }

    /// All that a call went through, a line for each step.
    pub async fn lines(&self, event_id: &str) -> Vec<String> {
        sqlx::query_scalar(
            "select to_char(e.at, 'HH24:MI:SS.MS ') || concat_ws(' ', e.kind, e.to_status, e.source, e.detail)
             from call_events e join calls c on c.id = e.call_id where c.event_id = $1 order by e.id",
        )
        .bind(event_id)
        .fetch_all(&self.db)
        .await
        .expect("a timeline")
    }

    /// Whether a call was ever in this status for this reason. The timeline is append-only, so that nothing is missed.
    pub async fn was(&self, event_id: &str, status: &str, reason: &str) -> bool {
        let story = self.story(event_id).await;
        story.iter().any(|(to, why)| to == status && why.as_deref() == Some(reason))
    }

    pub async fn until_was(&self, event_id: &str, status: &str, reason: &str) {
        let what = format!("{event_id} is {status} because of {reason}");
        eventually(&what, async || self.was(event_id, status, reason).await.then_some(())).await;
    }

    /// One value of one row about the call that an event asked for: `query` takes the event's id.
    pub async fn of<T>(&self, event_id: &str, query: &'static str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(query).bind(event_id).fetch_one(&self.db).await.expect("a value")
    }

    pub async fn until_empty(&self, queue: &str) {
        eventually(&format!("{queue} is empty"), async || (self.depth(queue).await == 0).then_some(())).await;
    }

    /// The messages of a queue as SQS gives them out, attributes included; they stay in flight.
    pub async fn receive(&self, queue: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let request = json!({
                "QueueUrl": self.sqs.url(queue), "MaxNumberOfMessages": 10, "VisibilityTimeout": 600,
                "MessageAttributeNames": ["All"], "MessageSystemAttributeNames": ["All"],
            });
            let answer = ask_sqs(&self.sqs, "ReceiveMessage", &request).await;
            let Some(messages) = answer["Messages"].as_array().filter(|messages| !messages.is_empty()) else { break };
            all.extend(messages.iter().cloned());
        }
        all
    }

    /// The create requests for a number, in order of arrival.
    pub fn creates_to(&self, number: &str) -> Vec<Entry> {
        let mut creates: Vec<Entry> = self.sims().flat_map(|sim| sim.journal().creates()).collect();
        creates.retain(|entry| entry.number.as_deref() == Some(number));
        creates
    }

    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.db).await.expect("a count")
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

pub async fn free_port() -> u16 {
    listener().await.local_addr().expect("an address").port()
}

async fn connect(sqs: &SqsServer) -> Sqs {
    let options = SqsOptions {
        wait: Duration::from_secs(1),
        visibility: Duration::from_secs(30),
        request_timeout: Duration::from_secs(5),
        region: Some("us-east-1".into()),
        endpoint: Some(sqs.endpoint()),
        credentials: Some(("test".into(), "test".into())),
    };
    Sqs::connect(options).await.expect("a client")
}

async fn make_queues(sqs: &SqsServer, name: &str, fifo: bool) {
    let dlq = match name.strip_suffix(".fifo") {
        Some(stem) => format!("{stem}-dlq.fifo"),
        None => format!("{name}-dlq"),
    };
    let mut attributes = json!({});
    if fifo {
        attributes["FifoQueue"] = json!("true");
    }
    create_queue(sqs, &dlq, attributes.clone()).await;
    let arn = format!("arn:aws:sqs:us-east-1:000000000000:{dlq}");
    attributes["RedrivePolicy"] = json!(json!({ "deadLetterTargetArn": arn, "maxReceiveCount": 100 }).to_string());
    create_queue(sqs, name, attributes).await;
}

pub async fn create_queue(sqs: &SqsServer, name: &str, attributes: Value) {
    ask_sqs(sqs, "CreateQueue", &json!({ "QueueName": name, "Attributes": attributes })).await;
}

async fn ask_sqs(sqs: &SqsServer, operation: &str, request: &Value) -> Value {
    let answer = reqwest::Client::new()
        .post(sqs.endpoint())
        .header("x-amz-target", format!("AmazonSQS.{operation}"))
        .header("content-type", "application/x-amz-json-1.0")
        .body(request.to_string())
        .send()
        .await
        .expect("an answer");
    let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
    assert!(status.is_success(), "{operation}: {text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// A number whose last four digits choose the simulated script; `n` makes it unique.
pub fn number(n: u32, script: &str) -> String {
    // Area codes and exchanges that exist: 415-2nn.
    format!("+1{}{:03}{script}", [415, 212, 303, 206][(n / 700) as usize % 4], 200 + n % 700)
}

pub fn call_event(id: &str, to: &str) -> Value {
    json!({
        "specversion": "1.0", "source": "test", "id": id, "type": "voice.call.requested",
        "data": {
            "content": "Hello Ada, this is a reminder.", "lead": { "id": format!("lead-{id}"), "phone_number": to, "name": "Ada" },
            "user": { "id": "user-7" }, "voice_config": { "platform": "bland_ai", "language": "en" }, "metadata": { "campaign_id": "123" }
        }
    })
}
