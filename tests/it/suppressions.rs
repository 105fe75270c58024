//! Numbers that are not called: the do-not-call list, opt-outs, and how often a number may be called.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;
use voxd::call::{AttemptState, CallStatus, CallUpdate, PhoneNumber, Verdict};
use voxd::clock;
use voxd::dev::postgres::ClusterOptions;
use voxd::sim::platform::Script;
use voxd::store::accept::Acceptance;
use voxd::store::attempts::{Answered, IntentOutcome};
use voxd::store::suppressions::Suppressing;
use voxd::store::updates::ToldBy;

use crate::harness::{World, WorldOptions, call_event, eventually, number, own_cluster};
use crate::ledger::{Ledger, answered, new_call, scheduled};

const ADA: &str = "+14155550123";
const BOB: &str = "+14155550124";
const HOUR: Duration = Duration::from_secs(3600);

fn why(because: &str) -> Suppressing<'_> {
    Suppressing { source: "api", because, who: "operator:ada", expires_at: None }
}

fn phone(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text).unwrap()
}

async fn count(ledger: &Ledger, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(&ledger.db).await.unwrap()
}

/// Nobody is waiting for an advisory lock, or somebody is.
async fn until_somebody_waits(ledger: &Ledger) {
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and wait_event = 'advisory' and datname = current_database()";
    eventually("somebody waits for the number", async || (count(ledger, waiting).await > 0).then_some(())).await;
}

#[tokio::test]
async fn an_opt_out_cancels_every_queued_call_to_its_number_and_no_other() {
    let ledger = Ledger::new().await;
    let due = ledger.accept(new_call("due", ADA)).await;
    let later = ledger.accept(scheduled(new_call("later", ADA), 3600)).await;
    let other = ledger.accept(new_call("other", BOB)).await;
    let done = ledger.store.suppress(&[phone(ADA)], &why("asked by mail")).await.unwrap();
    assert_eq!((done.changed, done.cancelled.len()), (1, 2));
    for call in [due, later] {
        assert_eq!(ledger.status(call).await, "cancelled");
        assert_eq!(ledger.reason(call).await.as_deref(), Some("do_not_call"));
    }
    assert_eq!(ledger.status(other).await, "accepted");
    // The same once more changes nothing, and leaves no line; a longer end extends, a shorter one does not shorten.
    let again = ledger.store.suppress(&[phone(ADA)], &why("again")).await.unwrap();
    assert_eq!((again.changed, again.cancelled.len()), (0, 0));
    let shorter = Suppressing { expires_at: Some(clock::now() + TimeDelta::days(1)), ..why("only a day") };
    assert_eq!(ledger.store.suppress(&[phone(ADA)], &shorter).await.unwrap().changed, 0);
    // A job that comes now is rejected as it is accepted, and nobody gets it to send.
    let acceptance = ledger.store.accept_calls(&[new_call("new", ADA)], None).await.unwrap();
    assert_eq!(acceptance, [Acceptance::Suppressed]);
    let status: (String, Option<String>, String) = sqlx::query_as(
        "select c.status, c.status_reason, t.status from calls c join thread_messages t on t.call_id = c.id where event_id = 'new'",
    )
    .fetch_one(&ledger.db)
    .await
    .unwrap();
    assert_eq!(status, ("rejected".into(), Some("do_not_call".into()), "rejected".into()));

    assert!(ledger.store.unsuppress(&phone(ADA), "api", "operator:bob", "asked to be called").await.unwrap());
    assert!(!ledger.store.unsuppress(&phone(ADA), "api", "operator:bob", "twice").await.unwrap());
    let story: Vec<(String, String, String)> =
        sqlx::query_as("select action, who, because from suppression_events order by id")
            .fetch_all(&ledger.db)
            .await
            .unwrap();
    let line = |action: &str, who: &str, because: &str| (action.to_owned(), who.to_owned(), because.to_owned());
    assert_eq!(
        story,
        [line("added", "operator:ada", "asked by mail"), line("removed", "operator:bob", "asked to be called")]
    );
    let acceptance = ledger.store.accept_calls(&[new_call("after", ADA)], None).await.unwrap();
    assert_eq!(acceptance, [Acceptance::New]);
}

#[tokio::test]
async fn a_suppression_that_has_ended_holds_no_more() {
    let ledger = Ledger::new().await;
    let ended = Suppressing { expires_at: Some(clock::now() - TimeDelta::seconds(1)), ..why("until then") };
    ledger.store.suppress(&[phone(ADA)], &ended).await.unwrap();
    ledger.sending(new_call("fine", ADA)).await;
}

#[tokio::test]
async fn a_dial_waits_for_an_opt_out_under_way_and_then_obeys_it() {
    let ledger = Ledger::new().await;
    ledger.accept(new_call("call", ADA)).await;
    let call = ledger.claim_one().await;
    let mut opt_out = ledger.db.begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(number_lock($1))").bind(ADA).execute(&mut *opt_out).await.unwrap();
    sqlx::query("insert into suppressions (number, source, because, who) values ($1, 'api', 'b', 'w')")
        .bind(ADA)
        .execute(&mut *opt_out)
        .await
        .unwrap();
    let (spent, ()) = tokio::join!(ledger.spend(&call), async {
        // Its snapshot is older than the opt-out's commit.
        until_somebody_waits(&ledger).await;
        opt_out.commit().await.unwrap();
    });
    assert_eq!(spent.1, IntentOutcome::DO_NOT_CALL);
    assert_eq!(count(&ledger, "select count(*) from call_attempts").await, 0);
}

#[tokio::test]
async fn an_opt_out_waits_for_a_dial_under_way() {
    let ledger = Ledger::new().await;
    let call_id = ledger.accept(new_call("call", ADA)).await;
    let mut dial = ledger.db.begin().await.unwrap();
    sqlx::query(
        "insert into call_attempts (id, call_id, n, because, platform, to_number, fence, lease_owner, settled_at)
         values ($1, $2, 1, 'first', 'bland_ai', $3, 1, gen_random_uuid(), now())",
    )
    .bind(Uuid::now_v7())
    .bind(call_id)
    .bind(ADA)
    .execute(&mut *dial)
    .await
    .unwrap();
    let (suppressed, listed_before) =
        tokio::join!(async { ledger.store.suppress(&[phone(ADA)], &why("stop")).await.unwrap() }, async {
            until_somebody_waits(&ledger).await;
            let listed = count(&ledger, "select count(*) from suppressions").await;
            dial.commit().await.unwrap();
            listed
        });
    assert_eq!((suppressed.changed, listed_before), (1, 0));
}

/// Commit times are taken while the number's lock is held, so that they have its order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_opt_outs_that_race_a_dial_none_is_followed_by_a_send() {
    let settings = vec![("track_commit_timestamp".to_owned(), "on".to_owned())];
    let (_cluster, url) = own_cluster(ClusterOptions { settings, ..ClusterOptions::default() }).await;
    let ledger = &Ledger::on(url).await;
    for round in 0..50 {
        let race = |n: usize| async move {
            let to = number((round * 20 + n) as u32, "0100");
            let delay = Duration::from_micros(fastrand::Rng::with_seed((round * 20 + n) as u64).u64(0..4000));
            // The one half is queued when the opt-out begins; the other is accepted while it runs.
            let queued = n.is_multiple_of(2);
            let call = NewLeased::of(ledger, &format!("race-{round}-{n}"), &to);
            if queued {
                call.accept().await;
            }
            let dial = async {
                clock::sleep(delay).await;
                if !queued {
                    call.accept().await;
                }
                call.dial().await
            };
            let opt_out = async {
                // Some come before, some after, most in the midst of it.
                clock::sleep(Duration::from_micros(match n {
                    0 | 1 => 0,
                    18 | 19 => 40_000,
                    _ => 2000,
                }))
                .await;
                ledger.store.suppress(&[phone(&to)], &why("race")).await.unwrap();
            };
            tokio::join!(dial, opt_out).0
        };
        futures_util::future::join_all((0..20).map(race)).await;
    }
    let late = "select count(*) from call_attempts a join suppressions s on s.number = a.to_number
                where pg_xact_commit_timestamp(a.xmin) > pg_xact_commit_timestamp(s.xmin)";
    assert_eq!(count(ledger, late).await, 0, "a right to send was committed after the opt-out");
    assert_eq!(count(ledger, "select count(*) from suppressions").await, 1000);
    let sent = count(ledger, "select count(*) from call_attempts").await;
    assert!((1..1000).contains(&sent), "{sent} of 1000 were sent: there was no race");
    // What the opt-out could not see yet is refused its right when it asks for it.
    for call in ledger.store.claim_due(ledger.replica, HOUR, 1000).await.unwrap() {
        assert_eq!(ledger.spend(&call).await.1, IntentOutcome::DO_NOT_CALL);
    }
}

/// A call that its sender holds from its acceptance on.
struct NewLeased<'a> {
    ledger: &'a Ledger,
    call: voxd::store::accept::NewCall,
}

impl<'a> NewLeased<'a> {
    fn of(ledger: &'a Ledger, event_id: &str, to: &str) -> Self {
        Self { ledger, call: new_call(event_id, to) }
    }

    async fn accept(&self) {
        let to = voxd::store::accept::LeaseTo { replica: self.ledger.replica, lease: Duration::from_secs(60) };
        self.ledger.store.accept_calls(std::slice::from_ref(&self.call), Some(to)).await.unwrap();
    }

    async fn dial(&self) -> IntentOutcome {
        let call = voxd::store::leases::LeasedCall {
            id: self.call.id,
            fence: 1,
            platform: "bland_ai".into(),
            platforms: vec!["bland_ai".into()],
            to: self.call.to_number.clone(),
            request: self.call.request.clone(),
            metadata: Default::default(),
            expires_at: None,
            order_key: None,
            send_tries: 0,
            created_at: clock::now(),
            traceparent: None,
        };
        self.ledger.spend(&call).await.1
    }
}

#[tokio::test]
async fn a_platforms_report_of_an_opt_out_is_one_and_ends_the_retries() {
    let ledger = Ledger::new().await;
    let mut call = new_call("live", ADA);
    call.request.voice_config = serde_json::from_value(json!({
        "platform": "bland_ai", "retry": { "max_attempts": 3, "on": ["no_answer"], "backoff": { "initial": "1s", "factor": 1.0, "max": "1s" } }
    }))
    .unwrap();
    let (live, attempt_id) = ledger.sending(call).await;
    let queued = ledger.accept(scheduled(new_call("queued", ADA), 60)).await;
    let update = CallUpdate {
        attempt_id: Some(attempt_id),
        platform_call_id: Some("c-1".into()),
        state: Some(AttemptState::NoAnswer),
        opt_out: true,
        ..CallUpdate::default()
    };
    ledger.store.apply("bland_ai", &update, ToldBy::Webhook, HOUR).await.unwrap();
    assert_eq!(ledger.status(live.id).await, "no_answer", "covered by its retry policy, and not called again");
    assert_eq!(
        (ledger.status(queued).await.as_str(), ledger.reason(queued).await.as_deref()),
        ("cancelled", Some("do_not_call"))
    );
    let row: (String, String) = sqlx::query_as("select source, who from suppressions where number = $1")
        .bind(ADA)
        .fetch_one(&ledger.db)
        .await
        .unwrap();
    assert_eq!(row, ("platform:bland_ai".into(), "webhook".into()));
    assert_eq!(count(&ledger, "select count(*) from call_events where kind = 'opt_out'").await, 1);
}

/// An attempt that was placed and ended as busy, so that its number is free again.
async fn called_once(ledger: &Ledger, event_id: &str, state: AttemptState) {
    let (call, attempt_id) = ledger.sending(new_call(event_id, ADA)).await;
    let (verdict, call_status) = match state {
        AttemptState::Refused => (Verdict::Refused, CallStatus::Failed),
        _ => (Verdict::Placed, CallStatus::Placed),
    };
    let answer = Answered {
        state: if verdict == Verdict::Placed { AttemptState::Placed } else { state },
        verdict,
        call_status,
        ..answered(&call, attempt_id)
    };
    ledger.store.record(&[answer]).await.unwrap();
    if verdict == Verdict::Placed {
        let update = CallUpdate { attempt_id: Some(attempt_id), state: Some(state), ..CallUpdate::default() };
        ledger.store.apply("bland_ai", &update, ToldBy::Webhook, HOUR).await.unwrap();
    }
}

#[tokio::test]
async fn a_number_is_not_called_beyond_its_caps_and_the_call_knows_until_when() {
    let ledger = Ledger::new().await;
    called_once(&ledger, "one", AttemptState::Busy).await;
    called_once(&ledger, "refused", AttemptState::Refused).await;
    called_once(&ledger, "two", AttemptState::Completed).await;
    let call = {
        ledger.accept(new_call("three", ADA)).await;
        ledger.claim_one().await
    };
    // What the platform refused never reached the person.
    let caps = |attempts: u32, seconds: u32| {
        Some(json!([{ "attempts": attempts, "seconds": seconds }, { "attempts": 100, "seconds": 60 }]))
    };
    let (_, outcome) = ledger.spend_within(&call, caps(2, 3600)).await;
    let first: DateTime<Utc> =
        sqlx::query_scalar("select min(committed_at) from call_attempts").fetch_one(&ledger.db).await.unwrap();
    assert_eq!(outcome, IntentOutcome::TooOften { until: first + TimeDelta::hours(1) });
    let (_, outcome) = ledger.spend_within(&call, caps(3, 3600)).await;
    assert_eq!(outcome, IntentOutcome::Spent);
    let kept: Value = sqlx::query_scalar("select number_caps from call_attempts where call_id = $1")
        .bind(call.id)
        .fetch_one(&ledger.db)
        .await
        .unwrap();
    assert_eq!(kept[0]["attempts"], 3);
}

#[tokio::test]
async fn a_call_beyond_the_cap_waits_and_says_so() {
    let environment = vec![("VOXD_POLICY__MAX_ATTEMPTS_PER_NUMBER".to_owned(), "1/24h".to_owned())];
    let world = World::with(WorldOptions { environment, ..WorldOptions::default() }).await;
    let _daemon = world.daemon().await;
    let line = number(0, "0100");
    world.enqueue(&call_event("first", &line)).await;
    world.until_status("first", "completed").await;
    world.enqueue(&call_event("second", &line)).await;
    world.until_was("second", "scheduled", "frequency").await;
    let (first, due): (DateTime<Utc>, DateTime<Utc>) = sqlx::query_as(
        "select (select min(committed_at) from call_attempts), scheduled_for from calls where event_id = 'second'",
    )
    .fetch_one(&world.db)
    .await
    .unwrap();
    // Told as a wait from then on: the clocks of the daemon and of the database are two.
    assert!((due - first - TimeDelta::hours(24)).abs() < TimeDelta::seconds(30), "{due} is not a day after {first}");
    let detail: String = world.of("second", "select status_detail from calls where event_id = $1").await;
    assert!(detail.starts_with("would call at ") && detail.contains(": frequency (at most 1/1day, "), "{detail}");
    assert_eq!(world.creates_to(&line).len(), 1);
}

#[tokio::test]
async fn a_number_that_a_platform_refuses_for_good_is_suppressed_and_what_is_queued_for_it_ends() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let line = number(0, "0111");
    let mut waiting = call_event("waiting", &line);
    waiting["data"]["not_before"] = json!("2099-01-01T00:00:00Z");
    world.enqueue(&waiting).await;
    world.until_status("waiting", "scheduled").await;
    world.enqueue(&call_event("refused", &line)).await;
    world.until_status("refused", "failed").await;
    world.until_status("waiting", "cancelled").await;
    assert_eq!(world.status("waiting").await.unwrap().1.as_deref(), Some("do_not_call"));
    world.enqueue(&call_event("next", &line)).await;
    world.until_was("next", "rejected", "do_not_call").await;
    assert_eq!(world.creates_to(&line).len(), 1, "the platform is asked once");
    let operator = world.api(&daemon, "operator").await;
    let list = operator.get("/api/suppressions/?reveal=1").await.body;
    let item = &list["items"][0];
    assert_eq!((item["number"].as_str(), item["source"].as_str()), (Some(line.as_str()), Some("platform:bland_ai")));
}

#[tokio::test]
async fn operators_keep_the_list_over_http() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let operator = world.api(&daemon, "operator").await;
    let line = number(0, "0100");
    let mut waiting = call_event("waiting", &line);
    waiting["data"]["not_before"] = json!("2099-01-01T00:00:00Z");
    world.enqueue(&waiting).await;
    world.until_status("waiting", "scheduled").await;
    let id = world.call_id("waiting").await;
    let added =
        operator.post(&format!("/api/calls/{id}/suppress/"), &json!({ "because": "asked on the telephone" })).await;
    assert_eq!((added.status, &added.body), (200, &json!({ "changed": 1, "cancelled_calls": [id] })));
    assert_eq!(world.status("waiting").await.unwrap(), ("cancelled".into(), Some("do_not_call".into())));
    let two = json!({ "numbers": [line, BOB], "because": "a list" });
    assert_eq!(operator.post("/api/suppressions/", &two).await.body["changed"], 1);

    let encoded = line.replace('+', "%2B");
    let list = operator.get(&format!("/api/suppressions/?number={encoded}")).await.body;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["because"], "asked on the telephone");
    assert!(list["items"][0]["number"].as_str().unwrap().contains('•'), "{list}");
    let page = operator.get("/api/suppressions/?limit=1").await.body;
    let next = operator
        .get(&format!("/api/suppressions/?limit=1&cursor={}", page["next_cursor"].as_str().unwrap()))
        .await
        .body;
    assert_ne!(page["items"][0]["because"], next["items"][0]["because"]);

    let bad = operator.post("/api/suppressions/", &json!({ "numbers": ["+1415"], "because": "x" })).await;
    assert_eq!((bad.status, &bad.body["errors"][0]["pointer"]), (422, &json!("/numbers/0")));
    assert_eq!(operator.post("/api/suppressions/", &json!({ "numbers": [BOB], "because": " " })).await.status, 422);
    let service = world.api(&daemon, "service").await;
    assert_eq!(service.post("/api/suppressions/", &two).await.status, 403);

    let path = format!("{}/api/suppressions/{encoded}/", daemon.base_url);
    let delete =
        |query: &str| reqwest::Client::new().delete(format!("{path}{query}")).bearer_auth(operator.key()).send();
    assert_eq!(delete("").await.unwrap().status(), 400, "why is asked for");
    assert_eq!(delete("?because=asked+to+be+called").await.unwrap().status(), 200);
    assert_eq!(delete("?because=asked+to+be+called").await.unwrap().status(), 404);
    world.enqueue(&call_event("again", &line)).await;
    world.until_status("again", "completed").await;
}

#[tokio::test]
async fn a_list_is_imported_and_exported_by_command() {
    let world = World::new().await;
    let _ = world.command(&["migrate"]).await;
    let file = world.dir().join("list.csv");
    let mut text = String::from("name,phone,because\n");
    for n in 0..1234 {
        text.push_str(&format!(
            "\"Person, {n}\",{},{}\n",
            number(n, "0100"),
            if n == 7 { "\"wrote \"\"no\"\"\"" } else { "" }
        ));
    }
    std::fs::write(&file, text).unwrap();
    let import = ["dnc", "import", file.to_str().unwrap(), "--because", "the registry", "--json"];
    let done = world.command(&import).await;
    assert_eq!((&done["numbers"], &done["changed"], &done["bad"]), (&json!(1234), &json!(1234), &json!(0)));
    assert_eq!(world.command(&import).await["changed"], 0, "once more changes nothing");
    assert_eq!(
        world.count("select count(*) from suppressions where because = 'the registry' and source = 'import'").await,
        1233
    );
    assert_eq!(world.count("select count(*) from suppression_events").await, 1234);

    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_voxd"));
        command.args(arguments).env_clear().envs(world.environment().iter().map(|(name, value)| (name, value)));
        command.output().unwrap()
    };
    let export = String::from_utf8(run(&["dnc", "export"]).stdout).unwrap();
    assert_eq!(export.lines().count(), 1235);
    assert!(export.starts_with("number,source,because,who,at,expires_at\n+1"), "{}", &export[..80]);
    assert!(export.contains("\"wrote \"\"no\"\"\""));
    std::fs::write(&file, &export).unwrap();
    assert_eq!(world.command(&["dnc", "import", file.to_str().unwrap(), "--json"]).await["changed"], 0);

    let bad = world.dir().join("bad.txt");
    std::fs::write(&bad, format!("{BOB}\n4155550125\n")).unwrap();
    let output = run(&["dnc", "import", bad.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("line 2") && said.contains("--country") && !said.contains("4155550125"), "{said}");
    assert_eq!(world.count("select count(*) from suppressions").await, 1235, "the good line was taken");
    assert_eq!(
        world.command(&["dnc", "import", bad.to_str().unwrap(), "--country", "US", "--json"]).await["changed"],
        1
    );
    assert_eq!(world.command(&["dnc", "remove", BOB, "--because", "test", "--json"]).await, json!({ "removed": true }));
}

#[tokio::test]
async fn a_live_call_outlives_the_opt_out_of_its_number() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    let line = number(0, "0100");
    world.bland.set_script(&line, Script { talk: Duration::from_secs(3_600_000), ..Script::default() });
    world.enqueue(&call_event("live", &line)).await;
    world.until_status("live", "in_progress").await;
    let operator = world.api(&daemon, "operator").await;
    let added = operator.post("/api/suppressions/", &json!({ "numbers": [line], "because": "asked" })).await;
    assert_eq!(added.body, json!({ "changed": 1, "cancelled_calls": [] }));
    assert_eq!(world.status("live").await.unwrap().0, "in_progress");
}
