//! Sessions that end by themselves, and rows that go. Over all owners: nobody asks for it.

use std::time::Duration;

use uuid::Uuid;

use super::{Result, Store, StoreError};
use crate::session::EndReason;

/// Rows that one call of [`Store::purge_sessions`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    pub sounds: u64,
    pub rows: u64,
}

impl Store {
    /// Sessions whose replica has been silent for `lost_after` fail. They ended with the last sign of life.
    pub async fn fail_lost_sessions(&self, lost_after: Duration) -> Result<Vec<Uuid>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let ids = sqlx::query_scalar!(
                "update call_sessions s
                 set status = 'failed', reason = 'replica_lost', detail = 'the replica that held the session died',
                     ended_at = greatest(l.heartbeat_at, s.last_active_at)
                 from (
                     select c.id, r.heartbeat_at from call_sessions c left join replicas r on r.id = c.replica_id
                     where c.status in ('active', 'paused')
                         and coalesce(r.heartbeat_at, c.started_at) < clock_timestamp() - make_interval(secs => $1)
                 ) l
                 where s.id = l.id and s.status in ('active', 'paused')
                 returning s.id",
                lost_after.as_secs_f64(),
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(ids)
        })
        .await
    }

    /// Sessions without activity for `idle`, and those that began `longest` ago, end.
    pub async fn end_overdue_sessions(&self, idle: Duration, longest: Duration) -> Result<Vec<(Uuid, EndReason)>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let rows = sqlx::query!(
                r#"update call_sessions
                 set status = 'ended',
                     reason = case when started_at < clock_timestamp() - make_interval(secs => $2) then 'too_long' else 'idle' end
                 where status in ('active', 'paused')
                     and (last_active_at < clock_timestamp() - make_interval(secs => $1)
                         or started_at < clock_timestamp() - make_interval(secs => $2))
                 returning id, reason as "reason!""#,
                idle.as_secs_f64(),
                longest.as_secs_f64(),
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            rows.into_iter().map(|row| Ok((row.id, row.reason.parse().map_err(StoreError::Refused)?))).collect()
        })
        .await
    }

    /// Which of these are not live any more, or not there.
    pub async fn sessions_over(&self, ids: &[Uuid]) -> Result<Vec<Uuid>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let over = sqlx::query_scalar!(
                r#"select id as "id!" from unnest($1::uuid[]) as mine(id)
                   where not exists (select from call_sessions s where s.id = mine.id and s.status in ('active', 'paused'))"#,
                ids,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(over)
        })
        .await
    }

    /// This replica stops in order: its sessions end.
    pub async fn end_sessions_of(&self, replica: Uuid) -> Result<u64> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let ended = sqlx::query!(
                "update call_sessions set status = 'ended', reason = 'replica_stopped', detail = 'the replica that held the session was stopped'
                 where replica_id = $1 and status in ('active', 'paused')",
                replica,
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            conn.done();
            Ok(ended)
        })
        .await
    }

    /// Removes at most `batch` recorded sounds older than `keep_audio`, and at most `batch` rows of each kind that belong to
    /// sessions which ended longer than `keep_sessions` ago. `None`: for ever.
    pub async fn purge_sessions(
        &self,
        keep_audio: Option<Duration>,
        keep_sessions: Option<Duration>,
        batch: i64,
    ) -> Result<Purged> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut purged = Purged::default();
            if let Some(keep) = keep_audio {
                purged.sounds = sqlx::query!(
                    "update audio_chunks set audio = null where id in (
                         select id from audio_chunks
                         where audio is not null and received_at < clock_timestamp() - make_interval(secs => $1)
                         order by received_at limit $2 for update skip locked)",
                    keep.as_secs_f64(),
                    batch,
                )
                .execute(&mut *conn)
                .await?
                .rows_affected();
            }
            if let Some(keep) = keep_sessions {
                let keep = keep.as_secs_f64();
                // Children first: a session may have more of them than one statement should delete.
                purged.rows += sqlx::query!(
                    "delete from conversation_turns where id in (
                         select t.id from call_sessions s join conversation_turns t on t.session_id = s.id
                         where s.ended_at < clock_timestamp() - make_interval(secs => $1) limit $2 for update of t skip locked)",
                    keep,
                    batch,
                )
                .execute(&mut *conn)
                .await?
                .rows_affected();
                purged.rows += sqlx::query!(
                    "delete from audio_chunks where id in (
                         select k.id from call_sessions s join audio_chunks k on k.session_id = s.id
                         where s.ended_at < clock_timestamp() - make_interval(secs => $1) limit $2 for update of k skip locked)",
                    keep,
                    batch,
                )
                .execute(&mut *conn)
                .await?
                .rows_affected();
                purged.rows += sqlx::query!(
                    "delete from call_sessions where id in (
                         select s.id from call_sessions s
                         where s.ended_at < clock_timestamp() - make_interval(secs => $1)
                             and not exists (select from audio_chunks k where k.session_id = s.id)
                             and not exists (select from conversation_turns t where t.session_id = s.id)
                         limit $2 for update of s skip locked)",
                    keep,
                    batch,
                )
                .execute(&mut *conn)
                .await?
                .rows_affected();
            }
            conn.done();
            Ok(purged)
        })
        .await
    }
}
