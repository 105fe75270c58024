//! An account's limits over two replicas, judged by what the simulated platform saw: calls per second, calls at once, per
//! hour, between two calls to one number; and that nobody's bulk starves anybody else.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use voxd::queue::Outgoing;
use voxd::sim::bland::BlandOptions;
use voxd::sim::platform::{Answer, Peaks, Script, Simulator as _};

use crate::harness::{World, WorldOptions, call_event, eventually, number};

const PER_SECOND: usize = 50;
const LIVE: usize = 20;
/// Jobs of the campaign; `make rates` sends all of them.
const SHORT: usize = 400;
const WHOLE: usize = 10_000;

pub fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// An event of another producer and user.
fn event_of(source: &str, user: &str, id: &str, to: &str) -> Value {
    let mut event = call_event(id, to);
    event["source"] = json!(source);
    event["data"]["user"]["id"] = json!(user);
    event
}

async fn enqueue_all(world: &World, events: &[Value]) {
    for batch in events.chunks(10) {
        let messages: Vec<Outgoing> = batch.iter().map(|event| Outgoing::new(event.to_string())).collect();
        assert!(world.producer().send_batch(&messages).await.iter().all(Result::is_ok));
    }
}

/// Where calls stand that nobody sent yet.
async fn waiting(world: &World) -> Vec<(String, Option<String>, i64, bool)> {
    sqlx::query_as(
        "select status, status_reason, count(*), bool_or(coalesce(lease_until > clock_timestamp(), false)) from calls
         where status in ('accepted', 'scheduled', 'sending', 'in_doubt') group by 1, 2",
    )
    .fetch_all(&world.db)
    .await
    .expect("waiting calls")
}

/// Transactions of this test's database so far, sweeps and heartbeats included.
async fn commits(world: &World) -> i64 {
    world.count("select pg_stat_get_db_xact_commit(oid) from pg_database where datname = current_database()").await
}

/// Where the rate was not used: single turns that nobody took, and stretches in which nothing was sent.
fn unused(at: &[DateTime<Utc>]) -> String {
    let turn = 1.0 / PER_SECOND as f64;
    let gaps: Vec<f64> = at.windows(2).map(|pair| (pair[1] - pair[0]).as_seconds_f64()).collect();
    let lost = |range: std::ops::Range<f64>| {
        let found: Vec<f64> = gaps.iter().copied().filter(|gap| range.contains(gap)).collect();
        format!("{} ({:.1} s)", found.len(), found.iter().map(|gap| gap - turn).sum::<f64>())
    };
    format!(
        "turns not taken: {}; pauses up to 250 ms: {}; longer ones: {}",
        lost(1.6 * turn..4.0 * turn),
        lost(4.0 * turn..0.25),
        lost(0.25..f64::INFINITY)
    )
}

#[tokio::test]
async fn the_rate_and_the_cap_are_kept_exactly_and_used_and_a_second_producer_is_not_starved() {
    let whole = std::env::var_os("VOXD_TEST_ALL_RATES").is_some();
    let jobs = if whole { WHOLE } else { SHORT };
    // Ringing and talking take 160 ms, so that the rate binds and the cap is near.
    let bland = BlandOptions { time_scale: 0.02, ..BlandOptions::default() };
    let limits = [
        ("VOXD_PLATFORMS__BLAND_AI__CALLS_PER_SECOND", PER_SECOND.to_string()),
        ("VOXD_PLATFORMS__BLAND_AI__MAX_LIVE_CALLS", LIVE.to_string()),
    ];
    let limits: Vec<(&str, &str)> = limits.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let world = World::with(WorldOptions { bland, environment: environment(&limits), ..WorldOptions::default() }).await;
    let campaign: Vec<Value> = (0..jobs)
        .map(|n| event_of("campaign", "bulk", &format!("bulk-{n}"), &number(n as u32 % 2700, "0100")))
        .collect();
    enqueue_all(&world, &campaign).await;
    let before = commits(&world).await;
    let _daemons = [world.daemon().await, world.daemon().await];
    let made = async || world.bland.journal().creates().len();
    let some = async |n: usize| {
        let deadline = voxd::clock::monotonic() + Duration::from_secs(60 + n as u64 / 20);
        while made().await < n {
            assert!(
                voxd::clock::monotonic() < deadline,
                "{} of {n} calls were made: {:?}",
                made().await,
                waiting(&world).await
            );
            voxd::clock::sleep(Duration::from_millis(20)).await;
        }
    };
    some(jobs / 4).await;
    let singles: Vec<Value> =
        (0..10).map(|n| event_of("crm", "ada", &format!("single-{n}"), &number(2700 + n, "0100"))).collect();
    enqueue_all(&world, &singles).await;
    some(jobs + 10).await;

    let creates = world.bland.journal().creates();
    assert_eq!(creates.len(), jobs + 10);
    let at: Vec<DateTime<Utc>> = creates.iter().map(|create| create.at).collect();
    let Peaks { per_second: busiest, live } = world.bland.peaks();
    let took = (at[at.len() - 1] - at[0]).as_seconds_f64();
    let used = (at.len() - 1) as f64 / took / PER_SECOND as f64;
    println!("{}", unused(&at));
    let mut waits = Vec::new();
    for n in 0..10 {
        let sent = world.creates_to(&number(2700 + n, "0100"))[0].at;
        let id = format!("single-{n}");
        let accepted: DateTime<Utc> = world.of(&id, "select created_at from calls where event_id = $1").await;
        waits.push((sent - accepted).as_seconds_f64());
    }
    let longest = waits.iter().copied().fold(0.0, f64::max);
    let calls = (jobs + 10) as f64;
    println!(
        "{calls} calls in {took:.1} s on two replicas: {:.1} % of {PER_SECOND}/s used, at most {busiest} in any second; \
         at most {live} of {LIVE} calls at once; the second producer's calls waited at most {longest:.2} s",
        used * 100.0
    );
    println!("{:.1} transactions a call", (commits(&world).await - before) as f64 / calls);
    // Beside other tests the simulator may see a request long after it left; alone it sees the truth.
    let late = usize::from(!whole);
    assert!(busiest <= PER_SECOND + late, "{busiest} requests within a second");
    assert!(live <= LIVE, "{live} calls at once");
    assert!(longest <= 5.0, "the second producer's calls waited {waits:?}");
    // A machine that is busy with other tests uses less; never more.
    assert!(!whole || used > 0.95, "{used} of the rate was used");
    assert!(world.creates_by_attempt().values().all(|&count| count == 1));
    let in_line = world.count(
        "select count(*) from call_events where to_status = 'scheduled' and detail->>'reason' in ('rate', 'cap')",
    );
    assert!(in_line.await > jobs as i64 / 4, "most waited in Postgres, visibly");
    eventually("all are over", async || {
        (world.count("select count(*) from calls where status <> 'completed'").await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn calls_per_hour_hold_over_two_replicas() {
    let limits = environment(&[("VOXD_PLATFORMS__BLAND_AI__CALLS_PER_HOUR", "7")]);
    let world = World::with(WorldOptions { environment: limits, ..WorldOptions::default() }).await;
    let _one = world.daemon().await;
    let _two = world.daemon().await;
    let events: Vec<Value> = (0..20).map(|n| call_event(&format!("c{n}"), &number(n, "0100"))).collect();
    enqueue_all(&world, &events).await;
    eventually("seven are made", async || (world.bland.journal().creates().len() == 7).then_some(())).await;
    eventually("all are accepted", async || (world.count("select count(*) from calls").await == 20).then_some(()))
        .await;
    world.until_empty("jobs").await;
    voxd::clock::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.bland.journal().creates().len(), 7);
    // An hour later the oldest minute counts no more.
    sqlx::query("update platform_minutes set minute = minute - interval '62 minutes'")
        .execute(&world.db)
        .await
        .unwrap();
    eventually("seven more are made", async || (world.bland.journal().creates().len() == 14).then_some(())).await;
}

#[tokio::test]
async fn calls_to_one_number_keep_their_distance() {
    let spacing = TimeDelta::seconds(3);
    let limits = environment(&[("VOXD_PLATFORMS__BLAND_AI__NUMBER_SPACING", "3s")]);
    let world = World::with(WorldOptions { environment: limits, ..WorldOptions::default() }).await;
    let _one = world.daemon().await;
    let _two = world.daemon().await;
    let (line, other) = (number(0, "0100"), number(1, "0100"));
    for n in 0..3 {
        world.enqueue(&call_event(&format!("c{n}"), &line)).await;
    }
    world.enqueue(&call_event("other", &other)).await;
    for id in ["other", "c0", "c1", "c2"] {
        world.until_status(id, "completed").await;
    }
    let at: Vec<_> = world.creates_to(&line).iter().map(|create| create.at).collect();
    assert_eq!(at.len(), 3);
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] > spacing - TimeDelta::milliseconds(300)), "{at:?}");
    let waited = world.count(
        "select count(*) from calls where status_reason = 'number_spacing' or exists (
        select from call_events e where e.call_id = calls.id and e.detail->>'reason' = 'number_spacing')",
    );
    assert!(waited.await > 0, "and it was said why");
}

#[tokio::test]
async fn a_platforms_pause_sends_its_calls_in_line_and_leaves_room_for_everybody() {
    let world = World::with(WorldOptions {
        environment: environment(&[("VOXD_WORKER__MAX_BACKLOG", "10")]),
        ..WorldOptions::default()
    })
    .await;
    let daemon = world.daemon().await;
    let slow = number(0, "0100");
    world.bland.set_scripts(&slow, vec![Script::answering(Answer::RateLimitedWithWait), Script::default()]);
    world.enqueue(&call_event("slowed", &slow)).await;
    world.until_was("slowed", "scheduled", "rate_limited").await;
    assert!(daemon.metric("voxd_platform_pace", &["bland_ai"]).await < 1.0);
    // More than the backlog holds.
    let events: Vec<Value> = (1..40).map(|n| call_event(&format!("c{n}"), &number(n, "0100"))).collect();
    enqueue_all(&world, &events).await;
    for n in 1..40 {
        world.until_status(&format!("c{n}"), "completed").await;
    }
    world.until_status("slowed", "completed").await;
}

#[tokio::test]
async fn receiving_stops_when_too_many_wait_for_their_platform_and_goes_on_when_they_do_not() {
    let limits = environment(&[("VOXD_PLATFORMS__BLAND_AI__MAX_LIVE_CALLS", "1"), ("VOXD_WORKER__MAX_WAITING", "20")]);
    let world = World::with(WorldOptions { environment: limits, ..WorldOptions::default() }).await;
    let long = Script { talk: Duration::from_secs(3_600_000), ..Script::default() };
    world.bland.set_script(&number(0, "0100"), long);
    let daemon = world.daemon().await;
    world.enqueue(&call_event("c0", &number(0, "0100"))).await;
    world.until_status("c0", "placed").await;
    let events: Vec<Value> = (1..30).map(|n| call_event(&format!("c{n}"), &number(n, "0100"))).collect();
    enqueue_all(&world, &events).await;
    eventually("receiving stops", async || (daemon.metric("voxd_receiving", &[]).await == 0.0).then_some(())).await;
    let more: Vec<Value> = (100..130).map(|n| call_event(&format!("c{n}"), &number(n, "0100"))).collect();
    enqueue_all(&world, &more).await;
    voxd::clock::sleep(Duration::from_secs(3)).await;
    let held = world.depth("jobs").await;
    assert!(held >= 20, "SQS holds the rest: {held}");
    let operator = world.api(&daemon, "operator").await;
    let first = world.call_id("c0").await;
    operator.post(&format!("/api/calls/{first}/cancel/"), &json!({})).await;
    world.until_empty("jobs").await;
}
