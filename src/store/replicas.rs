//! Replicas by heartbeat, and what the ledger as a whole looks like.

use std::time::Duration;

use uuid::Uuid;

use super::{Result, Store};

/// The ledger in numbers, for gauges.
#[derive(Debug, Clone, Default)]
pub struct LedgerState {
    pub in_doubt: i64,
    pub unknown: i64,
    /// Age of the oldest call that has not ended, `unknown` ones left out.
    pub oldest_open_seconds: f64,
    /// Scheduled calls by reason.
    pub waiting: Vec<(String, i64)>,
    pub outbox_pending: i64,
    pub webhooks_unapplied: i64,
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
            let row = sqlx::query!(
                r#"select count(*) filter (where status = 'in_doubt') as "in_doubt!", count(*) filter (where status = 'unknown') as "unknown!",
                          coalesce(extract(epoch from clock_timestamp() - min(created_at) filter (where status <> 'unknown'))::float8, 0) as "oldest!",
                          (select count(*) from outbox where delivered_at is null and abandoned_at is null) as "outbox!",
                          (select count(*) from webhook_inbox where applied_at is null) as "webhooks!"
                   from calls
                   where status not in ('completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled', 'rejected', 'expired')"#
            )
            .fetch_one(&mut *conn)
            .await?;
            let waiting = sqlx::query!(
                r#"select coalesce(status_reason, 'due') as "reason!", count(*) as "count!" from calls where status = 'scheduled' group by 1"#
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(LedgerState {
                in_doubt: row.in_doubt,
                unknown: row.unknown,
                oldest_open_seconds: row.oldest,
                waiting: waiting.into_iter().map(|row| (row.reason, row.count)).collect(),
                outbox_pending: row.outbox,
                webhooks_unapplied: row.webhooks,
            })
        })
        .await
    }
}
