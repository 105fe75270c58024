//! Looking at live attempts: which are due to be looked up (in doubt) or polled (placed), and what a look that found
//! nothing means.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::accept::StoredRequest;
use super::{Result, Store};
use crate::call::{AttemptState, PhoneNumber};

/// Redials after proven absence that one call gets. A platform that answers nothing and never makes the call is a matter
/// for a person by then.
const MAX_REDIALS: i64 = 3;

/// Looks for a late cost, from the poller's interval doubling: an hour with the default.
const MAX_LATE_LOOKS: i32 = 6;

/// An attempt whose turn it is.
#[derive(Debug, Clone)]
pub struct DueLook {
    pub attempt_id: Uuid,
    pub call_id: Uuid,
    pub platform: String,
    pub platform_call_id: Option<String>,
    /// What the create answer gave to reach the call later, by the platform's own names.
    pub handles: BTreeMap<String, String>,
    /// Calls of this platform to the same number that belong to other attempts.
    pub bound: Vec<String>,
    pub state: AttemptState,
    pub to: PhoneNumber,
    pub from: Option<PhoneNumber>,
    pub committed_at: DateTime<Utc>,
    pub settled_at: DateTime<Utc>,
    /// By the database's clock at the claim: no sender can be at work any more.
    pub settled: bool,
    pub age: Duration,
    pub looks: u32,
    pub cancel_requested: bool,
    pub end_requested: bool,
    /// Of a call that is placed and nothing more: when it may be dialled stands there.
    pub request: Option<StoredRequest>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Why a call is taken back from its platform's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawal {
    /// Its calling window closed: it is scheduled for when that opens.
    Window,
    /// Nobody wants it any more.
    Expired,
}

impl Withdrawal {
    fn as_str(self) -> &'static str {
        match self {
            Withdrawal::Window => "window",
            Withdrawal::Expired => "expired",
        }
    }
}

/// What a look at a doubtful attempt led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoubtStep {
    /// Looks again later.
    Waiting,
    /// Proven absent, and the call's policy sends again.
    Redial,
    /// Parked for an operator.
    Unknown,
    /// Somebody else settled it meanwhile.
    Settled,
}

impl Store {
    /// Claims attempts that are due, each for `hold`, after which an unfinished look is due again.
    pub async fn claim_looks(&self, hold: Duration, limit: usize) -> Result<Vec<DueLook>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let rows = sqlx::query!(
                r#"
                with due as (
                    select id from call_attempts
                    where next_look_at <= statement_timestamp() and state in ('in_doubt', 'placed', 'ringing', 'in_progress',
                        'completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')
                    order by next_look_at limit $2 for no key update skip locked
                )
                update call_attempts a set next_look_at = clock_timestamp() + make_interval(secs => $1), looks = a.looks + 1
                from due join call_attempts d on d.id = due.id join calls c on c.id = d.call_id
                where a.id = due.id
                returning a.id, a.call_id, a.platform, a.platform_call_id, a.state, a.to_number, a.from_number, a.committed_at, a.settled_at,
                    clock_timestamp() > a.settled_at as "settled!",
                    extract(epoch from clock_timestamp() - a.committed_at)::float8 as "age!", a.looks,
                    a.handles,
                    array(select b.platform_call_id from call_attempts b
                          where b.to_number = a.to_number and b.platform = a.platform and b.id <> a.id
                            and (a.state = 'in_doubt' or a.platform_call_id is null) and b.platform_call_id is not null) as "bound!: Vec<String>",
                    c.cancel_requested_at is not null as "cancel_requested!", a.end_requested_at is not null as "end_requested!",
                    case when a.state = 'placed' then c.request end as request, c.expires_at
                "#,
                hold.as_secs_f64(),
                limit as i64,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(rows
                .into_iter()
                .filter_map(|row| {
                    Some(DueLook {
                        attempt_id: row.id,
                        call_id: row.call_id,
                        platform: row.platform,
                        platform_call_id: row.platform_call_id,
                        handles: serde_json::from_value(row.handles).unwrap_or_default(),
                        bound: row.bound,
                        state: row.state.parse().ok()?,
                        to: PhoneNumber::from_trusted(row.to_number),
                        from: row.from_number.map(PhoneNumber::from_trusted),
                        committed_at: row.committed_at,
                        settled_at: row.settled_at,
                        settled: row.settled,
                        age: Duration::from_secs_f64(row.age.max(0.0)),
                        looks: row.looks as u32,
                        cancel_requested: row.cancel_requested,
                        end_requested: row.end_requested,
                        request: row.request.and_then(|request| serde_json::from_value(request).ok()),
                        expires_at: row.expires_at,
                    })
                })
                .collect())
        })
        .await
    }

    /// The next look at an attempt that is still live.
    pub async fn look_again(&self, attempt_id: Uuid, wait: Duration) -> Result<()> {
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!(
                "update call_attempts set next_look_at = clock_timestamp() + make_interval(secs => $2)
                 where id = $1 and state in ('in_doubt', 'placed', 'ringing', 'in_progress')",
                attempt_id,
                wait.as_secs_f64(),
            )
            .execute(&mut *conn)
            .await?;
            conn.done();
            Ok(())
        })
        .await
    }

    /// What the platform knows of an ended call is known here too, or never will be.
    pub async fn no_more_looks(&self, attempt_id: Uuid) -> Result<()> {
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!(
                "update call_attempts set next_look_at = null
                 where id = $1 and state in ('completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')",
                attempt_id,
            )
            .execute(&mut *conn)
            .await?;
            conn.done();
            Ok(())
        })
        .await
    }

    /// After a look at an ended call. One that was answered and whose cost is not told is looked at again, `first_wait`, doubled
    /// with each look, from now; after [`MAX_LATE_LOOKS`], and of any other, there is no further one.
    pub async fn look_late_again(&self, attempt_id: Uuid, first_wait: Duration) -> Result<()> {
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!(
                "update call_attempts set late_looks = late_looks + 1,
                     next_look_at = case when state in ('completed', 'voicemail') and cost_source is distinct from 'reported' and late_looks + 1 < $3
                         then clock_timestamp() + make_interval(secs => $2 * 2 ^ (late_looks + 1)) end
                 where id = $1 and state in ('completed', 'no_answer', 'busy', 'voicemail', 'failed', 'cancelled')",
                attempt_id,
                first_wait.as_secs_f64(),
                MAX_LATE_LOOKS,
            )
            .execute(&mut *conn)
            .await?;
            conn.done();
            Ok(())
        })
        .await
    }

    /// Before the platform is asked to take a queued call back: what its end by that will mean. False where the call is
    /// queued no more.
    pub async fn note_withdrawal(&self, attempt_id: Uuid, because: Withdrawal) -> Result<bool> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let noted = sqlx::query_scalar!(
                r#"with withdrawn as (
                       update call_attempts set withdrawn_because = $2 where id = $1 and state = 'placed' returning call_id, id
                   ), noted as (
                       insert into call_events (call_id, attempt_id, kind, source, detail)
                       select call_id, id, 'withdrawal', 'poller', jsonb_build_object('because', $2::text) from withdrawn
                   )
                   select count(*) as "count!" from withdrawn"#,
                attempt_id,
                because.as_str(),
            )
            .fetch_one(&mut *conn)
            .await?;
            conn.done();
            Ok(noted > 0)
        })
        .await
    }

    /// The platform was told to end the call.
    pub async fn note_end_requested(&self, attempt_id: Uuid, result: &str) -> Result<()> {
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!(
                r#"with ended as (
                       update call_attempts set end_requested_at = clock_timestamp() where id = $1 returning call_id, id
                   )
                   insert into call_events (call_id, attempt_id, kind, source, detail)
                   select call_id, id, 'end_requested', 'poller', jsonb_build_object('result', $2::text) from ended"#,
                attempt_id,
                result,
            )
            .execute(&mut *conn)
            .await?;
            conn.done();
            Ok(())
        })
        .await
    }

    /// A complete listing that began after `settled_at` did not hold the call. The second one at least `interval` after the
    /// first proves absence; the call's policy says what that is worth.
    ///
    /// `look` is [`DueLook::looks`] of the look that listed: one that took so long that another began proves nothing.
    pub async fn note_absence(
        &self,
        attempt_id: Uuid,
        look: u32,
        evidence: &Value,
        interval: Duration,
    ) -> Result<DoubtStep> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            let Some(call) = lock_call_of(&mut tx, attempt_id).await? else { return Ok(DoubtStep::Settled) };
            let Some(row) = sqlx::query!(
                r#"select a.absences, a.last_absence_at is null or a.last_absence_at <= clock_timestamp() - make_interval(secs => $3) as "far_enough!",
                          coalesce(a.reason, '') as "reason!", a.n
                   from call_attempts a where a.id = $1 and a.state = 'in_doubt' and a.looks = $2 for no key update"#,
                attempt_id,
                look as i32,
                interval.as_secs_f64(),
            )
            .fetch_optional(&mut *tx)
            .await?
            else {
                return Ok(DoubtStep::Settled);
            };
            let absences = row.absences + i32::from(row.far_enough);
            sqlx::query!(
                "update call_attempts
                 set absences = $2, last_absence_at = case when $3 then clock_timestamp() else last_absence_at end,
                     evidence = case when $3 then coalesce(evidence, '[]') || jsonb_build_array($4::jsonb) else evidence end,
                     next_look_at = coalesce(case when $3 then clock_timestamp() else last_absence_at end, clock_timestamp()) + make_interval(secs => $5)
                 where id = $1",
                attempt_id,
                absences,
                row.far_enough,
                evidence,
                interval.as_secs_f64(),
            )
            .execute(&mut *tx)
            .await?;
            let detail = serde_json::json!({ "result": "absent", "complete_listings": absences, "evidence": evidence });
            note_look(&mut tx, call.id, attempt_id, &detail).await?;
            // An answer that said "accepted" without a readable id is presumed placed, whatever a listing says.
            let presumed_placed = row.reason == "no_call_id";
            let redials = sqlx::query_scalar!(
                r#"select count(*) as "count!" from call_attempts where call_id = $1 and state = 'absent'"#,
                call.id
            )
            .fetch_one(&mut *tx)
            .await?;
            let may_redial = call.redial.as_deref() == Some("after_proof") && !presumed_placed && redials < MAX_REDIALS;
            let step = if absences < 2 {
                DoubtStep::Waiting
            } else if may_redial {
                let because = format!("absence of attempt {} proven by {absences} complete listings", row.n);
                let status = if call.cancelled { "cancelled" } else { "scheduled" };
                sqlx::query!("update call_attempts set state = 'absent', ended_at = clock_timestamp(), next_look_at = null where id = $1", attempt_id)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query!(
                    "update calls set status = $2, status_reason = 'redial', status_detail = $3, status_source = 'reconciler', next_because = $3,
                         scheduled_for = clock_timestamp(), fence = fence + 1, lease_owner = null, lease_until = null
                     where id = $1 and status = 'in_doubt'",
                    call.id,
                    status,
                    because,
                )
                .execute(&mut *tx)
                .await?;
                DoubtStep::Redial
            } else {
                let reason = match (presumed_placed, redials) {
                    (true, _) => "presumed_placed",
                    (false, 0) => "absent_not_redialled",
                    (false, _) => "absent_again",
                };
                park(&mut tx, call.id, attempt_id, reason, "looked for and not found; the call's redial policy leaves it to an operator").await?;
                DoubtStep::Unknown
            };
            tx.commit().await?;
            conn.done();
            if step != DoubtStep::Waiting {
                self.tell_ended();
            }
            Ok(step)
        })
        .await
    }

    /// A look that proved nothing. After `give_up_after` of doubt the call is parked as `unknown`.
    pub async fn note_inconclusive(
        &self,
        attempt_id: Uuid,
        why: &str,
        wait: Duration,
        give_up_after: Duration,
    ) -> Result<DoubtStep> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            let Some(call) = lock_call_of(&mut tx, attempt_id).await? else { return Ok(DoubtStep::Settled) };
            let Some(row) = sqlx::query!(
                r#"select a.settled_at < clock_timestamp() - make_interval(secs => $2) as "too_long!"
                   from call_attempts a where a.id = $1 and a.state = 'in_doubt' for no key update"#,
                attempt_id,
                give_up_after.as_secs_f64(),
            )
            .fetch_optional(&mut *tx)
            .await?
            else {
                return Ok(DoubtStep::Settled);
            };
            sqlx::query!(
                "update call_attempts set next_look_at = clock_timestamp() + make_interval(secs => $2) where id = $1",
                attempt_id,
                wait.as_secs_f64(),
            )
            .execute(&mut *tx)
            .await?;
            let step = if row.too_long {
                note_look(&mut tx, call.id, attempt_id, &serde_json::json!({ "result": "inconclusive", "why": why }))
                    .await?;
                park(&mut tx, call.id, attempt_id, "look_up_inconclusive", why).await?;
                DoubtStep::Unknown
            } else {
                DoubtStep::Waiting
            };
            tx.commit().await?;
            conn.done();
            Ok(step)
        })
        .await
    }
}

struct CallOf {
    id: Uuid,
    redial: Option<String>,
    cancelled: bool,
}

/// The call first, then its attempt: the order of all locks.
async fn lock_call_of(conn: &mut sqlx::PgConnection, attempt_id: Uuid) -> Result<Option<CallOf>> {
    Ok(sqlx::query_as!(
        CallOf,
        r#"select id, request->'voice_config'->>'redial' as redial, cancel_requested_at is not null as "cancelled!"
           from calls where id = (select call_id from call_attempts where id = $1) for no key update"#,
        attempt_id,
    )
    .fetch_optional(conn)
    .await?)
}

async fn note_look(conn: &mut sqlx::PgConnection, call_id: Uuid, attempt_id: Uuid, detail: &Value) -> Result<()> {
    sqlx::query!(
        "insert into call_events (call_id, attempt_id, kind, source, detail) values ($1, $2, 'look_up', 'reconciler', $3)",
        call_id,
        attempt_id,
        detail,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn park(
    conn: &mut sqlx::PgConnection,
    call_id: Uuid,
    attempt_id: Uuid,
    reason: &str,
    detail: &str,
) -> Result<()> {
    sqlx::query!("update call_attempts set state = 'unknown', next_look_at = null where id = $1", attempt_id)
        .execute(&mut *conn)
        .await?;
    sqlx::query!(
        "update calls set status = 'unknown', status_reason = $2, status_detail = $3, status_source = 'reconciler'
         where id = $1 and status = 'in_doubt'",
        call_id,
        reason,
        detail,
    )
    .execute(conn)
    .await?;
    Ok(())
}
