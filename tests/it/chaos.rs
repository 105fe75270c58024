//! Jobs through two replicas while everything around them breaks; then a checker counts.
//!
//! Replicas are killed with `kill -9`, Postgres (a cluster of this run's own) is stopped as by a power cut, SQS repeats,
//! drops and fails, the platform answers in every way it can. All of it follows from one seed, which is printed:
//! `VOXD_CHAOS_SEED=… make chaos` plays the same plan again (the machine's own timing differs). Sizes:
//! `VOXD_CHAOS_EVENTS`, `VOXD_CHAOS_KILLS`, `VOXD_CHAOS_STOPS`. The logs and the evidence of a run that failed are kept
//! under `target/chaos/`.

mod check;
mod collect;
mod disturb;
mod plan;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use voxd::clock;
use voxd::config::{Config, Environment};
use voxd::dev::postgres::{Cluster, ClusterOptions};
use voxd::sim::sqs::Faults;
use voxd::store::Store;

use self::check::Evidence;
use self::disturb::{Replica, produce, strike};
use self::plan::Plan;
use crate::harness::{World, WorldOptions, free_port};

/// Nothing may be accepted, sending or in doubt so long after the last fault.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
/// Polled statuses, retries and lines that were busy take longer.
const ENDS_WITHIN: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn a_short_chaos_loses_nothing_and_doubles_nothing() {
    run(Plan::from_environment(300, 4, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos"]
async fn chaos_loses_nothing_and_doubles_nothing() {
    run(Plan::from_environment(5000, 20, 3)).await;
}

async fn run(plan: Plan) {
    println!("{plan:?}: VOXD_CHAOS_SEED={} plays it again", plan.seed);
    let begun = clock::monotonic();
    let dir = tempfile::Builder::new().prefix("voxd-chaos-").tempdir_in("/tmp").expect("a directory in /tmp");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).expect("permissions");
    let mut cluster = Cluster::start(&dir.path().join("c"), ClusterOptions::default(), &|_| {})
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let world = world(&plan, database(&cluster).await).await;
    let configs: Vec<serde_json::Value> = world.sims().map(|sim| sim.voice_config()).collect();
    let (first, after) = plan::messages(&plan, &configs);
    let blows = plan::blows(&plan, 2);

    let mut replicas = Vec::new();
    for _ in 0..2 {
        replicas.push(Replica::start(&world, free_port().await).await.ready().await);
    }
    world.sqs.set_faults(plan::sqs_faults());
    let progress = AtomicUsize::new(0);
    let producing = produce(&world, &first, &progress);
    let striking = strike(&world, &mut replicas, &mut cluster, &blows, first.len(), &progress);
    tokio::join!(producing, striking);
    world.sqs.set_faults(Faults::default());
    println!("faults ended after {:.1?}: {} messages, {} blows", begun.elapsed(), first.len(), blows.len());

    let faults_ended = clock::monotonic();
    let settled =
        until(&world, SETTLES_WITHIN, "select count(*) from calls where status in ('accepted', 'sending', 'in_doubt')")
            .await;
    let settled_in = faults_ended.elapsed();
    // Every name is taken now, so a second job under one must be refused.
    produce(&world, &after, &progress).await;
    let ended = until(
        &world,
        ENDS_WITHIN,
        "select count(*) from calls c where finished_at is null and status <> 'unknown' and not (status_reason = 'number_busy' and exists
             (select from call_attempts a where a.to_number = c.to_number and a.state = 'unknown'))",
    )
    .await;

    let sent = first.into_iter().chain(after).collect();
    let evidence = collect::evidence(&world, sent).await;
    report(&plan, &evidence, settled_in, begun.elapsed());
    let mut violations = check::violations(&evidence);
    if let Err(left) = settled {
        violations.push(format!("{left} calls accepted, sending or in doubt {SETTLES_WITHIN:?} after the faults"));
    }
    if let Err(left) = ended {
        violations.push(format!("{left} calls not ended {ENDS_WITHIN:?} after the faults"));
    }
    if violations.is_empty() {
        for replica in &mut replicas {
            violations.extend(implausible_metrics(replica, &evidence).await);
        }
    }
    if !violations.is_empty() {
        let kept = keep(&plan, &world, &evidence, &violations);
        panic!(
            "VOXD_CHAOS_SEED={}: {} violations, kept in {kept}:\n{}",
            plan.seed,
            violations.len(),
            violations.iter().take(40).cloned().collect::<Vec<_>>().join("\n")
        );
    }
}

async fn database(cluster: &Cluster) -> String {
    cluster.create_database("chaos", None).await.expect("a database");
    let url = cluster.url("chaos");
    let config =
        Config::load(None, &Environment::from_pairs([("DATABASE_URL", url.as_str())])).expect("a configuration");
    Store::new(&config.database).expect("a store").migrate().await.expect("migrations apply");
    url
}

async fn world(plan: &Plan, database_url: String) -> World {
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    World::with(WorldOptions {
        bland: plan::simulators(plan),
        simulators: plan::simulators(plan),
        platforms: voxd::sim::PLATFORMS.iter().map(|(name, _)| *name).collect(),
        database_url: Some(database_url),
        // Messages that a killed replica or a cut connection took with it come back soon.
        environment: vec![
            set("VOXD_QUEUE__VISIBILITY", "6s"),
            set("VOXD_WORKER__MAX_BACKLOG", "100"),
            // An account's one call a second would take a quarter of an hour for its share of the events.
            set("VOXD_PLATFORMS__TWILIO__CALLS_PER_SECOND", "100"),
            // Where no listing can prove absence, time ends the doubt.
            set("VOXD_RECONCILE__GIVE_UP_AFTER", "20s"),
        ],
        ..WorldOptions::default()
    })
    .await
}

/// Until a count is zero and the queue is empty; else what was left.
async fn until(world: &World, limit: Duration, count: &'static str) -> Result<(), i64> {
    let begun = clock::monotonic();
    loop {
        let left = world.count(count).await;
        if left == 0 && world.depth(&world.queue).await == 0 {
            return Ok(());
        }
        if begun.elapsed() > limit {
            return Err(left);
        }
        clock::sleep(Duration::from_millis(100)).await;
    }
}

/// The gauges of the ledger are read every two seconds, on a slow machine every twenty; both replicas must come to say what
/// the tables say.
async fn implausible_metrics(replica: &mut Replica, evidence: &Evidence) -> Vec<String> {
    let unknown = evidence.calls.iter().filter(|call| call.status == "unknown").count() as f64;
    let wanted = [("voxd_calls_in_doubt", 0.0), ("voxd_calls_unknown", unknown)];
    let mut wrong = Vec::new();
    for _ in 0..200 {
        wrong.clear();
        for (name, value) in wanted {
            let said = replica.daemon().metric(name, &[]).await;
            if said != value {
                wrong.push(format!("{name} says {said}, the table {value}"));
            }
        }
        if wrong.is_empty() {
            break;
        }
        clock::sleep(Duration::from_millis(200)).await;
    }
    let accepted = replica.daemon().metric("voxd_sqs_messages_total", &["accepted"]).await;
    if accepted > evidence.calls.len() as f64 {
        wrong.push(format!("a replica says it accepted {accepted} of {} jobs", evidence.calls.len()));
    }
    wrong
}

fn report(plan: &Plan, evidence: &Evidence, settled_in: Duration, all: Duration) {
    let count = number_of(evidence.calls.iter().map(|call| call.status.as_str()));
    let attempts = number_of(evidence.attempts.iter().map(|attempt| attempt.state.as_str()));
    let further = evidence.attempts.iter().filter(|attempt| attempt.n > 1);
    let because = number_of(further.map(|attempt| attempt.because.split([':', ' ']).next().unwrap_or_default()));
    println!(
        "seed {}: {} create requests, {} calls made; settled {settled_in:.1?} after the faults, all in {all:.1?}\n\
         calls {count:?}\nattempts {attempts:?}\nfurther attempts because of {because:?}\n\
         {} bad messages kept, {} dead letters",
        plan.seed,
        evidence.creates.len(),
        evidence.made.len(),
        evidence.rejected.len(),
        evidence.dead_letters.len(),
    );
}

fn number_of<'a>(words: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    words.fold(BTreeMap::new(), |mut counts, word| {
        *counts.entry(word).or_default() += 1;
        counts
    })
}

/// Logs and evidence of a failed run, for whoever looks for the reason.
fn keep(plan: &Plan, world: &World, evidence: &Evidence, violations: &[String]) -> String {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/chaos").join(plan.seed.to_string());
    let written = std::fs::create_dir_all(&place).and_then(|()| {
        for entry in std::fs::read_dir(world.dir())?.flatten() {
            std::fs::copy(entry.path(), place.join(entry.file_name()))?;
        }
        let facts = serde_json::json!({
            "violations": violations, "creates": evidence.creates, "made": evidence.made, "calls": evidence.calls,
            "attempts": evidence.attempts, "rejected": evidence.rejected, "dead_letters": evidence.dead_letters,
        });
        std::fs::write(place.join("evidence.json"), serde_json::to_vec_pretty(&facts)?)
    });
    match written {
        Ok(()) => place.display().to_string(),
        Err(error) => format!("(not kept: {error})"),
    }
}
