//! Calls and thread messages as people look at them. Nothing here changes anything.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Result, Store};
use crate::call::{CallStatus, phone};

/// Whether phone numbers are shown whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    Masked,
    Full,
}

/// A place in a list that is sorted by time, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    pub at: DateTime<Utc>,
    pub id: Uuid,
}

/// Which calls; what is empty or `None` does not filter.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    pub statuses: Vec<CallStatus>,
    pub platform: Option<String>,
    pub lead_id: Option<String>,
    /// Any of these objects is contained in the call's metadata.
    pub metadata: Option<Vec<Value>>,
    /// Inclusive.
    pub created_after: Option<DateTime<Utc>>,
    /// Exclusive.
    pub created_before: Option<DateTime<Utc>>,
    pub before: Option<Before>,
    pub limit: i64,
}

/// A call.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Call {
    pub id: Uuid,
    /// `source` and `event_id` name the job that asked for it.
    pub source: String,
    pub event_id: String,
    #[schema(value_type = CallStatus)]
    pub status: String,
    /// Why, in a stable vocabulary: `number_busy`, `retry`, `not_before`, …
    pub status_reason: Option<String>,
    /// The same for a person to read.
    pub status_detail: Option<String>,
    /// Who set the status: `queue`, `api`, `delivery`, `webhook`, `poller`, `reconciler`, `operator:NAME`, …
    pub status_source: String,
    /// Of the next or the latest attempt.
    pub platform: String,
    pub platforms: Vec<String>,
    /// The middle is masked.
    pub to_number: String,
    pub lead_id: Option<String>,
    pub user_id: Option<String>,
    pub tenant: Option<String>,
    #[schema(value_type = Object)]
    pub metadata: Value,
    pub not_before: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub scheduled_for: Option<DateTime<Utc>>,
    pub cancel_requested_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// One attempt to place a call.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Attempt {
    pub id: Uuid,
    /// From 1.
    pub n: i32,
    /// `first`, or the reason or evidence that authorized a further attempt.
    pub because: String,
    pub platform: String,
    pub platform_call_id: Option<String>,
    #[schema(value_type = crate::call::AttemptState)]
    pub state: String,
    /// What the answer to the create request meant.
    #[schema(value_type = Option<crate::call::Verdict>)]
    pub verdict: Option<String>,
    pub reason: Option<String>,
    pub detail: Option<String>,
    pub http_status: Option<i32>,
    /// The middle is masked.
    pub from_number: Option<String>,
    pub committed_at: DateTime<Utc>,
    pub answered_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub duration_seconds: Option<i32>,
    #[schema(value_type = Option<String>)]
    pub cost_amount: Option<Decimal>,
    pub cost_currency: Option<String>,
    /// `reported` or `estimated`.
    pub cost_source: Option<String>,
    pub answered_by: Option<String>,
    pub ended_by: Option<String>,
    pub recording_url: Option<String>,
    /// Array of `{speaker, text, at?}`.
    #[schema(value_type = Option<Vec<Object>>)]
    pub transcript: Option<Value>,
    pub summary: Option<String>,
    pub disposition: Option<String>,
    pub error_message: Option<String>,
    /// The platform's own word.
    pub raw_status: Option<String>,
    /// What proves that it made no call, or who settled it.
    #[schema(value_type = Option<Vec<Object>>)]
    pub evidence: Option<Value>,
}

/// A message exchanged with a lead.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ThreadMessage {
    pub id: Uuid,
    pub call_id: Uuid,
    pub lead_id: Option<String>,
    pub user_id: Option<String>,
    /// `voice`.
    pub channel: String,
    pub message_type: String,
    pub content: String,
    /// The status of its call.
    #[schema(value_type = CallStatus)]
    pub status: String,
    #[schema(value_type = Object)]
    pub metadata: Value,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Store {
    /// Newest first.
    pub async fn list_calls(&self, filter: &CallFilter, numbers: Numbers) -> Result<Vec<Call>> {
        let statuses: Vec<String> = filter.statuses.iter().map(|status| status.as_str().to_owned()).collect();
        let statuses = Some(statuses).filter(|statuses| !statuses.is_empty());
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut calls = sqlx::query_as!(
                Call,
                r#"
                select id, source, event_id, status, status_reason, status_detail, status_source, platform, platforms, to_number, lead_id,
                    user_id, tenant, metadata, not_before, expires_at, scheduled_for, cancel_requested_at, created_at, updated_at, finished_at
                from calls
                where ($1::text[] is null or status = any($1)) and ($2::text is null or platform = $2)
                    and ($3::text is null or lead_id = $3) and ($4::jsonb[] is null or metadata @> any($4))
                    and ($5::timestamptz is null or created_at >= $5) and ($6::timestamptz is null or created_at < $6)
                    and ($7::timestamptz is null or (created_at, id) < ($7, $8))
                order by created_at desc, id desc limit $9
                "#,
                statuses.as_deref(),
                filter.platform,
                filter.lead_id,
                filter.metadata.as_deref(),
                filter.created_after,
                filter.created_before,
                filter.before.map(|before| before.at),
                filter.before.map(|before| before.id),
                filter.limit,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            calls.iter_mut().for_each(|call| call.to_number = shown(&call.to_number, numbers));
            Ok(calls)
        })
        .await
    }

    /// The messages exchanged with a lead, newest first.
    pub async fn thread_messages(
        &self,
        lead_id: &str,
        before: Option<Before>,
        limit: i64,
    ) -> Result<Vec<ThreadMessage>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let messages = sqlx::query_as!(
                ThreadMessage,
                "select id, call_id, lead_id, user_id, channel, message_type, content, status, metadata, created_at, updated_at
                 from thread_messages
                 where lead_id = $1 and ($2::timestamptz is null or (created_at, id) < ($2, $3))
                 order by created_at desc, id desc limit $4",
                lead_id,
                before.map(|before| before.at),
                before.map(|before| before.id),
                limit,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(messages)
        })
        .await
    }
}

fn shown(number: &str, numbers: Numbers) -> String {
    match numbers {
        Numbers::Masked => phone::mask(number),
        Numbers::Full => number.to_owned(),
    }
}
