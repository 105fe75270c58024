//! An account that fails: its breaker opens, calls wait or go to their next platform, and one call tries the account again.
//! Two platforms: what falls back, and what never does.

use serde_json::{Value, json};
use voxd::sim::platform::{Answer, Script};

use crate::harness::{Daemon, World, WorldOptions, call_event, eventually, free_port, number};

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Bland AI first, and Vapi after it.
fn with_fallback(world: &World, id: &str, to: &str) -> Value {
    let mut own = world.sim("vapi").voice_config();
    let fields = own.as_object_mut().expect("a configuration");
    fields.retain(|name, _| ["from_number", "voice_id", "language", "platform_config"].contains(&name.as_str()));
    let mut event = call_event(id, to);
    event["data"]["voice_config"]["fallback_platforms"] = json!(["vapi"]);
    event["data"]["voice_config"]["fallback_configs"] = json!({ "vapi": own });
    event
}

/// The platforms of a call's attempts, in order, with what became of each.
async fn attempts(world: &World, id: &str) -> Vec<(String, String, String)> {
    sqlx::query_as(
        "select a.platform, coalesce(a.verdict, 'none'), a.because from call_attempts a join calls c on c.id = a.call_id
         where c.event_id = $1 order by a.n",
    )
    .bind(id)
    .fetch_all(&world.db)
    .await
    .expect("attempts")
}

async fn breaker(daemon: &Daemon) -> f64 {
    daemon.metric("voxd_platform_breaker", &["bland_ai"]).await
}

/// What `/readyz` says of Bland AI.
async fn shown(daemon: &Daemon) -> (String, String) {
    let answer = reqwest::get(format!("{}/readyz", daemon.base_url)).await.expect("an answer");
    let body: Value = answer.json().await.expect("JSON");
    let part = &body["parts"]["platforms"]["bland_ai"];
    (part["status"].as_str().unwrap_or_default().into(), part["detail"].as_str().unwrap_or_default().into())
}

#[tokio::test]
async fn an_account_that_fails_is_left_alone_until_a_call_gets_through() {
    let world = World::with(WorldOptions {
        environment: environment(&[
            ("VOXD_PLATFORMS__BLAND_AI__BREAKER_FAILURES", "3"),
            ("VOXD_PLATFORMS__BLAND_AI__BREAKER_PROBE", "4s"),
        ]),
        ..WorldOptions::default()
    })
    .await;
    let daemon = world.daemon().await;
    for n in 0..3 {
        world.enqueue(&call_event(&format!("refused-{n}"), &number(n, "0115"))).await;
    }
    for n in 0..3 {
        world.until_status(&format!("refused-{n}"), "failed").await;
    }
    eventually("the breaker is open", async || (breaker(&daemon).await > 0.0).then_some(())).await;
    let (status, detail) = shown(&daemon).await;
    assert!(status == "down" && detail.contains("breaker"), "{status}: {detail}");
    for n in 10..15 {
        world.enqueue(&call_event(&format!("later-{n}"), &number(n, "0100"))).await;
    }
    world.until_was("later-10", "scheduled", "breaker").await;
    for n in 10..15 {
        world.until_status(&format!("later-{n}"), "completed").await;
    }
    eventually("the breaker is closed", async || (breaker(&daemon).await == 0.0).then_some(())).await;
    eventually("and readiness says no more of it", async || {
        (!shown(&daemon).await.1.contains("breaker")).then_some(())
    })
    .await;
    assert!(world.creates_by_attempt().values().all(|&count| count == 1));
}

#[tokio::test]
async fn while_a_breaker_is_open_calls_of_which_nothing_was_sent_go_to_their_next_platform() {
    let nobody = format!("http://127.0.0.1:{}", free_port().await);
    let world = World::with(WorldOptions {
        platforms: vec!["vapi"],
        environment: environment(&[
            ("VOXD_PLATFORMS__BLAND_AI__BASE_URL", &nobody),
            ("VOXD_PLATFORMS__BLAND_AI__BREAKER_FAILURES", "2"),
            ("VOXD_PLATFORMS__BLAND_AI__BREAKER_PROBE", "300ms"),
        ]),
        ..WorldOptions::default()
    })
    .await;
    let daemon = world.daemon().await;
    world.enqueue(&call_event("alone", &number(0, "0100"))).await;
    eventually("the breaker is open", async || (breaker(&daemon).await > 0.0).then_some(())).await;
    let event = with_fallback(&world, "moves", &number(1, "0100"));
    world.enqueue(&event).await;
    world.until_status("moves", "completed").await;
    assert!(world.was("moves", "scheduled", "breaker").await, "{:?}", world.story("moves").await);
    let made = attempts(&world, "moves").await;
    assert!(matches!(&made[..], [(on, ..)] if on == "vapi"), "nothing was sent to the first one: {made:?}");
    let (status, _) = world.status("alone").await.unwrap();
    assert_eq!(status, "scheduled", "a call without a further platform waits");
}

#[tokio::test]
async fn a_refusal_and_a_proven_non_send_fall_back_and_a_doubt_never_does() {
    let world = World::with(WorldOptions {
        platforms: vec!["vapi"],
        environment: environment(&[("VOXD_DELIVERY__MAX_SEND_TRIES", "2")]),
        ..WorldOptions::default()
    })
    .await;
    let _daemon = world.daemon().await;
    let (refused, unsent, doubted, person) =
        (number(0, "0100"), number(1, "0100"), number(2, "0100"), number(3, "0100"));
    world.bland.set_script(&refused, Script::answering(Answer::PaymentRequired));
    world.bland.set_script(&unsent, Script::answering(Answer::RateLimited));
    world.bland.set_script(&doubted, Script::answering(Answer::ServerErrorBefore));
    world.bland.set_script(&person, Script::answering(Answer::DoNotCall));
    let cases = [("refused", &refused), ("unsent", &unsent), ("doubted", &doubted), ("person", &person)];
    for (id, to) in cases {
        world.enqueue(&with_fallback(&world, id, to)).await;
    }
    world.until_status("refused", "completed").await;
    world.until_status("unsent", "completed").await;
    world.until_was("doubted", "in_doubt", "server_error").await;
    world.until_status("person", "failed").await;
    let platforms = async |id| -> Vec<(String, String)> {
        attempts(&world, id).await.into_iter().map(|(platform, verdict, _)| (platform, verdict)).collect()
    };
    let pair = |platform: &str, verdict: &str| (platform.to_owned(), verdict.to_owned());
    assert_eq!(platforms("refused").await, [pair("bland_ai", "refused"), pair("vapi", "placed")]);
    let not_sent = pair("bland_ai", "not_sent");
    assert_eq!(platforms("unsent").await, [not_sent.clone(), not_sent, pair("vapi", "placed")]);
    assert_eq!(platforms("doubted").await, [pair("bland_ai", "in_doubt")], "a doubt never falls back");
    assert!(!world.was("doubted", "scheduled", "fallback").await);
    assert_eq!(platforms("person").await, [pair("bland_ai", "refused")], "it holds on every platform");
    for id in ["refused", "unsent"] {
        let because = attempts(&world, id).await.pop().expect("an attempt").2;
        assert!(because.starts_with("fallback: "), "{because}");
    }
    assert!(world.sims().all(|sim| sim.journal().creates_by_attempt().values().all(|&count| count == 1)));
}

#[tokio::test]
async fn a_fallback_platform_calls_from_its_own_number_and_the_ledger_says_so() {
    let world = World::with(WorldOptions { platforms: vec!["retell"], ..WorldOptions::default() }).await;
    let _daemon = world.daemon().await;
    let (to, first, own) = (number(0, "0100"), "+12125550100", "+14155550100");
    world.bland.set_script(&to, Script::answering(Answer::PaymentRequired));
    let mut event = call_event("moved", &to);
    let config = &mut event["data"]["voice_config"];
    config["from_number"] = json!(first);
    config["fallback_platforms"] = json!(["retell"]);
    config["fallback_configs"] = json!({
        "retell": { "from_number": own, "language": "en-US", "platform_config": { "override_agent_id": "agent_simulated" } },
    });
    world.enqueue(&event).await;
    world.until_status("moved", "completed").await;
    let numbers: Vec<(String, Option<String>)> = sqlx::query_as(
        "select a.platform, a.from_number from call_attempts a join calls c on c.id = a.call_id where c.event_id = 'moved' order by a.n",
    )
    .fetch_all(&world.db)
    .await
    .expect("attempts");
    assert_eq!(numbers, [("bland_ai".to_owned(), Some(first.to_owned())), ("retell".to_owned(), Some(own.to_owned()))]);
}
