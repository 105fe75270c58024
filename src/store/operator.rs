//! What operators and producers decide: cancel, settle.

use serde_json::json;
use uuid::Uuid;

use super::updates::wake_next_for_number;
use super::{Result, Store, StoreError};
use crate::call::CallStatus;
use crate::call::status::text_enum;

/// A call by its id, or by the name of the job that asked for it.
#[derive(Debug, Clone)]
pub enum CallName {
    Id(Uuid),
    Job { source: String, event_id: String },
}

impl CallName {
    pub(super) fn columns(&self) -> (Option<Uuid>, Option<&str>, Option<&str>) {
        match self {
            CallName::Id(id) => (Some(*id), None, None),
            CallName::Job { source, event_id } => (None, Some(source), Some(event_id)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It was not sent, and will not be.
    Now,
    /// It may be live: the platform is asked to end it.
    Requested {
        attempt_id: Option<Uuid>,
        status: CallStatus,
    },
    /// It had ended before.
    AlreadyEnded {
        status: CallStatus,
    },
    NotFound,
}

text_enum! {
    /// How an operator settles an unknown call.
    SettleAs {
        /// It was made; its outcome comes from the platform.
        Placed = "placed",
        /// It was not made, and is not to be.
        Absent = "absent",
        /// It was not made; call again, unless its end was asked for meanwhile: then it is cancelled.
        Redial = "redial",
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    Done {
        status: CallStatus,
    },
    /// Only `unknown` calls are settled.
    NotUnknown {
        status: CallStatus,
    },
    NotFound,
}

impl Store {
    /// The id of a call that is there.
    pub async fn call_id(&self, call: &CallName) -> Result<Option<Uuid>> {
        let (id, source, event_id) = call.columns();
        self.unit(async {
            let mut conn = self.conn().await?;
            let id = sqlx::query_scalar!(
                "select id from calls where id = $1 or ($1::uuid is null and source = $2 and event_id = $3)",
                id,
                source,
                event_id,
            )
            .fetch_optional(&mut *conn)
            .await?;
            conn.done();
            Ok(id)
        })
        .await
    }

    /// Cancels a call that is not sent, or asks for the end of one that may be live.
    pub async fn cancel(&self, call: &CallName, by: &str, reason: &str) -> Result<Cancelled> {
        let (id, source, event_id) = call.columns();
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            let Some(row) = sqlx::query!(
                "select id, status from calls where id = $1 or ($1::uuid is null and source = $2 and event_id = $3) for no key update",
                id,
                source,
                event_id,
            )
            .fetch_optional(&mut *tx)
            .await?
            else {
                tx.rollback().await?;
                conn.done();
                return Ok(Cancelled::NotFound);
            };
            let status: CallStatus = row.status.parse().map_err(StoreError::Refused)?;
            if status.is_terminal() {
                tx.rollback().await?;
                conn.done();
                return Ok(Cancelled::AlreadyEnded { status });
            }
            sqlx::query!(
                "insert into call_events (call_id, kind, source, detail) values ($1, 'cancel_requested', $2, $3)",
                row.id,
                by,
                json!({ "reason": reason }),
            )
            .execute(&mut *tx)
            .await?;
            let cancelled = if status.is_unsent() {
                sqlx::query!(
                    "update calls set status = 'cancelled', status_reason = 'cancel_requested', status_detail = $2, status_source = $3,
                         cancel_requested_at = clock_timestamp(), cancel_reason = $2, fence = fence + 1
                     where id = $1",
                    row.id,
                    reason,
                    by,
                )
                .execute(&mut *tx)
                .await?;
                Cancelled::Now
            } else {
                sqlx::query!(
                    "update calls set cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()), cancel_reason = $2 where id = $1",
                    row.id,
                    reason,
                )
                .execute(&mut *tx)
                .await?;
                let attempt_id = sqlx::query_scalar!(
                    "update call_attempts set next_look_at = clock_timestamp()
                     where call_id = $1 and state in ('in_doubt', 'placed', 'ringing', 'in_progress') returning id",
                    row.id,
                )
                .fetch_optional(&mut *tx)
                .await?;
                Cancelled::Requested { attempt_id, status }
            };
            tx.commit().await?;
            conn.done();
            Ok(cancelled)
        })
        .await
    }

    /// Keeps a cancellation whose call has not come yet; that call will get no right to send.
    ///
    /// Committed before the caller looks for the call once more, so the two cannot miss each other: a call that is not
    /// there then finds this row when it asks for its right.
    pub async fn cancel_ahead(&self, source: &str, event_id: &str, by: &str, reason: &str) -> Result<()> {
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!(
                "insert into early_cancellations (source, event_id, requested_by, reason) values ($1, $2, $3, $4) on conflict do nothing",
                source,
                event_id,
                by,
                reason,
            )
            .execute(&mut *conn)
            .await?;
            conn.done();
            Ok(())
        })
        .await
    }

    /// Settles an `unknown` call. Who and why stand in the timeline and, for a redial, in the next attempt.
    pub async fn settle(
        &self,
        call_id: Uuid,
        settle_as: SettleAs,
        by: &str,
        because: &str,
        platform_call_id: Option<&str>,
    ) -> Result<Settled> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            let Some(row) =
                sqlx::query!(r#"select status, cancel_requested_at is not null as "cancelled!" from calls where id = $1 for no key update"#, call_id)
                    .fetch_optional(&mut *tx)
                    .await?
            else {
                return Ok(Settled::NotFound);
            };
            let cancelled = row.cancelled;
            let status: CallStatus = row.status.parse().map_err(StoreError::Refused)?;
            let attempt = sqlx::query!("select id, n from call_attempts where call_id = $1 and state = 'unknown' for no key update", call_id)
                .fetch_optional(&mut *tx)
                .await?;
            let (CallStatus::Unknown, Some(attempt)) = (status, attempt) else { return Ok(Settled::NotUnknown { status }) };
            let evidence = json!([{ "settled_as": settle_as, "by": by, "because": because }]);
            sqlx::query!(
                "insert into call_events (call_id, attempt_id, kind, source, detail) values ($1, $2, 'settled', $3, $4)",
                call_id,
                attempt.id,
                by,
                evidence[0],
            )
            .execute(&mut *tx)
            .await?;
            let state = if settle_as == SettleAs::Placed { "placed" } else { "absent" };
            sqlx::query!(
                "update call_attempts set state = $2, evidence = coalesce(evidence, '[]') || $3::jsonb,
                     platform_call_id = coalesce(platform_call_id, $4),
                     next_look_at = case when $2 = 'placed' then clock_timestamp() end,
                     ended_at = case when $2 = 'absent' then clock_timestamp() end
                 where id = $1",
                attempt.id,
                state,
                evidence,
                platform_call_id,
            )
            .execute(&mut *tx)
            .await?;
            let (status, reason) = match settle_as {
                SettleAs::Placed => (CallStatus::Placed, "settled_placed"),
                SettleAs::Absent => (CallStatus::Failed, "settled_absent"),
                // Its end was asked for meanwhile: nobody is called who is not to be called any more.
                SettleAs::Redial if cancelled => (CallStatus::Cancelled, "cancel_requested"),
                SettleAs::Redial => (CallStatus::Scheduled, "settled_redial"),
            };
            sqlx::query!(
                "update calls set status = $2, status_reason = $3, status_detail = $4, status_source = $5, fence = fence + 1,
                     scheduled_for = case when $2 = 'scheduled' then clock_timestamp() else scheduled_for end,
                     next_because = case when $2 = 'scheduled' then $6 else next_because end
                 where id = $1",
                call_id,
                status.as_str(),
                reason,
                because,
                by,
                format!("{by} settled attempt {} as absent: {because}", attempt.n),
            )
            .execute(&mut *tx)
            .await?;
            if settle_as != SettleAs::Placed {
                wake_next_for_number(&mut tx, attempt.id).await?;
            }
            tx.commit().await?;
            conn.done();
            self.tell_ended();
            Ok(Settled::Done { status })
        })
        .await
    }
}
