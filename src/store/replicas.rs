//! Replicas by heartbeat, and what the ledger as a whole looks like.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::{Result, Store};

/// The ledger in numbers, for gauges.
#[derive(Debug, Clone, Default)]
pub struct LedgerState {
    /// Calls that have not ended.
    pub by_status: BTreeMap<String, i64>,
    /// Scheduled calls by reason.
    pub waiting: BTreeMap<String, i64>,
    /// Age of the oldest call that has not ended, from the moment it was due; `unknown` ones wait for a person and are left
    /// out.
    pub oldest_open_seconds: f64,
}

impl Store {
    /// This replica lives. Returns how many workers do, itself included.
    pub async fn heartbeat(&self, id: Uuid, host: &str, roles: &[String], alive_within: Duration) -> Result<u32> {
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!(
                "insert into replicas (id, host, version, roles) values ($1, $2, $3, $4)
                 on conflict (id) do update set heartbeat_at = clock_timestamp()",
                id,
                host,
                env!("CARGO_PKG_VERSION"),
                roles,
            )
            .execute(&mut *conn)
            .await?;
            let workers = sqlx::query_scalar!(
                r#"select count(*) as "count!" from replicas
                   where 'worker' = any(roles) and heartbeat_at > clock_timestamp() - make_interval(secs => $1)"#,
                alive_within.as_secs_f64(),
            )
            .fetch_one(&mut *conn)
            .await?;
            conn.done();
            Ok(workers as u32)
        })
        .await
    }

    /// This replica leaves; long-dead ones are forgotten.
    pub async fn leave(&self, id: Uuid) -> Result<()> {
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!(
                "delete from replicas where id = $1 or heartbeat_at < clock_timestamp() - interval '1 day'",
                id
            )
            .execute(&mut *conn)
            .await?;
            conn.done();
            Ok(())
        })
        .await
    }

    pub async fn ledger_state(&self) -> Result<LedgerState> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let rows = sqlx::query!(
                r#"select status, case when status = 'scheduled' then coalesce(status_reason, 'due') end as reason, count(*) as "count!",
                          max(extract(epoch from clock_timestamp() - greatest(created_at, scheduled_for))::float8) as "age!"
                   from calls
                   where status not in ('completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled', 'rejected', 'expired')
                   group by 1, 2"#
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            let mut state = LedgerState::default();
            for row in rows {
                if row.status != "unknown" {
                    state.oldest_open_seconds = state.oldest_open_seconds.max(row.age);
                }
                *state.by_status.entry(row.status).or_default() += row.count;
                if let Some(reason) = row.reason {
                    state.waiting.insert(reason, row.count);
                }
            }
            Ok(state)
        })
        .await
    }
}
