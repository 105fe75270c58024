//! A crash at each step of the send protocol, crossed with everything that a platform can answer.
//!
//! Each case has its own database, queue and simulator. The first daemon dies at the step; a second one finishes. What the
//! platform saw decides what is right: never two requests for one attempt, never two calls for one job, and a call that
//! exists ends with its outcome.

use futures_util::{StreamExt as _, stream};
use voxd::call::Verdict;
use voxd::fault;
use voxd::sim::platform::{Answer, Outcome, Script, SimOptions, WebhookFault};

use crate::harness::{World, WorldOptions, number, within};
use std::time::Duration;

/// Cases at once; most of each is waiting.
const AT_ONCE: usize = 6;

/// To look at one case, or a few: `twilio/after_answer/0100`, or the beginning of it; commas between several.
const ONLY: &str = "VOXD_TEST_CRASH";

/// Where the dying daemon stands with regard to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is spent: somebody else does it all.
    BeforeIntent,
    /// The right is spent and nothing left.
    Spent,
    /// The platform has seen the request; nothing is recorded.
    Sent,
    /// All is recorded.
    Recorded,
}

/// Before the request went out the script cannot matter, so three stand for all (`make crash` runs them all).
const FEW: &[&str] = &["0100", "0110", "0124"];

fn has_seen_the_request(stage: Stage) -> bool {
    matches!(stage, Stage::Sent | Stage::Recorded)
}

fn stage(point: &str) -> Stage {
    match point {
        "before_accept" | "after_accept" | "before_delete" | "before_intent" => Stage::BeforeIntent,
        "after_intent" | "before_send" => Stage::Spent,
        "after_answer" | "before_record" => Stage::Sent,
        "after_record" => Stage::Recorded,
        other => panic!("a new point {other:?} wants its stage"),
    }
}

/// The verdict of an answer that is recorded.
fn verdict(answer: Answer) -> Verdict {
    use Answer::*;
    match answer {
        Accepted | Slow => Verdict::Placed,
        InvalidNumber | DoNotCall | Blacklisted | PaymentRequired | AccountBlocked | AgentNotFound
        | PermanentServerError | Redirect | SaysNo => Verdict::Refused,
        RateLimited | RateLimitedWithWait | SameNumber => Verdict::NotSent,
        _ => Verdict::InDoubt,
    }
}

fn final_status(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::NoAnswer => "no_answer",
        Outcome::Busy => "busy",
        Outcome::Voicemail => "voicemail",
        _ => "failed",
    }
}

fn expected(stage: Stage, script: &Script) -> &'static str {
    let outcome = final_status(script.outcome);
    let made = script.answer.makes_call();
    match (stage, verdict(script.answer)) {
        (Stage::Spent, _) => "unknown",
        (_, _) if made => outcome,
        (Stage::Sent, _) | (_, Verdict::InDoubt) => "unknown",
        // The second try meets the default script.
        (_, Verdict::NotSent) => "completed",
        (_, Verdict::Refused) => "failed",
        (_, Verdict::Placed) => unreachable!("placed calls are made"),
    }
}

fn scripts() -> Vec<(&'static str, Script)> {
    // An hour's talk is no step of the protocol.
    Script::table().filter(|(_, script)| script.talk < Duration::from_secs(600)).collect()
}

/// `make crash`: everything. `make test`: every answer at the one point that shows the look-ups (the platform has seen the
/// request, nothing is recorded), with the first platform every script there, and a few at all points.
fn is_wanted(platform: &str, point: &str, digits: &str, script: &Script) -> bool {
    if let Ok(only) = std::env::var(ONLY) {
        return only.split(',').any(|case| format!("{platform}/{point}/{digits}").starts_with(case));
    }
    let first = platform == voxd::sim::PLATFORMS[0].0;
    let all = std::env::var_os("VOXD_TEST_ALL_CRASHES").is_some();
    let an_answer = script.answer != Answer::Accepted || FEW.contains(&digits);
    all || point == "after_answer" && (first || an_answer) || first && FEW.contains(&digits)
}

async fn cases() -> Vec<(&'static str, &'static str, &'static str, Script)> {
    let mut cases = Vec::new();
    for (platform, start) in voxd::sim::PLATFORMS {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let simulator = start(listener, SimOptions::default()).unwrap();
        for point in fault::POINTS {
            let played = scripts().into_iter().filter(|(_, script)| simulator.plays(script.answer));
            let wanted = played.filter(|(digits, script)| is_wanted(platform, point, digits, script));
            cases.extend(wanted.map(|(digits, script)| (*platform, *point, digits, script)));
        }
    }
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_leads_to_the_right_end_and_never_to_a_second_request() {
    let cases = cases().await;
    println!("{} cases", cases.len());
    for (platform, _) in voxd::sim::PLATFORMS {
        let count = cases.iter().filter(|(name, ..)| name == platform).count();
        assert!(count > 15 || std::env::var_os(ONLY).is_some(), "the table is complete: {platform} has {count} cases");
    }
    let failures: Vec<String> = stream::iter(cases)
        .map(|(platform, point, digits, script)| check(platform, point, digits, script))
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
}

async fn check(platform: &'static str, point: &'static str, digits: &'static str, script: Script) -> Option<String> {
    let options = WorldOptions { platforms: vec![platform], environment: quick(), ..WorldOptions::default() };
    let world = World::with(options).await;
    let to = number(0, digits);
    world.sim(platform).set_scripts(&to, vec![script.clone(), Script::default()]);
    let mut dying = world.unready_daemon(&[("VOXD_TEST_FAULT", &format!("{point}=crash"))]).await;
    world.enqueue(&world.call_event_on(platform, "job", &to)).await;
    within(Duration::from_secs(60), &format!("the daemon dies at {point} ({platform}, {digits})"), async || {
        dying.has_ended().then_some(())
    })
    .await;
    let _heir = world.daemon().await;

    let wanted = expected(stage(point), &script);
    let deadline = voxd::clock::monotonic() + Duration::from_secs(90);
    let end = loop {
        let status = world.status("job").await;
        match &status {
            Some((status, _)) if status == wanted => break status.clone(),
            _ if voxd::clock::monotonic() > deadline => break format!("{status:?}"),
            _ => voxd::clock::sleep(Duration::from_millis(50)).await,
        }
    };
    let case = format!("{platform} x {point} x {digits} ({:?}, {:?})", script.answer, script.webhook);
    let mut problems = Vec::new();
    if end != wanted {
        let lines = world.lines("job").await;
        problems.push(format!("ends as {end}, expected {wanted}:\n    {}\n ", lines.join("\n    ")));
    }
    let requests = world.creates_by_attempt();
    if requests.is_empty() && has_seen_the_request(stage(point)) {
        problems.push("no request came, so that the case shows nothing".into());
    }
    if requests.values().any(|count| *count > 1) {
        problems.push(format!("an attempt was requested twice: {requests:?}"));
    }
    if world.sim(platform).journal().calls_by_call_id().values().any(|calls| calls.len() > 1) {
        problems.push("two calls for one job".into());
    }
    if world.count("select count(*) from call_attempts where n > 1 and because = 'first'").await > 0 {
        problems.push("a further attempt without a reason".into());
    }
    let attempts = world.attempts("job").await;
    if requests.len() > attempts.len() {
        problems.push(format!("{} requests, {} attempts", requests.len(), attempts.len()));
    }
    // A webhook may have ended the call before its answer came, or could not come.
    let verdict = verdict(script.answer);
    let recorded = async || {
        let attempts = world.attempts("job").await;
        attempts.first().and_then(|(_, recorded, _)| recorded.clone()) == Some(verdict.to_string())
    };
    if matches!(stage(point), Stage::BeforeIntent | Stage::Recorded) && script.webhook == WebhookFault::None {
        while !recorded().await && voxd::clock::monotonic() < deadline {
            voxd::clock::sleep(Duration::from_millis(50)).await;
        }
        if !recorded().await {
            problems.push(format!("verdict of {:?}, expected {verdict}", world.attempts("job").await));
        }
    }
    (!problems.is_empty()).then(|| format!("{case}: {}", problems.join("; ")))
}

/// The chaos settings, shorter still.
fn quick() -> Vec<(String, String)> {
    [
        ("VOXD_WORKER__LEASE", "1s"),
        ("VOXD_PLATFORMS__BLAND_AI__REQUEST_TIMEOUT", "1500ms"),
        ("VOXD_PLATFORMS__VAPI__REQUEST_TIMEOUT", "1500ms"),
        ("VOXD_PLATFORMS__TWILIO__REQUEST_TIMEOUT", "1500ms"),
        ("VOXD_PLATFORMS__ELEVENLABS__REQUEST_TIMEOUT", "1500ms"),
        ("VOXD_PLATFORMS__RETELL__REQUEST_TIMEOUT", "1500ms"),
        // With one call a second the right to send would end before the call's turn comes.
        ("VOXD_PLATFORMS__TWILIO__CALLS_PER_SECOND", "100"),
        ("VOXD_RECONCILE__MARGIN", "300ms"),
        ("VOXD_RECONCILE__LISTING_INTERVAL", "1s"),
        // Where no listing can prove absence, time ends the doubt.
        ("VOXD_RECONCILE__GIVE_UP_AFTER", "4s"),
        ("VOXD_POLLER__INTERVAL", "1s"),
        ("VOXD_QUEUE__VISIBILITY", "2s"),
        ("RUST_LOG", "voxd=info"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}
