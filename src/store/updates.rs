//! What platforms tell, applied: one function for webhooks, the poller and the reconciler.

mod again;

use std::borrow::Cow;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use again::Again;

use super::inbox::storable;
use super::{Result, Store, StoreError, suppressions};
use crate::call::config::RetryPolicy;
use crate::call::{AttemptState, CallStatus, CallUpdate, Money, Price};
use crate::telemetry::metrics;

/// A call that its platform takes back undialled is sent so often at most, failed sends included.
const MAX_SEND_TRIES: i32 = 10;
const LONGEST_RESEND_WAIT: Duration = Duration::from_secs(300);

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
        if update.reason.as_deref() == Some("unknown") {
            metrics::PLATFORM_UNKNOWN_WORDS.inc([platform]);
        }
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
            let teller = Teller { platform, told_by, look_in, price: self.price_of(platform) };
            let applied = apply(&mut tx, &update, teller).await?;
            tx.commit().await?;
            conn.done();
            self.tell_of(&applied);
            Ok(applied)
        })
        .await
    }

    pub(super) fn tell_of(&self, applied: &Applied) {
        if matches!(applied, Applied::Moved { state, .. } if !state.is_live()) {
            self.tell_ended();
        }
    }
}

/// What a platform answers to a poll may hold what Postgres cannot store, as its webhooks may.
fn storable_update(update: &CallUpdate) -> Result<CallUpdate> {
    let refused = |error: serde_json::Error| StoreError::Refused(error.to_string());
    serde_json::from_value(storable(serde_json::to_value(update).map_err(refused)?)).map_err(refused)
}

/// Who tells an update, and what goes with that.
#[derive(Clone, Copy)]
pub(super) struct Teller<'a> {
    pub platform: &'a str,
    pub told_by: ToldBy,
    /// When the platform is asked next while the call is live.
    pub look_in: Duration,
    pub price: Option<&'a Price>,
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
    /// Set where this update's end of the attempt is followed by another one, and the job has not expired by then.
    again: Option<Again>,
    platform_call_id: Option<String>,
    cancelled: bool,
    duration_seconds: Option<i32>,
    cost_reported: bool,
    /// We asked the platform to take it back from its queue.
    withdrawn: bool,
}

pub(super) async fn apply(tx: &mut sqlx::PgConnection, update: &CallUpdate, teller: Teller<'_>) -> Result<Applied> {
    let Teller { platform, told_by, look_in, price } = teller;
    let Some((known, update)) = find(tx, platform, update).await? else { return Ok(Applied::NoSuchAttempt) };
    let update = update.as_ref();
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

    // Before the attempt changes: a right to send for this number waits for such a change while it holds the number's lock.
    if update.opt_out {
        suppressions::opt_out(
            tx,
            known.attempt_id,
            told_by.as_str(),
            "the platform reported that the person opted out",
        )
        .await?;
    }
    // A live call whose end was asked for is looked at, and ended, at once.
    let look_in = if known.cancelled && told_by == ToldBy::Webhook { Duration::ZERO } else { look_in };
    let estimate = price.and_then(|price| estimate(price, &known, update, moves));
    // A webhook that tells the end alone may be all that comes: the report that was to follow can be lost, or be too large. And
    // a platform may rate a call that was answered only minutes after its end, however the end is told.
    let answered = matches!(moves, Some(AttemptState::Completed | AttemptState::Voicemail));
    let late_look = (told_by == ToldBy::Webhook || answered)
        && moves.is_some_and(AttemptState::is_outcome)
        && !known.cost_reported
        && update.facts.cost.is_none()
        && update.resend_after.is_none();
    fill(tx, &known, update, Fill { moves, look_in, late_look, other_call, estimate }).await?;
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

/// The attempt that the update is about, and the update beside what is known of it already.
async fn find<'a>(
    tx: &mut sqlx::PgConnection,
    platform: &str,
    update: &'a CallUpdate,
) -> Result<Option<(Known, Cow<'a, CallUpdate>)>> {
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
        r#"select status, outcomes, send_tries, request->'voice_config'->'retry' as retry, cancel_requested_at is not null as "cancelled!", expires_at
           from calls where id = $1 for no key update"#,
        call_id,
    )
    .fetch_one(&mut *tx)
    .await?;
    let attempt = sqlx::query!(
        r#"select id, n, state, platform_call_id, duration_seconds, answered_by, withdrawn_because,
               cost_source is not distinct from 'reported' as "cost_reported!",
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
    let state: AttemptState = attempt.state.parse().map_err(parse)?;
    let update = update.joined(attempt.answered_by.as_deref());
    let withdrawn = attempt.withdrawn_because.as_deref() == Some("window");
    let mut again = match update.state {
        // We took it back ourselves, and it was never answered: no outcome of the person's.
        Some(AttemptState::Cancelled) if withdrawn => Some(Again::Withdrawn),
        _ => Again::after(&update, state, retry.as_ref(), call.outcomes, call.send_tries),
    }
    .filter(|_| !call.cancelled && !update.opt_out);
    if let (Some(next), Some(expires_at)) = (again, call.expires_at) {
        let late = sqlx::query_scalar!(
            r#"select $1::timestamptz <= clock_timestamp() + make_interval(secs => $2) as "late!""#,
            expires_at,
            next.wait().as_secs_f64()
        )
        .fetch_one(&mut *tx)
        .await?;
        again = again.filter(|_| !late);
    }
    let known = Known {
        call_id,
        attempt_id: attempt.id,
        n: attempt.n,
        state,
        is_latest: attempt.is_latest,
        beside_another: attempt.beside_another,
        call_status: call.status.parse().map_err(parse)?,
        again,
        platform_call_id: attempt.platform_call_id,
        cancelled: call.cancelled,
        duration_seconds: attempt.duration_seconds,
        cost_reported: attempt.cost_reported,
        withdrawn: attempt.withdrawn_because.is_some(),
    };
    Ok(Some((known, update)))
}

/// What an attempt that has ended costs by our price table, as long as nobody knows better. Facts that come later (how
/// long it lasted, say) make a better estimate. A call that its platform took back undialled costs nothing.
fn estimate(price: &Price, known: &Known, update: &CallUpdate, moves: Option<AttemptState>) -> Option<Money> {
    if known.cost_reported || update.facts.cost.is_some() || update.resend_after.is_some() {
        return None;
    }
    let seconds = update.facts.duration_seconds.or(known.duration_seconds);
    price.of(moves.unwrap_or(known.state), seconds.and_then(|seconds| u32::try_from(seconds).ok()))
}

/// What an update changes in its attempt's row.
struct Fill {
    moves: Option<AttemptState>,
    look_in: Duration,
    /// The platform is asked once more for what it did not tell.
    late_look: bool,
    other_call: bool,
    estimate: Option<Money>,
}

async fn fill(tx: &mut sqlx::PgConnection, known: &Known, update: &CallUpdate, fill: Fill) -> Result<()> {
    let Fill { moves, look_in, late_look, other_call, estimate } = fill;
    if other_call {
        return Ok(());
    }
    let facts = &update.facts;
    let reported = facts.cost.as_ref().filter(|_| !(update.early_cost && known.cost_reported));
    let cost_source = reported.map(|_| "reported").or(estimate.as_ref().map(|_| "estimated"));
    let cost = reported.or(estimate.as_ref());
    let state = moves.unwrap_or(known.state);
    let live = matches!(state, AttemptState::Placed | AttemptState::Ringing | AttemptState::InProgress);
    // What came late or in the wrong order does not describe the call any more.
    let late = moves.is_none() && update.state.is_some_and(|told| told != known.state);
    sqlx::query!(
        "update call_attempts set
             state = $2, platform_call_id = coalesce(platform_call_id, $3),
             raw_status = case when $24 then coalesce($4, raw_status) else raw_status end,
             reason = case when $5::text is not null and $6 then $5 else reason end,
             duration_seconds = coalesce($7, duration_seconds),
             cost_amount = coalesce($8, cost_amount), cost_currency = coalesce($9, cost_currency),
             cost_source = coalesce($22, cost_source),
             answered_by = coalesce($10, answered_by), ended_by = coalesce($11, ended_by), started_at = coalesce($12, started_at),
             ended_at = case when $14 then coalesce(ended_at, $13, clock_timestamp()) else ended_at end,
             recording_url = coalesce($15, recording_url), transcript = coalesce($16, transcript), summary = coalesce($17, summary),
             disposition = coalesce($18, disposition), error_message = coalesce($19, error_message),
             next_look_at = case when $20 then clock_timestamp() + make_interval(secs => $21) when $14 and $23 then null else next_look_at end
         where id = $1",
        known.attempt_id,
        state.as_str(),
        update.platform_call_id,
        update.raw_status,
        update.reason,
        moves.is_some(),
        facts.duration_seconds.filter(|seconds| *seconds >= 0),
        cost.map(|cost| cost.amount),
        cost.map(|cost| cost.currency.as_str()),
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
        (moves.is_some() && live) || late_look,
        look_in.as_secs_f64(),
        cost_source,
        moves.is_some() || facts.cost.is_some(),
        !late,
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
    let wait = known.again.map(Again::wait);
    let resent = matches!(known.again, Some(Again::Resend(_)));
    let (status, reason) = match known.again {
        Some(Again::Retry(_)) => (CallStatus::Scheduled, Some("retry".to_owned())),
        Some(Again::Resend(_)) => (CallStatus::Scheduled, update.reason.clone()),
        Some(Again::Withdrawn) => (CallStatus::Scheduled, Some("window".to_owned())),
        None if state == AttemptState::Cancelled && known.withdrawn && !known.cancelled => {
            (target, Some("expired_in_queue".to_owned()))
        }
        None => (target, update.reason.clone()),
    };
    let detail = known.again.map(|again| match again {
        Again::Retry(_) => format!("attempt {} ended as {state}", known.n),
        Again::Resend(_) => format!("the platform took attempt {} back before it dialled", known.n),
        Again::Withdrawn => {
            format!("attempt {} was still in the platform's queue when the calling window closed", known.n)
        }
    });
    let because = known.again.zip(detail.as_ref()).map(|(again, detail)| format!("{}: {detail}", again.word()));
    sqlx::query!(
        "update calls set status = $2, status_reason = $3, status_detail = $4, status_source = $5,
             scheduled_for = case when $6::float8 is null then scheduled_for else clock_timestamp() + make_interval(secs => $6) end,
             next_because = coalesce($7, next_because), outcomes = outcomes + $8, sent_in_order = true,
             send_tries = case when $9 then send_tries + 1 when $6::float8 is null then send_tries else 0 end,
             fence = fence + case when status in ('scheduled', 'in_doubt', 'unknown') or $6::float8 is not null then 1 else 0 end,
             lease_owner = null, lease_until = null
         where id = $1",
        known.call_id,
        status.as_str(),
        reason,
        detail,
        told_by.as_str(),
        wait.map(|wait| wait.as_secs_f64()),
        because,
        i32::from(state.is_outcome() && !resent && known.again != Some(Again::Withdrawn)),
        resent,
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
