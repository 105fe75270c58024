//! Live sessions: beginning, looking, ending. Every query of a user's carries the owner; of another's session nothing is
//! told, not even that it is there.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::keys::{random_hex, sha256};
use super::read::Before;
use super::{Result, Store, StoreError};
use crate::config::Secret;
use crate::session::{EndReason, SessionConfig, SessionStatus};

/// A session that is to begin.
#[derive(Debug, Clone)]
pub struct NewSession<'a> {
    pub owner: &'a str,
    pub caller_id: &'a str,
    pub config: &'a SessionConfig,
    /// An object.
    pub metadata: &'a Value,
    /// Who holds it.
    pub replica: Uuid,
    pub ticket_lifetime: Duration,
}

/// How many sessions may live at once, over all replicas.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    pub per_owner: u32,
    pub in_all: u32,
}

/// What became of a wish for a session.
#[derive(Debug)]
pub enum Beginning {
    Begun(Begun),
    /// The owner has as many as one may have.
    OwnerFull,
    /// All owners together have.
    AllFull,
}

#[derive(Debug)]
pub struct Begun {
    pub id: Uuid,
    pub started_at: DateTime<Utc>,
    /// Opens the session's WebSocket once. Only its hash is kept.
    pub ticket: Secret,
    pub ticket_expires_at: DateTime<Utc>,
}

/// A session as its owner sees it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Session {
    pub session_id: Uuid,
    pub caller_id: String,
    #[schema(value_type = SessionStatus)]
    pub status: String,
    /// Why it ended: `client`, `idle`, `too_long`, `replica_stopped`, `replica_lost`, …
    pub reason: Option<String>,
    /// The same for a person to read.
    pub detail: Option<String>,
    /// How sound comes in: `http`, `websocket`, `webrtc`, `media_stream`.
    pub transport: String,
    pub start_time: DateTime<Utc>,
    pub end_time: Option<DateTime<Utc>>,
    pub last_active_at: DateTime<Utc>,
    /// How long it was active, so far or in all. Pauses are excluded.
    pub duration_seconds: f64,
    /// The pauses.
    pub paused_seconds: f64,
    /// Sound heard.
    pub heard_ms: i64,
    /// Pieces of sound heard.
    pub chunks: i32,
    /// Turns of the conversation.
    pub turns: i32,
    #[schema(value_type = Object)]
    pub metadata: Value,
}

/// A session, to work on.
#[derive(Debug, Clone)]
pub struct LiveSession {
    pub status: SessionStatus,
    pub config: SessionConfig,
    pub replica: Uuid,
}

/// What is found when a session is asked for.
#[derive(Debug)]
pub enum Touched {
    Live(Box<LiveSession>),
    /// It has ended.
    Over(SessionStatus),
    /// There is none, or it is another's.
    Missing,
}

impl Store {
    /// Begins a session, unless there are too many. Beginnings come one after another, so that the limits are exact.
    pub async fn begin_session(&self, new: &NewSession<'_>, limits: SessionLimits) -> Result<Beginning> {
        let config = to_json(new.config)?;
        let (id, ticket) = (Uuid::now_v7(), random_hex::<32>()?);
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            sqlx::query_scalar!("select 1 from (select pg_advisory_xact_lock(hashtextextended('call_sessions', 0))) locked")
                .fetch_one(&mut *tx)
                .await?;
            let live = sqlx::query!(
                r#"select count(*) filter (where owner = $1) as "own!", count(*) as "all!"
                   from call_sessions where status in ('active', 'paused')"#,
                new.owner,
            )
            .fetch_one(&mut *tx)
            .await?;
            if live.own >= i64::from(limits.per_owner) || live.all >= i64::from(limits.in_all) {
                tx.commit().await?;
                conn.done();
                let own = live.own >= i64::from(limits.per_owner);
                return Ok(if own { Beginning::OwnerFull } else { Beginning::AllFull });
            }
            let row = sqlx::query!(
                r#"insert into call_sessions (id, owner, caller_id, replica_id, config, metadata, ticket_sha256, ticket_expires_at)
                   values ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + make_interval(secs => $8))
                   returning started_at, ticket_expires_at as "ticket_expires_at!""#,
                id,
                new.owner,
                new.caller_id,
                new.replica,
                config,
                new.metadata,
                &sha256(&ticket)[..],
                new.ticket_lifetime.as_secs_f64(),
            )
            .fetch_one(&mut *tx)
            .await?;
            tx.commit().await?;
            conn.done();
            Ok(Beginning::Begun(Begun {
                id,
                started_at: row.started_at,
                ticket: Secret::new(ticket),
                ticket_expires_at: row.ticket_expires_at,
            }))
        })
        .await
    }

    /// Uses up the ticket of a live session. Gives the session's owner, once; `None` where it is wrong, used or expired.
    pub async fn use_ticket(&self, id: Uuid, ticket: &str) -> Result<Option<String>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let owner = sqlx::query_scalar!(
                "update call_sessions set ticket_sha256 = null, ticket_expires_at = null, last_active_at = clock_timestamp()
                 where id = $1 and ticket_sha256 = $2 and ticket_expires_at > clock_timestamp() and status in ('active', 'paused')
                 returning owner",
                id,
                &sha256(ticket)[..],
            )
            .fetch_optional(&mut *conn)
            .await?;
            conn.done();
            Ok(owner)
        })
        .await
    }

    /// A session to work on. Asking counts as activity while it is not paused.
    pub async fn touch_session(&self, owner: &str, id: Uuid) -> Result<Touched> {
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!(
                "update call_sessions set last_active_at = clock_timestamp() where id = $1 and owner = $2 and status = 'active'",
                id,
                owner,
            )
            .execute(&mut *conn)
            .await?;
            let row = sqlx::query!(
                "select status, config, replica_id from call_sessions where id = $1 and owner = $2",
                id,
                owner
            )
            .fetch_optional(&mut *conn)
            .await?;
            conn.done();
            let Some(row) = row else { return Ok(Touched::Missing) };
            let status: SessionStatus = row.status.parse().map_err(StoreError::Refused)?;
            if !status.is_live() {
                return Ok(Touched::Over(status));
            }
            let config = from_json(row.config)?;
            Ok(Touched::Live(Box::new(LiveSession { status, config, replica: row.replica_id })))
        })
        .await
    }

    /// Pauses a session, or lets it go on; doing so again changes nothing. `false`: it is not there, or has ended.
    pub async fn pause_session(&self, owner: &str, id: Uuid, paused: bool) -> Result<bool> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let changed = sqlx::query!(
                "update call_sessions set status = case when $3 then 'paused' else 'active' end, last_active_at = clock_timestamp()
                 where id = $1 and owner = $2 and status in ('active', 'paused')",
                id,
                owner,
                paused,
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            conn.done();
            Ok(changed == 1)
        })
        .await
    }

    /// Ends a session. One that has ended before stays as it is. Gives it as it is then, and whether it ended by this.
    pub async fn end_session(
        &self,
        owner: &str,
        id: Uuid,
        reason: EndReason,
        detail: Option<&str>,
    ) -> Result<Option<(Session, bool)>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let ended = sqlx::query!(
                "update call_sessions set status = 'ended', reason = $3, detail = $4, last_active_at = clock_timestamp()
                 where id = $1 and owner = $2 and status in ('active', 'paused')",
                id,
                owner,
                reason.as_str(),
                detail,
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            let session = read(&mut conn, owner, id).await?;
            conn.done();
            Ok(session.map(|session| (session, ended == 1)))
        })
        .await
    }

    pub async fn session(&self, owner: &str, id: Uuid) -> Result<Option<Session>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let session = read(&mut conn, owner, id).await?;
            conn.done();
            Ok(session)
        })
        .await
    }

    /// The owner's sessions, newest first; without `statuses` all of them.
    pub async fn list_sessions(
        &self,
        owner: &str,
        statuses: &[SessionStatus],
        before: Option<Before>,
        limit: i64,
    ) -> Result<Vec<Session>> {
        let statuses: Vec<String> = statuses.iter().map(|status| status.as_str().to_owned()).collect();
        let statuses = Some(statuses).filter(|statuses| !statuses.is_empty());
        self.unit(async {
            let mut conn = self.conn().await?;
            let sessions = sqlx::query_as!(
                Session,
                r#"select id as session_id, caller_id, status, reason, detail, transport, started_at as start_time, ended_at as end_time,
                       last_active_at,
                       session_duration_seconds(started_at, coalesce(ended_at, paused_at, clock_timestamp()), paused_seconds) as "duration_seconds!",
                       paused_seconds + coalesce(extract(epoch from clock_timestamp() - paused_at), 0)::float8 as "paused_seconds!",
                       heard_ms, chunks, turns, metadata
                   from call_sessions
                   where owner = $1 and ($2::text[] is null or status = any($2))
                       and ($3::timestamptz is null or (started_at, id) < ($3, $4))
                   order by started_at desc, id desc limit $5"#,
                owner,
                statuses.as_deref(),
                before.map(|before| before.at),
                before.map(|before| before.id),
                limit,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(sessions)
        })
        .await
    }

    /// How this user wants to be heard and spoken to, where they said so.
    pub async fn voice_configuration(&self, owner: &str) -> Result<Option<SessionConfig>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let config = sqlx::query_scalar!("select config from voice_configurations where owner = $1", owner)
                .fetch_optional(&mut *conn)
                .await?;
            conn.done();
            config.map(from_json).transpose()
        })
        .await
    }

    pub async fn put_voice_configuration(&self, owner: &str, config: &SessionConfig) -> Result<()> {
        let config = to_json(config)?;
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!(
                "insert into voice_configurations (owner, config) values ($1, $2)
                 on conflict (owner) do update set config = excluded.config, updated_at = clock_timestamp()",
                owner,
                config,
            )
            .execute(&mut *conn)
            .await?;
            conn.done();
            Ok(())
        })
        .await
    }
}

async fn read(conn: &mut sqlx::PgConnection, owner: &str, id: Uuid) -> Result<Option<Session>> {
    let session = sqlx::query_as!(
        Session,
        r#"select id as session_id, caller_id, status, reason, detail, transport, started_at as start_time, ended_at as end_time, last_active_at,
               session_duration_seconds(started_at, coalesce(ended_at, paused_at, clock_timestamp()), paused_seconds) as "duration_seconds!",
               paused_seconds + coalesce(extract(epoch from clock_timestamp() - paused_at), 0)::float8 as "paused_seconds!",
               heard_ms, chunks, turns, metadata
           from call_sessions where id = $1 and owner = $2"#,
        id,
        owner,
    )
    .fetch_optional(conn)
    .await?;
    Ok(session)
}

fn to_json(config: &SessionConfig) -> Result<Value> {
    serde_json::to_value(config).map_err(|error| StoreError::Refused(error.to_string()))
}

fn from_json(config: Value) -> Result<SessionConfig> {
    serde_json::from_value(config).map_err(|error| StoreError::Refused(format!("a session's configuration: {error}")))
}
