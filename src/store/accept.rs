//! Acceptance: a job becomes rows, once.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Result, Store, StoreError};
use crate::call::{CallRequest, CallStatus, PhoneNumber, VoiceConfig};
use crate::job::{ContentHash, JobKey, Rejection};

/// A call as it is accepted: its row, its thread message, and its name among the jobs.
#[derive(Debug, Clone, Serialize)]
pub struct NewCall {
    pub id: Uuid,
    pub thread_message_id: Uuid,
    #[serde(flatten)]
    pub key: JobKeyRow,
    /// `accepted`, `scheduled`, `rejected` or `expired`.
    pub status: CallStatus,
    pub status_reason: Option<String>,
    pub status_detail: Option<String>,
    /// `queue` or `api`.
    pub status_source: &'static str,
    pub platform: String,
    pub platforms: Vec<String>,
    pub to_number: PhoneNumber,
    pub lead_id: Option<String>,
    pub user_id: Option<String>,
    pub tenant: Option<String>,
    pub request: StoredRequest,
    pub metadata: Map<String, Value>,
    pub outcome_url: Option<String>,
    pub outcome_queue: Option<String>,
    pub not_before: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub scheduled_for: Option<DateTime<Utc>>,
    /// On a FIFO queue: queue and message group.
    pub order_key: Option<String>,
    /// SQS's sequence number, decimal.
    pub order_seq: Option<String>,
    pub traceparent: Option<String>,
    pub message_type: String,
}

/// `source`, `event_id` and the hash, as columns.
#[derive(Debug, Clone, Serialize)]
pub struct JobKeyRow {
    pub source: String,
    pub event_id: String,
    pub content_hash: String,
}

impl JobKeyRow {
    pub fn new(key: &JobKey, hash: &ContentHash) -> Self {
        Self { source: key.source.clone(), event_id: key.id.clone(), content_hash: hex_bytea(&hash.0) }
    }
}

/// What is to be said, kept in `calls.request`.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub struct StoredRequest {
    pub content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    pub voice_config: VoiceConfig,
}

impl StoredRequest {
    /// One attempt's request, complete. `public_url`: where platforms reach the daemon, without a trailing slash.
    pub fn of_attempt(
        &self,
        (call_id, attempt_id): (Uuid, Uuid),
        platform: &str,
        to: PhoneNumber,
        metadata: Map<String, Value>,
        public_url: Option<&str>,
    ) -> CallRequest {
        CallRequest {
            call_id,
            attempt_id,
            to,
            content: self.content.clone(),
            lead_name: self.lead_name.clone(),
            voice_config: self.voice_config.for_platform(platform),
            metadata,
            webhook_url: public_url.map(|url| format!("{url}/webhooks/{platform}/{attempt_id}")),
        }
    }
}

/// Who gets the new calls to send.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTo {
    pub replica: Uuid,
    pub lease: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    New,
    /// Accepted, and `rejected` at once (`do_not_call`): its number is on the do-not-call list.
    Suppressed,
    /// The same job was accepted before; nothing changed.
    Repeat {
        call_id: Uuid,
    },
    /// The name was used for another job.
    KeyReused,
}

/// A message that is not a valid job, to be kept.
#[derive(Debug, Clone)]
pub struct NewRejected {
    pub queue: String,
    pub message_id: String,
    pub rejection: Rejection,
    pub body: Vec<u8>,
}

fn hex_bytea(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::from("\\x"), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Store {
    /// Accepts `calls` in one transaction of one statement; a second one runs only where a name was taken already.
    ///
    /// New calls in status `accepted` are leased to `lease_to` with fence 1. Safe to repeat after an unclear end: rows that
    /// an earlier try committed under the same call id are told as new.
    pub async fn accept_calls(&self, calls: &[NewCall], lease_to: Option<LeaseTo>) -> Result<Vec<Acceptance>> {
        let rows = serde_json::to_value(calls).map_err(|error| StoreError::Refused(error.to_string()))?;
        let (replica, lease) = lease_to.map_or((None, None), |to| (Some(to.replica), Some(to.lease.as_secs_f64())));
        self.unit(async {
            let mut conn = self.conn().await?;
            let new = sqlx::query!(
                r#"
                with input as materialized (
                    select * from jsonb_to_recordset($1) as input(
                        id uuid, thread_message_id uuid, source text, event_id text, content_hash bytea, status text, status_reason text,
                        status_detail text, status_source text, platform text, platforms text[], to_number text, lead_id text, user_id text,
                        tenant text, request jsonb, metadata jsonb, outcome_url text, outcome_queue text, not_before timestamptz,
                        expires_at timestamptz, scheduled_for timestamptz, order_key text, order_seq numeric, traceparent text, message_type text)
                ), judged as materialized (
                    select *, status in ('accepted', 'scheduled') and is_suppressed(to_number) as suppressed from input
                ), named as (
                    insert into jobs (source, event_id, type, content_hash, subject_id)
                    select source, event_id, 'voice.call.requested', content_hash, id from input order by source, event_id
                    on conflict do nothing
                    returning subject_id
                ), made as (
                    insert into calls (id, source, event_id, status, status_reason, status_detail, status_source, platform, platforms, to_number,
                        lead_id, user_id, tenant, request, metadata, outcome_url, outcome_queue, not_before, expires_at, scheduled_for,
                        order_key, order_seq, traceparent, fence, lease_owner, lease_until, finished_at, sent_in_order)
                    select id, source, event_id, case when suppressed then 'rejected' else status end,
                        case when suppressed then 'do_not_call' else status_reason end,
                        case when suppressed then 'the number is on the do-not-call list' else status_detail end,
                        status_source, platform, platforms, to_number,
                        lead_id, user_id, tenant, request, metadata, outcome_url, outcome_queue, not_before, expires_at,
                        case when not suppressed then scheduled_for end,
                        order_key, order_seq, traceparent, 1,
                        case when status = 'accepted' and not suppressed then $2::uuid end,
                        case when status = 'accepted' and not suppressed then clock_timestamp() + make_interval(secs => coalesce($3::float8, 0)) end,
                        case when suppressed or status in ('rejected', 'expired') then clock_timestamp() end,
                        suppressed or status in ('rejected', 'expired')
                    from judged where id in (select subject_id from named)
                    returning id, status, status_reason
                ), told as (
                    insert into thread_messages (id, call_id, lead_id, user_id, channel, message_type, content, status, metadata)
                    select i.thread_message_id, i.id, i.lead_id, i.user_id, 'voice', i.message_type, i.request->>'content', made.status, i.metadata
                    from input i join made on made.id = i.id
                )
                select id as "id!", status = 'rejected' and status_reason = 'do_not_call' as "suppressed!" from made
                "#,
                rows,
                replica,
                lease,
            )
            .fetch_all(&mut *conn)
            .await?;
            let mut acceptances = vec![Acceptance::New; calls.len()];
            for row in new.iter().filter(|row| row.suppressed) {
                let at = calls.iter().position(|call| call.id == row.id);
                at.into_iter().for_each(|at| acceptances[at] = Acceptance::Suppressed);
            }
            if new.len() < calls.len() {
                let known = known_jobs(&mut conn, calls).await?;
                for (call, acceptance) in calls.iter().zip(&mut acceptances) {
                    if new.iter().any(|row| row.id == call.id) {
                        continue;
                    }
                    *acceptance = match known.get(&(call.key.source.as_str(), call.key.event_id.as_str())) {
                        Some((_, call_id)) if *call_id == call.id => Acceptance::New,
                        Some((hash, call_id)) if *hash == call.key.content_hash => Acceptance::Repeat { call_id: *call_id },
                        _ => Acceptance::KeyReused,
                    };
                }
            }
            conn.done();
            Ok(acceptances)
        })
        .await
    }

    /// The stored configurations of these names.
    pub async fn voice_configs_by_name(
        &self,
        names: &[String],
    ) -> Result<HashMap<String, std::result::Result<VoiceConfig, String>>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let rows = sqlx::query!(r#"select name, config from voice_configs where name = any($1)"#, names)
                .fetch_all(&mut *conn)
                .await?;
            conn.done();
            let read = |config| serde_json::from_value(config).map_err(|error: serde_json::Error| error.to_string());
            Ok(rows.into_iter().map(|row| (row.name, read(row.config))).collect())
        })
        .await
    }

    /// Gives a job that makes no call its name; `KeyReused` where the name was used for another body.
    pub async fn accept_name(
        &self,
        key: &JobKey,
        hash: &ContentHash,
        event_type: &str,
        subject: Uuid,
    ) -> Result<Acceptance> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let inserted = sqlx::query!(
                "insert into jobs (source, event_id, type, content_hash, subject_id) values ($1, $2, $3, $4, $5) on conflict do nothing",
                key.source,
                key.id,
                event_type,
                &hash.0[..],
                subject,
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            let acceptance = if inserted == 1 {
                Acceptance::New
            } else {
                let row = sqlx::query!("select content_hash, subject_id from jobs where source = $1 and event_id = $2", key.source, key.id)
                    .fetch_one(&mut *conn)
                    .await?;
                if row.content_hash == hash.0 { Acceptance::Repeat { call_id: row.subject_id } } else { Acceptance::KeyReused }
            };
            conn.done();
            Ok(acceptance)
        })
        .await
    }

    /// Keeps messages that are not valid jobs. A redelivery of the same message changes nothing.
    pub async fn keep_rejected(&self, rejected: &[NewRejected]) -> Result<()> {
        self.unit(async {
            let mut conn = self.conn().await?;
            for message in rejected {
                let rejection = &message.rejection;
                sqlx::query!(
                    "insert into rejected_messages (id, queue, message_id, source, event_id, reason, field_path, detail, body)
                     values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (queue, message_id) do nothing",
                    Uuid::now_v7(),
                    message.queue,
                    message.message_id,
                    storable(rejection.source.as_deref()),
                    storable(rejection.event_id.as_deref()),
                    rejection.reason.as_str(),
                    storable(Some(&rejection.field_path)).unwrap_or_default(),
                    storable(Some(&rejection.detail)).unwrap_or_default(),
                    message.body,
                )
                .execute(&mut *conn)
                .await?;
            }
            conn.done();
            Ok(())
        })
        .await
    }

    /// The thread message that belongs to a call.
    pub async fn thread_message_of(&self, call_id: Uuid) -> Result<Option<Uuid>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let id = sqlx::query_scalar!("select id from thread_messages where call_id = $1", call_id)
                .fetch_optional(&mut *conn)
                .await?;
            conn.done();
            Ok(id)
        })
        .await
    }
}

/// Postgres text cannot hold NUL, and a rejected message may.
pub(super) fn storable(text: Option<&str>) -> Option<String> {
    text.map(|text| text.replace('\0', "\u{FFFD}"))
}

type Known<'a> = HashMap<(&'a str, &'a str), (String, Uuid)>;

async fn known_jobs<'a>(conn: &mut sqlx::PgConnection, calls: &'a [NewCall]) -> Result<Known<'a>> {
    let sources: Vec<String> = calls.iter().map(|call| call.key.source.clone()).collect();
    let ids: Vec<String> = calls.iter().map(|call| call.key.event_id.clone()).collect();
    let rows = sqlx::query!(
        r#"select j.source, j.event_id, j.content_hash, j.subject_id
           from unnest($1::text[], $2::text[]) as k(source, event_id) join jobs j using (source, event_id)"#,
        &sources,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    let mut known = HashMap::new();
    for call in calls {
        let name = (call.key.source.as_str(), call.key.event_id.as_str());
        if let Some(row) = rows.iter().find(|row| (row.source.as_str(), row.event_id.as_str()) == name) {
            known.insert(name, (hex_bytea(&row.content_hash), row.subject_id));
        }
    }
    Ok(known)
}
