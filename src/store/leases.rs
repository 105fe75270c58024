//! Leases: who may send a call, judged by the database's clock.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::accept::StoredRequest;
use super::{Result, Store};
use crate::call::PhoneNumber;

/// A call that this replica holds the lease of and may try to send.
#[derive(Debug, Clone)]
pub struct LeasedCall {
    pub id: Uuid,
    pub fence: i64,
    pub platform: String,
    pub platforms: Vec<String>,
    pub to: PhoneNumber,
    pub request: StoredRequest,
    pub metadata: Map<String, Value>,
    pub expires_at: Option<DateTime<Utc>>,
    pub order_key: Option<String>,
    pub send_tries: u32,
    pub created_at: DateTime<Utc>,
    pub traceparent: Option<String>,
}

/// A call given back: it waits until `wait` from now, for `reason`.
#[derive(Debug, Clone)]
pub struct Postponed {
    pub call_id: Uuid,
    pub fence: i64,
    pub wait: Duration,
    pub reason: &'static str,
    pub detail: Option<String>,
}

/// How long a call rests whose stored request this version cannot read.
const UNREADABLE_WAIT: Duration = Duration::from_secs(300);

pub(super) struct ClaimedRow {
    pub id: Uuid,
    pub fence: i64,
    pub platform: String,
    pub platforms: Vec<String>,
    pub to_number: String,
    pub request: Value,
    pub metadata: Value,
    pub expires_at: Option<DateTime<Utc>>,
    pub order_key: Option<String>,
    pub send_tries: i32,
    pub created_at: DateTime<Utc>,
    pub traceparent: Option<String>,
}

impl Store {
    /// Takes over calls that are due, or whose holder's lease ran out before they were sent; at most `limit`, the longest
    /// due first.
    ///
    /// Calls that could not be sent anyway are left alone: their number is busy with another call of ours, or an earlier
    /// call of their message group waits for its time. So are those in line for their platform ([`super::line`]).
    pub async fn claim_due(&self, replica: Uuid, lease: Duration, limit: usize) -> Result<Vec<LeasedCall>> {
        let rows = self.claim_rows(replica, lease, limit).await?;
        self.readable(rows).await
    }

    /// Rows as calls. One that this version cannot read is put back, and holds nobody else up.
    pub(super) async fn readable(&self, rows: Vec<ClaimedRow>) -> Result<Vec<LeasedCall>> {
        let mut calls = Vec::with_capacity(rows.len());
        for row in rows {
            match serde_json::from_value(row.request) {
                Ok(request) => calls.push(LeasedCall {
                    id: row.id,
                    fence: row.fence,
                    platform: row.platform,
                    platforms: row.platforms,
                    to: PhoneNumber::from_trusted(row.to_number),
                    request,
                    metadata: match row.metadata {
                        Value::Object(map) => map,
                        _ => Map::new(),
                    },
                    expires_at: row.expires_at,
                    order_key: row.order_key,
                    send_tries: row.send_tries as u32,
                    created_at: row.created_at,
                    traceparent: row.traceparent,
                }),
                // Another version of the program may have written it, and may read it.
                Err(error) => {
                    tracing::error!(call_id = %row.id, %error, "the stored request cannot be read; the call waits for a replica that can");
                    let postponed = Postponed {
                        call_id: row.id,
                        fence: row.fence,
                        wait: UNREADABLE_WAIT,
                        reason: "unreadable",
                        detail: Some(format!("its stored request cannot be read: {error}")),
                    };
                    self.postpone(&[postponed]).await?;
                }
            }
        }
        Ok(calls)
    }

    async fn claim_rows(&self, replica: Uuid, lease: Duration, limit: usize) -> Result<Vec<ClaimedRow>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            // `statement_timestamp()` is stable, so that an index can end the search; it is never later than the clock.
            let rows = sqlx::query_as!(
                ClaimedRow,
                r#"
                with due as (
                    select c.id, c.scheduled_for as since from calls c
                    where c.status = 'scheduled' and (c.status_reason is null or c.status_reason not in ('rate', 'cap', 'breaker'))
                        and c.scheduled_for <= statement_timestamp()
                        and (c.lease_until is null or c.lease_until < statement_timestamp())
                        and (c.status_reason is distinct from 'number_busy' or not exists (
                            select from call_attempts a where a.to_number = c.to_number
                                and a.state in ('sending', 'in_doubt', 'unknown', 'placed', 'ringing', 'in_progress')))
                        and (c.order_key is null or not exists (
                            select from (select * from calls e where e.order_key = c.order_key and not e.sent_in_order order by e.order_seq limit 1) head
                            where head.order_seq < c.order_seq and head.status = 'scheduled'
                                and (head.scheduled_for > statement_timestamp() or head.status_reason = 'number_busy')))
                    order by c.scheduled_for limit $3 for no key update of c skip locked
                ), orphaned as (
                    select c.id, c.lease_until as since from calls c
                    where c.status = 'accepted' and c.lease_until < statement_timestamp()
                        and (c.order_key is null or not exists (
                            select from (select * from calls e where e.order_key = c.order_key and not e.sent_in_order order by e.order_seq limit 1) head
                            where head.order_seq < c.order_seq and head.status = 'scheduled'
                                and (head.scheduled_for > statement_timestamp() or head.status_reason = 'number_busy')))
                    order by c.lease_until limit $3 for no key update of c skip locked
                ), chosen as (
                    select id from (select * from due union all select * from orphaned) both_kinds order by since limit $3
                )
                update calls c
                set fence = c.fence + 1, lease_owner = $1, lease_until = clock_timestamp() + make_interval(secs => $2)
                from chosen where c.id = chosen.id
                returning c.id, c.fence, c.platform, c.platforms, c.to_number, c.request, c.metadata, c.expires_at, c.order_key,
                    c.send_tries, c.created_at, c.traceparent
                "#,
                replica,
                lease.as_secs_f64(),
                limit as i64,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(rows)
        })
        .await
    }

    /// Ends unsent calls whose `expires_at` has passed, at most `limit`. Returns them with their platforms.
    pub async fn expire_due(&self, limit: usize) -> Result<Vec<(Uuid, String)>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let rows = sqlx::query!(
                "with late as (
                     select id from calls where status in ('accepted', 'scheduled') and expires_at <= statement_timestamp()
                     order by expires_at limit $1 for no key update skip locked
                 )
                 update calls c
                 set status = 'expired', status_reason = 'expired', status_source = 'sweeper',
                     status_detail = 'expires_at passed before it could be sent'
                 from late where c.id = late.id
                 returning c.id, c.platform",
                limit as i64,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(rows.into_iter().map(|row| (row.id, row.platform)).collect())
        })
        .await
    }

    /// Extends the leases of calls that wait in this replica. Returns those that are still ours.
    pub async fn renew(&self, replica: Uuid, lease: Duration, calls: &[(Uuid, i64)]) -> Result<Vec<Uuid>> {
        let (ids, fences): (Vec<Uuid>, Vec<i64>) = calls.iter().copied().unzip();
        self.unit(async {
            let mut conn = self.conn().await?;
            let held = sqlx::query_scalar!(
                "update calls c set lease_until = clock_timestamp() + make_interval(secs => $2)
                 from unnest($3::uuid[], $4::bigint[]) as held(id, fence)
                 where c.id = held.id and c.fence = held.fence and c.lease_owner = $1 and c.status in ('accepted', 'scheduled')
                 returning c.id",
                replica,
                lease.as_secs_f64(),
                &ids,
                &fences,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(held)
        })
        .await
    }

    /// Gives back what this replica holds and has not sent, for others to take at once.
    pub async fn release_all(&self, replica: Uuid) -> Result<u64> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let released = sqlx::query!(
                "update calls set lease_owner = null, lease_until = case when status = 'accepted' then statement_timestamp() end
                 where lease_owner = $1 and status in ('accepted', 'scheduled')",
                replica,
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            conn.done();
            Ok(released)
        })
        .await
    }

    /// Puts calls back to wait in Postgres, with the reason that people see.
    pub async fn postpone(&self, calls: &[Postponed]) -> Result<()> {
        let ids: Vec<Uuid> = calls.iter().map(|call| call.call_id).collect();
        let fences: Vec<i64> = calls.iter().map(|call| call.fence).collect();
        let waits: Vec<f64> = calls.iter().map(|call| call.wait.as_secs_f64()).collect();
        let reasons: Vec<String> = calls.iter().map(|call| call.reason.to_owned()).collect();
        let details: Vec<Option<String>> = calls.iter().map(|call| call.detail.clone()).collect();
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!(
                "update calls c
                 set status = 'scheduled', status_reason = p.reason, status_detail = p.detail, status_source = 'delivery',
                     scheduled_for = clock_timestamp() + make_interval(secs => p.wait), lease_owner = null, lease_until = null
                 from unnest($1::uuid[], $2::bigint[], $3::float8[], $4::text[], $5::text[]) as p(id, fence, wait, reason, detail)
                 where c.id = p.id and c.fence = p.fence and c.status in ('accepted', 'scheduled')",
                &ids,
                &fences,
                &waits,
                &reasons,
                &details as &[Option<String>],
            )
            .execute(&mut *conn)
            .await?;
            conn.done();
            Ok(())
        })
        .await
    }

    /// Ends a call that was never sent: `rejected`, `expired` or `failed`. Returns whether it was still ours.
    pub async fn end_unsent(
        &self,
        call_id: Uuid,
        fence: i64,
        status: crate::call::CallStatus,
        reason: &str,
        detail: &str,
    ) -> Result<bool> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let ended = sqlx::query!(
                "update calls set status = $3, status_reason = $4, status_detail = $5, status_source = 'delivery'
                 where id = $1 and fence = $2 and status in ('accepted', 'scheduled')",
                call_id,
                fence,
                status.as_str(),
                reason,
                detail,
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            conn.done();
            Ok(ended == 1)
        })
        .await
    }

    /// Attempts whose sender cannot be at work any more become `in_doubt`, and so do their calls. Returns (call, attempt).
    pub async fn doubt_orphans(&self, limit: usize) -> Result<Vec<(Uuid, Uuid)>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let rows = sqlx::query!(
                r#"
                with orphans as (
                    select c.id from calls c
                    where c.status = 'sending' and c.lease_until < statement_timestamp()
                      and exists (select from call_attempts a where a.call_id = c.id and a.state = 'sending' and a.settled_at < statement_timestamp())
                    order by c.lease_until limit $1 for no key update of c skip locked
                ), doubted as (
                    update call_attempts a
                    set state = 'in_doubt', verdict = 'in_doubt', reason = 'sender_lost', fence = a.fence + 1, next_look_at = clock_timestamp(),
                        detail = 'the replica that was sending ended or was stopped before it recorded an answer'
                    from orphans o where a.call_id = o.id and a.state = 'sending'
                    returning a.call_id, a.id
                ), moved as (
                    update calls c
                    set status = 'in_doubt', status_reason = 'sender_lost', status_source = 'sweeper', fence = c.fence + 1,
                        status_detail = 'the replica that was sending ended before it recorded an answer',
                        sent_in_order = true, lease_owner = null, lease_until = null
                    from doubted d where c.id = d.call_id
                )
                select call_id as "call_id!", id as "id!" from doubted
                "#,
                limit as i64,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(rows.into_iter().map(|row| (row.call_id, row.id)).collect())
        })
        .await
    }
}
