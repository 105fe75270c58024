//! Twilio beyond the common contract: look-ups without metadata, its own queue, detection and prices that come apart from the
//! end, and jobs through the front door.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use voxd::call::{AttemptState, CallRequest, PhoneNumber};
use voxd::clock;
use voxd::config::{Config, Environment, Secret};
use voxd::platforms::{AttemptRef, Lookup, PlacedCall, Platform, PlatformError, SendPermit, twilio};
use voxd::sim::platform::{Script, SimOptions, Simulator, Vendor, Webhook};
use voxd::sim::twilio::{ACCOUNT_SID, Twilio, TwilioSim};

use crate::harness::{Daemon, World, WorldOptions, call_event, eventually, number};

const NUMBER: &str = "+14155560100";
const HOUR: Duration = Duration::from_secs(3600);

async fn sim(options: SimOptions, quirks: Twilio) -> TwilioSim {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    TwilioSim::start_as(listener, options, quirks).unwrap()
}

fn platform_of(sim: &TwilioSim) -> Arc<dyn Platform> {
    let mut config = Config::load(None, &Environment::default()).unwrap().platforms.remove(twilio::NAME).unwrap();
    config.base_url = sim.base_url().parse().unwrap();
    config.api_key = Secret::new(sim.options().api_key.clone());
    config.account_sid = Some(ACCOUNT_SID.into());
    config.request_timeout = Duration::from_secs(5);
    twilio::from_config(&config).unwrap()
}

async fn place(platform: &Arc<dyn Platform>) -> String {
    let request = CallRequest {
        call_id: Uuid::new_v4(),
        attempt_id: Uuid::new_v4(),
        to: PhoneNumber::parse(NUMBER).unwrap(),
        content: "Hello.".into(),
        lead_name: None,
        voice_config: serde_json::from_value(json!({ "platform": "twilio", "from_number": "+14155550100" })).unwrap(),
        metadata: serde_json::Map::new(),
        webhook_url: None,
    };
    let payload = platform.format_payload(&request).unwrap();
    platform.validate_payload(&payload).unwrap();
    platform.send_call(&payload, SendPermit::for_the_next(Duration::from_secs(30))).await.unwrap().platform_call_id
}

/// For an attempt of the last half minute, beside calls that are others'.
async fn find(platform: &Arc<dyn Platform>, bound: &[String]) -> Lookup {
    let now = clock::now();
    let attempt = AttemptRef {
        attempt_id: Uuid::new_v4(),
        call_id: Uuid::new_v4(),
        to: PhoneNumber::parse(NUMBER).unwrap(),
        from: PhoneNumber::parse("+14155550100").ok(),
        committed_at: now - TimeDelta::seconds(30),
        settled_at: now,
        platform_call_id: None,
        bound: bound.to_vec(),
    };
    platform.find_call(&attempt).await
}

fn found(lookup: Lookup) -> Option<String> {
    match lookup {
        Lookup::Found(update) => update.platform_call_id,
        _ => None,
    }
}

#[tokio::test]
async fn the_one_call_that_no_other_attempt_owns_is_found_over_several_pages() {
    let sim = sim(SimOptions { page_cap: 2, ..SimOptions::default() }, Twilio::default()).await;
    let platform = platform_of(&sim);
    assert!(matches!(find(&platform, &[]).await, Lookup::Absent { .. }));
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(place(&platform).await);
    }
    assert!(matches!(find(&platform, &[]).await, Lookup::Inconclusive { .. }), "seven may be it");
    assert!(matches!(find(&platform, &ids[..5]).await, Lookup::Inconclusive { .. }), "two may be it");
    for left in 0..7 {
        let bound: Vec<String> = ids.iter().filter(|id| **id != ids[left]).cloned().collect();
        assert_eq!(found(find(&platform, &bound).await).as_ref(), Some(&ids[left]));
    }
    let Lookup::Absent { evidence } = find(&platform, &ids).await else { panic!("not absent") };
    assert!(!evidence.to_string().contains("4155560100"), "the number stays out of the evidence");
}

#[tokio::test]
async fn a_call_without_a_start_is_found_while_it_is_queued_and_after_it_was_taken_back() {
    let sim = sim(SimOptions::default(), Twilio { queue: HOUR, ..Twilio::default() }).await;
    sim.set_script(NUMBER, Script { ring: Duration::from_secs(3_600_000), ..Script::default() });
    let platform = platform_of(&sim);
    let id = place(&platform).await;
    assert_eq!(sim.record(&id).unwrap()["start_time"], Value::Null);
    assert_eq!(found(find(&platform, &[]).await).as_ref(), Some(&id));
    let call = PlacedCall::new(&id);
    assert_eq!(platform.call_status(&call).await.unwrap().state, Some(AttemptState::Placed));
    platform.cancel_queued(&call).await.unwrap();
    assert_eq!(platform.call_status(&call).await.unwrap().state, Some(AttemptState::Cancelled));
    assert_eq!(sim.record(&id).unwrap()["start_time"], Value::Null);
    assert_eq!(found(find(&platform, &[]).await).as_ref(), Some(&id));
    assert_eq!(platform.cancel_queued(&call).await, Err(PlatformError::NotFound), "it is over");
}

#[tokio::test]
async fn taking_back_leaves_a_call_alone_that_was_answered_meanwhile() {
    let sim = sim(SimOptions { time_scale: 1.0, ..SimOptions::default() }, Twilio::default()).await;
    sim.set_script(NUMBER, Script { ring: Duration::ZERO, talk: HOUR, ..Script::default() });
    let platform = platform_of(&sim);
    let call = PlacedCall::new(place(&platform).await);
    platform.cancel_queued(&call).await.unwrap();
    assert_eq!(platform.call_status(&call).await.unwrap().state, Some(AttemptState::InProgress));
    platform.end_call(&call).await.unwrap();
    assert_eq!(platform.call_status(&call).await.unwrap().state, Some(AttemptState::Completed));
}

#[tokio::test]
async fn the_simulator_refuses_as_twilio_does() {
    let sim = sim(SimOptions::default(), Twilio::default()).await;
    let post = async |account: &str, body: &str| {
        let url = format!("{}/2010-04-01/Accounts/{account}/Calls.json", sim.base_url());
        let request = reqwest::Client::new().post(url).basic_auth(ACCOUNT_SID, Some(&sim.options().api_key));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body.to_owned());
        let response = request.send().await.unwrap();
        let status = response.status();
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        (status, body["code"].as_u64())
    };
    let good = "To=%2B14155560100&From=%2B14155550100&Twiml=%3CResponse%2F%3E";
    for (more, code) in [
        ("&StatusCallbackEvent=initiated&StatusCallbackEvent=hungup", 21626),
        ("&StatusCallback=https%3A%2F%2Fmy_host.example", 21609),
        ("&Timeout=900", 20001),
        ("&To=%2B14155560101", 20001),
        ("&Metadata=x", 20001),
    ] {
        assert_eq!(post(ACCOUNT_SID, &format!("{good}{more}")).await, (StatusCode::BAD_REQUEST, Some(code)), "{more}");
    }
    for (body, code) in [
        ("From=%2B14155550100&Twiml=%3CResponse%2F%3E", 21201),
        ("To=5550100&From=%2B14155550100&Twiml=%3CResponse%2F%3E", 21211),
        ("To=%2B14155560100&From=x&Twiml=%3CResponse%2F%3E", 21212),
        ("To=%2B14155560100&From=%2B14155550100", 21205),
    ] {
        assert_eq!(post(ACCOUNT_SID, body).await, (StatusCode::BAD_REQUEST, Some(code)), "{body}");
    }
    assert_eq!(post("AC9", good).await, (StatusCode::NOT_FOUND, Some(20404)));
    assert!(sim.call_ids().is_empty());
    assert_eq!(post(ACCOUNT_SID, good).await, (StatusCode::CREATED, None));
}

#[tokio::test]
async fn a_job_goes_from_the_queue_to_its_end_by_signed_callbacks() {
    let world = World::with(WorldOptions { platforms: vec!["twilio"], ..WorldOptions::default() }).await;
    let _daemon = world.daemon().await;
    let cases = [
        ("plain", "0100", "completed"),
        ("machine", "0103", "voicemail"),
        ("busy", "0102", "busy"),
        // The attempt is named by the address alone, before its create answer or in place of it.
        ("early", "0144", "completed"),
        ("timed-out", "0122", "completed"),
        ("without-id", "0128", "completed"),
        ("forged", "0145", "completed"),
        ("not-found", "0105", "failed"),
    ];
    for (n, (id, digits, _)) in cases.iter().enumerate() {
        world.enqueue(&world.call_event_on("twilio", id, &number(n as u32, digits))).await;
    }
    for (id, _, status) in cases {
        world.until_status(id, status).await;
        assert_eq!(world.attempts(id).await.len(), 1, "{id}");
    }
    assert!(world.creates_by_attempt().values().all(|creates| *creates == 1));
    let row: (String, String, String, i32) = eventually("cost and recording are filled", async || {
        sqlx::query_as(
            "select a.cost_source || ' ' || a.cost_amount::text || ' ' || a.cost_currency, a.answered_by, a.recording_url, a.duration_seconds
             from call_attempts a join calls c on c.id = a.call_id
             where c.event_id = 'plain' and a.cost_source = 'reported' and a.recording_url is not null",
        )
        .fetch_optional(&world.db)
        .await
        .unwrap()
    })
    .await;
    assert_eq!((row.0.as_str(), row.1.as_str(), row.3), ("reported 0.014000 USD", "human", 6));
    assert!(row.2.starts_with("https://api.twilio.com/2010-04-01/Accounts/"), "{}", row.2);
    let strangers = world.count("select count(*) from webhook_inbox where verified_by <> 'hmac_sha1'").await;
    assert_eq!(strangers, 0);
    assert!(world.count("select count(*) from webhook_inbox").await > 0);
}

/// A world whose Twilio has quirks.
struct Quirky {
    sim: TwilioSim,
    world: World,
    _daemon: Daemon,
}

impl Quirky {
    async fn start(options: SimOptions, quirks: Twilio) -> Self {
        let sim = sim(options, quirks).await;
        let world = World::with(WorldOptions { environment: sim.environment(), ..WorldOptions::default() }).await;
        let _daemon = world.daemon().await;
        Self { sim, world, _daemon }
    }

    fn event(&self, id: &str, to: &str) -> Value {
        let mut event = call_event(id, to);
        event["data"]["voice_config"] = Simulator::voice_config(&self.sim);
        event
    }

    /// Calls that are under way are not wanted any more.
    async fn expire(&self) {
        sqlx::query("update calls set expires_at = clock_timestamp()").execute(&self.world.db).await.unwrap();
    }

    /// A callback of the one call, as Twilio would send it.
    async fn tell(&self, parameters: &str) -> StatusCode {
        let id = &self.sim.call_ids()[0];
        let url = self.sim.webhook_address(id).unwrap();
        let body = format!("CallSid={id}&AccountSid={ACCOUNT_SID}&{parameters}");
        let headers = vec![(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap())];
        let mut webhook = Webhook { url, headers, body: body.into() };
        Twilio::default().sign(self.sim.options(), &self.sim.options().webhook_secret, &mut webhook);
        let mut request = reqwest::Client::new().post(&webhook.url).body(webhook.body);
        for (name, value) in webhook.headers {
            request = request.header(name, value);
        }
        request.send().await.unwrap().status()
    }
}

#[tokio::test]
async fn detection_before_the_end_makes_it_a_voicemail_and_after_it_stays_a_fact() {
    let (detected, ended) = ("AnsweredBy=machine_start&MachineDetectionDuration=4200", "CallStatus=completed");
    for (first, second, outcome) in [(detected, ended, "voicemail"), (ended, detected, "completed")] {
        let options = SimOptions { time_scale: 1.0, ..SimOptions::default() };
        let quirky = Quirky::start(options, Twilio { queue: HOUR, ..Twilio::default() }).await;
        let to = number(1, "0100");
        quirky.sim.set_script(&to, held());
        quirky.world.enqueue(&quirky.event("job", &to)).await;
        quirky.world.until_status("job", "placed").await;
        for (told, applied) in [(first, 1), (second, 2)] {
            assert_eq!(quirky.tell(told).await, StatusCode::OK);
            eventually("it is taken into account", async || {
                let query = "select count(*) from webhook_inbox
                    where applied_at is not null and convert_from(body, 'utf8') not like '%initiated%'";
                (quirky.world.count(query).await >= applied).then_some(())
            })
            .await;
        }
        assert_eq!(quirky.world.status("job").await.unwrap().0, outcome, "an outcome is never left");
        let query = "select a.answered_by from call_attempts a join calls c on c.id = a.call_id where c.event_id = $1";
        assert_eq!(quirky.world.of::<Option<String>>("job", query).await.as_deref(), Some("voicemail"));
    }
}

#[tokio::test]
async fn a_price_that_is_not_rated_yet_is_asked_for_again_and_not_for_ever() {
    let quirky = Quirky::start(SimOptions::default(), Twilio { price_lag: HOUR, ..Twilio::default() }).await;
    quirky.world.enqueue(&quirky.event("unrated", &number(1, "0100"))).await;
    quirky.world.until_status("unrated", "completed").await;
    let looks = "select a.late_looks from call_attempts a join calls c on c.id = a.call_id where c.event_id = $1";
    eventually("it is asked for", async || (quirky.world.of::<i32>("unrated", looks).await > 0).then_some(())).await;
    let due =
        "select a.next_look_at is not null from call_attempts a join calls c on c.id = a.call_id where c.event_id = $1";
    assert!(quirky.world.of::<bool>("unrated", due).await, "and will be again");
    // The looks are further and further apart; here comes the last one.
    sqlx::query("update call_attempts set late_looks = 5, next_look_at = clock_timestamp()")
        .execute(&quirky.world.db)
        .await
        .unwrap();
    eventually("there is no further look", async || (!quirky.world.of::<bool>("unrated", due).await).then_some(()))
        .await;
    assert_eq!(quirky.world.of::<i32>("unrated", looks).await, 6);
    assert_eq!(quirky.world.status("unrated").await.unwrap().0, "completed");
}

/// Twilio holds the call in its queue for so long.
fn held() -> Script {
    Script { ring: HOUR, ..Script::default() }
}

#[tokio::test]
async fn a_call_in_twilios_queue_is_taken_back_when_it_expires() {
    let quirky = Quirky::start(
        SimOptions { time_scale: 1.0, ..SimOptions::default() },
        Twilio { queue: HOUR, ..Twilio::default() },
    )
    .await;
    let to = number(1, "0100");
    quirky.sim.set_script(&to, held());
    quirky.world.enqueue(&quirky.event("stale", &to)).await;
    quirky.world.until_status("stale", "placed").await;
    quirky.expire().await;
    quirky.world.until_status("stale", "cancelled").await;
    assert_eq!(quirky.world.status("stale").await.unwrap().1.as_deref(), Some("expired_in_queue"));
    assert_eq!(quirky.sim.record(&quirky.sim.call_ids()[0]).unwrap()["status"], "canceled");
    assert_eq!(quirky.sim.journal().creates().len(), 1);
}

#[tokio::test]
async fn a_call_in_twilios_queue_whose_window_closes_is_taken_back_and_waits_for_the_next() {
    let quirky = Quirky::start(
        SimOptions { time_scale: 1.0, ..SimOptions::default() },
        Twilio { queue: HOUR, ..Twilio::default() },
    )
    .await;
    let to = number(1, "0100");
    quirky.sim.set_script(&to, held());
    let mut event = quirky.event("held", &to);
    event["data"]["lead"]["timezone"] = json!("America/Los_Angeles");
    quirky.world.enqueue(&event).await;
    quirky.world.until_status("held", "placed").await;
    // A window that is as far from now as can be: it closed while the call waited.
    let opens = clock::now().with_timezone(&chrono_tz::America::Los_Angeles) + TimeDelta::hours(12);
    let minute = |at: chrono::DateTime<chrono_tz::Tz>| at.format("%H:%M").to_string();
    let date = |at: chrono::DateTime<chrono_tz::Tz>| at.date_naive();
    let (from, to_time) = match opens + TimeDelta::minutes(30) {
        end if date(end) == date(opens) => (minute(opens), minute(end)),
        _ => ("00:00".to_owned(), "00:30".to_owned()),
    };
    sqlx::query("update calls set request = jsonb_set(request, '{voice_config,calling_window}', $1)")
        .bind(json!({ "from": from, "to": to_time }))
        .execute(&quirky.world.db)
        .await
        .unwrap();
    quirky.world.until_was("held", "scheduled", "window").await;
    let attempts = quirky.world.attempts("held").await;
    assert_eq!((attempts.len(), attempts[0].0.as_str()), (1, "cancelled"));
    assert_eq!(quirky.sim.record(&quirky.sim.call_ids()[0]).unwrap()["status"], "canceled");
    // It was no attempt of the person's, and the next one says what it follows.
    let outcomes: i32 = quirky.world.of("held", "select outcomes from calls where event_id = $1").await;
    let because: String = quirky.world.of("held", "select next_because from calls where event_id = $1").await;
    assert_eq!(outcomes, 0);
    assert!(because.starts_with("withdrawn: attempt 1 was still in the platform's queue"), "{because}");
    eventually("it waits for the window", async || {
        let query = "select scheduled_for > clock_timestamp() + interval '1 hour' from calls where event_id = $1 and status = 'scheduled'";
        quirky.world.of::<bool>("held", query).await.then_some(())
    })
    .await;
    assert_eq!(quirky.sim.journal().creates().len(), 1);
}

#[tokio::test]
async fn a_call_that_is_answered_while_it_is_taken_back_goes_on_and_is_not_sent_again() {
    let quirky = Quirky::start(
        SimOptions { time_scale: 1.0, ..SimOptions::default() },
        Twilio { queue: HOUR, misses_cancel: true, ..Twilio::default() },
    )
    .await;
    let to = number(1, "0100");
    quirky.sim.set_script(&to, held());
    quirky.world.enqueue(&quirky.event("raced", &to)).await;
    quirky.world.until_status("raced", "placed").await;
    quirky.expire().await;
    let taken_back = "select count(*) from call_events where kind = 'withdrawal'";
    eventually("it is asked to take the call back", async || (quirky.world.count(taken_back).await > 0).then_some(()))
        .await;
    assert_eq!(quirky.tell("CallStatus=in-progress&SequenceNumber=2").await, StatusCode::OK);
    quirky.world.until_status("raced", "in_progress").await;
    // Out of its order: it was sent before.
    assert_eq!(quirky.tell("CallStatus=ringing&SequenceNumber=1").await, StatusCode::OK);
    assert_eq!(quirky.tell("CallStatus=completed&SequenceNumber=3").await, StatusCode::OK);
    quirky.world.until_status("raced", "completed").await;
    let raw = "select a.raw_status from call_attempts a join calls c on c.id = a.call_id where c.event_id = $1";
    assert_eq!(quirky.world.of::<String>("raced", raw).await, "status=completed sequence=3");
    assert_eq!(quirky.world.attempts("raced").await.len(), 1);
    assert_eq!(quirky.sim.journal().creates().len(), 1);
}

#[tokio::test]
async fn a_create_request_without_a_from_number_is_rejected_before_it_costs_anything() {
    let world = World::with(WorldOptions { platforms: vec!["twilio"], ..WorldOptions::default() }).await;
    let _daemon = world.daemon().await;
    let mut event = world.call_event_on("twilio", "from-nobody", &number(1, "0100"));
    event["data"]["voice_config"].as_object_mut().unwrap().remove("from_number");
    world.enqueue(&event).await;
    world.until_status("from-nobody", "rejected").await;
    assert_eq!(world.status("from-nobody").await.unwrap().1.as_deref(), Some("invalid_payload"));
    assert!(world.sim("twilio").journal().creates().is_empty());
}
