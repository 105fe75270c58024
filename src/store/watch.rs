//! Following what happens, for people who look on.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{Result, Store};

/// One line of some call's timeline.
#[derive(Debug, Clone)]
pub struct Happened {
    /// Rises, but lines of transactions that overlap can become visible out of order.
    pub id: i64,
    pub call_id: Uuid,
    /// The job that asked for the call.
    pub source: String,
    pub event_id: String,
    pub at: DateTime<Utc>,
    pub kind: String,
    pub to_status: Option<String>,
    pub by: String,
    pub detail: Value,
}

/// A message that was rejected.
#[derive(Debug, Clone)]
pub struct RejectedMessage {
    pub message_id: String,
    pub event_id: Option<String>,
    pub reason: String,
    pub field_path: String,
    pub detail: String,
    pub received_at: DateTime<Utc>,
}

impl Store {
    /// The newest timeline line's id, or 0.
    pub async fn newest_event(&self) -> Result<i64> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let id = sqlx::query_scalar!(r#"select coalesce(max(id), 0) as "id!" from call_events"#)
                .fetch_one(&mut *conn)
                .await?;
            conn.done();
            Ok(id)
        })
        .await
    }

    /// Timeline lines of all calls after this id, oldest first.
    pub async fn events_after(&self, after: i64, limit: i64) -> Result<Vec<Happened>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let rows = sqlx::query_as!(
                Happened,
                r#"select e.id, e.call_id, c.source, c.event_id, e.at, e.kind, e.to_status, e.source as by, e.detail
                   from call_events e join calls c on c.id = e.call_id where e.id > $1 order by e.id limit $2"#,
                after,
                limit,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(rows)
        })
        .await
    }

    /// Messages rejected after this moment, oldest first.
    pub async fn rejected_after(&self, after: DateTime<Utc>, limit: i64) -> Result<Vec<RejectedMessage>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let rows = sqlx::query_as!(
                RejectedMessage,
                "select message_id, event_id, reason, field_path, detail, received_at from rejected_messages
                 where received_at > $1 order by received_at limit $2",
                after,
                limit,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(rows)
        })
        .await
    }
}
