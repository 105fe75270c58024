//! An operator's "now": a call that waits for nothing but time is due at once. No rule is stepped over: windows, caps, budgets
//! and the do-not-call list are asked as the right to send is spent, as ever.

use serde_json::json;

use super::operator::CallName;
use super::{Result, Store, StoreError};
use crate::call::CallStatus;

/// What a call waits for that is not for an operator to shorten: a rule, the producer's own time, or another call.
const NOT_TIME_ALONE: &[&str] =
    &["not_before", "window", "frequency", "budget", "number_busy", "order", "rate", "cap", "breaker"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetriedNow {
    /// It is due. `reason` is what it waited for.
    Due {
        reason: String,
    },
    /// It waits for something else than time, or does not wait at all.
    Not {
        status: CallStatus,
        reason: Option<String>,
    },
    NotFound,
}

impl Store {
    /// Makes a scheduled call due that waits for its retry, its redial, or another try after a send that did not reach the
    /// platform. Who and why stand in the timeline.
    pub async fn retry_now(&self, call: &CallName, by: &str, because: &str) -> Result<RetriedNow> {
        let (id, source, event_id) = call.columns();
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            let row = sqlx::query!(
                "select id, status, status_reason from calls
                 where id = $1 or ($1::uuid is null and source = $2 and event_id = $3) for no key update",
                id,
                source,
                event_id,
            )
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = row else { return Ok(RetriedNow::NotFound) };
            let status: CallStatus = row.status.parse().map_err(StoreError::Refused)?;
            let waits_for_time = |reason: &String| !NOT_TIME_ALONE.contains(&reason.as_str());
            let Some(reason) =
                row.status_reason.clone().filter(|reason| status == CallStatus::Scheduled && waits_for_time(reason))
            else {
                return Ok(RetriedNow::Not { status, reason: row.status_reason });
            };
            sqlx::query!("update calls set scheduled_for = clock_timestamp() where id = $1", row.id)
                .execute(&mut *tx)
                .await?;
            sqlx::query!(
                "insert into call_events (call_id, kind, source, detail) values ($1, 'retry_requested', $2, $3)",
                row.id,
                by,
                json!({ "waited_for": reason, "because": because }),
            )
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            conn.done();
            Ok(RetriedNow::Due { reason })
        })
        .await
    }
}
