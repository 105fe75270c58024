//! What platforms tell, applied: one function for webhooks, the poller and the reconciler.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::inbox::storable;
use super::{Result, Store, StoreError};
use crate::call::config::RetryPolicy;
use crate::call::{AttemptState, CallStatus, CallUpdate};
use crate::telemetry::metrics;

/// What an update led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    /// The attempt moved on; the call has this status now.
    Moved { call_id: Uuid, attempt_id: Uuid, platform: String, state: AttemptState, call_status: CallStatus },
    /// Only columns were filled, or nothing was new.
    Facts { call_id: Uuid, attempt_id: Uuid },
    /// It says something that our ledger holds to be impossible, e.g. a call for an attempt that was refused. Kept in the
    /// timeline, and a person should look.
    Contradiction { call_id: Uuid, attempt_id: Uuid, state: AttemptState },
    /// No attempt of ours.
    NoSuchAttempt,
}

/// How the update reached us; written into the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldBy {
    Webhook,
    Poller,
    Reconciler,
}

impl ToldBy {
    fn as_str(self) -> &'static str {
        match self {
            ToldBy::Webhook => "webhook",
            ToldBy::Poller => "poller",
            ToldBy::Reconciler => "reconciler",
        }
    }
}

impl Applied {
    /// Counts what there is to count. Once per update, after its commit: webhooks, the poller and the reconciler alike.
    pub fn count(&self, platform: &str, update: &CallUpdate) {
        match self {
            Applied::Moved { call_status, .. } if call_status.is_terminal() => {
                metrics::CALLS_FINISHED.inc([platform, call_status.as_str()]);
            }
            Applied::Contradiction { state, .. } => {
                let claimed = update.state.map_or("other_call", AttemptState::as_str);
                metrics::CONTRADICTIONS.inc([platform, state.as_str(), claimed]);
            }
            _ => {}
        }
    }
}

impl Store {
    /// Moves the attempt and its call along the transition table, fills columns, and queues what follows, in one transaction.
    ///
    /// `look_in`: when the platform is asked next while the call is live. Webhooks go through [`Store::apply_webhook`].
    pub async fn apply(
        &self,
        platform: &str,
        update: &CallUpdate,
        told_by: ToldBy,
        look_in: Duration,
    ) -> Result<Applied> {
        let update = storable_update(update)?;
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            let applied = apply(&mut tx, platform, &update, told_by, look_in).await?;
            tx.commit().await?;
            conn.done();
            Ok(applied)
        })
        .await
    }
}

/// What a platform answers to a poll may hold what Postgres cannot store, as its webhooks may.
fn storable_update(update: &CallUpdate) -> Result<CallUpdate> {
    let refused = |error: serde_json::Error| StoreError::Refused(error.to_string());
    serde_json::from_value(storable(serde_json::to_value(update).map_err(refused)?)).map_err(refused)
}

struct Known {
    call_id: Uuid,
    attempt_id: Uuid,
    n: i32,
    state: AttemptState,
    /// No later attempt can have made a call.
    is_latest: bool,
    /// Another attempt of the call, or to its number, is live.
    beside_another: bool,
    call_status: CallStatus,
    outcomes: i32,
    retry: Option<RetryPolicy>,
    cancelled: bool,
    retry_would_expire: bool,
    platform_call_id: Option<String>,
}

pub(super) async fn apply(
    tx: &mut sqlx::PgConnection,
    platform: &str,
    update: &CallUpdate,
    told_by: ToldBy,
    look_in: Duration,
) -> Result<Applied> {
    let Some(known) = find(tx, platform, update).await? else { return Ok(Applied::NoSuchAttempt) };
    let ids = (known.call_id, known.attempt_id);
    let platform_call_id = update.platform_call_id.as_deref();
    let other_call =
        known.platform_call_id.as_deref().zip(platform_call_id).is_some_and(|(ours, theirs)| ours != theirs);
    let target = update.state.filter(|target| *target != known.state);
    // The database holds one live attempt; what was proven absent and is live all the same is told, not entered.
    let second_live = !known.state.is_live() && known.beside_another && target.is_some_and(AttemptState::is_live);
    let moves = target.filter(|target| known.state.may_become(*target) && !other_call && !second_live);
    // A platform that knows a call for an attempt that ended without one, or a second call for one attempt.
    let contradicts = other_call
        || (second_live && known.state == AttemptState::Absent)
        || (target.is_some() && matches!(known.state, AttemptState::NotSent | AttemptState::Refused));

    // A live call whose end was asked for is looked at, and ended, at once.
    let look_in = if known.cancelled && told_by == ToldBy::Webhook { Duration::ZERO } else { look_in };
    fill(tx, &known, update, moves, look_in, other_call).await?;
    let detail = json!({
        "state": update.state, "reason": update.reason, "raw_status": update.raw_status, "platform_call_id": platform_call_id,
        "occurred_at": update.occurred_at, "moved": moves.is_some(),
    });
    if moves.is_some() || contradicts || told_by == ToldBy::Webhook {
        let kind = if contradicts { "contradiction" } else { told_by.as_str() };
        sqlx::query!(
            "insert into call_events (call_id, attempt_id, kind, source, detail) values ($1, $2, $3, $4, jsonb_strip_nulls($5::jsonb))",
            ids.0,
            ids.1,
            kind,
            told_by.as_str(),
            detail,
        )
        .execute(&mut *tx)
        .await?;
    }
    if contradicts {
        return Ok(Applied::Contradiction { call_id: ids.0, attempt_id: ids.1, state: known.state });
    }
    let Some(state) = moves else { return Ok(Applied::Facts { call_id: ids.0, attempt_id: ids.1 }) };
    let call_status = move_call(tx, &known, state, update, told_by).await?;
    if !state.is_live() {
        wake_next_for_number(tx, known.attempt_id).await?;
    }
    Ok(Applied::Moved { call_id: ids.0, attempt_id: ids.1, platform: platform.to_owned(), state, call_status })
}

async fn find(tx: &mut sqlx::PgConnection, platform: &str, update: &CallUpdate) -> Result<Option<Known>> {
    let Some(call_id) = sqlx::query_scalar!(
        "select call_id from call_attempts
         where platform = $1 and (id = $2 or ($2::uuid is null and platform_call_id = $3))
         order by n desc limit 1",
        platform,
        update.attempt_id,
        update.platform_call_id,
    )
    .fetch_optional(&mut *tx)
    .await?
    else {
        return Ok(None);
    };
    let call = sqlx::query!(
        r#"select status, outcomes, request->'voice_config'->'retry' as retry, cancel_requested_at is not null as "cancelled!", expires_at
           from calls where id = $1 for no key update"#,
        call_id,
    )
    .fetch_one(&mut *tx)
    .await?;
    let attempt = sqlx::query!(
        r#"select id, n, state, platform_call_id,
               not exists (select from call_attempts l where l.call_id = a.call_id and l.n > a.n
                   and l.state not in ('not_sent', 'refused', 'absent')) as "is_latest!",
               exists (select from call_attempts l where l.to_number = a.to_number and l.id <> a.id
                   and l.state in ('sending', 'in_doubt', 'unknown', 'placed', 'ringing', 'in_progress')) as "beside_another!"
           from call_attempts a where call_id = $1 and (id = $2 or ($2::uuid is null and platform_call_id = $3))
           order by n desc limit 1 for no key update"#,
        call_id,
        update.attempt_id,
        update.platform_call_id,
    )
    .fetch_one(&mut *tx)
    .await?;
    let parse = |text: String| StoreError::Refused(text);
    let retry: Option<RetryPolicy> = call.retry.and_then(|retry| serde_json::from_value(retry).ok());
    let wait =
        update.state.zip(retry.as_ref()).and_then(|(state, retry)| retry.next_wait(state, call.outcomes as u32 + 1));
    let retry_would_expire = match (wait, call.expires_at) {
        (Some(wait), Some(expires_at)) => {
            sqlx::query_scalar!(
                r#"select $1::timestamptz <= clock_timestamp() + make_interval(secs => $2) as "late!""#,
                expires_at,
                wait.as_secs_f64()
            )
            .fetch_one(&mut *tx)
            .await?
        }
        _ => false,
    };
    Ok(Some(Known {
        call_id,
        attempt_id: attempt.id,
        n: attempt.n,
        state: attempt.state.parse().map_err(parse)?,
        is_latest: attempt.is_latest,
        beside_another: attempt.beside_another,
        call_status: call.status.parse().map_err(parse)?,
        outcomes: call.outcomes,
        retry,
        cancelled: call.cancelled,
        retry_would_expire,
        platform_call_id: attempt.platform_call_id,
    }))
}

async fn fill(
    tx: &mut sqlx::PgConnection,
    known: &Known,
    update: &CallUpdate,
    moves: Option<AttemptState>,
    look_in: Duration,
    other_call: bool,
) -> Result<()> {
    if other_call {
        return Ok(());
    }
    let facts = &update.facts;
    let state = moves.unwrap_or(known.state);
    let live = matches!(state, AttemptState::Placed | AttemptState::Ringing | AttemptState::InProgress);
    sqlx::query!(
        "update call_attempts set
             state = $2, platform_call_id = coalesce(platform_call_id, $3), raw_status = coalesce($4, raw_status),
             reason = case when $5::text is not null and $6 then $5 else reason end,
             duration_seconds = coalesce($7, duration_seconds),
             cost_amount = coalesce($8, cost_amount), cost_currency = coalesce($9, cost_currency),
             cost_source = case when $8::numeric is not null then 'reported' else cost_source end,
             answered_by = coalesce($10, answered_by), ended_by = coalesce($11, ended_by), started_at = coalesce($12, started_at),
             ended_at = case when $14 then coalesce(ended_at, $13, clock_timestamp()) else ended_at end,
             recording_url = coalesce($15, recording_url), transcript = coalesce($16, transcript), summary = coalesce($17, summary),
             disposition = coalesce($18, disposition), error_message = coalesce($19, error_message),
             next_look_at = case when $14 then null when $20 then clock_timestamp() + make_interval(secs => $21) else next_look_at end
         where id = $1",
        known.attempt_id,
        state.as_str(),
        update.platform_call_id,
        update.raw_status,
        update.reason,
        moves.is_some(),
        facts.duration_seconds.filter(|seconds| *seconds >= 0),
        facts.cost.as_ref().map(|cost| cost.amount),
        facts.cost.as_ref().map(|cost| cost.currency.clone()),
        facts.answered_by,
        facts.ended_by,
        facts.started_at,
        facts.ended_at,
        state.is_terminal(),
        facts.recording_url,
        facts.transcript,
        facts.summary,
        facts.disposition,
        facts.error_message,
        moves.is_some() && live,
        look_in.as_secs_f64(),
    )
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// The call follows its attempt: to the same status, or back to `scheduled` when its retry policy covers the outcome.
async fn move_call(
    tx: &mut sqlx::PgConnection,
    known: &Known,
    state: AttemptState,
    update: &CallUpdate,
    told_by: ToldBy,
) -> Result<CallStatus> {
    let Some(target) = state.call_status() else { return Ok(known.call_status) };
    // An older attempt's late news does not move a call that went on.
    if !known.is_latest || !known.call_status.may_become(target) {
        return Ok(known.call_status);
    }
    let finished = known.outcomes as u32 + 1;
    let wait = if state.is_outcome() && !known.cancelled && !known.retry_would_expire {
        known.retry.as_ref().and_then(|retry| retry.next_wait(state, finished))
    } else {
        None
    };
    let (status, reason) = match wait {
        Some(_) => (CallStatus::Scheduled, Some("retry".to_owned())),
        None => (target, update.reason.clone()),
    };
    let detail = wait.map(|_| format!("attempt {} ended as {state}", known.n));
    sqlx::query!(
        "update calls set status = $2, status_reason = $3, status_detail = $4, status_source = $5,
             scheduled_for = case when $6::float8 is null then scheduled_for else clock_timestamp() + make_interval(secs => $6) end,
             next_because = coalesce($7, next_because), outcomes = outcomes + $8, sent_in_order = true,
             send_tries = case when $6::float8 is null then send_tries else 0 end,
             fence = fence + case when status in ('scheduled', 'in_doubt', 'unknown') or $6::float8 is not null then 1 else 0 end,
             lease_owner = null, lease_until = null
         where id = $1",
        known.call_id,
        status.as_str(),
        reason,
        detail,
        told_by.as_str(),
        wait.map(|wait| wait.as_secs_f64()),
        wait.map(|_| format!("retry: attempt {} ended as {state}", known.n)),
        i32::from(state.is_outcome()),
    )
    .execute(&mut *tx)
    .await?;
    Ok(status)
}

/// The longest-waiting call to the number that has just become free is due now.
pub(super) async fn wake_next_for_number(tx: &mut sqlx::PgConnection, attempt_id: Uuid) -> Result<()> {
    sqlx::query!(
        "update calls set scheduled_for = clock_timestamp() where id = (
             select c.id from calls c join call_attempts a on a.to_number = c.to_number
             where a.id = $1 and c.status = 'scheduled' and c.status_reason = 'number_busy'
             order by c.created_at limit 1 for no key update of c skip locked)",
        attempt_id,
    )
    .execute(tx)
    .await?;
    Ok(())
}
