//! One measurement: a fresh database, fresh simulators, a worker, a queue that is full before the clock starts.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::postgres::{PgPool, PgPoolOptions};
use voxd::clock;
use voxd::config::{Config, Environment};
use voxd::dev::postgres::{Cluster, ClusterOptions};
use voxd::queue::{Outgoing, Producer, Sqs, SqsOptions};
use voxd::store::Store;

use super::process::{cpu_seconds, memory};
use super::simulators::{Provider, Simulator};
use super::workers::{Kind, Surroundings, Worker, event};

const TEMPLATE: &str = "bench_template";
const WARM_UP: usize = 200;
/// Nobody here is so slow.
const PATIENCE: Duration = Duration::from_secs(300);

/// Processor seconds of each process.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Cpu {
    pub worker: f64,
    pub postgres: f64,
    pub sqs: f64,
    pub provider: f64,
    pub producer: f64,
}

/// What one run showed. Counts and times are for one event, processor seconds for a thousand.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    pub events: usize,
    pub events_per_second: f64,
    pub cpu_per_thousand: Cpu,
    pub sqs_requests: f64,
    pub sql_statements: f64,
    pub sql_commits: f64,
    pub mb_at_rest: f64,
    pub mb_peak: f64,
}

/// From the producer's sending to the request's arrival at the provider, in milliseconds, at an even pace.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    pub events: usize,
    pub per_second: u32,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// The cluster of all runs.
pub struct Stage {
    cluster: Cluster,
    dir: tempfile::TempDir,
    databases: usize,
}

/// What surrounds one worker.
struct Scene {
    sqs: Simulator,
    bland: Simulator,
    database_url: String,
    db: PgPool,
    producer: Producer,
    worker: Worker,
    kind: Kind,
    mb_at_rest: f64,
}

impl Stage {
    pub async fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("voxd-bench-").tempdir_in("/tmp").expect("a directory in /tmp");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).expect("permissions");
        let settings = vec![("shared_preload_libraries".to_owned(), "pg_stat_statements".to_owned())];
        let options = ClusterOptions { settings, ..ClusterOptions::default() };
        let cluster = Cluster::start(&dir.path().join("c"), options, &|line| eprintln!("{line}"))
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        cluster.create_database(TEMPLATE, None).await.expect("a template database");
        let url = cluster.url(TEMPLATE);
        let config = Config::load(None, &Environment::from_pairs([("DATABASE_URL", url.as_str())])).expect("settings");
        Store::new(&config.database).expect("a store").migrate().await.expect("migrations apply");
        let db = pool(&url);
        for statement in [
            "create extension pg_stat_statements",
            "create table bench_calls (event_id text primary key, http_status int, call_id text,
                 recorded_at timestamptz not null default clock_timestamp())",
        ] {
            sqlx::query(statement).execute(&db).await.expect("the template is made");
        }
        db.close().await;
        Self { cluster, dir, databases: 0 }
    }

    /// Everything started, the worker warm.
    async fn scene(&mut self, kind: Kind, provider: Provider) -> Scene {
        self.databases += 1;
        let name = format!("bench_{}", self.databases);
        self.cluster.create_database(&name, Some(TEMPLATE)).await.expect("a fresh database");
        let database_url = self.cluster.url(&name);
        let (sqs, bland) = (Simulator::sqs(), Simulator::bland(provider));
        sqs.make_queue().await;
        let around =
            Surroundings { database_url: &database_url, sqs: &sqs.url(), bland: &bland.url(), dir: self.dir.path() };
        let worker = Worker::start(kind, &around).await;
        worker.rest().await;
        let producer = producer(&sqs).await;
        let mb_at_rest = memory(worker.pid()).now;
        let db = pool(&database_url);
        let mut scene = Scene { sqs, bland, db, database_url, producer, worker, kind, mb_at_rest };
        let warm_up = if provider.latency.is_zero() || kind != Kind::Poller { WARM_UP } else { 10 };
        scene.send("warm", 0..warm_up).await;
        scene.until_recorded(warm_up).await;
        scene
    }

    /// How fast a full queue of `events` is worked off, and what it costs.
    pub async fn throughput(&mut self, kind: Kind, provider: Provider, events: usize) -> Measured {
        let mut scene = self.scene(kind, provider).await;
        let warm = scene.recorded().await.0;
        scene.worker.pause();
        let producing = cpu_seconds(std::process::id() as i32);
        scene.send("run", warm..warm + events).await;
        let producer = cpu_seconds(std::process::id() as i32) - producing;
        sqlx::query("select pg_stat_statements_reset() /* bench */").execute(&scene.db).await.expect("statistics");
        let requests = scene.sqs.consumer_requests().await;
        let before = self.cpu(&scene);
        let begun = clock::now();
        scene.worker.go_on();
        let ended = scene.until_recorded(warm + events).await;
        // The last deletes are part of the work.
        scene.until_deleted().await;
        let after = self.cpu(&scene);
        let requests = scene.sqs.consumer_requests().await - requests;
        let statements: i64 = sqlx::query_scalar(
            "select coalesce(sum(calls), 0)::bigint from pg_stat_statements s join pg_database d on d.oid = s.dbid
             where d.datname = current_database() and query not like '%/* bench */%'",
        )
        .fetch_one(&scene.db)
        .await
        .expect("statistics");
        let mb_peak = memory(scene.worker.pid()).peak;
        let mb_at_rest = scene.mb_at_rest;
        let commits = scene.commits().await;
        let (each, thousand) = (events as f64, events as f64 / 1000.0);
        let spent = |pick: fn(&Cpu) -> f64| (pick(&after) - pick(&before)) / thousand;
        Measured {
            events,
            events_per_second: each / (ended - begun).as_seconds_f64(),
            cpu_per_thousand: Cpu {
                worker: spent(|cpu| cpu.worker),
                postgres: spent(|cpu| cpu.postgres),
                sqs: spent(|cpu| cpu.sqs),
                provider: spent(|cpu| cpu.provider),
                producer: producer / thousand,
            },
            sqs_requests: requests as f64 / each,
            sql_statements: statements as f64 / each,
            sql_commits: commits as f64 / (each + warm as f64),
            mb_at_rest,
            mb_peak,
        }
    }

    /// How long an event takes to its request when nothing is crowded.
    pub async fn latency(&mut self, kind: Kind, provider: Provider, events: usize, per_second: u32) -> Latency {
        let mut scene = self.scene(kind, provider).await;
        let warm = scene.recorded().await.0;
        let mut sent: HashMap<String, DateTime<Utc>> = HashMap::new();
        let begun = clock::monotonic();
        for n in 0..events {
            let due = begun + Duration::from_secs(n as u64) / per_second;
            tokio::time::sleep_until(due).await;
            let (number, event) = event("paced", warm + n);
            sent.insert(number, clock::now());
            let message = [Outgoing::new(event.to_string())];
            scene.producer.send_batch(&message).await.remove(0).expect("enqueued");
        }
        scene.until_recorded(warm + events).await;
        let journal = scene.bland.get("/_voxd/journal").await;
        let mut waits: Vec<f64> = journal
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let sent = sent.get(entry["number"].as_str()?)?;
                let at: DateTime<Utc> = entry["at"].as_str()?.parse().ok()?;
                Some((at - sent).as_seconds_f64() * 1000.0)
            })
            .collect();
        assert_eq!(waits.len(), events, "each event has one request");
        waits.sort_by(f64::total_cmp);
        let at = |share: f64| waits[((waits.len() as f64 * share) as usize).min(waits.len() - 1)];
        Latency { events, per_second, p50_ms: at(0.5), p99_ms: at(0.99) }
    }

    fn cpu(&self, scene: &Scene) -> Cpu {
        Cpu {
            worker: cpu_seconds(scene.worker.pid()),
            postgres: self.cluster.pid().map_or(0.0, cpu_seconds),
            sqs: cpu_seconds(scene.sqs.pid()),
            provider: cpu_seconds(scene.bland.pid()),
            producer: 0.0,
        }
    }
}

impl Scene {
    async fn send(&self, run: &str, numbers: std::ops::Range<usize>) {
        let messages: Vec<Outgoing> = numbers.map(|n| Outgoing::new(event(run, n).1.to_string())).collect();
        for result in self.producer.send(&messages, |_| {}).await {
            result.expect("enqueued");
        }
    }

    async fn recorded(&self) -> (usize, Option<DateTime<Utc>>) {
        let (count, last): (i64, Option<DateTime<Utc>>) =
            sqlx::query_as(self.kind.count()).fetch_one(&self.db).await.expect("a count");
        (count as usize, last)
    }

    /// When the last of so many answers was recorded.
    async fn until_recorded(&mut self, events: usize) -> DateTime<Utc> {
        let begun = clock::monotonic();
        loop {
            let (count, last) = self.recorded().await;
            if let Some(last) = last.filter(|_| count >= events) {
                return last;
            }
            self.worker.check();
            assert!(begun.elapsed() < PATIENCE, "{count} of {events} answers after {PATIENCE:?}");
            clock::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn until_deleted(&self) {
        let url = format!("{}/000000000000/jobs", self.sqs.url());
        let ask = json!({ "QueueUrl": url, "AttributeNames": ["All"] });
        loop {
            let answer = self.sqs.aws("GetQueueAttributes", ask.clone()).await;
            let left = |name: &str| answer["Attributes"][name] != json!("0");
            if !left("ApproximateNumberOfMessages") && !left("ApproximateNumberOfMessagesNotVisible") {
                return;
            }
            clock::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Of the whole scene. A session's statistics are complete when it has ended, so the worker ends here.
    async fn commits(self) -> i64 {
        let Self { worker, db, database_url, .. } = self;
        drop(worker);
        db.close().await;
        clock::sleep(Duration::from_millis(500)).await;
        let db = pool(&database_url);
        let own: i64 = sqlx::query_scalar(
            "select coalesce(sum(calls), 0)::bigint from pg_stat_statements s join pg_database d on d.oid = s.dbid
             where d.datname = current_database() and query like '%/* bench */%'",
        )
        .fetch_one(&db)
        .await
        .expect("statistics");
        let all: i64 =
            sqlx::query_scalar("select xact_commit from pg_stat_database where datname = current_database()")
                .fetch_one(&db)
                .await
                .expect("statistics");
        (all - own).max(0)
    }
}

fn pool(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(1).connect_lazy(url).expect("a pool")
}

async fn producer(sqs: &Simulator) -> Producer {
    let options = SqsOptions {
        wait: Duration::from_secs(1),
        visibility: Duration::from_secs(30),
        request_timeout: Duration::from_secs(10),
        region: Some("us-east-1".into()),
        endpoint: Some(sqs.url()),
        credentials: Some(("bench".into(), "bench".into())),
    };
    let client = Sqs::connect(options).await.expect("a client");
    Producer::new(client, &format!("{}/000000000000/jobs", sqs.url()))
}
