//! Live sessions by HTTP: one user's life with them, and what becomes of them when nobody asks.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Api, Daemon, Reply, World, WorldOptions, eventually, within};

pub async fn world(environment: &[(&str, &str)]) -> World {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    World::with(WorldOptions { environment, ..WorldOptions::default() }).await
}

pub async fn begin(api: &Api) -> Uuid {
    let begun = api.post("/api/voice/initiate/", &json!({ "caller_id": "kiosk-1" })).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    id_of(&begun.body["session_id"])
}

pub fn id_of(value: &Value) -> Uuid {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no id"))
}

pub async fn status(api: &Api, id: Uuid) -> Value {
    let shown = api.get(&format!("/api/voice/session/{id}/status/")).await;
    assert_eq!(shown.status, 200, "{}", shown.body);
    shown.body
}

async fn until(api: &Api, id: Uuid, wanted: &str) -> Value {
    eventually(&format!("the session is {wanted}"), async || {
        let shown = status(api, id).await;
        (shown["status"] == wanted).then_some(shown)
    })
    .await
}

#[track_caller]
fn problem(reply: &Reply, status: u16, kind: &str) -> String {
    assert_eq!((reply.status, reply.content_type.as_str()), (status, "application/problem+json"), "{}", reply.body);
    assert_eq!(reply.body["type"], format!("urn:voxd:problem:{kind}"), "{}", reply.body);
    reply.body["detail"].as_str().expect("a detail").to_owned()
}

fn pointers(reply: &Reply) -> Vec<&str> {
    let errors = reply.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    errors.iter().filter_map(|error| error["pointer"].as_str()).collect()
}

#[tokio::test]
async fn a_session_begins_is_looked_at_and_ends_once() {
    let world = world(&[]).await;
    let daemon = world.daemon().await;
    let api = world.api(&daemon, "user").await;
    let wish = json!({ "caller_id": "kiosk-1", "metadata": { "room": 7 } });
    let begun = api.post("/api/voice/initiate", &wish).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    let id = id_of(&begun.body["session_id"]);
    assert_eq!(begun.body["status"], "active");
    assert!(begun.body["start_time"].is_string() && begun.body["message"].is_string(), "{}", begun.body);
    let host = daemon.base_url.trim_start_matches("http://");
    assert_eq!(begun.body["websocket_url"], format!("ws://{host}/ws/voice/{id}/"));

    let shown = status(&api, id).await;
    assert_eq!(
        (&shown["status"], &shown["caller_id"], &shown["metadata"]),
        (&json!("active"), &json!("kiosk-1"), &json!({ "room": 7 }))
    );
    assert_eq!((&shown["end_time"], &shown["conversation"]), (&Value::Null, &json!([])));
    assert_eq!(daemon.metric("voxd_sessions_active", &["transport=\"http\""]).await, 1.0);

    let ended = api.post("/api/voice/end/", &json!({ "session_id": id, "reason": "done" })).await;
    assert_eq!((ended.status, &ended.body["status"], &ended.body["reason"]), (200, &json!("ended"), &json!("client")));
    assert!(ended.body["end_time"].is_string() && ended.body["duration_seconds"].is_number(), "{}", ended.body);
    let again = api.post("/api/voice/end/", &json!({ "session_id": id, "reason": "twice" })).await;
    assert_eq!((again.status, &again.body), (200, &ended.body));
    assert_eq!(status(&api, id).await["detail"], "done");
    eventually("its task is gone", async || (daemon.metric("voxd_sessions_active", &[]).await == 0.0).then_some(()))
        .await;
    assert_eq!(daemon.metric("voxd_sessions_ended_total", &["reason=\"client\""]).await, 1.0);

    let nobody = api.post("/api/voice/end/", &json!({ "session_id": Uuid::now_v7() })).await;
    assert!(problem(&nobody, 404, "not_found").starts_with("there is no session "));
    let garbled = api.get("/api/voice/session/x/status/").await;
    assert_eq!(problem(&garbled, 404, "not_found"), "there is no session x");
}

#[tokio::test]
async fn what_is_wrong_with_a_wish_is_named() {
    let world = world(&[]).await;
    let daemon = world.daemon().await;
    let api = world.api(&daemon, "user").await;
    let wish = json!({ "caller_id": "", "metadata": { "x": "y".repeat(17_000) }, "config": { "speaking_rate": 9, "voice": "" } });
    let refused = api.post("/api/voice/initiate/", &wish).await;
    problem(&refused, 422, "invalid");
    assert_eq!(pointers(&refused), ["/caller_id", "/metadata", "/config/voice", "/config/speaking_rate"]);
    let unknown = api.post("/api/voice/initiate/", &json!({ "caller_id": "a", "confg": {} })).await;
    assert!(problem(&unknown, 422, "invalid").contains("unknown field `confg`"));
    let misspelt = api.post("/api/voice/initiate/", &json!({ "caller_id": "a", "config": { "languag": "en" } })).await;
    assert!(problem(&misspelt, 422, "invalid").contains("unknown field `languag`"));
    assert_eq!(world.count("select count(*) from call_sessions").await, 0);
}

#[tokio::test]
async fn a_users_configuration_is_kept_and_taken_by_the_sessions_that_follow() {
    let world = world(&[]).await;
    let daemon = world.daemon().await;
    let api = world.api(&daemon, "user").await;
    let first = api.get("/api/voice/config/").await;
    let defaults = json!({ "language": null, "model": null, "punctuation": true, "phrases": [], "voice": null, "speaking_rate": 1.0, "record_audio": false });
    assert_eq!((first.status, first.body), (200, defaults.clone()));
    let before = begin(&api).await;
    let wanted = json!({ "language": "de-DE", "speaking_rate": 1.3, "phrases": [{ "text": "voxd" }] });
    let stored = api.put("/api/voice/config/", &wanted).await;
    assert_eq!(stored.status, 200, "{}", stored.body);
    let shown = api.get("/api/voice/config/").await.body;
    assert_eq!(shown, stored.body);
    assert_eq!((&shown["language"], &shown["speaking_rate"]), (&json!("de-DE"), &json!(1.3)));
    assert_eq!(shown["phrases"], json!([{ "text": "voxd", "boost": 10.0 }]));
    let refused = api.put("/api/voice/config/", &json!({ "language": "german please" })).await;
    assert_eq!((problem(&refused, 422, "invalid").is_empty(), pointers(&refused)), (false, vec!["/language"]));

    let wish = json!({ "caller_id": "a", "config": { "voice": "nova", "language": null } });
    let after = id_of(&api.post("/api/voice/initiate/", &wish).await.body["session_id"]);
    let config = async |id: Uuid| -> Value {
        sqlx::query_scalar("select config from call_sessions where id = $1")
            .bind(id)
            .fetch_one(&world.db)
            .await
            .unwrap()
    };
    assert_eq!(config(before).await, defaults);
    let taken = config(after).await;
    assert_eq!(
        (&taken["voice"], &taken["language"], &taken["speaking_rate"]),
        (&json!("nova"), &Value::Null, &json!(1.3))
    );
}

#[tokio::test]
async fn sessions_are_listed_newest_first_page_by_page() {
    let world = world(&[("VOXD_SESSIONS__MAX_PER_USER", "20")]).await;
    let daemon = world.daemon().await;
    let api = world.api(&daemon, "user").await;
    let mut begun = Vec::new();
    for _ in 0..7 {
        begun.push(begin(&api).await);
    }
    begun.reverse();
    api.post("/api/voice/end/", &json!({ "session_id": begun[2] })).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/api/voice/sessions/?limit=3{cursor}")).await;
        assert_eq!(page.status, 200, "{}", page.body);
        let sessions = page.body["sessions"].as_array().unwrap();
        assert!(sessions.len() <= 3);
        seen.extend(sessions.iter().map(|session| id_of(&session["session_id"])));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, begun);
    let ended = api.get("/api/voice/sessions/?status=ended,failed").await.body;
    assert_eq!(ended["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(id_of(&ended["sessions"][0]["session_id"]), begun[2]);
    assert_eq!(
        problem(&api.get("/api/voice/sessions/?stats=x").await, 400, "bad_request").split(':').next(),
        Some("/stats")
    );
}

#[tokio::test]
async fn as_many_sessions_live_at_once_as_may_and_no_more() {
    let world = world(&[("VOXD_SESSIONS__MAX_PER_USER", "2"), ("VOXD_SESSIONS__MAX_IN_ALL", "3")]).await;
    let (one, two) = (world.daemon().await, world.daemon().await);
    let (here, there) = (world.api(&one, "user").await, world.api(&two, "user").await);
    // All at once, on both replicas, for one owner: two keys are still one owner.
    let wish = json!({ "caller_id": "kiosk" });
    let wishes =
        (0..8).map(|n| if n % 2 == 0 { &here } else { &there }).map(|api| api.post("/api/voice/initiate/", &wish));
    let answers = futures_util::future::join_all(wishes).await;
    let begun: Vec<&Reply> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(begun.len(), 2);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        assert!(problem(refused, 429, "too_many_sessions").starts_with("there are 2 live sessions of this owner"));
    }
    let other = world.api_of(&one, "user", "bob").await;
    begin(&other).await;
    let full = other.post("/api/voice/initiate/", &wish).await;
    assert!(problem(&full, 503, "unavailable").starts_with("there are 3 live sessions"));
    // An ended one makes room.
    let id = &begun[0].body["session_id"];
    assert_eq!(there.post("/api/voice/end/", &json!({ "session_id": id })).await.status, 200);
    begin(&other).await;
}

#[tokio::test]
async fn without_an_engine_sound_and_speech_say_so_and_all_else_works() {
    let world = world(&[]).await;
    let daemon = world.daemon().await;
    let api = world.api(&daemon, "user").await;
    let id = begin(&api).await;
    let heard =
        api.post("/api/voice/process-audio/", &json!({ "session_id": id, "audio": "AAAA", "format": "pcm16" })).await;
    assert_eq!(problem(&heard, 503, "speech_off").split(',').next(), Some("speech is off: speech.engine is not set"));
    for body in [json!({ "text": "Hello." }), json!({ "text": "Hello.", "session_id": id })] {
        assert!(
            problem(&api.post("/api/voice/generate-speech/", &body).await, 503, "speech_off").contains("speech.engine")
        );
    }
    let shown = status(&api, id).await;
    assert_eq!((&shown["status"], &shown["chunks"], &shown["turns"]), (&json!("active"), &json!(0), &json!(0)));
}

#[tokio::test]
async fn a_session_in_which_nothing_happens_ends_and_so_does_one_that_lasts_too_long() {
    let idle = world(&[("VOXD_SESSIONS__IDLE_TIMEOUT", "1s")]).await;
    let daemon = idle.daemon().await;
    let api = idle.api(&daemon, "user").await;
    let id = begin(&api).await;
    let ended = until(&api, id, "ended").await;
    assert_eq!(ended["reason"], "idle");
    assert!(ended["duration_seconds"].as_f64().unwrap() >= 1.0, "{ended}");
    let long = world(&[("VOXD_SESSIONS__LONGEST_SESSION", "1s")]).await;
    let daemon = long.daemon().await;
    let api = long.api(&daemon, "user").await;
    let id = begin(&api).await;
    assert_eq!(until(&api, id, "ended").await["reason"], "too_long");
}

#[tokio::test]
async fn a_replica_that_dies_leaves_its_sessions_failed_within_30_seconds_with_the_reason() {
    // Nothing set: the promise holds for what is shipped.
    let world = world(&[("VOXD_WORKER__LEASE", "30s"), ("VOXD_WORKER__SWEEP_INTERVAL", "1s")]).await;
    let (dying, living) = (world.daemon().await, world.daemon().await);
    let (lost, kept) = (world.api(&dying, "user").await, world.api(&living, "user").await);
    let (gone, stays) = (begin(&lost).await, begin(&kept).await);
    dying.kill().await;
    let failed = within(Duration::from_secs(30), "the session has failed", async || {
        let shown = status(&kept, gone).await;
        (shown["status"] == "failed").then_some(shown)
    })
    .await;
    assert_eq!(failed["reason"], "replica_lost");
    assert_eq!(failed["detail"], "the replica that held the session died");
    assert_eq!(status(&kept, stays).await["status"], "active");
    let heard = kept.post("/api/voice/generate-speech/", &json!({ "session_id": gone, "text": "Hello." })).await;
    assert_eq!(problem(&heard, 409, "session_status"), "the session has the status failed, expected active");
    let ended = kept.post("/api/voice/end/", &json!({ "session_id": gone })).await;
    assert_eq!((ended.status, &ended.body["status"]), (200, &json!("failed")), "what has failed stays failed");
}

const QUICK_LOSS: &[(&str, &str)] = &[("VOXD_SESSIONS__REPLICA_LOST_AFTER", "2s")];

#[tokio::test]
async fn a_replica_that_was_only_stopped_for_a_while_finds_its_sessions_failed_and_leaves_them_so() {
    let world = world(QUICK_LOSS).await;
    let (stopped, living) = (world.daemon().await, world.daemon().await);
    let (there, here) = (world.api(&stopped, "user").await, world.api(&living, "user").await);
    let id = begin(&there).await;
    stopped.signal(rustix::process::Signal::STOP);
    until(&here, id, "failed").await;
    stopped.signal(rustix::process::Signal::CONT);
    eventually("its task is closed", async || (stopped.metric("voxd_sessions_active", &[]).await == 0.0).then_some(()))
        .await;
    let refused = there.post("/api/voice/generate-speech/", &json!({ "session_id": id, "text": "Hello." })).await;
    problem(&refused, 409, "session_status");
    let fresh = begin(&there).await;
    assert_eq!(status(&here, fresh).await["status"], "active", "it lives again for all");
}

#[tokio::test]
async fn a_replica_that_is_stopped_in_order_ends_its_sessions_with_its_own_reason() {
    let world = world(&[]).await;
    let (leaving, staying) = (world.daemon().await, world.daemon().await);
    let (there, here) = (world.api(&leaving, "user").await, world.api(&staying, "user").await);
    let (ends, stays) = (begin(&there).await, begin(&here).await);
    assert!(leaving.terminate(Duration::from_secs(30)).await.success());
    let shown = status(&here, ends).await;
    assert_eq!((&shown["status"], &shown["reason"]), (&json!("ended"), &json!("replica_stopped")));
    assert_eq!(status(&here, stays).await["status"], "active");
}

#[tokio::test]
async fn old_sessions_go_with_all_that_was_said_and_old_sound_goes_before() {
    let world = world(&[("VOXD_SESSIONS__PURGE_INTERVAL", "100ms")]).await;
    let owner = "ada";
    let mut ids = Vec::new();
    for (ended, heard) in [("95 days", "95 days"), ("85 days", "40 days"), ("1 day", "20 days")] {
        let id = Uuid::now_v7();
        let chunk = Uuid::now_v7();
        sqlx::query(
            "insert into call_sessions (id, owner, caller_id, status, reason, replica_id, config, started_at, ended_at, duration_seconds, last_active_at)
             values ($1, $2, 'kiosk', 'ended', 'client', $1, '{}', now() - interval '100 days', now() - $3::interval, 1, now())",
        )
        .bind(id)
        .bind(owner)
        .bind(ended)
        .execute(&world.db)
        .await
        .unwrap();
        // More than one batch holds.
        sqlx::query(
            "insert into audio_chunks (id, session_id, owner, n, source, format, bytes, start_ms, duration_ms, audio, received_at)
             select case n when 1 then $3 else gen_random_uuid() end, $1, $2, n, 'upload', 'wav', 1, 0, 0, '\\x00', now() - $4::interval
             from generate_series(1, 600) n",
        )
        .bind(id)
        .bind(owner)
        .bind(chunk)
        .bind(heard)
        .execute(&world.db)
        .await
        .unwrap();
        sqlx::query("insert into conversation_turns (id, session_id, owner, n, speaker, text, chunk_id, duration_ms) values ($1, $2, $3, 1, 'user', 'x', $1, 0)")
            .bind(chunk)
            .bind(id)
            .bind(owner)
            .execute(&world.db)
            .await
            .unwrap();
        ids.push(id);
    }
    let daemon = world.daemon().await;
    let api = world.api(&daemon, "user").await;
    let left = "select count(*) from call_sessions";
    eventually("the oldest is gone", async || (world.count(left).await == 2).then_some(())).await;
    let with_sound = "select count(*) from audio_chunks where audio is not null";
    eventually("old sound is gone", async || (world.count(with_sound).await == 600).then_some(())).await;
    assert_eq!(world.count("select count(*) from audio_chunks").await, 1200);
    assert_eq!(world.count("select count(*) from conversation_turns").await, 2);
    assert_eq!(api.get(&format!("/api/voice/session/{}/status/", ids[0])).await.status, 404);
    assert_eq!(status(&api, ids[1]).await["conversation"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_heard_in_a_session_is_in_no_log() {
    let world = world(&[]).await;
    let daemon: Daemon = world.daemon_with(&[("RUST_LOG", "debug")]).await;
    let api = world.api(&daemon, "user").await;
    let secret = "kiosk-that-nobody-may-see";
    let begun = api.post("/api/voice/initiate/", &json!({ "caller_id": secret, "metadata": { "name": secret } })).await;
    let ticket = begun.body["ticket"].as_str().expect("a ticket").to_owned();
    let id = id_of(&begun.body["session_id"]);
    assert_eq!(api.post("/api/voice/end/", &json!({ "session_id": id, "reason": secret })).await.status, 200);
    let log = daemon.log();
    assert!(log.contains(&id.to_string()), "a session's life can be followed by its id");
    assert!(!log.contains(secret) && !log.contains(&ticket), "the log tells what it must not");
}
