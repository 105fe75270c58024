//! Calls that wait: for their time, for a retry, for their number, for the platform, for room and rate.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use serde_json::{Value, json};
use voxd::clock;
use voxd::sim::bland::{BlandOptions, BlandSim};
use voxd::sim::platform::{Answer, Outcome, Script};

use crate::harness::{World, WorldOptions, call_event, eventually, free_port, number};

fn with(id: &str, to: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut event = call_event(id, to);
    change(&mut event["data"]);
    event
}

fn retry(max_attempts: u32, on: &[&str]) -> Value {
    json!({ "max_attempts": max_attempts, "on": on, "backoff": { "initial": "100ms", "factor": 1.0, "max": "1s" } })
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// `(state, verdict)` of each attempt.
async fn states(world: &World, id: &str) -> Vec<(String, String)> {
    let attempts = world.answered_attempts(id).await;
    attempts.into_iter().map(|(state, verdict, _)| (state, verdict.unwrap_or_default())).collect()
}

fn pairs(states: &[(&str, &str)]) -> Vec<(String, String)> {
    states.iter().map(|(state, verdict)| ((*state).to_owned(), (*verdict).to_owned())).collect()
}

#[tokio::test]
async fn a_call_is_not_sent_before_its_time_nor_after_it() {
    let world = World::new().await;
    let _daemon = world.daemon().await;
    let start = clock::now() + TimeDelta::seconds(3);
    world.enqueue(&with("soon", &number(0, "0100"), |data| data["not_before"] = json!(start))).await;
    let far = "2099-01-01T00:00:00Z";
    world.enqueue(&with("later", &number(3, "0100"), |data| data["not_before"] = json!(far))).await;
    world.enqueue(&with("gone", &number(1, "0100"), |data| data["expires_at"] = json!("2026-01-01T00:00:00Z"))).await;
    // Two calls that cannot be sent in time: one waits for its line, which is never free.
    let line = number(2, "0100");
    world.bland.set_script(&line, Script { talk: Duration::from_secs(3_600_000), ..Script::default() });
    world.enqueue(&call_event("holds-the-line", &line)).await;
    world.until_status("holds-the-line", "placed").await;
    let end = clock::now() + TimeDelta::seconds(3);
    world.enqueue(&with("too-late", &line, |data| data["expires_at"] = json!(end))).await;

    world.until_status("gone", "expired").await;
    assert_eq!(world.attempts("gone").await, []);
    world.until_status("soon", "completed").await;
    assert!(world.creates_to(&number(0, "0100"))[0].at >= start);
    world.until_was("later", "scheduled", "not_before").await;
    let due: DateTime<Utc> = world.of("later", "select scheduled_for from calls where event_id = $1").await;
    assert_eq!(due, far.parse::<DateTime<Utc>>().unwrap());
    assert!(world.creates_to(&number(3, "0100")).is_empty());
    world.until_status("too-late", "expired").await;
    assert_eq!(world.status("too-late").await.unwrap().1.as_deref(), Some("expired"));
    assert_eq!(world.creates_to(&line).len(), 1);
}

/// A zone in which it is neither near midnight now.
fn zone() -> (&'static str, u32) {
    let local = |zone: chrono_tz::Tz| clock::now().with_timezone(&zone).hour();
    match local(chrono_tz::America::Los_Angeles) {
        hour @ 2..=20 => ("America/Los_Angeles", hour),
        _ => ("Europe/Berlin", local(chrono_tz::Europe::Berlin)),
    }
}

#[tokio::test]
async fn a_closed_window_holds_a_call_until_it_opens_where_the_person_is() {
    let world = World::new().await;
    let _daemon = world.daemon().await;
    let (zone, hour) = zone();
    // Opens in the local hour that has just gone, so tomorrow.
    let window = |from: u32, to: &str| json!({ "from": format!("{from:02}:00"), "to": to });
    let closed = window(hour - 1, &format!("{:02}:00", hour));
    let open = window(0, "23:59");
    for (n, (id, window)) in [("closed", closed), ("open", open)].into_iter().enumerate() {
        let event = with(id, &number(n as u32, "0100"), |data| {
            data["lead"]["timezone"] = json!(zone);
            data["voice_config"]["calling_window"] = window;
        });
        world.enqueue(&event).await;
    }
    world.until_status("open", "completed").await;
    world.until_status("closed", "scheduled").await;
    assert_eq!(world.status("closed").await.unwrap().1.as_deref(), Some("window"));
    let at: DateTime<Utc> = world.of("closed", "select scheduled_for from calls where event_id = $1").await;
    let local = at.with_timezone(&zone.parse::<chrono_tz::Tz>().unwrap());
    assert_eq!((local.hour(), local.minute()), (hour - 1, 0), "{at}");
    assert!(at > clock::now());
    assert!(world.creates_to(&number(0, "0100")).is_empty());
}

#[tokio::test]
async fn retries_follow_the_calls_policy() {
    let world = World::new().await;
    let _daemon = world.daemon().await;
    let busy = || Script::ending(Outcome::Busy);
    let (twice, always, other) = (number(0, "0100"), number(1, "0102"), number(2, "0101"));
    world.bland.set_scripts(&twice, vec![busy(), busy(), Script::default()]);
    let config = |policy: Value| move |data: &mut Value| data["voice_config"]["retry"] = policy;
    world.enqueue(&with("third-time", &twice, config(retry(3, &["busy", "no_answer"])))).await;
    world.enqueue(&with("gives-up", &always, config(retry(2, &["busy"])))).await;
    world.enqueue(&with("not-covered", &other, config(retry(3, &["busy"])))).await;
    world.enqueue(&call_event("no-policy", &number(3, "0102"))).await;

    world.until_status("third-time", "completed").await;
    let because = |n: u32| format!("retry: attempt {n} ended as busy");
    assert_eq!(
        world.answered_attempts("third-time").await,
        [("busy", "first".to_owned()), ("busy", because(1)), ("completed", because(2))].map(|(state, because)| (
            state.to_owned(),
            Some("placed".to_owned()),
            because
        ))
    );
    let story = world.story("third-time").await;
    assert_eq!(
        story.iter().filter(|(status, why)| status == "scheduled" && why.as_deref() == Some("retry")).count(),
        2
    );
    assert!(
        !story.iter().any(|(status, _)| status == "busy"),
        "an outcome that is retried is not the call's: {story:?}"
    );

    world.until_status("gives-up", "busy").await;
    assert_eq!(states(&world, "gives-up").await, pairs(&[("busy", "placed"), ("busy", "placed")]));
    world.until_status("not-covered", "no_answer").await;
    assert_eq!(states(&world, "not-covered").await, pairs(&[("no_answer", "placed")]));
    world.until_status("no-policy", "busy").await;
    assert_eq!(states(&world, "no-policy").await, pairs(&[("busy", "placed")]));
    assert!(world.creates_by_attempt().values().all(|&count| count == 1));
}

#[tokio::test]
async fn a_second_call_to_a_number_waits_until_the_first_has_ended() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let operator = world.api(&daemon, "operator").await;
    let line = number(0, "0100");
    let long = Script { talk: Duration::from_secs(3_600_000), ..Script::default() };
    world.bland.set_scripts(&line, vec![long, Script::default()]);
    world.enqueue(&call_event("first", &line)).await;
    world.until_status("first", "placed").await;
    world.enqueue(&call_event("second", &line)).await;
    world.until_was("second", "scheduled", "number_busy").await;
    assert_eq!(world.creates_to(&line).len(), 1);
    let first = world.call_id("first").await;
    assert_eq!(operator.post(&format!("/api/calls/{first}/cancel/"), &json!({})).await.status, 202);
    world.until_status("second", "completed").await;
    // Both by the database's clock.
    let ended: DateTime<Utc> = world
        .of("first", "select e.at from call_events e join calls c on c.id = e.call_id where event_id = $1 and to_status = 'completed'")
        .await;
    let second: DateTime<Utc> = world
        .of("second", "select a.committed_at from call_attempts a join calls c on c.id = a.call_id where event_id = $1")
        .await;
    assert!(second >= ended, "the right to send was spent when the line was free");
    assert_eq!(world.creates_to(&line).len(), 2);
}

#[tokio::test]
async fn a_refused_call_has_failed_with_the_platforms_reason_and_is_not_sent_again() {
    let world = World::new().await;
    let _daemon = world.daemon().await;
    let refusals = [
        ("0110", "invalid_number"),
        ("0111", "do_not_call"),
        ("0112", "blacklisted"),
        ("0115", "payment_required"),
        ("0116", "account_blocked"),
        ("0117", "not_found"),
        ("0118", "invalid_encrypted_key"),
        ("0129", "redirected"),
    ];
    for (n, (digits, _)) in refusals.iter().enumerate() {
        world.enqueue(&call_event(digits, &number(n as u32, digits))).await;
    }
    for (digits, reason) in refusals {
        world.until_status(digits, "failed").await;
        assert_eq!(world.status(digits).await.unwrap().1.as_deref(), Some(reason), "{digits}");
        assert_eq!(states(&world, digits).await, pairs(&[("refused", "refused")]), "{digits}");
    }
    assert!(world.creates_by_attempt().values().all(|&count| count == 1));
}

#[tokio::test]
async fn a_platform_that_slows_us_down_is_left_alone_as_long_as_it_asks_and_no_retry_is_spent() {
    let world = World::new().await;
    let _daemon = world.daemon().await;
    let line = number(0, "0100");
    let scripts = [Script::answering(Answer::RateLimitedWithWait), Script::ending(Outcome::Busy), Script::default()];
    world.bland.set_scripts(&line, scripts.to_vec());
    // Two attempts that reach the line: busy and completed. The one that was not sent is none of them.
    world.enqueue(&with("slowed", &line, |data| data["voice_config"]["retry"] = retry(2, &["busy"]))).await;
    eventually("the platform has said 429", async || (!states(&world, "slowed").await.is_empty()).then_some(())).await;
    eventually("and it is recorded", async || (states(&world, "slowed").await[0].0 == "not_sent").then_some(())).await;
    world.enqueue(&call_event("another", &number(1, "0100"))).await;
    world.until_status("slowed", "completed").await;
    world.until_status("another", "completed").await;

    assert_eq!(
        states(&world, "slowed").await,
        pairs(&[("not_sent", "not_sent"), ("busy", "placed"), ("completed", "placed")])
    );
    assert!(world.was("slowed", "scheduled", "rate_limited").await, "{:?}", world.story("slowed").await);
    let because = &world.attempts("slowed").await[1].2;
    assert!(because.starts_with("resend: ") && because.contains("rate_limited"), "{because}");
    let creates = world.bland.journal().creates();
    let quiet_until = creates[0].answered_at.unwrap() + TimeDelta::milliseconds(1950);
    assert_eq!(creates[0].status, Some(429));
    assert!(creates[1..].iter().all(|create| create.at >= quiet_until), "Retry-After: 2 holds the whole account");
}

#[tokio::test]
async fn a_platform_that_is_never_reached_fails_the_call_after_its_tries() {
    let port = free_port().await;
    let world = World::with(WorldOptions {
        environment: environment(&[
            ("VOXD_PLATFORMS__BLAND_AI__BASE_URL", &format!("http://127.0.0.1:{port}")),
            ("VOXD_DELIVERY__MAX_SEND_TRIES", "2"),
        ]),
        ..WorldOptions::default()
    })
    .await;
    let _daemon = world.daemon().await;
    world.enqueue(&call_event("nobody-there", &number(0, "0100"))).await;
    world.until_status("nobody-there", "failed").await;
    assert_eq!(world.status("nobody-there").await.unwrap().1.as_deref(), Some("not_sent"));
    assert_eq!(states(&world, "nobody-there").await, pairs(&[("not_sent", "not_sent"); 2]));
}

#[tokio::test]
async fn a_platform_that_comes_back_gets_the_call_once() {
    let port = free_port().await;
    let base_url = format!("http://127.0.0.1:{port}");
    let world = World::with(WorldOptions {
        environment: environment(&[("VOXD_PLATFORMS__BLAND_AI__BASE_URL", &base_url)]),
        ..WorldOptions::default()
    })
    .await;
    let _daemon = world.daemon().await;
    world.enqueue(&call_event("patient", &number(0, "0100"))).await;
    world.until_was("patient", "scheduled", "connect_failed").await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port is still free");
    let bland = BlandSim::start(listener, BlandOptions::default()).unwrap();
    world.until_status("patient", "completed").await;
    let states = states(&world, "patient").await;
    let (last, before) = states.split_last().unwrap();
    assert_eq!(*last, ("completed".to_owned(), "placed".to_owned()));
    assert!(!before.is_empty() && before.iter().all(|(state, _)| state == "not_sent"), "{states:?}");
    assert_eq!(bland.journal().creates().len(), 1);
}

#[tokio::test]
async fn the_cap_on_live_calls_holds_over_two_replicas() {
    const CAP: usize = 3;
    // Ringing and talking take 0.4 s.
    let bland = BlandOptions { time_scale: 0.05, ..BlandOptions::default() };
    let lasts = TimeDelta::milliseconds(400);
    let world = World::with(WorldOptions {
        bland,
        environment: environment(&[("VOXD_PLATFORMS__BLAND_AI__MAX_LIVE_CALLS", &CAP.to_string())]),
        ..WorldOptions::default()
    })
    .await;
    // All are there before the first receive, so that there is always more to send than room.
    for n in 0..12 {
        world.enqueue(&call_event(&format!("c{n}"), &number(n, "0100"))).await;
    }
    let _one = world.daemon().await;
    let _two = world.daemon().await;
    for n in 0..12 {
        world.until_status(&format!("c{n}"), "completed").await;
    }
    let creates = world.bland.journal().creates();
    assert_eq!(creates.len(), 12);
    // Each call lives at least from the answer to its end.
    let live: Vec<_> = creates.iter().map(|create| (create.answered_at.unwrap(), create.at + lasts)).collect();
    for (start, _) in &live {
        let at_once = live.iter().filter(|(from, to)| from <= start && start < to).count();
        assert!(at_once <= CAP, "{at_once} calls at once");
    }
    assert!(
        world.count("select count(*) from call_events where detail->>'reason' = 'cap'").await > 0,
        "the cap was felt"
    );
}

#[tokio::test]
async fn the_rate_is_kept_by_two_replicas_together() {
    const PER_SECOND: usize = 10;
    let world = World::with(WorldOptions {
        environment: environment(&[("VOXD_PLATFORMS__BLAND_AI__CALLS_PER_SECOND", "10")]),
        ..WorldOptions::default()
    })
    .await;
    let daemons = [world.daemon().await, world.daemon().await];
    eventually("each replica knows of the other", async || {
        let replicas = [daemons[0].metric("voxd_replicas", &[]).await, daemons[1].metric("voxd_replicas", &[]).await];
        (replicas == [2.0, 2.0]).then_some(())
    })
    .await;
    for n in 0..30 {
        world.enqueue(&call_event(&format!("c{n}"), &number(n, "0100"))).await;
    }
    for n in 0..30 {
        world.until_status(&format!("c{n}"), "completed").await;
    }
    let at: Vec<_> = world.bland.journal().creates().iter().map(|create| create.at).collect();
    assert_eq!(at.len(), 30);
    // Each replica spaces its own evenly; slow moments bring some closer together, by far not to twice the rate.
    for start in &at {
        let within = at.iter().filter(|at| (*start..*start + TimeDelta::seconds(1)).contains(at)).count();
        assert!(within <= PER_SECOND + PER_SECOND / 2, "{within} requests within a second");
    }
}

#[tokio::test]
async fn what_holds_a_call_back_is_in_its_timeline_and_is_explained() {
    let rules = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    // Open for half an hour, two local hours from now: closed at whatever time this runs.
    let opens = (clock::now().with_timezone(&chrono_tz::America::Denver).hour() + 2) % 24;
    let hours =
        format!("[[rules]]\nname = \"the state\"\nhours = [{{ from = \"{opens:02}:00\", to = \"{opens:02}:30\" }}]\n");
    std::fs::write(rules.path(), hours).unwrap();
    let rules_file = rules.path().to_str().unwrap();
    let world = World::with(WorldOptions {
        environment: environment(&[("VOXD_POLICY__RULES_FILE", rules_file)]),
        ..WorldOptions::default()
    })
    .await;
    let daemon = world.daemon().await;
    let operator = world.api(&daemon, "operator").await;
    // Denver, by its area code.
    world.enqueue(&call_event("held", "+13035550100")).await;
    world.until_was("held", "scheduled", "window").await;
    let id = world.call_id("held").await;
    let call = operator.get(&format!("/api/calls/{id}/")).await.body;
    let hold = &call["hold"];
    assert_eq!((hold["rule"].as_str(), hold["zone"].as_str()), (Some("window"), Some("America/Denver")), "{call}");
    assert_eq!(hold["of"], "the state");
    let text = hold["text"].as_str().unwrap();
    assert!(text.starts_with(&format!("would call at {opens:02}:00 America/Denver: window (the state, ")), "{text}");
    assert!(hold["local_time"].as_str().unwrap().ends_with(&format!("T{opens:02}:00:00")));
    let detail: String = world.of("held", "select status_detail from calls where event_id = $1").await;
    assert_eq!(detail, text);

    let shown = world.command(&["calls", "show", "test/held", "--json"]).await;
    assert_eq!(shown["hold"], *hold);
    std::fs::write(world.dir().join("event.json"), call_event("x", "+13035550100").to_string()).unwrap();
    let file = world.dir().join("event.json");
    let checked = world.command(&["check", file.to_str().unwrap(), "--json"]).await;
    assert_eq!((checked[0]["hold"]["rule"].as_str(), &checked[0]["hold"]["text"]), (Some("window"), &hold["text"]));
}

#[tokio::test]
async fn a_window_that_closes_before_the_first_byte_stops_the_send() {
    // A permit that ends with the window: what waits for a slot past it sends nothing, and waits for the window again.
    let permit = voxd::platforms::SendPermit::for_the_next(Duration::from_secs(60));
    assert!(permit.is_valid() && !permit.ended_by(clock::monotonic()).is_valid());
    assert!(permit.ended_by(clock::monotonic() + Duration::from_secs(30)).is_valid());
}

#[tokio::test]
async fn a_call_that_waits_for_another_reason_has_a_line_for_each() {
    let world = World::new().await;
    // Accepted by a daemon without a window; due when one runs that has it.
    let first = world.daemon().await;
    world.enqueue(&with("moved", "+13035550100", |data| data["not_before"] = json!("2099-01-01T00:00:00Z"))).await;
    world.until_status("moved", "scheduled").await;
    first.terminate(Duration::from_secs(30)).await;
    let opens = (clock::now().with_timezone(&chrono_tz::America::Denver).hour() + 2) % 24;
    let window = format!("{opens:02}:00-{opens:02}:30");
    let _second = world.daemon_with(&[("VOXD_POLICY__CALLING_WINDOW", window.as_str())]).await;
    sqlx::query("update calls set scheduled_for = now()").execute(&world.db).await.unwrap();
    eventually("the hold is in the timeline", async || {
        let lines: i64 = world
            .of("moved", "select count(*) from call_events e join calls c on c.id = e.call_id where event_id = $1 and e.kind = 'held' and e.detail->>'reason' = 'window'")
            .await;
        (lines == 1).then_some(())
    })
    .await;
    assert!(world.creates_to("+13035550100").is_empty());
}

#[tokio::test]
async fn an_operator_makes_a_call_due_that_waits_for_time_alone_and_nothing_else() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let operator = world.api(&daemon, "operator").await;
    let (line, talking) = (number(0, "0100"), number(1, "0107"));
    world.bland.set_scripts(&line, vec![Script::ending(Outcome::Busy), Script::default()]);
    let later = json!({ "max_attempts": 2, "on": ["busy"], "backoff": { "initial": "2h" } });
    world.enqueue(&with("later", &line, |data| data["voice_config"]["retry"] = later)).await;
    world.until_was("later", "scheduled", "retry").await;
    let retry = |id: uuid::Uuid| format!("/api/calls/{id}/retry/");
    let id = world.call_id("later").await;
    let now = operator.post(&retry(id), &json!({ "because": "they wrote that they are back" })).await;
    assert_eq!((now.status, &now.body["status"]), (200, &json!("scheduled")), "{:?}", now.body);
    world.until_status("later", "completed").await;
    let told: Value = world
        .of("later", "select e.detail from call_events e join calls c on c.id = e.call_id where c.event_id = $1 and e.kind = 'retry_requested'")
        .await;
    assert_eq!(told, json!({ "waited_for": "retry", "because": "they wrote that they are back" }));
    assert_eq!(operator.post(&retry(id), &json!({ "because": "again" })).await.status, 409, "it has ended");

    // What waits for another call of ours is not for an operator to push.
    world.enqueue(&call_event("live", &talking)).await;
    eventually("the first call is made", async || (!world.creates_to(&talking).is_empty()).then_some(())).await;
    world.enqueue(&call_event("behind", &talking)).await;
    world.until_was("behind", "scheduled", "number_busy").await;
    let refused = operator.post(&retry(world.call_id("behind").await), &json!({ "because": "hurry" })).await;
    assert_eq!(refused.status, 409, "{:?}", refused.body);
    assert_eq!(operator.post(&retry(uuid::Uuid::nil()), &json!({ "because": "x" })).await.status, 404);
}
