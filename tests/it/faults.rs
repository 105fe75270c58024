//! What happens when things break: a stopped replica, a stop under load, a database that goes away or would forget.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use voxd::call::status::{AttemptState, CallStatus};
use voxd::clock;
use voxd::dev::postgres::{ClusterOptions, StopMode};
use voxd::sim::bland::BlandOptions;
use voxd::sim::platform::{Answer, Script};

use crate::harness::{World, WorldOptions, call_event, eventually, number, own_cluster, within};

#[tokio::test]
async fn a_replica_stopped_past_its_lease_sends_nothing_when_it_goes_on() {
    let world = World::new().await;
    // Stops itself with the right to send spent and not a byte sent: the worst moment.
    let stopped = world.daemon_with(&[("VOXD_TEST_FAULT", "before_send=stop")]).await;
    world.enqueue(&call_event("job", &number(0, "0100"))).await;
    eventually("it has stopped", async || stopped.is_stopped().then_some(())).await;
    let _other = world.daemon().await;
    // Two complete listings after nobody can be sending: the doubt ends as unknown, for redial is never.
    world.until_status("job", "unknown").await;
    stopped.signal(Signal::CONT);
    eventually("it saw that it was overtaken", async || stopped.log().contains("overtaken").then_some(())).await;
    assert!(world.creates_by_attempt().is_empty(), "it sent a request after its lease");
    assert_eq!(world.status("job").await.unwrap().0, "unknown");
    assert_eq!(world.attempts("job").await.len(), 1);
}

#[tokio::test]
async fn a_replica_stopped_after_its_request_changes_nothing_when_it_goes_on() {
    let world = World::with(WorldOptions { without_webhooks: true, ..WorldOptions::default() }).await;
    let stopped = world.daemon_with(&[("VOXD_TEST_FAULT", "after_answer=stop")]).await;
    world.enqueue(&call_event("job", &number(0, "0100"))).await;
    eventually("it has stopped", async || stopped.is_stopped().then_some(())).await;
    let _other = world.daemon().await;
    world.until_status("job", "completed").await;
    let before = world.count("select count(*) from call_events").await;
    stopped.signal(Signal::CONT);
    eventually("it saw that it was overtaken", async || stopped.log().contains("overtaken").then_some(())).await;
    assert_eq!(world.count("select count(*) from call_events").await, before);
    assert_eq!(world.creates_by_attempt().len(), 1);
    assert_eq!(world.attempts("job").await[0].1.as_deref(), Some("in_doubt"), "the verdict is the other one's");
}

#[tokio::test]
async fn sigterm_under_load_ends_with_no_new_doubt() {
    let bland = BlandOptions { latency: Duration::from_millis(150), ..BlandOptions::default() };
    let world = World::with(WorldOptions { bland, ..WorldOptions::default() }).await;
    let daemon = world.daemon_with(&[("VOXD_PLATFORMS__BLAND_AI__MAX_CONCURRENT_REQUESTS", "8")]).await;
    for n in 0..200 {
        world.enqueue(&call_event(&format!("job-{n}"), &number(n, "0100"))).await;
    }
    eventually("some are sent", async || (world.creates_by_attempt().len() > 10).then_some(())).await;
    let status = daemon.terminate(Duration::from_secs(30)).await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(
        world.count("select count(*) from call_attempts where state in ('sending', 'in_doubt', 'unknown')").await,
        0
    );
    assert_eq!(
        world.count("select count(*) from calls where lease_owner is not null").await,
        0,
        "leases are given back"
    );
    let _next = world.daemon().await;
    eventually("all are sent in the end", async || (world.creates_by_attempt().len() == 200).then_some(())).await;
    assert!(world.creates_by_attempt().values().all(|count| *count == 1));
}

#[tokio::test]
async fn while_postgres_is_away_nothing_is_received_and_the_first_call_follows_its_return() {
    let (mut cluster, url) = own_cluster(ClusterOptions::default()).await;
    let world = World::with(WorldOptions { database_url: Some(url), ..WorldOptions::default() }).await;
    let daemon = world.daemon().await;
    world.enqueue(&call_event("before", &number(0, "0100"))).await;
    world.until_status("before", "completed").await;
    cluster.stop(StopMode::Immediate).await.unwrap();
    let ready = format!("{}/readyz", daemon.base_url);
    within(Duration::from_secs(3), "it is not ready", async || {
        let answer = reqwest::get(&ready).await.ok()?;
        (answer.status() == 503).then_some(())
    })
    .await;
    let health = reqwest::get(format!("{}/healthz", daemon.base_url)).await.unwrap();
    assert_eq!(health.status(), 200, "liveness touches no dependency");
    // A poll that was under way may still bring the first one; it comes back and is not lost.
    for n in 0..5 {
        world.enqueue(&call_event(&format!("during-{n}"), &number(10 + n, "0100"))).await;
    }
    clock::sleep(Duration::from_secs(3)).await;
    let receives = world.sqs.stats();
    clock::sleep(Duration::from_secs(3)).await;
    assert_eq!(format!("{:?}", world.sqs.stats()), format!("{receives:?}"), "nothing is asked of the queue");
    assert_eq!(world.depth("jobs").await, 5, "nothing is deleted");
    cluster.start_again().await.unwrap();
    within(Duration::from_secs(10), "the first call follows", async || {
        (world.creates_by_attempt().len() > 1).then_some(())
    })
    .await;
    for n in 0..5 {
        world.until_status(&format!("during-{n}"), "completed").await;
    }
}

#[tokio::test]
async fn a_server_that_would_forget_commits_is_not_dialled_on() {
    for (setting, says) in [
        ("synchronous_commit", "synchronous_commit is off"),
        ("fsync", "fsync is off"),
        ("full_page_writes", "full_page_writes is off"),
    ] {
        let settings = vec![(setting.to_owned(), "off".to_owned())];
        let (cluster, url) = own_cluster(ClusterOptions { settings, ..ClusterOptions::default() }).await;
        let world = World::with(WorldOptions { database_url: Some(url), ..WorldOptions::default() }).await;
        world.enqueue(&call_event("job", &number(0, "0100"))).await;
        let daemon = world.unready_daemon(&[]).await;
        eventually("it says why", async || daemon.log().contains(says).then_some(())).await;
        clock::sleep(Duration::from_secs(1)).await;
        assert!(world.creates_by_attempt().is_empty());
        assert_eq!(world.depth("jobs").await, 1);
        let ready = reqwest::get(format!("{}/readyz", daemon.base_url)).await.unwrap();
        assert_eq!(ready.status(), 503);
        assert!(ready.text().await.unwrap().contains(says));
        drop(cluster);
    }
}

#[tokio::test]
async fn the_transition_tables_in_rust_and_in_postgres_are_the_same() {
    let world = World::new().await;
    for &from in CallStatus::ALL {
        for &to in CallStatus::ALL {
            let legal: bool = sqlx::query_scalar("select legal_call_transition($1, $2)")
                .bind(from.as_str())
                .bind(to.as_str())
                .fetch_one(&world.db)
                .await
                .unwrap();
            assert_eq!(legal, from.may_become(to), "call: {from} -> {to}");
        }
    }
    for &from in AttemptState::ALL {
        for &to in AttemptState::ALL {
            let legal: bool = sqlx::query_scalar("select legal_attempt_transition($1, $2)")
                .bind(from.as_str())
                .bind(to.as_str())
                .fetch_one(&world.db)
                .await
                .unwrap();
            assert_eq!(legal, from.may_become(to), "attempt: {from} -> {to}");
        }
    }
}

#[tokio::test]
async fn the_database_refuses_what_the_code_must_not_do() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    world.bland.set_script(&number(0, "0107"), Script { talk: Duration::from_secs(3_600_000), ..Script::default() });
    world.enqueue(&call_event("live", &number(0, "0107"))).await;
    eventually("it is live", async || {
        world.status("live").await.filter(|(status, _)| status == "in_progress").map(drop)
    })
    .await;
    world.enqueue(&call_event("ended", &number(1, "0100"))).await;
    world.until_status("ended", "completed").await;
    daemon.kill().await;
    let refused = async |statement: &'static str, says: &str| {
        let error = sqlx::raw_sql(statement).execute(&world.db).await.unwrap_err().to_string();
        assert!(error.contains(says), "{statement}: {error}");
    };
    let second = "insert into call_attempts (id, call_id, n, because, platform, to_number, fence, lease_owner, settled_at)
                  select gen_random_uuid(), call_id, 2, 'because', platform, to_number, 9, gen_random_uuid(), now() from call_attempts
                  where state = 'in_progress'";
    refused(second, "one_live_attempt").await;
    refused("update call_attempts set n = 3 where state = 'completed'", "its identity cannot change").await;
    refused("update calls set status = 'scheduled', scheduled_for = now() where status = 'completed'", "cannot become")
        .await;
    refused("update call_attempts set state = 'placed' where state = 'completed'", "cannot become").await;
    refused("update call_events set kind = 'x'", "append-only").await;
    refused("delete from call_events", "append-only").await;
    refused("truncate call_events", "append-only").await;
    refused("delete from call_attempts", "append-only").await;
    refused("update calls set fence = 0", "the fence cannot go back").await;
}

#[tokio::test]
async fn doubt_is_looked_up_and_a_call_that_exists_is_found() {
    let world = World::with(WorldOptions { without_webhooks: true, ..WorldOptions::default() }).await;
    let _daemon = world.daemon().await;
    for (n, digits) in ["0121", "0122", "0124", "0126", "0127", "0128", "0131", "0133"].into_iter().enumerate() {
        world.enqueue(&call_event(digits, &number(n as u32, digits))).await;
    }
    for digits in ["0121", "0122", "0124", "0126", "0127", "0128", "0131", "0133"] {
        world.until_status(digits, "completed").await;
        assert_eq!(world.attempts(digits).await.len(), 1);
    }
    assert!(world.creates_by_attempt().values().all(|count| *count == 1));
}

#[tokio::test]
async fn proven_absence_is_parked_or_redialled_as_the_call_says() {
    let world = World::new().await;
    let _daemon = world.daemon().await;
    let redial = number(1, "0120");
    world.bland.set_scripts(&redial, vec![Script::answering(Answer::ServerErrorBefore), Script::default()]);
    world.enqueue(&call_event("never", &number(0, "0120"))).await;
    let mut event = call_event("after-proof", &redial);
    event["data"]["voice_config"]["redial"] = json!("after_proof");
    world.enqueue(&event).await;
    world.until_status("never", "unknown").await;
    world.until_status("after-proof", "completed").await;
    let attempts = world.attempts("after-proof").await;
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0].0, "absent");
    assert!(attempts[1].2.contains("proven by 2 complete listings"), "{}", attempts[1].2);
}

#[tokio::test]
async fn a_call_that_is_absent_again_and_again_ends_with_a_person() {
    let quick = [
        ("VOXD_WORKER__LEASE", "1s"),
        ("VOXD_PLATFORMS__BLAND_AI__REQUEST_TIMEOUT", "1s"),
        ("VOXD_RECONCILE__MARGIN", "200ms"),
        ("VOXD_RECONCILE__LISTING_INTERVAL", "500ms"),
    ];
    let environment = quick.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let world = World::with(WorldOptions { environment, ..WorldOptions::default() }).await;
    let _daemon = world.daemon().await;
    let mut event = call_event("job", &number(0, "0120"));
    event["data"]["voice_config"]["redial"] = json!("after_proof");
    world.enqueue(&event).await;
    world.until_status("job", "unknown").await;
    let states: Vec<String> = world.attempts("job").await.into_iter().map(|(state, ..)| state).collect();
    assert_eq!(states, ["absent", "absent", "absent", "unknown"]);
    assert_eq!(world.status("job").await.unwrap().1.as_deref(), Some("absent_again"));
}
