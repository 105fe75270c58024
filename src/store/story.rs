//! Everything that the ledger knows of one call, as of one moment: what its story is told from.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::read::{Attempt, Call};
use super::{Result, Store};

/// Most lines of a story; the newest ones. Each table gives so many at most.
pub const MAX_LINES: i64 = 2000;

/// A call with everything that belongs to it. Numbers are whole, and nothing is masked: it is for [`crate::story`].
#[derive(Debug)]
pub struct CallRecord {
    pub call: Call,
    pub thread_message_id: Option<Uuid>,
    /// [`super::accept::StoredRequest`]
    pub request: Value,
    pub cancel_reason: Option<String>,
    /// In their order.
    pub attempts: Vec<Attempt>,
    pub lines: Vec<Line>,
}

/// Something that happened, or was told, or was decided.
#[derive(Debug)]
pub struct Line {
    /// Of a row in `call_events`; what other tables tell has none.
    pub id: Option<i64>,
    pub at: DateTime<Utc>,
    pub attempt_id: Option<Uuid>,
    /// As in `call_events`, and of other tables: `message`, `cancel_requested`, `webhook_received`, `suppression`, `notification`.
    pub kind: String,
    pub from_status: Option<String>,
    pub to_status: Option<String>,
    pub source: String,
    pub detail: Value,
}

impl Store {
    /// One call with all that the ledger knows of it, as of one moment.
    pub async fn call_record(&self, id: Uuid) -> Result<Option<CallRecord>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin_with(&mut *conn, "begin isolation level repeatable read read only").await?;
            let row = sqlx::query!(
                r#"select id, source, event_id, status, status_reason, status_detail, status_source, platform, platforms, to_number, lead_id,
                       user_id, tenant, metadata, not_before, expires_at, scheduled_for, cancel_requested_at, created_at, updated_at, finished_at,
                       request, cancel_reason, (select t.id from thread_messages t where t.call_id = c.id) as thread_message_id
                   from calls c where id = $1"#,
                id,
            )
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = row else {
                tx.commit().await?;
                conn.done();
                return Ok(None);
            };
            let attempts = sqlx::query_as!(
                Attempt,
                "select id, n, because, platform, platform_call_id, state, verdict, reason, detail, http_status, from_number, committed_at,
                     answered_at, started_at, ended_at, duration_seconds, cost_amount, cost_currency, cost_source, answered_by, ended_by,
                     recording_url, transcript, summary, disposition, error_message, raw_status, evidence
                 from call_attempts where call_id = $1 order by n",
                id,
            )
            .fetch_all(&mut *tx)
            .await?;
            let lines = lines(&mut tx, id).await?;
            tx.commit().await?;
            conn.done();
            let call = Call {
                id: row.id,
                source: row.source,
                event_id: row.event_id,
                status: row.status,
                status_reason: row.status_reason,
                status_detail: row.status_detail,
                status_source: row.status_source,
                platform: row.platform,
                platforms: row.platforms,
                to_number: row.to_number,
                lead_id: row.lead_id,
                user_id: row.user_id,
                tenant: row.tenant,
                metadata: row.metadata,
                not_before: row.not_before,
                expires_at: row.expires_at,
                scheduled_for: row.scheduled_for,
                cancel_requested_at: row.cancel_requested_at,
                created_at: row.created_at,
                updated_at: row.updated_at,
                finished_at: row.finished_at,
            };
            let (thread_message_id, cancel_reason) = (row.thread_message_id, row.cancel_reason);
            Ok(Some(CallRecord { call, thread_message_id, request: row.request, cancel_reason, attempts, lines }))
        })
        .await
    }
}

/// What all tables have noted of a call, newest first.
///
/// A webhook's line in the timeline is filled with what its row in the inbox knows; one that found its attempt only later has no
/// such line and stands for itself. Of bodies and facts only the names are told.
async fn lines(tx: &mut sqlx::PgConnection, id: Uuid) -> Result<Vec<Line>> {
    Ok(sqlx::query_as!(
        Line,
        r#"
        with noted as (
            select id, at, attempt_id, kind, from_status, to_status, source, detail
            from call_events where call_id = $1 order by id desc limit $2
        ), hooks as (
            select w.id, w.received_at, w.attempt_id, jsonb_strip_nulls(jsonb_build_object(
                'inbox_id', w.id, 'platform', w.platform, 'verified_by', w.verified_by, 'applied_at', w.applied_at, 'error', w.error, 'said', (
                    select jsonb_agg(jsonb_build_object(
                        'state', said.told->'state', 'reason', said.told->'reason', 'raw_status', said.told->'raw_status',
                        'opt_out', said.told->'opt_out', 'facts', (
                            select jsonb_agg(fact.key order by fact.key)
                            from jsonb_each(case when jsonb_typeof(said.told->'facts') = 'object' then said.told->'facts' end) fact
                            where fact.value <> 'null')) order by said.n)
                    from jsonb_array_elements(case when jsonb_typeof(w.updates) = 'array' then w.updates end) with ordinality said(told, n)
                ))) as detail
            from webhook_inbox w where w.id in (
                (select i.id from webhook_inbox i where i.attempt_id in (select a.id from call_attempts a where a.call_id = $1)
                 order by i.received_at desc limit $2)
                union select (n.detail->>'inbox_id')::uuid from noted n where n.kind = 'webhook_received')
        ), named as (
            select c.source, c.event_id, c.to_number, c.created_at, c.finished_at, c.order_key, c.status_reason, c.status_source, j.type,
                j.accepted_at, (select t.message_type from thread_messages t where t.call_id = c.id) as message_type
            from calls c join jobs j on j.source = c.source and j.event_id = c.event_id where c.id = $1
        ), told as (
            select n.id, n.at, n.attempt_id, n.kind, n.from_status, n.to_status, n.source, n.detail || coalesce(h.detail, '{}') as detail
            from noted n left join hooks h on n.kind = 'webhook_received' and h.id::text = n.detail->>'inbox_id'
            union all
            select null, h.received_at, h.attempt_id, 'webhook_received', null, null, 'webhook', h.detail
            from hooks h where not exists (select from noted n where n.kind = 'webhook_received' and n.detail->>'inbox_id' = h.id::text)
            union all
            select null, accepted_at, null, 'message', null, null,
                coalesce((select e.source from call_events e where e.call_id = $1 order by e.id limit 1), status_source),
                jsonb_strip_nulls(jsonb_build_object('source', source, 'id', event_id, 'type', type, 'message_type', message_type, 'group', order_key))
            from named
            union all
            select null, x.requested_at, null, 'cancel_requested', null, null, x.requested_by, jsonb_build_object('reason', x.reason)
            from named join early_cancellations x on x.source = named.source and x.event_id = named.event_id
            where not exists (select from noted n where n.kind = 'cancel_requested' and n.source = x.requested_by)
            union all
            -- Those of its number while it was under way, and of one that it was refused for, the last one before it.
            select null, s.at, null, 'suppression', null, null, s.who, jsonb_strip_nulls(jsonb_build_object(
                'action', s.action, 'source', s.source, 'because', s.because, 'expires_at', s.expires_at))
            from named join suppression_events s on s.number = named.to_number
            where (s.at >= named.accepted_at and s.at <= coalesce(named.finished_at, 'infinity'))
               or (named.status_reason = 'do_not_call' and s.id = (
                    select max(b.id) from suppression_events b where b.number = named.to_number and b.at < named.accepted_at))
            union all
            (select null, coalesce(o.delivered_at, o.abandoned_at, o.created_at), null, 'notification', null, null, 'outcomes',
                 jsonb_strip_nulls(jsonb_build_object('event_id', o.id, 'type', o.type, 'status', o.event->'data'->'status',
                     'destination', o.destination, 'address', o.address, 'attempts', o.attempts, 'queued_at', o.created_at,
                     'delivered_at', o.delivered_at, 'abandoned_at', o.abandoned_at, 'last_error', o.last_error))
             from outbox o where o.call_id = $1 order by o.created_at desc limit $2)
        )
        select id, at as "at!", attempt_id, kind as "kind!", from_status, to_status, source as "source!", detail as "detail!"
        from told order by at desc, id desc nulls last limit $2
        "#,
        id,
        MAX_LINES,
    )
    .fetch_all(tx)
    .await?)
}
