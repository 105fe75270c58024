//! The rules of sessions at the store's own door: what no replica, race or request may lead to.

use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;
use voxd::audio::Encoding;
use voxd::clock;
use voxd::config::{Config, Environment};
use voxd::session::{EndReason, SessionConfig, SessionStatus, SpokenWord, Transcript};
use voxd::store::Store;
use voxd::store::sessions::{Beginning, Begun, NewSession, SessionLimits};
use voxd::store::sessions_said::{HeardChunk, Spoken, StoredChunk};

use crate::harness;

struct Table {
    store: Store,
    db: PgPool,
}

impl Table {
    async fn new() -> Self {
        let url = harness::database().await;
        let config = Config::load(None, &Environment::from_pairs([("DATABASE_URL", url.as_str())])).unwrap();
        Self { store: Store::new(&config.database).unwrap(), db: PgPool::connect_lazy(&url).unwrap() }
    }

    async fn begin(&self, owner: &str, ticket_lifetime: Duration) -> Begun {
        let (config, metadata) = (SessionConfig::default(), json!({}));
        let new = NewSession {
            owner,
            caller_id: "kiosk",
            config: &config,
            metadata: &metadata,
            replica: Uuid::nil(),
            ticket_lifetime,
        };
        match self.store.begin_session(&new, SessionLimits { per_owner: 100, in_all: 100 }).await.unwrap() {
            Beginning::Begun(begun) => begun,
            other => panic!("{other:?}"),
        }
    }

    async fn hear(&self, owner: &str, id: Uuid, transcript: &Transcript, keep_audio: bool) -> Option<StoredChunk> {
        let chunk = HeardChunk {
            encoding: Encoding::Wav,
            audio: b"RIFF",
            keep_audio,
            duration_ms: 2500,
            truncated: false,
            transcript,
            engine: "test",
        };
        self.store.store_chunk(owner, id, &chunk).await.unwrap()
    }
}

fn said(text: &str) -> Transcript {
    let word = SpokenWord { word: text.into(), start_ms: 400, end_ms: 900, confidence: Some(0.9) };
    Transcript {
        text: text.into(),
        confidence: Some(0.9),
        words: vec![word],
        start_ms: 400,
        end_ms: 900,
        ..Transcript::default()
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_transition_table_in_rust_and_in_postgres_is_the_same_and_the_trigger_holds_it() {
    let table = Table::new().await;
    for &from in SessionStatus::ALL {
        for &to in SessionStatus::ALL {
            let legal: bool = sqlx::query_scalar("select legal_session_transition($1, $2)")
                .bind(from.as_str())
                .bind(to.as_str())
                .fetch_one(&table.db)
                .await
                .unwrap();
            assert_eq!(legal, from.may_become(to), "{from} -> {to}");
            let id = table.begin("ada", MINUTE).await.id;
            let set = async |status: SessionStatus| {
                let statement = "update call_sessions set status = $2, reason = 'test' where id = $1";
                sqlx::query(statement).bind(id).bind(status.as_str()).execute(&table.db).await
            };
            if from != SessionStatus::Active {
                set(from).await.unwrap();
            }
            assert_eq!(set(to).await.is_ok(), legal || from == to, "{from} -> {to}");
        }
    }
}

#[tokio::test]
async fn the_duration_excludes_the_pauses() {
    let table = Table::new().await;
    let id = table.begin("ada", MINUTE).await.id;
    let shift = async |column: &str, seconds: i32| {
        // The clock is the database's: what lies between two steps is put there by hand.
        let statement = format!(
            "alter table call_sessions disable trigger guard; update call_sessions set {column} = {column} - interval '{seconds} s' where id = '{id}'; alter table call_sessions enable trigger guard"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&table.db).await.unwrap();
    };
    shift("started_at", 100).await;
    for pause in [30, 20] {
        assert!(table.store.pause_session("ada", id, true).await.unwrap());
        assert!(table.store.pause_session("ada", id, true).await.unwrap(), "again changes nothing");
        shift("paused_at", pause).await;
        let shown = table.store.session("ada", id).await.unwrap().unwrap();
        assert_eq!(shown.status, "paused");
        assert!(table.store.pause_session("ada", id, false).await.unwrap());
    }
    let live = table.store.session("ada", id).await.unwrap().unwrap();
    let near = |seconds: f64, wanted: f64| (seconds - wanted).abs() < 20.0;
    assert!(near(live.paused_seconds, 50.0) && near(live.duration_seconds, 50.0), "{live:?}");
    // It ends in a pause.
    table.store.pause_session("ada", id, true).await.unwrap();
    shift("paused_at", 10).await;
    let (ended, now) = table.store.end_session("ada", id, EndReason::Client, None).await.unwrap().unwrap();
    assert!(now && near(ended.paused_seconds, 60.0), "{ended:?}");
    let whole = (ended.end_time.unwrap() - ended.start_time).as_seconds_f64();
    assert!((whole - ended.paused_seconds - ended.duration_seconds).abs() < 0.001, "{ended:?}");
    let column: f64 = sqlx::query_scalar("select duration_seconds from call_sessions where id = $1")
        .bind(id)
        .fetch_one(&table.db)
        .await
        .unwrap();
    assert_eq!(column, ended.duration_seconds);
    assert!(!table.store.pause_session("ada", id, false).await.unwrap(), "what has ended does not go on");
}

#[tokio::test]
async fn a_ticket_opens_once_in_its_time_and_only_its_own_session() {
    let table = Table::new().await;
    let (one, two) = (table.begin("ada", MINUTE).await, table.begin("bob", MINUTE).await);
    let stored: String = sqlx::query_scalar("select string_agg(call_sessions::text, ' ') from call_sessions")
        .fetch_one(&table.db)
        .await
        .unwrap();
    assert!(!stored.contains(one.ticket.expose()), "only its hash is kept");
    assert_eq!(table.store.use_ticket(two.id, one.ticket.expose()).await.unwrap(), None);
    assert_eq!(table.store.use_ticket(one.id, "").await.unwrap(), None);
    let both = tokio::join!(
        table.store.use_ticket(one.id, one.ticket.expose()),
        table.store.use_ticket(one.id, one.ticket.expose())
    );
    let opened: Vec<String> = [both.0.unwrap(), both.1.unwrap()].into_iter().flatten().collect();
    assert_eq!(opened, ["ada"]);
    let late = table.begin("ada", Duration::from_millis(1)).await;
    clock::sleep(Duration::from_millis(20)).await;
    assert_eq!(table.store.use_ticket(late.id, late.ticket.expose()).await.unwrap(), None);
    let over = table.begin("ada", MINUTE).await;
    table.store.end_session("ada", over.id, EndReason::Client, None).await.unwrap();
    assert_eq!(table.store.use_ticket(over.id, over.ticket.expose()).await.unwrap(), None);
}

#[tokio::test]
async fn chunks_and_turns_lie_one_after_another_on_the_sessions_clock() {
    let table = Table::new().await;
    let id = table.begin("ada", MINUTE).await.id;
    let first = table.hear("ada", id, &said("hello"), false).await.unwrap();
    let silent = table.hear("ada", id, &Transcript::default(), true).await.unwrap();
    assert_eq!(silent.turn_id, None, "nothing was said");
    let spoken = Spoken { text: "Hi.", duration_ms: 300, language: "en-US", voice: None, engine: "test" };
    table.store.store_speech("ada", id, &spoken).await.unwrap().expect("a turn");
    let (a, b) = (said("again"), said("and again"));
    let both = tokio::join!(table.hear("ada", id, &a, false), table.hear("ada", id, &b, false));
    assert!(both.0.is_some() && both.1.is_some());
    let turns = table.store.latest_turns("ada", id, 10).await.unwrap();
    let places: Vec<_> = turns.iter().map(|turn| (turn.n, turn.speaker.as_str(), turn.start_ms, turn.end_ms)).collect();
    let user = |n, start: i64| (n, "user", Some(start + 400), Some(start + 900));
    assert_eq!(places, [user(1, 0), (2, "assistant", None, None), user(3, 5000), user(4, 7500)]);
    assert_eq!((turns[0].chunk_id, turns[0].turn_id), (Some(first.chunk_id), first.turn_id.unwrap()));
    assert_eq!(turns[2].words[0]["start_ms"], 5400);
    let kept: Vec<bool> =
        sqlx::query_scalar("select audio is not null from audio_chunks order by n").fetch_all(&table.db).await.unwrap();
    assert_eq!(kept, [false, true, false, false], "sound is kept where it is asked for");
    let shown = table.store.session("ada", id).await.unwrap().unwrap();
    assert_eq!((shown.heard_ms, shown.chunks, shown.turns), (10_000, 4, 4));
}

#[tokio::test]
async fn nothing_is_added_to_what_has_ended_or_belongs_to_another() {
    let table = Table::new().await;
    let (id, other) = (table.begin("ada", MINUTE).await.id, table.begin("bob", MINUTE).await.id);
    let spoken = Spoken { text: "Hi.", duration_ms: 300, language: "en-US", voice: None, engine: "test" };
    assert!(table.hear("ada", other, &said("hello"), false).await.is_none());
    assert!(table.store.store_speech("ada", other, &spoken).await.unwrap().is_none());
    table.store.end_session("ada", id, EndReason::Client, None).await.unwrap();
    assert!(table.hear("ada", id, &said("hello"), false).await.is_none());
    assert!(table.store.store_speech("ada", id, &spoken).await.unwrap().is_none());
    for name in ["audio_chunks", "conversation_turns"] {
        let statement = format!("select count(*) from {name}");
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&table.db).await.unwrap();
        assert_eq!(count, 0, "{name}");
    }
    // The database itself refuses a chunk under a wrong owner.
    let forged = sqlx::query(
        "insert into audio_chunks (id, session_id, owner, n, source, format, bytes, start_ms, duration_ms) values ($1, $1, 'ada', 1, 'upload', 'wav', 1, 0, 0)",
    );
    assert!(forged.bind(other).execute(&table.db).await.is_err());
}

#[tokio::test]
async fn a_replica_is_believed_dead_by_its_silence_only() {
    let table = Table::new().await;
    let lost_after = Duration::from_secs(18);
    let (silent, never, alive) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let mut ids = Vec::new();
    for replica in [silent, never, alive] {
        let id = table.begin("ada", MINUTE).await.id;
        sqlx::query("update call_sessions set replica_id = $2 where id = $1")
            .bind(id)
            .bind(replica)
            .execute(&table.db)
            .await
            .unwrap();
        ids.push(id);
    }
    for replica in [silent, alive] {
        table.store.heartbeat(replica, "host", &["http".into()], MINUTE).await.unwrap();
    }
    assert!(table.store.fail_lost_sessions(lost_after).await.unwrap().is_empty());
    sqlx::query("update replicas set heartbeat_at = now() - interval '19 s' where id = $1")
        .bind(silent)
        .execute(&table.db)
        .await
        .unwrap();
    assert_eq!(table.store.fail_lost_sessions(lost_after).await.unwrap(), [ids[0]]);
    assert!(table.store.fail_lost_sessions(lost_after).await.unwrap().is_empty(), "once");
    // One that never said anything has the same time from the session's start.
    assert_eq!(table.store.fail_lost_sessions(Duration::ZERO).await.unwrap().len(), 2);
    assert_eq!(table.store.sessions_over(&[ids[0], Uuid::nil()]).await.unwrap().len(), 2);
}
